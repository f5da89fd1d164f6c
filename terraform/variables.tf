locals {
  # Forms that more than one variable has.
  kms_key_arn_pattern = "^arn:[a-z0-9-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$"
  # S3 wants other characters encoded in a filter.
  source_prefix_pattern = "^[A-Za-z0-9!_.-][A-Za-z0-9!_./-]*$|^$"
}

# ---------------------------------------------------------------------------------------------------------------------
# Deployment
# ---------------------------------------------------------------------------------------------------------------------

variable "name_prefix" {
  description = "Begins the name of everything. Two deployments in one account and Region need two prefixes"
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

variable "function_architecture" {
  description = "Instruction set of the functions: arm64 (cheaper) or x86_64. The zip is pure Python and runs on both"
  type        = string
  default     = "arm64"
  nullable    = false

  validation {
    condition     = contains(["arm64", "x86_64"], var.function_architecture)
    error_message = "function_architecture is \"${var.function_architecture}\". Use arm64 or x86_64."
  }
}

variable "lambda_package_path" {
  description = "Path of the zip with all functions. Null means build/lambdas.zip beside the module, where `make package` writes it"
  type        = string
  default     = null

  validation {
    condition     = fileexists(coalesce(var.lambda_package_path, "${path.module}/../build/lambdas.zip"))
    error_message = "lambda_package_path: there is no file ${coalesce(var.lambda_package_path, "${path.module}/../build/lambdas.zip")}. Run `make package`, or name the zip that you built."
  }
}

variable "force_destroy" {
  description = "Whether `terraform destroy` deletes buckets that still hold images and results"
  type        = bool
  default     = false
  nullable    = false
}

variable "kms_key_arn" {
  description = "ARN of a customer key for buckets, queues, alerts, logs and the environment of the functions. Its policy must admit S3 and CloudWatch Logs: examples/complete has one that does. Null leaves encryption to keys of the services, at no cost"
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
  description = "Path of all roles, as in \"/apps/vision/\", for accounts whose rules go by paths. Choose it before the first apply: a new path makes the roles anew"
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
  description = "ARN of a policy that bounds what every role may do. It must allow what the roles are for, or runs fail. Null means no boundary"
  type        = string
  default     = null

  validation {
    condition     = var.permissions_boundary_arn == null ? true : can(regex("^arn:[a-z0-9-]+:iam::([0-9]{12}|aws):policy/[A-Za-z0-9+=,.@_/-]+$", var.permissions_boundary_arn))
    error_message = "permissions_boundary_arn is \"${coalesce(var.permissions_boundary_arn, "null")}\". Use the ARN of an IAM policy (arn:aws:iam::<account>:policy/<name>)."
  }
}

variable "tags" {
  description = "Tags of everything that can have tags, besides default_tags of your provider"
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

variable "former_settings" {
  description = "What an earlier configuration of this deployment used, kept until its images are done: source_prefixes, whose images are still analyzed; kms_key_arns, which may still decrypt; backends, whose models may still be stopped by a run that began before the change. Empty for a deployment that never changed them"
  type = object({
    source_prefixes = optional(set(string), [])
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
}

# ---------------------------------------------------------------------------------------------------------------------
# Model
# ---------------------------------------------------------------------------------------------------------------------

variable "backend" {
  description = "Model service: rekognition_custom_labels, or lookout_for_vision, which AWS ended on 2025-10-31 and which runs against the local emulator only. The variable of the same name says which model; those of the others are not set"
  type        = string
  default     = "rekognition_custom_labels"
  nullable    = false

  validation {
    condition     = contains(keys(local.backends), var.backend)
    error_message = "backend is \"${var.backend}\". Use one of: ${join(", ", keys(local.backends))}."
  }

  validation {
    condition     = try(local.backends[var.backend].settings, "unknown") != null
    error_message = "backend is \"${var.backend}\", but the variable ${var.backend} is not set. Set it to the model to use."
  }

  validation {
    condition     = length(setsubtract(local.configured_backends, [var.backend])) == 0
    error_message = "backend is \"${var.backend}\", but the variable ${join(" and ", setsubtract(local.configured_backends, [var.backend]))} is set too. Remove it from your tfvars, or choose its service with backend."
  }
}

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

variable "min_inference_units" {
  description = "Inference units to start the model with, at least. Each costs money from start to stop"
  type        = number
  default     = 1
  nullable    = false

  validation {
    condition     = var.min_inference_units >= 1 && floor(var.min_inference_units) == var.min_inference_units
    error_message = "min_inference_units is ${var.min_inference_units}. Use a whole number of at least 1."
  }
}

variable "max_inference_units" {
  description = "Inference units to start the model with, at most. The default is the service's default quota for a model. Where the account's quota is less, a run starts with fewer"
  type        = number
  default     = 5
  nullable    = false

  validation {
    condition     = var.max_inference_units >= var.min_inference_units && floor(var.max_inference_units) == var.max_inference_units
    error_message = "max_inference_units is ${var.max_inference_units}. Use a whole number of at least min_inference_units, which is ${var.min_inference_units}."
  }
}

variable "target_drain_seconds" {
  description = "In how long the images that wait are to be analyzed, once the model runs: as many inference units are started as that takes, between the minimum and the maximum. A shorter time costs the same for the analyzing, and more for starts and stops"
  type        = number
  default     = 3600
  nullable    = false

  validation {
    condition     = var.target_drain_seconds >= 60 && floor(var.target_drain_seconds) == var.target_drain_seconds
    error_message = "target_drain_seconds is ${var.target_drain_seconds}. Use a whole number of at least 60: a unit that is started for less costs more to start than it saves."
  }
}

variable "images_per_second_per_unit" {
  description = "What one inference unit of the model can do. It depends on the model: measure yours. The number of units, the concurrency and the pace of the analyzing function follow from it. The number of units goes by what the last five runs of some size showed instead, where there are any, within a quarter and four times of this"
  type        = number
  default     = 5
  nullable    = false

  validation {
    condition     = var.images_per_second_per_unit > 0 && var.images_per_second_per_unit <= 1000
    error_message = "images_per_second_per_unit is ${var.images_per_second_per_unit}. Use a number above 0, and up to 1000."
  }
}

variable "account_images_per_second" {
  description = "What the service allows the account in this Region, with however many units: the quota for calls of DetectCustomLabels. Share it out where several deployments run at the same time"
  type        = number
  default     = 50
  nullable    = false

  validation {
    condition     = var.account_images_per_second > 0
    error_message = "account_images_per_second is ${var.account_images_per_second}. Use a number above 0."
  }
}

variable "min_confidence_percent" {
  description = "Predictions with less confidence, in percent, are left out. Null uses the thresholds that the model was trained with"
  type        = number
  default     = null

  validation {
    condition     = var.min_confidence_percent == null ? true : var.min_confidence_percent >= 0 && var.min_confidence_percent <= 100
    error_message = "min_confidence_percent is ${coalesce(var.min_confidence_percent, -1)}. Use a number from 0 to 100 (percent, so 80 and not 0.8), or null."
  }
}

# ---------------------------------------------------------------------------------------------------------------------
# Schedule
# ---------------------------------------------------------------------------------------------------------------------

locals {
  # What EventBridge takes in each field of cron(...). A range, a list or a step is made of the values of its field.
  cron_values = {
    minute       = "(?:[1-5]?[0-9]|0[0-9])"
    hour         = "(?:1?[0-9]|2[0-3]|0[0-9])"
    day_of_month = "(?:[12][0-9]|3[01]|0?[1-9])"
    month        = "(?:1[0-2]|0?[1-9]|JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC)"
    day_of_week  = "(?:[1-7]|SUN|MON|TUE|WED|THU|FRI|SAT)"
    year         = "(?:19[7-9][0-9]|20[0-9][0-9]|21[0-9][0-9])"
  }
  cron_lists = {
    for field, value in local.cron_values :
    field => replace("ITEM(?:,ITEM)*", "ITEM", "(?:\\*|${value}(?:-${value})?)(?:/[1-9][0-9]*)?")
  }
  # L is the last day, 15W the weekday nearest to the 15th, 6L the last Friday, 6#3 the third. One of the two day
  # fields is a question mark and the other is not.
  cron_day_of_month = "(?:${local.cron_lists.day_of_month}|L|LW|${local.cron_values.day_of_month}W)"
  cron_day_of_week  = "(?:${local.cron_lists.day_of_week}|L|${local.cron_values.day_of_week}L|${local.cron_values.day_of_week}#[1-5])"
  cron_pattern = join("", [
    "^cron\\(", local.cron_lists.minute, " ", local.cron_lists.hour, " (?:",
    local.cron_day_of_month, " ", local.cron_lists.month, " \\?|\\? ", local.cron_lists.month, " ", local.cron_day_of_week,
    ") ", local.cron_lists.year, "\\)$",
  ])
  rate_pattern = "^rate\\((?:1 (?:minute|hour|day)|(?:[2-9]|[1-9][0-9]+) (?:minutes|hours|days))\\)$"
}

variable "schedule_expression" {
  description = "When a run starts, in UTC: rate(1 hour), or cron(minute hour day-of-month month day-of-week year)"
  type        = string
  default     = "rate(1 hour)"
  nullable    = false

  validation {
    condition     = !startswith(var.schedule_expression, "rate(") || can(regex(local.rate_pattern, var.schedule_expression))
    error_message = "schedule_expression is \"${var.schedule_expression}\". Use rate(1 minute), rate(1 hour) or rate(1 day), or a whole number above 1 with the plural, as in rate(2 hours)."
  }

  validation {
    condition     = !startswith(var.schedule_expression, "cron(") || can(regex(local.cron_pattern, var.schedule_expression))
    error_message = "schedule_expression is \"${var.schedule_expression}\". Use six fields, minute hour day-of-month month day-of-week year, with ? in exactly one of the two day fields, as in cron(0 18 ? * MON-FRI *)."
  }

  validation {
    condition     = startswith(var.schedule_expression, "rate(") || startswith(var.schedule_expression, "cron(")
    error_message = "schedule_expression is \"${var.schedule_expression}\". Use rate(...) or cron(...), as in rate(1 hour)."
  }
}

variable "schedule_period_seconds" {
  description = "Longest time between two ticks of schedule_expression, in seconds. Needed for cron(...) only, by the alarm for runs that do not start and by the cost of a model that is always on; of rate(...) it is known"
  type        = number
  default     = null

  validation {
    condition     = var.schedule_period_seconds == null ? true : var.schedule_period_seconds >= 60 && floor(var.schedule_period_seconds) == var.schedule_period_seconds
    error_message = "schedule_period_seconds is ${coalesce(var.schedule_period_seconds, 0)}. Use a whole number of at least 60, or leave it out."
  }
}

variable "start_backlog_images" {
  description = "A scheduled run starts the model only for so many images, or when the oldest has waited for start_max_age_seconds. A run that is started by hand starts it for any"
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
  description = "How long an image may wait for others, in seconds, where start_backlog_images is more than 1; the next tick of the schedule after that starts the model. Null where a single image is enough"
  type        = number
  default     = null

  validation {
    # The alarm for a message that waits too long is not to sound for one that was let wait.
    condition     = var.start_max_age_seconds == null ? true : var.start_max_age_seconds >= 60 && var.start_max_age_seconds <= floor(var.message_retention_seconds * var.oldest_message_alarm_percent / 100) && floor(var.start_max_age_seconds) == var.start_max_age_seconds
    error_message = "start_max_age_seconds is ${coalesce(var.start_max_age_seconds, 0)}. Use a whole number from 60 to ${floor(var.message_retention_seconds * var.oldest_message_alarm_percent / 100)}, which is oldest_message_alarm_percent of message_retention_seconds."
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

variable "schedule_enabled" {
  description = "Whether the schedule starts runs. Without it, executions of the workflow are started by hand"
  type        = bool
  default     = true
  nullable    = false
}

# ---------------------------------------------------------------------------------------------------------------------
# Watchdog
# ---------------------------------------------------------------------------------------------------------------------

variable "guard_schedule_expression" {
  description = "When the watchdog looks by itself whether anything was left on, in UTC: rate(...) or cron(...). Executions that fail, time out or are aborted call it at once; this is for what no event tells of"
  type        = string
  default     = "rate(15 minutes)"
  nullable    = false

  validation {
    condition     = !startswith(var.guard_schedule_expression, "rate(") || can(regex(local.rate_pattern, var.guard_schedule_expression))
    error_message = "guard_schedule_expression is \"${var.guard_schedule_expression}\". Use rate(1 minute), rate(1 hour) or rate(1 day), or a whole number above 1 with the plural, as in rate(15 minutes)."
  }

  validation {
    condition     = !startswith(var.guard_schedule_expression, "cron(") || can(regex(local.cron_pattern, var.guard_schedule_expression))
    error_message = "guard_schedule_expression is \"${var.guard_schedule_expression}\". Use six fields, minute hour day-of-month month day-of-week year, with ? in exactly one of the two day fields, as in cron(0/15 * * * ? *)."
  }

  validation {
    condition     = startswith(var.guard_schedule_expression, "rate(") || startswith(var.guard_schedule_expression, "cron(")
    error_message = "guard_schedule_expression is \"${var.guard_schedule_expression}\". Use rate(...) or cron(...), as in rate(15 minutes)."
  }
}

variable "guard_timeout_seconds" {
  description = "Seconds for which one call of the watchdog waits until the model is off, at most. A call that an execution's end caused is tried three times, and a model that is starting stops only when it is up: three times this should be longer than a start"
  type        = number
  default     = 900
  nullable    = false

  validation {
    # Two looks, and what it keeps for its last one.
    condition     = var.guard_timeout_seconds >= 2 * var.model_poll_seconds + 60 && var.guard_timeout_seconds <= 900 && floor(var.guard_timeout_seconds) == var.guard_timeout_seconds
    error_message = "guard_timeout_seconds is ${var.guard_timeout_seconds}. Use a whole number from ${2 * var.model_poll_seconds + 60} (twice model_poll_seconds and a minute), so that there is time for two looks, to 900, which is Lambda's limit."
  }
}

variable "alarms_enabled" {
  description = "Whether there are a CloudWatch dashboard, which costs $3 a month beyond the three that an account has free, and alarms: dead letters, a message that waits too long, how runs end, a watchdog that failed, a model that is on too long or without a run, missing runs, errors and throttles of the analyzing function, rejected images. Each costs $0.10 a month, beyond the ten that an account has free"
  type        = bool
  default     = true
  nullable    = false
}

variable "log_queries_enabled" {
  description = "Whether, with alarms_enabled, queries of the functions' logs are saved in CloudWatch Logs Insights, in a folder of the deployment's name. They cost nothing until they are run; an account has room for 1000 in a Region"
  type        = bool
  default     = true
  nullable    = false
}

variable "oldest_message_alarm_percent" {
  description = "Share of message_retention_seconds that the oldest message may have waited before there is an alarm, in percent"
  type        = number
  default     = 75
  nullable    = false

  validation {
    condition     = var.oldest_message_alarm_percent >= 1 && var.oldest_message_alarm_percent <= 99
    error_message = "oldest_message_alarm_percent is ${var.oldest_message_alarm_percent}. Use 1 to 99: at 100 SQS has deleted the message."
  }
}

variable "model_on_alarm_seconds" {
  description = "Seconds for which the model may be on before there is an alarm, taken as whole hours, at most 7 days. By default the sum of all bounds of a run; no longer than 7 days either"
  type        = number
  default     = null

  validation {
    condition     = coalesce(var.model_on_alarm_seconds, 3600) >= 3600 && coalesce(var.model_on_alarm_seconds, 3600) <= 604800
    error_message = "model_on_alarm_seconds is ${coalesce(var.model_on_alarm_seconds, 0)}. Use 3600 to 604800 (7 days), for which CloudWatch looks back."
  }
}

variable "missing_runs_alarm_count" {
  description = "Periods of the schedule without a run after which there is an alarm. There is none where they are more than 7 days, where the schedule is off, or for cron(...) without schedule_period_seconds"
  type        = number
  default     = 3
  nullable    = false

  validation {
    condition     = var.missing_runs_alarm_count >= 1 && var.missing_runs_alarm_count <= 1000 && floor(var.missing_runs_alarm_count) == var.missing_runs_alarm_count
    error_message = "missing_runs_alarm_count is ${var.missing_runs_alarm_count}. Use a whole number from 1 to 1000."
  }
}

variable "function_errors_alarm_count" {
  description = "Errors of the analyzing function in five minutes that are no reason for an alarm yet"
  type        = number
  default     = 2
  nullable    = false

  validation {
    condition     = var.function_errors_alarm_count >= 0 && floor(var.function_errors_alarm_count) == var.function_errors_alarm_count
    error_message = "function_errors_alarm_count is ${var.function_errors_alarm_count}. Use a whole number of at least 0."
  }
}

variable "function_throttles_alarm_count" {
  description = "Throttles of the analyzing function in five minutes that are no reason for an alarm yet"
  type        = number
  default     = 10
  nullable    = false

  validation {
    condition     = var.function_throttles_alarm_count >= 0 && floor(var.function_throttles_alarm_count) == var.function_throttles_alarm_count
    error_message = "function_throttles_alarm_count is ${var.function_throttles_alarm_count}. Use a whole number of at least 0."
  }
}

variable "rejected_alarm_percent" {
  description = "Share of the images of a run that may be rejected before there is an alarm, in percent"
  type        = number
  default     = 20
  nullable    = false

  validation {
    condition     = var.rejected_alarm_percent >= 0 && var.rejected_alarm_percent < 100
    error_message = "rejected_alarm_percent is ${var.rejected_alarm_percent}. Use at least 0 and less than 100."
  }
}

variable "inference_unit_hour_dollars" {
  description = "What an inference unit costs for an hour, in dollars, for the cost in run summaries. The default is the price of Rekognition Custom Labels in us-east-1 (aws.amazon.com/rekognition/pricing, November 2026)"
  type        = number
  default     = 4
  nullable    = false

  validation {
    condition     = var.inference_unit_hour_dollars >= 0 && var.inference_unit_hour_dollars <= 1000
    error_message = "inference_unit_hour_dollars is ${var.inference_unit_hour_dollars}. Use the price in dollars, from 0 to 1000."
  }
}

variable "success_notifications_enabled" {
  description = "Whether a run that analyzed images and succeeded is told of too. Runs that did not are always told of"
  type        = bool
  default     = false
  nullable    = false
}

variable "alert_email_addresses" {
  description = "Who is told of alarms, and when the watchdog had to stop something or could not. AWS asks each address to confirm. The topic is there without any"
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for address in var.alert_email_addresses : can(regex("^[^@[:space:]]+@[^@[:space:]]+\\.[^@[:space:]]+$", address))])
    error_message = "alert_email_addresses has ${jsonencode([for address in var.alert_email_addresses : address if !can(regex("^[^@[:space:]]+@[^@[:space:]]+\\.[^@[:space:]]+$", address))])}. Use e-mail addresses, as in team@example.com."
  }
}

# ---------------------------------------------------------------------------------------------------------------------
# Images and queue
# ---------------------------------------------------------------------------------------------------------------------

variable "source_prefix" {
  description = "Only objects of the source bucket whose keys begin with it are analyzed, as in \"incoming/\". Empty means all"
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex(local.source_prefix_pattern, var.source_prefix)) && length(var.source_prefix) <= 512
    error_message = "source_prefix is \"${var.source_prefix}\". Use up to 512 letters, digits and ! - _ . / without a slash in front."
  }
}

variable "batch_size" {
  description = "Messages that one invocation of the analyzing function gets, at most. Their images are worked on at the same time"
  type        = number
  default     = 10
  nullable    = false

  validation {
    # Lambda allows 10000, but what one invocation cannot ask the model about in its time goes back to the queue.
    condition     = var.batch_size >= 1 && var.batch_size <= 100 && floor(var.batch_size) == var.batch_size
    error_message = "batch_size is ${var.batch_size}. Use a whole number from 1 to 100: more images than one invocation has time for would only go back to the queue."
  }
}

variable "batch_window_seconds" {
  description = "Seconds for which Lambda gathers messages for a batch, at most"
  type        = number
  default     = 0
  nullable    = false

  validation {
    condition     = var.batch_window_seconds >= 0 && var.batch_window_seconds <= 300 && floor(var.batch_window_seconds) == var.batch_window_seconds
    error_message = "batch_window_seconds is ${var.batch_window_seconds}. Use a whole number from 0 to 300."
  }

  validation {
    condition     = var.batch_size <= 10 || var.batch_window_seconds >= 1
    error_message = "batch_window_seconds is ${var.batch_window_seconds}, and batch_size is ${var.batch_size}. Lambda wants a window of at least 1 for batches of more than 10: set batch_window_seconds to 1 or more, or batch_size to 10 or less."
  }
}

variable "max_concurrency" {
  description = "Invocations of the analyzing function at the same time, at most. Each run sets as many as keep its inference units busy: with the defaults, 2 for each unit"
  type        = number
  default     = 20
  nullable    = false

  validation {
    condition     = var.max_concurrency >= 2 && var.max_concurrency <= 1000 && floor(var.max_concurrency) == var.max_concurrency
    error_message = "max_concurrency is ${var.max_concurrency}. Use a whole number from 2 to 1000, which are Lambda's limits."
  }
}

variable "image_latency_seconds" {
  description = "Seconds from the call of the model until an image has its place, about. It matters for small batches: more of them are then worked on at the same time"
  type        = number
  default     = 1
  nullable    = false

  validation {
    condition     = var.image_latency_seconds > 0 && var.image_latency_seconds <= 60
    error_message = "image_latency_seconds is ${var.image_latency_seconds}. Use a number above 0, and up to 60."
  }
}

variable "visibility_timeout_seconds" {
  description = "Seconds for which a message that was taken is hidden from others. Null means six times analyze_timeout_seconds, plus batch_window_seconds"
  type        = number
  default     = null

  validation {
    condition     = var.visibility_timeout_seconds == null ? true : var.visibility_timeout_seconds >= 6 * var.analyze_timeout_seconds && var.visibility_timeout_seconds <= 43200 && floor(var.visibility_timeout_seconds) == var.visibility_timeout_seconds
    error_message = "visibility_timeout_seconds is ${coalesce(var.visibility_timeout_seconds, -1)}. Use a whole number from six times analyze_timeout_seconds, which is ${6 * var.analyze_timeout_seconds}, to 43200: a message must not come back while its image is still worked on."
  }
}

variable "max_receive_count" {
  description = "Receives after which a message goes to the dead-letter queue"
  type        = number
  default     = 5
  nullable    = false

  validation {
    # Below 5, AWS warns, the throttling of Lambda alone can send good messages to the dead-letter queue.
    condition     = var.max_receive_count >= 5 && var.max_receive_count <= 1000 && floor(var.max_receive_count) == var.max_receive_count
    error_message = "max_receive_count is ${var.max_receive_count}. Use a whole number from 5 to 1000."
  }
}

variable "message_retention_seconds" {
  description = "Seconds for which a message waits on the queue. The default, 14 days, is the longest that SQS allows"
  type        = number
  default     = 1209600
  nullable    = false

  validation {
    condition     = var.message_retention_seconds >= 60 && var.message_retention_seconds <= 1209600 && floor(var.message_retention_seconds) == var.message_retention_seconds
    error_message = "message_retention_seconds is ${var.message_retention_seconds}. Use a whole number from 60 to 1209600 (14 days)."
  }
}

variable "requeue_limit_images" {
  description = "Images without a message that one call of the requeueing function puts back on the queue, at most. Where there are more, the same run calls it again when the queue is empty: this bounds a call, not a run"
  type        = number
  default     = 10000
  nullable    = false

  validation {
    condition     = var.requeue_limit_images >= 1 && var.requeue_limit_images <= 50000 && floor(var.requeue_limit_images) == var.requeue_limit_images
    error_message = "requeue_limit_images is ${var.requeue_limit_images}. Use a whole number from 1 to 50000, which one invocation can send."
  }
}

# ---------------------------------------------------------------------------------------------------------------------
# Functions
# ---------------------------------------------------------------------------------------------------------------------

variable "analyze_memory_mb" {
  description = "Memory of the analyzing function, in MB"
  type        = number
  default     = 512
  nullable    = false

  validation {
    condition     = var.analyze_memory_mb >= 128 && var.analyze_memory_mb <= 10240 && floor(var.analyze_memory_mb) == var.analyze_memory_mb
    error_message = "analyze_memory_mb is ${var.analyze_memory_mb}. Use a whole number from 128 to 10240."
  }
}

variable "analyze_timeout_seconds" {
  description = "Seconds that the analyzing function has for a batch, with its retries of throttled images"
  type        = number
  default     = 60
  nullable    = false

  validation {
    condition     = var.analyze_timeout_seconds >= 1 && var.analyze_timeout_seconds <= 900 && floor(var.analyze_timeout_seconds) == var.analyze_timeout_seconds
    error_message = "analyze_timeout_seconds is ${var.analyze_timeout_seconds}. Use a whole number from 1 to 900, which is Lambda's limit."
  }
}

variable "control_memory_mb" {
  description = "Memory of the functions that the workflow calls, in MB"
  type        = number
  default     = 512
  nullable    = false

  validation {
    condition     = var.control_memory_mb >= 128 && var.control_memory_mb <= 10240 && floor(var.control_memory_mb) == var.control_memory_mb
    error_message = "control_memory_mb is ${var.control_memory_mb}. Use a whole number from 128 to 10240."
  }
}

variable "control_function_timeout_seconds" {
  description = "Seconds that each function that the workflow calls has for one call. The default is long enough to list a million objects"
  type        = number
  default     = 300
  nullable    = false

  validation {
    # Lambda allows less, but then a function is ended before it has listed a bucket of any size or tried a call again.
    condition     = var.control_function_timeout_seconds >= 30 && var.control_function_timeout_seconds <= 900 && floor(var.control_function_timeout_seconds) == var.control_function_timeout_seconds
    error_message = "control_function_timeout_seconds is ${var.control_function_timeout_seconds}. Use a whole number from 30, so that there is time to list a bucket, to 900, which is Lambda's limit."
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
  description = "Days for which logs are kept; 0 means for ever"
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
# Waits and bounds of the workflow
# ---------------------------------------------------------------------------------------------------------------------

variable "model_poll_seconds" {
  description = "Seconds between two looks at a model that starts or stops"
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = var.model_poll_seconds >= 1 && var.model_poll_seconds <= 300 && floor(var.model_poll_seconds) == var.model_poll_seconds
    error_message = "model_poll_seconds is ${var.model_poll_seconds}. Use a whole number from 1 to 300: a running model that nobody looks at costs money."
  }
}

variable "start_timeout_seconds" {
  description = "Seconds until a model that does not run yet is given up and stopped. AWS says that a start takes 10 to 30 minutes"
  type        = number
  default     = 2700
  nullable    = false

  validation {
    condition     = var.start_timeout_seconds >= var.model_poll_seconds && var.start_timeout_seconds <= 21600 && floor(var.start_timeout_seconds) == var.start_timeout_seconds
    error_message = "start_timeout_seconds is ${var.start_timeout_seconds}. Use a whole number from model_poll_seconds, which is ${var.model_poll_seconds}, to 21600 (6 hours)."
  }
}

variable "stop_timeout_seconds" {
  description = "Seconds until a model that has not stopped is reported as an error of the run. A model that is starting stops only when it is up, so allow for a start too"
  type        = number
  default     = 3600
  nullable    = false

  validation {
    condition     = var.stop_timeout_seconds >= var.model_poll_seconds && var.stop_timeout_seconds <= 21600 && floor(var.stop_timeout_seconds) == var.stop_timeout_seconds
    error_message = "stop_timeout_seconds is ${var.stop_timeout_seconds}. Use a whole number from model_poll_seconds, which is ${var.model_poll_seconds}, to 21600 (6 hours)."
  }
}

variable "trigger_poll_seconds" {
  description = "Seconds between two looks at the event source mapping while it is enabled or disabled"
  type        = number
  default     = 5
  nullable    = false

  validation {
    condition     = var.trigger_poll_seconds >= 1 && var.trigger_poll_seconds <= 300 && floor(var.trigger_poll_seconds) == var.trigger_poll_seconds
    error_message = "trigger_poll_seconds is ${var.trigger_poll_seconds}. Use a whole number from 1 to 300."
  }
}

variable "trigger_timeout_seconds" {
  description = "Seconds until an event source mapping that is not enabled, or not disabled, is given up"
  type        = number
  default     = 300
  nullable    = false

  validation {
    condition     = var.trigger_timeout_seconds >= var.trigger_poll_seconds && var.trigger_timeout_seconds <= 3600 && floor(var.trigger_timeout_seconds) == var.trigger_timeout_seconds
    error_message = "trigger_timeout_seconds is ${var.trigger_timeout_seconds}. Use a whole number from trigger_poll_seconds, which is ${var.trigger_poll_seconds}, to 3600."
  }
}

variable "drain_poll_seconds" {
  description = "Seconds between two looks at the queue and the source bucket while images are analyzed"
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = var.drain_poll_seconds >= 1 && var.drain_poll_seconds <= 300 && floor(var.drain_poll_seconds) == var.drain_poll_seconds
    error_message = "drain_poll_seconds is ${var.drain_poll_seconds}. Use a whole number from 1 to 300: a drained queue that nobody looks at costs money."
  }
}

variable "drain_timeout_seconds" {
  description = "Seconds for which one run analyzes images, at most. Images that are left wait for the next run"
  type        = number
  default     = 21600
  nullable    = false

  validation {
    condition     = var.drain_timeout_seconds >= var.drain_poll_seconds && var.drain_timeout_seconds <= 604800 && floor(var.drain_timeout_seconds) == var.drain_timeout_seconds
    error_message = "drain_timeout_seconds is ${var.drain_timeout_seconds}. Use a whole number from drain_poll_seconds, which is ${var.drain_poll_seconds}, to 604800 (7 days)."
  }

  validation {
    # Step Functions ends an execution at 25,000 events, without any of its Catches: the model would stay on.
    condition     = ceil(var.drain_timeout_seconds / max(1, var.drain_poll_seconds)) * 10 + local.other_history_events < 20000
    error_message = "drain_timeout_seconds is ${var.drain_timeout_seconds} and drain_poll_seconds is ${var.drain_poll_seconds}: with start_timeout_seconds, stop_timeout_seconds and trigger_timeout_seconds a run could write ${ceil(var.drain_timeout_seconds / max(1, var.drain_poll_seconds)) * 10 + local.other_history_events} events, and Step Functions ends it at 25000. Make drain_timeout_seconds shorter or drain_poll_seconds longer (the same goes for the other timeouts and model_poll_seconds, trigger_poll_seconds) until it is below 20000."
  }
}

variable "stall_timeout_seconds" {
  description = "Seconds without any progress after which a run stops the model, keeps the messages and fails"
  type        = number
  default     = 900
  nullable    = false

  validation {
    # A message that failed once comes back after the visibility timeout: until then, silence is no stall.
    condition     = var.stall_timeout_seconds >= local.visibility_timeout_seconds && floor(var.stall_timeout_seconds) == var.stall_timeout_seconds
    error_message = "stall_timeout_seconds is ${var.stall_timeout_seconds}. Use a whole number of at least the visibility timeout of the queue, which is ${local.visibility_timeout_seconds}: a message that failed once is hidden for that long."
  }
}

variable "state_machine_log_level" {
  description = "Events of the workflow that are logged: ALL, ERROR, FATAL or OFF. The history of an execution holds all of them for 90 days anyway"
  type        = string
  default     = "ERROR"
  nullable    = false

  validation {
    condition     = contains(["ALL", "ERROR", "FATAL", "OFF"], var.state_machine_log_level)
    error_message = "state_machine_log_level is \"${var.state_machine_log_level}\". Use ALL, ERROR, FATAL or OFF."
  }
}
