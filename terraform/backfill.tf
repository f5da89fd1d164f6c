# ---------------------------------------------------------------------------------------------------------------------
# Backfill of an existing bucket: every image that has no result which is up to date. It writes down the keys as
# chunks. With a managed model it works them off itself; with a hosted one they wait for the next run.
# ---------------------------------------------------------------------------------------------------------------------

locals {
  has_backfill = local.is_existing
  # A chunk is worked off by the backfill itself where the model is always there.
  works_off = local.is_existing && local.is_managed

  # Of the calls that this deployment may make, at most. Live events have the rest while a backfill works, and all of them
  # while none does.
  backfill_share_percent = 80

  # An image is done when all its analyses have answered, and an invocation has up to 32 threads.
  backfill_invocations = !local.is_managed ? null : max(1, ceil(
    local.backfill_share_percent * min(values(local.calls_per_second)...) * local.image_latency_seconds / (100 * 32)
  ))
  backfill_max_concurrency = local.works_off ? local.backfill_invocations : null

  # Each invocation has its part, and never more.
  backfill_paces = !local.is_managed ? {} : {
    for operation, allowed in local.calls_per_second : operation => {
      # Without the many digits of a third.
      calls_per_second      = floor(10 * local.backfill_share_percent * allowed / local.backfill_invocations) / 1000
      most_calls_per_second = floor(10 * local.backfill_share_percent * allowed / local.backfill_invocations) / 1000
    }
  }

  # The most images in a chunk: what one invocation asks the model about in the time that it has for that, as chunk_images.
  backfill_chunk_images = !local.is_managed ? local.chunk_images : max(1, min(1000, floor(
    min(values(local.backfill_paces)[*].calls_per_second...) * 3 * var.timings.backfill_timeout_seconds / 5
  )))

  # Listings of a large bucket are long, and the more of them one call does, the fewer calls there are.
  plan_timeout_seconds     = min(900, 3 * var.timings.backfill_timeout_seconds)
  work_off_timeout_seconds = var.timings.backfill_timeout_seconds
}

# ---------------------------------------------------------------------------------------------------------------------
# Functions; they are made in functions.tf
# ---------------------------------------------------------------------------------------------------------------------

locals {
  backfill_handlers = {
    plan_backfill  = local.has_backfill ? "plan_backfill" : null
    count_backfill = local.has_backfill ? "count_backfill" : null
    work_off_chunk = local.works_off ? "work_off_chunk" : null
  }

  backfill_functions = {
    plan_backfill = {
      description = "Writes down which keys of a bucket a backfill is to look at, as far as the time of one call goes"
      # One vCPU: it reads lists of millions of keys, and compares them with the results.
      memory_mb       = 1769
      timeout_seconds = local.plan_timeout_seconds
    }

    count_backfill = {
      description     = "Counts what is left of a backfill, and writes its summary when it is over"
      memory_mb       = local.control_memory_mb
      timeout_seconds = local.long_step_timeout_seconds
    }

    work_off_chunk = {
      description     = "Analyzes images of a backfill's chunk, and deletes the chunk when all are done"
      memory_mb       = var.analyze_memory_mb
      timeout_seconds = local.work_off_timeout_seconds
    }
  }

  backfill_statements = {
    plan_backfill = merge(local.use_key, {
      ListImagesAndResults = {
        actions   = ["s3:ListBucket"]
        resources = concat([module.final_bucket.bucket_arn], local.images_bucket_arn[*])
      }
      KeepJobs = {
        actions   = ["s3:GetObject", "s3:PutObject"]
        resources = ["${module.final_bucket.bucket_arn}/jobs/*"]
      }
      WriteChunks = {
        actions   = ["s3:PutObject"]
        resources = ["${module.final_bucket.bucket_arn}/work/*/chunks/*"]
      }
      CompareSettings = local.read_settings
      # Results without an image, and those of an image that came in the same second where a chunk would start a model, are
      # for the function of live events, which needs none to look at them.
      HandOnKeys = {
        actions   = ["sqs:SendMessage"]
        resources = module.queue[*].queue_arn
      }
      # Their names are hashes: the result itself tells whose it is, and a HEAD how old it is.
      ReadResultsOfLongKeys = {
        actions   = ["s3:GetObject"]
        resources = ["${module.final_bucket.bucket_arn}/results-long/*"]
      }
    })

    count_backfill = merge(local.use_key, {
      ListChunks = {
        actions   = ["s3:ListBucket"]
        resources = [module.final_bucket.bucket_arn]
      }
      ReadJobs = {
        actions   = ["s3:GetObject"]
        resources = ["${module.final_bucket.bucket_arn}/jobs/*"]
      }
      WriteSummary = {
        actions   = ["s3:PutObject"]
        resources = ["${module.final_bucket.bucket_arn}/backfills/*"]
      }
    })

    # A chunk is deleted in the version that was read. What is no chunk is put aside, under a delete marker; one that a
    # function died of is taken apart.
    work_off_chunk = merge(local.follow_bucket, local.detect, local.keep_answers, {
      WorkOffChunks = {
        actions   = ["s3:DeleteObject", "s3:DeleteObjectVersion", "s3:GetObject", "s3:PutObject"]
        resources = ["${module.final_bucket.bucket_arn}/work/*/chunks/*"]
      }
      CompareSettings = local.read_settings
      TellCancelled   = local.tell_cancelled
      TellLiveEvents = {
        actions   = ["s3:PutObject"]
        resources = [local.backfill_at_work_arn]
      }
    })
  }

  # Says until when a backfill asks the model.
  backfill_at_work_arn = "${module.final_bucket.bucket_arn}/work/backfill.json"
}

