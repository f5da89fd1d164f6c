variable "name" {
  description = "Name of the queue; the dead-letter queue adds a suffix"
  type        = string
  nullable    = false
}

variable "account_id" {
  description = "Account of the queue"
  type        = string
  nullable    = false
}

variable "partition" {
  description = "Partition of the queue, such as aws"
  type        = string
  nullable    = false
}

variable "region" {
  description = "Region of the queue"
  type        = string
  nullable    = false
}

variable "senders" {
  description = "Which services may send to the queue besides the roles of the deployment, by the names of the policy's statements: in the name of which resource and, where its ARN names none, of which account"
  type        = map(object({ service = string, source_arn = string, source_account_id = optional(string) }))
  nullable    = false
}

variable "visibility_timeout_seconds" {
  description = "Seconds for which a received message is hidden from other receivers"
  type        = number
  nullable    = false
}

variable "message_retention_seconds" {
  description = "Seconds for which a message waits on the queue"
  type        = number
  nullable    = false
}

variable "max_receive_count" {
  description = "Number of receives after which a message goes to the dead-letter queue"
  type        = number
  nullable    = false
}

variable "kms_key_arn" {
  description = "ARN of the customer key that encrypts the messages; null lets SQS encrypt them with its own keys"
  type        = string
}

variable "tags" {
  description = "Tags of the queues"
  type        = map(string)
  nullable    = false
}
