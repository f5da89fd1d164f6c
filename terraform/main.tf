# ---------------------------------------------------------------------------------------------------------------------
# Buckets and queue
# ---------------------------------------------------------------------------------------------------------------------

module "source_bucket" {
  source = "./modules/storage"
  count  = local.is_drop_off ? 1 : 0

  name          = local.source_bucket_name
  force_destroy = var.force_destroy
  kms_key_arn   = var.kms_key_arn
  # A finished image leaves by version. A noncurrent version here is one that was overwritten or deleted before it
  # was analyzed, so it is kept far longer than the 14 days for which its message can wait.
  noncurrent_version_retention_days = 365
  noncurrent_days_by_prefix         = {}
  current_days_by_prefix            = {}
  tags                              = var.tags
}

moved {
  from = module.source_bucket
  to   = module.source_bucket[0]
}

module "final_bucket" {
  source = "./modules/storage"

  name          = local.final_bucket_name
  force_destroy = var.force_destroy
  kms_key_arn   = var.kms_key_arn
  # A noncurrent version of a drop-off bucket's image or result is that of an upload whose key was uploaded again: a
  # result like any other.
  noncurrent_version_retention_days = null
  noncurrent_days_by_prefix         = local.noncurrent_days_by_prefix
  current_days_by_prefix            = local.current_days_by_prefix
  tags                              = var.tags
}

locals {
  # Chunks and answers that are worked off, and results that followed their image: each leaves a noncurrent version.
  noncurrent_days_by_prefix = merge(
    { for prefix in ["work/"] : prefix => 1 if local.keeps_answers || local.is_existing },
    { for prefix in ["results/", "results-long/"] : prefix => var.result_history_days if local.is_existing },
    local.noncurrent_days_of_videos,
  )

  # What feeds the analyzing function: the queue of images, or where changes are looked at first, that of chunks.
  analysis_queue = one(local.collects_changes ? module.chunk_queue : module.queue)

  # Answers that are kept for a message, which SQS keeps for 14 days; those of an upload that was replaced are left.
  current_days_by_prefix = { for prefix in ["work/partial/"] : prefix => 15 if local.keeps_answers }

  # Who tells the queue of images, whatever the model: so it has the same messages when the model becomes another one.
  senders = merge(
    # A bucket ARN names no account: without it, a bucket deleted here and made again elsewhere could send. The bucket by
    # its number: `[*]` would wait for all of its module, the rules of its lifecycle included, which take a minute.
    { for arn in local.is_drop_off ? [module.source_bucket[0].bucket_arn] : [] : "AllowSourceBucketToSend" => {
      service           = "s3.amazonaws.com"
      source_arn        = arn
      source_account_id = local.account_id
    } },
    { for arn in local.changes_rule_arn[*] : "AllowRuleToSend" => {
      service           = "events.amazonaws.com"
      source_arn        = arn
      source_account_id = null
    } },
  )
}

module "queue" {
  source = "./modules/queue"
  count  = local.has_images ? 1 : 0

  name                       = "${var.name_prefix}-images"
  account_id                 = local.account_id
  partition                  = local.partition
  region                     = local.region
  senders                    = local.senders
  visibility_timeout_seconds = local.collects_changes ? local.collect_visibility_timeout_seconds : local.visibility_timeout_seconds
  message_retention_seconds  = local.message_retention_seconds
  max_receive_count          = var.max_receive_count
  kms_key_arn                = var.kms_key_arn
  tags                       = var.tags
}

moved {
  from = module.queue
  to   = module.queue[0]
}

resource "aws_s3_bucket_notification" "this" {
  count = local.is_drop_off ? 1 : 0

  bucket = module.source_bucket[0].bucket_name

  queue {
    id            = "images-to-queue"
    queue_arn     = module.queue[0].queue_arn
    events        = ["s3:ObjectCreated:*"]
    filter_prefix = var.source_prefix == "" ? null : var.source_prefix
  }
}

moved {
  from = module.queue.aws_s3_bucket_notification.this
  to   = aws_s3_bucket_notification.this[0]
}
