variable "region" {
  description = "Region of everything"
  type        = string
  nullable    = false
}

variable "name_prefix" {
  description = "Begins the name of every resource"
  type        = string
  default     = "clips"
  nullable    = false
}

variable "analyses" {
  description = "What each video is asked about: labels, moderation, faces, celebrities, text"
  type        = list(string)
  default     = ["labels", "moderation"]
  nullable    = false
}

variable "bucket_name" {
  description = "Name of an existing bucket with videos, which stay there; null makes a bucket to drop them off"
  type        = string
  default     = null
}

variable "prefix" {
  description = "Only videos whose keys begin with it are analyzed; empty for all"
  type        = string
  default     = ""
  nullable    = false
}

variable "max_concurrent_jobs" {
  description = "Jobs of Rekognition at a time. The quota of an account is 20, over everybody in it, unless AWS raised it"
  type        = number
  default     = 20
  nullable    = false
}

variable "max_minutes_per_day" {
  description = "Minutes of video times analyses that may be started on a day, in UTC; the rest waits"
  type        = number
  default     = 600
  nullable    = false
}
