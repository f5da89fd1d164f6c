# The alarms: what each looks at, whom it tells, and that its description begins with what to do. The provider is
# mocked, so nothing is made; see tests/mocks.

mock_provider "aws" {
  source = "./tests/mocks"
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
  assert {
    condition = { for name, alarm in module.monitoring[0].alarms : name => alarm.metric } == {
      dead-letters    = "AWS/SQS ApproximateNumberOfMessagesVisible"
      oldest-message  = "AWS/SQS ApproximateAgeOfOldestMessage"
      run-aborted     = "AWS/States ExecutionsAborted"
      run-failed      = "AWS/States ExecutionsFailed"
      run-timed-out   = "AWS/States ExecutionsTimedOut"
      watchdog-failed = "AWS/Lambda Errors"
    }
    error_message = "The alarms are ${jsonencode(module.monitoring[0].alarms)}."
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
    condition     = module.monitoring[0].alarms["watchdog-failed"].dimensions == tomap({ FunctionName = "welds-guard-model" })
    error_message = "The alarm for the watchdog looks at ${jsonencode(module.monitoring[0].alarms["watchdog-failed"].dimensions)}."
  }

  assert {
    condition     = alltrue([for name in ["run-failed", "run-timed-out", "run-aborted"] : module.monitoring[0].alarms[name].dimensions == tomap({ StateMachineArn = module.workflow.state_machine_arn })])
    error_message = "An alarm for runs looks at another state machine."
  }

  assert {
    condition     = alltrue([for alarm in module.monitoring[0].alarms : alarm.actions == toset([module.alerts.topic_arn])])
    error_message = "An alarm tells nobody, or somebody else."
  }

  assert {
    condition     = alltrue([for alarm in module.monitoring[0].alarms : can(regex("^(Look|Start|See|Stop) ", alarm.description)) && length(alarm.description) <= 1024])
    error_message = "The description of an alarm does not begin with what to do, or is longer than CloudWatch takes."
  }
}

run "the_oldest_message_is_told_of_long_before_it_is_deleted" {
  variables {
    message_retention_seconds    = 345600
    oldest_message_alarm_percent = 50
  }

  assert {
    condition     = module.monitoring[0].alarms["oldest-message"].threshold == 172800
    error_message = "The alarm is at ${module.monitoring[0].alarms["oldest-message"].threshold} seconds."
  }
}

run "alarms_can_be_left_out" {
  variables {
    alarms_enabled = false
  }

  assert {
    condition     = length(module.monitoring) == 0
    error_message = "There are alarms all the same."
  }
}

run "refuses_an_alarm_that_comes_when_the_message_is_gone" {
  command = plan

  variables {
    oldest_message_alarm_percent = 100
  }

  expect_failures = [var.oldest_message_alarm_percent]
}

run "alarms_of_this_account_may_publish" {
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
