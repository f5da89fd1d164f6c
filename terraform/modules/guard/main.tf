# When the watchdog is called. It is told everything by its input, for it must not depend on the workflow.
locals {
  input = {
    state_machine_arn         = var.state_machine_arn
    event_source_mapping_uuid = var.event_source_mapping_uuid
    backend                   = var.backend
    backend_settings          = var.backend_settings
    poll_seconds              = var.poll_seconds
    analyze_timeout_seconds   = var.analyze_timeout_seconds
    alert_topic_arn           = var.alert_topic_arn
  }
}

# ---------------------------------------------------------------------------------------------------------------------
# An execution that did not end well, and a slow schedule of its own
# ---------------------------------------------------------------------------------------------------------------------

resource "aws_cloudwatch_event_rule" "executions" {
  name        = "${var.name}-executions"
  description = "Calls the watchdog of batch-vision when an execution failed, timed out or was aborted"

  event_pattern = jsonencode({
    source        = ["aws.states"]
    "detail-type" = ["Step Functions Execution Status Change"]
    detail = {
      stateMachineArn = [var.state_machine_arn]
      status          = ["ABORTED", "FAILED", "TIMED_OUT"]
    }
  })

  tags = var.tags
}

resource "aws_cloudwatch_event_target" "executions" {
  rule = aws_cloudwatch_event_rule.executions.name
  arn  = var.function_arn

  input_transformer {
    input_paths = { execution_arn = "$.detail.executionArn", execution_status = "$.detail.status" }
    # A placeholder stands without quotes: EventBridge puts a text there with its own. (jsonencode escapes < and >.)
    input_template = replace(
      jsonencode(merge(local.input, {
        task             = "execution_ended"
        execution_arn    = "<execution_arn>"
        execution_status = "<execution_status>"
      })),
      "/\"\\\\u003c(execution_[a-z]+)\\\\u003e\"/",
      "<$1>",
    )
  }
}

resource "aws_cloudwatch_event_rule" "schedule" {
  name                = "${var.name}-schedule"
  description         = "Calls the watchdog of batch-vision whatever has happened"
  schedule_expression = var.schedule_expression

  tags = var.tags
}

resource "aws_cloudwatch_event_target" "schedule" {
  rule  = aws_cloudwatch_event_rule.schedule.name
  arn   = var.function_arn
  input = jsonencode(merge(local.input, { task = "tick" }))
}

resource "aws_lambda_permission" "this" {
  for_each = {
    executions = aws_cloudwatch_event_rule.executions.arn
    schedule   = aws_cloudwatch_event_rule.schedule.arn
  }

  statement_id  = "AllowRule-${each.key}"
  action        = "lambda:InvokeFunction"
  function_name = var.function_arn
  principal     = "events.amazonaws.com"
  source_arn    = each.value
}

# Three attempts, each as long as the function may take: longer than AWS says that a model needs to start, for one that
# is starting cannot be stopped.
resource "aws_lambda_function_event_invoke_config" "this" {
  function_name          = var.function_arn
  maximum_retry_attempts = 2
}

# ---------------------------------------------------------------------------------------------------------------------
# The end of a model's use and of the deployment: what matters of these two is that they are destroyed
# ---------------------------------------------------------------------------------------------------------------------

# Replaced when the deployment gets another model. Terraform destroys it before it changes anything that this module
# depends on; when that fails, so does the apply, and the next one tries again. (Of an update that
# fails the provider would keep the new input, and the former model would be forgotten.)
resource "aws_lambda_invocation" "model" {
  function_name   = var.function_arn
  lifecycle_scope = "CRUD"
  input           = jsonencode(merge(local.input, { task = "release_model" }))

  triggers = {
    backend          = var.backend
    backend_settings = jsonencode(var.backend_settings)
  }

  depends_on = [
    aws_cloudwatch_event_target.executions,
    aws_cloudwatch_event_target.schedule,
    aws_lambda_function_event_invoke_config.this,
    aws_lambda_permission.this,
  ]
}

# Destroyed right after the schedule of the runs, and before everything else.
resource "aws_lambda_invocation" "deployment" {
  function_name   = var.function_arn
  lifecycle_scope = "CRUD"
  input           = jsonencode(merge(local.input, { task = "shut_down" }))

  depends_on = [aws_lambda_invocation.model]
}
