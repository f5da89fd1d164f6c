# Each value that a variable refuses, and the values next to it that it takes. The provider is mocked; see tests/mocks.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  lambda_package_path = "tests/fixtures/package.zip"

  rekognition_custom_labels = {
    project_arn         = "arn:aws:rekognition:us-east-1:111122223333:project/welds/1732100000000"
    project_version_arn = "arn:aws:rekognition:us-east-1:111122223333:project/welds/version/welds.1/1732190000000"
  }
}

# Numbers. Terraform does not look at a variable whose condition names one that was refused, so those have runs of their own.

run "refuses_what_is_too_small" {
  command = plan

  variables {
    name_prefix                = "a"
    min_inference_units        = 0
    target_drain_seconds       = 59
    images_per_second_per_unit = 0
    account_images_per_second  = 0
    min_confidence_percent     = -1
    batch_size                 = 0
    max_concurrency            = 1
    max_receive_count          = 4
    analyze_memory_mb          = 127
    tags                       = { "" = "welds" }
    timings = {
      control_function_timeout_seconds = 29
      analyze_timeout_seconds          = 0
      model_poll_seconds               = 0
      mapping_poll_seconds             = 0
      drain_poll_seconds               = 0
    }
  }

  expect_failures = [var.tags, var.name_prefix, var.min_inference_units, var.target_drain_seconds, var.images_per_second_per_unit, var.account_images_per_second, var.min_confidence_percent, var.batch_size, var.max_concurrency, var.max_receive_count, var.analyze_memory_mb, var.timings]
}

run "refuses_no_image_for_a_start" {
  command = plan

  variables {
    start_backlog_images = 0
  }

  expect_failures = [var.start_backlog_images]
}

run "refuses_more_images_for_a_start_than_are_counted" {
  command = plan

  variables {
    start_backlog_images  = 1001
    start_max_age_seconds = 3600
  }

  expect_failures = [var.start_backlog_images]
}

run "refuses_an_age_of_moments" {
  command = plan

  variables {
    start_backlog_images  = 10
    start_max_age_seconds = 59
  }

  expect_failures = [var.start_max_age_seconds]
}

run "refuses_to_let_images_wait_for_ever" {
  command = plan

  variables {
    start_backlog_images = 2
  }

  expect_failures = [var.start_max_age_seconds]
}

run "refuses_an_age_that_no_image_waits_for" {
  command = plan

  variables {
    start_max_age_seconds = 3600
  }

  expect_failures = [var.start_max_age_seconds]
}

run "refuses_to_let_images_wait_until_the_alarm" {
  command = plan

  variables {
    start_backlog_images  = 10
    start_max_age_seconds = 604801
    alarm_thresholds = {
      oldest_message_percent = 50
    }
  }

  expect_failures = [var.start_max_age_seconds]
}

run "takes_the_most_that_images_may_wait_for" {
  command = plan

  variables {
    start_backlog_images  = 1000
    start_max_age_seconds = 604800
    alarm_thresholds = {
      oldest_message_percent = 50
    }
  }
}

run "refuses_what_is_too_small_for_another" {
  command = plan

  variables {
    min_inference_units = 3
    max_inference_units = 2
    batch_size          = 11
    tags                = { Project = null }
    timings = {
      analyze_timeout_seconds = 60
      start_timeout_seconds   = 29
      stop_timeout_seconds    = 29
      mapping_timeout_seconds = 4
    }
  }

  expect_failures = [var.tags, var.max_inference_units, var.timings]
}

run "refuses_an_empty_tag" {
  command = plan

  variables {
    tags = { Project = "welds", CostCenter = "" }
  }

  expect_failures = [var.tags]
}

run "takes_the_smallest" {
  command = plan

  variables {
    min_inference_units    = 2
    max_inference_units    = 2
    batch_size             = 11
    max_concurrency        = 2
    max_receive_count      = 5
    min_confidence_percent = 0
    timings = {
      analyze_timeout_seconds          = 60
      stall_timeout_seconds            = 361
      start_timeout_seconds            = 30
      stop_timeout_seconds             = 30
      mapping_timeout_seconds          = 5
      drain_timeout_seconds            = 30
      control_function_timeout_seconds = 30
    }
  }
}

