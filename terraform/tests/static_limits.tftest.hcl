# The module with the longest names and the largest settings that its variables take, and in other partitions than aws.
# Here is what holds of the module as a whole; tests/unit/test_static_limits.py runs this file too, and holds every
# single resource of these runs to the limits and rules of AWS. The provider is mocked, so nothing is made; see
# tests/mocks.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  lambda_package_path     = "tests/fixtures/package.zip"
  converting_package_path = "tests/fixtures/converting-package.zip"
}

run "largest" {
  variables {
    name_prefix = "abcdefghijklmnopqrstuvwxyz0"
    kms_key_arn = "arn:aws-iso-f:kms:us-isof-south-1:111122223333:key/mrk-0a1b2c3d4e5f60718293a4b5c6d7e8f9"
    tags        = { for number in range(45) : format("%0128d", number) => format("%0256d", number) }

    rekognition_custom_labels = {
      project_arn         = "arn:aws-iso-f:rekognition:us-isof-south-1:111122223333:project/${format("%0255d", 1)}/1732100000000"
      project_version_arn = "arn:aws-iso-f:rekognition:us-isof-south-1:111122223333:project/${format("%0255d", 1)}/version/${format("%0255d", 2)}/1732190000000"
    }

    min_inference_units        = 1000000
    max_inference_units        = 1000000
    target_drain_seconds       = 1000000000
    images_per_second_per_unit = 333.33333333333331
    account_images_per_second  = 1000000000
    min_confidence_percent     = 33.333333333333336
    source_prefix              = format("%0512d", 3)
    former_settings            = { source_prefixes = ["f${format("%0511d", 6)}"], kms_key_arns = ["arn:aws-iso-f:kms:us-isof-south-1:111122223333:key/former"], backends = ["lookout_for_vision"] }
    schedule_expression        = "cron(0 18 ? * MON,TUE,WED,THU,FRI,SAT,SUN 2026-2199)"
    batch_size                 = 100
    max_concurrency            = 1000
    max_receive_count          = 1000
    analyze_memory_mb          = 10240
    log_level                  = "CRITICAL"
    log_retention_days         = 3653
    role_path                  = "/${format("%0510d", 8)}/"

    videos = {
      analyses   = ["labels", "moderation", "faces", "celebrities", "text"]
      labels     = { min_confidence_percent = 33.333333333333336, exclude = [for number in range(100) : format("%02d", number)], include = [for number in range(60) : format("%02d", number)] }
      moderation = { min_confidence_percent = 33.333333333333336 }
      faces      = { attributes = "DEFAULT" }
      text       = { min_confidence_percent = 33.333333333333336 }
      prefix     = format("%0512d", 9)

      max_concurrent_jobs = 1000
      max_minutes_per_day = 1000000000
    }
    # Every alarm, and everything that is told: with cron(...), the one for missing runs needs its time.
    success_notifications_enabled = true
    alert_email_addresses         = ["${format("%064d", 4)}@${format("%060d", 5)}.example"]
    timings = {
      analyze_timeout_seconds          = 900
      control_function_timeout_seconds = 900
      model_poll_seconds               = 300
      start_timeout_seconds            = 21600
      stop_timeout_seconds             = 21600
      mapping_poll_seconds             = 300
      mapping_timeout_seconds          = 3600
      drain_poll_seconds               = 300
      drain_timeout_seconds            = 250000
      stall_timeout_seconds            = 604800
    }
    alarm_thresholds = {
      no_run_seconds         = 604800
      model_on_seconds       = 604800
      oldest_message_percent = 33.333333333333336
      rejected_percent       = 33.333333333333336
      function_errors        = 1000000000
      function_throttles     = 1000000000
    }
  }

  override_data {
    target = data.aws_partition.current
    values = {
      partition = "aws-iso-f"
    }
  }

  # The longest name that a Region has.
  override_data {
    target = data.aws_region.current
    values = {
      id = "us-isof-south-1"
    }
  }

  assert {
    condition     = length(local.workflow_definition) < 1048576
    error_message = "Step Functions takes a definition of up to 1 MB; this one has ${length(local.workflow_definition)} characters."
  }

  assert {
    condition     = length(module.monitoring[0].alarms) == 19 && length(module.monitoring[0].queries) == 8
    error_message = "Not every alarm and query is held to the limits: ${jsonencode(keys(module.monitoring[0].alarms))}."
  }

  assert {
    condition     = alltrue([for told in local.function_environments : length(jsonencode(told)) < 4096])
    error_message = "Lambda takes an environment of up to 4 KB; these have ${jsonencode([for told in local.function_environments : length(jsonencode(told))])} bytes."
  }
}

