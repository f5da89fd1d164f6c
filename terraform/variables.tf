# In the order in which a new user needs them: only the first variable has to be set, or `videos`.

# ---------------------------------------------------------------------------------------------------------------------
# The model: set the variable of its service, and leave the others out
# ---------------------------------------------------------------------------------------------------------------------

variable "rekognition_custom_labels" {
  description = "The Rekognition Custom Labels model: ARN of its project, and of the project version, which is the trained model"
  type = object({
    project_arn         = string
    project_version_arn = string
  })
  default = null

  validation {
    condition = var.rekognition_custom_labels == null ? true : can(regex(
      "^arn:[a-z0-9-]+:rekognition:[a-z0-9-]+:[0-9]{12}:project/[A-Za-z0-9_.-]{1,255}/[0-9]+$",
      var.rekognition_custom_labels.project_arn,
    ))
    error_message = "rekognition_custom_labels.project_arn is \"${try(var.rekognition_custom_labels.project_arn, "")}\". Use the ARN of a project (…:project/<name>/<number>), as `aws rekognition describe-projects` shows it."
  }

  validation {
    condition = var.rekognition_custom_labels == null ? true : can(regex(
      "^arn:[a-z0-9-]+:rekognition:[a-z0-9-]+:[0-9]{12}:project/[A-Za-z0-9_.-]{1,255}/version/[A-Za-z0-9_.-]{1,255}/[0-9]+$",
      var.rekognition_custom_labels.project_version_arn,
    ))
    error_message = "rekognition_custom_labels.project_version_arn is \"${try(var.rekognition_custom_labels.project_version_arn, "")}\". Use the ARN of a project version (…:project/<name>/version/<version>/<number>), as `aws rekognition describe-project-versions` shows it."
  }

  validation {
    # Up to the project's name: the number after it differs between a project and its versions.
    condition = try(
      regex("^(.+:project/[^/]+)/", var.rekognition_custom_labels.project_arn)[0]
      == regex("^(.+:project/[^/]+)/", var.rekognition_custom_labels.project_version_arn)[0],
      true,
    )
    error_message = "rekognition_custom_labels.project_version_arn is \"${try(var.rekognition_custom_labels.project_version_arn, "")}\", which is not a version of project_arn \"${try(var.rekognition_custom_labels.project_arn, "")}\". Name, account and Region of the project must be the same in both."
  }

  validation {
    condition = try(
      slice(split(":", var.rekognition_custom_labels.project_version_arn), 3, 5) == tolist([local.region, local.account_id]),
      true,
    )
    error_message = "rekognition_custom_labels.project_version_arn is \"${try(var.rekognition_custom_labels.project_version_arn, "")}\", and the provider works in Region ${local.region} of account ${local.account_id}. Deploy where the model is: Rekognition reads images from buckets of its own Region only."
  }
}

variable "rekognition" {
  description = <<-EOT
    The image APIs of Rekognition, which need no model of your own and no start: analyses is a list out of labels, image_properties, text, faces, moderation, celebrities and protective_equipment. Each image is asked about by each analysis, and paid for by each.

    What can be set of an analysis: labels.min_confidence_percent, labels.max_labels, and labels.include, labels.exclude, labels.include_categories and labels.exclude_categories (lists of names); image_properties.max_dominant_colors; text.min_confidence_percent; faces.attributes (such as ["DEFAULT"], ["ALL"] or ["AGE_RANGE", "SMILE"]); moderation.min_confidence_percent and moderation.adapter_arn (the ARN of a project version); protective_equipment.required_equipment (FACE_COVER, HAND_COVER, HEAD_COVER) and protective_equipment.min_confidence_percent. Where an analysis has no least confidence, min_confidence_percent of the module counts.

    quotas says how many calls a second the account may make of an operation, where that is not the default of the Region, as in { DetectLabels = 100 }; quota_share_percent is what of them this deployment may use.
  EOT
  type = object({
    analyses = list(string)
    labels = optional(object({
      min_confidence_percent = optional(number)
      max_labels             = optional(number)
      include                = optional(list(string))
      exclude                = optional(list(string))
      include_categories     = optional(list(string))
      exclude_categories     = optional(list(string))
    }))
    image_properties = optional(object({ max_dominant_colors = optional(number) }))
    text             = optional(object({ min_confidence_percent = optional(number) }))
    faces            = optional(object({ attributes = optional(list(string)) }))
    moderation = optional(object({
      min_confidence_percent = optional(number)
      adapter_arn            = optional(string)
    }))
    protective_equipment = optional(object({
      required_equipment     = optional(list(string))
      min_confidence_percent = optional(number)
    }))
    quotas              = optional(map(number), {})
    quota_share_percent = optional(number, 100)
  })
  default = null

  validation {
    condition     = length(setsubtract(try(var.rekognition.analyses, []), keys(local.rekognition_operation_of))) == 0
    error_message = "rekognition.analyses has ${jsonencode(setsubtract(try(var.rekognition.analyses, []), keys(local.rekognition_operation_of)))}. Use ${join(", ", keys(local.rekognition_operation_of))}."
  }

  validation {
    condition     = var.rekognition == null ? true : length(var.rekognition.analyses) > 0
    error_message = "rekognition.analyses is empty. Use one or more of ${join(", ", keys(local.rekognition_operation_of))}."
  }

  validation {
    condition     = var.rekognition == null ? true : length(var.rekognition.analyses) == length(distinct(var.rekognition.analyses))
    error_message = "rekognition.analyses is ${jsonencode(try(var.rekognition.analyses, []))}, and has an analysis twice. Name each once."
  }

  validation {
    condition = var.rekognition == null ? true : alltrue([
      for analysis in local.rekognition_analyses_with_settings : var.rekognition[analysis] == null || contains(var.rekognition.analyses, analysis)
    ])
    error_message = "rekognition.${try([for analysis in local.rekognition_analyses_with_settings : analysis if var.rekognition[analysis] != null && !contains(var.rekognition.analyses, analysis)][0], "labels")} is set, and is not one of analyses, which is ${jsonencode(try(var.rekognition.analyses, []))}. Add it to analyses, or leave its settings out."
  }

  validation {
    condition = alltrue([
      for percent in [for analysis in ["labels", "text", "moderation", "protective_equipment"] : try(var.rekognition[analysis].min_confidence_percent, null)] :
      percent == null ? true : percent == 0 || percent >= 1 && percent <= 100
    ])
    error_message = "rekognition has a min_confidence_percent that is out of range: ${jsonencode({ for analysis in ["labels", "text", "moderation", "protective_equipment"] : analysis => try(var.rekognition[analysis].min_confidence_percent, null) })}. Use 0, or numbers from 1 to 100 (percent, so 80 and not 0.8)."
  }

  validation {
    condition     = alltrue([for most in [try(var.rekognition.labels.max_labels, null)] : most == null ? true : most >= 1 && floor(most) == most])
    error_message = "rekognition.labels.max_labels is ${coalesce(try(var.rekognition.labels.max_labels, null), 0)}. Use a whole number of at least 1, or leave it out."
  }

  validation {
    condition = alltrue([
      for names in [for filter in local.rekognition_filters : coalesce(try(var.rekognition.labels[filter], null), [])] :
      length(names) <= 100 && alltrue([for name in names : can(regex(local.rekognition_name_pattern, name))])
    ])
    error_message = "rekognition.labels has a filter that Rekognition refuses: ${jsonencode({ for filter in local.rekognition_filters : filter => try(length(var.rekognition.labels[filter]) > 100, false) ? ["${length(var.rekognition.labels[filter])} names"] : [for name in coalesce(try(var.rekognition.labels[filter], null), []) : name if !can(regex(local.rekognition_name_pattern, name))] })}. Use up to 100 names in each, of 1 to 50 letters, digits, spaces and ' - _ ( ) . as in the service's list of labels."
  }

  validation {
    condition     = alltrue([for most in [try(var.rekognition.image_properties.max_dominant_colors, null)] : most == null ? true : most >= 1 && most <= 20 && floor(most) == most])
    error_message = "rekognition.image_properties.max_dominant_colors is ${coalesce(try(var.rekognition.image_properties.max_dominant_colors, null), 0)}. Use a whole number from 1 to 20."
  }

  validation {
    # DetectFaces of the Rekognition API.
    condition     = length(setsubtract(coalesce(try(var.rekognition.faces.attributes, null), []), local.rekognition_face_attributes)) == 0
    error_message = "rekognition.faces.attributes has ${jsonencode(setsubtract(coalesce(try(var.rekognition.faces.attributes, null), []), local.rekognition_face_attributes))}. Use ${join(", ", local.rekognition_face_attributes)}."
  }

  validation {
    condition     = length(setsubtract(coalesce(try(var.rekognition.protective_equipment.required_equipment, null), []), ["FACE_COVER", "HAND_COVER", "HEAD_COVER"])) == 0
    error_message = "rekognition.protective_equipment.required_equipment has ${jsonencode(setsubtract(coalesce(try(var.rekognition.protective_equipment.required_equipment, null), []), ["FACE_COVER", "HAND_COVER", "HEAD_COVER"]))}. Use FACE_COVER, HAND_COVER and HEAD_COVER."
  }

  validation {
    condition = try(var.rekognition.moderation.adapter_arn, null) == null ? true : can(regex(
      "^arn:[a-z0-9-]+:rekognition:[a-z0-9-]+:[0-9]{12}:project/[A-Za-z0-9_.-]{1,255}/version/[A-Za-z0-9_.-]{1,255}/[0-9]+$",
      var.rekognition.moderation.adapter_arn,
    ))
    error_message = "rekognition.moderation.adapter_arn is \"${try(coalesce(var.rekognition.moderation.adapter_arn), "null")}\". Use the ARN of a project version (…:project/<name>/version/<version>/<number>), as `aws rekognition describe-project-versions` shows it."
  }

  validation {
    condition     = try(slice(split(":", var.rekognition.moderation.adapter_arn), 3, 5) == tolist([local.region, local.account_id]), true)
    error_message = "rekognition.moderation.adapter_arn is \"${try(coalesce(var.rekognition.moderation.adapter_arn), "null")}\", and the provider works in Region ${local.region} of account ${local.account_id}. Use an adapter of that Region and account."
  }

  validation {
    condition     = length(setsubtract(keys(try(var.rekognition.quotas, {})), values(local.rekognition_operation_of))) == 0
    error_message = "rekognition.quotas has ${jsonencode(setsubtract(keys(try(var.rekognition.quotas, {})), values(local.rekognition_operation_of)))}. Use operations of Rekognition: ${join(", ", distinct(values(local.rekognition_operation_of)))}."
  }

  validation {
    condition     = alltrue([for quota in values(try(var.rekognition.quotas, {})) : quota > 0])
    error_message = "rekognition.quotas is ${jsonencode(try(var.rekognition.quotas, {}))}. Use calls a second, above 0."
  }

  validation {
    condition     = var.rekognition == null ? true : var.rekognition.quota_share_percent > 0 && var.rekognition.quota_share_percent <= 100
    error_message = "rekognition.quota_share_percent is ${try(var.rekognition.quota_share_percent, 0)}. Use a number above 0, and up to 100."
  }

  validation {
    # A call must fit into the half of the time of an invocation, and there are at least two of them: see backends.tf.
    condition = var.rekognition == null ? true : alltrue([
      for analysis in var.rekognition.analyses :
      lookup(merge(local.rekognition_quotas, var.rekognition.quotas), lookup(local.rekognition_operation_of, analysis, ""), 50) * var.rekognition.quota_share_percent / 100 * 3 * var.timings.analyze_timeout_seconds / 20 >= 1
    ])
    error_message = "rekognition.quota_share_percent is ${try(var.rekognition.quota_share_percent, 0)}, and leaves so few of the calls a second of ${jsonencode(merge(local.rekognition_quotas, try(var.rekognition.quotas, {})))} that an image would take longer than timings.analyze_timeout_seconds, which is ${var.timings.analyze_timeout_seconds}. Raise one of the two."
  }

  validation {
    # An environment of a function has 4 KB, in which source_prefix has a part.
    condition     = try(var.rekognition.labels, null) == null ? true : length(jsonencode(var.rekognition.labels)) + length(var.source_prefix) <= 700
    error_message = "rekognition.labels has ${length(jsonencode(try(var.rekognition.labels, null)))} characters as JSON, and source_prefix ${length(var.source_prefix)}. Use up to 700 for both: name fewer labels in the filters, or categories in their place."
  }
}