run "refuses_what_is_too_large" {
  command = plan

  variables {
    name_prefix                = "aaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    min_confidence_percent     = 100.5
    batch_size                 = 101
    images_per_second_per_unit = 1001
    max_concurrency            = 1001
    max_receive_count          = 1001
    analyze_memory_mb          = 10241
    tags                       = { (join("", [for number in range(129) : "k"])) = "welds" }
    timings = {
      control_function_timeout_seconds = 901
      analyze_timeout_seconds          = 901
      model_poll_seconds               = 301
      mapping_poll_seconds             = 301
      drain_poll_seconds               = 301
    }
  }

  expect_failures = [var.tags, var.name_prefix, var.min_confidence_percent, var.images_per_second_per_unit, var.batch_size, var.max_concurrency, var.max_receive_count, var.analyze_memory_mb, var.timings]
}

run "refuses_more_tags_than_there_may_be" {
  command = plan

  variables {
    tags = { for number in range(46) : "key-${number}" => "value" }
  }

  expect_failures = [var.tags]
}

run "refuses_fractions" {
  command = plan

  variables {
    min_inference_units  = 1.5
    target_drain_seconds = 900.5
    batch_size           = 5.5
    max_concurrency      = 2.5
    max_receive_count    = 5.5
    analyze_memory_mb    = 512.5
    timings = {
      control_function_timeout_seconds = 60.5
      analyze_timeout_seconds          = 60.5
      model_poll_seconds               = 30.5
      mapping_poll_seconds             = 5.5
      drain_poll_seconds               = 30.5
    }
  }

  expect_failures = [var.min_inference_units, var.target_drain_seconds, var.batch_size, var.max_concurrency, var.max_receive_count, var.analyze_memory_mb, var.timings]
}

run "refuses_fractions_of_times" {
  command = plan

  variables {
    max_inference_units = 2.5
    timings = {
      start_timeout_seconds   = 2700.5
      stop_timeout_seconds    = 900.5
      mapping_timeout_seconds = 300.5
    }
  }

  expect_failures = [var.max_inference_units, var.timings]
}

# The history of an execution

run "takes_a_drain_of_a_day_with_longer_polls" {
  command = plan

  variables {
    timings = {
      drain_timeout_seconds = 86400
      drain_poll_seconds    = 120
    }
  }
}

# Each of the timings is held to this table by one validation.
run "bounds_of_timings" {
  command = plan

  assert {
    condition = local.timing_bounds == {
      start_timeout_seconds            = [1, 21600]
      drain_timeout_seconds            = [1, 604800]
      stall_timeout_seconds            = [1, 604800]
      stop_timeout_seconds             = [1, 21600]
      mapping_timeout_seconds          = [1, 3600]
      analyze_timeout_seconds          = [1, 900]
      control_function_timeout_seconds = [30, 900]
      guard_timeout_seconds            = [60, 900]
      backfill_timeout_seconds         = [10, 900]
      model_poll_seconds               = [1, 300]
      mapping_poll_seconds             = [1, 300]
      drain_poll_seconds               = [1, 300]
    }
    error_message = "The bounds are ${jsonencode(local.timing_bounds)}."
  }
}

run "refuses_a_timing_below_its_bound" {
  command = plan

  variables {
    timings = { control_function_timeout_seconds = 29 }
  }

  expect_failures = [var.timings]
}

run "refuses_a_timing_above_its_bound" {
  command = plan

  variables {
    timings = { analyze_timeout_seconds = 901, stall_timeout_seconds = 6000 }
  }

  expect_failures = [var.timings]
}

run "refuses_a_timing_that_is_no_whole_number" {
  command = plan

  variables {
    timings = { drain_poll_seconds = 30.5 }
  }

  expect_failures = [var.timings]
}

run "refuses_a_start_that_is_shorter_than_its_poll" {
  command = plan

  variables {
    timings = { start_timeout_seconds = 29 }
  }

  expect_failures = [var.timings]
}

run "refuses_a_stop_that_is_shorter_than_its_poll" {
  command = plan

  variables {
    timings = { stop_timeout_seconds = 29 }
  }

  expect_failures = [var.timings]
}

run "refuses_a_mapping_timeout_that_is_shorter_than_its_poll" {
  command = plan

  variables {
    timings = { mapping_timeout_seconds = 4 }
  }

  expect_failures = [var.timings]
}

run "refuses_a_drain_that_is_shorter_than_its_poll" {
  command = plan

  variables {
    timings = { drain_timeout_seconds = 29 }
  }

  expect_failures = [var.timings]
}

run "refuses_a_stall_before_a_message_comes_back" {
  command = plan

  variables {
    timings = { analyze_timeout_seconds = 100, stall_timeout_seconds = 600 }
  }

  expect_failures = [var.timings]
}

