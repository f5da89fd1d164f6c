# The model services that this module can drive: one entry each. Nothing else in Terraform knows which there are.
#
# An entry says
#   settings      what the Python backend of that name reads: texts, handed as BACKEND_SETTINGS to the functions that
#                 need it. Null until the variable of the same name is set, and then no permission but the last has a
#                 resource.
#   detect        the permission to ask the model about an image
#   describe      the permission to read the state of the model
#   start         the permission to start it
#   stop          the permission to stop it
#   stop_former   the permission to describe and stop any model of this service, for the two functions that stop models:
#                 a run that is under way while an apply changes the model still stops the one that it started, whose
#                 own permission goes with that apply
#   inference_unit_hour_dollars
#                 what a unit of the service costs for an hour, in dollars, for the cost in run summaries
#   is_ended      true where AWS has ended the service: stop_former is then only for deployments that use it, or used it
#                 before (former_settings.backends)

locals {
  backends = {
    rekognition_custom_labels = {
      settings = var.rekognition_custom_labels == null ? null : tomap({
        project_arn         = var.rekognition_custom_labels.project_arn
        project_version_arn = var.rekognition_custom_labels.project_version_arn
      })
      detect = {
        actions   = ["rekognition:DetectCustomLabels"]
        resources = var.rekognition_custom_labels[*].project_version_arn
      }
      # Versions are described through their project: IAM knows this action on project ARNs only.
      describe = {
        actions   = ["rekognition:DescribeProjectVersions"]
        resources = var.rekognition_custom_labels[*].project_arn
      }
      start = {
        actions   = ["rekognition:StartProjectVersion"]
        resources = var.rekognition_custom_labels[*].project_version_arn
      }
      stop = {
        actions   = ["rekognition:StopProjectVersion"]
        resources = var.rekognition_custom_labels[*].project_version_arn
      }
      stop_former = {
        actions   = ["rekognition:DescribeProjectVersions", "rekognition:StopProjectVersion"]
        resources = ["arn:${local.partition}:rekognition:${local.region}:${local.account_id}:project/*"]
      }
      # us-east-1, November 2026 (aws.amazon.com/rekognition/pricing); other Regions differ a little.
      inference_unit_hour_dollars = 4
    }

    # AWS ended this service on 2025-10-31: it runs against the local emulator only.
    lookout_for_vision = {
      settings = var.lookout_for_vision == null ? null : tomap({
        project_name  = var.lookout_for_vision.project_name
        model_version = var.lookout_for_vision.model_version
      })
      detect = {
        actions   = ["lookoutvision:DetectAnomalies"]
        resources = local.lookout_for_vision_model_arn[*]
      }
      describe = {
        actions   = ["lookoutvision:DescribeModel"]
        resources = local.lookout_for_vision_model_arn[*]
      }
      start = {
        actions   = ["lookoutvision:StartModel"]
        resources = local.lookout_for_vision_model_arn[*]
      }
      stop = {
        actions   = ["lookoutvision:StopModel"]
        resources = local.lookout_for_vision_model_arn[*]
      }
      stop_former = {
        actions   = ["lookoutvision:DescribeModel", "lookoutvision:StopModel"]
        resources = ["arn:${local.partition}:lookoutvision:${local.region}:${local.account_id}:model/*"]
      }
      # The price of its last year.
      inference_unit_hour_dollars = 4
      is_ended                    = true
    }
  }

  # Of every service, for the former model may be of another one than the model of now.
  stop_former = [
    for name, entry in local.backends : entry.stop_former
    if !try(entry.is_ended, false) || entry.settings != null || contains(var.former_settings.backends, name)
  ]
  stop_former_models = {
    actions   = flatten(local.stop_former[*].actions)
    resources = flatten(local.stop_former[*].resources)
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
  configured_backends = [for name, entry in local.backends : name if entry.settings != null]

  backend = local.backends[var.backend]
}
