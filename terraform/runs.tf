# ---------------------------------------------------------------------------------------------------------------------
# Runs of a hosted model, which has to be started: workflow, watchdog and schedule. A managed model has none of these.
# ---------------------------------------------------------------------------------------------------------------------

locals {
  # How long a function has for one step. Listing and sending many images takes longer, and reading the catalog of a long
  # run, for which the model is off, as long as Lambda allows.
  step_timeout_seconds      = min(60, var.timings.control_function_timeout_seconds)
  long_step_timeout_seconds = var.timings.control_function_timeout_seconds
  summarize_timeout_seconds = 900
  compact_timeout_seconds   = 300

  # A task waits a little longer than its function may take.
  task_margin_seconds = 10

  # Errors that repeating a step does not mend: each would hold the run, and perhaps the model, for minutes of back-off
  # before it has its name.
  final_errors = [
    "AccessDeniedError",
    "BackendChangedError",
    "DrainTimeoutError",
    "MappingNotDisabledError",
    "MappingNotEnabledError",
    "MappingNotFoundError",
    "ModelFailedError",
    "ModelNotFoundError",
    "ModelNotTrainedError",
    "ModelQuotaError",
    "ModelStartTimeoutError",
    "ModelStopTimeoutError",
    "ModelStoppedError",
    "ModelUnavailableError",
    "NoProgressError",
    "SettingsError",
  ]

  # A call that hangs costs its whole timeout, so it is repeated once; one that fails at once, for some four minutes.
  # Lambda ends a function at its own timeout as Sandbox.Timedout.
  hung_errors = ["States.Timeout", "Sandbox.Timedout"]
  retry = [
    { ErrorEquals = local.final_errors, MaxAttempts = 0 },
    { ErrorEquals = local.hung_errors, IntervalSeconds = 2, MaxAttempts = 1, BackoffRate = 1 },
    {
      ErrorEquals     = ["States.ALL"]
      IntervalSeconds = 2
      MaxAttempts     = 8
      BackoffRate     = 2
      MaxDelaySeconds = 60
      JitterStrategy  = "FULL"
    },
  ]
  # Hardly any error is a reason to give up stopping.
  retry_of_close = [
    { ErrorEquals = local.final_errors, MaxAttempts = 0 },
    {
      ErrorEquals     = ["States.ALL"]
      IntervalSeconds = 2
      MaxAttempts     = 120
      BackoffRate     = 2
      MaxDelaySeconds = 60
      JitterStrategy  = "FULL"
    },
  ]

  # The sum of all bounds, and for every phase a call that hangs twice plus retries with back-off. Reaching it means that
  # the workflow itself is at fault, for each wait inside has its own earlier bound.
  execution_timeout_seconds = sum([
    2 * var.timings.start_timeout_seconds,
    var.timings.drain_timeout_seconds,
    3 * var.timings.mapping_timeout_seconds,
    var.timings.analyze_timeout_seconds,
    var.timings.stop_timeout_seconds,
    7 * (2 * (local.long_step_timeout_seconds + local.task_margin_seconds) + 300),
    2 * (local.summarize_timeout_seconds + local.task_margin_seconds) + 300,
    local.compact_timeout_seconds + local.task_margin_seconds,
  ])

  # The one place where the workflow is rendered: a new placeholder is a new line here.
  workflow_template = !local.is_hosted ? "" : templatefile("${path.module}/../state_machine.asl.json", {
    partition                    = local.partition
    backend                      = var.backend
    queue_url                    = local.analysis_queue.queue_url
    dead_letter_queue_url        = local.analysis_queue.dead_letter_queue_url
    event_source_mapping_uuid    = aws_lambda_event_source_mapping.this[0].uuid
    check_backlog_function_arn   = module.function["check_backlog"].function_arn
    start_model_function_arn     = module.function["start_model"].function_arn
    enable_mapping_function_arn  = module.mapping_function["enable_mapping"].function_arn
    close_run_function_arn       = module.mapping_function["close_run"].function_arn
    requeue_images_function_arn  = module.function["requeue_images"].function_arn
    summarize_run_function_arn   = module.function["summarize_run"].function_arn
    compact_catalog_function_arn = module.function["compact_catalog"].function_arn
    step_timeout_seconds         = local.step_timeout_seconds + local.task_margin_seconds
    long_step_timeout_seconds    = local.long_step_timeout_seconds + local.task_margin_seconds
    summarize_timeout_seconds    = local.summarize_timeout_seconds + local.task_margin_seconds
    compact_timeout_seconds      = local.compact_timeout_seconds + local.task_margin_seconds
    model_poll_seconds           = var.timings.model_poll_seconds
    start_timeout_seconds        = var.timings.start_timeout_seconds
    stop_timeout_seconds         = var.timings.stop_timeout_seconds
    mapping_poll_seconds         = var.timings.mapping_poll_seconds
    mapping_timeout_seconds      = var.timings.mapping_timeout_seconds
    analyze_timeout_seconds      = var.timings.analyze_timeout_seconds
    drain_poll_seconds           = var.timings.drain_poll_seconds
    drain_timeout_seconds        = var.timings.drain_timeout_seconds
    stall_timeout_seconds        = var.timings.stall_timeout_seconds
    execution_timeout_seconds    = local.execution_timeout_seconds
  })

  # The file is JSON before it is rendered, so its placeholders stand in quotes, those of numbers and lists too. A text
  # of digits only becomes a number; no other text of the workflow is made of digits alone.
  workflow_numbers = replace(local.workflow_template, "/\"([0-9]+)\"/", "$1")
  workflow_definition = replace(replace(replace(local.workflow_numbers,
    "\"@retry\"", jsonencode(local.retry)),
    "\"@retry_of_close\"", jsonencode(local.retry_of_close)),
  "\"@backend_settings\"", jsonencode(local.backend.settings))
}

