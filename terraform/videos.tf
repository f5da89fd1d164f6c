# ---------------------------------------------------------------------------------------------------------------------
# Videos: a pipeline of their own. What is uploaded gets a record for each analysis before anything is paid for; a
# dispatcher starts the jobs of Rekognition Video and looks at them each minute; a collector writes what they found.
# Messages of Rekognition about a job only make that faster.
# ---------------------------------------------------------------------------------------------------------------------

locals {
  # What Rekognition Video takes (Rekognition developer guide, Working with stored video analysis operations).
  video_suffixes = [".mp4", ".mov", ".m4v", ".avi"]

  # What is set of each analysis.
  video_analyses = {
    for analysis in try(var.videos.analyses, []) : analysis => merge(
      {
        for percent in var.min_confidence_percent[*] : "min_confidence_percent" => percent
        if contains(local.video_analyses_with_confidence, analysis)
      },
      [for settings in try(var.videos[analysis], null)[*] : { for name, value in settings : name => value if value != null }]...
    )
  }

  # As with images: the bucket is the module's own, which videos leave when they are done, or one that exists, and in
  # which they stay.
  existing_videos_bucket_name = try(var.videos.bucket_name, null)
  drops_videos_off            = local.has_videos && local.existing_videos_bucket_name == null
  follows_videos              = local.has_videos && local.existing_videos_bucket_name != null
  # What is known of the bucket of the images need not be said again.
  is_images_bucket          = local.follows_videos && local.existing_videos_bucket_name == var.images_bucket_name
  videos_bucket_account_id  = try(coalesce(var.videos.bucket_account_id, local.is_images_bucket ? local.images_bucket_account_id : null), local.account_id)
  videos_bucket_kms_key_arn = try(coalesce(var.videos.bucket_kms_key_arn, local.is_images_bucket ? var.images_bucket.kms_key_arn : null), null)

  videos_prefix = try(var.videos.prefix, "")
  videos_bucket_arn = (
    local.drops_videos_off ? module.videos_bucket[0].bucket_arn
    : local.follows_videos ? "arn:${local.partition}:s3:::${local.existing_videos_bucket_name}" : null
  )
  # In a drop-off bucket whatever the prefix says: it may have been another one when a video was uploaded. In an existing
  # bucket jobs of former prefixes may be open.
  videos_arns = local.videos_bucket_arn == null ? [] : [
    for prefix in local.drops_videos_off ? [""] : distinct(concat([local.videos_prefix], tolist(var.former_settings.video_prefixes))) :
    "${local.videos_bucket_arn}/${prefix}*"
  ]

  # Put together here, because what they are in is made before them.
  video_changes_rule_name = "${var.name_prefix}-video-changes"
  video_changes_rule_arn  = "arn:${local.partition}:events:${local.region}:${local.account_id}:rule/${local.video_changes_rule_name}"
  collect_videos_name     = "${var.name_prefix}-collect-videos"

  # What is worked off leaves noncurrent versions, and the files of a result go with it.
  noncurrent_days_of_videos = !local.has_videos ? {} : {
    "videos/open/"             = 1
    "videos/plans/"            = 1
    "videos/reservations.json" = 1
    "videos/jobs/"             = var.result_history_days
    "videos/results/"          = var.result_history_days
    "videos/results-long/"     = var.result_history_days
  }
}

module "videos_bucket" {
  source = "./modules/storage"
  count  = local.drops_videos_off ? 1 : 0

  name          = local.videos_bucket_name
  force_destroy = var.force_destroy
  kms_key_arn   = var.kms_key_arn
  # A finished video leaves by version. A noncurrent version here is one that was overwritten or deleted before it was done.
  noncurrent_version_retention_days = 365
  noncurrent_days_by_prefix         = {}
  current_days_by_prefix            = {}
  tags                              = var.tags
}

data "aws_s3_bucket" "videos" {
  count = local.follows_videos && local.videos_bucket_account_id == local.account_id ? 1 : 0

  bucket = local.existing_videos_bucket_name

  lifecycle {
    postcondition {
      # From version 6 of the provider on, `region` is where the provider works, and `bucket_region` where the bucket is.
      condition     = lookup(self, "bucket_region", self.region) == local.region
      error_message = "videos.bucket_name is \"${local.existing_videos_bucket_name}\", a bucket in ${lookup(self, "bucket_region", self.region)}, and the provider works in ${local.region}. Deploy where the bucket is: Rekognition reads videos from buckets of its own Region only."
    }
  }
}

# ---------------------------------------------------------------------------------------------------------------------
# Queue of uploads and changes: a message only means "look at this key"
# ---------------------------------------------------------------------------------------------------------------------

