output "source_bucket_name" {
  description = "Name of the bucket to upload images to; null where images stay in an existing bucket, and without images"
  value       = module.batch_vision.source_bucket_name
}

output "images_bucket_name" {
  description = "Name of the existing bucket whose images are analyzed; null where they are dropped off in source_bucket_name"
  value       = module.batch_vision.images_bucket_name
}

output "final_bucket_name" {
  description = "Name of the bucket that holds results, the catalog and the run summaries, and the images and videos that were dropped off"
  value       = module.batch_vision.final_bucket_name
}

output "queue_url" {
  description = "URL of the queue of the analyzing function; null without images"
  value       = module.batch_vision.queue_url
}

output "dead_letter_queue_url" {
  description = "URL of the queue of messages that were received too often; their images are still in their bucket. Null without images"
  value       = module.batch_vision.dead_letter_queue_url
}

output "rule_dead_letter_queue_url" {
  description = "URL of the queue of changes in the existing bucket of images that the rule could not deliver; null without one"
  value       = module.batch_vision.rule_dead_letter_queue_url
}

output "state_machine_arn" {
  description = "ARN of the workflow; start an execution of it to run without waiting for the schedule. Null for a managed model, which needs no runs"
  value       = module.batch_vision.state_machine_arn
}

output "schedule_rule_name" {
  description = "Name of the EventBridge rule that starts the workflow; disable it to pause the runs. Null for a managed model"
  value       = module.batch_vision.schedule_rule_name
}

output "event_source_mapping_uuid" {
  description = "UUID of the mapping between the queue and the analyzing function; it is always enabled for a managed model, and for a hosted one only while a run is draining the queue. Null without images"
  value       = module.batch_vision.event_source_mapping_uuid
}

output "analyze_images_function_name" {
  description = "Name of the function that analyzes images; null without images"
  value       = module.batch_vision.analyze_images_function_name
}

output "alert_topic_arn" {
  description = "ARN of the topic that tells of alarms and of what the watchdog stopped, or could not stop; subscribe to it, or set alert_email_addresses"
  value       = module.batch_vision.alert_topic_arn
}

output "backfill_state_machine_arn" {
  description = "ARN of the state machine that has all images of an existing bucket analyzed which have no result that is up to date; `batch-vision backfill` starts it. Null for a drop-off bucket"
  value       = module.batch_vision.backfill_state_machine_arn
}

output "backfill_max_concurrency" {
  description = "Number of invocations at a time with which a backfill takes 80% of the calls that this deployment may make. Null for a hosted model, whose runs work the chunks off, and for a drop-off bucket"
  value       = module.batch_vision.backfill_max_concurrency
}

output "videos_bucket_name" {
  description = "Name of the bucket that videos are in: the one to upload them to, or the existing one in which they stay. Null without videos"
  value       = module.batch_vision.videos_bucket_name
}

output "videos_queue_url" {
  description = "URL of the queue of uploads and changes of videos; null without videos"
  value       = module.batch_vision.videos_queue_url
}

output "videos_dead_letter_queue_url" {
  description = "URL of the queue of messages that were received too often; their videos are still in their bucket. Null without videos"
  value       = module.batch_vision.videos_dead_letter_queue_url
}

output "video_rule_dead_letter_queue_url" {
  description = "URL of the queue of changes in the existing bucket of videos that the rule could not deliver; null without one"
  value       = module.batch_vision.video_rule_dead_letter_queue_url
}

output "video_hint_queue_url" {
  description = "URL of the queue of hints, each of which has the dispatcher look at the jobs of videos at once; null without videos"
  value       = module.batch_vision.video_hint_queue_url
}

output "dispatch_videos_function_name" {
  description = "Name of the function that starts the jobs of videos and looks at them, each minute; null without videos"
  value       = module.batch_vision.dispatch_videos_function_name
}

output "collect_videos_function_name" {
  description = "Name of the function that writes what the jobs of videos found; null without videos"
  value       = module.batch_vision.collect_videos_function_name
}
