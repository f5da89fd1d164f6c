# The model services that this module can drive: one entry each. Nothing else in Terraform knows which there are.
#
# An entry says
#   settings      what the Python backend of that name reads, handed as BACKEND_SETTINGS to the functions that need it.
#                 Null until the variable of the same name is set, and then no permission but the last has a resource.
#   detect        the permission to ask the model about an image
#
# and of a hosted model, which has to be started (its settings are texts)
#   describe      the permission to read the state of the model
#   start         the permission to start it
#   stop          the permission to stop it
#   stop_former   the permission to describe and stop any model of this service, for the two functions that stop models:
#                 a run that is under way while an apply changes the model still stops the one that it started, whose
#                 own permission goes with that apply
#   further       statements by sid, of a service that wants more than one for a step: of the functions that describe the
#                 model before it is stopped, that start it, and of those that stop models (stop_former)
#   settings_of_answers
#                 those of the settings on which answers depend, where that is not all of them: the results of before are
#                 as good as new ones while these stay the same
#   inference_unit_hour_dollars
#                 what a unit of the service costs for an hour, in dollars, for the cost in run summaries
#   is_ended      true where AWS has ended the service: stop_former is then only for deployments that use it, or used it
#                 before (former_settings.backends)
#
# or of a managed one, which is always there
#   detect_with_adapter
#                 the permission to ask it by way of an adapter, or null
#   calls_per_second
#                 by operation, in the order of the detectors, how many calls this deployment may make

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

    # The image APIs of Rekognition. IAM knows no resource for their actions but an adapter.
    rekognition = {
      settings = var.rekognition == null ? null : merge({ analyses = var.rekognition.analyses }, {
        for analysis in local.rekognition_analyses_with_settings : analysis => {
          for name, value in var.rekognition[analysis] : name => value if value != null
        } if var.rekognition[analysis] != null
      })
      # All resources: these operations have none, but for an adapter's model.
      detect = {
        actions = [
          for operation in local.rekognition_operations : "rekognition:${operation}"
          if operation != "DetectModerationLabels" || local.rekognition_adapter_arn == null
        ]
        resources = ["*"]
      }
      detect_with_adapter = local.rekognition_adapter_arn == null ? null : {
        actions   = ["rekognition:DetectModerationLabels"]
        resources = [local.rekognition_adapter_arn]
      }
      calls_per_second = {
        for operation in local.rekognition_operations :
        operation => lookup(merge(local.rekognition_quotas, var.rekognition.quotas), operation, 0) * var.rekognition.quota_share_percent / 100
      }
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

    # The endpoint is made for a run, and deleted after it: only the model is there before.
    sagemaker_endpoint = {
      settings = var.sagemaker_endpoint == null ? null : tomap({
        deployment             = var.name_prefix
        model_name             = var.sagemaker_endpoint.model_name
        instance_type          = var.sagemaker_endpoint.instance_type
        instances_per_unit     = tostring(var.sagemaker_endpoint.instances_per_unit)
        content_type           = local.sagemaker_texts.content_type
        mapping                = var.sagemaker_endpoint.mapping
        anomaly_mapping        = local.sagemaker_texts.anomaly_mapping
        max_payload_mb         = tostring(var.sagemaker_endpoint.max_payload_mb)
        answer_timeout_seconds = tostring(local.sagemaker_answer_timeout_seconds)
        data_capture_s3_uri    = local.sagemaker_texts.data_capture_s3_uri
        data_capture_percent   = tostring(try(var.sagemaker_endpoint.data_capture.percent, 100))
      })
      settings_of_answers = var.sagemaker_endpoint == null ? null : tomap({
        model_name      = var.sagemaker_endpoint.model_name
        content_type    = local.sagemaker_texts.content_type
        mapping         = var.sagemaker_endpoint.mapping
        anomaly_mapping = local.sagemaker_texts.anomaly_mapping
        max_payload_mb  = tostring(var.sagemaker_endpoint.max_payload_mb)
      })
      detect = {
        actions   = ["sagemaker:InvokeEndpoint"]
        resources = [for _ in var.sagemaker_endpoint[*] : local.sagemaker_endpoint_arn]
      }
      describe = {
        actions   = ["sagemaker:DescribeEndpoint"]
        resources = [for _ in var.sagemaker_endpoint[*] : local.sagemaker_endpoint_arn]
      }
      # An endpoint that failed is deleted before it is made again.
      start = {
        actions   = ["sagemaker:CreateEndpoint", "sagemaker:DeleteEndpoint"]
        resources = [for _ in var.sagemaker_endpoint[*] : local.sagemaker_endpoint_arn]
      }
      stop = {
        actions   = ["sagemaker:DeleteEndpoint"]
        resources = [for _ in var.sagemaker_endpoint[*] : local.sagemaker_endpoint_arn]
      }
      # Only those of this deployment: no other endpoint was ever its own.
      stop_former = {
        actions   = ["sagemaker:DescribeEndpoint", "sagemaker:DeleteEndpoint"]
        resources = [local.sagemaker_endpoint_arn]
      }
      further = {
        describe = {
          ListModels = local.sagemaker_list
        }
        start = {
          ConfigureModel = {
            actions   = ["sagemaker:CreateEndpoint", "sagemaker:CreateEndpointConfig"]
            resources = [local.sagemaker_configuration_arn]
          }
          PassRoleOfModel = {
            actions    = ["iam:PassRole"]
            resources  = var.sagemaker_endpoint[*].execution_role_arn
            conditions = { "iam:PassedToService" = "sagemaker.amazonaws.com" }
          }
        }
        stop_former = {
          ListFormerModels = local.sagemaker_list
          RemoveConfigurations = {
            actions   = ["sagemaker:DeleteEndpointConfig"]
            resources = [local.sagemaker_configuration_arn]
          }
        }
      }
      inference_unit_hour_dollars = var.sagemaker_endpoint == null ? null : var.sagemaker_endpoint.instances_per_unit * local.sagemaker_instance_hour_dollars
    }
  }

  # Of every service, for the former model may be of another one than the model of now.
  stop_former = [
    for name, entry in local.backends : entry.stop_former
    if can(entry.stop_former) && (!try(entry.is_ended, false) || entry.settings != null || contains(var.former_settings.backends, name))
  ]
  stop_former_models = {
    actions   = flatten(local.stop_former[*].actions)
    resources = flatten(local.stop_former[*].resources)
  }
  # Of the services that want more than that.
  stop_former_further = merge([
    for entry in values(local.backends) : entry.further.stop_former if can(entry.further.stop_former)
  ]...)

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

  # Of a deployment of videos only, nothing.
  backend = try(local.backends[var.backend], { settings = null, detect = { actions = [], resources = [] } })

  # What a hosted model has; a managed one has no function that would need it.
  lifecycle = {
    for name in ["describe", "start", "stop", "inference_unit_hour_dollars"] : name => try(local.backend[name], null)
  }

  further_describe = try(local.backend.further.describe, {})
  further_start    = try(local.backend.further.start, {})
}

