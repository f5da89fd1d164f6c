# The four shapes of a deployment, a hosted or a managed model, a drop-off bucket or an existing one, and those of videos,
# beside them or alone. Neither makes what another needs. The provider is mocked, so nothing is made; see tests/mocks.

mock_provider "aws" {
  override_during = plan
  source          = "./tests/mocks"
}

override_resource {
  override_during = plan
  target          = module.final_bucket.aws_s3_bucket.this
  values = {
    arn = "arn:aws:s3:::final"
  }
}

variables {
  lambda_package_path = "tests/fixtures/package.zip"
}

run "managed_drop_off" {
  command = plan

  variables {
    backend     = "rekognition"
    rekognition = { analyses = ["labels", "image_properties", "text"] }
  }

  assert {
    condition = { for role, function in module.function : role => local.handlers[role] } == {
      analyze_images  = "analyze_images"
      compact_catalog = "compact_catalog"
      requeue_images  = "requeue_overdue"
    }
    error_message = "The functions are ${jsonencode(keys(module.function))}."
  }

  assert {
    condition     = [for parts in [module.mapping_function, module.workflow, module.guard, module.guard_function, module.schedule, module.changes, module.chunk_queue, module.backfill, module.sweep_schedule, aws_s3_object.settings] : length(parts)] == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    error_message = "A managed model on a drop-off bucket has a part that it does not use."
  }

  assert {
    condition     = length([for value in [output.state_machine_arn, output.schedule_rule_name, output.images_bucket_name, output.rule_dead_letter_queue_url, output.backfill_state_machine_arn, output.backfill_max_concurrency] : value if value != null]) == 0
    error_message = "An output names what is not there."
  }

  assert {
    condition     = output.analyze_images_function_name == "batch-vision-analyze-images" && output.source_bucket_name != null
    error_message = "The outputs are those of another shape."
  }

  # 50 calls a second of each of two operations; 10 images at once in an invocation, and twice as many invocations.
  assert {
    condition     = aws_lambda_event_source_mapping.this[0].enabled && aws_lambda_event_source_mapping.this[0].scaling_config[0].maximum_concurrency == 10
    error_message = "The mapping is ${jsonencode(aws_lambda_event_source_mapping.this[0].scaling_config)}."
  }

  assert {
    condition = jsondecode(local.function_environments.analyze_images.PACES) == {
      DetectLabels = { calls_per_second = 5, most_calls_per_second = 5 }
      DetectText   = { calls_per_second = 5, most_calls_per_second = 5 }
    }
    error_message = "The paces are ${local.function_environments.analyze_images.PACES}."
  }

  assert {
    condition = jsonencode(module.requeue_schedule[0].settings) == jsonencode({
      state      = "ENABLED"
      expression = "rate(1 hour)"
      target_arn = module.function["requeue_images"].function_arn
      tags       = [{}]
    })
    error_message = "The tick is ${jsonencode(module.requeue_schedule[0].settings)}."
  }

  assert {
    condition = jsonencode(module.compaction_schedule[0].settings) == jsonencode({
      state      = "ENABLED"
      expression = "rate(1 hour)"
      target_arn = module.function["compact_catalog"].function_arn
      tags       = [{}]
    })
    error_message = "The tick of compaction is ${jsonencode(module.compaction_schedule[0].settings)}."
  }

  assert {
    condition     = local.function_environments.requeue_images.REQUEUE_AFTER_SECONDS == tostring(2 * module.queue[0].settings.visibility_timeout_seconds)
    error_message = "Images are put back after ${local.function_environments.requeue_images.REQUEUE_AFTER_SECONDS} seconds."
  }

  assert {
    condition = jsonencode({ for name, statements in local.function_statements : name => sort(distinct(flatten(values(statements)[*].actions))) }) == jsonencode({
      analyze_images = [
        "rekognition:DetectLabels", "rekognition:DetectText",
        "s3:AbortMultipartUpload", "s3:DeleteObject", "s3:DeleteObjectVersion", "s3:GetObject", "s3:GetObjectLegalHold",
        "s3:GetObjectRetention", "s3:GetObjectTagging", "s3:GetObjectVersion", "s3:GetObjectVersionTagging",
        "s3:ListBucket", "s3:ListBucketVersions", "s3:PutObject", "s3:PutObjectTagging",
        "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage", "sqs:SendMessage",
      ]
      compact_catalog = ["s3:GetObject", "s3:ListBucket", "s3:PutObject"]
      requeue_images = [
        "s3:ListBucket", "s3:ListBucketVersions", "s3:PutObject",
        "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage", "sqs:SendMessage",
      ]
    })
    error_message = "A function has gained or lost a permission: ${jsonencode(local.function_statements)}."
  }

  assert {
    condition     = local.noncurrent_days_by_prefix == { "work/" = 1 } && local.current_days_by_prefix == { "work/partial/" = 15 }
    error_message = "Noncurrent versions go after ${jsonencode(local.noncurrent_days_by_prefix)} days."
  }

  assert {
    condition = toset(keys(module.monitoring[0].alarms)) == toset([
      "analyze-errors", "analyze-throttles", "compaction-failed", "dead-letters", "oldest-message", "refused-calls-DetectLabels",
      "refused-calls-DetectText", "rejected", "stuck",
    ])
    error_message = "The alarms are ${jsonencode(keys(module.monitoring[0].alarms))}."
  }

  assert {
    condition     = !can(regex("StateMachineArn|ModelOn|CostDollars|Guard", jsonencode(module.monitoring[0].dashboard)))
    error_message = "The dashboard speaks of runs."
  }

  assert {
    condition = toset(keys(module.monitoring[0].queries)) == toset([for name in [
      "errors", "rejected-images-by-reason", "slowest-images", "throttles-and-retries-over-time", "what-happened-to-one-image",
    ] : "batch-vision/${name}"])
    error_message = "The queries are ${jsonencode(keys(module.monitoring[0].queries))}."
  }

  # A day.
  assert {
    condition     = floor(module.monitoring[0].alarms["oldest-message"].threshold / 3600) == 23
    error_message = "The alarm is at ${module.monitoring[0].alarms["oldest-message"].threshold} seconds."
  }
}

