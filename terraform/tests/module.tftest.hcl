# The module as a whole. The provider is mocked, so nothing is made; see tests/mocks.

mock_provider "aws" {
  override_during = plan
  source          = "./tests/mocks"
}

override_resource {
  override_during = plan
  target          = module.source_bucket[0].aws_s3_bucket.this
  values = {
    arn = "arn:aws:s3:::source"
  }
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

  rekognition_custom_labels = {
    project_arn         = "arn:aws:rekognition:us-east-1:111122223333:project/welds/1732100000000"
    project_version_arn = "arn:aws:rekognition:us-east-1:111122223333:project/welds/version/welds.1/1732190000000"
  }
}

run "names_come_from_prefix_account_and_region" {
  command = plan

  assert {
    condition     = local.source_bucket_name == "batch-vision-source-111122223333-us-east-1"
    error_message = "The source bucket is named ${local.source_bucket_name}."
  }

  assert {
    condition     = local.final_bucket_name == "batch-vision-final-111122223333-us-east-1"
    error_message = "The final bucket is named ${local.final_bucket_name}."
  }

  assert {
    condition     = output.analyze_images_function_name == "batch-vision-analyze-images"
    error_message = "The analyzing function is named ${output.analyze_images_function_name}."
  }
}

run "longest_names_fit" {
  command = plan

  variables {
    name_prefix = "abcdefghijklmnopqrstuvwxyz0"

    rekognition_custom_labels = {
      project_arn         = "arn:aws:rekognition:us-isof-south-1:111122223333:project/welds/1732100000000"
      project_version_arn = "arn:aws:rekognition:us-isof-south-1:111122223333:project/welds/version/welds.1/1732190000000"
    }
  }

  override_data {
    override_during = plan
    target          = data.aws_region.current
    values = {
      id = "us-isof-south-1"
    }
  }

  assert {
    condition     = max(length(local.source_bucket_name), length(local.final_bucket_name)) <= 63
    error_message = "S3 allows 63 characters: ${local.source_bucket_name}"
  }

  assert {
    condition     = alltrue([for name in concat(keys(local.functions), keys(local.mapping_functions), ["guard_model"]) : length("${var.name_prefix}-${name}-${local.region}") <= 64])
    error_message = "IAM allows 64 characters for the name of a role."
  }
}

run "functions_are_those_of_the_package" {
  command = plan

  assert {
    condition = toset(concat(keys(module.function), keys(module.mapping_function))) == toset([
      "analyze_images", "check_backlog", "close_run", "compact_catalog", "enable_mapping", "requeue_images", "start_model",
      "summarize_run",
    ])
    error_message = "The functions are ${join(", ", concat(keys(module.function), keys(module.mapping_function)))}."
  }
}

run "watchdog_looks_after_what_the_module_made" {
  command = plan

  variables {
    guard_schedule_expression = "rate(7 minutes)"
    timings = {
      model_poll_seconds      = 31
      analyze_timeout_seconds = 41
    }
  }

  assert {
    condition = module.guard[0].settings.input == {
      state_machine_arn         = output.state_machine_arn
      event_source_mapping_uuid = output.event_source_mapping_uuid
      backend                   = "rekognition_custom_labels"
      backend_settings          = local.backend.settings
      poll_seconds              = 31
      analyze_timeout_seconds   = 41
      alert_topic_arn           = output.alert_topic_arn
    }
    error_message = "The watchdog is told ${jsonencode(module.guard[0].settings.input)}."
  }

  assert {
    condition     = module.guard[0].settings.expression == "rate(7 minutes)"
    error_message = "The watchdog looks at ${module.guard[0].settings.expression}."
  }
}