# Apart from the other functions, because these have to name the mapping, which is made of one of them.
locals {
  # Handlers that are the same in every shape which has them.
  run_handlers = { for name in ["enable_mapping", "close_run", "guard_model"] : name => name if local.is_hosted }

  mapping_functions = { for name, description in local.all_mapping_functions : name => description if local.is_hosted }

  all_mapping_functions = {
    enable_mapping = "Enables the event source mapping, or says how far that has come"
    close_run      = "Disables the event source mapping and stops the model, or says how far that has come"
  }

  mapping_function_statements = {
    enable_mapping = {
      EnableMapping = {
        actions   = ["lambda:GetEventSourceMapping", "lambda:UpdateEventSourceMapping"]
        resources = aws_lambda_event_source_mapping.this[*].arn
      }
    }

    close_run = merge(local.use_key, local.stop_former_further, {
      DisableMapping = {
        actions   = ["lambda:GetEventSourceMapping", "lambda:UpdateEventSourceMapping"]
        resources = aws_lambda_event_source_mapping.this[*].arn
      }
      DescribeModel    = local.lifecycle.describe
      StopModel        = local.lifecycle.stop
      StopFormerModels = local.stop_former_models
      CountMessages = {
        actions   = ["sqs:GetQueueAttributes"]
        resources = local.analysis_queue[*].queue_arn
      }
      CloseRun = {
        actions   = ["s3:GetObject", "s3:PutObject"]
        resources = [local.current_run_arn]
      }
      # A run without work before the first one with some finds none.
      TellMissingFromForbidden = {
        actions   = ["s3:ListBucket"]
        resources = [module.final_bucket.bucket_arn]
      }
    })
  }
}

module "mapping_function" {
  source   = "./modules/function"
  for_each = local.mapping_functions

  name               = "${var.name_prefix}-${replace(each.key, "_", "-")}"
  description        = each.value
  region             = local.region
  package            = local.package
  handler            = "lambdas.${each.key}.handler.handler"
  architecture       = "arm64"
  memory_mb          = local.control_memory_mb
  timeout_seconds    = local.step_timeout_seconds
  environment        = local.function_environments[each.key]
  statements         = local.mapping_function_statements[each.key]
  log_retention_days = var.log_retention_days
  kms_key_arn        = var.kms_key_arn

  role_path                = var.role_path
  permissions_boundary_arn = var.permissions_boundary_arn

  tags = var.tags
}

module "workflow" {
  source = "./modules/workflow"
  count  = local.is_hosted ? 1 : 0

  name       = var.name_prefix
  role_name  = "${var.name_prefix}-workflow"
  account_id = local.account_id
  partition  = local.partition
  region     = local.region
  definition = local.workflow_definition
  # Every function but those that a queue feeds, and those of backfills and of videos.
  function_arns = concat(
    [
      for name, function in module.function : function.function_arn
      if !contains(concat(["analyze_images", "collect_changes"], keys(local.backfill_functions), keys(local.video_functions)), name)
    ],
    values(module.mapping_function)[*].function_arn,
  )
  finds_other_executions   = true
  map_bucket_arn           = null
  log_level                = "ERROR"
  log_retention_days       = var.log_retention_days
  kms_key_arn              = var.kms_key_arn
  role_path                = var.role_path
  permissions_boundary_arn = var.permissions_boundary_arn
  tags                     = var.tags
}

# ---------------------------------------------------------------------------------------------------------------------
# Watchdog: it does not depend on the workflow, and the workflow does not know of it
# ---------------------------------------------------------------------------------------------------------------------

