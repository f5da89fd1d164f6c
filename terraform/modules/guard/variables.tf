variable "name" {
  description = "Begins the names of the rules"
  type        = string
  nullable    = false
}

variable "function_arn" {
  description = "ARN of the watchdog's function"
  type        = string
  nullable    = false
}

variable "state_machine_arn" {
  description = "ARN of the state machine whose executions are looked after"
  type        = string
  nullable    = false
}

variable "event_source_mapping_uuid" {
  description = "UUID of the mapping that is to be disabled while no execution runs"
  type        = string
  nullable    = false
}

variable "backend" {
  description = "Model service"
  type        = string
  nullable    = false
}

variable "backend_settings" {
  description = "What the backend needs to know of the model that is to be off while no execution runs"
  type        = map(string)
  nullable    = false
}

variable "schedule_expression" {
  description = "When the watchdog looks by itself: rate(...) or cron(...), in UTC"
  type        = string
  nullable    = false
}

variable "poll_seconds" {
  description = "Seconds between two looks of one call"
  type        = number
  nullable    = false
}

variable "analyze_timeout_seconds" {
  description = "Seconds that a batch which was taken before the mapping was disabled may still take"
  type        = number
  nullable    = false
}

variable "alert_topic_arn" {
  description = "ARN of the topic that is told what the watchdog did"
  type        = string
  nullable    = false
}

variable "tags" {
  description = "Tags of the rules"
  type        = map(string)
  nullable    = false
}
