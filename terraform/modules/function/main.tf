resource "aws_cloudwatch_log_group" "this" {
  #checkov:skip=CKV_AWS_158:CloudWatch Logs encrypts with its own keys unless kms_key_arn names a customer key
  name              = "/aws/lambda/${var.name}"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn

  tags = var.tags
}

# No aws:SourceArn here: Lambda does not send it when it assumes the role of a function.
data "aws_iam_policy_document" "trust" {
  statement {
    sid     = "AllowLambdaToAssume"
    effect  = "Allow"
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["lambda.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "this" {
  # No logs:CreateLogGroup: the group is Terraform's, with its retention.
  statement {
    sid       = "WriteOwnLog"
    effect    = "Allow"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${aws_cloudwatch_log_group.this.arn}:*"]
  }

  dynamic "statement" {
    for_each = var.statements

    content {
      sid       = statement.key
      effect    = "Allow"
      actions   = statement.value.actions
      resources = statement.value.resources

      dynamic "condition" {
        for_each = statement.value.conditions

        content {
          test     = "StringEquals"
          variable = condition.key
          values   = [condition.value]
        }
      }
    }
  }
}

resource "aws_iam_role" "this" {
  name                 = "${var.name}-${var.region}"
  path                 = var.role_path
  description          = "Role of the function ${var.name}"
  assume_role_policy   = data.aws_iam_policy_document.trust.json
  permissions_boundary = var.permissions_boundary_arn

  tags = var.tags
}

resource "aws_iam_role_policy" "this" {
  name   = var.name
  role   = aws_iam_role.this.id
  policy = data.aws_iam_policy_document.this.json
}

resource "aws_lambda_function" "this" {
  #checkov:skip=CKV_AWS_50:The workflow's history and the structured log already tell what happened when; tracing would cost per image
  #checkov:skip=CKV_AWS_115:Reserved concurrency would take from small accounts; the event source mapping bounds the analyzing function
  #checkov:skip=CKV_AWS_116:SQS has its dead-letter queue, the workflow its Catch, and the watchdog its next tick
  #checkov:skip=CKV_AWS_117:It calls AWS services only, and a VPC would add the cost of endpoints
  #checkov:skip=CKV_AWS_173:The environment holds names and numbers, no secret; Lambda encrypts it with its own key unless kms_key_arn names a customer key
  #checkov:skip=CKV_AWS_272:Who builds the zip also applies it
  function_name    = var.name
  description      = var.description
  role             = aws_iam_role.this.arn
  s3_bucket        = var.package.bucket
  s3_key           = var.package.key
  source_code_hash = var.package.sha256_base64
  # The newest runtime that the oldest allowed provider accepts.
  runtime       = "python3.13"
  handler       = var.handler
  architectures = [var.architecture]
  memory_size   = var.memory_mb
  timeout       = var.timeout_seconds
  # For the environment. Whoever applies this needs kms:CreateGrant on it: Lambda grants its use to the role, whose own
  # policy does not name the key for that.
  kms_key_arn = var.kms_key_arn

  environment {
    variables = var.environment
  }

  tags = var.tags

  # A function that runs before its log group exists makes one that never expires.
  depends_on = [aws_cloudwatch_log_group.this]
}
