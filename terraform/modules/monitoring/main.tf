locals {
  oldest_message_alarm_seconds = floor(var.message_retention_seconds * var.oldest_message_alarm_percent / 100)

  # The first sentence of each description is what to do. All look at what AWS counts by itself.
  alarms = {
    dead-letters = {
      description = "Look at what failed in the log of the analyzing function, mend it, then: batch-vision retry (or make redrive). Messages are in the dead-letter queue: their images were tried too often and are still in the source bucket, where no run takes them."
      namespace   = "AWS/SQS"
      metric_name = "ApproximateNumberOfMessagesVisible"
      statistic   = "Maximum"
      dimensions  = { QueueName = var.dead_letter_queue_name }
      threshold   = 0
    }

    oldest-message = {
      description = "Start a run: batch-vision run --watch. If it fails, its error says what to mend. The oldest message has waited for more than ${var.oldest_message_alarm_percent}% of the time after which SQS deletes it; its image would then wait for a run that finds it in the bucket."
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
  }
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = local.alarms

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.description
  namespace           = each.value.namespace
  metric_name         = each.value.metric_name
  dimensions          = each.value.dimensions
  statistic           = each.value.statistic
  period              = 300
  evaluation_periods  = 1
  threshold           = each.value.threshold
  comparison_operator = "GreaterThanThreshold"
  # No metric means that nothing happened: queues that nobody uses report none.
  treat_missing_data = "notBreaching"
  alarm_actions      = [var.alert_topic_arn]

  tags = var.tags
}
