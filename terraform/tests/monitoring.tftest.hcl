# The alarms: what each looks at, whom it tells, and that its description begins with what to do. The provider is
# mocked, so nothing is made; see tests/mocks.

mock_provider "aws" {
  override_during = plan
  source          = "./tests/mocks"
}

variables {
  name_prefix         = "welds"
  lambda_package_path = "tests/fixtures/package.zip"

  rekognition_custom_labels = {
    project_arn         = "arn:aws:rekognition:us-east-1:111122223333:project/welds/1732100000000"
    project_version_arn = "arn:aws:rekognition:us-east-1:111122223333:project/welds/version/welds.1/1732190000000"
  }
}

run "alarms_look_at_the_parts_of_this_deployment_and_tell_its_topic" {
  command = plan

  assert {
    condition = { for name, alarm in module.monitoring[0].alarms : name => alarm.metric } == {
      analyze-errors    = "AWS/Lambda Errors"
      analyze-throttles = "AWS/Lambda Throttles"
      compaction-failed = "AWS/Lambda Errors"
      dead-letters      = "AWS/SQS ApproximateNumberOfMessagesVisible"
      model-on-long     = "BatchVision ModelOn"
      model-without-run = "BatchVision ModelOnWithoutRun"
      no-run            = "AWS/States ExecutionsStarted"
      oldest-message    = "AWS/SQS ApproximateAgeOfOldestMessage"
      rejected          = "BatchVision RejectedPercent"
      run-aborted       = "AWS/States ExecutionsAborted"
      run-failed        = "AWS/States ExecutionsFailed"
      run-timed-out     = "AWS/States ExecutionsTimedOut"
      stuck             = "BatchVision ImagesStuck"
      watchdog-failed   = "AWS/Lambda Errors"
    }
    error_message = "The alarms are ${jsonencode(module.monitoring[0].alarms)}."
  }

  assert {
    condition = (
      alltrue([for name in ["model-on-long", "model-without-run", "rejected", "stuck"] : module.monitoring[0].alarms[name].dimensions == tomap({ service = "welds" })])
      && local.function_environments.analyze_images.POWERTOOLS_SERVICE_NAME == "welds"
      && local.function_environments.analyze_images.POWERTOOLS_METRICS_NAMESPACE == "BatchVision"
    )
    error_message = "An alarm looks at metrics that no function writes."
  }

  assert {
    condition     = { for name, alarm in module.monitoring[0].alarms : name => alarm.missing if alarm.missing != "notBreaching" } == { no-run = "breaching" }
    error_message = "Where nothing happens there is an alarm, or there is none where no run begins."
  }

  assert {
    condition     = module.monitoring[0].alarms["no-run"].seconds == 3 * 3600 && module.monitoring[0].alarms["model-on-long"].seconds == 3600 * ceil(local.execution_timeout_seconds / 3600)
    error_message = "The alarms look back for ${module.monitoring[0].alarms["no-run"].seconds} and ${module.monitoring[0].alarms["model-on-long"].seconds} seconds."
  }

  assert {
    condition     = module.monitoring[0].alarms["dead-letters"].dimensions == tomap({ QueueName = "welds-images-dead-letter" })
    error_message = "The alarm for dead letters looks at ${jsonencode(module.monitoring[0].alarms["dead-letters"].dimensions)}."
  }

  assert {
    condition     = module.monitoring[0].alarms["oldest-message"].dimensions == tomap({ QueueName = "welds-images" })
    error_message = "The alarm for old messages looks at ${jsonencode(module.monitoring[0].alarms["oldest-message"].dimensions)}."
  }

  assert {
    condition     = module.monitoring[0].alarms["compaction-failed"].dimensions == tomap({ FunctionName = "welds-compact-catalog" })
    error_message = "The alarm for compaction looks at ${jsonencode(module.monitoring[0].alarms["compaction-failed"].dimensions)}."
  }

  assert {
    condition     = module.monitoring[0].alarms["watchdog-failed"].dimensions == tomap({ FunctionName = "welds-guard-model" })
    error_message = "The alarm for the watchdog looks at ${jsonencode(module.monitoring[0].alarms["watchdog-failed"].dimensions)}."
  }

  assert {
    condition     = alltrue([for name in ["run-failed", "run-timed-out", "run-aborted"] : module.monitoring[0].alarms[name].dimensions == tomap({ StateMachineArn = module.workflow[0].state_machine_arn })])
    error_message = "An alarm for runs looks at another state machine."
  }

  assert {
    condition     = alltrue([for name, alarm in module.monitoring[0].alarms : alarm.actions == (contains(["run-failed", "run-timed-out", "run-aborted"], name) ? toset([]) : toset([module.alerts.topic_arn]))])
    error_message = "An alarm tells nobody, or somebody else."
  }

  assert {
    condition     = alltrue([for alarm in module.monitoring[0].alarms : can(regex("^(Give|Look|Start|See|Stop) ", alarm.description)) && length(alarm.description) <= 1024])
    error_message = "The description of an alarm does not begin with what to do, or is longer than CloudWatch takes."
  }
}

run "the_oldest_message_is_told_of_long_before_it_is_deleted" {
  command = plan

  variables {
    alarm_thresholds = {
      oldest_message_percent = 50
    }
  }

  assert {
    condition     = module.monitoring[0].alarms["oldest-message"].threshold == 604800
    error_message = "The alarm is at ${module.monitoring[0].alarms["oldest-message"].threshold} seconds."
  }
}

