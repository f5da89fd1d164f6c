variable "region" {
  description = "Region that LocalStack plays"
  type        = string
  default     = "us-east-1"
  nullable    = false
}

variable "default_tags" {
  description = "Tags that the provider adds to everything, as that of a company's configuration does"
  type        = map(string)
  default     = {}
  nullable    = false
}