run "largest_for_lookout" {
  variables {
    backend     = "lookout_for_vision"
    name_prefix = "abcdefghijklmnopqrstuvwxyz0"
    kms_key_arn = "arn:aws:kms:us-east-1:111122223333:key/mrk-0a1b2c3d4e5f60718293a4b5c6d7e8f9"

    lookout_for_vision = {
      project_name  = format("%0255d", 1)
      model_version = "1234567890"
    }
  }

  assert {
    condition     = alltrue([for told in local.function_environments : length(jsonencode(told)) < 4096])
    error_message = "Lambda takes an environment of up to 4 KB; these have ${jsonencode([for told in local.function_environments : length(jsonencode(told))])} bytes."
  }
}

run "largest_for_sagemaker" {
  variables {
    backend         = "sagemaker_endpoint"
    name_prefix     = "abcdefghijklmnopqrstuvwxyz0"
    kms_key_arn     = "arn:aws:kms:us-east-1:111122223333:key/mrk-0a1b2c3d4e5f60718293a4b5c6d7e8f9"
    source_prefix   = format("%0512d", 3)
    former_settings = { source_prefixes = ["f${format("%0511d", 6)}"] }

    sagemaker_endpoint = {
      model_name         = format("%063d", 1)
      execution_role_arn = "arn:aws:iam::111122223333:role/${format("%0511d", 1)}/${format("%064d", 1)}"
      instance_type      = "ml.g5.12xlarge"
      instances_per_unit = 1999
      mapping            = format("%0850d", 1)
      data_capture       = { s3_uri = "s3://captured/welds" }
    }
  }

  assert {
    condition     = alltrue([for told in local.function_environments : length(jsonencode(told)) < 4096])
    error_message = "Lambda takes an environment of up to 4 KB; these have ${jsonencode([for told in local.function_environments : length(jsonencode(told))])} bytes."
  }
}

run "largest_managed" {
  variables {
    backend                = "rekognition"
    name_prefix            = "abcdefghijklmnopqrstuvwxyz0"
    kms_key_arn            = "arn:aws:kms:us-isof-south-1:111122223333:key/mrk-0a1b2c3d4e5f60718293a4b5c6d7e8f9"
    source_prefix          = format("%0512d", 3)
    former_settings        = { source_prefixes = ["f${format("%0511d", 6)}"] }
    min_confidence_percent = 33.333333333333336
    max_receive_count      = 1000
    max_concurrency        = 1000
    schedule_expression    = "cron(0 18 ? * MON,TUE,WED,THU,FRI,SAT,SUN 2026-2199)"

    rekognition = {
      analyses             = ["labels", "image_properties", "text", "faces", "moderation", "celebrities", "protective_equipment"]
      labels               = { max_labels = 10 }
      image_properties     = { max_dominant_colors = 20 }
      text                 = { min_confidence_percent = 33.333333333333336 }
      faces                = { attributes = ["AGE_RANGE", "BEARD", "EMOTIONS", "EYE_DIRECTION", "EYEGLASSES", "EYES_OPEN", "FACE_OCCLUDED", "GENDER", "MOUTH_OPEN", "MUSTACHE", "SMILE", "SUNGLASSES"] }
      moderation           = { min_confidence_percent = 33.333333333333336, adapter_arn = "arn:aws:rekognition:us-isof-south-1:111122223333:project/${format("%0255d", 1)}/version/${format("%0255d", 2)}/1732190000000" }
      protective_equipment = { required_equipment = ["FACE_COVER", "HAND_COVER", "HEAD_COVER"], min_confidence_percent = 33.333333333333336 }
      quota_share_percent  = 33.333333333333336
    }
  }

  override_data {
    target = data.aws_region.current
    values = {
      id = "us-isof-south-1"
    }
  }

  assert {
    condition     = alltrue([for told in local.function_environments : length(jsonencode(told)) < 4096])
    error_message = "Lambda takes an environment of up to 4 KB; these have ${jsonencode([for told in local.function_environments : length(jsonencode(told))])} bytes."
  }
}