run "watchdog_may_stop_what_belongs_to_the_deployment" {
  command = plan

  assert {
    condition = {
      for sid, statement in local.guard_statements : sid => {
        actions   = sort(statement.actions)
        resources = sort(statement.resources)
      }
      } == {
      CloseRun = {
        actions   = tolist(["s3:GetObject", "s3:PutObject"])
        resources = tolist(["${module.final_bucket.bucket_arn}/current-run.json"])
      }
      DisableMapping = {
        actions   = tolist(["lambda:GetEventSourceMapping", "lambda:UpdateEventSourceMapping"])
        resources = tolist([aws_lambda_event_source_mapping.this[0].arn])
      }
      DescribeModel = {
        actions   = tolist(["rekognition:DescribeProjectVersions"])
        resources = tolist([var.rekognition_custom_labels.project_arn])
      }
      ListFormerModels = {
        actions   = tolist(["sagemaker:ListEndpointConfigs"])
        resources = tolist(["*"])
      }
      RemoveConfigurations = {
        actions   = tolist(["sagemaker:DeleteEndpointConfig"])
        resources = tolist(["arn:aws:sagemaker:us-east-1:111122223333:endpoint-config/batch-vision-????????????????-????"])
      }
      FindExecutions = {
        actions   = tolist(["states:ListExecutions"])
        resources = tolist([output.state_machine_arn])
      }
      StopExecutions = {
        actions   = tolist(["states:StopExecution"])
        resources = tolist(["arn:aws:states:us-east-1:111122223333:execution:batch-vision:*"])
      }
      ReadSummaries = {
        actions   = tolist(["s3:GetObject"])
        resources = tolist(["${module.final_bucket.bucket_arn}/runs/*"])
      }
      SendAlerts = {
        actions   = tolist(["sns:Publish"])
        resources = tolist([output.alert_topic_arn])
      }
      StopFormerModels = {
        actions   = sort(local.stop_former_models.actions)
        resources = sort(local.stop_former_models.resources)
      }
      StopModel = {
        actions   = tolist(["rekognition:StopProjectVersion"])
        resources = tolist([var.rekognition_custom_labels.project_version_arn])
      }
      TellMissingFromForbidden = {
        actions   = tolist(["s3:ListBucket"])
        resources = tolist([module.final_bucket.bucket_arn])
      }
    }
    error_message = "The watchdog has gained or lost a permission: ${jsonencode(local.guard_statements)}."
  }
}

run "environment_carries_the_settings" {
  command = plan

  variables {
    source_prefix              = "incoming/"
    min_confidence_percent     = 72.5
    start_backlog_images       = 50
    start_max_age_seconds      = 7200
    min_inference_units        = 2
    max_inference_units        = 4
    target_drain_seconds       = 900
    images_per_second_per_unit = 7.5
    account_images_per_second  = 40
    max_concurrency            = 30
    batch_size                 = 8
    max_receive_count          = 7
    log_level                  = "DEBUG"
  }

  assert {
    condition = merge(values(local.function_environments)...) == {
      SOURCE_BUCKET_NAME           = output.source_bucket_name
      PACES                        = jsonencode({ rekognition_custom_labels = { calls_per_second = 3.75, most_calls_per_second = 30 } })
      SOURCE_PREFIXES              = jsonencode(["incoming/"])
      FINAL_BUCKET_NAME            = output.final_bucket_name
      QUEUE_URL                    = output.queue_url
      MAX_RECEIVE_COUNT            = "7"
      BACKEND                      = "rekognition_custom_labels"
      BACKEND_SETTINGS             = jsonencode(var.rekognition_custom_labels)
      MIN_CONFIDENCE_PERCENT       = "72.5"
      CONVERT_IMAGES               = "false"
      START_BACKLOG_IMAGES         = "50"
      START_MAX_AGE_SECONDS        = "7200"
      MIN_INFERENCE_UNITS          = "2"
      MAX_INFERENCE_UNITS          = "4"
      TARGET_DRAIN_SECONDS         = "900"
      IMAGES_PER_SECOND_PER_UNIT   = "7.5"
      ACCOUNT_IMAGES_PER_SECOND    = "40"
      MAX_CONCURRENCY              = "30"
      BATCH_SIZE                   = "8"
      IMAGE_LATENCY_SECONDS        = "1"
      REQUEUE_LIMIT_IMAGES         = "10000"
      INFERENCE_UNIT_HOUR_DOLLARS  = "4"
      SCHEDULE_PERIOD_SECONDS      = "3600"
      SUCCESS_TOPIC_ARN            = ""
      POWERTOOLS_SERVICE_NAME      = "batch-vision"
      POWERTOOLS_METRICS_NAMESPACE = "BatchVision"
      POWERTOOLS_LOG_LEVEL         = "DEBUG"
    }
    error_message = "The functions are told ${jsonencode(local.function_environments)}."
  }
}

