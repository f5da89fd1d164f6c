variable "name" {
  description = "Begins the name of every alarm"
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

variable "message_retention_seconds" {
  description = "Seconds for which a message waits on the queue"
  type        = number
  nullable    = false
}

variable "oldest_message_alarm_percent" {
  description = "Share of the retention that the oldest message may have waited, in percent"
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
