resource "aws_s3_bucket" "this" {
  #checkov:skip=CKV_AWS_18:Access logs need a bucket of their own; an account that wants them has CloudTrail data events
  #checkov:skip=CKV_AWS_144:Images are copies of what the uploader has, and a model works in one Region
  #checkov:skip=CKV_AWS_145:S3 encrypts with its own keys unless kms_key_arn names a customer key
  #checkov:skip=CKV2_AWS_62:The source bucket has a notification; the final bucket has no listener
  bucket        = var.name
  force_destroy = var.force_destroy

  tags = var.tags
}

resource "aws_s3_bucket_versioning" "this" {
  bucket = aws_s3_bucket.this.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_ownership_controls" "this" {
  bucket = aws_s3_bucket.this.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_public_access_block" "this" {
  bucket = aws_s3_bucket.this.id

  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  bucket = aws_s3_bucket.this.id

  rule {
    # A bucket key saves nearly all requests to KMS.
    bucket_key_enabled = var.kms_key_arn != null

    apply_server_side_encryption_by_default {
      sse_algorithm     = var.kms_key_arn == null ? "AES256" : "aws:kms"
      kms_master_key_id = var.kms_key_arn
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "this" {
  bucket = aws_s3_bucket.this.id

  rule {
    id     = "remove-leftovers"
    status = "Enabled"

    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }

    # No days and no date: a current object never expires, only a delete marker with nothing behind it.
    expiration {
      expired_object_delete_marker = true
    }

    dynamic "noncurrent_version_expiration" {
      for_each = var.noncurrent_version_retention_days[*]

      content {
        noncurrent_days = noncurrent_version_expiration.value
      }
    }
  }

  dynamic "rule" {
    for_each = var.noncurrent_days_by_prefix

    content {
      id     = "remove-former-${trim(rule.key, "/")}"
      status = "Enabled"

      filter {
        prefix = rule.key
      }

      noncurrent_version_expiration {
        noncurrent_days = rule.value
      }
    }
  }

  dynamic "rule" {
    for_each = var.current_days_by_prefix

    content {
      id     = "remove-${trim(rule.key, "/")}"
      status = "Enabled"

      filter {
        prefix = rule.key
      }

      expiration {
        days = rule.value
      }
    }
  }

  # S3 takes a rule about noncurrent versions only for a versioned bucket.
  depends_on = [aws_s3_bucket_versioning.this]
}

data "aws_iam_policy_document" "this" {
  statement {
    sid       = "DenyInsecureTransport"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [aws_s3_bucket.this.arn, "${aws_s3_bucket.this.arn}/*"]

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

resource "aws_s3_bucket_policy" "this" {
  bucket = aws_s3_bucket.this.id
  policy = data.aws_iam_policy_document.this.json

  # S3 refuses to change a bucket's policy and its public access block at the same time.
  depends_on = [aws_s3_bucket_public_access_block.this]
}
