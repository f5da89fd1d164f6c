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
    name_prefix                      = "a"
    min_inference_units              = 0
    target_drain_seconds             = 59
    images_per_second_per_unit       = 0
    account_images_per_second        = 0
    image_latency_seconds            = 0
    min_confidence_percent           = -1
    batch_size                       = 0
    max_concurrency                  = 1
    max_receive_count                = 4
    message_retention_seconds        = 59
    requeue_limit_images             = 0
    analyze_memory_mb                = 127
    control_memory_mb                = 127
    control_function_timeout_seconds = 29
    analyze_timeout_seconds          = 0
    model_poll_seconds               = 0
    trigger_poll_seconds             = 0
    drain_poll_seconds               = 0
    tags                             = { "" = "welds" }
  }

  expect_failures = [var.tags, var.name_prefix, var.min_inference_units, var.target_drain_seconds, var.images_per_second_per_unit, var.account_images_per_second, var.image_latency_seconds, var.min_confidence_percent, var.batch_size, var.max_concurrency, var.max_receive_count, var.message_retention_seconds, var.requeue_limit_images, var.analyze_memory_mb, var.control_memory_mb, var.control_function_timeout_seconds, var.analyze_timeout_seconds, var.model_poll_seconds, var.trigger_poll_seconds, var.drain_poll_seconds]
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
    start_backlog_images         = 10
    start_max_age_seconds        = 43201
    message_retention_seconds    = 86400
    oldest_message_alarm_percent = 50
  }

  expect_failures = [var.start_max_age_seconds]
}

run "takes_the_most_that_images_may_wait_for" {
  command = plan

  variables {
    start_backlog_images         = 1000
    start_max_age_seconds        = 43200
    message_retention_seconds    = 86400
    oldest_message_alarm_percent = 50
  }
}

run "refuses_what_is_too_small_for_another" {
  command = plan

  variables {
    min_inference_units        = 3
    max_inference_units        = 2
    batch_size                 = 11
    batch_window_seconds       = 0
    analyze_timeout_seconds    = 60
    visibility_timeout_seconds = 359
    start_timeout_seconds      = 29
    stop_timeout_seconds       = 29
    trigger_timeout_seconds    = 4
    tags                       = { Project = null }
  }

  expect_failures = [var.tags, var.max_inference_units, var.batch_window_seconds, var.visibility_timeout_seconds, var.start_timeout_seconds, var.stop_timeout_seconds, var.trigger_timeout_seconds]
}

run "refuses_an_empty_tag" {
  command = plan

  variables {
    tags = { Project = "welds", CostCenter = "" }
  }

  expect_failures = [var.tags]
}

run "refuses_bounds_that_are_too_small" {
  command = plan

  variables {
    analyze_timeout_seconds = 100
    stall_timeout_seconds   = 599
    drain_timeout_seconds   = 29
  }

  expect_failures = [var.stall_timeout_seconds, var.drain_timeout_seconds]
}

run "takes_the_smallest" {
  command = plan

  variables {
    min_inference_units              = 2
    max_inference_units              = 2
    batch_size                       = 11
    batch_window_seconds             = 1
    analyze_timeout_seconds          = 60
    visibility_timeout_seconds       = 360
    stall_timeout_seconds            = 360
    start_timeout_seconds            = 30
    stop_timeout_seconds             = 30
    trigger_timeout_seconds          = 5
    drain_timeout_seconds            = 30
    max_concurrency                  = 2
    max_receive_count                = 5
    min_confidence_percent           = 0
    control_function_timeout_seconds = 30
  }
}

run "refuses_what_is_too_large" {
  command = plan

  variables {
    name_prefix                      = "aaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    min_confidence_percent           = 100.5
    batch_size                       = 101
    images_per_second_per_unit       = 1001
    image_latency_seconds            = 61
    max_concurrency                  = 1001
    max_receive_count                = 1001
    message_retention_seconds        = 1209601
    requeue_limit_images             = 50001
    analyze_memory_mb                = 10241
    control_memory_mb                = 10241
    control_function_timeout_seconds = 901
    analyze_timeout_seconds          = 901
    model_poll_seconds               = 301
    trigger_poll_seconds             = 301
    drain_poll_seconds               = 301
    tags                             = { (join("", [for number in range(129) : "k"])) = "welds" }
  }

  expect_failures = [var.tags, var.name_prefix, var.min_confidence_percent, var.images_per_second_per_unit, var.image_latency_seconds, var.batch_size, var.max_concurrency, var.max_receive_count, var.message_retention_seconds, var.requeue_limit_images, var.analyze_memory_mb, var.control_memory_mb, var.control_function_timeout_seconds, var.analyze_timeout_seconds, var.model_poll_seconds, var.trigger_poll_seconds, var.drain_poll_seconds]
}

