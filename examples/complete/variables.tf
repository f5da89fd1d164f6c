variable "region" {
  description = "Region of all models"
  type        = string
  nullable    = false
}

variable "name_prefix" {
  description = "Begins the name of everything, followed by the name of a model. Both together have up to 26 characters and a hyphen between them"
  type        = string
  default     = "vision"
  nullable    = false
}

variable "models" {
  description = "The Rekognition Custom Labels models, by a short name that is a part of the names of their buckets"
  type = map(object({
    project_arn                = string
    project_version_arn        = string
    schedule_expression        = optional(string, "rate(1 hour)")
    min_confidence_percent     = optional(number)
    max_inference_units        = optional(number, 1)
    images_per_second_per_unit = optional(number, 5)
  }))
  nullable = false

  validation {
    condition     = length(distinct(values(var.models)[*].project_version_arn)) == length(var.models)
    error_message = "models names a model twice. A model belongs to one deployment: the other one would stop it in the middle of a run."
  }
}

variable "role_path" {
  description = "Path of all roles"
  type        = string
  default     = "/"
  nullable    = false
}

variable "permissions_boundary_arn" {
  description = "ARN of a policy that bounds what every role may do; null for none"
  type        = string
  default     = null
}

variable "log_retention_days" {
  description = "Days for which logs are kept"
  type        = number
  default     = 365
  nullable    = false
}

variable "tags" {
  description = "Tags of everything that can have tags"
  type        = map(string)
  default     = {}
  nullable    = false
}