variable "lookout_for_vision" {
  description = "The Lookout for Vision model: name of its project and number of its version. AWS ended the service on 2025-10-31, so that this backend runs against the local emulator only; on AWS, choose another"
  type = object({
    project_name  = string
    model_version = string
  })
  default = null

  validation {
    condition = var.lookout_for_vision == null ? true : can(regex(
      "^[A-Za-z0-9][A-Za-z0-9_-]{0,254}$",
      var.lookout_for_vision.project_name,
    ))
    error_message = "lookout_for_vision.project_name is \"${try(var.lookout_for_vision.project_name, "")}\". Use the name of the project, not an ARN: up to 255 letters, digits, hyphens and underscores, and begin with a letter or digit."
  }

  validation {
    # The service takes "latest" too. But a training that ends in the middle of a run would give that word another
    # meaning: one model would be started, and another stopped.
    condition     = var.lookout_for_vision == null ? true : can(regex("^[1-9][0-9]{0,9}$", var.lookout_for_vision.model_version))
    error_message = "lookout_for_vision.model_version is \"${try(var.lookout_for_vision.model_version, "")}\". Use the number of the version, as in \"1\"; \"latest\" is not taken, because it can change its meaning between the start and the stop of a model."
  }
}

variable "sagemaker_endpoint" {
  description = <<-EOT
    A model of your own in SageMaker, whose endpoint is created for each run and deleted after it: model_name is the SageMaker model, of one container or of a pipeline of them; execution_role_arn the role that it was created with; instance_type and instances_per_unit say what an inference unit is.

    mapping says what of the container's answer is a prediction: huggingface-image-classification, huggingface-object-detection, or a JMESPath expression that makes a list of objects with name, confidence (0 to 1) or confidence_percent, and maybe box (ratios of the sides) or box_px, each with left, top, and right and bottom or width and height, or with center_x, center_y, width and height; or one object that has a list for each of these. anomaly_mapping makes one object with is_anomalous and confidence. Try both with `batch-vision check-mapping`.

    content_type is that of each request (null: image/png or image/jpeg, as the image is). max_payload_mb is the largest image that is sent, 6 by default; SageMaker takes 25 where it has raised that limit. answer_timeout_seconds is how long an answer may take (default: 20, or what analyze_timeout_seconds leaves). data_capture keeps requests and answers under s3_uri, percent of them, with the execution role; without it none are. instance_hour_dollars is what an instance costs, for the cost of a run; the module knows it of the usual types.
  EOT
  type = object({
    model_name             = string
    execution_role_arn     = string
    instance_type          = string
    instances_per_unit     = optional(number, 1)
    mapping                = string
    anomaly_mapping        = optional(string)
    content_type           = optional(string)
    max_payload_mb         = optional(number, 6)
    answer_timeout_seconds = optional(number)
    data_capture = optional(object({
      s3_uri  = string
      percent = optional(number, 100)
    }))
    instance_hour_dollars = optional(number)
  })
  default = null

  validation {
    condition     = var.sagemaker_endpoint == null ? true : can(regex("^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$", var.sagemaker_endpoint.model_name))
    error_message = "sagemaker_endpoint.model_name is \"${try(var.sagemaker_endpoint.model_name, "")}\". Use the name of a model, not its ARN, as `aws sagemaker list-models` shows it: up to 63 letters, digits and hyphens."
  }

  validation {
    condition = var.sagemaker_endpoint == null ? true : can(regex(
      "^arn:[a-z0-9-]+:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]{1,576}$",
      var.sagemaker_endpoint.execution_role_arn,
    ))
    error_message = "sagemaker_endpoint.execution_role_arn is \"${try(var.sagemaker_endpoint.execution_role_arn, "")}\". Use the ARN of the role that the model was created with, as `aws sagemaker describe-model` shows it."
  }

  validation {
    condition     = var.sagemaker_endpoint == null ? true : can(regex("^ml\\.[a-z0-9-]+\\.[a-z0-9]+$", var.sagemaker_endpoint.instance_type))
    error_message = "sagemaker_endpoint.instance_type is \"${try(var.sagemaker_endpoint.instance_type, "")}\". Use a type for hosting, as in ml.g5.xlarge."
  }

  validation {
    # The name of an endpoint configuration has four digits for them.
    condition     = var.sagemaker_endpoint == null ? true : floor(var.sagemaker_endpoint.instances_per_unit) == var.sagemaker_endpoint.instances_per_unit && var.sagemaker_endpoint.instances_per_unit >= 1 && var.sagemaker_endpoint.instances_per_unit * var.max_inference_units <= 9999
    error_message = "sagemaker_endpoint.instances_per_unit is ${try(var.sagemaker_endpoint.instances_per_unit, 0)}, and max_inference_units ${var.max_inference_units}. Use a whole number of at least 1, and no more than 9999 instances in all."
  }

  validation {
    # An environment of a function has 4 KB, in which source_prefix has a part.
    condition     = var.sagemaker_endpoint == null ? true : length(var.sagemaker_endpoint.mapping) > 0 && length(jsonencode([var.sagemaker_endpoint.mapping, var.sagemaker_endpoint.anomaly_mapping, var.sagemaker_endpoint.content_type, var.sagemaker_endpoint.data_capture])) + length(var.source_prefix) <= 1500
    error_message = "sagemaker_endpoint.mapping has ${try(length(jsonencode([var.sagemaker_endpoint.mapping, var.sagemaker_endpoint.anomaly_mapping, var.sagemaker_endpoint.content_type, var.sagemaker_endpoint.data_capture])), 0)} characters as JSON, with anomaly_mapping, content_type and data_capture, and source_prefix ${length(var.source_prefix)}. Use a mapping that is not empty, and up to 1500 for all: let the container answer more simply."
  }

  validation {
    condition     = try(var.sagemaker_endpoint.content_type, null) == null ? true : can(regex("^[a-z]+/[A-Za-z0-9.+-]{1,100}(; ?[a-z]+=[A-Za-z0-9.-]{1,50})?$", var.sagemaker_endpoint.content_type))
    error_message = "sagemaker_endpoint.content_type is \"${try(coalesce(var.sagemaker_endpoint.content_type), "")}\". Use what the container takes an image by, as in application/x-image, or leave it out."
  }

  validation {
    condition     = var.sagemaker_endpoint == null ? true : floor(var.sagemaker_endpoint.max_payload_mb) == var.sagemaker_endpoint.max_payload_mb && var.sagemaker_endpoint.max_payload_mb >= 1 && var.sagemaker_endpoint.max_payload_mb <= 25
    error_message = "sagemaker_endpoint.max_payload_mb is ${try(var.sagemaker_endpoint.max_payload_mb, 0)}. Use a whole number from 1 to 25, the most that a real-time endpoint takes."
  }

  validation {
    condition     = alltrue([for seconds in [try(var.sagemaker_endpoint.answer_timeout_seconds, null)] : seconds == null ? true : floor(seconds) == seconds && seconds >= 1 && seconds <= min(60, local.sagemaker_most_answer_seconds)])
    error_message = "sagemaker_endpoint.answer_timeout_seconds is ${try(coalesce(var.sagemaker_endpoint.answer_timeout_seconds), 0)}. Use a whole number from 1 to ${min(60, local.sagemaker_most_answer_seconds)}: a container has 60 seconds, and a call two fifths of timings.analyze_timeout_seconds, which is ${var.timings.analyze_timeout_seconds}."
  }

  validation {
    condition = try(var.sagemaker_endpoint.data_capture, null) == null ? true : (
      can(regex("^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^?#\"]*)?$", var.sagemaker_endpoint.data_capture.s3_uri))
      && floor(var.sagemaker_endpoint.data_capture.percent) == var.sagemaker_endpoint.data_capture.percent
      && var.sagemaker_endpoint.data_capture.percent >= 1 && var.sagemaker_endpoint.data_capture.percent <= 100
    )
    error_message = "sagemaker_endpoint.data_capture is ${jsonencode(try(var.sagemaker_endpoint.data_capture, null))}. Use an s3_uri such as s3://bucket/prefix and a whole percent from 1 to 100, or leave it out: then nothing is captured."
  }

  validation {
    condition     = var.sagemaker_endpoint == null ? true : var.sagemaker_endpoint.instance_hour_dollars == null ? contains(keys(local.sagemaker_prices), var.sagemaker_endpoint.instance_type) : var.sagemaker_endpoint.instance_hour_dollars >= 0
    error_message = "sagemaker_endpoint.instance_hour_dollars is ${try(coalesce(var.sagemaker_endpoint.instance_hour_dollars), "not set")}, and instance_type \"${try(var.sagemaker_endpoint.instance_type, "")}\". Set what an hour of an instance costs, as the pricing page of SageMaker says it; the module knows it of ${join(", ", keys(local.sagemaker_prices))}."
  }
}