run "managed_existing" {
  command = plan

  variables {
    backend                = "rekognition"
    rekognition            = { analyses = ["moderation"], quota_share_percent = 60 }
    min_confidence_percent = 70
    images_bucket_name     = "catalog-images"
    image_suffixes         = [".JPG", ".tif"]
    source_prefix          = "products/"
    former_settings        = { source_prefixes = ["old/"] }
    images_bucket          = { kms_key_arn = "arn:aws:kms:us-east-1:111122223333:key/images" }
    kms_key_arn            = "arn:aws:kms:us-east-1:111122223333:key/own"

    sweep_schedule_expression = "cron(0 3 ? * SUN *)"
  }

  assert {
    condition = { for role, function in module.function : role => local.handlers[role] } == {
      analyze_images  = "update_results"
      compact_catalog = "compact_catalog"
      count_backfill  = "count_backfill"
      plan_backfill   = "plan_backfill"
      work_off_chunk  = "work_off_chunk"
    }
    error_message = "The functions are ${jsonencode(keys(module.function))}."
  }

  assert {
    condition = [
      for parts in [
        module.source_bucket, aws_s3_bucket_notification.this, module.mapping_function, module.workflow, module.guard,
        module.guard_function, module.schedule, module.requeue_schedule, module.chunk_queue,
        aws_lambda_event_source_mapping.changes,
      ] : length(parts)
    ] == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    error_message = "A managed model on an existing bucket has a part that it does not use."
  }

  assert {
    condition     = length([for value in [output.source_bucket_name, output.state_machine_arn, output.schedule_rule_name] : value if value != null]) == 0 && output.images_bucket_name == "catalog-images" && output.rule_dead_letter_queue_url != null
    error_message = "The outputs are those of another shape."
  }

  assert {
    condition     = jsonencode(module.changes[0].settings.target_arn) == jsonencode(module.queue[0].queue_arn) && module.changes[0].settings.admits_accounts == []
    error_message = "Changes go to ${module.changes[0].settings.target_arn}."
  }

  assert {
    condition = module.changes[0].settings.pattern == {
      source        = ["aws.s3"]
      "detail-type" = ["Object Created", "Object Deleted"]
      detail        = { bucket = { name = ["catalog-images"] }, object = { key = [{ prefix = "products/" }, { prefix = "old/" }] } }
    }
    error_message = "The rule is for ${jsonencode(module.changes[0].settings.pattern)}."
  }

  assert {
    condition = jsonencode(local.senders) == jsonencode({ AllowRuleToSend = {
      service           = "events.amazonaws.com"
      source_account_id = null
      source_arn        = "arn:aws:events:us-east-1:111122223333:rule/batch-vision-changes"
    } }) && module.changes[0].rule_name == "batch-vision-changes"
    error_message = "The queue admits ${jsonencode(local.senders)}."
  }

  # 30 calls a second.
  assert {
    condition     = aws_lambda_event_source_mapping.this[0].enabled && aws_lambda_event_source_mapping.this[0].scaling_config[0].maximum_concurrency == 6 && jsondecode(local.settings.PACES).DetectModerationLabels.most_calls_per_second == 5
    error_message = "The pace is ${local.settings.PACES}."
  }

  assert {
    condition = { for name, value in local.function_environments.analyze_images : name => value if !startswith(name, "POWERTOOLS_") } == {
      BACKEND                = "rekognition"
      BACKEND_SETTINGS       = jsonencode({ analyses = ["moderation"] })
      MIN_CONFIDENCE_PERCENT = "70"
      CONVERT_IMAGES         = "false"
      PACES                  = local.settings.PACES
      IMAGES_BUCKET_NAME     = "catalog-images"
      IMAGE_SUFFIXES         = "[\".jpg\",\".tif\"]"
      SOURCE_PREFIXES        = "[\"products/\",\"old/\"]"
      FINAL_BUCKET_NAME      = output.final_bucket_name
      SETTINGS_FINGERPRINT   = local.settings_fingerprint
      QUEUE_URL              = output.queue_url
      MAX_RECEIVE_COUNT      = "5"
      LIVE_SHARE_PERCENT     = "20"
    }
    error_message = "The function is told ${jsonencode(local.function_environments.analyze_images)}."
  }

  assert {
    condition     = aws_s3_object.settings[0].key == "settings/${local.settings_fingerprint}.json" && jsondecode(aws_s3_object.settings[0].content).min_confidence_percent == 70
    error_message = "The settings are in ${aws_s3_object.settings[0].key}: ${aws_s3_object.settings[0].content}."
  }

  # Nothing is written to the bucket, and outside the prefixes nothing is read.
  assert {
    condition = sort(flatten([
      for statement in values(local.function_statements.analyze_images) : [
        for pair in setproduct(statement.actions, statement.resources) : join(" ", pair) if strcontains(pair[1], "catalog-images")
      ]
      ])) == sort([
      "s3:GetObject arn:aws:s3:::catalog-images/old/*",
      "s3:GetObject arn:aws:s3:::catalog-images/products/*",
      "s3:GetObjectVersion arn:aws:s3:::catalog-images/old/*",
      "s3:GetObjectVersion arn:aws:s3:::catalog-images/products/*",
      "s3:ListBucket arn:aws:s3:::catalog-images",
      "s3:ListBucketVersions arn:aws:s3:::catalog-images",
    ])
    error_message = "A role may do something else to the images bucket: ${jsonencode(local.function_statements.analyze_images)}."
  }

  assert {
    condition = jsonencode({
      for sid, statement in local.function_statements.analyze_images : sid => sort(statement.actions)
      if !contains(["ReadImages", "TellMissingFromForbidden", "TakeMessagesAndSendThemAnew"], sid)
      }) == jsonencode({
      DetectWithModel   = ["rekognition:DetectModerationLabels"]
      ListImageVersions = ["s3:ListBucketVersions"]
      LookForBackfill   = ["s3:GetObject"]
      ReadWithImagesKey = ["kms:Decrypt"]
      UseCustomerKey    = ["kms:Decrypt", "kms:GenerateDataKey"]
      WriteCatalog      = ["s3:PutObject"]
      WriteResults      = ["s3:DeleteObject", "s3:GetObject", "s3:PutObject"]
    })
    error_message = "The function has gained or lost a permission: ${jsonencode(local.function_statements.analyze_images)}."
  }

  assert {
    condition     = local.function_statements.analyze_images.WriteResults.resources == ["arn:aws:s3:::final/results/*", "arn:aws:s3:::final/results-long/*"]
    error_message = "Results are written to ${jsonencode(local.function_statements.analyze_images.WriteResults.resources)}."
  }

  # 24 of the 30 calls a second.
  assert {
    condition     = output.backfill_max_concurrency == 1 && jsondecode(local.function_environments.work_off_chunk.PACES) == { DetectModerationLabels = { calls_per_second = 24, most_calls_per_second = 24 } } && local.function_environments.plan_backfill.CHUNK_IMAGES == "1000"
    error_message = "A backfill has ${output.backfill_max_concurrency} invocations at ${local.function_environments.work_off_chunk.PACES}, and chunks of ${local.function_environments.plan_backfill.CHUNK_IMAGES}."
  }

  assert {
    condition     = output.backfill_state_machine_arn == module.backfill[0].state_machine_arn && { for name, function in module.function : name => function.settings.timeout_seconds } == { analyze_images = 60, compact_catalog = 300, count_backfill = 300, plan_backfill = 900, work_off_chunk = 300 }
    error_message = "The functions have ${jsonencode({ for name, function in module.function : name => function.settings.timeout_seconds })} seconds."
  }

  # It asks the model as the analyzing function does, and has no queue.
  assert {
    condition = jsonencode({
      for sid, statement in local.function_statements.work_off_chunk : sid => statement
      if !contains(["CompareSettings", "TellCancelled", "TellLiveEvents", "WorkOffChunks"], sid)
      }) == jsonencode({
      for sid, statement in local.function_statements.analyze_images : sid => statement
      if !contains(["LookForBackfill", "TakeMessagesAndSendThemAnew"], sid)
    })
    error_message = "The function that works chunks off may do ${jsonencode(local.function_statements.work_off_chunk)}."
  }

  assert {
    condition = jsonencode([for sid in ["CompareSettings", "TellCancelled", "TellLiveEvents", "WorkOffChunks"] : local.function_statements.work_off_chunk[sid]]) == jsonencode([
      { actions = ["s3:GetObject"], resources = ["arn:aws:s3:::final/settings/*"] },
      { actions = ["s3:GetObject"], resources = ["arn:aws:s3:::final/jobs/*/cancelled.json"] },
      { actions = ["s3:PutObject"], resources = local.function_statements.analyze_images.LookForBackfill.resources },
      { actions = ["s3:DeleteObject", "s3:DeleteObjectVersion", "s3:GetObject", "s3:PutObject"], resources = ["arn:aws:s3:::final/work/*/chunks/*"] },
    ])
    error_message = "The function that works chunks off may do ${jsonencode(local.function_statements.work_off_chunk)}."
  }

  assert {
    condition = {
      for name in ["count_backfill", "plan_backfill"] : name => toset(flatten([
        for sid, statement in local.function_statements[name] : [
          for pair in setproduct(statement.actions, statement.resources) : replace(join(" ", pair), "arn:aws:s3:::", "")
        ] if sid != "UseCustomerKey"
      ]))
      } == {
      count_backfill = toset(["s3:GetObject final/jobs/*", "s3:ListBucket final", "s3:PutObject final/backfills/*"])
      plan_backfill = toset([
        "s3:GetObject final/jobs/*", "s3:GetObject final/settings/*", "s3:ListBucket catalog-images", "s3:ListBucket final",
        "s3:GetObject final/results-long/*", "s3:PutObject final/jobs/*", "s3:PutObject final/work/*/chunks/*",
        "sqs:SendMessage ${module.queue[0].queue_arn}",
      ])
    }
    error_message = "A function has gained or lost a permission: ${jsonencode(local.function_statements)}."
  }

  assert {
    condition = jsonencode(module.sweep_schedule[0].settings) == jsonencode({
      state      = "ENABLED"
      expression = "cron(0 3 ? * SUN *)"
      input = jsonencode({
        max_concurrency = 1
        request         = { deep = false, removes_orphans = true, source = { kind = "listing", prefix = "" } }
      })
      role = { path = "/", permissions_boundary_arn = null }
      tags = [{}, {}]
    })
    error_message = "The sweep is ${jsonencode(module.sweep_schedule[0].settings)}."
  }

  assert {
    condition     = local.noncurrent_days_by_prefix == { "work/" = 1, "results/" = 30, "results-long/" = 30 } && local.current_days_by_prefix == {}
    error_message = "Noncurrent versions go after ${jsonencode(local.noncurrent_days_by_prefix)} days."
  }

  assert {
    condition = toset(keys(module.monitoring[0].alarms)) == toset([
      "analyze-errors", "analyze-throttles", "backfill-failed", "backfill-timed-out", "compaction-failed", "dead-letters",
      "oldest-message", "refused-calls-DetectModerationLabels", "rejected", "rule-dead-letters", "rule-failed", "stuck",
    ]) && module.monitoring[0].alarms["stuck"].metric == "BatchVision ImagesFailed"
    error_message = "The alarms are ${jsonencode(module.monitoring[0].alarms)}."
  }

  assert {
    condition = alltrue([
      for name, metric in { backfill-failed = "AWS/States ExecutionsFailed", backfill-timed-out = "AWS/States ExecutionsTimedOut" } :
      module.monitoring[0].alarms[name].metric == metric && module.monitoring[0].alarms[name].dimensions == tomap({ StateMachineArn = output.backfill_state_machine_arn }) && module.monitoring[0].alarms[name].actions == toset([module.alerts.topic_arn])
    ])
    error_message = "The alarms of backfills are ${jsonencode(module.monitoring[0].alarms)}."
  }
}

