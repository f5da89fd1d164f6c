# Plans the example with the values of terraform.tfvars.example, which the check gives to it. The provider is mocked.

mock_provider "aws" {
  source = "../../terraform/tests/mocks"
}

run "plans_a_deployment_for_each_model" {
  command = plan

  assert {
    condition = { for name, deployment in module.batch_vision : name => deployment.analyze_images_function_name } == {
      bottle-caps = "vision-bottle-caps-analyze-images"
      weld-seams  = "vision-weld-seams-analyze-images"
    }
    error_message = "The functions are ${jsonencode({ for name, deployment in module.batch_vision : name => deployment.analyze_images_function_name })}."
  }

  assert {
    condition     = aws_kms_key.this.enable_key_rotation
    error_message = "The key is never rotated."
  }
}

run "the_key_admits_services_for_these_deployments_only" {
  command = plan

  assert {
    condition = {
      for statement in data.aws_iam_policy_document.key.statement : one(one(statement.principals).identifiers) => {
        actions    = statement.actions
        conditions = { for condition in statement.condition : condition.variable => condition.values }
      } if one(statement.principals).type == "Service"
      } == {
      "s3.amazonaws.com" = {
        actions = toset(["kms:Decrypt", "kms:GenerateDataKey"])
        conditions = {
          "aws:SourceAccount" = tolist(["111122223333"])
          "aws:SourceArn" = tolist([
            "arn:aws:s3:::vision-bottle-caps-source-111122223333-us-east-1",
            "arn:aws:s3:::vision-weld-seams-source-111122223333-us-east-1",
          ])
        }
      }
      "cloudwatch.amazonaws.com" = {
        actions = toset(["kms:Decrypt", "kms:GenerateDataKey*"])
        conditions = {
          "aws:SourceArn" = tolist([
            "arn:aws:cloudwatch:us-east-1:111122223333:alarm:vision-bottle-caps-*",
            "arn:aws:cloudwatch:us-east-1:111122223333:alarm:vision-weld-seams-*",
          ])
        }
      }
      "logs.us-east-1.amazonaws.com" = {
        actions = toset(["kms:Decrypt*", "kms:Describe*", "kms:Encrypt*", "kms:GenerateDataKey*", "kms:ReEncrypt*"])
        conditions = {
          "kms:EncryptionContext:aws:logs:arn" = tolist([
            "arn:aws:logs:us-east-1:111122223333:log-group:/aws/lambda/vision-bottle-caps-*",
            "arn:aws:logs:us-east-1:111122223333:log-group:/aws/vendedlogs/states/vision-bottle-caps",
            "arn:aws:logs:us-east-1:111122223333:log-group:/aws/lambda/vision-weld-seams-*",
            "arn:aws:logs:us-east-1:111122223333:log-group:/aws/vendedlogs/states/vision-weld-seams",
          ])
        }
      }
    }
    error_message = "The key's policy is ${jsonencode(data.aws_iam_policy_document.key.statement)}."
  }
}

run "refuses_one_model_in_two_deployments" {
  command = plan

  variables {
    models = {
      for name in ["day", "night"] : name => {
        project_arn         = "arn:aws:rekognition:us-east-1:111122223333:project/weld-seams/1732100000000"
        project_version_arn = "arn:aws:rekognition:us-east-1:111122223333:project/weld-seams/version/weld-seams.1/1732190000000"
      }
    }
  }

  expect_failures = [var.models]
}
