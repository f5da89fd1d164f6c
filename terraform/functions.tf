# ---------------------------------------------------------------------------------------------------------------------
# Functions: their zip, and for each an environment with what it is told and a role with what it calls
# ---------------------------------------------------------------------------------------------------------------------

locals {
  # Of the drop-off bucket. Whatever source_prefix says: it may have been another one when an image was uploaded or a
  # message sent.
  source_objects_arns = [for arn in local.images_bucket_arn[*] : "${arn}/*"]

  # Of an existing bucket, where a message only means "look at this key": one outside these prefixes is not looked at.
  images_arns = local.images_bucket_arn == null ? [] : [for prefix in local.source_prefixes : "${local.images_bucket_arn}/${prefix}*"]

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

  # The key of a bucket that exists encrypts what the bucket's owner puts into it.
  read_with_images_key = {
    for arn in compact([try(var.images_bucket.kms_key_arn, null)]) : "ReadWithImagesKey" => {
      actions   = ["kms:Decrypt"]
      resources = [arn]
    }
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

  # The handler of each function, by the shape of the deployment: no handler looks at the shape. Null where the shape has no
  # such function. Those that name the mapping are apart, in runs.tf.
  handlers = merge({
    analyze_images = (
      local.is_drop_off ? "analyze_images"
      : local.is_existing ? (local.is_hosted ? "analyze_chunk" : "update_results") : null
    )
    collect_changes = local.collects_changes ? "collect_changes" : null
    requeue_images = (
      local.is_hosted ? (local.is_drop_off ? "requeue_images" : "send_chunks")
      : local.is_drop_off ? "requeue_overdue" : null
    )
    check_backlog   = local.is_hosted ? (local.is_drop_off ? "check_backlog" : "check_chunks") : null
    start_model     = local.is_hosted ? "start_model" : null
    summarize_run   = local.is_hosted ? (local.is_drop_off ? "summarize_run" : "summarize_chunks") : null
    compact_catalog = "compact_catalog"
  }, local.backfill_handlers, local.video_handlers)

  functions = { for role, function in local.all_functions : role => function if local.handlers[role] != null }

  all_functions = merge(local.backfill_functions, local.video_functions, {
    analyze_images = {
      description     = local.is_drop_off ? "Asks the model about each image of a batch, writes the result and moves the image" : "Asks the model about images, and keeps their results in step with the bucket"
      memory_mb       = var.analyze_memory_mb
      timeout_seconds = var.timings.analyze_timeout_seconds
    }

    collect_changes = {
      description     = "Looks at each image that changed, removes results of deleted ones, and writes down what needs the model"
      memory_mb       = local.control_memory_mb
      timeout_seconds = var.timings.analyze_timeout_seconds
    }

    check_backlog = {
      description     = "Counts the images that wait and says whether the run is done, goes on or has stalled"
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

    compact_catalog = {
      description     = "Makes an index of the catalog, for those who search all results"
      memory_mb       = 1769 # one vCPU, of which it needs all while it works
      timeout_seconds = local.compact_timeout_seconds
    }
  })

  current_run_arn = "${module.final_bucket.bucket_arn}/current-run.json"

  # What several functions may do.

  # A message that meets a model which is not running is sent anew, with a delay.
  take_messages = {
    TakeMessagesAndSendThemAnew = {
      actions   = ["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage", "sqs:SendMessage"]
      resources = local.analysis_queue[*].queue_arn
    }
  }

  detect = merge(
    { for statement in [local.backend.detect] : "DetectWithModel" => statement if length(statement.actions) > 0 },
    { for statement in [try(local.backend.detect_with_adapter, null)] : "DetectWithAdapter" => statement if statement != null },
  )

  # Where an image is finished only when several analyses have answered, answers are kept until then.
  keeps_answers = length(local.paces) > 1
  keep_answers = {
    for actions in [["s3:DeleteObjectVersion", "s3:GetObject", "s3:PutObject"]] : "KeepAnswers" => {
      actions   = actions
      resources = ["${module.final_bucket.bucket_arn}/work/partial/*"]
    } if local.keeps_answers
  }

  # For an existing bucket: it is read, and results follow it.
  follow_bucket = merge(local.use_key, local.read_with_images_key, {
    ReadImages = {
      actions   = ["s3:GetObject", "s3:GetObjectVersion"]
      resources = local.images_arns
    }
    # Without it S3 answers 403 for an object that is gone, which is not to be told from a missing permission.
    TellMissingFromForbidden = {
      actions   = ["s3:ListBucket"]
      resources = concat([module.final_bucket.bucket_arn], local.images_bucket_arn[*])
    }
    # S3 refuses the HEAD of an object with a key of its uploader's own (SSE-C), and says nothing about it.
    ListImageVersions = {
      actions   = ["s3:ListBucketVersions"]
      resources = local.images_bucket_arn[*]
    }
    WriteResults = {
      actions = ["s3:DeleteObject", "s3:GetObject", "s3:PutObject"]
      resources = [
        "${module.final_bucket.bucket_arn}/results/*",
        "${module.final_bucket.bucket_arn}/results-long/*",
      ]
    }
    WriteCatalog = {
      actions   = ["s3:PutObject"]
      resources = ["${module.final_bucket.bucket_arn}/catalog/*"]
    }
  })

  # A chunk of a backfill that was cancelled meanwhile is not taken apart.
  tell_cancelled = {
    actions   = ["s3:GetObject"]
    resources = ["${module.final_bucket.bucket_arn}/jobs/*/cancelled.json"]
  }

  # Which settings were deployed last, and since when.
  read_settings = {
    actions   = ["s3:GetObject"]
    resources = ["${module.final_bucket.bucket_arn}/settings/*"]
  }

  read_catalog = {
    actions   = ["s3:GetObject"]
    resources = ["${module.final_bucket.bucket_arn}/catalog/*"]
  }
  write_summary = {
    actions   = ["s3:PutObject"]
    resources = ["${module.final_bucket.bucket_arn}/runs/*"]
  }

  requeue_statements = merge(local.use_key, {
    ListImageVersions = {
      actions   = ["s3:ListBucketVersions"]
      resources = local.images_bucket_arn[*]
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
      resources = local.analysis_queue[*].queue_arn
    }
    TakeDeadLetters = {
      actions   = ["sqs:DeleteMessage", "sqs:ReceiveMessage"]
      resources = local.analysis_queue[*].dead_letter_queue_arn
    }
  })

  # What each function may do.
  function_statements = { for role, function in local.functions : role => local.handler_statements[local.handlers[role]] }

  handler_statements = merge(local.backfill_statements, local.video_statements, {
    analyze_images = merge(local.use_key, local.take_messages, local.detect, local.keep_answers, {
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
        resources = local.source_objects_arns
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
        resources = concat([module.final_bucket.bucket_arn], local.images_bucket_arn[*])
      }
      # For the order of a key's uploads, what was taken back, and whether an image is really gone. With it S3 answers
      # 404 for a version that is gone.
      ListImageVersions = {
        actions   = ["s3:ListBucketVersions"]
        resources = local.images_bucket_arn[*]
      }
      NameRunInLog = {
        actions   = ["s3:GetObject"]
        resources = [local.current_run_arn]
      }
    })

    update_results = merge(local.follow_bucket, local.take_messages, local.detect, local.keep_answers, {
      LookForBackfill = {
        actions   = ["s3:GetObject"]
        resources = [local.backfill_at_work_arn]
      }
    })

    # A chunk is deleted in the version that was read. What is no chunk is put aside, under a delete marker.
    analyze_chunk = merge(local.follow_bucket, local.take_messages, local.detect, local.keep_answers, {
      WorkOffChunks = {
        actions   = ["s3:DeleteObject", "s3:DeleteObjectVersion", "s3:GetObject"]
        resources = ["${module.final_bucket.bucket_arn}/work/*/chunks/*"]
      }
      CompareSettings = local.read_settings
      NameRunInLog = {
        actions   = ["s3:GetObject"]
        resources = [local.current_run_arn]
      }
    })

    collect_changes = merge(local.follow_bucket, {
      TakeMessagesAndSendThemAnew = {
        actions   = local.take_messages.TakeMessagesAndSendThemAnew.actions
        resources = module.queue[*].queue_arn
      }
      WriteChunks = {
        actions   = ["s3:PutObject"]
        resources = ["${module.final_bucket.bucket_arn}/work/live/chunks/*"]
      }
    })

    check_backlog = merge(local.further_describe, {
      ListImages = {
        actions   = ["s3:ListBucket"]
        resources = concat([module.final_bucket.bucket_arn], local.images_bucket_arn[*])
      }
      # Which version is stuck is told by the versions only.
      ListImageVersions = {
        actions   = ["s3:ListBucketVersions"]
        resources = local.images_bucket_arn[*]
      }
      CountMessages = {
        actions   = ["sqs:GetQueueAttributes"]
        resources = local.analysis_queue[*].queue_arn
      }
      DescribeModel = local.lifecycle.describe
    })

    check_chunks = merge(local.further_describe, {
      ListChunks = {
        actions   = ["s3:ListBucket"]
        resources = [module.final_bucket.bucket_arn]
      }
      CountMessages = {
        actions   = ["sqs:GetQueueAttributes"]
        resources = local.analysis_queue[*].queue_arn
      }
      DescribeModel = local.lifecycle.describe
    })

    start_model = merge(local.use_key, local.further_describe, local.further_start, {
      DescribeModel = local.lifecycle.describe
      StartModel    = local.lifecycle.start
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

    requeue_images = local.requeue_statements
    requeue_overdue = merge(local.requeue_statements, {
      # Where messages still wait, the images may have one already.
      CountMessages = {
        actions   = ["sqs:GetQueueAttributes"]
        resources = local.analysis_queue[*].queue_arn
      }
    })

    send_chunks = merge(local.follow_bucket, {
      SendMessages = {
        actions   = ["sqs:SendMessage"]
        resources = local.analysis_queue[*].queue_arn
      }
      TakeDeadLetters = {
        actions   = ["sqs:DeleteMessage", "sqs:ReceiveMessage"]
        resources = local.analysis_queue[*].dead_letter_queue_arn
      }
      # A chunk that a function died of is taken apart.
      TakeChunksApart = {
        actions   = ["s3:DeleteObjectVersion", "s3:GetObject", "s3:PutObject"]
        resources = ["${module.final_bucket.bucket_arn}/work/*/chunks/*"]
      }
      TellCancelled = local.tell_cancelled
    })

    summarize_run = merge(local.use_key, local.tell_of_success, {
      # Only versions can be told from those that are stuck.
      TellStuckImages = {
        actions   = ["s3:ListBucketVersions"]
        resources = local.images_bucket_arn[*]
      }
      ListResultsAndImages = {
        actions   = ["s3:ListBucket"]
        resources = concat([module.final_bucket.bucket_arn], local.images_bucket_arn[*])
      }
      ReadCatalog  = local.read_catalog
      WriteSummary = local.write_summary
    })

    compact_catalog = merge(local.use_key, {
      # Without it S3 answers 403 for a cursor or a segment that is not there.
      ListCatalogAndIndex = {
        actions   = ["s3:ListBucket"]
        resources = [module.final_bucket.bucket_arn]
      }
      ReadCatalog = local.read_catalog
      WriteIndex = {
        actions   = ["s3:GetObject", "s3:PutObject"]
        resources = ["${module.final_bucket.bucket_arn}/index/*"]
      }
    })

    summarize_chunks = merge(local.use_key, local.tell_of_success, {
      ListChunksAndCatalog = {
        actions   = ["s3:ListBucket"]
        resources = [module.final_bucket.bucket_arn]
      }
      ReadCatalog  = local.read_catalog
      WriteSummary = local.write_summary
    })
  })

  # What functions are told, each thing once.
  settings = {
    SOURCE_BUCKET_NAME          = one(module.source_bucket[*].bucket_name)
    IMAGES_BUCKET_NAME          = var.images_bucket_name
    IMAGE_SUFFIXES              = jsonencode([for suffix in local.image_suffixes : lower(suffix)])
    SETTINGS_FINGERPRINT        = local.settings_fingerprint
    SOURCE_PREFIXES             = jsonencode(local.source_prefixes)
    FINAL_BUCKET_NAME           = module.final_bucket.bucket_name
    QUEUE_URL                   = one(local.analysis_queue[*].queue_url)
    DEAD_LETTER_QUEUE_URL       = one(local.analysis_queue[*].dead_letter_queue_url)
    MAX_RECEIVE_COUNT           = tostring(var.max_receive_count)
    BACKEND                     = var.backend
    BACKEND_SETTINGS            = jsonencode(local.backend.settings)
    MIN_CONFIDENCE_PERCENT      = var.min_confidence_percent == null ? "" : tostring(var.min_confidence_percent)
    CONVERT_IMAGES              = tostring(var.convert_images)
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
    PACES                       = jsonencode(local.paces)
    CHUNK_IMAGES                = tostring(local.chunk_images)
    STARTS_MODEL                = tostring(local.is_hosted)
    LIVE_SHARE_PERCENT          = tostring(100 - local.backfill_share_percent)
    REQUEUE_AFTER_SECONDS       = tostring(2 * local.visibility_timeout_seconds)
    REQUEUE_LIMIT_IMAGES        = tostring(local.requeue_limit_images)
    INFERENCE_UNIT_HOUR_DOLLARS = tostring(local.lifecycle.inference_unit_hour_dollars)
    SCHEDULE_PERIOD_SECONDS     = local.schedule_period_seconds == null ? "" : tostring(local.schedule_period_seconds)
    SUCCESS_TOPIC_ARN           = var.success_notifications_enabled ? module.alerts.topic_arn : ""
    VIDEOS_BUCKET_NAME          = local.drops_videos_off ? module.videos_bucket[0].bucket_name : local.existing_videos_bucket_name
    VIDEO_PREFIX                = local.videos_prefix
    VIDEO_SUFFIXES              = jsonencode(local.video_suffixes)
    VIDEO_ANALYSES              = jsonencode(local.video_analyses)
    NOTIFICATION_TOPIC_ARN      = one(module.videos[*].topic_arn)
    NOTIFICATION_ROLE_ARN       = one(module.videos[*].role_arn)
    HINT_QUEUE_URL              = one(module.videos[*].hint_queue_url)
    COLLECT_FUNCTION_NAME       = local.collect_videos_name
    MAX_CONCURRENT_JOBS         = tostring(try(var.videos.max_concurrent_jobs, null))
    MAX_MINUTES_PER_DAY         = tostring(try(var.videos.max_minutes_per_day, null))
  }

  model_settings  = ["BACKEND", "BACKEND_SETTINGS"]
  bucket_settings = ["SOURCE_BUCKET_NAME", "SOURCE_PREFIXES", "FINAL_BUCKET_NAME"]

  start_settings = ["START_BACKLOG_IMAGES", "START_MAX_AGE_SECONDS"]
  summary_settings = [
    "FINAL_BUCKET_NAME",
    "MAX_INFERENCE_UNITS",
    "INFERENCE_UNIT_HOUR_DOLLARS",
    "SCHEDULE_PERIOD_SECONDS",
    "SUCCESS_TOPIC_ARN",
  ]
  existing_bucket_settings = [
    "IMAGES_BUCKET_NAME",
    "SOURCE_PREFIXES",
    "IMAGE_SUFFIXES",
    "FINAL_BUCKET_NAME",
    "SETTINGS_FINGERPRINT",
  ]
  video_settings   = ["FINAL_BUCKET_NAME", "HINT_QUEUE_URL", "QUEUE_URL"]
  message_settings = ["QUEUE_URL", "MAX_RECEIVE_COUNT"]
  ask_settings     = ["MIN_CONFIDENCE_PERCENT", "PACES", "CONVERT_IMAGES"]
  asking_settings  = concat(local.model_settings, local.message_settings, local.ask_settings)

  # Who is told what, by handler: the fields of its settings class, to which a test holds it.
  handler_settings = {
    analyze_images  = concat(local.asking_settings, ["SOURCE_BUCKET_NAME", "FINAL_BUCKET_NAME"])
    update_results  = concat(local.asking_settings, local.existing_bucket_settings, ["LIVE_SHARE_PERCENT"])
    analyze_chunk   = concat(local.asking_settings, local.existing_bucket_settings)
    collect_changes = concat(local.model_settings, local.message_settings, local.existing_bucket_settings, ["CHUNK_IMAGES"])
    check_backlog   = concat(local.model_settings, local.bucket_settings, local.start_settings)
    check_chunks    = concat(local.model_settings, local.start_settings, ["FINAL_BUCKET_NAME"])
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
    requeue_overdue = concat(local.bucket_settings, [
      "REQUEUE_LIMIT_IMAGES",
      "QUEUE_URL",
      "DEAD_LETTER_QUEUE_URL",
      "REQUEUE_AFTER_SECONDS",
    ])
    send_chunks      = concat(local.model_settings, local.existing_bucket_settings)
    summarize_run    = concat(local.summary_settings, ["SOURCE_BUCKET_NAME", "SOURCE_PREFIXES"])
    summarize_chunks = local.summary_settings
    compact_catalog  = ["FINAL_BUCKET_NAME"]
    plan_backfill    = concat(local.existing_bucket_settings, ["CHUNK_IMAGES", "QUEUE_URL", "STARTS_MODEL"])
    count_backfill   = ["FINAL_BUCKET_NAME"]
    work_off_chunk   = concat(local.model_settings, local.existing_bucket_settings, local.ask_settings)
    register_videos = concat(local.video_settings, [
      "VIDEOS_BUCKET_NAME",
      "VIDEO_PREFIX",
      "VIDEO_SUFFIXES",
      "VIDEO_ANALYSES",
      "NOTIFICATION_TOPIC_ARN",
      "NOTIFICATION_ROLE_ARN",
      "MAX_MINUTES_PER_DAY",
      "MAX_RECEIVE_COUNT",
    ])
    dispatch_videos        = ["FINAL_BUCKET_NAME", "COLLECT_FUNCTION_NAME", "MAX_CONCURRENT_JOBS", "MAX_MINUTES_PER_DAY"]
    collect_video          = local.video_settings
    collect_and_move_video = local.video_settings
  }

  # A function's own queue is the one that feeds it; those of videos all send to that of their uploads. A backfill has a
  # pace of its own, and hands what needs no model to the function of live events.
  own_settings = merge(
    {
      collect_changes = { QUEUE_URL = one(module.queue[*].queue_url) }
      plan_backfill   = { CHUNK_IMAGES = tostring(local.backfill_chunk_images), QUEUE_URL = one(module.queue[*].queue_url) }
      work_off_chunk  = { PACES = jsonencode(local.backfill_paces) }
    },
    { for handler in ["register_videos", "collect_video", "collect_and_move_video"] : handler => { QUEUE_URL = one(module.videos_queue[*].queue_url) } },
  )

  function_environments = {
    for function, handler in merge(local.handlers, local.run_handlers) : function => merge(
      { for name in local.handler_settings[handler] : name => local.settings[name] },
      try(local.own_settings[handler], {}),
      {
        # The service tells one deployment from another in logs and metrics.
        POWERTOOLS_SERVICE_NAME      = var.name_prefix
        POWERTOOLS_METRICS_NAMESPACE = "BatchVision"
        POWERTOOLS_LOG_LEVEL         = var.log_level
      },
    ) if handler != null
  }
}

locals {
  package = {
    bucket        = aws_s3_object.package.bucket
    key           = aws_s3_object.package.key
    sha256_base64 = filebase64sha256(local.lambda_package_path)
  }

  # With the same code, and the libraries that decode images. The others keep their size and their cold start.
  converting_package = !local.converts_images ? null : {
    bucket        = aws_s3_object.converting_package[0].bucket
    key           = aws_s3_object.converting_package[0].key
    sha256_base64 = filebase64sha256(local.converting_package_path)
  }
  packages = {
    for handler, names in local.handler_settings :
    handler => local.converts_images && contains(names, "CONVERT_IMAGES") ? local.converting_package : local.package
  }
}

# Uploaded once for all functions, which Lambda then makes side by side: the provider sends a local file for one function
# after the other, and waits for each. The name is that of the content, so that another zip is another object, which is
# there before the functions change to it.
resource "aws_s3_object" "package" {
  bucket = module.final_bucket.bucket_name
  key    = "functions/${filesha256(local.lambda_package_path)}.zip"
  source = local.lambda_package_path

  lifecycle {
    create_before_destroy = true

    precondition {
      condition     = length(coalesce(data.aws_default_tags.current.tags, {})) <= 10
      error_message = "The provider has ${length(coalesce(data.aws_default_tags.current.tags, {}))} default_tags, and S3 takes 10 for an object. Give this module a provider with 10 or fewer, and the others as its variable tags, which objects do not get."
    }
  }
}

# Its name is that of no zip of all functions, whichever file is given for both.
resource "aws_s3_object" "converting_package" {
  count = local.converts_images ? 1 : 0

  bucket = module.final_bucket.bucket_name
  key    = "functions/${filesha256(local.converting_package_path)}-converting.zip"
  source = local.converting_package_path

  lifecycle {
    create_before_destroy = true
  }
}

module "function" {
  source   = "./modules/function"
  for_each = local.functions

  name               = "${var.name_prefix}-${replace(each.key, "_", "-")}"
  description        = each.value.description
  region             = local.region
  package            = local.packages[local.handlers[each.key]]
  handler            = "lambdas.${local.handlers[each.key]}.handler.handler"
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

# ---------------------------------------------------------------------------------------------------------------------
# The mapping of the analyzing function: one wherever there are images, because Lambda takes one for a queue and a function
# ---------------------------------------------------------------------------------------------------------------------

# When the kind of lifecycle changes, or the concurrency of a managed model, the mapping is made anew: what the workflow
# has set, and Terraform ignores, goes with it. Messages wait meanwhile.
resource "terraform_data" "mapping" {
  count = local.has_images ? 1 : 0

  input = local.is_hosted ? "enabled by runs" : "enabled, ${local.invocations} invocations"
}

resource "aws_lambda_event_source_mapping" "this" {
  count = local.has_images ? 1 : 0

  event_source_arn                   = local.analysis_queue.queue_arn
  function_name                      = module.function["analyze_images"].function_arn
  enabled                            = !local.is_hosted
  batch_size                         = local.batch_size
  maximum_batching_window_in_seconds = local.batch_window_seconds
  function_response_types            = ["ReportBatchItemFailures"]

  scaling_config {
    # For a hosted model until the first run sets its own.
    maximum_concurrency = local.invocations
  }

  tags = var.tags

  lifecycle {
    # For a hosted model the workflow enables and disables the mapping, as wide as the run needs. An apply in the middle
    # of a run must not. Somebody who disables that of a managed model pauses it.
    ignore_changes       = [enabled, scaling_config]
    replace_triggered_by = [terraform_data.mapping[0]]
  }
}

moved {
  from = terraform_data.mapping
  to   = terraform_data.mapping[0]
}

moved {
  from = aws_lambda_event_source_mapping.this
  to   = aws_lambda_event_source_mapping.this[0]
}
