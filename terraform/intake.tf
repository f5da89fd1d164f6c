# ---------------------------------------------------------------------------------------------------------------------
# Images in an existing bucket: its owner lets S3 tell EventBridge of each change, and a rule hands that to a queue. The
# bucket itself is never changed: a notification of ours would replace those of its owner.
# ---------------------------------------------------------------------------------------------------------------------

locals {
  images_bucket_arn = (
    local.is_drop_off ? module.source_bucket[0].bucket_arn
    : local.is_existing ? "arn:${local.partition}:s3:::${var.images_bucket_name}" : null
  )

  # Whose bucket it is; another account's can be looked at by its owner only.
  images_bucket_account_id = coalesce(try(var.images_bucket.account_id, null), local.account_id)

  # Put together here, because the queue has to name the rule before there is one.
  changes_rule_name = "${var.name_prefix}-changes"
  changes_rule_arn  = !local.is_existing ? null : "arn:${local.partition}:events:${local.region}:${local.account_id}:rule/${local.changes_rule_name}"

  # What a result was made with: one name for the model and all that is set of it.
  model_of_results = {
    backend                = var.backend
    settings               = try(local.backend.settings_of_answers, local.backend.settings)
    min_confidence_percent = var.min_confidence_percent
  }
  settings_fingerprint = sha256(jsonencode(local.model_of_results))
}

data "aws_s3_bucket" "images" {
  count = local.is_existing && local.images_bucket_account_id == local.account_id ? 1 : 0

  bucket = var.images_bucket_name

  lifecycle {
    postcondition {
      # From version 6 of the provider on, `region` is where the provider works, and `bucket_region` where the bucket is.
      condition     = lookup(self, "bucket_region", self.region) == local.region
      error_message = "images_bucket_name is \"${var.images_bucket_name}\", a bucket in ${lookup(self, "bucket_region", self.region)}, and the provider works in ${local.region}. Deploy where the bucket is: Rekognition reads images from buckets of its own Region only."
    }
  }
}

module "changes" {
  source = "./modules/changes"
  count  = local.is_existing ? 1 : 0

  name             = local.changes_rule_name
  statement_id     = "${var.name_prefix}-images-bucket"
  dead_letter_name = "${var.name_prefix}-rule-dead-letter"
  account_id       = local.account_id
  owner_account_id = local.images_bucket_account_id
  partition        = local.partition
  region           = local.region
  rule_arn         = local.changes_rule_arn
  bucket_name      = var.images_bucket_name
  prefixes         = local.source_prefixes
  queue_arn        = module.queue[0].queue_arn
  kms_key_arn      = var.kms_key_arn
  tags             = var.tags
}

# Its LastModified says since when these are the settings: a result that is older was made with others.
resource "aws_s3_object" "settings" {
  count = local.is_existing ? 1 : 0

  bucket       = module.final_bucket.bucket_name
  key          = "settings/${local.settings_fingerprint}.json"
  content      = jsonencode(merge({ fingerprint = local.settings_fingerprint }, local.model_of_results))
  content_type = "application/json"
}

# ---------------------------------------------------------------------------------------------------------------------
# With a hosted model: what needs no model is done at once, and what does waits as chunks of keys for the next run, which
# sends a message for each of them
# ---------------------------------------------------------------------------------------------------------------------

locals {
  # A change waits for others for as long as a run waits between two looks.
  collect_window_seconds             = min(300, var.timings.drain_poll_seconds)
  collect_visibility_timeout_seconds = 6 * var.timings.analyze_timeout_seconds + local.collect_window_seconds
  # The least that a mapping can be held to.
  collect_concurrency = 2
}

module "chunk_queue" {
  source = "./modules/queue"
  count  = local.collects_changes ? 1 : 0

  name                       = "${var.name_prefix}-chunks"
  account_id                 = local.account_id
  partition                  = local.partition
  region                     = local.region
  senders                    = {}
  visibility_timeout_seconds = local.visibility_timeout_seconds
  message_retention_seconds  = local.message_retention_seconds
  max_receive_count          = var.max_receive_count
  kms_key_arn                = var.kms_key_arn
  tags                       = var.tags
}

resource "aws_lambda_event_source_mapping" "changes" {
  count = local.collects_changes ? 1 : 0

  event_source_arn = module.queue[0].queue_arn
  function_name    = module.function["collect_changes"].function_arn
  # Each batch becomes a chunk, so it is let grow for a while.
  batch_size                         = 1000
  maximum_batching_window_in_seconds = local.collect_window_seconds
  function_response_types            = ["ReportBatchItemFailures"]

  scaling_config {
    maximum_concurrency = local.collect_concurrency
  }

  tags = var.tags
}
