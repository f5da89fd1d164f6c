# Several models in one account: a deployment of the module for each, all with one customer key.

provider "aws" {
  region = var.region

  default_tags {
    tags = var.tags
  }
}

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

module "batch_vision" {
  source   = "../../terraform"
  for_each = var.models

  name_prefix = "${var.name_prefix}-${each.key}"

  rekognition_custom_labels = {
    project_arn         = each.value.project_arn
    project_version_arn = each.value.project_version_arn
  }
  min_confidence_percent     = each.value.min_confidence_percent
  max_inference_units        = each.value.max_inference_units
  images_per_second_per_unit = each.value.images_per_second_per_unit

  # Runs at different times keep the models off each other's quotas.
  schedule_expression = each.value.schedule_expression

  kms_key_arn              = aws_kms_key.this.arn
  role_path                = var.role_path
  permissions_boundary_arn = var.permissions_boundary_arn
  log_retention_days       = var.log_retention_days

  # Beside the default tags of the provider.
  tags = { Model = each.key }
}
