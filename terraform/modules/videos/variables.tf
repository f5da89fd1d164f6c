variable "topic_name" {
  description = "Name of the topic; the role adds the Region"
  type        = string
  nullable    = false
}

variable "queue_name" {
  description = "Name of the queue of hints"
  type        = string
  nullable    = false
}

variable "account_id" {
  description = "Account of the topic, and of the jobs that are told of"
  type        = string
  nullable    = false
}

variable "partition" {
  description = "Partition of the topic, such as aws"
  type        = string
  nullable    = false
}

variable "region" {
  description = "Region of the topic; part of the name of the role, because role names are shared by all Regions"
  type        = string
  nullable    = false
}

variable "visibility_timeout_seconds" {
  description = "Seconds for which a received hint is hidden from other receivers"
  type        = number
  nullable    = false
}

variable "kms_key_arn" {
  description = "ARN of the customer key that encrypts the messages; null leaves them to keys of the services"
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
  description = "Tags of the topic, the queue and the role"
  type        = map(string)
  nullable    = false
}
