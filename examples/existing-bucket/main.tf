# Images that stay in the bucket they are in: of the account of this deployment, or of another one.

provider "aws" {
  # The Region of the bucket: Rekognition reads images from buckets of its own Region only.
  region = var.region
}

# The account of the bucket's owner. Without a profile it is the same as that of the deployment.
provider "aws" {
  alias   = "owner"
  region  = var.region
  profile = var.owner_profile
}

module "batch_vision" {
  source = "../../terraform"

  name_prefix = var.name_prefix

  backend     = "rekognition"
  rekognition = { analyses = var.analyses }

  images_bucket_name = var.images_bucket_name
  source_prefix      = var.prefix
  images_bucket = {
    account_id  = var.owner_account_id
    kms_key_arn = var.images_key_arn
  }
}
