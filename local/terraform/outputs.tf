output "source_bucket_name" {
  description = "Name of the bucket to upload images to"
  value       = module.batch_vision.source_bucket_name
}

output "final_bucket_name" {
  description = "Name of the bucket that holds processed and rejected images, their results, the catalog and the run summaries"
  value       = module.batch_vision.final_bucket_name
}

output "queue_url" {
  description = "URL of the queue of images that wait"
  value       = module.batch_vision.queue_url
}

output "dead_letter_queue_url" {
  description = "URL of the queue of messages that were received too often; their images are still in the source bucket"
  value       = module.batch_vision.dead_letter_queue_url
}

output "state_machine_arn" {
  description = "ARN of the workflow; start an execution of it to run without waiting for the schedule"
  value       = module.batch_vision.state_machine_arn
}

output "schedule_rule_name" {
  description = "Name of the EventBridge rule that starts the workflow; disable it to pause the runs"
  value       = module.batch_vision.schedule_rule_name
}

output "event_source_mapping_uuid" {
  description = "UUID of the mapping between the queue and the analyzing function; it is enabled only while a run is draining the queue"
  value       = module.batch_vision.event_source_mapping_uuid
}

output "analyze_images_function_name" {
  description = "Name of the function that analyzes images"
  value       = module.batch_vision.analyze_images_function_name
}

output "alert_topic_arn" {
  description = "ARN of the topic that tells what the watchdog stopped, or could not stop; subscribe to it, or set alert_email_addresses"
  value       = module.batch_vision.alert_topic_arn
}
