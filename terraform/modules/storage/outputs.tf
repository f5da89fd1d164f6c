output "bucket_name" {
  description = "Name of the bucket"
  value       = aws_s3_bucket.this.id

  # Whoever uses the bucket finds it versioned, or its first objects would have no version.
  depends_on = [aws_s3_bucket_versioning.this]
}

output "bucket_arn" {
  description = "ARN of the bucket"
  value       = aws_s3_bucket.this.arn
}

output "settings" {
  description = "What is set on the resources, for the tests of the whole module"
  value = {
    force_destroy = aws_s3_bucket.this.force_destroy
    kms_key_arn   = one(aws_s3_bucket_server_side_encryption_configuration.this.rule).apply_server_side_encryption_by_default[0].kms_master_key_id
    tags          = [aws_s3_bucket.this.tags]
  }
}
