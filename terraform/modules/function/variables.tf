variable "name" {
  description = "Name of the function"
  type        = string
  nullable    = false
}

variable "description" {
  description = "What the function does, in a sentence"
  type        = string
  nullable    = false
}

variable "region" {
  description = "Region of the function; part of the name of its role, because role names are shared by all Regions"
  type        = string
  nullable    = false
}

variable "package" {
  description = "The zip, as an object in S3, and its SHA-256 in Base64"
  type = object({
    bucket        = string
    key           = string
    sha256_base64 = string
  })
  nullable = false
}

variable "handler" {
  description = "Import path of the handler in the zip"
  type        = string
  nullable    = false
}

variable "architecture" {
  description = "Instruction set: arm64 or x86_64"
  type        = string
  nullable    = false
}

variable "memory_mb" {
  description = "Memory in MB"
  type        = number
  nullable    = false
}

variable "timeout_seconds" {
  description = "Seconds that one invocation may take"
  type        = number
  nullable    = false
}

variable "environment" {
  description = "Environment variables"
  type        = map(string)
  nullable    = false
}

variable "statements" {
  description = "What the function may do besides writing its own log: statements of its role's policy, by sid"
  type = map(object({
    actions   = list(string)
    resources = list(string)
    # Keys of the request, and the value that each must have.
    conditions = optional(map(string), {})
  }))
  nullable = false

  validation {
    # IAM knows no resource for these, or none but an adapter (service authorization reference, Amazon Rekognition and SageMaker).
    condition = alltrue([
      for statement in values(var.statements) : !contains(statement.resources, "*") || length(setsubtract(statement.actions, [
        "rekognition:DetectFaces",
        "rekognition:DetectLabels",
        "rekognition:DetectModerationLabels",
        "rekognition:DetectProtectiveEquipment",
        "rekognition:DetectText",
        "rekognition:GetCelebrityRecognition",
        "rekognition:GetContentModeration",
        "rekognition:GetFaceDetection",
        "rekognition:GetLabelDetection",
        "rekognition:GetTextDetection",
        "rekognition:RecognizeCelebrities",
        "rekognition:StartCelebrityRecognition",
        "rekognition:StartContentModeration",
        "rekognition:StartFaceDetection",
        "rekognition:StartLabelDetection",
        "rekognition:StartTextDetection",
        "sagemaker:ListEndpointConfigs",
      ])) == 0
    ])
    error_message = "statements has a statement for all resources (*). Name the ARNs that the function uses."
  }
}

variable "log_retention_days" {
  description = "Days for which the log is kept; 0 for ever"
  type        = number
  nullable    = false
}

variable "kms_key_arn" {
  description = "ARN of the customer key that encrypts the log and the environment; null lets CloudWatch Logs and Lambda encrypt them with their own keys"
  type        = string
}

variable "role_path" {
  description = "Path of the role"
  type        = string
  nullable    = false
}

variable "permissions_boundary_arn" {
  description = "ARN of the policy that bounds what the role may do; null for none"
  type        = string
}

variable "tags" {
  description = "Tags of the function, its role and its log group"
  type        = map(string)
  nullable    = false
}
