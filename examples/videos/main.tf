# Videos only: dropped off in a bucket of the deployment's own, or in a bucket that exists, in which they stay.

provider "aws" {
  # With an existing bucket its Region: Rekognition reads videos from buckets of its own Region only.
  region = var.region
}

module "batch_vision" {
  source = "../../terraform"

  name_prefix = var.name_prefix

  # No images. With them, set backend and the variable of its name.
  backend = null

  videos = {
    analyses            = var.analyses
    bucket_name         = var.bucket_name
    prefix              = var.prefix
    max_concurrent_jobs = var.max_concurrent_jobs
    max_minutes_per_day = var.max_minutes_per_day
  }
}