run "hosted_existing" {
  command = plan

  variables {
    images_bucket_name = "catalog-images"
    images_bucket      = { account_id = "444455556666" }
    timings            = { drain_poll_seconds = 40 }

    rekognition_custom_labels = {
      project_arn         = "arn:aws:rekognition:us-east-1:111122223333:project/welds/1732100000000"
      project_version_arn = "arn:aws:rekognition:us-east-1:111122223333:project/welds/version/welds.1/1732190000000"
    }
  }

  assert {
    condition = { for role, function in module.function : role => local.handlers[role] } == {
      analyze_images  = "analyze_chunk"
      check_backlog   = "check_chunks"
      collect_changes = "collect_changes"
      compact_catalog = "compact_catalog"
      count_backfill  = "count_backfill"
      plan_backfill   = "plan_backfill"
      requeue_images  = "send_chunks"
      start_model     = "start_model"
      summarize_run   = "summarize_chunks"
    }
    error_message = "The functions are ${jsonencode(keys(module.function))}."
  }

  assert {
    condition     = [for parts in [module.source_bucket, aws_s3_bucket_notification.this, module.requeue_schedule, module.compaction_schedule, module.sweep_schedule, data.aws_s3_bucket.images] : length(parts)] == [0, 0, 0, 0, 0, 0]
    error_message = "A hosted model on an existing bucket has a part that it does not use."
  }

  assert {
    condition     = output.source_bucket_name == null && output.state_machine_arn != null && output.schedule_rule_name == "batch-vision-schedule" && output.rule_dead_letter_queue_url != null
    error_message = "The outputs are those of another shape."
  }

  # The mapping of the analyzing function waits for a run, that of the collecting one for nothing.
  assert {
    condition     = !aws_lambda_event_source_mapping.this[0].enabled && coalesce(aws_lambda_event_source_mapping.changes[0].enabled, true)
    error_message = "A mapping is enabled that runs enable, or the other one is not."
  }

  assert {
    condition     = aws_lambda_event_source_mapping.changes[0].maximum_batching_window_in_seconds == 40 && module.queue[0].settings.visibility_timeout_seconds == 400
    error_message = "Changes are collected for ${aws_lambda_event_source_mapping.changes[0].maximum_batching_window_in_seconds} seconds."
  }

  # The rule sends to the queue of images, as with a managed model; the model's own takes messages of functions only.
  assert {
    condition     = keys(local.senders) == ["AllowRuleToSend"] && module.chunk_queue[0].queue_name == "batch-vision-chunks" && jsonencode(module.changes[0].settings.target_arn) == jsonencode(module.queue[0].queue_arn) && jsonencode(aws_lambda_event_source_mapping.this[0].event_source_arn) == jsonencode(module.chunk_queue[0].queue_arn)
    error_message = "Changes go to ${module.changes[0].settings.target_arn}."
  }

  assert {
    condition     = !can(module.changes[0].settings.pattern.detail.object) && module.changes[0].settings.admits_accounts == ["444455556666"]
    error_message = "Without a prefix the rule is for all keys, and the event bus admits the bucket's owner."
  }

  assert {
    condition = jsonencode({ for name, statements in local.function_statements : name => sort(distinct(flatten(values(statements)[*].actions))) }) == jsonencode({
      analyze_images = [
        "rekognition:DetectCustomLabels", "s3:DeleteObject", "s3:DeleteObjectVersion", "s3:GetObject", "s3:GetObjectVersion",
        "s3:ListBucket", "s3:ListBucketVersions", "s3:PutObject",
        "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage", "sqs:SendMessage",
      ]
      check_backlog = ["rekognition:DescribeProjectVersions", "s3:ListBucket", "sqs:GetQueueAttributes"]
      collect_changes = [
        "s3:DeleteObject", "s3:GetObject", "s3:GetObjectVersion", "s3:ListBucket", "s3:ListBucketVersions",
        "s3:PutObject",
        "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage", "sqs:SendMessage",
      ]
      compact_catalog = ["s3:GetObject", "s3:ListBucket", "s3:PutObject"]
      count_backfill  = ["s3:GetObject", "s3:ListBucket", "s3:PutObject"]
      plan_backfill   = ["s3:GetObject", "s3:ListBucket", "s3:PutObject", "sqs:SendMessage"]
      requeue_images = [
        "s3:DeleteObject", "s3:DeleteObjectVersion", "s3:GetObject", "s3:GetObjectVersion", "s3:ListBucket",
        "s3:ListBucketVersions", "s3:PutObject",
        "sqs:DeleteMessage", "sqs:ReceiveMessage", "sqs:SendMessage",
      ]
      start_model = [
        "rekognition:DescribeProjectVersions", "rekognition:StartProjectVersion", "s3:GetObject", "s3:ListBucket",
        "s3:PutObject",
      ]
      summarize_run = ["s3:GetObject", "s3:ListBucket", "s3:PutObject"]
    })
    error_message = "A function has gained or lost a permission: ${jsonencode({ for name, statements in local.function_statements : name => sort(distinct(flatten(values(statements)[*].actions))) })}."
  }

  # The bucket that stays as it is.
  assert {
    condition = toset(flatten([
      for statements in concat(values(local.function_statements), values(local.mapping_function_statements), [local.guard_statements]) : [
        for statement in values(statements) : statement.actions if strcontains(jsonencode(statement.resources), "catalog-images")
      ]
    ])) == toset(["s3:GetObject", "s3:GetObjectVersion", "s3:ListBucket", "s3:ListBucketVersions"])
    error_message = "A role may write to the images bucket."
  }

  # Its runs work off the chunks of a backfill, of the size that they have anyway.
  assert {
    condition     = output.backfill_state_machine_arn != null && output.backfill_max_concurrency == null && local.function_environments.plan_backfill.CHUNK_IMAGES == local.function_environments.collect_changes.CHUNK_IMAGES
    error_message = "A backfill has ${jsonencode(output.backfill_max_concurrency)} invocations and chunks of ${local.function_environments.plan_backfill.CHUNK_IMAGES}."
  }

  # The workflow calls neither of the functions that a queue feeds, nor those of a backfill.
  assert {
    condition     = length(local.functions) + length(local.mapping_functions) == 11
    error_message = "The functions are ${jsonencode(concat(keys(local.functions), keys(local.mapping_functions)))}."
  }

  assert {
    condition     = alltrue([for alarm in ["backfill-failed", "backfill-timed-out", "change-dead-letters", "collect-errors", "rule-dead-letters", "rule-failed", "run-failed", "watchdog-failed"] : contains(keys(module.monitoring[0].alarms), alarm)])
    error_message = "The alarms are ${jsonencode(keys(module.monitoring[0].alarms))}."
  }
}

