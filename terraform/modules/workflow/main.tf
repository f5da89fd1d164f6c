locals {
  # Put together here, because the role has to name the state machine before there is one.
  state_machine_arn = "arn:${var.partition}:states:${var.region}:${var.account_id}:stateMachine:${var.name}"

  # What it may do besides calling functions. A Map Run starts its children as executions of the state machine itself, whose
  # names begin with its label (Step Functions developer guide, IAM policies for using Distributed Map states).
  statements = {
    for sid, statement in {
      FindOtherExecutions = {
        actions   = ["states:ListExecutions"]
        resources = var.finds_other_executions ? [local.state_machine_arn] : []
      }
      StartChildren = {
        actions   = ["states:StartExecution"]
        resources = var.map_bucket_arn == null ? [] : [local.state_machine_arn]
      }
      StopChildren = {
        actions   = ["states:DescribeExecution", "states:StopExecution"]
        resources = var.map_bucket_arn == null ? [] : ["arn:${var.partition}:states:${var.region}:${var.account_id}:execution:${var.name}/*"]
      }
      ListChunks = {
        actions   = ["s3:ListBucket"]
        resources = var.map_bucket_arn[*]
      }
      WriteAnswersOfChildren = {
        actions   = ["s3:AbortMultipartUpload", "s3:GetObject", "s3:ListMultipartUploadParts", "s3:PutObject"]
        resources = [for arn in var.map_bucket_arn[*] : "${arn}/jobs/map-runs/*"]
      }
      UseCustomerKey = {
        actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
        resources = var.map_bucket_arn == null ? [] : var.kms_key_arn[*]
      }
    } : sid => statement if length(statement.resources) > 0
  }
}

resource "aws_cloudwatch_log_group" "this" {
  #checkov:skip=CKV_AWS_158:CloudWatch Logs encrypts with its own keys unless kms_key_arn names a customer key
  # The prefix keeps the log group out of the account's resource policy, which has a size limit.
  name              = "/aws/vendedlogs/states/${var.name}"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn

  tags = var.tags
}

data "aws_iam_policy_document" "trust" {
  statement {
    sid     = "AllowStepFunctionsToAssume"
    effect  = "Allow"
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["states.amazonaws.com"]
    }

    # As the Step Functions developer guide has it (Creating an IAM role, confused deputy): AWS tries the role before
    # there is a state machine, and does not say what it gives as the source then.
    condition {
      test     = "ArnLike"
      variable = "aws:SourceArn"
      values   = ["arn:${var.partition}:states:${var.region}:${var.account_id}:stateMachine:*"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [var.account_id]
    }
  }
}

data "aws_iam_policy_document" "this" {
  #checkov:skip=CKV_AWS_111:The log-delivery actions below know no resource
  #checkov:skip=CKV_AWS_356:The log-delivery actions below know no resource
  # The functions as the state machine names them, without a version: with one, the ARN would be another.
  statement {
    sid       = "CallFunctions"
    effect    = "Allow"
    actions   = ["lambda:InvokeFunction"]
    resources = var.function_arns
  }

  dynamic "statement" {
    for_each = local.statements

    content {
      sid       = statement.key
      effect    = "Allow"
      actions   = statement.value.actions
      resources = statement.value.resources
    }
  }

  # All resources: AWS defines no resource type for these actions, and Step Functions refuses to create a state
  # machine that logs without them.
  statement {
    sid    = "DeliverLog"
    effect = "Allow"
    actions = [
      "logs:CreateLogDelivery",
      "logs:DeleteLogDelivery",
      "logs:DescribeLogGroups",
      "logs:DescribeResourcePolicies",
      "logs:GetLogDelivery",
      "logs:ListLogDeliveries",
      "logs:PutResourcePolicy",
      "logs:UpdateLogDelivery",
    ]
    resources = ["*"]
  }
}

resource "aws_iam_role" "this" {
  name                 = "${var.role_name}-${var.region}"
  path                 = var.role_path
  description          = "Role of the state machine ${var.name}"
  assume_role_policy   = data.aws_iam_policy_document.trust.json
  permissions_boundary = var.permissions_boundary_arn

  tags = var.tags
}

resource "aws_iam_role_policy" "this" {
  name   = var.role_name
  role   = aws_iam_role.this.id
  policy = data.aws_iam_policy_document.this.json
}

resource "aws_sfn_state_machine" "this" {
  #checkov:skip=CKV_AWS_284:The history of an execution already tells what happened when
  # No customer key: when a key is disabled, Step Functions fails the executions that use it, and a model would stay on.
  # The history holds counts, times, errors and the names of chunks, no image and no key.
  name       = var.name
  type       = "STANDARD"
  role_arn   = aws_iam_role.this.arn
  definition = var.definition

  logging_configuration {
    level = var.log_level
    # The data are counts, times, statuses, error texts and the names of chunks: no image and no key.
    include_execution_data = true
    # Step Functions accepts the ARN of a log group only with this ending.
    log_destination = "${aws_cloudwatch_log_group.this.arn}:*"
  }

  tags = var.tags

  timeouts {
    # Step Functions often needs longer than the provider's 5 minutes, also without an execution (provider issue 29206).
    delete = "20m"
  }

  # Step Functions tries the log delivery with the role when it creates the state machine.
  depends_on = [aws_iam_role_policy.this]
}