variable "backend" {
  description = "Model service: rekognition_custom_labels, whose model is started for each run and stopped after it; sagemaker_endpoint, a model of your own, whose endpoint is created for each run and deleted after it; rekognition, the image APIs that are always there; or lookout_for_vision, which AWS ended on 2025-10-31 and which runs against the local emulator only. The variable of the same name says more; those of the others are not set. Null makes nothing for images: a deployment for videos only"
  type        = string
  default     = "rekognition_custom_labels"

  validation {
    condition     = var.backend == null ? true : contains(keys(local.backends), var.backend)
    error_message = "backend is \"${coalesce(var.backend, "null")}\". Use one of: ${join(", ", keys(local.backends))}."
  }

  validation {
    condition     = var.backend != null || var.videos != null
    error_message = "backend is null, and videos is not set: there would be nothing to analyze. Set videos, or choose a model service for images: ${join(", ", keys(local.backends))}."
  }

  validation {
    condition     = var.backend != null || var.images_bucket_name == null
    error_message = "backend is null, and images_bucket_name is \"${coalesce(var.images_bucket_name, "null")}\", in which no image would be analyzed. Leave images_bucket_name out (for the videos in it, set videos.bucket_name), or choose a model service for images: ${join(", ", keys(local.backends))}."
  }

  validation {
    condition     = try(local.backends[var.backend].settings, "unknown") != null
    error_message = "backend is \"${coalesce(var.backend, "null")}\", but the variable ${coalesce(var.backend, "null")} is not set. Set it: it says which model, or which analyses, to use. For videos only, set backend to null."
  }

  validation {
    condition     = length(setsubtract(local.configured_backends, var.backend[*])) == 0
    error_message = "backend is \"${coalesce(var.backend, "null")}\", but the variable ${join(" and ", setsubtract(local.configured_backends, var.backend[*]))} is set too. Remove it from your tfvars, or choose its service with backend."
  }
}

variable "min_confidence_percent" {
  description = "Least confidence, in percent, of the predictions that a result holds. Null uses the thresholds that the model was trained with, or those of the service"
  type        = number
  default     = null

  validation {
    condition     = var.min_confidence_percent == null ? true : var.min_confidence_percent == 0 || var.min_confidence_percent >= 1 && var.min_confidence_percent <= 100
    error_message = "min_confidence_percent is ${coalesce(var.min_confidence_percent, -1)}. Use 0, or a number from 1 to 100 (percent, so 80 and not 0.8), or null."
  }
}

variable "convert_images" {
  description = "Whether images that the model does not take as they are (of another format, too large, or of another form, such as a JPEG in CMYK) are converted for it: to an upright JPEG within the limits of its service. The original is kept or moved as it is, boxes are in ratios of the upright original, and the result says what was converted. A picture that needs more memory than analyze_memory_mb leaves is rejected, with the memory that it needs"
  type        = bool
  default     = false
  nullable    = false
}

# ---------------------------------------------------------------------------------------------------------------------
# The deployment
# ---------------------------------------------------------------------------------------------------------------------

variable "name_prefix" {
  description = "Begins the name of every resource. Two deployments in one account and Region need two prefixes"
  type        = string
  default     = "batch-vision"
  nullable    = false

  # The longest name is that of a bucket, 63 characters: the prefix, "-source-", 12 of the account, "-" and up to 15 of
  # the Region leave 27.
  validation {
    condition     = length(var.name_prefix) >= 2 && length(var.name_prefix) <= 27
    error_message = "name_prefix is \"${var.name_prefix}\", ${length(var.name_prefix)} characters. Use 2 to 27, so that bucket names stay within 63."
  }

  validation {
    condition     = can(regex("^[a-z][a-z0-9]*(-[a-z0-9]+)*$", var.name_prefix))
    error_message = "name_prefix is \"${var.name_prefix}\". Use lower-case letters, digits and single hyphens between them, and begin with a letter: S3 allows no more in a bucket name."
  }

  validation {
    condition     = !can(regex("^(sthree|amzn-s3-demo)-", "${var.name_prefix}-"))
    error_message = "name_prefix is \"${var.name_prefix}\". S3 keeps bucket names that begin with sthree- or amzn-s3-demo- to itself: use another prefix."
  }
}