# One mapping, made anew when the kind of lifecycle changes: what replaces it says so.
run "hosted_drop_off" {
  command = plan

  variables {
    rekognition_custom_labels = {
      project_arn         = "arn:aws:rekognition:us-east-1:111122223333:project/welds/1732100000000"
      project_version_arn = "arn:aws:rekognition:us-east-1:111122223333:project/welds/version/welds.1/1732190000000"
    }
  }

  assert {
    condition     = [for parts in [module.changes, module.chunk_queue, module.requeue_schedule, module.compaction_schedule, module.backfill, module.sweep_schedule, aws_s3_object.settings, aws_lambda_event_source_mapping.changes, data.aws_s3_bucket.images] : length(parts)] == [0, 0, 0, 0, 0, 0, 0, 0, 0]
    error_message = "A hosted model on a drop-off bucket has a part that it does not use."
  }

  assert {
    condition     = terraform_data.mapping[0].input == "enabled by runs" && local.noncurrent_days_by_prefix == {} && local.current_days_by_prefix == {}
    error_message = "The mapping is ${terraform_data.mapping[0].input}."
  }

  assert {
    condition     = local.function_statements.analyze_images.DetectWithModel.resources == [var.rekognition_custom_labels.project_version_arn] && !contains(keys(local.function_statements.analyze_images), "KeepAnswers")
    error_message = "The function has a permission of another shape."
  }
}