module "videos_queue" {
  source = "./modules/queue"
  count  = local.has_videos ? 1 : 0

  name       = "${var.name_prefix}-videos"
  account_id = local.account_id
  partition  = local.partition
  region     = local.region
  senders = merge(
    # The bucket by its number: `[*]` would wait for all of its module.
    { for arn in local.drops_videos_off ? [module.videos_bucket[0].bucket_arn] : [] : "AllowVideosBucketToSend" => {
      service           = "s3.amazonaws.com"
      source_arn        = arn
      source_account_id = local.account_id
    } },
    { for arn in local.follows_videos ? [local.video_changes_rule_arn] : [] : "AllowRuleToSend" => {
      service           = "events.amazonaws.com"
      source_arn        = arn
      source_account_id = null
    } },
  )
  visibility_timeout_seconds = 6 * local.register_videos_timeout_seconds
  message_retention_seconds  = local.message_retention_seconds
  max_receive_count          = var.max_receive_count
  kms_key_arn                = var.kms_key_arn
  tags                       = var.tags
}

resource "aws_s3_bucket_notification" "videos" {
  count = local.drops_videos_off ? 1 : 0

  bucket = module.videos_bucket[0].bucket_name

  queue {
    id            = "videos-to-queue"
    queue_arn     = module.videos_queue[0].queue_arn
    events        = ["s3:ObjectCreated:*"]
    filter_prefix = local.videos_prefix == "" ? null : local.videos_prefix
  }
}

module "video_changes" {
  source = "./modules/changes"
  count  = local.follows_videos ? 1 : 0

  name             = local.video_changes_rule_name
  statement_id     = "${var.name_prefix}-videos-bucket"
  dead_letter_name = "${var.name_prefix}-video-rule-dead-letter"
  account_id       = local.account_id
  owner_account_id = local.videos_bucket_account_id
  partition        = local.partition
  region           = local.region
  rule_arn         = local.video_changes_rule_arn
  bucket_name      = local.existing_videos_bucket_name
  prefixes         = [local.videos_prefix]
  queue_arn        = module.videos_queue[0].queue_arn
  kms_key_arn      = var.kms_key_arn
  tags             = var.tags
}

resource "aws_lambda_event_source_mapping" "videos" {
  count = local.has_videos ? 1 : 0

  event_source_arn                   = module.videos_queue[0].queue_arn
  function_name                      = module.function["register_videos"].function_arn
  batch_size                         = 10
  maximum_batching_window_in_seconds = 0
  function_response_types            = ["ReportBatchItemFailures"]

  scaling_config {
    # The least that a mapping can be held to.
    maximum_concurrency = 2
  }

  tags = var.tags
}

# ---------------------------------------------------------------------------------------------------------------------
# Jobs: the dispatcher each minute, and at each hint
# ---------------------------------------------------------------------------------------------------------------------

module "videos" {
  source = "./modules/videos"
  count  = local.has_videos ? 1 : 0

  topic_name                 = "${var.name_prefix}-video-jobs"
  queue_name                 = "${var.name_prefix}-video-hints"
  account_id                 = local.account_id
  partition                  = local.partition
  region                     = local.region
  visibility_timeout_seconds = 6 * local.dispatch_videos_timeout_seconds + local.hint_window_seconds
  kms_key_arn                = var.kms_key_arn
  role_path                  = var.role_path
  permissions_boundary_arn   = var.permissions_boundary_arn
  tags                       = var.tags
}

# Always enabled: whoever pauses the runs of images with schedule_enabled does not mean videos that are being paid for.
module "dispatch_schedule" {
  source = "./modules/function_schedule"
  count  = local.has_videos ? 1 : 0

  name                = "${var.name_prefix}-dispatch-videos"
  description         = "Starts and looks at the video jobs of batch-vision"
  schedule_expression = "rate(1 minute)"
  is_enabled          = true
  function_arn        = module.function["dispatch_videos"].function_arn
  tags                = var.tags
}

resource "aws_lambda_event_source_mapping" "video_hints" {
  count = local.has_videos ? 1 : 0

  event_source_arn = module.videos[0].hint_queue_arn
  function_name    = module.function["dispatch_videos"].function_arn
  # One call for all hints of a moment: each looks at everything that is due anyway.
  batch_size                         = 100
  maximum_batching_window_in_seconds = local.hint_window_seconds

  scaling_config {
    # The least that a mapping can be held to.
    maximum_concurrency = 2
  }

  tags = var.tags
}