run "refuses_a_drain_that_would_fill_the_history" {
  command = plan

  variables {
    timings = { drain_timeout_seconds = 86400, drain_poll_seconds = 30 }
  }

  expect_failures = [var.timings]
}

run "refuses_a_start_that_would_fill_the_history" {
  command = plan

  variables {
    timings = { start_timeout_seconds = 2700, model_poll_seconds = 1 }
  }

  expect_failures = [var.timings]
}

run "refuses_an_alarm_for_every_message" {
  command = plan

  variables {
    alarm_thresholds = { oldest_message_percent = 0 }
  }

  expect_failures = [var.alarm_thresholds]
}

run "refuses_an_alarm_after_less_than_an_hour" {
  command = plan

  variables {
    alarm_thresholds = { model_on_seconds = 3599 }
  }

  expect_failures = [var.alarm_thresholds]
}

run "refuses_an_alarm_after_more_than_a_week" {
  command = plan

  variables {
    alarm_thresholds = { model_on_seconds = 604801 }
  }

  expect_failures = [var.alarm_thresholds]
}

run "refuses_an_alarm_for_no_run_in_seconds" {
  command = plan

  variables {
    alarm_thresholds = { no_run_seconds = 59 }
  }

  expect_failures = [var.alarm_thresholds]
}

run "refuses_an_alarm_for_no_run_in_months" {
  command = plan

  variables {
    alarm_thresholds = { no_run_seconds = 604801 }
  }

  expect_failures = [var.alarm_thresholds]
}

run "refuses_fewer_than_no_errors" {
  command = plan

  variables {
    alarm_thresholds = { function_errors = -1 }
  }

  expect_failures = [var.alarm_thresholds]
}

run "refuses_half_a_throttle" {
  command = plan

  variables {
    alarm_thresholds = { function_throttles = 0.5 }
  }

  expect_failures = [var.alarm_thresholds]
}

run "refuses_fewer_than_no_rejected_images" {
  command = plan

  variables {
    alarm_thresholds = { rejected_percent = -1 }
  }

  expect_failures = [var.alarm_thresholds]
}

run "refuses_an_alarm_that_never_comes" {
  command = plan

  variables {
    alarm_thresholds = { rejected_percent = 100 }
  }

  expect_failures = [var.alarm_thresholds]
}

# Choices and forms

run "refuses_unknown_choices" {
  command = plan

  variables {
    log_level          = "TRACE"
    log_retention_days = 31
    backend            = "no_such_service"
    tags               = { "AWS:Project" = "welds" }
  }

  expect_failures = [var.tags, var.log_level, var.log_retention_days, var.backend]
}

run "refuses_a_backend_without_its_model" {
  command = plan

  variables {
    rekognition_custom_labels = null
  }

  expect_failures = [var.backend]
}

run "refuses_a_missing_zip" {
  command = plan

  variables {
    lambda_package_path = "tests/fixtures/missing.zip"
  }

  expect_failures = [var.lambda_package_path]
}

run "refuses_a_missing_zip_of_the_functions_that_convert" {
  command = plan

  variables {
    convert_images          = true
    converting_package_path = "tests/fixtures/missing.zip"
  }

  expect_failures = [var.converting_package_path]
}

run "takes_a_missing_one_where_nothing_is_converted" {
  command = plan

  variables {
    converting_package_path = "tests/fixtures/missing.zip"
  }
}

run "refuses_upper_case_slash_alias_swapped" {
  command = plan

  variables {
    name_prefix         = "Welds"
    source_prefix       = "/incoming/"
    kms_key_arn         = "arn:aws:kms:us-east-1:111122223333:alias/images"
    schedule_expression = "rate(1 hours)"
    rekognition_custom_labels = {
      project_arn         = "arn:aws:rekognition:us-east-1:111122223333:project/welds/version/welds.1/1732190000000"
      project_version_arn = "arn:aws:rekognition:us-east-1:111122223333:project/welds/1732100000000"
    }
  }

  expect_failures = [var.name_prefix, var.source_prefix, var.kms_key_arn, var.schedule_expression, var.rekognition_custom_labels]
}

run "refuses_underscore_star_key_id_no_version" {
  command = plan

  variables {
    name_prefix         = "weld_seams"
    source_prefix       = "incoming/*"
    kms_key_arn         = "0a1b2c3d-0000-4000-8000-000000000000"
    schedule_expression = "rate(2 hour)"
    rekognition_custom_labels = {
      project_arn         = "arn:aws:rekognition:us-east-1:111122223333:project/welds/1732100000000"
      project_version_arn = "arn:aws:rekognition:us-east-1:111122223333:project/welds/1732100000000"
    }
  }

  expect_failures = [var.name_prefix, var.source_prefix, var.kms_key_arn, var.schedule_expression, var.rekognition_custom_labels]
}

