# Where a deployment may not be, and what its roles may not be called.
# The provider is mocked; see tests/mocks.

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

run "refuses_model_and_key_of_another_region_and_a_path_without_slashes" {
  command = plan

  variables {
    kms_key_arn              = "arn:aws:kms:eu-west-1:111122223333:key/0a1b2c3d"
    role_path                = "apps/vision"
    permissions_boundary_arn = "developers"

    rekognition_custom_labels = {
      project_arn         = "arn:aws:rekognition:eu-west-1:111122223333:project/welds/1732100000000"
      project_version_arn = "arn:aws:rekognition:eu-west-1:111122223333:project/welds/version/welds.1/1732190000000"
    }
  }

  expect_failures = [var.kms_key_arn, var.role_path, var.permissions_boundary_arn, var.rekognition_custom_labels]
}

run "refuses_the_model_of_another_account_an_empty_name_in_a_path_and_a_role" {
  command = plan

  variables {
    role_path                = "/apps//vision/"
    permissions_boundary_arn = "arn:aws:iam::111122223333:role/developers"

    rekognition_custom_labels = {
      project_arn         = "arn:aws:rekognition:us-east-1:444455556666:project/welds/1732100000000"
      project_version_arn = "arn:aws:rekognition:us-east-1:444455556666:project/welds/version/welds.1/1732190000000"
    }
  }

  expect_failures = [var.role_path, var.permissions_boundary_arn, var.rekognition_custom_labels]
}

run "refuses_a_path_with_a_pattern" {
  command = plan

  variables {
    role_path = "/apps/*/"
  }

  expect_failures = [var.role_path]
}