# Videos alone, dropped off.
run "videos_only" {
  command = plan

  variables {
    backend                  = null
    min_confidence_percent   = 70
    kms_key_arn              = "arn:aws:kms:us-east-1:111122223333:key/own"
    role_path                = "/vision/"
    permissions_boundary_arn = "arn:aws:iam::111122223333:policy/developers"
    tags                     = { Project = "clips" }

    videos = {
      analyses   = ["labels", "faces", "celebrities", "text"]
      labels     = { min_confidence_percent = 55.5, include = ["Dog"] }
      faces      = { attributes = "ALL" }
      text       = {}
      moderation = null
      prefix     = "in/"
    }
  }

  assert {
    condition = { for role, function in module.function : role => local.handlers[role] } == {
      collect_videos  = "collect_and_move_video"
      compact_catalog = "compact_catalog"
      dispatch_videos = "dispatch_videos"
      register_videos = "register_videos"
    }
    error_message = "The functions are ${jsonencode(keys(module.function))}."
  }

  assert {
    condition = sum([
      for parts in [
        module.source_bucket, module.queue, module.chunk_queue, module.changes, module.backfill, module.sweep_schedule,
        module.requeue_schedule, module.mapping_function, module.workflow, module.guard, module.guard_function,
        module.schedule, module.video_changes, aws_lambda_event_source_mapping.this, aws_lambda_event_source_mapping.changes,
        aws_s3_bucket_notification.this, aws_s3_object.settings, terraform_data.mapping, data.aws_s3_bucket.images,
        data.aws_s3_bucket.videos,
      ] : length(parts)
    ]) == 0
    error_message = "A deployment of videos only has a part of the images, or of an existing bucket."
  }

  assert {
    condition = { for name, value in {
      source_bucket_name               = output.source_bucket_name
      images_bucket_name               = output.images_bucket_name
      queue_url                        = output.queue_url
      dead_letter_queue_url            = output.dead_letter_queue_url
      rule_dead_letter_queue_url       = output.rule_dead_letter_queue_url
      state_machine_arn                = output.state_machine_arn
      schedule_rule_name               = output.schedule_rule_name
      event_source_mapping_uuid        = output.event_source_mapping_uuid
      analyze_images_function_name     = output.analyze_images_function_name
      backfill_state_machine_arn       = output.backfill_state_machine_arn
      backfill_max_concurrency         = output.backfill_max_concurrency
      video_rule_dead_letter_queue_url = output.video_rule_dead_letter_queue_url
    } : name => value if value != null } == {}
    error_message = "An output names what is not there."
  }

  assert {
    condition     = output.dispatch_videos_function_name == "batch-vision-dispatch-videos" && output.collect_videos_function_name == "batch-vision-collect-videos" && length([for value in [output.videos_bucket_name, output.videos_queue_url, output.videos_dead_letter_queue_url, output.video_hint_queue_url] : value if value == null]) == 0
    error_message = "An output of the videos is missing."
  }

  # Where an analysis has no least confidence, the one of the module counts, if the analysis knows any.
  assert {
    condition = jsondecode(local.function_environments.register_videos.VIDEO_ANALYSES) == {
      labels      = { min_confidence_percent = 55.5, include = ["Dog"] }
      faces       = { attributes = "ALL" }
      celebrities = {}
      text        = { min_confidence_percent = 70 }
    }
    error_message = "The analyses are ${local.function_environments.register_videos.VIDEO_ANALYSES}."
  }

  assert {
    condition = { for name, value in local.function_environments.register_videos : name => value if !startswith(name, "POWERTOOLS_") && name != "VIDEO_ANALYSES" } == {
      FINAL_BUCKET_NAME      = output.final_bucket_name
      HINT_QUEUE_URL         = output.video_hint_queue_url
      MAX_MINUTES_PER_DAY    = "600"
      MAX_RECEIVE_COUNT      = "5"
      NOTIFICATION_ROLE_ARN  = "arn:aws:iam::111122223333:role/mock"
      NOTIFICATION_TOPIC_ARN = module.videos[0].topic_arn
      QUEUE_URL              = output.videos_queue_url
      VIDEOS_BUCKET_NAME     = output.videos_bucket_name
      VIDEO_PREFIX           = "in/"
      VIDEO_SUFFIXES         = jsonencode([".mp4", ".mov", ".m4v", ".avi"])
    }
    error_message = "The function is told ${jsonencode(local.function_environments.register_videos)}."
  }

  assert {
    condition = { for name, value in local.function_environments.dispatch_videos : name => value if !startswith(name, "POWERTOOLS_") } == {
      COLLECT_FUNCTION_NAME = output.collect_videos_function_name
      FINAL_BUCKET_NAME     = output.final_bucket_name
      MAX_CONCURRENT_JOBS   = "20"
      MAX_MINUTES_PER_DAY   = "600"
      } && { for name, value in local.function_environments.collect_videos : name => value if !startswith(name, "POWERTOOLS_") } == {
      FINAL_BUCKET_NAME = output.final_bucket_name
      HINT_QUEUE_URL    = output.video_hint_queue_url
      QUEUE_URL         = output.videos_queue_url
    }
    error_message = "The functions are told ${jsonencode(local.function_environments)}."
  }

  assert {
    condition     = aws_s3_bucket_notification.videos[0].queue[0].filter_prefix == "in/" && jsonencode(aws_s3_bucket_notification.videos[0].queue[0].queue_arn) == jsonencode(module.videos_queue[0].queue_arn)
    error_message = "The bucket tells ${jsonencode(aws_s3_bucket_notification.videos[0].queue)}."
  }

  # What each function may do, without the keys that it uses.
  assert {
    condition = jsonencode({
      for name, statements in local.function_statements : name => {
        for sid, statement in statements : sid => sort([for action in statement.actions : trimprefix(action, "s3:")])
        if !strcontains(sid, "Key")
      } if name != "compact_catalog"
      }) == jsonencode({
      register_videos = {
        DeleteFiles                 = ["DeleteObject"]
        DeleteResults               = ["DeleteObject", "GetObject"]
        KeepPlans                   = ["GetObject", "PutObject"]
        KeepRecords                 = ["GetObject", "PutObject"]
        LookAtVideos                = ["GetObject"]
        ReadVideos                  = ["GetObjectVersion"]
        SendHints                   = ["sqs:SendMessage"]
        TakeMessagesAndSendThemAnew = ["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage", "sqs:SendMessage"]
        TellMissingFromForbidden    = ["ListBucket"]
        TellMissingVersions         = ["ListBucketVersions"]
        WriteCatalog                = ["PutObject"]
        WriteMarkers                = ["PutObject"]
      }
      dispatch_videos = {
        HaveJobsCollected        = ["lambda:InvokeFunction"]
        KeepMarkers              = ["DeleteObject", "PutObject"]
        KeepRecords              = ["GetObject", "PutObject"]
        LetVideosBeRead          = ["GetObjectVersion"]
        LookAtJobs               = [for name in ["CelebrityRecognition", "ContentModeration", "FaceDetection", "LabelDetection", "TextDetection"] : "rekognition:Get${name}"]
        LookAtVideos             = ["GetObject"]
        PassPublishingRole       = ["iam:PassRole"]
        ReadPlans                = ["GetObject"]
        ReserveMinutes           = ["GetObject", "PutObject"]
        StartJobs                = [for name in ["CelebrityRecognition", "ContentModeration", "FaceDetection", "LabelDetection", "TextDetection"] : "rekognition:Start${name}"]
        TakeHints                = ["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"]
        TellMissingFromForbidden = ["ListBucket"]
      }
      collect_videos = {
        GetResults               = [for name in ["CelebrityRecognition", "ContentModeration", "FaceDetection", "LabelDetection", "TextDetection"] : "rekognition:Get${name}"]
        KeepJobs                 = ["AbortMultipartUpload", "DeleteObject", "GetObject", "PutObject"]
        KeepMarkers              = ["DeleteObject", "PutObject"]
        KeepPlans                = ["GetObject", "PutObject"]
        LookAtVideos             = ["GetObject"]
        MoveVideos               = ["AbortMultipartUpload", "PutObject", "PutObjectTagging"]
        ReadAndRemoveVideos      = ["DeleteObjectVersion", "GetObjectLegalHold", "GetObjectRetention", "GetObjectTagging", "GetObjectVersion", "GetObjectVersionTagging"]
        SendHints                = ["sqs:SendMessage"]
        SendMessagesAnew         = ["sqs:SendMessage"]
        TellMissingFromForbidden = ["ListBucket"]
        TellMissingVersions      = ["ListBucketVersions"]
        WriteCatalog             = ["PutObject"]
        WriteResults             = ["DeleteObject", "GetObject", "PutObject"]
      }
    })
    error_message = "A function has gained or lost a permission: ${jsonencode(local.function_statements)}."
  }

  # Wherever a video may go, also one whose key is too long for its place.
  assert {
    condition = local.function_statements.collect_videos.MoveVideos.resources == [
      for place in ["processed", "processed-long", "rejected", "rejected-long"] : "${module.final_bucket.bucket_arn}/videos/${place}/*"
    ]
    error_message = "Videos may be moved to ${jsonencode(local.function_statements.collect_videos.MoveVideos.resources)}."
  }

  # The dispatcher alone has a collector called again.
  assert {
    condition     = [for config in aws_lambda_function_event_invoke_config.collect_videos : [config.function_name, config.maximum_retry_attempts, config.maximum_event_age_in_seconds]] == [[module.function["collect_videos"].function_arn, 0, 60]]
    error_message = "Lambda calls a collector again: ${jsonencode(aws_lambda_function_event_invoke_config.collect_videos)}."
  }

  # The role goes to Rekognition only, and only the dispatcher passes it.
  assert {
    condition = (
      local.function_statements.dispatch_videos.PassPublishingRole.conditions == { "iam:PassedToService" = "rekognition.amazonaws.com" }
      && local.function_statements.dispatch_videos.PassPublishingRole.resources == [module.videos[0].role_arn]
      && local.function_statements.dispatch_videos.HaveJobsCollected.resources == ["arn:aws:lambda:us-east-1:111122223333:function:${output.collect_videos_function_name}"]
    )
    error_message = "The dispatcher may pass or call something else: ${jsonencode(local.function_statements.dispatch_videos)}."
  }

  assert {
    condition     = alltrue([for name in ["register_videos", "dispatch_videos", "collect_videos"] : local.function_statements[name].UseCustomerKey.resources == [var.kms_key_arn]])
    error_message = "A function cannot read what the key encrypts."
  }

  assert {
    condition = jsonencode(module.videos[0].settings) == jsonencode({
      kms_key_arns               = [var.kms_key_arn, var.kms_key_arn]
      role                       = { path = var.role_path, permissions_boundary_arn = var.permissions_boundary_arn }
      tags                       = [var.tags, var.tags, var.tags]
      visibility_timeout_seconds = 721
    })
    error_message = "The topic is ${jsonencode(module.videos[0].settings)}."
  }

  assert {
    condition = jsonencode(module.dispatch_schedule[0].settings) == jsonencode({
      state      = "ENABLED"
      expression = "rate(1 minute)"
      target_arn = module.function["dispatch_videos"].function_arn
      tags       = [var.tags]
    }) && length(module.compaction_schedule) == 1
    error_message = "The ticks are ${jsonencode([module.dispatch_schedule, module.compaction_schedule])}."
  }

  assert {
    condition     = { for name, function in module.function : name => function.settings.timeout_seconds } == { collect_videos = 900, compact_catalog = 300, dispatch_videos = 120, register_videos = 60 } && module.videos_queue[0].settings.visibility_timeout_seconds == 360
    error_message = "The functions have ${jsonencode({ for name, function in module.function : name => function.settings.timeout_seconds })} seconds."
  }

  assert {
    condition = local.noncurrent_days_by_prefix == {
      "videos/jobs/"             = 30
      "videos/open/"             = 1
      "videos/plans/"            = 1
      "videos/reservations.json" = 1
      "videos/results-long/"     = 30
      "videos/results/"          = 30
    } && local.current_days_by_prefix == {}
    error_message = "Noncurrent versions go after ${jsonencode(local.noncurrent_days_by_prefix)} days."
  }

  assert {
    condition = toset(keys(module.monitoring[0].alarms)) == toset([
      "compaction-failed", "video-dead-letters", "video-dispatch-failed", "video-past-deadline", "video-start-errors", "video-uncollected",
    ]) && module.monitoring[0].alarms["video-uncollected"].threshold == 432000
    error_message = "The alarms are ${jsonencode(keys(module.monitoring[0].alarms))}."
  }

  assert {
    condition     = length(module.monitoring[0].dashboard.widgets) == 4 && !can(regex("Images|ModelOn|StateMachineArn", jsonencode(module.monitoring[0].dashboard))) && keys(module.monitoring[0].queries) == ["batch-vision/errors"]
    error_message = "What there is to watch speaks of images: ${jsonencode(module.monitoring[0].dashboard)}, ${jsonencode(keys(module.monitoring[0].queries))}."
  }
}

