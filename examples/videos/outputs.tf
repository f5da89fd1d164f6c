output "videos_bucket_name" {
  description = "Name of the bucket that videos are in: the one to upload them to, or the existing one"
  value       = module.batch_vision.videos_bucket_name
}

output "final_bucket_name" {
  description = "Name of the bucket with the results: videos/results/<key of the video>.json, and the files that it names"
  value       = module.batch_vision.final_bucket_name
}

output "videos_queue_url" {
  description = "URL of the queue of uploads and changes"
  value       = module.batch_vision.videos_queue_url
}

output "videos_dead_letter_queue_url" {
  description = "URL of the queue of messages that were received too often"
  value       = module.batch_vision.videos_dead_letter_queue_url
}

output "dispatch_videos_function_name" {
  description = "Name of the function that starts the jobs and looks at them"
  value       = module.batch_vision.dispatch_videos_function_name
}

output "collect_videos_function_name" {
  description = "Name of the function that writes what the jobs found"
  value       = module.batch_vision.collect_videos_function_name
}