variable "tags" {
  description = "Tags of every resource that can have tags, besides default_tags of your provider; where both have a key, this value counts"
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for key in keys(var.tags) : length(key) >= 1 && length(key) <= 128])
    error_message = "tags has keys that AWS refuses: ${jsonencode([for key in keys(var.tags) : key if length(key) < 1 || length(key) > 128])}. Use keys of 1 to 128 characters."
  }

  validation {
    condition     = alltrue([for key in keys(var.tags) : !startswith(lower(key), "aws:")])
    error_message = "tags has keys that AWS keeps to itself: ${jsonencode([for key in keys(var.tags) : key if startswith(lower(key), "aws:")])}. Use keys that do not begin with aws:."
  }

  validation {
    # A value can be null, which has no length. Empty ones: issues 37297, 42247 and 25847 of the provider.
    condition     = alltrue([for value in values(var.tags) : try(length(value) >= 1 && length(value) <= 256, false)])
    error_message = "tags has no value, or one that is too long, for ${jsonencode([for key, value in var.tags : key if !try(length(value) >= 1 && length(value) <= 256, false)])}. Use values of 1 to 256 characters, or leave the tag out: versions of the provider take an empty value for no tag, and plan to change it again and again."
  }

  validation {
    # AWS allows 50. The rest is for default_tags.
    condition     = length(var.tags) <= 45
    error_message = "tags has ${length(var.tags)} tags. Use up to 45: AWS allows 50, with default_tags of your provider."
  }
}

variable "force_destroy" {
  description = "Whether `terraform destroy` deletes buckets that still hold images and results"
  type        = bool
  default     = false
  nullable    = false
}

variable "lambda_package_path" {
  description = "Path of the zip with all functions. Null uses build/lambdas.zip beside the module, where `make package` writes it"
  type        = string
  default     = null

  validation {
    condition     = fileexists(coalesce(var.lambda_package_path, "${path.module}/../build/lambdas.zip"))
    error_message = "lambda_package_path: there is no file ${coalesce(var.lambda_package_path, "${path.module}/../build/lambdas.zip")}. Run `make package`, or name the zip that you built."
  }
}

variable "converting_package_path" {
  description = "With convert_images, path of the zip of the functions that convert images. Null uses build/lambdas-converting.zip beside the module, where `make package` writes it"
  type        = string
  default     = null

  validation {
    condition     = !var.convert_images || fileexists(coalesce(var.converting_package_path, "${path.module}/../build/lambdas-converting.zip"))
    error_message = "converting_package_path: there is no file ${coalesce(var.converting_package_path, "${path.module}/../build/lambdas-converting.zip")}, which convert_images needs. Run `make package`, or name the zip that you built."
  }
}

# ---------------------------------------------------------------------------------------------------------------------
# Where the images are
# ---------------------------------------------------------------------------------------------------------------------

variable "images_bucket_name" {
  description = "Name of an existing bucket whose images are analyzed where they are: nothing in it is changed, and a result follows each image that is uploaded, replaced or deleted. Its owner turns EventBridge on for it (see examples/existing-bucket). Null makes a bucket to drop images off, which leave it when they are done. Choose before the first apply: a change removes the drop-off bucket, or leaves the results of the former one"
  type        = string
  default     = null

  validation {
    condition     = var.images_bucket_name == null ? true : can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.images_bucket_name))
    error_message = "images_bucket_name is \"${coalesce(var.images_bucket_name, "null")}\". Use the name of a bucket, not its ARN or URL: 3 to 63 lower-case letters, digits, dots and hyphens."
  }

  validation {
    condition     = var.images_bucket_name != local.final_bucket_name
    error_message = "images_bucket_name is \"${coalesce(var.images_bucket_name, "null")}\", the bucket that this deployment makes for its results. Use the bucket that the images are in; results never go there."
  }

  validation {
    condition     = var.images_bucket_name != local.source_bucket_name
    error_message = "images_bucket_name is \"${coalesce(var.images_bucket_name, "null")}\", which is the drop-off bucket of this deployment. Leave images_bucket_name out to use it, or choose another name_prefix."
  }
}

variable "image_suffixes" {
  description = "Suffixes of the keys in images_bucket_name that are images, in upper or lower case. Null takes .jpg, .jpeg and .png, and with convert_images also .avif, .bmp, .gif, .heic, .heif, .hif, .jp2, .tif, .tiff and .webp. An empty list takes every object for an image. A drop-off bucket takes every object for one"
  type        = list(string)
  default     = null

  validation {
    condition     = var.image_suffixes == null ? true : length(jsonencode(var.image_suffixes)) <= 200 && alltrue([for suffix in var.image_suffixes : length(suffix) >= 1])
    error_message = "image_suffixes is ${jsonencode(var.image_suffixes)}. Use suffixes of at least 1 character, as in \".jpg\", of up to 200 characters as JSON together, or [] for every object."
  }
}

variable "images_bucket" {
  description = "More of the bucket in images_bucket_name: account_id where it is another account's, and kms_key_arn where a customer key encrypts its objects. Bucket and key must admit the roles of this deployment: see examples/existing-bucket"
  type = object({
    account_id  = optional(string)
    kms_key_arn = optional(string)
  })
  default = null

  validation {
    condition     = var.images_bucket == null || var.images_bucket_name != null
    error_message = "images_bucket is set, and images_bucket_name is not. Set images_bucket_name to the bucket's name, or leave images_bucket out."
  }

  validation {
    condition     = alltrue([for account_id in compact([try(var.images_bucket.account_id, null)]) : can(regex("^[0-9]{12}$", account_id))])
    error_message = "images_bucket.account_id is \"${try(coalesce(var.images_bucket.account_id), "null")}\". Use the 12 digits of the account that owns the bucket."
  }

  validation {
    condition     = alltrue([for arn in compact([try(var.images_bucket.kms_key_arn, null)]) : can(regex(local.kms_key_arn_pattern, arn)) && try(split(":", arn)[3], "") == local.region])
    error_message = "images_bucket.kms_key_arn is \"${try(coalesce(var.images_bucket.kms_key_arn), "null")}\". Use the ARN of the key itself in ${local.region} (arn:aws:kms:${local.region}:<account>:key/<id>), not of an alias."
  }
}

# ---------------------------------------------------------------------------------------------------------------------
# Videos
# ---------------------------------------------------------------------------------------------------------------------

