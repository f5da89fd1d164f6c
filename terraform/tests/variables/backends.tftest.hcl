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
