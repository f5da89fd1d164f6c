output "source_bucket_name" {
  description = "Name of the bucket to upload images to"
  value       = module.batch_vision.source_bucket_name
}

output "final_bucket_name" {
  description = "Name of the bucket with the results"
  value       = module.batch_vision.final_bucket_name
}

output "state_machine_arn" {
  description = "ARN of the workflow, to start a run without waiting for the schedule"
  value       = module.batch_vision.state_machine_arn
}