variable "videos" {
  description = <<-EOT
    Videos, which Rekognition analyzes beside the images or alone: analyses is a list out of labels, moderation, faces, celebrities and text. Each analysis is asked about each video that is uploaded, and paid for by the minute. Null for no videos.

    What can be set of an analysis: labels.min_confidence_percent, and labels.include, labels.exclude, labels.include_categories and labels.exclude_categories (lists of names); moderation.min_confidence_percent; text.min_confidence_percent; faces.attributes ("DEFAULT" or "ALL"). Where labels, moderation or text have no least confidence, min_confidence_percent of the module counts. Other settings are for videos that are uploaded after the change.

    bucket_name is that of an existing bucket, in which videos stay, and results follow them; it can be that of the images. Its owner turns EventBridge on for it (see examples/existing-bucket). Without it the module makes a bucket to drop videos off, which leave it when they are done. bucket_account_id is the account of an existing bucket where that is another one, and bucket_kms_key_arn the customer key that encrypts its objects; for the bucket of the images, images_bucket says both. Only objects whose keys begin with prefix, and end with .mp4, .mov, .m4v or .avi, are videos.

    max_concurrent_jobs is how many of the jobs that Rekognition runs at a time for the account (20, unless AWS raised that quota) this deployment may use; what is over waits, for days if it must. max_minutes_per_day bounds what a day costs: minutes of video times analyses that are started on it, in UTC; what is over waits for the next day, but a video that alone has more minutes is rejected.
  EOT
  type = object({
    analyses = list(string)
    labels = optional(object({
      min_confidence_percent = optional(number)
      include                = optional(list(string))
      exclude                = optional(list(string))
      include_categories     = optional(list(string))
      exclude_categories     = optional(list(string))
    }))
    moderation          = optional(object({ min_confidence_percent = optional(number) }))
    text                = optional(object({ min_confidence_percent = optional(number) }))
    faces               = optional(object({ attributes = optional(string) }))
    bucket_name         = optional(string)
    bucket_account_id   = optional(string)
    bucket_kms_key_arn  = optional(string)
    prefix              = optional(string, "")
    max_concurrent_jobs = optional(number, 20)
    max_minutes_per_day = optional(number, 600)
  })
  default = null

  validation {
    condition     = length(setsubtract(try(var.videos.analyses, []), local.video_analysis_names)) == 0
    error_message = "videos.analyses has ${jsonencode(setsubtract(try(var.videos.analyses, []), local.video_analysis_names))}. Use ${join(", ", local.video_analysis_names)}."
  }

  validation {
    condition     = var.videos == null ? true : length(var.videos.analyses) > 0
    error_message = "videos.analyses is empty. Use one or more of ${join(", ", local.video_analysis_names)}, or leave videos out."
  }

  validation {
    condition     = var.videos == null ? true : length(var.videos.analyses) == length(distinct(var.videos.analyses))
    error_message = "videos.analyses is ${jsonencode(try(var.videos.analyses, []))}, and has an analysis twice. Name each once."
  }

  validation {
    condition = var.videos == null ? true : alltrue([
      for analysis in local.video_analyses_with_settings : var.videos[analysis] == null || contains(var.videos.analyses, analysis)
    ])
    error_message = "videos.${try([for analysis in local.video_analyses_with_settings : analysis if var.videos[analysis] != null && !contains(var.videos.analyses, analysis)][0], "labels")} is set, and is not one of analyses, which is ${jsonencode(try(var.videos.analyses, []))}. Add it to analyses, or leave its settings out."
  }

  validation {
    condition = alltrue([
      for percent in [for analysis in local.video_analyses_with_confidence : try(var.videos[analysis].min_confidence_percent, null)] :
      percent == null ? true : percent == 0 || percent >= 1 && percent <= 100
    ])
    error_message = "videos has a min_confidence_percent that is out of range: ${jsonencode({ for analysis in local.video_analyses_with_confidence : analysis => try(var.videos[analysis].min_confidence_percent, null) })}. Use 0, or numbers from 1 to 100 (percent, so 80 and not 0.8)."
  }

  validation {
    condition = alltrue([
      for names in [for filter in local.rekognition_filters : coalesce(try(var.videos.labels[filter], null), [])] :
      length(names) <= 100 && alltrue([for name in names : can(regex(local.rekognition_name_pattern, name))])
    ])
    error_message = "videos.labels has a filter that Rekognition refuses: ${jsonencode({ for filter in local.rekognition_filters : filter => try(length(var.videos.labels[filter]) > 100, false) ? ["${length(var.videos.labels[filter])} names"] : [for name in coalesce(try(var.videos.labels[filter], null), []) : name if !can(regex(local.rekognition_name_pattern, name))] })}. Use up to 100 names in each, of 1 to 50 letters, digits, spaces and ' - _ ( ) . as in the service's list of labels."
  }

  validation {
    # An environment of a function has 4 KB.
    condition     = try(var.videos.labels, null) == null ? true : length(jsonencode(var.videos.labels)) <= 1000
    error_message = "videos.labels has ${length(jsonencode(try(var.videos.labels, null)))} characters as JSON. Use up to 1000: name fewer labels in the filters, or categories in their place."
  }

  validation {
    condition     = contains(["DEFAULT", "ALL"], try(coalesce(var.videos.faces.attributes), "DEFAULT"))
    error_message = "videos.faces.attributes is \"${try(coalesce(var.videos.faces.attributes), "null")}\". Use DEFAULT or ALL."
  }

  validation {
    condition     = alltrue([for name in try(var.videos.bucket_name, null)[*] : can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", name))])
    error_message = "videos.bucket_name is \"${try(coalesce(var.videos.bucket_name), "null")}\". Use the name of a bucket, not its ARN or URL: 3 to 63 lower-case letters, digits, dots and hyphens."
  }

  validation {
    condition     = try(var.videos.bucket_name, null) != local.final_bucket_name
    error_message = "videos.bucket_name is \"${try(coalesce(var.videos.bucket_name), "null")}\", the bucket that this deployment makes for its results. Use the bucket that the videos are in; results never go there."
  }

  validation {
    condition     = try(var.videos.bucket_name, null) != local.source_bucket_name
    error_message = "videos.bucket_name is \"${try(coalesce(var.videos.bucket_name), "null")}\", the drop-off bucket of this deployment for images. Leave videos.bucket_name out: videos have a bucket of their own, since a run of images ends when that of the images is empty."
  }

  validation {
    condition     = try(var.videos.bucket_name, null) != local.videos_bucket_name
    error_message = "videos.bucket_name is \"${try(coalesce(var.videos.bucket_name), "null")}\", which is the drop-off bucket of this deployment for videos. Leave videos.bucket_name out to use it, or choose another name_prefix."
  }

  validation {
    condition     = var.videos == null ? true : var.videos.bucket_name != null || var.videos.bucket_account_id == null && var.videos.bucket_kms_key_arn == null
    error_message = "videos.bucket_account_id or videos.bucket_kms_key_arn is set, and videos.bucket_name is not. Set bucket_name to the bucket's name, or leave them out: the module's own bucket has kms_key_arn."
  }

  validation {
    condition     = alltrue([for account_id in compact([try(var.videos.bucket_account_id, null)]) : can(regex("^[0-9]{12}$", account_id))])
    error_message = "videos.bucket_account_id is \"${try(coalesce(var.videos.bucket_account_id), "null")}\". Use the 12 digits of the account that owns the bucket."
  }

  validation {
    condition     = alltrue([for arn in compact([try(var.videos.bucket_kms_key_arn, null)]) : can(regex(local.kms_key_arn_pattern, arn)) && try(split(":", arn)[3], "") == local.region])
    error_message = "videos.bucket_kms_key_arn is \"${try(coalesce(var.videos.bucket_kms_key_arn), "null")}\". Use the ARN of the key itself in ${local.region} (arn:aws:kms:${local.region}:<account>:key/<id>), not of an alias."
  }

  validation {
    condition     = alltrue([for prefix in var.videos[*].prefix : can(regex(local.source_prefix_pattern, prefix)) && length(prefix) <= 512])
    error_message = "videos.prefix is \"${try(coalesce(var.videos.prefix), "")}\". Use up to 512 letters, digits and ! - _ . / without a slash in front."
  }

  validation {
    condition     = alltrue([for jobs in var.videos[*].max_concurrent_jobs : jobs >= 1 && jobs <= 1000 && floor(jobs) == jobs])
    error_message = "videos.max_concurrent_jobs is ${try(coalesce(var.videos.max_concurrent_jobs), 0)}. Use a whole number from 1 to 1000; the quota of an account is 20, unless AWS raised it."
  }

  validation {
    # A video whose length only the service can tell counts as its longest, six hours.
    condition     = alltrue([for minutes in var.videos[*].max_minutes_per_day : minutes >= 1 && floor(minutes) == minutes])
    error_message = "videos.max_minutes_per_day is ${try(coalesce(var.videos.max_minutes_per_day), 0)}. Use a whole number of at least 1; a video that is longer than that is rejected, and an AVI file, whose length only the service can tell, counts as 360."
  }
}

# ---------------------------------------------------------------------------------------------------------------------
# When runs start, and which images they are for
# ---------------------------------------------------------------------------------------------------------------------

variable "schedule_expression" {
  description = "When a run starts, in UTC: rate(1 hour), or cron(minute hour day-of-month month day-of-week year). A managed model has no runs: in a drop-off bucket, images that no event told of are then looked for"
  type        = string
  default     = "rate(1 hour)"
  nullable    = false

  validation {
    condition     = can(regex(local.schedule_pattern, var.schedule_expression))
    error_message = "schedule_expression is \"${var.schedule_expression}\". Use rate(1 hour), rate(30 minutes) and the like, or cron(...) with six fields, minute hour day-of-month month day-of-week year, and ? in exactly one of the two day fields, as in cron(0 18 ? * MON-FRI *)."
  }
}

variable "schedule_enabled" {
  description = "Whether the schedule is enabled. If it is not, start runs by hand. With a managed model, false also turns off the calls that send images of a drop-off bucket without a message, and that index the catalog"
  type        = bool
  default     = true
  nullable    = false
}

variable "sweep_schedule_expression" {
  description = "When the whole of images_bucket_name is compared with the results, in UTC: rate(7 days), or cron(minute hour day-of-month month day-of-week year). What has no result that is up to date is analyzed, and results without an image are deleted. Null for never: events tell of changes, and `batch-vision backfill` does the same at once"
  type        = string
  default     = null

  validation {
    condition     = var.sweep_schedule_expression == null ? true : can(regex(local.schedule_pattern, var.sweep_schedule_expression))
    error_message = "sweep_schedule_expression is \"${coalesce(var.sweep_schedule_expression, "null")}\". Use rate(7 days), rate(12 hours) and the like, or cron(...) with six fields, minute hour day-of-month month day-of-week year, and ? in exactly one of the two day fields, as in cron(0 3 ? * SUN *)."
  }

  validation {
    condition     = var.sweep_schedule_expression == null || var.images_bucket_name != null
    error_message = "sweep_schedule_expression is set, and images_bucket_name is not. Leave sweep_schedule_expression out: images in a drop-off bucket wait there until they are done, so there is nothing to compare."
  }
}

variable "start_backlog_images" {
  description = "Number of images that must wait before a scheduled run starts the model, unless the oldest has waited for start_max_age_seconds. A run that is started by hand starts it for any number"
  type        = number
  default     = 1
  nullable    = false

  validation {
    # One page of a listing: it is known exactly, in one request, whether so many wait.
    condition     = var.start_backlog_images >= 1 && var.start_backlog_images <= 1000 && floor(var.start_backlog_images) == var.start_backlog_images
    error_message = "start_backlog_images is ${var.start_backlog_images}. Use a whole number from 1 to 1000, which is as far as a run counts before it starts."
  }
}

variable "start_max_age_seconds" {
  description = "Seconds that an image may wait for others where start_backlog_images is more than 1; the next scheduled run after that starts the model. Null where start_backlog_images is 1"
  type        = number
  default     = null

  validation {
    # The alarm for a message that waits too long is not to sound for one that was let wait.
    condition     = var.start_max_age_seconds == null ? true : var.start_max_age_seconds >= 60 && var.start_max_age_seconds <= floor(local.message_retention_seconds * local.oldest_message_percent / 100) && floor(var.start_max_age_seconds) == var.start_max_age_seconds
    error_message = "start_max_age_seconds is ${coalesce(var.start_max_age_seconds, 0)}. Use a whole number from 60 to ${floor(local.message_retention_seconds * local.oldest_message_percent / 100)}, which is alarm_thresholds.oldest_message_percent of the 14 days that a message waits."
  }

  validation {
    condition     = var.start_max_age_seconds != null || var.start_backlog_images <= 1
    error_message = "start_max_age_seconds is not set, and start_backlog_images is ${var.start_backlog_images}: fewer images would wait for ever. Set start_max_age_seconds to how long an image may wait."
  }

  validation {
    condition     = var.start_max_age_seconds == null || var.start_backlog_images != 1
    error_message = "start_max_age_seconds is ${coalesce(var.start_max_age_seconds, 0)}, and start_backlog_images is 1, so that no image waits for others. Set start_backlog_images to more than 1, or leave start_max_age_seconds out."
  }
}

variable "source_prefix" {
  description = "Only objects whose keys begin with it are analyzed, as in \"incoming/\". Empty means all"
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex(local.source_prefix_pattern, var.source_prefix)) && length(var.source_prefix) <= 512
    error_message = "source_prefix is \"${var.source_prefix}\". Use up to 512 letters, digits and ! - _ . / without a slash in front."
  }
}

