variable "name" {
  description = "Name of the topic"
  type        = string
  nullable    = false
}

variable "account_id" {
  description = "Account of the topic"
  type        = string
  nullable    = false
}

variable "partition" {
  description = "Partition of the topic, such as aws"
  type        = string
  nullable    = false
}

variable "region" {
  description = "Region of the topic"
  type        = string
  nullable    = false
}

variable "email_addresses" {
  description = "Who gets the alerts; AWS asks each address to confirm"
  type        = list(string)
  nullable    = false
}

variable "kms_key_arn" {
  description = "ARN of the customer key that encrypts the alerts; null leaves them to the encrypted disks of SNS"
  type        = string
}

variable "tags" {
  description = "Tags of the topic"
  type        = map(string)
  nullable    = false
}
