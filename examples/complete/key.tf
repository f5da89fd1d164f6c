# The customer key, and who may use it. The statements for services are what the services' own documentation asks for:
#   S3 to an encrypted queue    SQS Developer Guide, "Configure KMS permissions for AWS services"
#   encrypted log groups        CloudWatch Logs User Guide, "Encrypt log data in CloudWatch Logs using AWS KMS"
#   alarms to encrypted topics  SNS Developer Guide, "Enable compatibility between event sources from AWS services and
#                               encrypted topics"
# Lambda needs none: it grants the use of the key to the role of a function when Terraform makes the function.

locals {
  account_id = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition

  # The names that the module gives to its buckets and log groups. Not its outputs: the key is there before them.
  prefixes           = [for name in keys(var.models) : "${var.name_prefix}-${name}"]
  source_bucket_arns = [for prefix in local.prefixes : "arn:${local.partition}:s3:::${prefix}-source-${local.account_id}-${var.region}"]
  alarm_arns         = [for prefix in local.prefixes : "arn:${local.partition}:cloudwatch:${var.region}:${local.account_id}:alarm:${prefix}-*"]
  log_group_arns = flatten([
    for prefix in local.prefixes : [
      "arn:${local.partition}:logs:${var.region}:${local.account_id}:log-group:/aws/lambda/${prefix}-*",
      "arn:${local.partition}:logs:${var.region}:${local.account_id}:log-group:/aws/vendedlogs/states/${prefix}",
    ]
  ])
}

data "aws_iam_policy_document" "key" {
  # IAM policies of the account decide: those of the module's roles, and those of your uploaders, readers and
  # administrators. Without this statement nobody could change the key any more.
  statement {
    sid       = "LetPoliciesOfTheAccountDecide"
    effect    = "Allow"
    actions   = ["kms:*"]
    resources = ["*"]

    principals {
      type        = "AWS"
      identifiers = ["arn:${local.partition}:iam::${local.account_id}:root"]
    }
  }

  # S3 announces new images on an encrypted queue.
  statement {
    sid       = "AllowSourceBucketsToSend"
    effect    = "Allow"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = ["*"]

    principals {
      type        = "Service"
      identifiers = ["s3.amazonaws.com"]
    }

    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = local.source_bucket_arns
    }

    # A bucket ARN names no account.
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account_id]
    }
  }

  # Alarms publish to an encrypted topic.
  statement {
    sid       = "AllowAlarmsToPublish"
    effect    = "Allow"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey*"]
    resources = ["*"]

    principals {
      type        = "Service"
      identifiers = ["cloudwatch.amazonaws.com"]
    }

    condition {
      test     = "ArnLike"
      variable = "aws:SourceArn"
      values   = local.alarm_arns
    }
  }

  statement {
    sid    = "AllowLogGroups"
    effect = "Allow"
    actions = [
      "kms:Decrypt*",
      "kms:Describe*",
      "kms:Encrypt*",
      "kms:GenerateDataKey*",
      "kms:ReEncrypt*",
    ]
    resources = ["*"]

    principals {
      type        = "Service"
      identifiers = ["logs.${var.region}.amazonaws.com"]
    }

    condition {
      test     = "ArnLike"
      variable = "kms:EncryptionContext:aws:logs:arn"
      values   = local.log_group_arns
    }
  }
}

resource "aws_kms_key" "this" {
  description             = "Images, results, messages and logs of ${var.name_prefix}"
  policy                  = data.aws_iam_policy_document.key.json
  enable_key_rotation     = true
  deletion_window_in_days = 30

  # Without the key nobody reads an image or a result any more, and `terraform destroy` would remove it although buckets
  # that hold images stay.
  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_kms_alias" "this" {
  name          = "alias/${var.name_prefix}"
  target_key_id = aws_kms_key.this.key_id
}
