# What a deployment gets without any setting, that settings reach the resources that they are for, and the committed
# example. The provider is mocked, so nothing is made; see tests/mocks.

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

run "defaults" {
  command = plan

  assert {
    condition     = module.schedule[0].settings.expression == "rate(1 hour)" && module.schedule[0].settings.state == "ENABLED"
    error_message = "The schedule is ${jsonencode(module.schedule[0].settings)}."
  }

  assert {
    condition = (
      local.settings.MIN_INFERENCE_UNITS == "1"
      && local.settings.MAX_INFERENCE_UNITS == "5"
      && local.settings.TARGET_DRAIN_SECONDS == "3600"
      && local.settings.IMAGES_PER_SECOND_PER_UNIT == "5"
      && local.settings.ACCOUNT_IMAGES_PER_SECOND == "50"
      && local.settings.MAX_CONCURRENCY == "20"
      && local.settings.BATCH_SIZE == "10"
      && local.settings.IMAGE_LATENCY_SECONDS == "1"
      && local.settings.REQUEUE_LIMIT_IMAGES == "10000"
      && local.settings.SOURCE_PREFIXES == jsonencode([""])
      && local.function_environments.analyze_images.POWERTOOLS_LOG_LEVEL == "INFO"
    )
    error_message = "The environment is ${jsonencode(local.settings)}."
  }

  assert {
    condition = alltrue([
      for name, function in merge(module.function, module.mapping_function) :
      function.settings.memory_mb == lookup({ compact_catalog = 1769, summarize_run = 1769 }, name, 512)
      && function.settings.timeout_seconds == lookup({ compact_catalog = 300, requeue_images = 300, summarize_run = 900 }, name, 60)
      && function.settings.architectures == tolist(["arm64"])
      && function.settings.log_retention_days == 365
      && function.settings.kms_key_arn == null
      && function.settings.environment_key_arn == null
    ])
    error_message = "The functions are ${jsonencode({ for name, function in module.function : name => function.settings })}."
  }

  assert {
    condition = (
      module.guard[0].settings.expression == "rate(15 minutes)"
      && module.guard_function[0].settings.timeout_seconds == 900
      && module.guard_function[0].settings.memory_mb == 512
      && module.alerts.settings.email_addresses == []
      && module.alerts.settings.kms_key_arn == null
    )
    error_message = "The watchdog is ${jsonencode([module.guard[0].settings, module.guard_function[0].settings, module.alerts.settings])}."
  }

  assert {
    condition = (
      aws_lambda_event_source_mapping.this[0].batch_size == 10
      && aws_lambda_event_source_mapping.this[0].maximum_batching_window_in_seconds == 0
      && aws_lambda_event_source_mapping.this[0].scaling_config[0].maximum_concurrency == 2
    )
    error_message = "The mapping takes ${aws_lambda_event_source_mapping.this[0].batch_size} messages, ${aws_lambda_event_source_mapping.this[0].scaling_config[0].maximum_concurrency} times."
  }

  assert {
    condition = (
      module.queue[0].settings.visibility_timeout_seconds == 360
      && module.queue[0].settings.message_retention_seconds == 1209600
      && module.queue[0].settings.max_receive_count == 5
    )
    error_message = "The queue is ${jsonencode(module.queue[0].settings)}."
  }

  assert {
    condition = alltrue([
      for bucket in [module.source_bucket[0], module.final_bucket] :
      bucket.settings.force_destroy == false && bucket.settings.kms_key_arn == null
    ])
    error_message = "The buckets are ${jsonencode([module.source_bucket[0].settings, module.final_bucket.settings])}."
  }

  assert {
    condition = alltrue([
      for role in concat(concat(values(module.function), values(module.mapping_function))[*].settings.role, [module.workflow[0].settings.role, module.schedule[0].settings.role]) :
      role.path == "/" && role.permissions_boundary_arn == null
    ])
    error_message = "A role has a path or a boundary that nobody asked for."
  }

  assert {
    condition     = module.workflow[0].settings.log_level == "ERROR" && module.workflow[0].settings.log_retention_days == 365
    error_message = "The workflow is ${jsonencode(module.workflow[0].settings)}."
  }

  # That these reach the workflow is shown in workflow.tftest.hcl.
  assert {
    condition = (
      var.timings.model_poll_seconds == 30
      && var.timings.start_timeout_seconds == 2700
      && var.timings.stop_timeout_seconds == 3600
      && var.timings.mapping_poll_seconds == 5
      && var.timings.mapping_timeout_seconds == 300
      && var.timings.drain_poll_seconds == 30
      && var.timings.drain_timeout_seconds == 21600
      && var.timings.stall_timeout_seconds == 900
    )
    error_message = "A wait or a bound of the workflow has another default."
  }
}

