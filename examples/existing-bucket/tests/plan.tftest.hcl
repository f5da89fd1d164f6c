# Plans the example with the values of terraform.tfvars.example, which the check gives to it. The provider is mocked.

mock_provider "aws" {
  source = "../../terraform/tests/mocks"
}

mock_provider "aws" {
  alias  = "owner"
  source = "../../terraform/tests/mocks"
}

run "plans" {
  command = plan

  assert {
    condition     = module.batch_vision.images_bucket_name == "catalog-images" && module.batch_vision.source_bucket_name == null
    error_message = "The images are in ${jsonencode(module.batch_vision.images_bucket_name)}."
  }

  assert {
    condition     = length(aws_cloudwatch_event_rule.images) + length(aws_iam_role.images) == 0 && output.bucket_policy_statements == null
    error_message = "In one account the owner needs no rule."
  }
}

run "plans_for_two_accounts" {
  command = plan

  variables {
    owner_account_id = "444455556666"
    owner_profile    = "catalog"
    images_key_arn   = "arn:aws:kms:us-east-1:444455556666:key/0a1b2c3d"
    prefix           = "products/"
  }

  assert {
    condition = (
      aws_cloudwatch_event_target.images[0].arn == "arn:aws:events:us-east-1:111122223333:event-bus/default"
      && data.aws_iam_policy_document.put_events.statement[0].resources == toset(["arn:aws:events:us-east-1:111122223333:event-bus/default"])
    )
    error_message = "Events are handed to ${aws_cloudwatch_event_target.images[0].arn}."
  }

  assert {
    condition = [for statement in jsondecode(output.bucket_policy_statements) : { actions = statement.Action, resource = statement.Resource }] == [
      { actions = ["s3:GetObject", "s3:GetObjectVersion"], resource = "arn:aws:s3:::catalog-images/products/*" },
      { actions = ["s3:ListBucket", "s3:ListBucketVersions"], resource = "arn:aws:s3:::catalog-images" },
    ]
    error_message = "The owner is to allow ${output.bucket_policy_statements}."
  }

  assert {
    condition     = jsondecode(output.key_policy_statements)[0].Action == ["kms:Decrypt"] && jsondecode(output.key_policy_statements)[0].Condition.ArnLike["aws:PrincipalArn"] == "arn:aws:iam::111122223333:role/product-images-*"
    error_message = "The owner of the key is to allow ${output.key_policy_statements}."
  }
}

run "refuses_half_of_an_account" {
  command = plan

  variables {
    owner_profile = "catalog"
  }

  expect_failures = [var.owner_profile]
}
