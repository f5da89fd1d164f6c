# What the owner of a bucket in another account does, besides turning EventBridge on (README.md): the events are on the
# event bus of that account, so a rule hands them to the bus of the deployment's; and a bucket policy, and where there is
# one, a key policy admit the deployment's roles. In one account none of this is needed.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  is_of_another_account = var.owner_account_id != null

  account_id    = data.aws_caller_identity.current.account_id
  partition     = data.aws_partition.current.partition
  event_bus_arn = "arn:${local.partition}:events:${var.region}:${local.account_id}:event-bus/default"

  # The deployment's roles, whether they are there already or not: a policy cannot name a role that is not.
  role_arns = "arn:${local.partition}:iam::${local.account_id}:role/${var.name_prefix}-*"
}

resource "aws_cloudwatch_event_rule" "images" {
  count    = local.is_of_another_account ? 1 : 0
  provider = aws.owner

  name        = "${var.name_prefix}-images"
  description = "Hands on what happens in ${var.images_bucket_name} to account ${local.account_id}"

  event_pattern = jsonencode({
    source        = ["aws.s3"]
    "detail-type" = ["Object Created", "Object Deleted"]
    detail        = { bucket = { name = [var.images_bucket_name] } }
  })
}

data "aws_iam_policy_document" "trust" {
  statement {
    sid     = "AllowEventBridgeToAssume"
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }

    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = aws_cloudwatch_event_rule.images[*].arn
    }
  }
}

data "aws_iam_policy_document" "put_events" {
  statement {
    sid       = "HandOnEvents"
    actions   = ["events:PutEvents"]
    resources = [local.event_bus_arn]
  }
}

resource "aws_iam_role" "images" {
  count    = local.is_of_another_account ? 1 : 0
  provider = aws.owner

  name               = "${var.name_prefix}-images-${var.region}"
  description        = "Role of the EventBridge rule ${var.name_prefix}-images"
  assume_role_policy = data.aws_iam_policy_document.trust.json
}

resource "aws_iam_role_policy" "images" {
  count    = local.is_of_another_account ? 1 : 0
  provider = aws.owner

  name   = "${var.name_prefix}-images"
  role   = aws_iam_role.images[0].id
  policy = data.aws_iam_policy_document.put_events.json
}

resource "aws_cloudwatch_event_target" "images" {
  count    = local.is_of_another_account ? 1 : 0
  provider = aws.owner

  rule     = aws_cloudwatch_event_rule.images[0].name
  arn      = local.event_bus_arn
  role_arn = aws_iam_role.images[0].arn

  # The module lets the owner's account put events on the bus.
  depends_on = [aws_iam_role_policy.images, module.batch_vision]
}

# Statements to add to the policies that bucket and key have. Not resources: those would replace the policies.
locals {
  principal = {
    Principal = { AWS = "arn:${local.partition}:iam::${local.account_id}:root" }
    Condition = { ArnLike = { "aws:PrincipalArn" = local.role_arns } }
  }

  bucket_policy_statements = [
    merge(local.principal, {
      Sid      = "LetBatchVisionReadImages"
      Effect   = "Allow"
      Action   = ["s3:GetObject", "s3:GetObjectVersion"]
      Resource = "arn:${local.partition}:s3:::${var.images_bucket_name}/${var.prefix}*"
    }),
    # Without them S3 answers 403 for an object that is gone, and its result would stay.
    merge(local.principal, {
      Sid      = "LetBatchVisionTellMissingFromForbidden"
      Effect   = "Allow"
      Action   = ["s3:ListBucket", "s3:ListBucketVersions"]
      Resource = "arn:${local.partition}:s3:::${var.images_bucket_name}"
    }),
  ]

  key_policy_statements = [
    for arn in var.images_key_arn[*] : merge(local.principal, {
      Sid      = "LetBatchVisionReadImages"
      Effect   = "Allow"
      Action   = ["kms:Decrypt"]
      Resource = "*"
    })
  ]
}
