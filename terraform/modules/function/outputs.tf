output "function_name" {
  description = "Name of the function"
  value       = aws_lambda_function.this.function_name
}

output "function_arn" {
  description = "ARN of the function"
  value       = aws_lambda_function.this.arn

  # Lambda refuses an event source mapping for a function whose role may not read the queue yet.
  depends_on = [aws_iam_role_policy.this]
}

output "settings" {
  description = "What is set on the resources, for the tests of the whole module"
  value = {
    architectures        = aws_lambda_function.this.architectures
    package_key          = aws_lambda_function.this.s3_key
    memory_mb            = aws_lambda_function.this.memory_size
    timeout_seconds      = aws_lambda_function.this.timeout
    reserved_concurrency = aws_lambda_function.this.reserved_concurrent_executions
    log_retention_days   = aws_cloudwatch_log_group.this.retention_in_days
    kms_key_arn          = aws_cloudwatch_log_group.this.kms_key_id
    environment_key_arn  = aws_lambda_function.this.kms_key_arn
    role                 = { path = aws_iam_role.this.path, permissions_boundary_arn = aws_iam_role.this.permissions_boundary }
    tags                 = [aws_lambda_function.this.tags, aws_iam_role.this.tags, aws_cloudwatch_log_group.this.tags]
  }
}
