# Each value of a backend that a variable refuses.
# The provider is mocked; see tests/mocks.

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

run "refuses_a_backend_whose_variable_is_not_set" {
  command = plan

  variables {
    lookout_for_vision = null
  }

  expect_failures = [var.backend]
}

run "refuses_the_variable_of_another_backend" {
  command = plan

  variables {
    backend            = "rekognition_custom_labels"
    lookout_for_vision = { project_name = "weld-seams", model_version = "3" }
  }

  expect_failures = [var.backend]
}

run "refuses_two_backends" {
  command = plan

  variables {
    rekognition_custom_labels = {
      project_arn         = "arn:aws:rekognition:us-east-1:111122223333:project/welds/1732100000000"
      project_version_arn = "arn:aws:rekognition:us-east-1:111122223333:project/welds/version/welds.1/1732190000000"
    }
  }

  expect_failures = [var.backend]
}

run "refuses_an_unknown_backend" {
  command = plan

  variables {
    backend = "lookout"
  }

  expect_failures = [var.backend]
}

run "refuses_an_arn_and_latest" {
  command = plan

  variables {
    lookout_for_vision = {
      project_name  = "arn:aws:lookoutvision:us-east-1:111122223333:project/weld-seams"
      model_version = "latest"
    }
  }

  expect_failures = [var.lookout_for_vision]
}

run "refuses_names_that_the_service_refuses" {
  command = plan

  variables {
    lookout_for_vision = {
      project_name  = "-weld"
      model_version = "0"
    }
  }

  expect_failures = [var.lookout_for_vision]
}

run "refuses_the_arn_of_a_sagemaker_model" {
  command = plan

  variables {
    backend            = "sagemaker_endpoint"
    lookout_for_vision = null
    sagemaker_endpoint = {
      model_name         = "arn:aws:sagemaker:us-east-1:111122223333:model/weld-seams"
      execution_role_arn = "arn:aws:iam::111122223333:role/weld-seams"
      instance_type      = "ml.g5.xlarge"
      mapping            = "huggingface-object-detection"
    }
  }

  expect_failures = [var.sagemaker_endpoint]
}

run "refuses_a_name_of_a_role" {
  command = plan

  variables {
    backend            = "sagemaker_endpoint"
    lookout_for_vision = null
    sagemaker_endpoint = {
      model_name         = "weld-seams"
      execution_role_arn = "weld-seams"
      instance_type      = "ml.g5.xlarge"
      mapping            = "huggingface-object-detection"
    }
  }

  expect_failures = [var.sagemaker_endpoint]
}

run "refuses_an_instance_type_of_ec2" {
  command = plan

  variables {
    backend            = "sagemaker_endpoint"
    lookout_for_vision = null
    sagemaker_endpoint = {
      model_name            = "weld-seams"
      execution_role_arn    = "arn:aws:iam::111122223333:role/weld-seams"
      instance_type         = "g5.xlarge"
      mapping               = "huggingface-object-detection"
      instance_hour_dollars = 1
    }
  }

  expect_failures = [var.sagemaker_endpoint]
}

run "refuses_an_instance_type_whose_price_is_not_known" {
  command = plan

  variables {
    backend            = "sagemaker_endpoint"
    lookout_for_vision = null
    sagemaker_endpoint = {
      model_name         = "weld-seams"
      execution_role_arn = "arn:aws:iam::111122223333:role/weld-seams"
      instance_type      = "ml.p9.48xlarge"
      mapping            = "huggingface-object-detection"
    }
  }

  expect_failures = [var.sagemaker_endpoint]
}

run "refuses_half_an_instance" {
  command = plan

  variables {
    backend            = "sagemaker_endpoint"
    lookout_for_vision = null
    sagemaker_endpoint = {
      model_name         = "weld-seams"
      execution_role_arn = "arn:aws:iam::111122223333:role/weld-seams"
      instance_type      = "ml.g5.xlarge"
      mapping            = "huggingface-object-detection"
      instances_per_unit = 0.5
    }
  }

  expect_failures = [var.sagemaker_endpoint]
}

run "refuses_an_empty_mapping" {
  command = plan

  variables {
    backend            = "sagemaker_endpoint"
    lookout_for_vision = null
    sagemaker_endpoint = {
      model_name         = "weld-seams"
      execution_role_arn = "arn:aws:iam::111122223333:role/weld-seams"
      instance_type      = "ml.g5.xlarge"
      mapping            = ""
    }
  }

  expect_failures = [var.sagemaker_endpoint]
}

run "refuses_a_content_type_that_is_none" {
  command = plan

  variables {
    backend            = "sagemaker_endpoint"
    lookout_for_vision = null
    sagemaker_endpoint = {
      model_name         = "weld-seams"
      execution_role_arn = "arn:aws:iam::111122223333:role/weld-seams"
      instance_type      = "ml.g5.xlarge"
      mapping            = "huggingface-object-detection"
      content_type       = "image"
    }
  }

  expect_failures = [var.sagemaker_endpoint]
}

run "refuses_a_payload_that_no_endpoint_takes" {
  command = plan

  variables {
    backend            = "sagemaker_endpoint"
    lookout_for_vision = null
    sagemaker_endpoint = {
      model_name         = "weld-seams"
      execution_role_arn = "arn:aws:iam::111122223333:role/weld-seams"
      instance_type      = "ml.g5.xlarge"
      mapping            = "huggingface-object-detection"
      max_payload_mb     = 26
    }
  }

  expect_failures = [var.sagemaker_endpoint]
}

run "refuses_an_answer_that_outlasts_the_function" {
  command = plan

  variables {
    backend            = "sagemaker_endpoint"
    lookout_for_vision = null
    sagemaker_endpoint = {
      model_name             = "weld-seams"
      execution_role_arn     = "arn:aws:iam::111122223333:role/weld-seams"
      instance_type          = "ml.g5.xlarge"
      mapping                = "huggingface-object-detection"
      answer_timeout_seconds = 25
    }
  }

  expect_failures = [var.sagemaker_endpoint]
}

run "refuses_a_capture_to_no_bucket" {
  command = plan

  variables {
    backend            = "sagemaker_endpoint"
    lookout_for_vision = null
    sagemaker_endpoint = {
      model_name         = "weld-seams"
      execution_role_arn = "arn:aws:iam::111122223333:role/weld-seams"
      instance_type      = "ml.g5.xlarge"
      mapping            = "huggingface-object-detection"
      data_capture       = { s3_uri = "captured/welds" }
    }
  }

  expect_failures = [var.sagemaker_endpoint]
}
