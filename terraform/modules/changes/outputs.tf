output "rule_name" {
  description = "Name of the rule"
  value       = aws_cloudwatch_event_rule.this.name
}

output "dead_letter_queue_url" {
  description = "URL of the queue of events that the rule could not deliver"
  value       = aws_sqs_queue.dead_letter.url
}

output "dead_letter_queue_name" {
  description = "Name of the queue of events that the rule could not deliver"
  value       = aws_sqs_queue.dead_letter.name
}

output "settings" {
  description = "What is set on the resources, for the tests of the whole module"
  value = {
    pattern         = jsondecode(aws_cloudwatch_event_rule.this.event_pattern)
    target_arn      = aws_cloudwatch_event_target.this.arn
    admits_accounts = aws_cloudwatch_event_permission.owner[*].principal
    kms_key_arn     = aws_sqs_queue.dead_letter.kms_master_key_id
    tags            = [aws_cloudwatch_event_rule.this.tags, aws_sqs_queue.dead_letter.tags]
  }
}
