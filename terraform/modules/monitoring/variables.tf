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

variable "has_images" {
  description = "Whether images are analyzed; otherwise the deployment is for videos only"
  type        = bool
  nullable    = false
}

variable "is_hosted" {
  description = "Whether the model is started and stopped by runs"
  type        = bool
  nullable    = false
}

variable "queue_name" {
  description = "Name of the queue of images; null without images"
  type        = string
}

variable "dead_letter_queue_name" {
  description = "Name of the dead-letter queue of images; null without images"
  type        = string
}

variable "state_machine_arn" {
  description = "ARN of the workflow; null for a managed model, which has no runs"
  type        = string
}

variable "guard_function_name" {
  description = "Name of the watchdog; null for a managed model"
  type        = string
}

variable "analyze_function_name" {
  description = "Name of the analyzing function; null without images"
  type        = string
}

variable "compact_function_name" {
  description = "Name of the function that makes an index of the catalog"
  type        = string
  nullable    = false
}

variable "summarize_function_name" {
  description = "Name of the function that sums a run up; null for a managed model"
  type        = string
}

variable "function_names" {
  description = "Names of all functions, whose logs are looked through together"
  type        = list(string)
  nullable    = false
}

variable "operations" {
  description = "Operations of a managed model's service, each with a quota of its own; none for a hosted model"
  type        = list(string)
  nullable    = false
}

variable "backfill_arn" {
  description = "ARN of the state machine of backfills, which an existing bucket has; null for a drop-off bucket"
  type        = string
}

variable "changes" {
  description = "What brings the changes of an existing bucket: the rule, its dead-letter queue, and where there is one, the function that collects them and the dead-letter queue of that. Null for a drop-off bucket"
  type = object({
    rule_name                   = string
    rule_dead_letter_queue_name = string
    dead_letter_queue_name      = string
    function_name               = string
  })
}

variable "videos" {
  description = "What there is to watch of videos: the dead-letter queue of uploads, the dispatcher, for an existing bucket the rule that brings its changes and the dead-letter queue of that, and the minutes of a day. Null without videos"
  type = object({
    dead_letter_queue_name      = string
    dispatch_function_name      = string
    rule_name                   = string
    rule_dead_letter_queue_name = string
    max_minutes_per_day         = number
  })
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
  description = "Share of the images of a run, or of an hour, that may be rejected, in percent"
  type        = number
  nullable    = false
}

variable "refused_calls_percent" {
  description = "Share of the calls of an hour that the service may refuse, in percent"
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
