# The choice of a model service, and what follows from it. The provider is mocked; see tests/mocks.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  lambda_package_path = "tests/fixtures/package.zip"

  backend = "lookout_for_vision"

  lookout_for_vision = {
    project_name  = "weld-seams"
    model_version = "3"
  }
}

run "lookout_settings_reach_the_functions" {
  assert {
    condition = (
      local.settings.BACKEND == "lookout_for_vision"
      && jsondecode(local.settings.BACKEND_SETTINGS) == { project_name = "weld-seams", model_version = "3" }
    )
    error_message = "The functions get ${local.settings.BACKEND} with ${local.settings.BACKEND_SETTINGS}."
  }
}

run "lookout_permissions_name_the_model_and_no_other_service" {
  assert {
    condition = jsonencode({
      for name, statements in merge(local.function_statements, local.mapping_function_statements, { guard_model = local.guard_statements }) :
      name => sort([
        for action in distinct(flatten([for sid, statement in statements : statement.actions if sid != "StopFormerModels"])) :
        action if !contains(["lambda", "s3", "sns", "sqs", "states"], split(":", action)[0])
      ])
      }) == jsonencode({
      analyze_images  = ["lookoutvision:DetectAnomalies"]
      check_backlog   = ["lookoutvision:DescribeModel"]
      close_run       = ["lookoutvision:DescribeModel", "lookoutvision:StopModel"]
      compact_catalog = []
      enable_mapping  = []
      guard_model     = ["lookoutvision:DescribeModel", "lookoutvision:StopModel"]
      requeue_images  = []
      start_model     = ["lookoutvision:DescribeModel", "lookoutvision:StartModel"]
      summarize_run   = []
    })
    error_message = "A function may ask more of a model service than it does."
  }

  assert {
    condition = toset(flatten([
      for action in ["detect", "describe", "start", "stop"] : local.backend[action].resources
    ])) == toset(["arn:aws:lookoutvision:us-east-1:111122223333:model/weld-seams/3"])
    error_message = "The permissions are for ${jsonencode(local.backend)}."
  }
}

run "lookout_arn_follows_partition_and_region" {
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
    condition     = local.backend.detect.resources == ["arn:aws-cn:lookoutvision:cn-north-1:111122223333:model/weld-seams/3"]
    error_message = "The ARN of the model is ${local.backend.detect.resources[0]}."
  }
}

run "rekognition_is_chosen_by_its_name" {
  variables {
    backend = "rekognition_custom_labels"
    rekognition_custom_labels = {
      project_arn         = "arn:aws:rekognition:us-east-1:111122223333:project/welds/1732100000000"
      project_version_arn = "arn:aws:rekognition:us-east-1:111122223333:project/welds/version/welds.1/1732190000000"
    }
    lookout_for_vision = null
  }

  assert {
    condition     = local.backend.detect.actions == ["rekognition:DetectCustomLabels"]
    error_message = "The other service is not chosen by its name: ${jsonencode(local.backend)}."
  }
}

# AWS ended Lookout for Vision: whoever never used it need not explain why a role may stop its models.
run "models_of_an_ended_service_are_stopped_only_where_there_may_be_some" {
  command = plan

  variables {
    backend = "rekognition_custom_labels"
    rekognition_custom_labels = {
      project_arn         = "arn:aws:rekognition:us-east-1:111122223333:project/welds/1732100000000"
      project_version_arn = "arn:aws:rekognition:us-east-1:111122223333:project/welds/version/welds.1/1732190000000"
    }
    lookout_for_vision = null
  }

  assert {
    condition     = !strcontains(jsonencode([local.function_statements, local.mapping_function_statements, local.guard_statements]), "lookoutvision")
    error_message = "A role may use an ended service: ${jsonencode(local.stop_former_models)}."
  }
}

run "a_former_model_of_an_ended_service_can_be_stopped" {
  command = plan

  variables {
    backend = "rekognition_custom_labels"
    rekognition_custom_labels = {
      project_arn         = "arn:aws:rekognition:us-east-1:111122223333:project/welds/1732100000000"
      project_version_arn = "arn:aws:rekognition:us-east-1:111122223333:project/welds/version/welds.1/1732190000000"
    }
    lookout_for_vision = null
    former_settings    = { backends = ["lookout_for_vision"] }
  }

  assert {
    condition = (
      contains(local.mapping_function_statements.close_run.StopFormerModels.actions, "lookoutvision:StopModel")
      && contains(local.guard_statements.StopFormerModels.resources, "arn:aws:lookoutvision:us-east-1:111122223333:model/*")
    )
    error_message = "A run of before the change cannot stop its model: ${jsonencode(local.stop_former_models)}."
  }
}

run "takes_what_the_service_takes" {
  command = plan

  variables {
    lookout_for_vision = {
      project_name  = "0_weld-Seams"
      model_version = "1024"
    }
  }
}