# ---------------------------------------------------------------------------------------------------------------------
# Speed and cost
# ---------------------------------------------------------------------------------------------------------------------

variable "min_inference_units" {
  description = "Least number of inference units to start the model with. Each is paid for from start to stop"
  type        = number
  default     = 1
  nullable    = false

  validation {
    condition     = var.min_inference_units >= 1 && floor(var.min_inference_units) == var.min_inference_units
    error_message = "min_inference_units is ${var.min_inference_units}. Use a whole number of at least 1."
  }
}

variable "max_inference_units" {
  description = "Greatest number of inference units to start the model with. The default is the service's default quota for a model; where the quota of the account is less, a run starts with fewer"
  type        = number
  default     = 5
  nullable    = false

  validation {
    condition     = var.max_inference_units >= var.min_inference_units && floor(var.max_inference_units) == var.max_inference_units
    error_message = "max_inference_units is ${var.max_inference_units}. Use a whole number of at least min_inference_units, which is ${var.min_inference_units}."
  }
}

variable "target_drain_seconds" {
  description = "Target time, in seconds, to analyze the backlog once the model runs; decides how many inference units are started. A shorter time costs the same for the analyzing, and more for starts and stops"
  type        = number
  default     = 3600
  nullable    = false

  validation {
    condition     = var.target_drain_seconds >= 60 && floor(var.target_drain_seconds) == var.target_drain_seconds
    error_message = "target_drain_seconds is ${var.target_drain_seconds}. Use a whole number of at least 60: a unit that is started for less costs more to start than it saves."
  }
}

variable "images_per_second_per_unit" {
  description = "Images that one inference unit of the model analyzes in a second. It depends on the model: measure yours. Decides the number of units, and the concurrency and the pace of the analyzing function"
  type        = number
  default     = 5
  nullable    = false

  validation {
    condition     = var.images_per_second_per_unit > 0 && var.images_per_second_per_unit <= 1000
    error_message = "images_per_second_per_unit is ${var.images_per_second_per_unit}. Use a number above 0, and up to 1000."
  }
}

variable "account_images_per_second" {
  description = "Quota of the account for DetectCustomLabels in this Region, in images per second, whatever the number of inference units. If several deployments run at the same time, give each its share"
  type        = number
  default     = 50
  nullable    = false

  validation {
    condition     = var.account_images_per_second > 0
    error_message = "account_images_per_second is ${var.account_images_per_second}. Use a number above 0."
  }
}

variable "max_concurrency" {
  description = "Greatest number of invocations of the analyzing function at the same time. Each run sets as many as keep its inference units busy: with the defaults, 2 for each unit. A managed model has as many as its quotas keep busy. Leave 5 of the account's concurrent executions to the other functions: of a new account with 10, use up to 5"
  type        = number
  default     = 20
  nullable    = false

  validation {
    condition     = var.max_concurrency >= 2 && var.max_concurrency <= 1000 && floor(var.max_concurrency) == var.max_concurrency
    error_message = "max_concurrency is ${var.max_concurrency}. Use a whole number from 2 to 1000, which are Lambda's limits."
  }
}

variable "batch_size" {
  description = "Greatest number of messages in one invocation of the analyzing function. Their images are analyzed at the same time. A managed model takes fewer where its quotas allow less in the time of an invocation"
  type        = number
  default     = 10
  nullable    = false

  validation {
    # Lambda allows 10000, but what one invocation cannot ask the model about in its time goes back to the queue.
    condition     = var.batch_size >= 1 && var.batch_size <= 100 && floor(var.batch_size) == var.batch_size
    error_message = "batch_size is ${var.batch_size}. Use a whole number from 1 to 100: more images than one invocation has time for would only go back to the queue."
  }
}

variable "analyze_memory_mb" {
  description = "Memory of the functions that ask the model, in MB. Lambda gives processor time in proportion: 1769 MB is one vCPU. With convert_images, 1769 converts more than three times as fast as the default, and costs the same for each image"
  type        = number
  default     = 512
  nullable    = false

  validation {
    condition     = var.analyze_memory_mb >= 128 && var.analyze_memory_mb <= 10240 && floor(var.analyze_memory_mb) == var.analyze_memory_mb
    error_message = "analyze_memory_mb is ${var.analyze_memory_mb}. Use a whole number from 128 to 10240."
  }
}

# ---------------------------------------------------------------------------------------------------------------------
# Who is told, and what there is to watch
# ---------------------------------------------------------------------------------------------------------------------

variable "alert_email_addresses" {
  description = "E-mail addresses that get alarms and the messages of the watchdog. AWS asks each address to confirm"
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for address in var.alert_email_addresses : can(regex("^[^@[:space:]]+@[^@[:space:]]+\\.[^@[:space:]]+$", address))])
    error_message = "alert_email_addresses has ${jsonencode([for address in var.alert_email_addresses : address if !can(regex("^[^@[:space:]]+@[^@[:space:]]+\\.[^@[:space:]]+$", address))])}. Use e-mail addresses, as in team@example.com."
  }
}

variable "success_notifications_enabled" {
  description = "Whether to send a notification for successful runs too. For runs that failed there is always one"
  type        = bool
  default     = false
  nullable    = false
}

variable "monitoring" {
  description = "What there is to watch a deployment with, each unless it is false: alarms (docs/operations.md has one section each; $0.10 a month each beyond the ten that an account has free), dashboard ($3 a month beyond three) and log_queries, saved queries of CloudWatch Logs Insights, which cost nothing until they are run"
  type = object({
    alarms      = optional(bool, true)
    dashboard   = optional(bool, true)
    log_queries = optional(bool, true)
  })
  default  = {}
  nullable = false
}