run "no_confidence_means_the_trained_thresholds" {
  command = plan

  assert {
    condition     = local.settings.MIN_CONFIDENCE_PERCENT == ""
    error_message = "MIN_CONFIDENCE_PERCENT is \"${local.settings.MIN_CONFIDENCE_PERCENT}\"."
  }

  # And one image that waits is enough for a start.
  assert {
    condition     = local.settings.START_BACKLOG_IMAGES == "1" && local.settings.START_MAX_AGE_SECONDS == ""
    error_message = "A run waits for ${local.settings.START_BACKLOG_IMAGES} images or ${local.settings.START_MAX_AGE_SECONDS} seconds."
  }
}

run "each_function_may_do_what_it_does_and_no_more" {
  command = plan

  variables {
    source_prefix = "incoming/"
  }

  assert {
    condition = jsonencode({
      for name, statements in merge(local.function_statements, local.mapping_function_statements) :
      name => sort(distinct(flatten([for statement in values(statements) : statement.actions])))
      }) == jsonencode({
      analyze_images = [
        "rekognition:DetectCustomLabels",
        "s3:AbortMultipartUpload", "s3:DeleteObject", "s3:DeleteObjectVersion", "s3:GetObject", "s3:GetObjectLegalHold",
        "s3:GetObjectRetention", "s3:GetObjectTagging", "s3:GetObjectVersion", "s3:GetObjectVersionTagging",
        "s3:ListBucket", "s3:ListBucketVersions", "s3:PutObject", "s3:PutObjectTagging",
        "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage", "sqs:SendMessage",
      ]
      check_backlog = [
        "rekognition:DescribeProjectVersions", "s3:ListBucket", "s3:ListBucketVersions", "sqs:GetQueueAttributes",
      ]
      close_run = [
        "lambda:GetEventSourceMapping", "lambda:UpdateEventSourceMapping",
        "rekognition:DescribeProjectVersions", "rekognition:StopProjectVersion",
        "s3:GetObject", "s3:ListBucket", "s3:PutObject",
        "sagemaker:DeleteEndpoint", "sagemaker:DeleteEndpointConfig", "sagemaker:DescribeEndpoint", "sagemaker:ListEndpointConfigs",
        "sqs:GetQueueAttributes",
      ]
      compact_catalog = ["s3:GetObject", "s3:ListBucket", "s3:PutObject"]
      enable_mapping  = ["lambda:GetEventSourceMapping", "lambda:UpdateEventSourceMapping"]
      requeue_images = [
        "s3:ListBucket", "s3:ListBucketVersions", "s3:PutObject",
        "sqs:DeleteMessage", "sqs:ReceiveMessage", "sqs:SendMessage",
      ]
      start_model = [
        "rekognition:DescribeProjectVersions", "rekognition:StartProjectVersion", "s3:GetObject", "s3:ListBucket",
        "s3:PutObject",
      ]
      summarize_run = ["s3:GetObject", "s3:ListBucket", "s3:ListBucketVersions", "s3:PutObject"]
    })
    error_message = "A function has gained or lost a permission: ${jsonencode({ for name, statements in merge(local.function_statements, local.mapping_function_statements) : name => sort(distinct(flatten([for statement in values(statements) : statement.actions]))) })}."
  }

  # A message may be of an upload from before the prefix was changed.
  assert {
    condition     = tolist(local.function_statements.analyze_images.ReadAndRemoveImages.resources) == tolist(["arn:aws:s3:::source/*"])
    error_message = "Images are read and removed in ${jsonencode(local.function_statements.analyze_images.ReadAndRemoveImages.resources)}."
  }

  assert {
    condition = tolist(local.function_statements.analyze_images.WriteResults.resources) == tolist([
      "arn:aws:s3:::final/processed/*", "arn:aws:s3:::final/rejected/*",
    ])
    error_message = "Results are written to processed/ and rejected/ only."
  }

  assert {
    condition = (
      tolist(local.function_statements.start_model.NameRun.resources) == tolist(["arn:aws:s3:::final/current-run.json"])
      && tolist(local.function_statements.analyze_images.NameRunInLog.resources) == tolist(["arn:aws:s3:::final/current-run.json"])
    )
    error_message = "The run is named in current-run.json only."
  }

  assert {
    condition     = tolist(local.function_statements.summarize_run.WriteSummary.resources) == tolist(["arn:aws:s3:::final/runs/*"])
    error_message = "Summaries are written to runs/ only."
  }

  assert {
    condition = toset(flatten([
      for statement in values(local.function_statements.compact_catalog) : [
        for pair in setproduct(statement.actions, statement.resources) : replace(join(" ", pair), "arn:aws:s3:::", "")
      ]
    ])) == toset(["s3:GetObject final/catalog/*", "s3:GetObject final/index/*", "s3:ListBucket final", "s3:PutObject final/index/*"])
    error_message = "The function that makes the index may do ${jsonencode(local.function_statements.compact_catalog)}."
  }

  assert {
    condition     = contains(local.function_statements.analyze_images.TellMissingFromForbidden.resources, "arn:aws:s3:::source")
    error_message = "Without s3:ListBucket on the source bucket a missing image looks like a forbidden one."
  }
}