# ---------------------------------------------------------------------------------------------------------------------
# State machine
# ---------------------------------------------------------------------------------------------------------------------

locals {
  # Errors that repeating does not mend.
  backfill_final_errors = [
    "AccessDeniedError",
    "BackfillListError",
    "BackfillNotFoundError",
    "SettingsError",
  ]
  retry_of_backfill = concat(
    [{ ErrorEquals = local.backfill_final_errors, MaxAttempts = 0 }],
    slice(local.retry, 1, length(local.retry)),
  )

  # A function that died of a chunk, by timeout or of its memory, dies of it again: one more call tells chance apart.
  # (Step Functions developer guide, Handle Lambda service exceptions; newer runtimes have names of their own.)
  death_errors = ["Lambda.Unknown", "Runtime.ExitError", "Runtime.OutOfMemory"]
  retry_of_work_off = concat(
    [{ ErrorEquals = concat(local.hung_errors, local.death_errors), IntervalSeconds = 2, MaxAttempts = 1, BackoffRate = 1 }],
    [for retry in local.retry_of_backfill : retry if retry.ErrorEquals != local.hung_errors],
  )
  # Every chunk would meet these, and would be taken apart for nothing.
  errors_of_no_chunk = concat(local.backfill_final_errors, [
    "Lambda.AWSLambdaException",
    "Lambda.ClientExecutionTimeoutException",
    "Lambda.SdkClientException",
    "Lambda.ServiceException",
    "Lambda.TooManyRequestsException",
  ])

  # The one place where the state machine is rendered: a new placeholder is a new line here.
  backfill_template = !local.has_backfill ? "" : templatefile("${path.module}/backfill.asl.json", {
    partition                   = local.partition
    final_bucket_name           = module.final_bucket.bucket_name
    plan_backfill_function_arn  = module.function["plan_backfill"].function_arn
    count_backfill_function_arn = module.function["count_backfill"].function_arn
    work_off_chunk_function_arn = local.works_off ? module.function["work_off_chunk"].function_arn : ""
    after_count                 = local.works_off ? "DoesItGoOn" : "DidAllGoWell"
    plan_timeout_seconds        = local.plan_timeout_seconds + local.task_margin_seconds
    count_timeout_seconds       = local.long_step_timeout_seconds + local.task_margin_seconds
    work_off_timeout_seconds    = local.work_off_timeout_seconds + local.task_margin_seconds
    # A year, the longest that Step Functions allows: 10^9 images take months.
    execution_timeout_seconds = 31536000
  })

  # As those of the workflow: placeholders stand in quotes.
  backfill_numbers = replace(local.backfill_template, "/\"([0-9]+)\"/", "$1")
  backfill_of_all = !local.has_backfill ? null : jsondecode(replace(replace(replace(replace(replace(local.backfill_numbers,
    "\"@retry\"", jsonencode(local.retry_of_backfill)),
    "\"@retry_of_work_off\"", jsonencode(local.retry_of_work_off)),
    "\"@errors_of_no_chunk\"", jsonencode(local.errors_of_no_chunk)),
    "\"@max_concurrency\"", jsonencode(local.backfill_max_concurrency)),
  "\"@works_off\"", jsonencode(local.works_off)))

  # A hosted model has no function that works chunks off, and so none of the states that would call it.
  backfill_states = {
    for name, state in try(local.backfill_of_all.States, {}) : name => state
    if local.works_off || !contains(["DoesItGoOn", "WorkOffChunks"], name)
  }

  # Written with a fraction: to LocalStack a percentage is no whole number.
  backfill_definition = replace(jsonencode(merge(local.backfill_of_all, { States = local.backfill_states })),
  "\"@tolerated_failure_percentage\"", "100.0")
}

module "backfill" {
  source = "./modules/workflow"
  count  = local.has_backfill ? 1 : 0

  name                     = "${var.name_prefix}-backfill"
  role_name                = "${var.name_prefix}-backfill"
  account_id               = local.account_id
  partition                = local.partition
  region                   = local.region
  definition               = local.backfill_definition
  function_arns            = [for name in keys(local.backfill_functions) : module.function[name].function_arn if local.handlers[name] != null]
  finds_other_executions   = false
  map_bucket_arn           = local.works_off ? module.final_bucket.bucket_arn : null
  log_level                = "ERROR"
  log_retention_days       = var.log_retention_days
  kms_key_arn              = var.kms_key_arn
  role_path                = var.role_path
  permissions_boundary_arn = var.permissions_boundary_arn
  tags                     = var.tags
}

# ---------------------------------------------------------------------------------------------------------------------
# Sweep: a backfill by schedule
# ---------------------------------------------------------------------------------------------------------------------

module "sweep_schedule" {
  source = "./modules/schedule"
  count  = local.has_backfill && var.sweep_schedule_expression != null ? 1 : 0

  name                = "${var.name_prefix}-sweep"
  description         = "Starts a sweep of batch-vision"
  account_id          = local.account_id
  region              = local.region
  schedule_expression = var.sweep_schedule_expression
  is_enabled          = true
  state_machine_arn   = module.backfill[0].state_machine_arn
  # Each sweep is a job of its own, with the name of its execution.
  input = jsonencode({
    request = {
      source          = { kind = "listing", prefix = "" }
      deep            = false
      removes_orphans = true
    }
    max_concurrency = local.backfill_max_concurrency
  })

  role_path                = var.role_path
  permissions_boundary_arn = var.permissions_boundary_arn

  tags = var.tags
}