variable "alarm_thresholds" {
  description = "When alarms go off: oldest_message_percent of the 14 days that a message waits (default: 75, and 7 for a managed model, which is a day); refused_calls_percent of the calls of a managed model in an hour; model_on_seconds for which the model is on, in whole hours (default: the sum of a run's bounds); no_run_seconds without a run (default: three periods of rate(...); no alarm for cron(...)); function_errors and function_throttles of the analyzing function in five minutes; rejected_percent of the images of a run, or for a managed model of an hour"
  type = object({
    oldest_message_percent = optional(number)
    refused_calls_percent  = optional(number, 10)
    model_on_seconds       = optional(number)
    no_run_seconds         = optional(number)
    function_errors        = optional(number, 2)
    function_throttles     = optional(number, 10)
    rejected_percent       = optional(number, 20)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.alarm_thresholds.oldest_message_percent == null ? true : var.alarm_thresholds.oldest_message_percent >= 1 && var.alarm_thresholds.oldest_message_percent <= 99
    error_message = "alarm_thresholds.oldest_message_percent is ${coalesce(var.alarm_thresholds.oldest_message_percent, 0)}. Use 1 to 99: at 100 SQS has deleted the message."
  }

  validation {
    condition     = alltrue([for seconds in [var.alarm_thresholds.model_on_seconds] : seconds == null ? true : seconds >= 3600 && seconds <= 604800])
    error_message = "alarm_thresholds.model_on_seconds is ${coalesce(var.alarm_thresholds.model_on_seconds, 0)}. Use 3600 to 604800 (7 days), for which CloudWatch looks back."
  }

  validation {
    condition     = alltrue([for seconds in [var.alarm_thresholds.no_run_seconds] : seconds == null ? true : seconds >= 60 && seconds <= 604800])
    error_message = "alarm_thresholds.no_run_seconds is ${coalesce(var.alarm_thresholds.no_run_seconds, 0)}. Use 60 to 604800 (7 days), for which CloudWatch looks back."
  }

  validation {
    condition     = alltrue([for count in [var.alarm_thresholds.function_errors, var.alarm_thresholds.function_throttles] : count >= 0 && floor(count) == count])
    error_message = "alarm_thresholds.function_errors is ${var.alarm_thresholds.function_errors} and alarm_thresholds.function_throttles is ${var.alarm_thresholds.function_throttles}. Use whole numbers of at least 0."
  }

  validation {
    condition     = var.alarm_thresholds.refused_calls_percent > 0 && var.alarm_thresholds.refused_calls_percent < 100
    error_message = "alarm_thresholds.refused_calls_percent is ${var.alarm_thresholds.refused_calls_percent}. Use more than 0 and less than 100."
  }

  validation {
    condition     = var.alarm_thresholds.rejected_percent >= 0 && var.alarm_thresholds.rejected_percent < 100
    error_message = "alarm_thresholds.rejected_percent is ${var.alarm_thresholds.rejected_percent}. Use at least 0 and less than 100."
  }
}

variable "log_level" {
  description = "Least severe level that the functions log: DEBUG, INFO, WARNING, ERROR or CRITICAL"
  type        = string
  default     = "INFO"
  nullable    = false

  validation {
    condition     = contains(["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], var.log_level)
    error_message = "log_level is \"${var.log_level}\". Use DEBUG, INFO, WARNING, ERROR or CRITICAL."
  }
}

variable "log_retention_days" {
  description = "Days for which logs are kept; 0 keeps them for ever"
  type        = number
  default     = 365
  nullable    = false

  validation {
    condition = contains(
      [0, 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653],
      var.log_retention_days,
    )
    error_message = "log_retention_days is ${var.log_retention_days}. CloudWatch Logs takes 0, 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288 or 3653."
  }
}

# ---------------------------------------------------------------------------------------------------------------------
# Rules of your account
# ---------------------------------------------------------------------------------------------------------------------

variable "kms_key_arn" {
  description = "ARN of a customer key that encrypts buckets, queues, alerts, logs and the environments of the functions. Its policy must allow CloudWatch Logs and whoever sends to the queue to use it, S3 (see examples/complete) or, with images_bucket_name, EventBridge (events.amazonaws.com; see examples/existing-bucket), and with videos SNS (sns.amazonaws.com; see examples/videos). Null uses keys of the services, at no cost"
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null ? true : can(regex(local.kms_key_arn_pattern, var.kms_key_arn))
    error_message = "kms_key_arn is \"${coalesce(var.kms_key_arn, "null")}\". Use the ARN of the key itself (arn:aws:kms:<region>:<account>:key/<id>), not of an alias."
  }

  validation {
    condition     = try(split(":", var.kms_key_arn)[3], local.region) == local.region
    error_message = "kms_key_arn is \"${coalesce(var.kms_key_arn, "null")}\", and the provider works in ${local.region}. Use a key of that Region: the services that are to encrypt with it look for it there."
  }
}

variable "role_path" {
  description = "Path of all roles, as in \"/apps/vision/\". Choose it before the first apply: another path makes the roles anew"
  type        = string
  default     = "/"
  nullable    = false

  validation {
    # IAM's own rule, without the characters that are a pattern in a policy.
    condition     = can(regex("^/([A-Za-z0-9+=,.@_-]+/)*$", var.role_path)) && length(var.role_path) <= 512
    error_message = "role_path is \"${var.role_path}\". Use \"/\", or names between slashes that begin and end with one, as in \"/apps/vision/\", up to 512 characters."
  }
}

variable "permissions_boundary_arn" {
  description = "ARN of the policy that is the permissions boundary of every role. It must allow what the roles do, or runs fail. Null sets no boundary"
  type        = string
  default     = null

  validation {
    condition     = var.permissions_boundary_arn == null ? true : can(regex("^arn:[a-z0-9-]+:iam::([0-9]{12}|aws):policy/[A-Za-z0-9+=,.@_/-]+$", var.permissions_boundary_arn))
    error_message = "permissions_boundary_arn is \"${coalesce(var.permissions_boundary_arn, "null")}\". Use the ARN of an IAM policy (arn:aws:iam::<account>:policy/<name>)."
  }
}

# ---------------------------------------------------------------------------------------------------------------------
# What hardly anybody changes
# ---------------------------------------------------------------------------------------------------------------------

variable "result_history_days" {
  description = "Days for which the former results of an image in images_bucket_name, and those of a video, are kept after a newer one took their place, or the image or video was deleted. In a drop-off bucket for images every result stays"
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = var.result_history_days >= 1 && var.result_history_days <= 36500 && floor(var.result_history_days) == var.result_history_days
    error_message = "result_history_days is ${var.result_history_days}. Use a whole number from 1 to 36500."
  }
}

variable "max_receive_count" {
  description = "Number of deliveries of a message after which its image is given up; it is listed by `batch-vision status` and brought back by `batch-vision retry`"
  type        = number
  default     = 5
  nullable    = false

  validation {
    # Below 5, AWS warns, the throttling of Lambda alone can send good messages to the dead-letter queue.
    condition     = var.max_receive_count >= 5 && var.max_receive_count <= 1000 && floor(var.max_receive_count) == var.max_receive_count
    error_message = "max_receive_count is ${var.max_receive_count}. Use a whole number from 5 to 1000."
  }
}

variable "guard_schedule_expression" {
  description = "When the watchdog looks by itself whether anything was left on, in UTC: rate(...) or cron(...). An execution that fails, times out or is aborted calls it at once"
  type        = string
  default     = "rate(15 minutes)"
  nullable    = false

  validation {
    condition     = can(regex(local.schedule_pattern, var.guard_schedule_expression))
    error_message = "guard_schedule_expression is \"${var.guard_schedule_expression}\". Use rate(1 hour), rate(30 minutes) and the like, or cron(...) with six fields, minute hour day-of-month month day-of-week year, and ? in exactly one of the two day fields, as in cron(0/15 * * * ? *)."
  }
}

variable "timings" {
  description = <<-EOT
    Waits and bounds, all in seconds. The defaults fit AWS; short ones are for tests and emulators.

    Bounds of a run: start_timeout_seconds until a model that does not run is given up and stopped (AWS says that a start takes 10 to 30 minutes); drain_timeout_seconds for which a run analyzes images (the rest waits for the next run); stall_timeout_seconds without any progress; stop_timeout_seconds until a model that has not stopped is an error (a starting model stops only when it runs, so allow for a start); mapping_timeout_seconds until the event source mapping is enabled or disabled.

    Bounds of a function: analyze_timeout_seconds for a batch, with its retries; control_function_timeout_seconds for a step of the workflow; guard_timeout_seconds for one call of the watchdog, which is tried three times, so that three times this should be longer than a start; backfill_timeout_seconds for one call that analyzes a chunk of a backfill. A call that plans a backfill has three times that, 900 at most.

    Between two looks: model_poll_seconds at a model that starts or stops, mapping_poll_seconds at the mapping, drain_poll_seconds at the backlog.
  EOT
  type = object({
    start_timeout_seconds            = optional(number, 2700)
    drain_timeout_seconds            = optional(number, 21600)
    stall_timeout_seconds            = optional(number, 900)
    stop_timeout_seconds             = optional(number, 3600)
    mapping_timeout_seconds          = optional(number, 300)
    analyze_timeout_seconds          = optional(number, 60)
    control_function_timeout_seconds = optional(number, 300)
    guard_timeout_seconds            = optional(number, 900)
    backfill_timeout_seconds         = optional(number, 300)
    model_poll_seconds               = optional(number, 30)
    mapping_poll_seconds             = optional(number, 5)
    drain_poll_seconds               = optional(number, 30)
  })
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for name, seconds in var.timings : seconds >= local.timing_bounds[name][0] && seconds <= local.timing_bounds[name][1] && floor(seconds) == seconds])
    error_message = join(" ", [for name, seconds in var.timings : "timings.${name} is ${seconds}. Use a whole number from ${local.timing_bounds[name][0]} to ${local.timing_bounds[name][1]}." if seconds < local.timing_bounds[name][0] || seconds > local.timing_bounds[name][1] || floor(seconds) != seconds])
  }

  validation {
    condition     = alltrue([for name in ["model", "mapping", "drain"] : min([for timeout in { model = ["start", "stop"], mapping = ["mapping"], drain = ["drain"] }[name] : var.timings["${timeout}_timeout_seconds"]]...) >= var.timings["${name}_poll_seconds"]])
    error_message = "timings has a timeout that is shorter than its poll: ${jsonencode(var.timings)}. Use at least model_poll_seconds for start_timeout_seconds and stop_timeout_seconds, mapping_poll_seconds for mapping_timeout_seconds, and drain_poll_seconds for drain_timeout_seconds."
  }

  validation {
    # A message that failed once comes back after the visibility timeout: until then, silence is no stall.
    condition     = var.timings.stall_timeout_seconds >= 6 * var.timings.analyze_timeout_seconds + 1
    error_message = "timings.stall_timeout_seconds is ${var.timings.stall_timeout_seconds}. Use more than six times analyze_timeout_seconds, which is ${6 * var.timings.analyze_timeout_seconds}: a message that failed once is hidden for that long."
  }

  validation {
    # Two looks, and what it keeps for its last one.
    condition     = var.timings.guard_timeout_seconds >= 2 * var.timings.model_poll_seconds + 60
    error_message = "timings.guard_timeout_seconds is ${var.timings.guard_timeout_seconds}. Use at least ${2 * var.timings.model_poll_seconds + 60} (twice model_poll_seconds and a minute), so that there is time for two looks."
  }

  validation {
    # Step Functions ends an execution at 25,000 events, without any of its Catches: the model would stay on. A round of a
    # loop (a task, a choice and a wait) writes up to 9 events, counted as 10 for retries. 60 rounds of the drain may come
    # after a shorter wait, as those of a start that takes long do; and there may be two starts.
    # (max(1, …): a poll of 0 seconds is to be refused by its own message, not by a division.)
    condition = 10 * sum([
      60,
      ceil(var.timings.drain_timeout_seconds / max(1, var.timings.drain_poll_seconds)),
      2 * ceil(var.timings.start_timeout_seconds / max(1, ceil(var.timings.model_poll_seconds / 3))),
      ceil(var.timings.stop_timeout_seconds / max(1, var.timings.model_poll_seconds)),
      ceil((3 * var.timings.mapping_timeout_seconds + var.timings.analyze_timeout_seconds) / max(1, var.timings.mapping_poll_seconds)),
    ]) < 20000
    error_message = "With these timings a run could write more than 20000 events, and Step Functions ends it at 25000: ${jsonencode(var.timings)}. Make drain_timeout_seconds shorter or drain_poll_seconds longer; the same goes for the other timeouts and their polls."
  }
}

