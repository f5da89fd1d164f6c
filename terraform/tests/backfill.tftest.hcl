# The backfill of an existing bucket. The provider is mocked, so nothing is made; see tests/mocks. Its definition is
# walked by tests/unit/test_backfill_workflow.py.

mock_provider "aws" {
  override_during = plan
  source          = "./tests/mocks"
}

variables {
  lambda_package_path = "tests/fixtures/package.zip"
}

run "pace_of_several_operations" {
  command = plan

  variables {
    backend            = "rekognition"
    rekognition        = { analyses = ["labels", "faces"] }
    images_bucket_name = "catalog-images"
  }

  # 40 of the 50 images a second that DetectLabels allows; in an invocation up to 32 at once.
  assert {
    condition     = output.backfill_max_concurrency == 2
    error_message = "The backfill has ${output.backfill_max_concurrency} invocations."
  }

  assert {
    condition = jsondecode(local.function_environments.work_off_chunk.PACES) == {
      DetectLabels = { calls_per_second = 20, most_calls_per_second = 20 }
      DetectFaces  = { calls_per_second = 40, most_calls_per_second = 40 }
    }
    error_message = "The paces are ${local.function_environments.work_off_chunk.PACES}."
  }

  # Three minutes at 20 images a second are more than a chunk takes.
  assert {
    condition     = local.backfill_chunk_images == 1000
    error_message = "A chunk has ${local.backfill_chunk_images} images."
  }
}

run "invocations_are_not_rounded_up_by_a_hair" {
  command = plan

  variables {
    backend            = "rekognition"
    rekognition        = { analyses = ["labels"], quotas = { DetectLabels = 40 } }
    images_bucket_name = "catalog-images"
  }

  assert {
    condition     = output.backfill_max_concurrency == 1 && jsondecode(local.function_environments.work_off_chunk.PACES).DetectLabels.most_calls_per_second == 32
    error_message = "The backfill has ${output.backfill_max_concurrency} invocations."
  }
}

run "settings_reach_the_backfill" {
  command = plan

  variables {
    backend                   = "rekognition"
    rekognition               = { analyses = ["labels"], quotas = { DetectLabels = 1 } }
    images_bucket_name        = "catalog-images"
    sweep_schedule_expression = "rate(7 days)"
    kms_key_arn               = "arn:aws:kms:us-east-1:111122223333:key/0a1b2c3d"
    role_path                 = "/apps/vision/"
    permissions_boundary_arn  = "arn:aws:iam::111122223333:policy/boundaries/developers"
    tags                      = { Project = "welds" }
    log_retention_days        = 30
    timings                   = { backfill_timeout_seconds = 20, control_function_timeout_seconds = 45 }
  }

  # 0.8 images a second for 12 seconds.
  assert {
    condition     = local.backfill_chunk_images == 9 && output.backfill_max_concurrency == 1
    error_message = "A chunk has ${local.backfill_chunk_images} images."
  }

  assert {
    condition     = [for name in ["plan_backfill", "count_backfill", "work_off_chunk"] : module.function[name].settings.timeout_seconds] == [60, 45, 20]
    error_message = "The functions have ${jsonencode([for name in ["plan_backfill", "count_backfill", "work_off_chunk"] : module.function[name].settings.timeout_seconds])} seconds."
  }

  assert {
    condition = toset([for state in ["Plan", "Count"] : "${state} ${jsondecode(local.backfill_definition).States[state].TimeoutSeconds}"]) == toset([
      "Plan 70", "Count 55",
    ]) && jsondecode(local.backfill_definition).States.WorkOffChunks.ItemProcessor.States.WorkOffChunk.TimeoutSeconds == 30
    error_message = "A task ends before its function, or long after it: ${local.backfill_definition}."
  }

  assert {
    condition     = module.backfill[0].settings.log_level == "ERROR" && module.backfill[0].settings.log_retention_days == 30 && module.backfill[0].settings.kms_key_arn == var.kms_key_arn
    error_message = "The state machine is ${jsonencode(module.backfill[0].settings)}."
  }

  assert {
    condition = alltrue([
      for role in [module.backfill[0].settings.role, module.sweep_schedule[0].settings.role] :
      role.path == var.role_path && role.permissions_boundary_arn == var.permissions_boundary_arn
    ])
    error_message = "A role is without its path or its boundary."
  }

  assert {
    condition     = alltrue([for tags in concat(module.backfill[0].settings.tags, module.sweep_schedule[0].settings.tags) : tags == tomap({ Project = "welds" })])
    error_message = "Tags are missing."
  }

  assert {
    condition     = module.sweep_schedule[0].rule_name == "batch-vision-sweep"
    error_message = "The rule is ${module.sweep_schedule[0].rule_name}."
  }
}

