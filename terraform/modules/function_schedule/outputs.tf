output "settings" {
  description = "What is set on the resources, for the tests of the whole module"
  value = {
    state      = aws_cloudwatch_event_rule.this.state
    expression = aws_cloudwatch_event_rule.this.schedule_expression
    target_arn = aws_cloudwatch_event_target.this.arn
    tags       = [aws_cloudwatch_event_rule.this.tags]
  }
}