# ---------------------------------------------------------------------------------------------------------------------
# A SageMaker endpoint
# ---------------------------------------------------------------------------------------------------------------------

locals {
  # As the backend names them: a hash of sixteen characters, and the number of instances in four. A deployment whose name
  # begins with the name of this one has none of this form.
  sagemaker_arn_prefix        = "arn:${local.partition}:sagemaker:${local.region}:${local.account_id}"
  sagemaker_endpoint_arn      = "${local.sagemaker_arn_prefix}:endpoint/${var.name_prefix}-????????????????"
  sagemaker_configuration_arn = "${local.sagemaker_arn_prefix}:endpoint-config/${var.name_prefix}-????????????????-????"

  # All resources: IAM knows none for a list.
  sagemaker_list = {
    actions   = ["sagemaker:ListEndpointConfigs"]
    resources = ["*"]
  }

  # The settings of a hosted model are texts.
  sagemaker_texts = {
    content_type        = try(coalesce(var.sagemaker_endpoint.content_type), "")
    anomaly_mapping     = try(coalesce(var.sagemaker_endpoint.anomaly_mapping), "")
    data_capture_s3_uri = try(coalesce(var.sagemaker_endpoint.data_capture.s3_uri), "")
  }

  # A call that is begun in the last moment that an invocation has for that (0.6 of its time) must end within it.
  sagemaker_most_answer_seconds    = floor(2 * var.timings.analyze_timeout_seconds / 5)
  sagemaker_answer_timeout_seconds = try(coalesce(var.sagemaker_endpoint.answer_timeout_seconds), max(1, min(20, local.sagemaker_most_answer_seconds)))

  # An hour of an instance that hosts a model, us-east-1, in dollars: November 2026, from price lists of SageMaker that
  # others have copied, where several agree. `batch-vision cost` has the same.
  sagemaker_prices = {
    "ml.m5.large"    = 0.115
    "ml.m5.xlarge"   = 0.23
    "ml.m5.2xlarge"  = 0.461
    "ml.m5.4xlarge"  = 0.922
    "ml.c5.large"    = 0.102
    "ml.c5.xlarge"   = 0.204
    "ml.c5.2xlarge"  = 0.408
    "ml.c5.4xlarge"  = 0.816
    "ml.g4dn.xlarge" = 0.736
    "ml.g5.xlarge"   = 1.408
    "ml.g5.2xlarge"  = 1.515
    "ml.g5.4xlarge"  = 2.03
    "ml.g5.12xlarge" = 7.09
    "ml.g6.xlarge"   = 1.127
  }
  sagemaker_instance_hour_dollars = try(coalesce(var.sagemaker_endpoint.instance_hour_dollars), lookup(local.sagemaker_prices, try(var.sagemaker_endpoint.instance_type, ""), 0))
}

