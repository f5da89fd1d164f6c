variable "name" {
  description = "Name of the rule"
  type        = string
  nullable    = false
}

variable "description" {
  description = "What the rule does, in a sentence"
  type        = string
  nullable    = false
}

variable "account_id" {
  description = "Account of the rule"
  type        = string
  nullable    = false
}

variable "region" {
  description = "Region of the rule; part of the name of its role, because role names are shared by all Regions"
  type        = string
  nullable    = false
}

variable "schedule_expression" {
  description = "When the rule starts the state machine: rate(...) or cron(...), in UTC"
  type        = string
  nullable    = false
}

variable "is_enabled" {
  description = "Whether the rule starts anything"
  type        = bool
  nullable    = false
}

variable "state_machine_arn" {
  description = "ARN of the state machine that the rule starts"
  type        = string
  nullable    = false
}

variable "input" {
  description = "Input of the executions, as JSON; null for the event that EventBridge makes, which will do for a state machine that asks nothing of its input"
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
  description = "Tags of the rule and its role"
  type        = map(string)
  nullable    = false
}
