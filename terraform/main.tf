data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  account_id = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition
  # `id` is the name of the Region in versions 5 and 6 of the provider; `name` is deprecated in 6.
  region = data.aws_region.current.id

  # Bucket names are shared by all accounts of a partition, so the name of a deployment alone is not enough.
  source_bucket_name = "${var.name_prefix}-source-${local.account_id}-${local.region}"
  final_bucket_name  = "${var.name_prefix}-final-${local.account_id}-${local.region}"

  lambda_package_path = coalesce(var.lambda_package_path, "${path.module}/../build/lambdas.zip")

  # Lambda wants a window of at least a second for batches of more than 10.
  batch_window_seconds = var.batch_size > 10 ? 1 : 0

  # AWS advises six times the timeout of the function plus the batch window, so that a batch that is throttled and
  # tried again is not handed out a second time meanwhile.
  visibility_timeout_seconds = 6 * var.timings.analyze_timeout_seconds + local.batch_window_seconds

  # 14 days, the longest that SQS allows.
  message_retention_seconds = 1209600

  control_memory_mb = 512

  # Bounds a call of the requeueing function, not a run: where there are more, the run calls it again.
  requeue_limit_images = 10000

  # From the call of the model until an image has its place, about. It matters for small batches: more of them are then
  # worked on at the same time.
  image_latency_seconds = 1
}

# ---------------------------------------------------------------------------------------------------------------------
# Buckets and queue
# ---------------------------------------------------------------------------------------------------------------------

module "source_bucket" {
  source = "./modules/storage"

  name          = local.source_bucket_name
  force_destroy = var.force_destroy
  kms_key_arn   = var.kms_key_arn
  # A finished image leaves by version. A noncurrent version here is one that was overwritten or deleted before it
  # was analyzed, so it is kept far longer than the 14 days for which its message can wait.
  noncurrent_version_retention_days = 365
  tags                              = var.tags
}

module "final_bucket" {
  source = "./modules/storage"

  name          = local.final_bucket_name
  force_destroy = var.force_destroy
  kms_key_arn   = var.kms_key_arn
  # A noncurrent version here is the image or result of an upload whose key was uploaded again: a result like any other.
  noncurrent_version_retention_days = null
  tags                              = var.tags
}

module "queue" {
  source = "./modules/queue"

  name                       = "${var.name_prefix}-images"
  account_id                 = local.account_id
  partition                  = local.partition
  region                     = local.region
  source_bucket_name         = module.source_bucket.bucket_name
  source_bucket_arn          = module.source_bucket.bucket_arn
  source_prefix              = var.source_prefix
  visibility_timeout_seconds = local.visibility_timeout_seconds
  message_retention_seconds  = local.message_retention_seconds
  max_receive_count          = var.max_receive_count
  kms_key_arn                = var.kms_key_arn
  tags                       = var.tags
}

# ---------------------------------------------------------------------------------------------------------------------
# Functions: one zip, and for each an environment with what it is told and a role with what it calls
# ---------------------------------------------------------------------------------------------------------------------