run "settings_reach_their_resources" {
  command = plan

  variables {
    schedule_expression       = "rate(2 hours)"
    schedule_enabled          = false
    kms_key_arn               = "arn:aws:kms:us-east-1:111122223333:key/0a1b2c3d"
    role_path                 = "/apps/vision/"
    permissions_boundary_arn  = "arn:aws:iam::111122223333:policy/boundaries/developers"
    tags                      = { Project = "welds" }
    log_retention_days        = 30
    force_destroy             = true
    analyze_memory_mb         = 1024
    max_receive_count         = 7
    guard_schedule_expression = "rate(30 minutes)"
    alert_email_addresses     = ["a@example.com", "b@example.com"]
    timings = {
      analyze_timeout_seconds          = 45
      control_function_timeout_seconds = 120
      guard_timeout_seconds            = 600
    }
  }

  assert {
    condition = (
      module.guard[0].settings.expression == "rate(30 minutes)"
      && module.guard_function[0].settings.timeout_seconds == 600
      && module.guard_function[0].settings.log_retention_days == 30
      && toset(module.alerts.settings.email_addresses) == toset(["a@example.com", "b@example.com"])
    )
    error_message = "The watchdog is ${jsonencode([module.guard[0].settings, module.guard_function[0].settings, module.alerts.settings])}."
  }

  assert {
    condition     = module.schedule[0].settings.expression == "rate(2 hours)" && module.schedule[0].settings.state == "DISABLED"
    error_message = "The schedule is ${jsonencode(module.schedule[0].settings)}."
  }

  # Each log group, each environment and each bucket, and both queues.
  assert {
    condition = toset(concat(
      concat(values(module.function), values(module.mapping_function))[*].settings.kms_key_arn,
      concat(values(module.function), values(module.mapping_function))[*].settings.environment_key_arn,
      module.queue[0].settings.kms_key_arns,
      [module.source_bucket[0].settings.kms_key_arn, module.final_bucket.settings.kms_key_arn, module.workflow[0].settings.kms_key_arn],
      [module.alerts.settings.kms_key_arn, module.guard_function[0].settings.kms_key_arn],
    )) == toset([var.kms_key_arn])
    error_message = "Something is not encrypted with the customer key."
  }

  # Each role: those of the functions, of the workflow and of the schedule.
  assert {
    condition = alltrue([
      for role in concat(concat(values(module.function), values(module.mapping_function))[*].settings.role, [module.workflow[0].settings.role, module.schedule[0].settings.role]) :
      role.path == var.role_path && role.permissions_boundary_arn == var.permissions_boundary_arn
    ])
    error_message = "A role has another path, or no boundary."
  }

  assert {
    condition = toset(flatten([
      concat(values(module.function), values(module.mapping_function))[*].settings.tags,
      module.queue[0].settings.tags,
      module.source_bucket[0].settings.tags,
      module.final_bucket.settings.tags,
      module.workflow[0].settings.tags,
      module.schedule[0].settings.tags,
      module.alerts.settings.tags,
      module.guard[0].settings.tags,
      module.guard_function[0].settings.tags,
      aws_lambda_event_source_mapping.this[0].tags,
    ])) == toset([tomap({ Project = "welds" })])
    error_message = "Something has other tags."
  }

  assert {
    condition = alltrue([
      for retention in concat(concat(values(module.function), values(module.mapping_function))[*].settings.log_retention_days, [module.workflow[0].settings.log_retention_days]) :
      retention == 30
    ])
    error_message = "A log is kept for another time."
  }

  assert {
    condition     = module.source_bucket[0].settings.force_destroy && module.final_bucket.settings.force_destroy
    error_message = "A bucket does not follow force_destroy."
  }

  assert {
    condition = alltrue([
      for name, function in module.function :
      function.settings.memory_mb == { analyze_images = 1024, summarize_run = 1769 }[name]
      && function.settings.timeout_seconds == { analyze_images = 45, summarize_run = 900 }[name]
      if contains(["analyze_images", "summarize_run"], name)
    ])
    error_message = "The functions are ${jsonencode({ for name, function in module.function : name => function.settings })}."
  }

  assert {
    condition = (
      module.queue[0].settings.visibility_timeout_seconds == 270
      && module.queue[0].settings.message_retention_seconds == 1209600
      && module.queue[0].settings.max_receive_count == 7
    )
    error_message = "The queue is ${jsonencode(module.queue[0].settings)}."
  }

  # 10 seconds more than the functions have, so that a task sees their own end: a step of a minute, a long one,
  # the index, the summary.
  assert {
    condition     = toset(regexall("\"TimeoutSeconds\": *([0-9]+),", local.workflow_definition)[*][0]) == toset(["70", "130", "310", "910", tostring(local.execution_timeout_seconds)])
    error_message = "The timeouts of tasks are ${jsonencode(regexall("\"TimeoutSeconds\": *([0-9]+),", local.workflow_definition))}."
  }
}

