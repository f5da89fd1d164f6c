variable "name" {
  description = "Name of the rule"
  type        = string
  nullable    = false
}

variable "description" {
  description = "What the rule is for"
  type        = string
  nullable    = false
}

variable "schedule_expression" {
  description = "When the rule calls the function: rate(...) or cron(...), in UTC"
  type        = string
  nullable    = false
}

variable "is_enabled" {
  description = "Whether the rule calls anything"
  type        = bool
  nullable    = false
}

variable "function_arn" {
  description = "ARN of the function that the rule calls"
  type        = string
  nullable    = false
}

variable "tags" {
  description = "Tags of the rule"
  type        = map(string)
  nullable    = false
}
