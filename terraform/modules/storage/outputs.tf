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
