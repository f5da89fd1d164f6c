variable "region" {
  description = "Region of the model"
  type        = string
  nullable    = false
}

variable "name_prefix" {
  description = "Begins the name of everything, of the endpoint too"
  type        = string
  default     = "batch-vision"
  nullable    = false
}

variable "model_name" {
  description = "Name of the SageMaker model"
  type        = string
  nullable    = false
}

variable "execution_role_arn" {
  description = "ARN of the role that the model was created with"
  type        = string
  nullable    = false
}

variable "instance_type" {
  description = "Instance that hosts the model"
  type        = string
  default     = "ml.g4dn.xlarge"
  nullable    = false
}

variable "mapping" {
  description = "What of the container's answer is a prediction: a preset, or a JMESPath expression"
  type        = string
  default     = "huggingface-object-detection"
  nullable    = false
}

variable "anomaly_mapping" {
  description = "What of the container's answer is a verdict, a JMESPath expression; null for a model that has none"
  type        = string
  default     = null
}

variable "content_type" {
  description = "What the container takes an image by, such as application/x-image; null for image/png or image/jpeg"
  type        = string
  default     = null
}

variable "images_per_second_per_unit" {
  description = "What one instance can do: measure it"
  type        = number
  default     = 5
  nullable    = false
}

variable "max_inference_units" {
  description = "The most instances of a run, for which the account needs the quota"
  type        = number
  default     = 2
  nullable    = false
}

variable "alert_email_addresses" {
  description = "Who gets a mail for each alarm and for each run that ended badly"
  type        = list(string)
  default     = []
  nullable    = false
}