run "refuses_times_that_are_too_large" {
  command = plan

  variables {
    batch_window_seconds       = 301
    visibility_timeout_seconds = 43201
    start_timeout_seconds      = 21601
    stop_timeout_seconds       = 21601
    trigger_timeout_seconds    = 3601
    tags                       = { Project = join("", [for number in range(257) : "v"]) }
  }

  expect_failures = [var.tags, var.batch_window_seconds, var.visibility_timeout_seconds, var.start_timeout_seconds, var.stop_timeout_seconds, var.trigger_timeout_seconds]
}

run "refuses_a_drain_that_is_too_large" {
  command = plan

  variables {
    drain_timeout_seconds = 604801
    drain_poll_seconds    = 300
    tags                  = { for number in range(46) : "key-${number}" => "value" }
  }

  expect_failures = [var.tags, var.drain_timeout_seconds]
}

run "refuses_fractions" {
  command = plan

  variables {
    min_inference_units              = 1.5
    target_drain_seconds             = 900.5
    batch_size                       = 5.5
    max_concurrency                  = 2.5
    max_receive_count                = 5.5
    message_retention_seconds        = 600.5
    requeue_limit_images             = 10.5
    analyze_memory_mb                = 512.5
    control_memory_mb                = 512.5
    control_function_timeout_seconds = 60.5
    analyze_timeout_seconds          = 60.5
    model_poll_seconds               = 30.5
    trigger_poll_seconds             = 5.5
    drain_poll_seconds               = 30.5
  }

  expect_failures = [var.min_inference_units, var.target_drain_seconds, var.batch_size, var.max_concurrency, var.max_receive_count, var.message_retention_seconds, var.requeue_limit_images, var.analyze_memory_mb, var.control_memory_mb, var.control_function_timeout_seconds, var.analyze_timeout_seconds, var.model_poll_seconds, var.trigger_poll_seconds, var.drain_poll_seconds]
}

run "refuses_fractions_of_times" {
  command = plan

  variables {
    max_inference_units        = 2.5
    batch_window_seconds       = 1.5
    visibility_timeout_seconds = 400.5
    start_timeout_seconds      = 2700.5
    stop_timeout_seconds       = 900.5
    trigger_timeout_seconds    = 300.5
  }

  expect_failures = [var.max_inference_units, var.batch_window_seconds, var.visibility_timeout_seconds, var.start_timeout_seconds, var.stop_timeout_seconds, var.trigger_timeout_seconds]
}

run "refuses_fractions_of_bounds" {
  command = plan

  variables {
    drain_timeout_seconds = 18000.5
    stall_timeout_seconds = 900.5
  }

  expect_failures = [var.drain_timeout_seconds, var.stall_timeout_seconds]
}

# The history of an execution

run "refuses_a_drain_that_would_fill_the_history" {
  command = plan

  variables {
    drain_timeout_seconds = 86400
    drain_poll_seconds    = 30
  }

  expect_failures = [var.drain_timeout_seconds]
}

run "refuses_a_start_that_would_fill_the_history" {
  command = plan

  variables {
    start_timeout_seconds = 2700
    model_poll_seconds    = 1
  }

  expect_failures = [var.drain_timeout_seconds]
}

run "takes_a_drain_of_a_day_with_longer_polls" {
  command = plan

  variables {
    drain_timeout_seconds = 86400
    drain_poll_seconds    = 120
  }
}

# Choices and forms

run "refuses_unknown_choices" {
  command = plan

  variables {
    function_architecture   = "arm"
    log_level               = "TRACE"
    state_machine_log_level = "DEBUG"
    log_retention_days      = 31
    backend                 = "no_such_service"
    tags                    = { "AWS:Project" = "welds" }
  }

  expect_failures = [var.tags, var.function_architecture, var.log_level, var.state_machine_log_level, var.log_retention_days, var.backend]
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
    guard_timeout_seconds     = 119
    alert_email_addresses     = ["team@example.com", "team"]
  }

  expect_failures = [var.guard_schedule_expression, var.guard_timeout_seconds, var.alert_email_addresses]
}

