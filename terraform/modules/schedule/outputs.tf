output "rule_name" {
  description = "Name of the rule"
  value       = aws_cloudwatch_event_rule.this.name
}

output "settings" {
  description = "What is set on the resources, for the tests of the whole module"
  value = {
    state      = aws_cloudwatch_event_rule.this.state
    input      = aws_cloudwatch_event_target.this.input
    expression = aws_cloudwatch_event_rule.this.schedule_expression
    role       = { path = aws_iam_role.this.path, permissions_boundary_arn = aws_iam_role.this.permissions_boundary }
    tags       = [aws_cloudwatch_event_rule.this.tags, aws_iam_role.this.tags]
  }
}