run "refuses_double_hyphen_policy_variable_other_service_no_project" {
  command = plan

  variables {
    name_prefix         = "weld--seams"
    source_prefix       = "$${aws:username}/"
    kms_key_arn         = "arn:aws:s3:::images"
    schedule_expression = "cron(0 18 * * MON-FRI *)"
    rekognition_custom_labels = {
      project_arn         = "arn:aws:rekognition:us-east-1:111122223333:project/welds/version/welds.1/1732190000000"
      project_version_arn = "arn:aws:rekognition:us-east-1:111122223333:project/welds/version/welds.1/1732190000000"
    }
  }

  expect_failures = [var.name_prefix, var.source_prefix, var.kms_key_arn, var.schedule_expression, var.rekognition_custom_labels]
}

run "refuses_last_hyphen_space_other_project" {
  command = plan

  variables {
    name_prefix         = "welds-"
    source_prefix       = "my images/"
    schedule_expression = "cron(0 18 ? * ? *)"
    rekognition_custom_labels = {
      project_arn         = "arn:aws:rekognition:us-east-1:111122223333:project/welds/1732100000000"
      project_version_arn = "arn:aws:rekognition:us-east-1:111122223333:project/bolts/version/welds.1/1732190000000"
    }
  }

  expect_failures = [var.name_prefix, var.source_prefix, var.schedule_expression, var.rekognition_custom_labels]
}

run "refuses_first_digit_accent_other_region" {
  command = plan

  variables {
    name_prefix         = "1welds"
    source_prefix       = "soudé/"
    schedule_expression = "at(2027-01-01T00:00:00)"
    rekognition_custom_labels = {
      project_arn         = "arn:aws:rekognition:us-east-1:111122223333:project/welds/1732100000000"
      project_version_arn = "arn:aws:rekognition:eu-west-1:111122223333:project/welds/version/welds.1/1732190000000"
    }
  }

  expect_failures = [var.name_prefix, var.source_prefix, var.schedule_expression, var.rekognition_custom_labels]
}

run "refuses_reserved_name_other_account" {
  command = plan

  variables {
    name_prefix         = "sthree-welds"
    schedule_expression = "1 hour"
    rekognition_custom_labels = {
      project_arn         = "arn:aws:rekognition:us-east-1:111122223333:project/welds/1732100000000"
      project_version_arn = "arn:aws:rekognition:us-east-1:444455556666:project/welds/version/welds.1/1732190000000"
    }
  }

  expect_failures = [var.name_prefix, var.schedule_expression, var.rekognition_custom_labels]
}

run "refuses_project_without_number" {
  command = plan

  variables {
    rekognition_custom_labels = {
      project_arn         = "arn:aws:rekognition:us-east-1:111122223333:project/welds"
      project_version_arn = "arn:aws:rekognition:us-east-1:111122223333:project/welds/version/welds.1/1732190000000"
    }
  }

  expect_failures = [var.rekognition_custom_labels]
}

run "refuses_former_settings_that_never_were" {
  command = plan

  variables {
    former_settings = { source_prefixes = ["/incoming/"], kms_key_arns = ["alias/images"], backends = ["abacus"] }
  }

  expect_failures = [var.former_settings]
}

run "refuses_more_former_prefixes_than_an_environment_holds" {
  command = plan

  variables {
    former_settings = { source_prefixes = [for number in range(30) : format("%040d/", number)] }
    source_prefix   = "incoming/"
  }

  expect_failures = [var.former_settings]
}

run "takes_ordinary_forms" {
  command = plan

  variables {
    name_prefix         = "weld-seams-2"
    source_prefix       = "incoming/line-1_a.b/"
    kms_key_arn         = "arn:aws-us-gov:kms:us-east-1:111122223333:key/mrk-0a1b2c3d"
    schedule_expression = "cron(0 18 ? * MON-FRI *)"

    # The longest key, the longest value, the shortest one, and as many as may be.
    tags = merge(
      { for number in range(43) : "key-${number}" => "v" },
      { (join("", [for number in range(128) : "k"])) = "welds", Project = join("", [for number in range(256) : "v"]) },
    )
  }
}

