# The choice of a model service, and what follows from it. The provider is mocked; see tests/mocks.

mock_provider "aws" {
  override_during = plan
  source          = "./tests/mocks"
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
  command = plan

  assert {
    condition = (
      local.settings.BACKEND == "lookout_for_vision"
      && jsondecode(local.settings.BACKEND_SETTINGS) == { project_name = "weld-seams", model_version = "3" }
    )
    error_message = "The functions get ${local.settings.BACKEND} with ${local.settings.BACKEND_SETTINGS}."
  }
}

run "lookout_permissions_name_the_model_and_no_other_service" {
  command = plan

  assert {
    condition = jsonencode({
      for name, statements in merge(local.function_statements, local.mapping_function_statements, { guard_model = local.guard_statements }) :
      name => sort([
        for action in distinct(flatten([for sid, statement in statements : statement.actions if sid != "StopFormerModels" && !contains(keys(local.stop_former_further), sid)])) :
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
  command = plan

  override_data {
    override_during = plan
    target          = data.aws_partition.current
    values = {
      partition = "aws-cn"
    }
  }

  override_data {
    override_during = plan
    target          = data.aws_region.current
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

run "a_sagemaker_endpoint_is_of_the_deployment_and_of_nobody_else" {
  command = plan

  variables {
    name_prefix        = "welds"
    backend            = "sagemaker_endpoint"
    lookout_for_vision = null
    sagemaker_endpoint = {
      model_name         = "weld-seams"
      execution_role_arn = "arn:aws:iam::111122223333:role/models/weld-seams"
      instance_type      = "ml.g5.xlarge"
      instances_per_unit = 2
      mapping            = "[].{name: label, confidence: score}"
      data_capture       = { s3_uri = "s3://captured/welds" }
    }
  }

  assert {
    condition = jsondecode(local.settings.BACKEND_SETTINGS) == {
      deployment             = "welds"
      model_name             = "weld-seams"
      instance_type          = "ml.g5.xlarge"
      instances_per_unit     = "2"
      content_type           = ""
      mapping                = "[].{name: label, confidence: score}"
      anomaly_mapping        = ""
      max_payload_mb         = "6"
      answer_timeout_seconds = "20"
      data_capture_s3_uri    = "s3://captured/welds"
      data_capture_percent   = "100"
    }
    error_message = "The functions get ${local.settings.BACKEND_SETTINGS}."
  }

  assert {
    condition     = local.settings.INFERENCE_UNIT_HOUR_DOLLARS == "2.816"
    error_message = "An hour of a unit costs ${local.settings.INFERENCE_UNIT_HOUR_DOLLARS}."
  }

  assert {
    condition = jsonencode({
      for name, statements in merge(local.function_statements, local.mapping_function_statements, { guard_model = local.guard_statements }) :
      name => distinct(sort(flatten([
        for sid, statement in statements : [
          for pair in setproduct(statement.actions, statement.resources) :
          "${pair[0]} ${replace(pair[1], "arn:aws:sagemaker:us-east-1:111122223333:", "")}"
          if contains(["sagemaker", "iam"], split(":", pair[0])[0]) && (pair[1] == "*" || strcontains(pair[1], ":sagemaker:") || strcontains(pair[1], ":iam:"))
        ]
      ])))
      if length([for statement in values(statements) : 1 if anytrue([for action in statement.actions : startswith(action, "sagemaker:")])]) > 0
      }) == jsonencode({
      analyze_images = ["sagemaker:InvokeEndpoint endpoint/welds-????????????????"]
      check_backlog  = ["sagemaker:DescribeEndpoint endpoint/welds-????????????????", "sagemaker:ListEndpointConfigs *"]
      close_run = [
        "sagemaker:DeleteEndpoint endpoint/welds-????????????????",
        "sagemaker:DeleteEndpointConfig endpoint-config/welds-????????????????-????",
        "sagemaker:DescribeEndpoint endpoint/welds-????????????????",
        "sagemaker:ListEndpointConfigs *",
      ]
      guard_model = [
        "sagemaker:DeleteEndpoint endpoint/welds-????????????????",
        "sagemaker:DeleteEndpointConfig endpoint-config/welds-????????????????-????",
        "sagemaker:DescribeEndpoint endpoint/welds-????????????????",
        "sagemaker:ListEndpointConfigs *",
      ]
      start_model = [
        "iam:PassRole arn:aws:iam::111122223333:role/models/weld-seams",
        "sagemaker:CreateEndpoint endpoint-config/welds-????????????????-????",
        "sagemaker:CreateEndpoint endpoint/welds-????????????????",
        "sagemaker:CreateEndpointConfig endpoint-config/welds-????????????????-????",
        "sagemaker:DeleteEndpoint endpoint/welds-????????????????",
        "sagemaker:DescribeEndpoint endpoint/welds-????????????????",
        "sagemaker:ListEndpointConfigs *",
      ]
    })
    error_message = "A function may do more with SageMaker than it does, or less: ${jsonencode([local.function_statements.start_model, local.mapping_function_statements.close_run])}."
  }

  assert {
    condition     = local.function_statements.start_model.PassRoleOfModel.conditions == { "iam:PassedToService" = "sagemaker.amazonaws.com" }
    error_message = "The role may be passed to any service."
  }
}

# Results stay what they are when the same model gets another instance.
run "another_instance_type_makes_no_other_results" {
  command = plan

  variables {
    name_prefix        = "welds"
    backend            = "sagemaker_endpoint"
    lookout_for_vision = null
    sagemaker_endpoint = {
      model_name            = "weld-seams"
      execution_role_arn    = "arn:aws:iam::111122223333:role/models/weld-seams"
      instance_type         = "ml.p9.48xlarge"
      mapping               = "[].{name: label, confidence: score}"
      instance_hour_dollars = 98.5
    }
  }

  assert {
    condition = (
      local.settings_fingerprint == sha256(jsonencode(local.model_of_results))
      && local.model_of_results.settings == tomap({
        model_name      = "weld-seams"
        content_type    = ""
        mapping         = "[].{name: label, confidence: score}"
        anomaly_mapping = ""
        max_payload_mb  = "6"
      })
      && local.settings.INFERENCE_UNIT_HOUR_DOLLARS == "98.5"
    )
    error_message = "The settings of answers are ${jsonencode(local.model_of_results)}."
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
