output "topic_arn" {
  description = "ARN of the topic"
  value       = aws_sns_topic.this.arn
}

output "settings" {
  description = "What is set on the resources, for the tests of the whole module"
  value = {
    kms_key_arn     = aws_sns_topic.this.kms_master_key_id
    email_addresses = [for subscription in aws_sns_topic_subscription.email : subscription.endpoint]
    tags            = [aws_sns_topic.this.tags]
  }
}
