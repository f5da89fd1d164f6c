output "state_machine_arn" {
  description = "ARN of the state machine"
  value       = aws_sfn_state_machine.this.arn
}

output "settings" {
  description = "What is set on the resources, for the tests of the whole module"
  value = {
    log_level          = aws_sfn_state_machine.this.logging_configuration[0].level
    log_retention_days = aws_cloudwatch_log_group.this.retention_in_days
    kms_key_arn        = aws_cloudwatch_log_group.this.kms_key_id
    role               = { path = aws_iam_role.this.path, permissions_boundary_arn = aws_iam_role.this.permissions_boundary }
    tags               = [aws_sfn_state_machine.this.tags, aws_iam_role.this.tags, aws_cloudwatch_log_group.this.tags]
  }
}
