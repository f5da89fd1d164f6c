# What deployments of this kind are known to get wrong, with at least one run for each. The provider is mocked, so
# nothing is made; see tests/mocks.

mock_provider "aws" {
  override_during = plan
  source          = "./tests/mocks"
}

variables {
  lambda_package_path = "tests/fixtures/package.zip"

  rekognition_custom_labels = {
    project_arn         = "arn:aws:rekognition:us-east-1:111122223333:project/welds/1732100000000"
    project_version_arn = "arn:aws:rekognition:us-east-1:111122223333:project/welds/version/welds.1/1732190000000"
  }
}

run "peer_failing_statements_for_all_resources" {
  command = plan

  assert {
    condition = alltrue(flatten([
      for statements in values(local.function_statements) : [
        for statement in values(statements) : [
          for resource in statement.resources : startswith(resource, "arn:") && !endswith(resource, ":*")
        ]
      ]
    ]))
    error_message = "A statement is for all resources of a service."
  }

  # Executions are known by their state machine only. IAM knows no resource for a list of endpoint configurations.
  assert {
    condition = alltrue(flatten([
      for statement in values(local.guard_statements) : [
        for resource in statement.resources :
        startswith(resource, "arn:") && (!endswith(resource, ":*") || endswith(resource, ":execution:batch-vision:*"))
      ] if join(" ", statement.actions) != "sagemaker:ListEndpointConfigs"
    ]))
    error_message = "A statement of the watchdog is for all resources of a service."
  }
}

run "peer_failing_statements_for_all_resources_are_refused" {
  command = plan

  module {
    source = "./modules/function"
  }

  variables {
    name               = "welds-start-model"
    description        = "Stops the model"
    region             = "us-east-1"
    package            = { bucket = "welds-final", key = "functions/0a1b2c3d.zip", sha256_base64 = "Ch4sPQ==" }
    handler            = "lambdas.start_model.handler.handler"
    architecture       = "arm64"
    memory_mb          = 512
    timeout_seconds    = 300
    environment        = {}
    log_retention_days = 30
    kms_key_arn        = null
    tags               = {}

    role_path                = "/"
    permissions_boundary_arn = null

    statements = {
      StopModel = {
        actions   = ["rekognition:StopProjectVersion"]
        resources = ["*"]
      }
    }
  }

  expect_failures = [var.statements]
}

# Four days is what SQS does when it is not told.
run "peer_failing_messages_vanish_after_four_days" {
  command = plan

  assert {
    condition     = module.queue[0].settings.message_retention_seconds == 1209600 && module.queue[0].settings.dead_letter_retention_seconds == 1209600
    error_message = "Messages are deleted before 14 days."
  }
}

# A queue that hands a message out again as soon as the function may end works on images twice. So six times as long.
run "peer_failing_queue_timeout_is_that_of_the_function" {
  command = plan

  variables {
    timings    = { analyze_timeout_seconds = 40 }
    batch_size = 11
  }

  assert {
    condition     = module.queue[0].settings.visibility_timeout_seconds == 241
    error_message = "The visibility timeout is ${module.queue[0].settings.visibility_timeout_seconds} seconds."
  }

  assert {
    condition     = module.function["analyze_images"].settings.timeout_seconds == 40
    error_message = "The timeout of the function is ${module.function["analyze_images"].settings.timeout_seconds} seconds."
  }
}

# Three seconds is what Lambda does when it is not told.
run "peer_failing_control_functions_end_after_three_seconds" {
  command = plan

  assert {
    condition = alltrue([
      for name, function in merge(module.function, module.mapping_function) :
      name == "analyze_images" || function.settings.timeout_seconds == lookup({ compact_catalog = 300, requeue_images = 300, summarize_run = 900 }, name, 60)
    ])
    error_message = "The timeouts are ${jsonencode({ for name, function in module.function : name => function.settings.timeout_seconds })}."
  }

  assert {
    condition     = local.task_margin_seconds > 0
    error_message = "The workflow gives a function up before its own timeout."
  }
}

run "peer_failing_control_functions_of_three_seconds_are_refused" {
  command = plan

  variables {
    timings = { control_function_timeout_seconds = 3 }
  }

  expect_failures = [var.timings]
}

run "peer_failing_reserved_concurrency" {
  command = plan

  assert {
    condition     = alltrue([for function in values(module.function) : coalesce(function.settings.reserved_concurrency, -1) == -1])
    error_message = "Reserved concurrency takes from the account's other functions, and throttled batches go to the dead-letter queue."
  }

  assert {
    condition     = aws_lambda_event_source_mapping.this[0].scaling_config[0].maximum_concurrency >= 2
    error_message = "The mapping does not bound the analyzing function."
  }
}

run "peer_failing_no_dead_letter_queue" {
  command = plan

  module {
    source = "./modules/queue"
  }

  variables {
    name       = "welds-images"
    account_id = "111122223333"
    partition  = "aws"
    region     = "us-east-1"
    senders = { AllowSourceBucketToSend = {
      service           = "s3.amazonaws.com"
      source_arn        = "arn:aws:s3:::welds-source"
      source_account_id = "111122223333"
    } }
    visibility_timeout_seconds = 360
    message_retention_seconds  = 1209600
    max_receive_count          = 6
    kms_key_arn                = null
    tags                       = {}
  }

  override_resource {
    override_during = plan
    target          = aws_sqs_queue.dead_letter
    values = {
      arn = "arn:aws:sqs:us-east-1:111122223333:dead-letter"
    }
  }

  assert {
    condition = jsondecode(aws_sqs_queue.this.redrive_policy) == {
      deadLetterTargetArn = "arn:aws:sqs:us-east-1:111122223333:dead-letter"
      maxReceiveCount     = 6
    }
    error_message = "The redrive policy is ${aws_sqs_queue.this.redrive_policy}."
  }

  assert {
    condition = jsondecode(aws_sqs_queue.dead_letter.redrive_allow_policy) == {
      redrivePermission = "byQueue"
      sourceQueueArns   = ["arn:aws:sqs:us-east-1:111122223333:${aws_sqs_queue.this.name}"]
    }
    error_message = "The redrive allow policy is ${aws_sqs_queue.dead_letter.redrive_allow_policy}."
  }
}