run "model_permissions_name_the_model" {
  command = plan

  assert {
    condition = {
      detect   = local.function_statements.analyze_images.DetectWithModel.resources
      start    = local.function_statements.start_model.StartModel.resources
      stop     = local.mapping_function_statements.close_run.StopModel.resources
      describe = local.mapping_function_statements.close_run.DescribeModel.resources
      } == {
      detect   = [var.rekognition_custom_labels.project_version_arn]
      start    = [var.rekognition_custom_labels.project_version_arn]
      stop     = [var.rekognition_custom_labels.project_version_arn]
      describe = [var.rekognition_custom_labels.project_arn]
    }
    error_message = "Versions are described on the project's ARN, all else is allowed on the version's."
  }
}

run "customer_key_is_named_only_where_it_is_used" {
  command = plan

  variables {
    kms_key_arn = "arn:aws:kms:us-east-1:111122223333:key/0a1b2c3d-0000-4000-8000-000000000000"
  }

  assert {
    condition = [
      for name, statements in merge(local.function_statements, local.mapping_function_statements) : name
      if contains(keys(statements), "UseCustomerKey")
    ] == ["analyze_images", "close_run", "compact_catalog", "requeue_images", "start_model", "summarize_run"]
    error_message = "The functions that touch objects or messages need the key, the others do not."
  }

  assert {
    condition     = local.guard_statements.UseCustomerKey.resources == [var.kms_key_arn]
    error_message = "The watchdog cannot publish to an encrypted topic."
  }

  assert {
    condition     = local.function_statements.analyze_images.UseCustomerKey.resources == [var.kms_key_arn]
    error_message = "The statement must name the key."
  }
}

