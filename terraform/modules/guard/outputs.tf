output "state_machine_arn" {
  description = "ARN of the state machine, for whatever starts executions of it: made after the watchdog is in place, and destroyed before the watchdog stops everything for good"
  value       = var.state_machine_arn

  depends_on = [aws_lambda_invocation.deployment]
}

output "settings" {
  description = "What is set on the resources, for the tests of the whole module"
  value = {
    input      = local.input
    expression = aws_cloudwatch_event_rule.schedule.schedule_expression
    tags       = [aws_cloudwatch_event_rule.executions.tags, aws_cloudwatch_event_rule.schedule.tags]
  }
}
