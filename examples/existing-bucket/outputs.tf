output "final_bucket_name" {
  description = "Name of the bucket with the results: results/<key of the image>.json"
  value       = module.batch_vision.final_bucket_name
}

output "queue_url" {
  description = "URL of the queue of changes"
  value       = module.batch_vision.queue_url
}

output "turn_eventbridge_on" {
  description = "What the owner of the bucket runs once: it adds EventBridge to the notifications that the bucket has"
  value       = <<-EOT
    aws s3api get-bucket-notification-configuration --bucket ${var.images_bucket_name} > notifications.json
    jq '. + {EventBridgeConfiguration: {}}' notifications.json > with-eventbridge.json
    aws s3api put-bucket-notification-configuration --bucket ${var.images_bucket_name} --notification-configuration file://with-eventbridge.json
  EOT
}

output "bucket_policy_statements" {
  description = "What the owner of a bucket in another account adds to its policy; null in one account"
  value       = local.is_of_another_account ? jsonencode(local.bucket_policy_statements) : null
}

output "key_policy_statements" {
  description = "What the owner of a key in another account adds to its policy; null in one account, or without a key"
  value       = local.is_of_another_account && var.images_key_arn != null ? jsonencode(local.key_policy_statements) : null
}
