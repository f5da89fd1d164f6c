output "source_bucket_name" {
  description = "Name of the bucket to upload images to; null where images stay in an existing bucket"
  value       = one(module.source_bucket[*].bucket_name)
}

output "images_bucket_name" {
  description = "Name of the existing bucket whose images are analyzed; null where they are dropped off in source_bucket_name"
  value       = var.images_bucket_name
}

output "final_bucket_name" {
  description = "Name of the bucket that holds results, the catalog and the run summaries, and the images that were dropped off"
  value       = module.final_bucket.bucket_name
}

output "queue_url" {
  description = "URL of the queue of the analyzing function"
  value       = local.analysis_queue.queue_url
}

output "dead_letter_queue_url" {
  description = "URL of the queue of messages that were received too often; their images are still in their bucket"
  value       = local.analysis_queue.dead_letter_queue_url
}

output "rule_dead_letter_queue_url" {
  description = "URL of the queue of changes in the existing bucket that the rule could not deliver; null without one"
  value       = one(module.changes[*].dead_letter_queue_url)
}

output "state_machine_arn" {
  description = "ARN of the workflow; start an execution of it to run without waiting for the schedule. Null for a managed model, which needs no runs"
  value       = one(module.workflow[*].state_machine_arn)
}

output "schedule_rule_name" {
  description = "Name of the EventBridge rule that starts the workflow; disable it to pause the runs. Null for a managed model"
  value       = one(module.schedule[*].rule_name)
}

output "event_source_mapping_uuid" {
  description = "UUID of the mapping between the queue and the analyzing function; it is always enabled for a managed model, and for a hosted one only while a run is draining the queue"
  value       = aws_lambda_event_source_mapping.this.uuid
}

output "analyze_images_function_name" {
  description = "Name of the function that analyzes images"
  value       = module.function["analyze_images"].function_name
}

output "alert_topic_arn" {
  description = "ARN of the topic that tells of alarms and of what the watchdog stopped, or could not stop; subscribe to it, or set alert_email_addresses"
  value       = module.alerts.topic_arn
}

output "backfill_state_machine_arn" {
  description = "ARN of the state machine that has all images of an existing bucket analyzed which have no result that is up to date; `batch-vision backfill` starts it. Null for a drop-off bucket"
  value       = one(module.backfill[*].state_machine_arn)
}

output "backfill_max_concurrency" {
  description = "Number of invocations at a time with which a backfill takes 80% of the calls that this deployment may make. Null for a hosted model, whose runs work the chunks off, and for a drop-off bucket"
  value       = local.backfill_max_concurrency
}