run "missing_runs_are_told_of_where_the_time_is_known" {
  command = plan

  variables {
    schedule_expression = "cron(0 18 ? * MON-FRI *)"
    alarm_thresholds    = { no_run_seconds = 518400 }
  }

  assert {
    condition     = module.monitoring[0].alarms["no-run"].seconds == 6 * 86400
    error_message = "The alarm looks back for ${module.monitoring[0].alarms["no-run"].seconds} seconds."
  }
}

run "missing_runs_are_not_told_of_where_it_is_not" {
  command = plan

  variables {
    schedule_expression = "cron(0 18 ? * MON-FRI *)"
  }

  assert {
    condition     = !contains(keys(module.monitoring[0].alarms), "no-run")
    error_message = "There is an alarm for a period that nobody knows."
  }
}

run "missing_runs_are_not_told_of_while_the_schedule_is_off" {
  command = plan

  variables {
    schedule_enabled = false
  }

  assert {
    condition     = !contains(keys(module.monitoring[0].alarms), "no-run")
    error_message = "There is an alarm for runs that nobody starts."
  }
}

run "the_dashboard_draws_the_thresholds_of_the_alarms" {
  command = plan

  variables {
    alarm_thresholds = {
      rejected_percent = 7
      function_errors  = 5
    }
  }

  assert {
    condition = {
      for line in flatten([for widget in module.monitoring[0].dashboard.widgets : try(widget.properties.annotations.horizontal, [])]) : line.label => line.value
      } == {
      for name, alarm in module.monitoring[0].alarms : name => name == "model-on-long" ? alarm.seconds : alarm.threshold
      if contains(["analyze-errors", "analyze-throttles", "model-on-long", "oldest-message", "rejected"], name)
    }
    error_message = "The dashboard draws other thresholds: ${jsonencode(module.monitoring[0].dashboard)}."
  }

  assert {
    condition     = alltrue([for widget in module.monitoring[0].dashboard.widgets : widget.properties.region == "us-east-1" && length(widget.properties.metrics) > 0])
    error_message = "A graph is of another Region, or of nothing."
  }

  assert {
    condition     = !strcontains(jsonencode(module.monitoring[0].dashboard), "[]")
    error_message = "The body of the dashboard has an empty list: ${jsonencode(module.monitoring[0].dashboard)}."
  }
}

run "queries_are_of_logs_that_the_functions_write" {
  command = plan

  assert {
    condition = jsonencode({ for name, query in module.monitoring[0].queries : name => query.logs }) == jsonencode({
      "welds/errors"                          = [for name in ["analyze-images", "check-backlog", "compact-catalog", "requeue-images", "start-model", "summarize-run", "close-run", "enable-mapping", "guard-model"] : "/aws/lambda/welds-${name}"]
      "welds/rejected-images-by-reason"       = ["/aws/lambda/welds-analyze-images"]
      "welds/runs"                            = ["/aws/lambda/welds-summarize-run"]
      "welds/slowest-images"                  = ["/aws/lambda/welds-analyze-images"]
      "welds/throttles-and-retries-over-time" = ["/aws/lambda/welds-analyze-images"]
      "welds/what-happened-in-one-run"        = [for name in ["analyze-images", "check-backlog", "compact-catalog", "requeue-images", "start-model", "summarize-run", "close-run", "enable-mapping", "guard-model"] : "/aws/lambda/welds-${name}"]
      "welds/what-happened-to-one-image"      = ["/aws/lambda/welds-analyze-images"]
      "welds/what-the-watchdog-did"           = ["/aws/lambda/welds-guard-model"]
    })
    error_message = "The queries are of ${jsonencode({ for name, query in module.monitoring[0].queries : name => query.logs })}."
  }
}

run "queries_can_be_left_out" {
  command = plan

  variables {
    monitoring = { log_queries = false }
  }

  assert {
    condition     = length(module.monitoring[0].queries) == 0 && length(module.monitoring[0].alarms) > 0
    error_message = "There are queries all the same, or no alarms."
  }
}

run "each_part_can_be_had_alone" {
  command = plan

  variables {
    monitoring = { alarms = false, log_queries = false }
  }

  assert {
    condition     = length(module.monitoring[0].queries) == 0 && length(module.monitoring[0].alarms) == 0 && module.monitoring[0].dashboard != null
    error_message = "There is something else than the dashboard, or no dashboard."
  }
}

run "all_can_be_left_out" {
  command = plan

  variables {
    monitoring = { alarms = false, dashboard = false, log_queries = false }
  }

  assert {
    condition     = length(module.monitoring) == 0
    error_message = "There are alarms all the same."
  }
}

run "refuses_an_alarm_that_comes_when_the_message_is_gone" {
  command = plan

  variables {
    alarm_thresholds = {
      oldest_message_percent = 100
    }
  }

  expect_failures = [var.alarm_thresholds]
}

run "alarms_of_this_account_may_publish" {
  command = plan

  module {
    source = "./modules/alerts"
  }

  variables {
    name            = "welds-alerts"
    account_id      = "111122223333"
    partition       = "aws"
    region          = "us-east-1"
    email_addresses = []
    kms_key_arn     = null
    tags            = {}
  }

  assert {
    condition = one([
      for statement in data.aws_iam_policy_document.this.statement :
      { for condition in statement.condition : condition.variable => condition.values }
      if statement.sid == "AllowAlarmsToPublish"
      ]) == {
      "aws:SourceArn"     = tolist(["arn:aws:cloudwatch:us-east-1:111122223333:alarm:*"])
      "aws:SourceAccount" = tolist(["111122223333"])
    }
    error_message = "Alarms may publish as ${jsonencode(data.aws_iam_policy_document.this.statement)}."
  }
}