locals {
  # Whatever source_prefix says: it may have been another one when an image was uploaded or a message sent.
  source_objects_arn = "${module.source_bucket.bucket_arn}/*"

  # Where images wait: the first is where they are uploaded now.
  source_prefixes = distinct(concat([var.source_prefix], tolist(var.former_settings.source_prefixes)))

  # A customer key is named in the policies only when there is one.
  former_kms_key_arns = setsubtract(var.former_settings.kms_key_arns, var.kms_key_arn[*])
  use_key = {
    for sid, statement in {
      UseCustomerKey    = { actions = ["kms:Decrypt", "kms:GenerateDataKey"], resources = var.kms_key_arn[*] }
      ReadWithFormerKey = { actions = ["kms:Decrypt"], resources = tolist(local.former_kms_key_arns) }
    } : sid => statement if length(statement.resources) > 0
  }

  # Only a run that succeeded tells of itself: the watchdog tells of the others, whatever state they ended in.
  tell_of_success = var.success_notifications_enabled ? {
    TellOfSuccess = {
      actions   = ["sns:Publish"]
      resources = [module.alerts.topic_arn]
    }
  } : {}

  # Null for cron(...).
  rate                    = try(regex("^rate\\(([0-9]+) (minute|hour|day)s?\\)$", var.schedule_expression), null)
  schedule_period_seconds = local.rate == null ? null : tonumber(local.rate[0]) * { minute = 60, hour = 3600, day = 86400 }[local.rate[1]]
  no_run_seconds          = local.rate == null ? var.alarm_thresholds.no_run_seconds : coalesce(var.alarm_thresholds.no_run_seconds, 3 * local.schedule_period_seconds)

  functions = {
    analyze_images = {
      description     = "Asks the model about each image of a batch, writes the result and moves the image"
      memory_mb       = var.analyze_memory_mb
      timeout_seconds = var.timings.analyze_timeout_seconds
    }

    check_backlog = {
      description     = "Counts the images that wait and says whether the run is done, goes on or is stuck"
      memory_mb       = local.control_memory_mb
      timeout_seconds = local.step_timeout_seconds
    }

    start_model = {
      description     = "Starts the model, or says how far its start has come"
      memory_mb       = local.control_memory_mb
      timeout_seconds = local.step_timeout_seconds
    }

    requeue_images = {
      description     = "Puts images that have no message back on the queue, and gives up those of dead letters"
      memory_mb       = local.control_memory_mb
      timeout_seconds = var.timings.control_function_timeout_seconds
    }

    summarize_run = {
      description = "Sums up the catalog of a run and writes the summary"
      # One vCPU: it reads a catalog object for each batch of the run, and 540,000 images (six hours of five inference
      # units) are 54,000 of them. docs/cost.md has the time and the memory that this takes.
      memory_mb       = 1769
      timeout_seconds = local.summarize_timeout_seconds
    }
  }

  current_run_arn = "${module.final_bucket.bucket_arn}/current-run.json"

  # What each function may do.
  function_statements = {
    analyze_images = merge(local.use_key, {
      # A message that meets a model which is not running is sent anew, with a delay.
      TakeMessagesAndSendThemAnew = {
        actions   = ["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage", "sqs:SendMessage"]
        resources = [module.queue.queue_arn]
      }
      # Copying a tagged object reads its tags. S3 tells of a legal hold or a retention only who may see it.
      ReadAndRemoveImages = {
        actions = [
          "s3:DeleteObjectVersion",
          "s3:GetObject",
          "s3:GetObjectLegalHold",
          "s3:GetObjectRetention",
          "s3:GetObjectTagging",
          "s3:GetObjectVersion",
          "s3:GetObjectVersionTagging",
        ]
        resources = [local.source_objects_arn]
      }
      WriteCatalog = {
        actions   = ["s3:PutObject"]
        resources = ["${module.final_bucket.bucket_arn}/catalog/*"]
      }
      # Deleting is for what an image has that was deleted before it could be copied or that may not leave the source
      # bucket, by version, so that what an older upload has there is current again; for a mask that is replaced, and
      # for a name that was reserved in vain.
      WriteResults = {
        actions = [
          "s3:DeleteObject",
          "s3:DeleteObjectVersion",
          "s3:GetObject",
          "s3:PutObject",
          "s3:PutObjectTagging",
        ]
        resources = [
          "${module.final_bucket.bucket_arn}/processed/*",
          "${module.final_bucket.bucket_arn}/rejected/*",
        ]
      }
      # The entries of images that were given up.
      GiveImagesUp = {
        actions   = ["s3:GetObject", "s3:PutObject"]
        resources = ["${module.final_bucket.bucket_arn}/stuck/*"]
      }
      # An object over 5 GiB is copied in parts. It is always a rejected one.
      AbortLargeCopies = {
        actions   = ["s3:AbortMultipartUpload"]
        resources = ["${module.final_bucket.bucket_arn}/rejected/*"]
      }
      # Without it S3 answers 403 for an object that is gone, which is not to be told from a missing permission.
      TellMissingFromForbidden = {
        actions   = ["s3:ListBucket"]
        resources = [module.final_bucket.bucket_arn, module.source_bucket.bucket_arn]
      }
      # For the order of a key's uploads, what was taken back, and whether an image is really gone. With it S3 answers
      # 404 for a version that is gone.
      ListImageVersions = {
        actions   = ["s3:ListBucketVersions"]
        resources = [module.source_bucket.bucket_arn]
      }
      NameRunInLog = {
        actions   = ["s3:GetObject"]
        resources = [local.current_run_arn]
      }
      DetectWithModel = local.backend.detect
    })

    check_backlog = {
      ListImages = {
        actions   = ["s3:ListBucket"]
        resources = [module.final_bucket.bucket_arn, module.source_bucket.bucket_arn]
      }
      # Which version is stuck is told by the versions only.
      ListImageVersions = {
        actions   = ["s3:ListBucketVersions"]
        resources = [module.source_bucket.bucket_arn]
      }
      CountMessages = {
        actions   = ["sqs:GetQueueAttributes"]
        resources = [module.queue.queue_arn]
      }
      DescribeModel = local.backend.describe
    }

    start_model = merge(local.use_key, {
      DescribeModel = local.backend.describe
      StartModel    = local.backend.start
      NameRun = {
        actions   = ["s3:GetObject", "s3:PutObject"]
        resources = [local.current_run_arn]
      }
      # Before the first run there is none.
      TellMissingFromForbidden = {
        actions   = ["s3:ListBucket"]
        resources = [module.final_bucket.bucket_arn]
      }
    })

    requeue_images = merge(local.use_key, {
      ListImageVersions = {
        actions   = ["s3:ListBucketVersions"]
        resources = [module.source_bucket.bucket_arn]
      }
      ListStuckImages = {
        actions   = ["s3:ListBucket"]
        resources = [module.final_bucket.bucket_arn]
      }
      WriteStuckImages = {
        actions   = ["s3:PutObject"]
        resources = ["${module.final_bucket.bucket_arn}/stuck/*"]
      }
      SendMessages = {
        actions   = ["sqs:SendMessage"]
        resources = [module.queue.queue_arn]
      }
      TakeDeadLetters = {
        actions   = ["sqs:DeleteMessage", "sqs:ReceiveMessage"]
        resources = [module.queue.dead_letter_queue_arn]
      }
    })

    summarize_run = merge(local.use_key, local.tell_of_success, {
      # Only versions can be told from those that are stuck.
      TellStuckImages = {
        actions   = ["s3:ListBucketVersions"]
        resources = [module.source_bucket.bucket_arn]
      }
      ListResultsAndImages = {
        actions   = ["s3:ListBucket"]
        resources = [module.final_bucket.bucket_arn, module.source_bucket.bucket_arn]
      }
      ReadCatalog = {
        actions   = ["s3:GetObject"]
        resources = ["${module.final_bucket.bucket_arn}/catalog/*"]
      }
      WriteSummary = {
        actions   = ["s3:PutObject"]
        resources = ["${module.final_bucket.bucket_arn}/runs/*"]
      }
    })
  }

  # How fast one invocation asks each detector of the backend, which has the backend's name. It begins with half of what
  # a unit can do, as a mapping never runs fewer than two invocations; a model may be better than was said.
  paces = {
    (var.backend) = {
      calls_per_second      = var.images_per_second_per_unit / 2
      most_calls_per_second = var.images_per_second_per_unit * 4
    }
  }

  # What functions are told, each thing once.
  settings = {
    SOURCE_BUCKET_NAME          = module.source_bucket.bucket_name
    SOURCE_PREFIXES             = jsonencode(local.source_prefixes)
    PACES                       = jsonencode(local.paces)
    FINAL_BUCKET_NAME           = module.final_bucket.bucket_name
    QUEUE_URL                   = module.queue.queue_url
    MAX_RECEIVE_COUNT           = tostring(var.max_receive_count)
    BACKEND                     = var.backend
    BACKEND_SETTINGS            = jsonencode(local.backend.settings)
    MIN_CONFIDENCE_PERCENT      = var.min_confidence_percent == null ? "" : tostring(var.min_confidence_percent)
    START_BACKLOG_IMAGES        = tostring(var.start_backlog_images)
    START_MAX_AGE_SECONDS       = var.start_max_age_seconds == null ? "" : tostring(var.start_max_age_seconds)
    MIN_INFERENCE_UNITS         = tostring(var.min_inference_units)
    MAX_INFERENCE_UNITS         = tostring(var.max_inference_units)
    TARGET_DRAIN_SECONDS        = tostring(var.target_drain_seconds)
    IMAGES_PER_SECOND_PER_UNIT  = tostring(var.images_per_second_per_unit)
    ACCOUNT_IMAGES_PER_SECOND   = tostring(var.account_images_per_second)
    MAX_CONCURRENCY             = tostring(var.max_concurrency)
    BATCH_SIZE                  = tostring(var.batch_size)
    IMAGE_LATENCY_SECONDS       = tostring(local.image_latency_seconds)
    REQUEUE_LIMIT_IMAGES        = tostring(local.requeue_limit_images)
    INFERENCE_UNIT_HOUR_DOLLARS = tostring(local.backend.inference_unit_hour_dollars)
    SCHEDULE_PERIOD_SECONDS     = local.schedule_period_seconds == null ? "" : tostring(local.schedule_period_seconds)
    SUCCESS_TOPIC_ARN           = var.success_notifications_enabled ? module.alerts.topic_arn : ""
  }

  model_settings  = ["BACKEND", "BACKEND_SETTINGS"]
  bucket_settings = ["SOURCE_BUCKET_NAME", "SOURCE_PREFIXES", "FINAL_BUCKET_NAME"]

  # Who is told what: the fields of the function's settings class, to which a test holds it.
  function_settings = {
    analyze_images = concat(local.model_settings, [
      "SOURCE_BUCKET_NAME",
      "FINAL_BUCKET_NAME",
      "MIN_CONFIDENCE_PERCENT",
      "PACES",
      "QUEUE_URL",
      "MAX_RECEIVE_COUNT",
    ])
    check_backlog = concat(local.model_settings, local.bucket_settings, [
      "START_BACKLOG_IMAGES",
      "START_MAX_AGE_SECONDS",
    ])
    start_model = concat(local.model_settings, [
      "FINAL_BUCKET_NAME",
      "MIN_INFERENCE_UNITS",
      "MAX_INFERENCE_UNITS",
      "TARGET_DRAIN_SECONDS",
      "IMAGES_PER_SECOND_PER_UNIT",
      "ACCOUNT_IMAGES_PER_SECOND",
      "MAX_CONCURRENCY",
      "BATCH_SIZE",
      "IMAGE_LATENCY_SECONDS",
    ])
    enable_mapping = []
    close_run      = ["FINAL_BUCKET_NAME"]
    guard_model    = ["FINAL_BUCKET_NAME"]
    requeue_images = concat(local.bucket_settings, ["REQUEUE_LIMIT_IMAGES"])
    summarize_run = concat(local.bucket_settings, [
      "MAX_INFERENCE_UNITS",
      "INFERENCE_UNIT_HOUR_DOLLARS",
      "SCHEDULE_PERIOD_SECONDS",
      "SUCCESS_TOPIC_ARN",
    ])
  }

  function_environments = {
    for function, names in local.function_settings : function => merge({ for name in names : name => local.settings[name] }, {
      # The service tells one deployment from another in logs and metrics.
      POWERTOOLS_SERVICE_NAME      = var.name_prefix
      POWERTOOLS_METRICS_NAMESPACE = "BatchVision"
      POWERTOOLS_LOG_LEVEL         = var.log_level
    })
  }
}

