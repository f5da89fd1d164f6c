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