variable "former_settings" {
  description = "What an earlier configuration of this deployment used, kept until its images are done: source_prefixes, whose images are still analyzed; video_prefixes, of an existing bucket, whose videos may still be read by the jobs that are open; kms_key_arns, which may still decrypt; backends, whose models may still be stopped by a run that began before the change. Empty for a deployment that never changed them"
  type = object({
    source_prefixes = optional(set(string), [])
    video_prefixes  = optional(set(string), [])
    kms_key_arns    = optional(set(string), [])
    backends        = optional(set(string), [])
  })
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for prefix in var.former_settings.source_prefixes : can(regex(local.source_prefix_pattern, prefix)) && length(prefix) <= 512])
    error_message = "former_settings.source_prefixes is ${jsonencode(var.former_settings.source_prefixes)}. Use former values of source_prefix: up to 512 letters, digits and ! - _ . / without a slash in front, or \"\" for all objects."
  }

  validation {
    condition     = alltrue([for prefix in var.former_settings.video_prefixes : can(regex(local.source_prefix_pattern, prefix)) && length(prefix) <= 512])
    error_message = "former_settings.video_prefixes is ${jsonencode(var.former_settings.video_prefixes)}. Use former values of videos.prefix: up to 512 letters, digits and ! - _ . / without a slash in front, or \"\" for all objects."
  }

  validation {
    condition     = alltrue([for arn in var.former_settings.kms_key_arns : can(regex(local.kms_key_arn_pattern, arn))])
    error_message = "former_settings.kms_key_arns is ${jsonencode(var.former_settings.kms_key_arns)}. Use former values of kms_key_arn: the ARN of the key itself (arn:aws:kms:<region>:<account>:key/<id>), not of an alias."
  }

  validation {
    condition     = length(setsubtract(var.former_settings.backends, keys(local.backends))) == 0
    error_message = "former_settings.backends is ${jsonencode(var.former_settings.backends)}. Use former values of backend: ${join(", ", keys(local.backends))}."
  }

  validation {
    # An environment of a function has 4 KB.
    condition     = length(jsonencode(var.former_settings.source_prefixes)) <= 600
    error_message = "former_settings.source_prefixes has ${length(jsonencode(var.former_settings.source_prefixes))} characters as JSON. Use up to 600: take out those under which no image waits, or name a shorter prefix that they share."
  }

  validation {
    # The policies of a role have 10,240 characters.
    condition     = length(var.former_settings.video_prefixes) <= 10 && length(jsonencode(var.former_settings.video_prefixes)) <= 600
    error_message = "former_settings.video_prefixes has ${length(var.former_settings.video_prefixes)} prefixes, and ${length(jsonencode(var.former_settings.video_prefixes))} characters as JSON. Use up to 10, with 600 characters: take out those under which no video is open, or name a shorter prefix that they share."
  }
}

# ---------------------------------------------------------------------------------------------------------------------
# Forms and bounds
# ---------------------------------------------------------------------------------------------------------------------

locals {
  rekognition_name_pattern = "^[A-Za-z0-9àâèçñó'-_(). ]{1,50}$"
  rekognition_filters      = ["include", "exclude", "include_categories", "exclude_categories"]
  rekognition_face_attributes = [
    "DEFAULT", "ALL", "AGE_RANGE", "BEARD", "EMOTIONS", "EYE_DIRECTION", "EYEGLASSES", "EYES_OPEN", "FACE_OCCLUDED", "GENDER",
    "MOUTH_OPEN", "MUSTACHE", "SMILE", "SUNGLASSES",
  ]

  video_analysis_names           = ["labels", "moderation", "faces", "celebrities", "text"]
  video_analyses_with_settings   = ["labels", "moderation", "faces", "text"]
  video_analyses_with_confidence = ["labels", "moderation", "text"]

  # A message of a managed model waits for no run.
  oldest_message_percent = coalesce(var.alarm_thresholds.oldest_message_percent, local.is_hosted ? 75 : 7)

  # Forms that more than one variable has.
  kms_key_arn_pattern = "^arn:[a-z0-9-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$"
  # S3 wants other characters encoded in a filter.
  source_prefix_pattern = "^[A-Za-z0-9!_.-][A-Za-z0-9!_./-]*$|^$"
  # What is plainly wrong; EventBridge looks at the values of the fields when the rule is made.
  cron_fields      = "[0-9*,/-]+ [0-9*,/-]+ (?:\\? [0-9A-Z*,/-]+ [0-9A-Z*,/#-]+|[0-9LW*,/-]+ [0-9A-Z*,/-]+ \\?) [0-9*,/-]+"
  schedule_pattern = "^(?:rate\\((?:1 (?:minute|hour|day)|(?:[2-9]|[1-9][0-9]+) (?:minutes|hours|days))\\)|cron\\(${local.cron_fields}\\))$"

  # The least and the most of each of the timings, in seconds. Lambda allows a function 900.
  timing_bounds = {
    start_timeout_seconds   = [1, 21600]
    drain_timeout_seconds   = [1, 604800]
    stall_timeout_seconds   = [1, 604800]
    stop_timeout_seconds    = [1, 21600]
    mapping_timeout_seconds = [1, 3600]
    analyze_timeout_seconds = [1, 900]
    # Less would end a function before it has listed a bucket of any size, or tried a call again.
    control_function_timeout_seconds = [30, 900]
    guard_timeout_seconds            = [60, 900]
    # Less would end a function before it has listed the results of any prefix, or made a first call.
    backfill_timeout_seconds = [10, 900]
    # A running model that nobody looks at costs money.
    model_poll_seconds   = [1, 300]
    mapping_poll_seconds = [1, 300]
    drain_poll_seconds   = [1, 300]
  }
}
