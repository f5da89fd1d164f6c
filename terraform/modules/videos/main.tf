# How Rekognition tells that a job ended: a role, with which it publishes to a topic, which a queue has subscribed to.
# Messages are hints, and polling is the truth: so none is kept for long, and there is no dead-letter queue.

# The ARNs are put together here, because policies are arguments of the topic and the queue: neither is ever there without.
locals {
  topic_arn = "arn:${var.partition}:sns:${var.region}:${var.account_id}:${var.topic_name}"
  queue_arn = "arn:${var.partition}:sqs:${var.region}:${var.account_id}:${var.queue_name}"
}

# ---------------------------------------------------------------------------------------------------------------------
# Topic
# ---------------------------------------------------------------------------------------------------------------------

# Who may publish is said by the policy of the role.
data "aws_iam_policy_document" "this" {
  statement {
    sid       = "DenyInsecureTransport"
    effect    = "Deny"
    actions   = ["sns:Publish"]
    resources = [local.topic_arn]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_sns_topic" "this" {
  #checkov:skip=CKV_AWS_26:SNS encrypts its disks anyway. With the key alias/aws/sns, whose policy is not ours, the queue would get nothing
  name              = var.topic_name
  kms_master_key_id = var.kms_key_arn
  policy            = data.aws_iam_policy_document.this.json

  tags = var.tags
}

# ---------------------------------------------------------------------------------------------------------------------
# Role of Rekognition
# ---------------------------------------------------------------------------------------------------------------------

# Rekognition sends the account of the job (Rekognition developer guide, Cross-service confused deputy prevention). The ARN
# that it sends for a job of a stored video is not documented.
data "aws_iam_policy_document" "trust" {
  statement {
    sid     = "AllowRekognitionToAssume"
    effect  = "Allow"
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["rekognition.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [var.account_id]
    }
  }
}

data "aws_iam_policy_document" "publish" {
  statement {
    sid       = "TellOfJobs"
    effect    = "Allow"
    actions   = ["sns:Publish"]
    resources = [local.topic_arn]
  }

  dynamic "statement" {
    for_each = var.kms_key_arn[*]

    content {
      sid       = "UseCustomerKey"
      effect    = "Allow"
      actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
      resources = [statement.value]
    }
  }
}

resource "aws_iam_role" "this" {
  name                 = "${var.topic_name}-${var.region}"
  path                 = var.role_path
  description          = "Role with which Rekognition publishes to the topic ${var.topic_name}"
  assume_role_policy   = data.aws_iam_policy_document.trust.json
  permissions_boundary = var.permissions_boundary_arn

  tags = var.tags
}

resource "aws_iam_role_policy" "publish" {
  name   = var.topic_name
  role   = aws_iam_role.this.id
  policy = data.aws_iam_policy_document.publish.json
}

# ---------------------------------------------------------------------------------------------------------------------
# Queue
# ---------------------------------------------------------------------------------------------------------------------

data "aws_iam_policy_document" "queue" {
  statement {
    sid       = "AllowTopicToSend"
    effect    = "Allow"
    actions   = ["sqs:SendMessage"]
    resources = [local.queue_arn]

    principals {
      type        = "Service"
      identifiers = ["sns.amazonaws.com"]
    }

    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [local.topic_arn]
    }
  }

  statement {
    sid       = "DenyInsecureTransport"
    effect    = "Deny"
    actions   = ["sqs:*"]
    resources = [local.queue_arn]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_sqs_queue" "this" {
  name                       = var.queue_name
  visibility_timeout_seconds = var.visibility_timeout_seconds
  # Twice as long as a function that dies of it can hide it.
  message_retention_seconds = 2 * var.visibility_timeout_seconds
  # Not the key alias/aws/sqs: SNS cannot send to a queue that is encrypted with it, because its policy is not ours.
  sqs_managed_sse_enabled = var.kms_key_arn == null ? true : null
  kms_master_key_id       = var.kms_key_arn
  policy                  = data.aws_iam_policy_document.queue.json

  tags = var.tags
}

resource "aws_sns_topic_subscription" "this" {
  topic_arn            = aws_sns_topic.this.arn
  protocol             = "sqs"
  endpoint             = aws_sqs_queue.this.arn
  raw_message_delivery = true
}