run "read_example" {
  command = plan

  module {
    source = "./tests/fixtures/example"
  }

  variables {
    example = "rekognition"
  }
}

# Each value of rekognition.tfvars.example is given here by its name, because a run takes no file.
run "example_is_planned" {
  command = plan

  variables {
    backend                   = run.read_example.values.backend
    rekognition_custom_labels = run.read_example.values.rekognition_custom_labels
    name_prefix               = run.read_example.values.name_prefix
    schedule_expression       = run.read_example.values.schedule_expression
    max_inference_units       = run.read_example.values.max_inference_units
    tags                      = run.read_example.values.tags
  }

  assert {
    condition = toset(keys(run.read_example.values)) == toset([
      "backend", "rekognition_custom_labels", "name_prefix", "schedule_expression", "max_inference_units", "tags",
    ])
    error_message = "The example sets ${join(", ", keys(run.read_example.values))}: give each to this run."
  }

  assert {
    condition     = local.source_bucket_name == "weld-seams-source-111122223333-us-east-1"
    error_message = "The source bucket is named ${local.source_bucket_name}."
  }

  assert {
    condition     = module.schedule[0].settings.expression == "rate(1 hour)"
    error_message = "The schedule is ${module.schedule[0].settings.expression}."
  }

  assert {
    condition     = module.function["start_model"].settings.tags[0] == tomap({ Project = "weld-seams" })
    error_message = "The tags are ${jsonencode(module.function["start_model"].settings.tags[0])}."
  }

  assert {
    condition = (
      local.backend.settings.project_version_arn == run.read_example.values.rekognition_custom_labels.project_version_arn
      && local.backend.stop.resources == [run.read_example.values.rekognition_custom_labels.project_version_arn]
    )
    error_message = "The module drives another model than that of the example."
  }
}

run "read_lookout_example" {
  command = plan

  module {
    source = "./tests/fixtures/example"
  }

  variables {
    example = "lookout-for-vision"
  }
}

run "lookout_example_is_planned" {
  command = plan

  variables {
    backend                   = run.read_lookout_example.values.backend
    rekognition_custom_labels = null
    lookout_for_vision        = run.read_lookout_example.values.lookout_for_vision
    name_prefix               = run.read_lookout_example.values.name_prefix
    schedule_expression       = run.read_lookout_example.values.schedule_expression
    max_inference_units       = run.read_lookout_example.values.max_inference_units
    tags                      = run.read_lookout_example.values.tags
  }

  assert {
    condition = toset(keys(run.read_lookout_example.values)) == toset([
      "backend", "lookout_for_vision", "name_prefix", "schedule_expression", "max_inference_units", "tags",
    ])
    error_message = "The example sets ${join(", ", keys(run.read_lookout_example.values))}: give each to this run."
  }

  assert {
    condition = (
      local.backend.settings.project_name == run.read_lookout_example.values.lookout_for_vision.project_name
      && local.backend.stop.resources == ["arn:aws:lookoutvision:us-east-1:111122223333:model/weld-seams/1"]
    )
    error_message = "The module drives another model than that of the example: ${jsonencode(local.backend)}."
  }
}

run "read_sagemaker_example" {
  command = plan

  module {
    source = "./tests/fixtures/example"
  }

  variables {
    example = "sagemaker-endpoint"
  }
}

run "sagemaker_example_is_planned" {
  command = plan

  variables {
    backend                    = run.read_sagemaker_example.values.backend
    rekognition_custom_labels  = null
    sagemaker_endpoint         = run.read_sagemaker_example.values.sagemaker_endpoint
    name_prefix                = run.read_sagemaker_example.values.name_prefix
    schedule_expression        = run.read_sagemaker_example.values.schedule_expression
    images_per_second_per_unit = run.read_sagemaker_example.values.images_per_second_per_unit
    max_inference_units        = run.read_sagemaker_example.values.max_inference_units
    tags                       = run.read_sagemaker_example.values.tags
  }

  assert {
    condition = toset(keys(run.read_sagemaker_example.values)) == toset([
      "backend", "sagemaker_endpoint", "name_prefix", "schedule_expression", "images_per_second_per_unit",
      "max_inference_units", "tags",
    ])
    error_message = "The example sets ${join(", ", keys(run.read_sagemaker_example.values))}: give each to this run."
  }

  assert {
    condition     = local.backend.settings.model_name == run.read_sagemaker_example.values.sagemaker_endpoint.model_name
    error_message = "The module drives another model than that of the example: ${jsonencode(local.backend)}."
  }
}
