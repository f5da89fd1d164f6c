variable "region" {
  description = "Region of the model"
  type        = string
  nullable    = false
}

variable "name_prefix" {
  description = "Begins the name of everything"
  type        = string
  default     = "batch-vision"
  nullable    = false
}

variable "project_name" {
  description = "Name of the Lookout for Vision project"
  type        = string
  nullable    = false
}

variable "model_version" {
  description = "Number of the model's version"
  type        = string
  default     = "1"
  nullable    = false
}
