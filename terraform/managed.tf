# ---------------------------------------------------------------------------------------------------------------------
# A managed model, which has no runs: ticks do what else a run does
# ---------------------------------------------------------------------------------------------------------------------

# Of a drop-off bucket: puts images back on the queue that no event told of.
module "requeue_schedule" {
  source = "./modules/function_schedule"
  count  = local.is_managed && local.is_drop_off ? 1 : 0

  name                = "${var.name_prefix}-requeue"
  description         = "Looks for images of batch-vision that wait and have no message"
  schedule_expression = var.schedule_expression
  is_enabled          = var.schedule_enabled
  function_arn        = module.function["requeue_images"].function_arn
  tags                = var.tags
}

module "compaction_schedule" {
  source = "./modules/function_schedule"
  # Videos have lines in the catalog when no run goes on.
  count = local.is_hosted && !local.has_videos ? 0 : 1

  name                = "${var.name_prefix}-compaction"
  description         = "Makes an index of the catalog of batch-vision"
  schedule_expression = "rate(1 hour)"
  is_enabled          = var.schedule_enabled
  function_arn        = module.function["compact_catalog"].function_arn
  tags                = var.tags
}
