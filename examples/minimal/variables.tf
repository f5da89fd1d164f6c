variable "project_arn" {
  description = "ARN of the Rekognition Custom Labels project, as `aws rekognition describe-projects` shows it"
  type        = string
  nullable    = false
}

variable "project_version_arn" {
  description = "ARN of the trained model, as `aws rekognition describe-project-versions` shows it"
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^arn:[a-z0-9-]+:rekognition:[a-z0-9-]+:", var.project_version_arn))
    error_message = "project_version_arn is \"${var.project_version_arn}\". Use an ARN of Rekognition (arn:aws:rekognition:<region>:…): its Region is where everything is made."
  }
}
