locals {
  own_metrics = { service = var.name }

  # CloudWatch looks back for up to a day, or for seven in periods of an hour or more.
  model_on_hours   = ceil(var.model_on_seconds / 3600)
  missing_seconds  = var.no_run_seconds == null ? 0 : ceil(var.no_run_seconds / 60) * 60
  missing_days     = ceil(local.missing_seconds / 86400)
  looks_for_no_run = local.missing_seconds > 0 && local.missing_days <= 7

  oldest_message_alarm_seconds = floor(var.message_retention_seconds * var.oldest_message_percent / 100)

  # The first sentence of each description is what to do.
  all_alarms = {
    dead-letters = {
      description = "Look at what failed in the log of the analyzing function, mend it, then: batch-vision retry (or make redrive). Messages are in the dead-letter queue: their images were tried too often and are still in the source bucket, where no run takes them."
      namespace   = "AWS/SQS"
      metric_name = "ApproximateNumberOfMessagesVisible"
      statistic   = "Maximum"
      dimensions  = { QueueName = var.dead_letter_queue_name }
      threshold   = 0
    }

    oldest-message = {
      description = "Start a run: batch-vision run --watch. If it fails, its error says what to mend. The oldest message has waited for more than ${var.oldest_message_percent}% of the time after which SQS deletes it; its image would then wait for a run that finds it in the bucket."
      namespace   = "AWS/SQS"
      metric_name = "ApproximateAgeOfOldestMessage"
      statistic   = "Maximum"
      dimensions  = { QueueName = var.queue_name }
      threshold   = local.oldest_message_alarm_seconds
    }

    run-failed = {
      description = "See which error the run names, with batch-vision status, and what to do about it in docs/operations.md. Images are safe: they wait for the next run."
      namespace   = "AWS/States"
      metric_name = "ExecutionsFailed"
      statistic   = "Sum"
      dimensions  = { StateMachineArn = var.state_machine_arn }
      threshold   = 0
    }

    run-timed-out = {
      description = "See that the model is stopped, with batch-vision status; if not: batch-vision stop. A run took longer than all its bounds together, which none should; the watchdog was called to stop the model."
      namespace   = "AWS/States"
      metric_name = "ExecutionsTimedOut"
      statistic   = "Sum"
      dimensions  = { StateMachineArn = var.state_machine_arn }
      threshold   = 0
    }

    run-aborted = {
      description = "See that the model is stopped, with batch-vision status; if not: batch-vision stop. Somebody stopped a run; the watchdog was called to stop the model, and the next run takes the images that are left."
      namespace   = "AWS/States"
      metric_name = "ExecutionsAborted"
      statistic   = "Sum"
      dimensions  = { StateMachineArn = var.state_machine_arn }
      threshold   = 0
    }

    watchdog-failed = {
      description = "Stop the model: batch-vision stop. Then see in the log of the watchdog why it could not. Until then the model may be costing money."
      namespace   = "AWS/Lambda"
      metric_name = "Errors"
      statistic   = "Sum"
      dimensions  = { FunctionName = var.guard_function_name }
      threshold   = 0
    }

    analyze-errors = {
      description = "Look at what failed in the log of the analyzing function, then see how the run stands: batch-vision status. It ended without an answer (crashed, out of time or memory) more than ${var.function_errors} times in five minutes; its images are tried again."
      namespace   = "AWS/Lambda"
      metric_name = "Errors"
      statistic   = "Sum"
      dimensions  = { FunctionName = var.analyze_function_name }
      threshold   = var.function_errors
    }

    analyze-throttles = {
      description = "Give the account more concurrent executions of Lambda, or lower max_concurrency; then: batch-vision status. Lambda refused to run the analyzing function more than ${var.function_throttles} times in five minutes."
      namespace   = "AWS/Lambda"
      metric_name = "Throttles"
      statistic   = "Sum"
      dimensions  = { FunctionName = var.analyze_function_name }
      threshold   = var.function_throttles
    }

    model-on-long = {
      description = "See what the run waits for, with batch-vision status; to end it: batch-vision stop. The watchdog has found the model on at each of its looks for ${local.model_on_hours} hours."
      namespace   = "BatchVision"
      metric_name = "ModelOn"
      statistic   = "Minimum"
      dimensions  = local.own_metrics
      threshold   = 0
      period      = 3600
      periods     = local.model_on_hours
    }

    model-without-run = {
      description = "Stop the model: batch-vision stop. The watchdog has found it on without a run at each of its looks for half an hour, and could not end that."
      namespace   = "BatchVision"
      metric_name = "ModelOnWithoutRun"
      statistic   = "Minimum"
      dimensions  = local.own_metrics
      threshold   = 0
      period      = 1800
    }

    rejected = {
      description = "Look at why images are rejected: batch-vision results --status rejected. More than ${var.rejected_percent}% of the images of a run were; when it was not their fault: batch-vision retry --rejected."
      namespace   = "BatchVision"
      metric_name = "RejectedPercent"
      statistic   = "Maximum"
      dimensions  = local.own_metrics
      threshold   = var.rejected_percent
    }

    no-run = {
      description = "Start a run, batch-vision run --watch, and see that the rule of the schedule is enabled. None began for ${local.missing_seconds} seconds, or none yet since the first apply."
      namespace   = "AWS/States"
      metric_name = "ExecutionsStarted"
      statistic   = "Sum"
      dimensions  = { StateMachineArn = var.state_machine_arn }
      threshold   = 1
      comparison  = "LessThanThreshold"
      missing     = "breaching"
      period      = local.missing_days > 1 ? 86400 : local.missing_seconds
      periods     = max(1, local.missing_days)
    }
  }

  alarms = { for name, alarm in local.all_alarms : name => alarm if var.parts.alarms && (name != "no-run" || local.looks_for_no_run) }

  # The watchdog tells of these itself, with more than an alarm knows: one bad end is one mail.
  told_by_watchdog = ["run-failed", "run-timed-out", "run-aborted"]
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = local.alarms

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.description
  namespace           = each.value.namespace
  metric_name         = each.value.metric_name
  dimensions          = each.value.dimensions
  statistic           = each.value.statistic
  period              = try(each.value.period, 300)
  evaluation_periods  = try(each.value.periods, 1)
  threshold           = each.value.threshold
  comparison_operator = try(each.value.comparison, "GreaterThanThreshold")
  # No metric means that nothing happened: queues that nobody uses report none.
  treat_missing_data = try(each.value.missing, "notBreaching")
  alarm_actions      = contains(local.told_by_watchdog, each.key) ? [] : [var.alert_topic_arn]

  tags = var.tags
}
