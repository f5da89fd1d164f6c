# One model with one inference unit, and the defaults for all the rest.

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

  # A pile of more than 18,000 images would start more of them, up to the module's default of 5: $4 an hour each.
  max_inference_units = 1
}
