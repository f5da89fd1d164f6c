# One page that answers: is it running, how far is it, what went wrong, what did it cost. Thresholds of alarms are drawn.
locals {
  states = { for name in ["ExecutionsStarted", "ExecutionsSucceeded", "ExecutionsFailed", "ExecutionsTimedOut", "ExecutionsAborted"] :
  name => ["AWS/States", name, "StateMachineArn", var.state_machine_arn] }
  videos = { for name in ["VideosWaiting", "JobsRunning", "MinutesToday", "OldestWaitingSeconds", "OldestUncollectedSeconds", "StartErrors", "StartsRefused", "JobsPastDeadline"] :
  name => ["BatchVision", name, "service", var.name] }
  own = { for name in ["ModelOn", "ImagesProcessed", "ImagesRejected", local.given_up_metric, "RejectedPercent", "ModelOnSeconds", "CostDollars", "RunThrottles", "GuardFailed"] :
  name => ["BatchVision", name, "service", var.name] }
  calls = { for operation in var.operations : operation => {
    for name in ["CallsMade", "CallsThrottled"] : name => ["BatchVision", name, "service", var.name, "operation", operation]
  } }
  dead_letters = concat(["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", var.dead_letter_queue_name], [{ stat = "Maximum" }])

  messages_graph = {
    title = "How far: messages that wait, and are with a function"
    stat  = "Maximum"
    metrics = [
      ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", var.queue_name],
      ["AWS/SQS", "ApproximateNumberOfMessagesNotVisible", "QueueName", var.queue_name],
    ]
    lines = []
  }
  oldest_message_graph = {
    title   = "What went wrong: age of the oldest message, seconds"
    stat    = "Maximum"
    metrics = [["AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", var.queue_name]]
    lines   = [{ label = "oldest-message", value = local.oldest_message_alarm_seconds }]
  }
  function_graph = {
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
  }

  run_graphs = [
    {
      title   = "Is it running: model on, as the watchdog sees it, and runs begun"
      stat    = "Maximum"
      metrics = [local.own["ModelOn"], concat(local.states["ExecutionsStarted"], [{ stat = "Sum" }])]
      lines   = []
    },
    local.messages_graph,
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
        local.dead_letters,
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
    local.oldest_message_graph,
    local.function_graph,
    {
      title   = "Seconds that the model was on, by run"
      stat    = "Maximum"
      metrics = [local.own["ModelOnSeconds"]]
      lines   = [{ label = "model-on-long", value = 3600 * local.model_on_hours }]
    },
  ]

  managed_graphs = [
    {
      title   = "How fast: images done in an hour"
      stat    = "Sum"
      period  = 3600
      metrics = [local.own["ImagesProcessed"], local.own["ImagesRejected"]]
      lines   = []
    },
    local.messages_graph,
    local.oldest_message_graph,
    {
      title   = "What it cost: calls, each of which is paid for, in 5 minutes"
      stat    = "Sum"
      metrics = [for calls in values(local.calls) : calls["CallsMade"]]
      lines   = []
    },
    {
      title   = "What went wrong: calls that the service refused in 5 minutes"
      stat    = "Sum"
      metrics = [for calls in values(local.calls) : calls["CallsThrottled"]]
      lines   = []
    },
    {
      title   = "What went wrong: dead letters, and images that were given up"
      stat    = "Maximum"
      metrics = [local.dead_letters, local.own[local.given_up_metric]]
      lines   = []
    },
    local.function_graph,
  ]

  change_graphs = [
    {
      title = "What went wrong: changes of the images bucket that were not delivered"
      stat  = "Sum"
      metrics = concat(
        [["AWS/Events", "FailedInvocations", "RuleName", try(var.changes.rule_name, null)]],
        [
          for queue in compact([try(var.changes.rule_dead_letter_queue_name, null), try(var.changes.dead_letter_queue_name, null)]) :
          concat(["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", queue], [{ stat = "Maximum" }])
        ],
      )
      lines = []
    },
  ]

  video_graphs = [
    {
      title   = "How far: videos that wait, and jobs that run"
      stat    = "Maximum"
      metrics = [local.videos["VideosWaiting"], local.videos["JobsRunning"]]
      lines   = []
    },
    {
      title   = "What it cost: minutes of video that were started today, by UTC"
      stat    = "Maximum"
      metrics = [local.videos["MinutesToday"]]
      lines   = [{ label = "max_minutes_per_day", value = try(var.videos.max_minutes_per_day, null) }]
    },
    {
      title = "What went wrong: jobs of videos, and their dead letters"
      stat  = "Maximum"
      metrics = concat(
        [for name in ["JobsPastDeadline", "StartErrors", "StartsRefused"] : local.videos[name]],
        [
          for queue in compact([try(var.videos.dead_letter_queue_name, null), try(var.videos.rule_dead_letter_queue_name, null)]) :
          ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", queue]
        ],
        [for name in var.videos[*].dispatch_function_name : concat(["AWS/Lambda", "Errors", "FunctionName", name], [{ stat = "Sum" }])],
      )
      lines = []
    },
    {
      title   = "How long: the oldest video that waits, and the oldest job that is not collected, seconds"
      stat    = "Maximum"
      metrics = [local.videos["OldestWaitingSeconds"], local.videos["OldestUncollectedSeconds"]]
      lines   = [{ label = "video-uncollected", value = local.uncollected_days * 86400 }]
    },
  ]

  graphs = concat(
    [for graph in local.run_graphs : graph if var.is_hosted],
    [for graph in local.managed_graphs : graph if var.has_images && !var.is_hosted],
    [for graph in local.change_graphs : graph if var.changes != null],
    [for graph in local.video_graphs : graph if var.videos != null],
  )
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
            period  = try(graph.period, 300)
            metrics = graph.metrics
          },
          # Left out where there is no line: CloudWatch refuses some empty lists, and documents for none that it takes it.
          { for lines in [graph.lines] : "annotations" => { horizontal = lines } if length(lines) > 0 },
        )
      }
    ]
  })
}
