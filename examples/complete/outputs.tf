output "deployments" {
  description = "What there is for each model: where to upload to, where the results are, and the workflow that starts a run"
  value = {
    for name, deployment in module.batch_vision : name => {
      source_bucket_name    = deployment.source_bucket_name
      final_bucket_name     = deployment.final_bucket_name
      dead_letter_queue_url = deployment.dead_letter_queue_url
      state_machine_arn     = deployment.state_machine_arn
    }
  }
}

output "kms_key_arn" {
  description = "ARN of the customer key: whoever uploads images needs kms:GenerateDataKey on it, whoever reads results kms:Decrypt"
  value       = aws_kms_key.this.arn
}