run "refuses_a_watchdog_without_time_for_two_looks" {
  command = plan

  variables {
    guard_schedule_expression = "rate(15 minute)"
    alert_email_addresses     = ["team@example.com", "team"]
    timings = {
      guard_timeout_seconds = 119
    }
  }

  expect_failures = [var.guard_schedule_expression, var.timings, var.alert_email_addresses]
}

run "refuses_a_watchdog_beyond_the_limit_of_lambda" {
  command = plan

  variables {
    guard_schedule_expression = "cron(0/15 * * * * *)"
    alert_email_addresses     = ["team@example.com, boss@example.com"]
    timings = {
      guard_timeout_seconds = 901
    }
  }

  expect_failures = [var.guard_schedule_expression, var.timings, var.alert_email_addresses]
}

run "refuses_a_watchdog_of_fractions" {
  command = plan

  variables {
    guard_schedule_expression = "every 15 minutes"
    alert_email_addresses     = ["team@example"]
    timings = {
      guard_timeout_seconds = 300.5
    }
  }

  expect_failures = [var.guard_schedule_expression, var.timings, var.alert_email_addresses]
}

run "takes_the_shortest_watchdog" {
  command = plan

  variables {
    guard_schedule_expression = "cron(0/15 * * * ? *)"
    alert_email_addresses     = ["first.last+vision@mail.example.com"]
    timings = {
      guard_timeout_seconds = 120
    }
  }
}

run "refuses_a_sweep_of_a_drop_off_bucket" {
  command = plan

  variables {
    sweep_schedule_expression = "rate(7 days)"
  }

  expect_failures = [var.sweep_schedule_expression]
}

run "refuses_another_form_of_a_sweep" {
  command = plan

  variables {
    images_bucket_name        = "catalog-images"
    sweep_schedule_expression = "weekly"
  }

  expect_failures = [var.sweep_schedule_expression]
}

run "refuses_a_backfill_without_time" {
  command = plan

  variables {
    timings = { backfill_timeout_seconds = 9 }
  }

  expect_failures = [var.timings]
}

run "takes_a_sweep" {
  command = plan

  variables {
    images_bucket_name        = "catalog-images"
    sweep_schedule_expression = "rate(7 days)"
    timings                   = { backfill_timeout_seconds = 10 }
  }
}

# The pattern of schedule_expression against more values than are worth a run each.
run "schedule_patterns" {
  command = plan

  variables {
    name_prefix = "welds"
  }

  assert {
    condition = [for text in [
      "rate(1 minute)",
      "rate(1 hour)",
      "rate(1 day)",
      "rate(2 minutes)",
      "rate(12 hours)",
      "rate(30 days)",
      "cron(0 18 ? * MON-FRI *)",
      "cron(0/15 * * * ? *)",
      "cron(00 09 ? * 2-6 *)",
      "cron(0 8 L * ? *)",
      "cron(0 8 LW * ? *)",
      "cron(0 8 3W * ? *)",
      "cron(0 10 ? * 6L *)",
      "cron(0 10 ? * 6#3 *)",
      "cron(5,35 8-18 1,15 JAN-MAR ? 2027-2030)",
      "cron(59 23 31 DEC ? 2199)",
    ] : text if !can(regex(local.schedule_pattern, text))] == []
    error_message = "An expression that EventBridge takes is refused."
  }

  assert {
    condition = [for text in [
      "rate(1 hours)",
      "rate(2 hour)",
      "rate(0 hours)",
      "rate(01 hours)",
      "rate(30 seconds)",
      "rate(1.5 hours)",
      "rate(1  hour)",
      "rate(-1 hours)",
      "cron(0 18 * * ?)",
      "cron(0 18 ? * ? *)",
      "cron(0 18 * * MON-FRI *)",
      "cron(x 18 * * ? *)",
      "cron(? 18 * * ? *)",
      "cron(0  18 * * ? *)",
      "cron(0 18 * * ? *) ",
    ] : text if can(regex(local.schedule_pattern, text))] == []
    error_message = "An expression that is plainly wrong is taken."
  }
}

run "takes_the_smallest_thresholds" {
  command = plan

  variables {
    alarm_thresholds = {
      no_run_seconds         = 60
      oldest_message_percent = 1
      model_on_seconds       = 3600
      function_errors        = 0
      function_throttles     = 0
      rejected_percent       = 0
    }
  }
}

run "takes_the_largest_thresholds" {
  command = plan

  variables {
    alarm_thresholds = {
      no_run_seconds         = 604800
      oldest_message_percent = 99
      model_on_seconds       = 604800
      rejected_percent       = 99.9
    }
  }
}