run "role_of_a_backfill_that_works_chunks_off" {
  command = plan

  module {
    source = "./modules/workflow"
  }

  variables {
    name                     = "welds-backfill"
    role_name                = "welds-backfill"
    account_id               = "111122223333"
    partition                = "aws"
    region                   = "us-east-1"
    definition               = "{}"
    function_arns            = ["arn:aws:lambda:us-east-1:111122223333:function:a", "arn:aws:lambda:us-east-1:111122223333:function:b"]
    finds_other_executions   = false
    map_bucket_arn           = "arn:aws:s3:::welds-final"
    log_level                = "ERROR"
    log_retention_days       = 30
    kms_key_arn              = "arn:aws:kms:us-east-1:111122223333:key/0a1b2c3d"
    role_path                = "/"
    permissions_boundary_arn = null
    tags                     = {}
  }

  assert {
    condition = {
      for statement in data.aws_iam_policy_document.this.statement : statement.sid => flatten([
        sort(statement.actions), sort(statement.resources)
      ]) if statement.sid != "DeliverLog"
      } == {
      CallFunctions = [
        "lambda:InvokeFunction", "arn:aws:lambda:us-east-1:111122223333:function:a",
        "arn:aws:lambda:us-east-1:111122223333:function:b",
      ]
      ListChunks    = ["s3:ListBucket", "arn:aws:s3:::welds-final"]
      StartChildren = ["states:StartExecution", "arn:aws:states:us-east-1:111122223333:stateMachine:welds-backfill"]
      StopChildren = [
        "states:DescribeExecution", "states:StopExecution",
        "arn:aws:states:us-east-1:111122223333:execution:welds-backfill/*",
      ]
      UseCustomerKey = ["kms:Decrypt", "kms:GenerateDataKey", "arn:aws:kms:us-east-1:111122223333:key/0a1b2c3d"]
      WriteAnswersOfChildren = [
        "s3:AbortMultipartUpload", "s3:GetObject", "s3:ListMultipartUploadParts", "s3:PutObject",
        "arn:aws:s3:::welds-final/jobs/map-runs/*",
      ]
    }
    error_message = "The role has gained or lost a permission: ${jsonencode(data.aws_iam_policy_document.this.statement)}."
  }

  assert {
    condition = alltrue([
      for statement in data.aws_iam_policy_document.this.statement :
      alltrue([for action in statement.actions : startswith(action, "logs:")]) if contains(statement.resources, "*")
    ])
    error_message = "Only log delivery may have all resources."
  }

  assert {
    condition = {
      for condition in data.aws_iam_policy_document.trust.statement[0].condition : condition.variable => condition.values
      } == {
      "aws:SourceAccount" = tolist(["111122223333"])
      "aws:SourceArn"     = tolist(["arn:aws:states:us-east-1:111122223333:stateMachine:*"])
    }
    error_message = "Only state machines of this account and Region may assume the role."
  }

  assert {
    condition     = endswith(aws_sfn_state_machine.this.logging_configuration[0].log_destination, ":*") && aws_cloudwatch_log_group.this.name == "/aws/vendedlogs/states/welds-backfill"
    error_message = "Step Functions accepts the ARN of a log group only with :* at its end, and it belongs under /aws/vendedlogs/."
  }
}

run "role_of_a_backfill_whose_chunks_wait_for_a_run" {
  command = plan

  module {
    source = "./modules/workflow"
  }

  variables {
    name                     = "welds-backfill"
    role_name                = "welds-backfill"
    account_id               = "111122223333"
    partition                = "aws"
    region                   = "us-east-1"
    definition               = "{}"
    function_arns            = ["arn:aws:lambda:us-east-1:111122223333:function:a"]
    finds_other_executions   = false
    map_bucket_arn           = null
    log_level                = "ERROR"
    log_retention_days       = 30
    kms_key_arn              = "arn:aws:kms:us-east-1:111122223333:key/0a1b2c3d"
    role_path                = "/"
    permissions_boundary_arn = null
    tags                     = {}
  }

  assert {
    condition     = toset(data.aws_iam_policy_document.this.statement[*].sid) == toset(["CallFunctions", "DeliverLog"])
    error_message = "The role may do more than call functions: ${jsonencode(data.aws_iam_policy_document.this.statement[*].sid)}."
  }
}