# Videos and images of the same bucket: each has its rule, its queue and its results.
run "videos_in_the_images_bucket" {
  command = plan

  variables {
    backend            = "rekognition"
    rekognition        = { analyses = ["labels"] }
    images_bucket_name = "catalog-images"
    source_prefix      = "products/"
    former_settings    = { video_prefixes = ["old-clips/", "clips/"] }
    images_bucket      = { account_id = "444455556666", kms_key_arn = "arn:aws:kms:us-east-1:444455556666:key/images" }

    videos = {
      analyses            = ["moderation"]
      bucket_name         = "catalog-images"
      prefix              = "clips/"
      max_concurrent_jobs = 5
      max_minutes_per_day = 90
    }
  }

  assert {
    condition     = local.handlers.collect_videos == "collect_video" && local.handlers.analyze_images == "update_results" && length(module.function) == 8
    error_message = "The functions are ${jsonencode(keys(module.function))}."
  }

  assert {
    condition     = sum([for parts in [module.videos_bucket, aws_s3_bucket_notification.videos, module.source_bucket, data.aws_s3_bucket.videos] : length(parts)]) == 0
    error_message = "Videos of an existing bucket have a part of a drop-off bucket."
  }

  assert {
    condition = (
      module.video_changes[0].settings.pattern.detail == { bucket = { name = ["catalog-images"] }, object = { key = [{ prefix = "clips/" }] } }
      && module.video_changes[0].rule_name == "batch-vision-video-changes"
      && module.changes[0].rule_name == "batch-vision-changes"
      && module.video_changes[0].settings.admits_accounts == ["444455556666"]
    )
    error_message = "The rules are ${jsonencode([module.changes[0].settings, module.video_changes[0].settings])}."
  }

  # Nothing is written to the bucket, and outside of the prefixes, the former one among them, nothing is read.
  assert {
    condition = alltrue([
      for name in ["register_videos", "dispatch_videos", "collect_videos"] : length(setsubtract(
        flatten([
          for statement in values(local.function_statements[name]) : [
            for pair in setproduct(statement.actions, statement.resources) : join(" ", pair) if strcontains(pair[1], "catalog-images")
          ]
        ]),
        [
          "s3:GetObject arn:aws:s3:::catalog-images/clips/*",
          "s3:GetObject arn:aws:s3:::catalog-images/old-clips/*",
          "s3:GetObjectVersion arn:aws:s3:::catalog-images/clips/*",
          "s3:GetObjectVersion arn:aws:s3:::catalog-images/old-clips/*",
          "s3:ListBucket arn:aws:s3:::catalog-images",
          "s3:ListBucketVersions arn:aws:s3:::catalog-images",
        ],
      )) == 0 && contains(keys(local.function_statements[name]), "ReadWithVideosKey")
    ])
    error_message = "A role may do something else to the bucket: ${jsonencode(local.function_statements)}."
  }

  # A job of the former prefix can still be looked after; what is uploaded there is no video any more.
  assert {
    condition = (
      alltrue([
        for name in ["register_videos", "dispatch_videos", "collect_videos"] :
        jsonencode(local.function_statements[name].LookAtVideos.resources) == jsonencode(["arn:aws:s3:::catalog-images/clips/*", "arn:aws:s3:::catalog-images/old-clips/*"])
      ])
      && local.function_environments.register_videos.VIDEO_PREFIX == "clips/"
    )
    error_message = "The videos are ${jsonencode(local.videos_arns)}."
  }

  assert {
    condition     = length(setintersection(keys(local.function_statements.collect_videos), keys(local.move_videos))) == 0
    error_message = "The collector may do ${jsonencode(keys(local.function_statements.collect_videos))}."
  }

  assert {
    condition     = output.videos_bucket_name == "catalog-images" && output.images_bucket_name == "catalog-images" && output.video_rule_dead_letter_queue_url != null && local.function_environments.dispatch_videos.MAX_CONCURRENT_JOBS == "5" && local.function_environments.dispatch_videos.MAX_MINUTES_PER_DAY == "90"
    error_message = "The outputs are those of another shape."
  }

  assert {
    condition     = length([for name in keys(module.monitoring[0].alarms) : name if startswith(name, "video-")]) == 7 && module.monitoring[0].alarms["video-rule-failed"].dimensions == tomap({ RuleName = "batch-vision-video-changes" })
    error_message = "The alarms are ${jsonencode(keys(module.monitoring[0].alarms))}."
  }
}

