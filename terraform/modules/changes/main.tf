# Changes of a bucket that is not ours, from EventBridge to a queue. Every kind of creation and deletion is told, those of
# lifecycle rules too. The pattern knows prefixes; suffixes are looked at by the function, because a pattern's are
# case-sensitive.
resource "aws_cloudwatch_event_rule" "this" {
  name        = var.name
  description = "Tells batch-vision which objects of ${var.bucket_name} were created or deleted"

  event_pattern = jsonencode({
    source        = ["aws.s3"]
    "detail-type" = ["Object Created", "Object Deleted"]
    detail = merge(
      { bucket = { name = [var.bucket_name] } },
      # An empty prefix is for all keys.
      { for prefixes in [var.prefixes] : "object" => { key = [for prefix in prefixes : { prefix = prefix }] } if !contains(prefixes, "") },
    )
  })

  tags = var.tags
}

resource "aws_cloudwatch_event_target" "this" {
  rule = aws_cloudwatch_event_rule.this.name
  arn  = var.queue_arn

  dead_letter_config {
    arn = aws_sqs_queue.dead_letter.arn
  }
}

# ---------------------------------------------------------------------------------------------------------------------
# Events that the queue did not take
# ---------------------------------------------------------------------------------------------------------------------

locals {
  dead_letter_queue_arn = "arn:${var.partition}:sqs:${var.region}:${var.account_id}:${var.dead_letter_name}"
}

data "aws_iam_policy_document" "dead_letter_queue" {
  statement {
    sid       = "AllowRuleToSend"
    effect    = "Allow"
    actions   = ["sqs:SendMessage"]
    resources = [local.dead_letter_queue_arn]

    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }

    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [var.rule_arn]
    }
  }

  statement {
    sid       = "DenyInsecureTransport"
    effect    = "Deny"
    actions   = ["sqs:*"]
    resources = [local.dead_letter_queue_arn]

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

resource "aws_sqs_queue" "dead_letter" {
  name = var.dead_letter_name
  # The longest that SQS allows.
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = var.kms_key_arn == null ? true : null
  kms_master_key_id         = var.kms_key_arn
  policy                    = data.aws_iam_policy_document.dead_letter_queue.json

  tags = var.tags
}

# ---------------------------------------------------------------------------------------------------------------------
# A bucket of another account: S3 tells the event bus of the bucket's account, and a rule of its owner hands the events on
# to ours
# ---------------------------------------------------------------------------------------------------------------------

resource "aws_cloudwatch_event_permission" "owner" {
  count = var.owner_account_id == var.account_id ? 0 : 1

  principal    = var.owner_account_id
  statement_id = var.statement_id
}
