output "rule_name" {
  description = "Name of the rule"
  value       = aws_cloudwatch_event_rule.this.name
}

output "settings" {
  description = "What is set on the resources, for the tests of the whole module"
  value = {
    state      = aws_cloudwatch_event_rule.this.state
    expression = aws_cloudwatch_event_rule.this.schedule_expression
    tags       = [aws_cloudwatch_event_rule.this.tags, aws_iam_role.this.tags]
  }
}