locals {
  guard_statements = merge(local.use_key, local.stop_former_further, {
    FindExecutions = {
      actions   = ["states:ListExecutions"]
      resources = module.workflow[*].state_machine_arn
    }
    StopExecutions = {
      actions   = ["states:StopExecution"]
      resources = ["arn:${local.partition}:states:${local.region}:${local.account_id}:execution:${var.name_prefix}:*"]
    }
    DisableMapping = {
      actions   = ["lambda:GetEventSourceMapping", "lambda:UpdateEventSourceMapping"]
      resources = aws_lambda_event_source_mapping.this[*].arn
    }
    DescribeModel    = local.lifecycle.describe
    StopModel        = local.lifecycle.stop
    StopFormerModels = local.stop_former_models
    SendAlerts = {
      actions   = ["sns:Publish"]
      resources = [module.alerts.topic_arn]
    }
    ReadSummaries = {
      actions   = ["s3:GetObject"]
      resources = ["${module.final_bucket.bucket_arn}/runs/*"]
    }
    CloseRun = {
      actions   = ["s3:GetObject", "s3:PutObject"]
      resources = [local.current_run_arn]
    }
    # A run that failed before it could write a summary has none.
    TellMissingFromForbidden = {
      actions   = ["s3:ListBucket"]
      resources = [module.final_bucket.bucket_arn]
    }
  })
}

# Apart from the other functions, because it has to name what is made of them.
module "guard_function" {
  source = "./modules/function"
  count  = local.is_hosted ? 1 : 0

  name               = "${var.name_prefix}-guard-model"
  description        = "Watchdog: stops the model and disables the mapping when no execution owns them"
  region             = local.region
  package            = local.package
  handler            = "lambdas.guard_model.handler.handler"
  architecture       = "arm64"
  memory_mb          = local.control_memory_mb
  timeout_seconds    = var.timings.guard_timeout_seconds
  environment        = local.function_environments.guard_model
  statements         = local.guard_statements
  log_retention_days = var.log_retention_days
  kms_key_arn        = var.kms_key_arn

  role_path                = var.role_path
  permissions_boundary_arn = var.permissions_boundary_arn

  tags = var.tags
}

module "guard" {
  source = "./modules/guard"
  count  = local.is_hosted ? 1 : 0

  name                      = "${var.name_prefix}-guard"
  function_arn              = module.guard_function[0].function_arn
  state_machine_arn         = module.workflow[0].state_machine_arn
  event_source_mapping_uuid = aws_lambda_event_source_mapping.this[0].uuid
  backend                   = var.backend
  backend_settings          = local.backend.settings
  schedule_expression       = var.guard_schedule_expression
  poll_seconds              = var.timings.model_poll_seconds
  analyze_timeout_seconds   = var.timings.analyze_timeout_seconds
  alert_topic_arn           = module.alerts.topic_arn
  tags                      = var.tags

  # All that it needs at the end, and all else but the schedule: a destroy that cannot stop the model has destroyed
  # nothing, and an apply that cannot has changed nothing.
  depends_on = [
    aws_lambda_event_source_mapping.changes,
    aws_lambda_event_source_mapping.video_hints,
    aws_lambda_event_source_mapping.videos,
    aws_lambda_function_event_invoke_config.collect_videos,
    aws_s3_bucket_notification.this,
    aws_s3_bucket_notification.videos,
    aws_s3_object.settings,
    module.alerts,
    module.backfill,
    module.changes,
    module.compaction_schedule,
    module.dispatch_schedule,
    module.final_bucket,
    module.function,
    module.guard_function,
    module.mapping_function,
    module.chunk_queue,
    module.queue,
    module.source_bucket,
    module.video_changes,
    module.videos,
    module.videos_bucket,
    module.videos_queue,
    module.workflow,
  ]
}

# ---------------------------------------------------------------------------------------------------------------------
# Schedule
# ---------------------------------------------------------------------------------------------------------------------

module "schedule" {
  source = "./modules/schedule"
  count  = local.is_hosted ? 1 : 0

  name                = "${var.name_prefix}-schedule"
  description         = "Starts a run of batch-vision"
  account_id          = local.account_id
  region              = local.region
  schedule_expression = var.schedule_expression
  is_enabled          = var.schedule_enabled
  # Through the watchdog, so that it is destroyed first: nothing starts a run while the last one is being stopped.
  state_machine_arn = module.guard[0].state_machine_arn
  input             = null

  role_path                = var.role_path
  permissions_boundary_arn = var.permissions_boundary_arn

  tags = var.tags
}

moved {
  from = module.workflow
  to   = module.workflow[0]
}

moved {
  from = module.guard_function
  to   = module.guard_function[0]
}

moved {
  from = module.guard
  to   = module.guard[0]
}

moved {
  from = module.schedule
  to   = module.schedule[0]
}