run "former_prefixes_and_keys_are_still_read" {
  command = plan

  variables {
    source_prefix = "line-2/"
    kms_key_arn   = "arn:aws:kms:us-east-1:111122223333:key/new"

    former_settings = {
      source_prefixes = ["line-2/camera/", "line-1/", "line-2/", "line-10/"]
      kms_key_arns    = ["arn:aws:kms:us-east-1:111122223333:key/old", "arn:aws:kms:us-east-1:111122223333:key/new"]
    }
  }

  # The first is where images are uploaded now.
  assert {
    condition     = jsondecode(local.settings.SOURCE_PREFIXES) == ["line-2/", "line-1/", "line-10/", "line-2/camera/"]
    error_message = "Images are looked for under ${local.settings.SOURCE_PREFIXES}."
  }

  assert {
    condition = {
      for sid, statement in local.use_key : sid => { actions = statement.actions, resources = sort(statement.resources) }
      } == {
      ReadWithFormerKey = { actions = ["kms:Decrypt"], resources = tolist(["arn:aws:kms:us-east-1:111122223333:key/old"]) }
      UseCustomerKey    = { actions = ["kms:Decrypt", "kms:GenerateDataKey"], resources = tolist(["arn:aws:kms:us-east-1:111122223333:key/new"]) }
    }
    error_message = "The keys are used by ${jsonencode(local.use_key)}."
  }

  assert {
    condition = [
      for name, statements in local.function_statements : name if contains(keys(statements), "ReadWithFormerKey")
    ] == [for name, statements in local.function_statements : name if contains(keys(statements), "UseCustomerKey")]
    error_message = "A function reads what the new key encrypts, and not what the former one did."
  }
}

run "a_deployment_that_was_for_all_objects_still_is" {
  command = plan

  variables {
    source_prefix   = "line-2/"
    former_settings = { source_prefixes = [""] }
  }

  assert {
    condition     = jsondecode(local.settings.SOURCE_PREFIXES) == ["line-2/", ""]
    error_message = "Images are looked for under ${local.settings.SOURCE_PREFIXES}."
  }
}

run "a_former_key_is_read_after_it_was_given_up" {
  command = plan

  variables {
    former_settings = { kms_key_arns = ["arn:aws:kms:us-east-1:111122223333:key/old"] }
  }

  assert {
    condition     = jsonencode(local.guard_statements.ReadWithFormerKey.actions) == jsonencode(["kms:Decrypt"]) && !contains(keys(local.use_key), "UseCustomerKey")
    error_message = "The keys are used by ${jsonencode(local.use_key)}."
  }
}

run "the_source_bucket_tells_of_new_objects_under_the_prefix" {
  command = plan

  variables {
    source_prefix = "incoming/"
  }

  assert {
    condition = (
      one(aws_s3_bucket_notification.this[0].queue).events == toset(["s3:ObjectCreated:*"])
      && one(aws_s3_bucket_notification.this[0].queue).filter_prefix == "incoming/"
      && keys(local.senders) == ["AllowSourceBucketToSend"]
    )
    error_message = "The bucket does not announce its new objects under the prefix."
  }
}

run "mapping_waits_for_the_workflow" {
  command = plan

  assert {
    condition     = aws_lambda_event_source_mapping.this[0].enabled == false
    error_message = "The mapping must be made disabled: the model does not run yet."
  }

  assert {
    condition     = aws_lambda_event_source_mapping.this[0].function_response_types == toset(["ReportBatchItemFailures"])
    error_message = "Without ReportBatchItemFailures one bad message returns its whole batch."
  }
}

run "mapping_follows_its_variables" {
  command = plan

  variables {
    batch_size = 100
  }

  assert {
    condition = (
      aws_lambda_event_source_mapping.this[0].batch_size == 100
      && aws_lambda_event_source_mapping.this[0].maximum_batching_window_in_seconds == 1
    )
    error_message = "The mapping does not follow its variables."
  }
}

run "short_waits_for_local_runs_are_allowed" {
  command = plan

  variables {
    timings = {
      analyze_timeout_seconds = 5
      stall_timeout_seconds   = 60
      model_poll_seconds      = 1
      start_timeout_seconds   = 10
      stop_timeout_seconds    = 10
      mapping_poll_seconds    = 1
      mapping_timeout_seconds = 60
      drain_poll_seconds      = 1
      drain_timeout_seconds   = 300
    }
  }

  assert {
    condition     = local.visibility_timeout_seconds == 30
    error_message = "The visibility timeout is ${local.visibility_timeout_seconds} seconds."
  }
}
