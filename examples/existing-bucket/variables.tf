variable "region" {
  description = "Region of the bucket, and of everything else"
  type        = string
  nullable    = false
}

variable "name_prefix" {
  description = "Begins the name of every resource"
  type        = string
  default     = "product-images"
  nullable    = false
}

variable "images_bucket_name" {
  description = "Name of the bucket that the images are in"
  type        = string
  nullable    = false
}

variable "prefix" {
  description = "Only images whose keys begin with it are analyzed; empty for all"
  type        = string
  default     = ""
  nullable    = false
}

variable "analyses" {
  description = "What each image is asked about: labels, image_properties, text, faces, moderation, celebrities, protective_equipment"
  type        = list(string)
  default     = ["labels", "moderation"]
  nullable    = false
}

variable "images_key_arn" {
  description = "ARN of the customer key that encrypts the images; null without one"
  type        = string
  default     = null
}

variable "owner_account_id" {
  description = "Account that owns the bucket, where it is another one than that of the deployment"
  type        = string
  default     = null
}

variable "owner_profile" {
  description = "Profile of the AWS configuration with which to work in the owner's account; null for the one in use"
  type        = string
  default     = null

  validation {
    condition     = (var.owner_profile == null) == (var.owner_account_id == null)
    error_message = "owner_profile is \"${coalesce(var.owner_profile, "null")}\" and owner_account_id is \"${coalesce(var.owner_account_id, "null")}\". Set both for a bucket of another account, and neither otherwise."
  }
}