module "function" {
  source   = "./modules/function"
  for_each = local.functions

  name               = "${var.name_prefix}-${replace(each.key, "_", "-")}"
  description        = each.value.description
  region             = local.region
  package_path       = local.lambda_package_path
  handler            = "lambdas.${each.key}.handler.handler"
  architecture       = "arm64"
  memory_mb          = each.value.memory_mb
  timeout_seconds    = each.value.timeout_seconds
  environment        = local.function_environments[each.key]
  statements         = local.function_statements[each.key]
  log_retention_days = var.log_retention_days
  kms_key_arn        = var.kms_key_arn

  role_path                = var.role_path
  permissions_boundary_arn = var.permissions_boundary_arn

  tags = var.tags
}

resource "aws_lambda_event_source_mapping" "this" {
  event_source_arn                   = module.queue.queue_arn
  function_name                      = module.function["analyze_images"].function_arn
  enabled                            = false
  batch_size                         = var.batch_size
  maximum_batching_window_in_seconds = local.batch_window_seconds
  function_response_types            = ["ReportBatchItemFailures"]

  scaling_config {
    # Until the first run sets its own.
    maximum_concurrency = 2
  }

  tags = var.tags

  lifecycle {
    # The workflow enables and disables the mapping, as wide as the run needs. An apply in the middle of a run must not.
    ignore_changes = [enabled, scaling_config]
  }
}

