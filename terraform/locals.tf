# What the deployment is: nothing here makes anything.

data "aws_caller_identity" "current" {}

data "aws_default_tags" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  # A deployment can be for videos only.
  has_images = var.backend != null
  has_videos = var.videos != null

  # The two choices that give a deployment its shape. A hosted model is started and stopped: its entry in backends.tf says
  # how. A managed one is always there.
  is_hosted  = can(local.backend.start)
  is_managed = local.has_images && !local.is_hosted
  # The module makes a bucket to drop images off, which they leave when they are done; otherwise they are in a bucket
  # that exists, and stay there.
  is_drop_off      = local.has_images && var.images_bucket_name == null
  is_existing      = local.has_images && var.images_bucket_name != null
  collects_changes = local.is_hosted && local.is_existing

  account_id = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition
  # `id` is the name of the Region in versions 5 and 6 of the provider; `name` is deprecated in 6.
  region = data.aws_region.current.id

  # Bucket names are shared by all accounts of a partition, so the name of a deployment alone is not enough.
  source_bucket_name = "${var.name_prefix}-source-${local.account_id}-${local.region}"
  videos_bucket_name = "${var.name_prefix}-videos-${local.account_id}-${local.region}"
  final_bucket_name  = "${var.name_prefix}-final-${local.account_id}-${local.region}"

  lambda_package_path     = coalesce(var.lambda_package_path, "${path.module}/../build/lambdas.zip")
  converting_package_path = coalesce(var.converting_package_path, "${path.module}/../build/lambdas-converting.zip")

  # Where there are images, for the functions that ask the model about them.
  converts_images = local.has_images && var.convert_images
  # Pictures of phones, cameras, scanners and browsers. The bytes of an image say what it is, not its name.
  image_suffixes = var.image_suffixes != null ? var.image_suffixes : concat(
    [".jpg", ".jpeg", ".png"],
    var.convert_images ? [".avif", ".bmp", ".gif", ".heic", ".heif", ".hif", ".jp2", ".tif", ".tiff", ".webp"] : [],
  )

  # Lambda wants a window of at least a second for batches of more than 10.
  batch_window_seconds = local.batch_size > 10 ? 1 : 0

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
