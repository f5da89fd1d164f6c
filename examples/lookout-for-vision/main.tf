# The backend for Amazon Lookout for Vision, which AWS ended on 2025-10-31. It shows how another model service is
# chosen; nobody can start such a model on AWS any more.

provider "aws" {
  region = var.region
}

module "batch_vision" {
  source = "../../terraform"

  name_prefix = var.name_prefix
  backend     = "lookout_for_vision"

  lookout_for_vision = {
    project_name  = var.project_name
    model_version = var.model_version
  }
}
