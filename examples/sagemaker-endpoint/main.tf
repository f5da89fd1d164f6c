# A model of your own in SageMaker. The model and its role are made elsewhere and stay; its endpoint is created for each
# run and deleted after it, so neither is a resource here.

provider "aws" {
  region = var.region
}

module "batch_vision" {
  source = "../../terraform"

  name_prefix = var.name_prefix
  backend     = "sagemaker_endpoint"

  sagemaker_endpoint = {
    model_name         = var.model_name
    execution_role_arn = var.execution_role_arn
    instance_type      = var.instance_type
    mapping            = var.mapping
    anomaly_mapping    = var.anomaly_mapping
    content_type       = var.content_type
  }

  images_per_second_per_unit = var.images_per_second_per_unit
  max_inference_units        = var.max_inference_units
  alert_email_addresses      = var.alert_email_addresses
}