run "largest_managed_existing" {
  variables {
    backend                = "rekognition"
    name_prefix            = "abcdefghijklmnopqrstuvwxyz0"
    kms_key_arn            = "arn:aws:kms:us-isof-south-1:111122223333:key/mrk-0a1b2c3d4e5f60718293a4b5c6d7e8f9"
    source_prefix          = format("%0512d", 3)
    former_settings        = { source_prefixes = ["f${format("%0511d", 6)}"], video_prefixes = [for number in range(10) : format("v%055d", number)] }
    min_confidence_percent = 33.333333333333336
    max_receive_count      = 1000
    max_concurrency        = 1000
    images_bucket_name     = format("%063d", 7)
    image_suffixes         = [for number in range(9) : format(".%017d", number)]
    convert_images         = true
    videos                 = { analyses = ["labels"], bucket_name = format("%063d", 8), prefix = format("%0512d", 9), bucket_account_id = "444455556666" }
    images_bucket          = { account_id = "444455556666", kms_key_arn = "arn:aws:kms:us-isof-south-1:444455556666:key/mrk-0a1b2c3d4e5f60718293a4b5c6d7e8f9" }

    sweep_schedule_expression = "cron(0 18 ? * MON,TUE,WED,THU,FRI,SAT,SUN 2026-2199)"

    rekognition = {
      analyses   = ["labels", "image_properties", "text", "faces", "moderation", "celebrities", "protective_equipment"]
      labels     = { max_labels = 10 }
      moderation = { adapter_arn = "arn:aws:rekognition:us-isof-south-1:111122223333:project/${format("%0255d", 1)}/version/${format("%0255d", 2)}/1732190000000" }
    }
  }

  override_data {
    target = data.aws_region.current
    values = {
      id = "us-isof-south-1"
    }
  }

  assert {
    condition     = alltrue([for told in local.function_environments : length(jsonencode(told)) < 4096])
    error_message = "Lambda takes an environment of up to 4 KB; these have ${jsonencode([for told in local.function_environments : length(jsonencode(told))])} bytes."
  }
}

run "hosted_existing" {
  variables {
    name_prefix        = "abcdefghijklmnopqrstuvwxyz0"
    images_bucket_name = "catalog-images"

    rekognition_custom_labels = {
      project_arn         = "arn:aws:rekognition:us-east-1:111122223333:project/welds/1732100000000"
      project_version_arn = "arn:aws:rekognition:us-east-1:111122223333:project/welds/version/welds.1/1732190000000"
    }
  }
}

run "defaults" {
  variables {
    rekognition_custom_labels = {
      project_arn         = "arn:aws:rekognition:us-east-1:111122223333:project/welds/1732100000000"
      project_version_arn = "arn:aws:rekognition:us-east-1:111122223333:project/welds/version/welds.1/1732190000000"
    }
  }

  assert {
    condition     = local.visibility_timeout_seconds >= 6 * var.timings.analyze_timeout_seconds
    error_message = "Messages come back before six times the timeout of the function."
  }
}

# Rekognition is not in China and Lookout is nowhere: these two are about ARNs and service principals.
run "china" {
  variables {
    videos = { analyses = ["text"] }

    rekognition_custom_labels = {
      project_arn         = "arn:aws-cn:rekognition:cn-north-1:111122223333:project/welds/1732100000000"
      project_version_arn = "arn:aws-cn:rekognition:cn-north-1:111122223333:project/welds/version/welds.1/1732190000000"
    }
  }

  override_data {
    target = data.aws_partition.current
    values = {
      partition = "aws-cn"
    }
  }

  override_data {
    target = data.aws_region.current
    values = {
      id = "cn-north-1"
    }
  }

  assert {
    condition     = !strcontains(local.workflow_definition, "arn:aws:states:") && strcontains(local.workflow_definition, "arn:aws-cn:states:::")
    error_message = "The workflow calls the integrations of another partition."
  }
}

run "govcloud" {
  variables {
    backend = "lookout_for_vision"

    lookout_for_vision = {
      project_name  = "welds"
      model_version = "1"
    }
  }

  override_data {
    target = data.aws_partition.current
    values = {
      partition = "aws-us-gov"
    }
  }

  override_data {
    target = data.aws_region.current
    values = {
      id = "us-gov-west-1"
    }
  }

  assert {
    condition     = startswith(local.lookout_for_vision_model_arn, "arn:aws-us-gov:lookoutvision:us-gov-west-1:")
    error_message = "The model is ${local.lookout_for_vision_model_arn}."
  }
}
