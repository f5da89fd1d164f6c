variable "name" {
  description = "Name of the rule"
  type        = string
  nullable    = false
}

variable "statement_id" {
  description = "Name of the statement by which the event bus admits another account"
  type        = string
  nullable    = false
}

variable "dead_letter_name" {
  description = "Name of the queue of events that the rule could not deliver"
  type        = string
  nullable    = false
}

variable "account_id" {
  description = "Account of the rule"
  type        = string
  nullable    = false
}

variable "owner_account_id" {
  description = "Account of the bucket"
  type        = string
  nullable    = false
}

variable "partition" {
  description = "Partition of the rule, such as aws"
  type        = string
  nullable    = false
}

variable "region" {
  description = "Region of the rule"
  type        = string
  nullable    = false
}

variable "rule_arn" {
  description = "ARN of the rule, for the policies of queues, which are made before it"
  type        = string
  nullable    = false
}

variable "bucket_name" {
  description = "Name of the bucket whose changes are told"
  type        = string
  nullable    = false
}

variable "prefixes" {
  description = "Only objects whose keys begin with one of them are told of; an empty one is for all"
  type        = list(string)
  nullable    = false
}

variable "queue_arn" {
  description = "ARN of the queue that gets the events"
  type        = string
  nullable    = false
}

variable "kms_key_arn" {
  description = "ARN of the customer key that encrypts the events which were not delivered; null lets SQS encrypt them with its own keys"
  type        = string
}

variable "tags" {
  description = "Tags of the rule and the queue"
  type        = map(string)
  nullable    = false
}
