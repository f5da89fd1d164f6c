output "queue_name" {
  description = "Name of the queue"
  value       = aws_sqs_queue.this.name
}

output "dead_letter_queue_name" {
  description = "Name of the dead-letter queue"
  value       = aws_sqs_queue.dead_letter.name
}

output "queue_url" {
  description = "URL of the queue"
  value       = aws_sqs_queue.this.url
}

output "queue_arn" {
  description = "ARN of the queue"
  value       = aws_sqs_queue.this.arn
}

output "dead_letter_queue_url" {
  description = "URL of the dead-letter queue"
  value       = aws_sqs_queue.dead_letter.url
}

output "dead_letter_queue_arn" {
  description = "ARN of the dead-letter queue"
  value       = aws_sqs_queue.dead_letter.arn
}

output "settings" {
  description = "What is set on the resources, for the tests of the whole module"
  value = {
    visibility_timeout_seconds    = aws_sqs_queue.this.visibility_timeout_seconds
    message_retention_seconds     = aws_sqs_queue.this.message_retention_seconds
    dead_letter_retention_seconds = aws_sqs_queue.dead_letter.message_retention_seconds
    max_receive_count             = jsondecode(aws_sqs_queue.this.redrive_policy).maxReceiveCount
    kms_key_arns                  = [aws_sqs_queue.this.kms_master_key_id, aws_sqs_queue.dead_letter.kms_master_key_id]
    tags                          = [aws_sqs_queue.this.tags, aws_sqs_queue.dead_letter.tags]
  }
}
