# ---------------------------------------------------------------------------------------------------------------------
# A managed model and a drop-off bucket: without runs, a tick puts images back on the queue that no event told of
# ---------------------------------------------------------------------------------------------------------------------

module "requeue_schedule" {
  source = "./modules/function_schedule"
  count  = !local.is_hosted && local.is_drop_off ? 1 : 0

  name                = "${var.name_prefix}-requeue"
  description         = "Looks for images of batch-vision that wait and have no message"
  schedule_expression = var.schedule_expression
  is_enabled          = var.schedule_enabled
  function_arn        = module.function["requeue_images"].function_arn
  tags                = var.tags
}
