# One page that answers: is it running, how far is it, what went wrong, what did it cost. Thresholds of alarms are drawn.
locals {
  states = { for name in ["ExecutionsStarted", "ExecutionsSucceeded", "ExecutionsFailed", "ExecutionsTimedOut", "ExecutionsAborted"] :
  name => ["AWS/States", name, "StateMachineArn", var.state_machine_arn] }
  own = { for name in ["ModelOn", "ImagesProcessed", "ImagesRejected", "RejectedPercent", "ModelOnSeconds", "CostDollars", "RunThrottles", "GuardFailed"] :
  name => ["BatchVision", name, "service", var.name] }

  graphs = [
    {
      title   = "Is it running: model on, as the watchdog sees it, and runs begun"
      stat    = "Maximum"
      metrics = [local.own["ModelOn"], concat(local.states["ExecutionsStarted"], [{ stat = "Sum" }])]
      lines   = []
    },
    {
      title = "How far: messages that wait, and are with a function"
      stat  = "Maximum"
      metrics = [
        ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", var.queue_name],
        ["AWS/SQS", "ApproximateNumberOfMessagesNotVisible", "QueueName", var.queue_name],
      ]
      lines = []
    },
    {
      title   = "How far: images done in 5 minutes"
      stat    = "Sum"
      metrics = [local.own["ImagesProcessed"], local.own["ImagesRejected"]]
      lines   = []
    },
    {
      title   = "What it cost: dollars for the model, at most, by run"
      stat    = "Sum"
      metrics = [local.own["CostDollars"]]
      lines   = []
    },
    {
      title = "What went wrong: runs, dead letters, the watchdog"
      stat  = "Sum"
      metrics = concat([for name in ["ExecutionsFailed", "ExecutionsTimedOut", "ExecutionsAborted"] : local.states[name]], [
        concat(["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", var.dead_letter_queue_name], [{ stat = "Maximum" }]),
        local.own["GuardFailed"],
      ])
      lines = []
    },
    {
      title   = "What went wrong: share of rejected images in a run, percent"
      stat    = "Maximum"
      metrics = [local.own["RejectedPercent"]]
      lines   = [{ label = "rejected", value = var.rejected_percent }]
    },
    {
      title   = "What went wrong: age of the oldest message, seconds"
      stat    = "Maximum"
      metrics = [["AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", var.queue_name]]
      lines   = [{ label = "oldest-message", value = local.oldest_message_alarm_seconds }]
    },
    {
      title = "What went wrong: errors and throttles of the analyzing function"
      stat  = "Sum"
      metrics = [
        ["AWS/Lambda", "Errors", "FunctionName", var.analyze_function_name],
        ["AWS/Lambda", "Throttles", "FunctionName", var.analyze_function_name],
      ]
      lines = [
        { label = "analyze-errors", value = var.function_errors },
        { label = "analyze-throttles", value = var.function_throttles },
      ]
    },
    {
      title   = "Seconds that the model was on, by run"
      stat    = "Maximum"
      metrics = [local.own["ModelOnSeconds"]]
      lines   = [{ label = "model-on-long", value = 3600 * local.model_on_hours }]
    },
  ]
}

resource "aws_cloudwatch_dashboard" "this" {
  count = var.parts.dashboard ? 1 : 0

  # Dashboards belong to an account and to no Region: without it, deployments in two Regions would share one.
  dashboard_name = "${var.name}-${var.region}"
  dashboard_body = jsonencode({
    widgets = [
      for number, graph in local.graphs : {
        type   = "metric"
        x      = 8 * (number % 3)
        y      = 6 * floor(number / 3)
        width  = 8
        height = 6
        properties = merge(
          {
            title   = graph.title
            region  = var.region
            view    = "timeSeries"
            stat    = graph.stat
            period  = 300
            metrics = graph.metrics
          },
          # Left out where there is no line: CloudWatch refuses some empty lists, and documents for none that it takes it.
          { for lines in [graph.lines] : "annotations" => { horizontal = lines } if length(lines) > 0 },
        )
      }
    ]
  })
}
