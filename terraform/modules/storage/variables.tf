variable "name" {
  description = "Name of the bucket"
  type        = string
  nullable    = false
}

variable "force_destroy" {
  description = "Whether destroying the bucket deletes the objects in it"
  type        = bool
  nullable    = false
}

variable "kms_key_arn" {
  description = "ARN of the customer key that encrypts the objects; null lets S3 encrypt them with its own keys"
  type        = string
}

variable "noncurrent_version_retention_days" {
  description = "Days until an overwritten or deleted version of an object is removed for good; null keeps it"
  type        = number
}

variable "noncurrent_days_by_prefix" {
  description = "Days until an overwritten or deleted version of an object under a prefix is removed for good, where it is not kept as elsewhere in the bucket"
  type        = map(number)
  nullable    = false
}

variable "current_days_by_prefix" {
  description = "Days after which an object under a prefix is of no use any more and is removed"
  type        = map(number)
  nullable    = false
}

variable "tags" {
  description = "Tags of the bucket"
  type        = map(string)
  nullable    = false
}
