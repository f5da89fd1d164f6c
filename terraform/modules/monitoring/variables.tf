variable "name" {
  description = "Begins the name of every alarm"
  type        = string
  nullable    = false
}

variable "region" {
  description = "Region of the metrics"
  type        = string
  nullable    = false
}

variable "queue_name" {
  description = "Name of the queue"
  type        = string
  nullable    = false
}

variable "dead_letter_queue_name" {
  description = "Name of the dead-letter queue"
  type        = string
  nullable    = false
}

variable "state_machine_arn" {
  description = "ARN of the workflow"
  type        = string
  nullable    = false
}

variable "guard_function_name" {
  description = "Name of the watchdog"
  type        = string
  nullable    = false
}

variable "analyze_function_name" {
  description = "Name of the analyzing function"
  type        = string
  nullable    = false
}

variable "summarize_function_name" {
  description = "Name of the function that sums a run up"
  type        = string
  nullable    = false
}

variable "function_names" {
  description = "Names of all functions, whose logs are looked through together"
  type        = list(string)
  nullable    = false
}

variable "parts" {
  description = "What there is of alarms, dashboard and saved queries of the logs"
  type        = object({ alarms = bool, dashboard = bool, log_queries = bool })
  nullable    = false
}

variable "no_run_seconds" {
  description = "Seconds without a run after which there is an alarm; null for no such alarm"
  type        = number
}

variable "model_on_seconds" {
  description = "Seconds that the model may be on; taken as whole hours"
  type        = number
  nullable    = false
}

variable "function_errors" {
  description = "Errors of the analyzing function in five minutes that are no reason for an alarm"
  type        = number
  nullable    = false
}

variable "function_throttles" {
  description = "Throttles of the analyzing function in five minutes that are no reason for an alarm"
  type        = number
  nullable    = false
}

variable "rejected_percent" {
  description = "Share of the images of a run that may be rejected, in percent"
  type        = number
  nullable    = false
}

variable "oldest_message_percent" {
  description = "Share of the retention that the oldest message may have waited, in percent"
  type        = number
  nullable    = false
}

variable "message_retention_seconds" {
  description = "Seconds for which a message waits on the queue"
  type        = number
  nullable    = false
}

variable "alert_topic_arn" {
  description = "ARN of the topic that alarms are sent to"
  type        = string
  nullable    = false
}

variable "tags" {
  description = "Tags of the alarms"
  type        = map(string)
  nullable    = false
}
