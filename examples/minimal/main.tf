# One model, and the defaults for all the rest.

provider "aws" {
  # The Region of the model, which is a part of its ARN.
  region = split(":", var.project_version_arn)[3]
}

module "batch_vision" {
  source = "../../terraform"

  rekognition_custom_labels = {
    project_arn         = var.project_arn
    project_version_arn = var.project_version_arn
  }
}