# ---------------------------------------------------------------------------------------------------------------------
# The image APIs of Rekognition
# ---------------------------------------------------------------------------------------------------------------------

locals {
  # The operation that an analysis is a call of; labels and colors of an image are one call.
  rekognition_operation_of = {
    labels               = "DetectLabels"
    image_properties     = "DetectLabels"
    text                 = "DetectText"
    faces                = "DetectFaces"
    moderation           = "DetectModerationLabels"
    celebrities          = "RecognizeCelebrities"
    protective_equipment = "DetectProtectiveEquipment"
  }

  rekognition_analyses_with_settings = [for analysis in keys(local.rekognition_operation_of) : analysis if analysis != "celebrities"]

  rekognition_operations = distinct(compact([
    for analysis in try(var.rekognition.analyses, []) : lookup(local.rekognition_operation_of, analysis, "")
  ]))

  rekognition_adapter_arn = try(var.rekognition.moderation.adapter_arn, null)

  # Default quotas of an account, calls a second (AWS General Reference, Amazon Rekognition endpoints and quotas).
  rekognition_quotas = {
    DetectLabels              = local.has_large_quotas ? 50 : 5
    DetectText                = local.has_large_quotas ? 50 : 5
    DetectFaces               = local.has_large_quotas ? 100 : 25
    DetectModerationLabels    = local.has_large_quotas ? 50 : 5
    RecognizeCelebrities      = local.has_large_quotas ? 50 : 5
    DetectProtectiveEquipment = 5
  }
  has_large_quotas = contains(["us-east-1", "us-west-2", "eu-west-1"], local.region)
}

# ---------------------------------------------------------------------------------------------------------------------
# How fast the model is asked
# ---------------------------------------------------------------------------------------------------------------------

locals {
  # Of a managed model: the quotas that this deployment may use.
  calls_per_second = try(local.backend.calls_per_second, {})

  # An image is done when all its analyses have answered, which it is taken to at once: the slowest of them says how many
  # images there are in a second. Twice as many invocations as that takes, for one also waits for S3 and for its next
  # batch. A mapping cannot be held to fewer than two. An invocation has up to 32 threads.
  invocations = !local.is_managed ? 2 : max(2, min(var.max_concurrency, ceil(
    2 * min(values(local.calls_per_second)...) * local.image_latency_seconds / min(32, var.batch_size)
  )))

  # How fast one invocation asks each detector of the backend. Of a hosted model it begins with half of what a unit can do,
  # as a mapping never runs fewer than two invocations; a model may be better than was said. Of a managed one it has its
  # part of what is allowed, and never more: what is over would be refused, to us or to somebody else in the account.
  paces = local.is_hosted ? {
    (var.backend) = {
      calls_per_second      = var.images_per_second_per_unit / 2
      most_calls_per_second = 8 * var.images_per_second_per_unit / 2
    }
    } : {
    for operation, allowed in local.calls_per_second : operation => {
      # Without the many digits of a third.
      calls_per_second      = floor(1000 * allowed / local.invocations) / 1000
      most_calls_per_second = floor(1000 * allowed / local.invocations) / 1000
    }
  }

  # Images that one invocation can ask a managed model about: in half of the time that it has for that (0.6 of its
  # timeout), so that there is time to repeat what was refused.
  images_in_time = !local.is_managed ? var.batch_size : floor(min(values(local.paces)[*].most_calls_per_second...) * 3 * var.timings.analyze_timeout_seconds / 10)
  # A message of a chunk is as much as an invocation does by itself.
  batch_size = local.collects_changes ? 1 : max(1, min(var.batch_size, local.images_in_time))

  # The most images in a chunk: what one invocation asks a hosted model about in the time that it has for that. A listing
  # has a thousand keys, and so has a chunk at most.
  chunk_images = !local.has_images ? null : max(1, min(1000, floor(min(values(local.paces)[*].calls_per_second...) * 3 * var.timings.analyze_timeout_seconds / 5)))
}
