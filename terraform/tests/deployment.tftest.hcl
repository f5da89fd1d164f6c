# Where a deployment may be made, and what its roles are bound to. The provider is mocked, so nothing is made; see
# tests/mocks: Region us-east-1 of account 111122223333.

mock_provider "aws" {
  override_during = plan
  source          = "./tests/mocks"
}

variables {
  lambda_package_path = "tests/fixtures/package.zip"

  rekognition_custom_labels = {
    project_arn         = "arn:aws:rekognition:us-east-1:111122223333:project/welds/1732100000000"
    project_version_arn = "arn:aws:rekognition:us-east-1:111122223333:project/welds/version/welds.1/1732190000000"
  }
}

run "takes_a_boundary_of_aws_and_the_key_of_another_account" {
  command = plan

  variables {
    kms_key_arn              = "arn:aws:kms:us-east-1:444455556666:key/mrk-0a1b2c3d"
    role_path                = "/a/b.c/d_e-f/"
    permissions_boundary_arn = "arn:aws:iam::aws:policy/PowerUserAccess"
  }

  assert {
    condition     = module.schedule[0].settings.role == { path = "/a/b.c/d_e-f/", permissions_boundary_arn = "arn:aws:iam::aws:policy/PowerUserAccess" }
    error_message = "The role of the schedule is ${jsonencode(module.schedule[0].settings.role)}."
  }
}

# Names and numbers: who may read a function's settings, or the state, learns no secret.
run "no_secret_in_any_environment" {
  command = plan

  assert {
    condition = [
      for name, value in merge(values(local.function_environments)...) : name
      if can(regex("(?i)secret|password|token|credential|access_key|private", "${name} ${value}"))
    ] == []
    error_message = "The environment of the functions is no place for a secret: ${join(", ", keys(merge(values(local.function_environments)...)))}."
  }
}

run "refuses_more_default_tags_than_an_object_takes" {
  command = plan

  override_data {
    override_during = plan
    target          = data.aws_default_tags.current
    values = {
      tags = { t0 = "", t1 = "", t2 = "", t3 = "", t4 = "", t5 = "", t6 = "", t7 = "", t8 = "", t9 = "", t10 = "" }
    }
  }

  expect_failures = [aws_s3_object.package]
}
