output "topic_arn" {
  description = "ARN of the topic"
  value       = aws_sns_topic.this.arn
}

output "role_arn" {
  description = "ARN of the role with which Rekognition publishes to the topic"
  value       = aws_iam_role.this.arn

  # Rekognition refuses a job whose role may not publish yet.
  depends_on = [aws_iam_role_policy.publish]
}

output "hint_queue_url" {
  description = "URL of the queue of hints"
  value       = aws_sqs_queue.this.url
}

output "hint_queue_arn" {
  description = "ARN of the queue of hints"
  value       = aws_sqs_queue.this.arn
}

output "settings" {
  description = "What is set on the resources, for the tests of the whole module"
  value = {
    visibility_timeout_seconds = aws_sqs_queue.this.visibility_timeout_seconds
    kms_key_arns               = [aws_sns_topic.this.kms_master_key_id, aws_sqs_queue.this.kms_master_key_id]
    role                       = { path = aws_iam_role.this.path, permissions_boundary_arn = aws_iam_role.this.permissions_boundary }
    tags                       = [aws_sns_topic.this.tags, aws_sqs_queue.this.tags, aws_iam_role.this.tags]
  }
}
