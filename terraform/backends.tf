# The model services that this module can drive: one entry each. Nothing else in Terraform knows which there are.
#
# An entry is null until the variable of the same name is set. Otherwise it says
#   settings   what the Python backend of that name reads: texts, handed to every function as BACKEND_SETTINGS
#   detect     the permission to ask the model about an image
#   describe   the permission to read the state of the model
#   start      the permission to start it
#   stop       the permission to stop it

locals {
  backends = {
    rekognition_custom_labels = var.rekognition_custom_labels == null ? null : {
      settings = tomap({
        project_arn         = var.rekognition_custom_labels.project_arn
        project_version_arn = var.rekognition_custom_labels.project_version_arn
      })
      detect = {
        actions   = ["rekognition:DetectCustomLabels"]
        resources = [var.rekognition_custom_labels.project_version_arn]
      }
      # Versions are described through their project: IAM knows this action on project ARNs only.
      describe = {
        actions   = ["rekognition:DescribeProjectVersions"]
        resources = [var.rekognition_custom_labels.project_arn]
      }
      start = {
        actions   = ["rekognition:StartProjectVersion"]
        resources = [var.rekognition_custom_labels.project_version_arn]
      }
      stop = {
        actions   = ["rekognition:StopProjectVersion"]
        resources = [var.rekognition_custom_labels.project_version_arn]
      }
    }

    # AWS ended this service on 2025-10-31: it runs against the local emulator only.
    lookout_for_vision = var.lookout_for_vision == null ? null : {
      settings = tomap({
        project_name  = var.lookout_for_vision.project_name
        model_version = var.lookout_for_vision.model_version
      })
      detect = {
        actions   = ["lookoutvision:DetectAnomalies"]
        resources = [local.lookout_for_vision_model_arn]
      }
      describe = {
        actions   = ["lookoutvision:DescribeModel"]
        resources = [local.lookout_for_vision_model_arn]
      }
      start = {
        actions   = ["lookoutvision:StartModel"]
        resources = [local.lookout_for_vision_model_arn]
      }
      stop = {
        actions   = ["lookoutvision:StopModel"]
        resources = [local.lookout_for_vision_model_arn]
      }
    }
  }

  # The permission to stop any model of these services, for the one function that stops models: a run that is under way
  # while an apply changes the model still stops the one that it started, whose own permission goes with that apply.
  stop_former_models = {
    actions = [
      "lookoutvision:DescribeModel",
      "lookoutvision:StopModel",
      "rekognition:DescribeProjectVersions",
      "rekognition:StopProjectVersion",
    ]
    resources = [
      "arn:${local.partition}:lookoutvision:${local.region}:${local.account_id}:model/*",
      "arn:${local.partition}:rekognition:${local.region}:${local.account_id}:project/*",
    ]
  }

  # The service goes by names; IAM by an ARN that is made of them.
  lookout_for_vision_model_arn = var.lookout_for_vision == null ? null : join(":", [
    "arn",
    local.partition,
    "lookoutvision",
    local.region,
    local.account_id,
    "model/${var.lookout_for_vision.project_name}/${var.lookout_for_vision.model_version}",
  ])

  # One of them, the chosen one; the variable `backend` refuses anything else.
  configured_backends = [for name, entry in local.backends : name if entry != null]

  backend = local.backends[var.backend]
}