# The workflow of a hosted model neither calls the functions of videos nor waits for them.
run "videos_beside_runs" {
  command = plan

  variables {
    schedule_enabled = false
    videos           = { analyses = ["labels"], bucket_name = "clips", bucket_kms_key_arn = "arn:aws:kms:us-east-1:111122223333:key/clips" }

    rekognition_custom_labels = {
      project_arn         = "arn:aws:rekognition:us-east-1:111122223333:project/welds/1732100000000"
      project_version_arn = "arn:aws:rekognition:us-east-1:111122223333:project/welds/version/welds.1/1732190000000"
    }
  }

  assert {
    condition     = [for parts in [module.compaction_schedule, module.dispatch_schedule, module.videos_queue, module.video_changes, data.aws_s3_bucket.videos, module.source_bucket, module.queue] : length(parts)] == [1, 1, 1, 1, 1, 1, 1] && module.dispatch_schedule[0].settings.state == "ENABLED"
    error_message = "A part of the images or of the videos is missing."
  }

  assert {
    condition     = local.function_statements.collect_videos.ReadWithVideosKey.resources == ["arn:aws:kms:us-east-1:111122223333:key/clips"] && !contains(keys(local.function_statements.analyze_images), "ReadWithVideosKey")
    error_message = "The key of the videos is for ${jsonencode(local.function_statements.collect_videos)}."
  }

  assert {
    condition     = module.video_changes[0].settings.admits_accounts == [] && !can(module.video_changes[0].settings.pattern.detail.object)
    error_message = "The rule is ${jsonencode(module.video_changes[0].settings)}."
  }
}
