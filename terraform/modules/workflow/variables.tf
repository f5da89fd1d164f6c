variable "name" {
  description = "Name of the state machine"
  type        = string
  nullable    = false
}

variable "role_name" {
  description = "Name of the role, without the Region that is put behind it"
  type        = string
  nullable    = false
}

variable "account_id" {
  description = "Account of the state machine"
  type        = string
  nullable    = false
}

variable "partition" {
  description = "Partition of the state machine, such as aws"
  type        = string
  nullable    = false
}

variable "region" {
  description = "Region of the state machine"
  type        = string
  nullable    = false
}

variable "definition" {
  description = "The state machine in Amazon States Language, as JSON"
  type        = string
  nullable    = false
}

variable "function_arns" {
  description = "ARNs of the functions that the state machine calls"
  type        = list(string)
  nullable    = false
}

variable "finds_other_executions" {
  description = "Whether an execution looks for others of its own state machine"
  type        = bool
  nullable    = false
}

variable "map_bucket_arn" {
  description = "ARN of the bucket whose chunks a Distributed Map goes over, and which gets the answers of its children; null for a definition without one"
  type        = string
}

variable "log_level" {
  description = "Which events of an execution are logged: ALL, ERROR, FATAL or OFF"
  type        = string
  nullable    = false
}

variable "log_retention_days" {
  description = "Days for which the log is kept; 0 for ever"
  type        = number
  nullable    = false
}

variable "kms_key_arn" {
  description = "ARN of the customer key that encrypts the log, and what a Distributed Map writes; null lets CloudWatch Logs and S3 encrypt with their own keys"
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
  description = "Tags of the state machine, its role and its log group"
  type        = map(string)
  nullable    = false
}