# A collector that died is called again by the dispatcher, when its time with the record is over (COLLECTING_LEASE: as long
# as an event may wait, and then the function may take). Lambda is not to call it beside that.
resource "aws_lambda_function_event_invoke_config" "collect_videos" {
  count = local.has_videos ? 1 : 0

  function_name          = module.function["collect_videos"].function_arn
  maximum_retry_attempts = 0
  # The least that Lambda takes.
  maximum_event_age_in_seconds = 60
}

# ---------------------------------------------------------------------------------------------------------------------
# Functions; they are made in functions.tf
# ---------------------------------------------------------------------------------------------------------------------

locals {
  # A message that a dying function had comes back after six times this.
  register_videos_timeout_seconds = var.timings.analyze_timeout_seconds
  # Shorter than a dispatcher has a record to itself (STARTING_LEASE): the next one may take over from one that is dead.
  dispatch_videos_timeout_seconds = 120
  # The longest that Lambda allows: 432,000 labels of a video of six hours are 432 pages.
  collect_videos_timeout_seconds = 900
  hint_window_seconds            = 1

  video_handlers = {
    register_videos = local.has_videos ? "register_videos" : null
    dispatch_videos = local.has_videos ? "dispatch_videos" : null
    collect_videos  = local.drops_videos_off ? "collect_and_move_video" : local.follows_videos ? "collect_video" : null
  }

  video_functions = {
    register_videos = {
      description     = "Looks at each video that was uploaded, replaced or deleted, and writes down what it is to have"
      memory_mb       = local.control_memory_mb
      timeout_seconds = local.register_videos_timeout_seconds
    }

    dispatch_videos = {
      description     = "Starts the video jobs that wait, looks at those that run, and has ended ones collected"
      memory_mb       = local.control_memory_mb
      timeout_seconds = local.dispatch_videos_timeout_seconds
    }

    collect_videos = {
      description     = local.drops_videos_off ? "Writes what a video job found and, after the last one of a video, its result, and moves the video" : "Writes what a video job found and, after the last one of a video, its result"
      memory_mb       = local.control_memory_mb
      timeout_seconds = local.collect_videos_timeout_seconds
    }
  }

  read_with_videos_key = {
    for arn in local.videos_bucket_kms_key_arn[*] : "ReadWithVideosKey" => {
      actions   = ["kms:Decrypt"]
      resources = [arn]
    }
  }

  look_at_videos = merge(local.use_key, local.read_with_videos_key, {
    LookAtVideos = {
      actions   = ["s3:GetObject"]
      resources = local.videos_arns
    }
    # Without it S3 answers 403 for an object that is gone, which is not to be told from a missing permission.
    TellMissingFromForbidden = {
      actions   = ["s3:ListBucket"]
      resources = concat([module.final_bucket.bucket_arn], local.videos_bucket_arn[*])
    }
  })

  read_video_versions = {
    actions   = ["s3:GetObjectVersion"]
    resources = local.videos_arns
  }
  # The same for a version.
  tell_missing_versions = {
    actions   = ["s3:ListBucketVersions"]
    resources = local.videos_bucket_arn[*]
  }

  keep_video_plans = {
    actions   = ["s3:GetObject", "s3:PutObject"]
    resources = ["${module.final_bucket.bucket_arn}/videos/plans/*"]
  }
  keep_video_records = {
    actions   = ["s3:GetObject", "s3:PutObject"]
    resources = ["${module.final_bucket.bucket_arn}/videos/jobs/*/record.json"]
  }
  keep_video_markers = {
    actions   = ["s3:DeleteObject", "s3:PutObject"]
    resources = ["${module.final_bucket.bucket_arn}/videos/open/*"]
  }
  video_result_arns = [
    "${module.final_bucket.bucket_arn}/videos/results/*",
    "${module.final_bucket.bucket_arn}/videos/results-long/*",
  ]
  write_video_lines = {
    actions   = ["s3:PutObject"]
    resources = ["${module.final_bucket.bucket_arn}/catalog/*"]
  }
  send_hints = {
    actions   = ["sqs:SendMessage"]
    resources = [for videos in module.videos : videos.hint_queue_arn]
  }

  # A job is started with what its record says, which was frozen at the upload: so these are the calls of all analyses,
  # whatever is set now. All resources: they have none (Service Authorization Reference, Amazon Rekognition).
  start_video_jobs = {
    actions = [
      "rekognition:StartCelebrityRecognition",
      "rekognition:StartContentModeration",
      "rekognition:StartFaceDetection",
      "rekognition:StartLabelDetection",
      "rekognition:StartTextDetection",
    ]
    resources = ["*"]
  }
  # All resources: as above.
  look_at_video_jobs = {
    actions   = [for action in local.start_video_jobs.actions : replace(action, ":Start", ":Get")]
    resources = ["*"]
  }

  video_statements = {
    register_videos = merge(local.look_at_videos, {
      # The header of a file tells how long the video is.
      ReadVideos          = local.read_video_versions
      TellMissingVersions = local.tell_missing_versions
      TakeMessagesAndSendThemAnew = {
        actions   = ["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage", "sqs:SendMessage"]
        resources = [for queue in module.videos_queue : queue.queue_arn]
      }
      KeepPlans   = local.keep_video_plans
      KeepRecords = local.keep_video_records
      WriteMarkers = {
        actions   = ["s3:PutObject"]
        resources = local.keep_video_markers.resources
      }
      # Of a video that was deleted.
      DeleteResults = {
        actions   = ["s3:DeleteObject", "s3:GetObject"]
        resources = local.video_result_arns
      }
      DeleteFiles = {
        actions   = ["s3:DeleteObject"]
        resources = ["${module.final_bucket.bucket_arn}/videos/jobs/*"]
      }
      WriteCatalog = local.write_video_lines
      SendHints    = local.send_hints
    })

    dispatch_videos = merge(local.look_at_videos, {
      # Rekognition reads a video with the rights of whoever starts the job.
      LetVideosBeRead = local.read_video_versions
      TakeHints = {
        actions   = ["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"]
        resources = [for videos in module.videos : videos.hint_queue_arn]
      }
      # Whether a job is still one of its video's.
      ReadPlans = {
        actions   = ["s3:GetObject"]
        resources = local.keep_video_plans.resources
      }
      KeepRecords = local.keep_video_records
      KeepMarkers = local.keep_video_markers
      ReserveMinutes = {
        actions   = ["s3:GetObject", "s3:PutObject"]
        resources = ["${module.final_bucket.bucket_arn}/videos/reservations.json"]
      }
      StartJobs  = local.start_video_jobs
      LookAtJobs = local.look_at_video_jobs
      # With it Rekognition tells that a job ended.
      PassPublishingRole = {
        actions    = ["iam:PassRole"]
        resources  = [for videos in module.videos : videos.role_arn]
        conditions = { "iam:PassedToService" = "rekognition.amazonaws.com" }
      }
      HaveJobsCollected = {
        actions   = ["lambda:InvokeFunction"]
        resources = ["arn:${local.partition}:lambda:${local.region}:${local.account_id}:function:${local.collect_videos_name}"]
      }
    })

    collect_video          = local.collect_statements
    collect_and_move_video = merge(local.collect_statements, local.move_videos)
  }

  collect_statements = merge(local.look_at_videos, {
    GetResults = local.look_at_video_jobs
    # A file is uploaded in parts. Those of a former result go with it.
    KeepJobs = {
      actions   = ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:PutObject"]
      resources = ["${module.final_bucket.bucket_arn}/videos/jobs/*"]
    }
    KeepPlans   = local.keep_video_plans
    KeepMarkers = local.keep_video_markers
    # Deleting is for the result of a video that was deleted meanwhile.
    WriteResults = {
      actions   = ["s3:DeleteObject", "s3:GetObject", "s3:PutObject"]
      resources = local.video_result_arns
    }
    WriteCatalog = local.write_video_lines
    SendHints    = local.send_hints
    # For a key that is to be looked at anew.
    SendMessagesAnew = {
      actions   = ["sqs:SendMessage"]
      resources = [for queue in module.videos_queue : queue.queue_arn]
    }
  })

  # From a drop-off bucket.
  move_videos = {
    TellMissingVersions = local.tell_missing_versions
    # Copying a tagged object reads its tags. S3 tells of a legal hold or a retention only who may see it.
    ReadAndRemoveVideos = {
      actions = [
        "s3:DeleteObjectVersion",
        "s3:GetObjectLegalHold",
        "s3:GetObjectRetention",
        "s3:GetObjectTagging",
        "s3:GetObjectVersion",
        "s3:GetObjectVersionTagging",
      ]
      resources = local.videos_arns
    }
    # An object over 5 GiB is copied in parts.
    MoveVideos = {
      actions = ["s3:AbortMultipartUpload", "s3:PutObject", "s3:PutObjectTagging"]
      resources = [
        "${module.final_bucket.bucket_arn}/videos/processed/*",
        "${module.final_bucket.bucket_arn}/videos/processed-long/*",
        "${module.final_bucket.bucket_arn}/videos/rejected/*",
        "${module.final_bucket.bucket_arn}/videos/rejected-long/*",
      ]
    }
  }
}
