locals {
  own_metrics = { service = var.name }

  # CloudWatch looks back for up to a day, or for seven in periods of an hour or more.
  model_on_hours   = ceil(var.model_on_seconds / 3600)
  missing_seconds  = var.no_run_seconds == null ? 0 : ceil(var.no_run_seconds / 60) * 60
  missing_days     = ceil(local.missing_seconds / 86400)
  looks_for_no_run = local.missing_seconds > 0 && local.missing_days <= 7

  oldest_message_alarm_seconds = floor(var.message_retention_seconds * var.oldest_message_percent / 100)

  # What is given up in an existing bucket has a result that says so.
  given_up_metric = var.changes == null ? "ImagesStuck" : "ImagesFailed"

  # The first sentence of each description is what to do.
  common_alarms = {
    compaction-failed = {
      description = "Look at the error in the log of the function that makes an index of the catalog: it says what to do. No result is lost (batch-vision status), and the next ${var.is_hosted ? "run" : "hour"} tries again. Searches still work, but read more objects."
      namespace   = "AWS/Lambda"
      metric_name = "Errors"
      statistic   = "Sum"
      dimensions  = { FunctionName = var.compact_function_name }
      threshold   = 0
    }
  }

  # Of images, whatever the model.
  image_alarms = {
    dead-letters = {
      description = "Look at what failed in the log of the analyzing function, mend it, then: batch-vision retry (or make redrive). Messages are in the dead-letter queue, because the function died at each of their deliveries. Their images are still in their bucket.${var.is_hosted ? " The next run gives them up, and the alarm stuck goes off." : ""}"
      namespace   = "AWS/SQS"
      metric_name = "ApproximateNumberOfMessagesVisible"
      statistic   = "Maximum"
      dimensions  = { QueueName = var.dead_letter_queue_name }
      threshold   = 0
    }

    oldest-message = {
      description = "${var.is_hosted && var.changes == null ? "Start a run: batch-vision run --watch. If it fails, its error says what to mend." : "See what holds the images up, with batch-vision status: the mapping must be enabled, and the quotas of the service enough for what is uploaded."} The oldest message has waited for more than ${var.oldest_message_percent}% of the time after which SQS deletes it; ${var.changes == null ? "its image would then wait until it is looked for in the bucket" : "nobody would look at its image then, until it is uploaded again"}."
      namespace   = "AWS/SQS"
      metric_name = "ApproximateAgeOfOldestMessage"
      statistic   = "Maximum"
      dimensions  = { QueueName = var.queue_name }
      threshold   = local.oldest_message_alarm_seconds
    }

    analyze-errors = {
      description = "Look at what failed in the log of the analyzing function, then see how the images stand: batch-vision status. It ended without an answer (crashed, out of time or memory) more than ${var.function_errors} times in five minutes; its images are tried again."
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

    # Counted where an image is given up, and by the summary of each run that leaves some: not by a tick that does nothing.
    stuck = {
      description = "See why images were given up and what mends that, with batch-vision status; then: batch-vision retry. They are still in their bucket, where they start no model and block no other image."
      namespace   = "BatchVision"
      metric_name = local.given_up_metric
      statistic   = "Maximum"
      dimensions  = local.own_metrics
      threshold   = 0
    }
  }

  # Of a model that is started and stopped by runs.
  run_alarms = {
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

  # Of a managed model. Its service counts each operation apart, and so are its refusals: one alarm for each quota.
  managed_alarms = merge(
    {
      rejected = {
        description = "Look at why images are rejected: batch-vision results --status rejected. More than ${var.rejected_percent}% of the images of an hour were; when it was not their fault: batch-vision retry --rejected."
        threshold   = var.rejected_percent
        # Of a handful, one is a large share.
        expression = "IF(processed + rejected >= 20, 100 * rejected / (processed + rejected), 0)"
        metrics = {
          processed = { name = "ImagesProcessed", dimensions = local.own_metrics }
          rejected  = { name = "ImagesRejected", dimensions = local.own_metrics }
        }
      }
    },
    {
      for operation in var.operations : "refused-calls-${operation}" => {
        description = "Lower rekognition.quota_share_percent, or ask AWS for a greater quota of ${operation} and say it in rekognition.quotas. Somebody else in the account uses it too: the service refused more than ${var.refused_calls_percent}% of the calls of an hour. They are repeated, and nothing is lost."
        threshold   = var.refused_calls_percent
        expression  = "IF(made >= 100, 100 * refused / made, 0)"
        metrics = {
          made    = { name = "CallsMade", dimensions = merge(local.own_metrics, { operation = operation }) }
          refused = { name = "CallsThrottled", dimensions = merge(local.own_metrics, { operation = operation }) }
        }
      }
    },
  )

  # Of an existing bucket. Executions that are aborted are left out: pausing and cancelling a backfill does that.
  backfill_alarms = {
    backfill-failed = {
      description = "See which error the backfill names, with batch-vision backfill --status, mend it, then: batch-vision backfill --resume --job JOB. A backfill or a scheduled sweep failed, or left images that it could not analyze. They wait, and nothing is paid for twice."
      namespace   = "AWS/States"
      metric_name = "ExecutionsFailed"
      statistic   = "Sum"
      dimensions  = { StateMachineArn = var.backfill_arn }
      threshold   = 0
    }

    backfill-timed-out = {
      description = "Go on with the backfill: batch-vision backfill --resume. An execution of it took a year, the longest that Step Functions allows; what is left waits."
      namespace   = "AWS/States"
      metric_name = "ExecutionsTimedOut"
      statistic   = "Sum"
      dimensions  = { StateMachineArn = var.backfill_arn }
      threshold   = 0
    }
  }

  # Of changes in an existing bucket on their way to a queue.
  change_alarms = {
    rule-failed = {
      description = "See that the queue admits the rule, and with kms_key_arn that the key's policy allows events.amazonaws.com to use it. EventBridge could not deliver changes of the images bucket. They are in the rule's dead-letter queue where that took them; a new upload of an image, or batch-vision retry, brings its result up to date."
      namespace   = "AWS/Events"
      metric_name = "FailedInvocations"
      statistic   = "Sum"
      dimensions  = { RuleName = try(var.changes.rule_name, null) }
      threshold   = 0
    }

    rule-dead-letters = {
      description = "Mend what the alarm rule-failed tells of, then: batch-vision retry. EventBridge gave up changes of the images bucket; results do not follow them until then."
      namespace   = "AWS/SQS"
      metric_name = "ApproximateNumberOfMessagesVisible"
      statistic   = "Maximum"
      dimensions  = { QueueName = try(var.changes.rule_dead_letter_queue_name, null) }
      threshold   = 0
    }
  }

  # Of the function that looks at changes before the model is needed.
  collecting_alarms = {
    change-dead-letters = {
      description = "Look at what failed in the log of the function that collects changes, mend it, then: batch-vision retry. The function died at each delivery of some changes, and nobody has looked at their images."
      namespace   = "AWS/SQS"
      metric_name = "ApproximateNumberOfMessagesVisible"
      statistic   = "Maximum"
      dimensions  = { QueueName = try(var.changes.dead_letter_queue_name, null) }
      threshold   = 0
    }

    collect-throttles = {
      description = "Give the account more concurrent executions of Lambda. Lambda refused to run the function that collects changes more than ${var.function_throttles} times in five minutes; they wait in the queue meanwhile."
      namespace   = "AWS/Lambda"
      metric_name = "Throttles"
      statistic   = "Sum"
      dimensions  = { FunctionName = try(var.changes.function_name, null) }
      threshold   = var.function_throttles
    }

    collect-errors = {
      description = "Look at what failed in the log of the function that collects changes. It ended without an answer (crashed, out of time or memory) more than ${var.function_errors} times in five minutes; the changes are looked at again."
      namespace   = "AWS/Lambda"
      metric_name = "Errors"
      statistic   = "Sum"
      dimensions  = { FunctionName = try(var.changes.function_name, null) }
      threshold   = var.function_errors
    }
  }

  # Rekognition keeps the results of a job for seven days. The dispatcher reports each minute.
  uncollected_days = 5
  video_alarms = {
    video-dispatch-failed = {
      description = "Look at the error in the log of the function that dispatches videos, and mend it. It failed at each of its ticks of a quarter of an hour: no video is started or finished until then. None is lost; batch-vision status says what waits."
      namespace   = "AWS/Lambda"
      metric_name = "Errors"
      statistic   = "Minimum"
      dimensions  = { FunctionName = try(var.videos.dispatch_function_name, null) }
      threshold   = 0
      period      = 900
    }

    video-dead-letters = {
      description = "Look at what failed in the log of the function that registers videos, mend it, then: batch-vision retry. The function died at each delivery of some uploads, and nobody has looked at their videos, which are still in their bucket."
      namespace   = "AWS/SQS"
      metric_name = "ApproximateNumberOfMessagesVisible"
      statistic   = "Maximum"
      dimensions  = { QueueName = try(var.videos.dead_letter_queue_name, null) }
      threshold   = 0
    }

    video-past-deadline = {
      description = "See which video it is, with batch-vision status; to pay for it once more: batch-vision retry, or, where another analysis has answered, upload it again. Rekognition has not ended a job in four times the length of its video, and an hour at least; the job was given up, and none is started in its place."
      namespace   = "BatchVision"
      metric_name = "JobsPastDeadline"
      statistic   = "Maximum"
      dimensions  = local.own_metrics
      threshold   = 0
    }

    video-uncollected = {
      description = "Look at what failed in the log of the function that collects videos, and mend it within two days: Rekognition then deletes what was paid for. A job ended more than ${local.uncollected_days} days ago, and its results are not written; batch-vision status says of which video."
      namespace   = "BatchVision"
      metric_name = "OldestUncollectedSeconds"
      statistic   = "Maximum"
      dimensions  = local.own_metrics
      threshold   = local.uncollected_days * 86400
    }

    video-start-errors = {
      description = "See why Rekognition refuses to start jobs, with batch-vision status: most often a permission on the bucket, its key or the publishing role. Mend it; the videos wait, and are tried again by themselves."
      namespace   = "BatchVision"
      metric_name = "StartErrors"
      statistic   = "Sum"
      dimensions  = local.own_metrics
      threshold   = 0
    }
  }

  # Of changes in an existing bucket of videos.
  video_change_alarms = {
    video-rule-failed = {
      description = "See that the queue of videos admits the rule, and with kms_key_arn that the key's policy allows events.amazonaws.com to use it. EventBridge could not deliver changes of the videos bucket. They are in the rule's dead-letter queue where that took them; a new upload of a video, or batch-vision retry, brings its result up to date."
      namespace   = "AWS/Events"
      metric_name = "FailedInvocations"
      statistic   = "Sum"
      dimensions  = { RuleName = try(var.videos.rule_name, null) }
      threshold   = 0
    }

    video-rule-dead-letters = {
      description = "Mend what the alarm video-rule-failed tells of, then: batch-vision retry. EventBridge gave up changes of the videos bucket; results do not follow them until then."
      namespace   = "AWS/SQS"
      metric_name = "ApproximateNumberOfMessagesVisible"
      statistic   = "Maximum"
      dimensions  = { QueueName = try(var.videos.rule_dead_letter_queue_name, null) }
      threshold   = 0
    }
  }

  alarms = merge(
    { for name, alarm in local.common_alarms : name => alarm if var.parts.alarms },
    { for name, alarm in local.image_alarms : name => alarm if var.parts.alarms && var.has_images },
    { for name, alarm in local.video_alarms : name => alarm if var.parts.alarms && var.videos != null },
    { for name, alarm in local.video_change_alarms : name => alarm if var.parts.alarms && try(var.videos.rule_name, null) != null },
    { for name, alarm in local.run_alarms : name => alarm if var.parts.alarms && var.is_hosted && (name != "no-run" || local.looks_for_no_run) },
    { for name, alarm in local.managed_alarms : name => alarm if var.parts.alarms && var.has_images && !var.is_hosted },
    { for name, alarm in local.change_alarms : name => alarm if var.parts.alarms && var.changes != null },
    { for name, alarm in local.backfill_alarms : name => alarm if var.parts.alarms && var.changes != null },
    { for name, alarm in local.collecting_alarms : name => alarm if var.parts.alarms && try(var.changes.function_name, null) != null },
  )

  # The watchdog tells of these itself, with more than an alarm knows: one bad end is one mail.
  told_by_watchdog = ["run-failed", "run-timed-out", "run-aborted"]
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = local.alarms

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.description
  namespace           = try(each.value.namespace, null)
  metric_name         = try(each.value.metric_name, null)
  dimensions          = try(each.value.dimensions, null)
  statistic           = try(each.value.statistic, null)
  period              = can(each.value.expression) ? null : try(each.value.period, 300)
  evaluation_periods  = try(each.value.periods, 1)
  threshold           = each.value.threshold
  comparison_operator = try(each.value.comparison, "GreaterThanThreshold")
  # No metric means that nothing happened: queues that nobody uses report none.
  treat_missing_data = try(each.value.missing, "notBreaching")
  alarm_actions      = contains(local.told_by_watchdog, each.key) ? [] : [var.alert_topic_arn]

  # A share is of the sums of an hour.
  dynamic "metric_query" {
    for_each = try(each.value.metrics, {})

    content {
      id = metric_query.key

      metric {
        namespace   = "BatchVision"
        metric_name = metric_query.value.name
        dimensions  = metric_query.value.dimensions
        stat        = "Sum"
        period      = 3600
      }
    }
  }

  dynamic "metric_query" {
    for_each = try([each.value.expression], [])

    content {
      id          = "percent"
      expression  = metric_query.value
      label       = each.key
      return_data = true
    }
  }

  tags = var.tags
}