# Apart from the other functions, because these have to name the mapping, which is made of one of them.
locals {
  mapping_functions = {
    enable_mapping = "Enables the event source mapping, or says how far that has come"
    close_run      = "Disables the event source mapping and stops the model, or says how far that has come"
  }

  mapping_function_statements = {
    enable_mapping = {
      EnableMapping = {
        actions   = ["lambda:GetEventSourceMapping", "lambda:UpdateEventSourceMapping"]
        resources = [aws_lambda_event_source_mapping.this.arn]
      }
    }

    close_run = merge(local.use_key, {
      DisableMapping = {
        actions   = ["lambda:GetEventSourceMapping", "lambda:UpdateEventSourceMapping"]
        resources = [aws_lambda_event_source_mapping.this.arn]
      }
      DescribeModel    = local.backend.describe
      StopModel        = local.backend.stop
      StopFormerModels = local.stop_former_models
      CountMessages = {
        actions   = ["sqs:GetQueueAttributes"]
        resources = [module.queue.queue_arn]
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
  package_path       = local.lambda_package_path
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

# ---------------------------------------------------------------------------------------------------------------------
# Workflow
# ---------------------------------------------------------------------------------------------------------------------

locals {
  # How long a function has for one step. Listing and sending many images takes longer, and reading the catalog of a long
  # run, for which the model is off, as long as Lambda allows.
  step_timeout_seconds      = min(60, var.timings.control_function_timeout_seconds)
  long_step_timeout_seconds = var.timings.control_function_timeout_seconds
  summarize_timeout_seconds = 900

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
  ])

  # The one place where the workflow is rendered: a new placeholder is a new line here.
  workflow_template = templatefile("${path.module}/../state_machine.asl.json", {
    partition                   = local.partition
    backend                     = var.backend
    queue_url                   = module.queue.queue_url
    dead_letter_queue_url       = module.queue.dead_letter_queue_url
    event_source_mapping_uuid   = aws_lambda_event_source_mapping.this.uuid
    check_backlog_function_arn  = module.function["check_backlog"].function_arn
    start_model_function_arn    = module.function["start_model"].function_arn
    enable_mapping_function_arn = module.mapping_function["enable_mapping"].function_arn
    close_run_function_arn      = module.mapping_function["close_run"].function_arn
    requeue_images_function_arn = module.function["requeue_images"].function_arn
    summarize_run_function_arn  = module.function["summarize_run"].function_arn
    step_timeout_seconds        = local.step_timeout_seconds + local.task_margin_seconds
    long_step_timeout_seconds   = local.long_step_timeout_seconds + local.task_margin_seconds
    summarize_timeout_seconds   = local.summarize_timeout_seconds + local.task_margin_seconds
    model_poll_seconds          = var.timings.model_poll_seconds
    start_timeout_seconds       = var.timings.start_timeout_seconds
    stop_timeout_seconds        = var.timings.stop_timeout_seconds
    mapping_poll_seconds        = var.timings.mapping_poll_seconds
    mapping_timeout_seconds     = var.timings.mapping_timeout_seconds
    analyze_timeout_seconds     = var.timings.analyze_timeout_seconds
    drain_poll_seconds          = var.timings.drain_poll_seconds
    drain_timeout_seconds       = var.timings.drain_timeout_seconds
    stall_timeout_seconds       = var.timings.stall_timeout_seconds
    execution_timeout_seconds   = local.execution_timeout_seconds
  })

  # The file is JSON before it is rendered, so its placeholders stand in quotes, those of numbers and lists too. A text
  # of digits only becomes a number; no other text of the workflow is made of digits alone.
  workflow_numbers = replace(local.workflow_template, "/\"([0-9]+)\"/", "$1")
  workflow_definition = replace(replace(replace(local.workflow_numbers,
    "\"@retry\"", jsonencode(local.retry)),
    "\"@retry_of_close\"", jsonencode(local.retry_of_close)),
  "\"@backend_settings\"", jsonencode(local.backend.settings))
}

module "workflow" {
  source = "./modules/workflow"

  name       = var.name_prefix
  account_id = local.account_id
  partition  = local.partition
  region     = local.region
  definition = local.workflow_definition
  # Every function but the one that the queue feeds.
  function_arns = concat(
    [for name, function in module.function : function.function_arn if name != "analyze_images"],
    values(module.mapping_function)[*].function_arn,
  )
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

module "alerts" {
  source = "./modules/alerts"

  name            = "${var.name_prefix}-alerts"
  account_id      = local.account_id
  partition       = local.partition
  region          = local.region
  email_addresses = var.alert_email_addresses
  kms_key_arn     = var.kms_key_arn
  tags            = var.tags
}

locals {
  guard_statements = merge(local.use_key, {
    FindExecutions = {
      actions   = ["states:ListExecutions"]
      resources = [module.workflow.state_machine_arn]
    }
    StopExecutions = {
      actions   = ["states:StopExecution"]
      resources = ["arn:${local.partition}:states:${local.region}:${local.account_id}:execution:${var.name_prefix}:*"]
    }
    DisableMapping = {
      actions   = ["lambda:GetEventSourceMapping", "lambda:UpdateEventSourceMapping"]
      resources = [aws_lambda_event_source_mapping.this.arn]
    }
    DescribeModel    = local.backend.describe
    StopModel        = local.backend.stop
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

  name               = "${var.name_prefix}-guard-model"
  description        = "Watchdog: stops the model and disables the mapping when no execution owns them"
  region             = local.region
  package_path       = local.lambda_package_path
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

  name                      = "${var.name_prefix}-guard"
  function_arn              = module.guard_function.function_arn
  state_machine_arn         = module.workflow.state_machine_arn
  event_source_mapping_uuid = aws_lambda_event_source_mapping.this.uuid
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
    module.alerts,
    module.final_bucket,
    module.function,
    module.guard_function,
    module.mapping_function,
    module.queue,
    module.source_bucket,
    module.workflow,
  ]
}

module "monitoring" {
  source = "./modules/monitoring"
  count  = anytrue(values(var.monitoring)) ? 1 : 0

  name                      = var.name_prefix
  region                    = local.region
  queue_name                = module.queue.queue_name
  dead_letter_queue_name    = module.queue.dead_letter_queue_name
  state_machine_arn         = module.workflow.state_machine_arn
  guard_function_name       = module.guard_function.function_name
  analyze_function_name     = module.function["analyze_images"].function_name
  summarize_function_name   = module.function["summarize_run"].function_name
  function_names            = [for function in concat(values(module.function), values(module.mapping_function), [module.guard_function]) : function.function_name]
  parts                     = var.monitoring
  message_retention_seconds = local.message_retention_seconds
  model_on_seconds          = coalesce(var.alarm_thresholds.model_on_seconds, min(604800, local.execution_timeout_seconds))
  # A schedule that is off starts nothing.
  no_run_seconds         = var.schedule_enabled ? local.no_run_seconds : null
  function_errors        = var.alarm_thresholds.function_errors
  function_throttles     = var.alarm_thresholds.function_throttles
  rejected_percent       = var.alarm_thresholds.rejected_percent
  oldest_message_percent = var.alarm_thresholds.oldest_message_percent
  alert_topic_arn        = module.alerts.topic_arn
  tags                   = var.tags
}

# ---------------------------------------------------------------------------------------------------------------------
# Schedule
# ---------------------------------------------------------------------------------------------------------------------

module "schedule" {
  source = "./modules/schedule"

  name                = "${var.name_prefix}-schedule"
  account_id          = local.account_id
  region              = local.region
  schedule_expression = var.schedule_expression
  is_enabled          = var.schedule_enabled
  # Through the watchdog, so that it is destroyed first: nothing starts a run while the last one is being stopped.
  state_machine_arn = module.guard.state_machine_arn

  role_path                = var.role_path
  permissions_boundary_arn = var.permissions_boundary_arn

  tags = var.tags
}