run "refuses_a_watchdog_beyond_the_limit_of_lambda" {
  command = plan

  variables {
    guard_schedule_expression = "cron(0/15 * * * * *)"
    guard_timeout_seconds     = 901
    alert_email_addresses     = ["team@example.com, boss@example.com"]
  }

  expect_failures = [var.guard_schedule_expression, var.guard_timeout_seconds, var.alert_email_addresses]
}

run "refuses_a_watchdog_of_fractions" {
  command = plan

  variables {
    guard_schedule_expression = "every 15 minutes"
    guard_timeout_seconds     = 300.5
    alert_email_addresses     = ["team@example"]
  }

  expect_failures = [var.guard_schedule_expression, var.guard_timeout_seconds, var.alert_email_addresses]
}

run "takes_the_shortest_watchdog" {
  command = plan

  variables {
    guard_schedule_expression = "cron(0/15 * * * ? *)"
    guard_timeout_seconds     = 120
    alert_email_addresses     = ["first.last+vision@mail.example.com"]
  }
}

# The patterns of schedule_expression against more values than are worth a run each.
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
    ] : text if !can(regex(local.rate_pattern, text)) && !can(regex(local.cron_pattern, text))] == []
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
      "cron(60 18 * * ? *)",
      "cron(0 24 * * ? *)",
      "cron(0 18 0 * ? *)",
      "cron(0 18 32 * ? *)",
      "cron(0 18 1 13 ? *)",
      "cron(0 18 ? * 0 *)",
      "cron(0 18 ? * 8 *)",
      "cron(0 18 ? * 6#6 *)",
      "cron(x 18 * * ? *)",
      "cron(? 18 * * ? *)",
      "cron(0 18 * * ? 1969)",
      "cron(0  18 * * ? *)",
      "cron(0 18 * * ? *) ",
    ] : text if can(regex(local.rate_pattern, text)) || can(regex(local.cron_pattern, text))] == []
    error_message = "An expression that EventBridge refuses is taken."
  }
}

run "refuses_thresholds_that_are_too_small" {
  command = plan

  variables {
    oldest_message_alarm_percent   = 0
    model_on_alarm_seconds         = 3599
    missing_runs_alarm_count       = 0
    function_errors_alarm_count    = -1
    function_throttles_alarm_count = -1
    rejected_alarm_percent         = -1
    inference_unit_hour_dollars    = -0.01
    schedule_period_seconds        = 59
    alert_email_addresses          = ["team@example"]
  }

  expect_failures = [var.oldest_message_alarm_percent, var.model_on_alarm_seconds, var.missing_runs_alarm_count, var.function_errors_alarm_count, var.function_throttles_alarm_count, var.rejected_alarm_percent, var.inference_unit_hour_dollars, var.schedule_period_seconds, var.alert_email_addresses]
}

run "refuses_thresholds_that_are_too_large" {
  command = plan

  variables {
    oldest_message_alarm_percent = 99.5
    model_on_alarm_seconds       = 604801
    missing_runs_alarm_count     = 1001
    rejected_alarm_percent       = 100
    inference_unit_hour_dollars  = 1000.01
  }

  expect_failures = [var.oldest_message_alarm_percent, var.model_on_alarm_seconds, var.missing_runs_alarm_count, var.rejected_alarm_percent, var.inference_unit_hour_dollars]
}

run "refuses_fractions_of_what_is_counted" {
  command = plan

  variables {
    missing_runs_alarm_count       = 1.5
    function_errors_alarm_count    = 0.5
    function_throttles_alarm_count = 0.5
    schedule_period_seconds        = 90.5
  }

  expect_failures = [var.missing_runs_alarm_count, var.function_errors_alarm_count, var.function_throttles_alarm_count, var.schedule_period_seconds]
}

run "takes_the_smallest_thresholds" {
  command = plan

  variables {
    oldest_message_alarm_percent   = 1
    model_on_alarm_seconds         = 3600
    missing_runs_alarm_count       = 1
    function_errors_alarm_count    = 0
    function_throttles_alarm_count = 0
    rejected_alarm_percent         = 0
    inference_unit_hour_dollars    = 0
    schedule_period_seconds        = 60
  }
}

run "takes_the_largest_thresholds" {
  command = plan

  variables {
    oldest_message_alarm_percent = 99
    model_on_alarm_seconds       = 604800
    missing_runs_alarm_count     = 1000
    rejected_alarm_percent       = 99.9
    inference_unit_hour_dollars  = 1000
  }
}
