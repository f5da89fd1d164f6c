# ---------------------------------------------------------------------------------------------------------------------
# Who is told, and what there is to watch
# ---------------------------------------------------------------------------------------------------------------------

module "alerts" {
  source = "./modules/alerts"

  name            = "${var.name_prefix}-alerts"
  account_id      = local.account_id
  partition       = local.partition
  region          = local.region
  email_addresses = var.alert_email_addresses
  kms_key_arn     = var.kms_key_arn
  tags            = var.tags
}

module "monitoring" {
  source = "./modules/monitoring"
  count  = anytrue(values(var.monitoring)) ? 1 : 0

  name                      = var.name_prefix
  region                    = local.region
  has_images                = local.has_images
  is_hosted                 = local.is_hosted
  queue_name                = one(module.queue[*].queue_name)
  dead_letter_queue_name    = one(local.analysis_queue[*].dead_letter_queue_name)
  state_machine_arn         = one(module.workflow[*].state_machine_arn)
  guard_function_name       = one(module.guard_function[*].function_name)
  analyze_function_name     = try(module.function["analyze_images"].function_name, null)
  compact_function_name     = module.function["compact_catalog"].function_name
  summarize_function_name   = try(module.function["summarize_run"].function_name, null)
  function_names            = [for function in concat(values(module.function), values(module.mapping_function), module.guard_function) : function.function_name]
  operations                = local.is_hosted ? [] : keys(local.paces)
  backfill_arn              = one(module.backfill[*].state_machine_arn)
  changes                   = one(local.changes_to_watch)
  videos                    = one(local.videos_to_watch)
  parts                     = var.monitoring
  message_retention_seconds = local.message_retention_seconds
  model_on_seconds          = coalesce(var.alarm_thresholds.model_on_seconds, min(604800, local.execution_timeout_seconds))
  # A schedule that is off starts nothing.
  no_run_seconds         = var.schedule_enabled ? local.no_run_seconds : null
  function_errors        = var.alarm_thresholds.function_errors
  function_throttles     = var.alarm_thresholds.function_throttles
  rejected_percent       = var.alarm_thresholds.rejected_percent
  refused_calls_percent  = var.alarm_thresholds.refused_calls_percent
  oldest_message_percent = local.oldest_message_percent
  alert_topic_arn        = module.alerts.topic_arn
  tags                   = var.tags
}

locals {
  changes_to_watch = [for changes in module.changes : {
    rule_name                   = changes.rule_name
    rule_dead_letter_queue_name = changes.dead_letter_queue_name
    dead_letter_queue_name      = local.collects_changes ? module.queue[0].dead_letter_queue_name : null
    function_name               = try(module.function["collect_changes"].function_name, null)
  }]

  videos_to_watch = [for queue in module.videos_queue : {
    dead_letter_queue_name      = queue.dead_letter_queue_name
    dispatch_function_name      = module.function["dispatch_videos"].function_name
    rule_name                   = one(module.video_changes[*].rule_name)
    rule_dead_letter_queue_name = one(module.video_changes[*].dead_letter_queue_name)
    max_minutes_per_day         = var.videos.max_minutes_per_day
  }]
}
