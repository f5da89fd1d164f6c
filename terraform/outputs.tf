output "source_bucket_name" {
  description = "Name of the bucket to upload images to"
  value       = module.source_bucket.bucket_name
}

output "final_bucket_name" {
  description = "Name of the bucket that holds processed and rejected images, their results, the catalog and the run summaries"
  value       = module.final_bucket.bucket_name
}

output "queue_url" {
  description = "URL of the queue of images that wait"
  value       = module.queue.queue_url
}

output "dead_letter_queue_url" {
  description = "URL of the queue of messages that were received too often; their images are still in the source bucket"
  value       = module.queue.dead_letter_queue_url
}

output "state_machine_arn" {
  description = "ARN of the workflow; start an execution of it to run without waiting for the schedule"
  value       = module.workflow.state_machine_arn
}

output "schedule_rule_name" {
  description = "Name of the EventBridge rule that starts the workflow; disable it to pause the runs"
  value       = module.schedule.rule_name
}

output "event_source_mapping_uuid" {
  description = "UUID of the mapping between the queue and the analyzing function; it is enabled only while a run is draining the queue"
  value       = aws_lambda_event_source_mapping.this.uuid
}

output "analyze_images_function_name" {
  description = "Name of the function that analyzes images"
  value       = module.function["analyze_images"].function_name
}

output "alert_topic_arn" {
  description = "ARN of the topic that tells what the watchdog stopped, or could not stop; subscribe to it, or set alert_email_addresses"
  value       = module.alerts.topic_arn
}
