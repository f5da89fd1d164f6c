# The rendered workflow, and what its role may do. The provider is mocked, so nothing is made; see tests/mocks. What
# the workflow does when it runs is tested end to end on LocalStack.

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

run "workflow_is_rendered" {
  command = plan

  variables {
    timings = {
      model_poll_seconds      = 31
      start_timeout_seconds   = 2701
      stop_timeout_seconds    = 901
      mapping_poll_seconds    = 7
      mapping_timeout_seconds = 301
      drain_poll_seconds      = 37
      drain_timeout_seconds   = 20001
      stall_timeout_seconds   = 907
    }
  }

  override_module {
    override_during = plan
    target          = module.function["check_backlog"]
    outputs = {
      function_name = "check-backlog"
      function_arn  = "arn:aws:lambda:us-east-1:111122223333:function:check-backlog"
    }
  }

  override_module {
    override_during = plan
    target          = module.function["start_model"]
    outputs = {
      function_name = "start-model"
      function_arn  = "arn:aws:lambda:us-east-1:111122223333:function:start-model"
    }
  }

  override_module {
    override_during = plan
    target          = module.mapping_function["enable_mapping"]
    outputs = {
      function_name = "enable-mapping"
      function_arn  = "arn:aws:lambda:us-east-1:111122223333:function:enable-mapping"
    }
  }

  override_module {
    override_during = plan
    target          = module.mapping_function["close_run"]
    outputs = {
      function_name = "close-run"
      function_arn  = "arn:aws:lambda:us-east-1:111122223333:function:close-run"
    }
  }

  override_module {
    override_during = plan
    target          = module.function["requeue_images"]
    outputs = {
      function_name = "requeue-images"
      function_arn  = "arn:aws:lambda:us-east-1:111122223333:function:requeue-images"
    }
  }

  override_module {
    override_during = plan
    target          = module.function["summarize_run"]
    outputs = {
      function_name = "summarize-run"
      function_arn  = "arn:aws:lambda:us-east-1:111122223333:function:summarize-run"
    }
  }

  override_module {
    override_during = plan
    target          = module.function["compact_catalog"]
    outputs = {
      function_name = "compact-catalog"
      function_arn  = "arn:aws:lambda:us-east-1:111122223333:function:compact-catalog"
    }
  }

  assert {
    condition     = can(regex("^[A-Za-z]+$", jsondecode(local.workflow_definition).StartAt))
    error_message = "The rendered workflow is not JSON with a StartAt."
  }

  assert {
    condition = jsondecode(local.workflow_definition).States.Initialize.Parameters.run == {
      "id.$"            = "$$.Execution.Name"
      "execution_arn.$" = "$$.Execution.Id"
      "started_at.$"    = "$$.Execution.StartTime"
      backend           = "rekognition_custom_labels"
      backend_settings  = { for name, value in local.backend.settings : name => value }
    }
    error_message = "The model of the run is not the chosen one."
  }

  assert {
    condition     = !strcontains(local.workflow_definition, "$${") && !strcontains(local.workflow_definition, "\"@")
    error_message = "A placeholder is left in the rendered workflow."
  }

  # A number in quotes is not Amazon States Language.
  assert {
    condition = length(regexall(
      "\"(?:Seconds|TimeoutSeconds|NumericGreaterThanEquals|[a-z_]+_seconds)\": *\"",
      local.workflow_definition,
    )) == 0
    error_message = "A number of the rendered workflow stands in quotes."
  }

  assert {
    condition = {
      for name, step in merge(
        jsondecode(local.workflow_definition).States,
        jsondecode(local.workflow_definition).States.ProcessBacklog.Branches[0].States,
      ) :
      name => { for key, value in step.Parameters : key => value if endswith(key, "_seconds") }
      if contains(["StartModel", "EnableMapping", "CheckProgress", "Close"], name)
      } == {
      StartModel    = { timeout_seconds = 2701, poll_seconds = 31 }
      EnableMapping = { timeout_seconds = 301, poll_seconds = 7 }
      CheckProgress = { stall_timeout_seconds = 907, drain_timeout_seconds = 20001, poll_seconds = 37 }
      Close = {
        mapping_timeout_seconds   = 301
        stop_timeout_seconds      = 901
        in_flight_timeout_seconds = 60
        mapping_poll_seconds      = 7
        model_poll_seconds        = 31
      }
    }
    error_message = "A bound or a wait of the workflow is not that of its variable."
  }

  # The sum of all bounds; what is beyond it is time for calls that hang.
  assert {
    condition     = jsondecode(local.workflow_definition).TimeoutSeconds >= 2 * 2701 + 901 + 3 * 301 + 20001 + 1800
    error_message = "The execution ends before its own bounds do: ${jsondecode(local.workflow_definition).TimeoutSeconds} seconds."
  }

  assert {
    condition = toset(regexall("\"Resource\": *\"arn:aws:lambda:us-east-1:111122223333:function:([a-z-]+)\"", local.workflow_definition)[*][0]) == toset([
      "check-backlog", "close-run", "compact-catalog", "enable-mapping", "requeue-images", "start-model", "summarize-run",
    ])
    error_message = "The workflow does not call the seven functions."
  }

  assert {
    condition = (
      length(regexall(aws_lambda_event_source_mapping.this[0].uuid, local.workflow_definition)) > 0
      && length(regexall(output.queue_url, local.workflow_definition)) > 0
    )
    error_message = "The workflow does not name the mapping and the queue."
  }
}

run "each_function_is_called_where_its_name_says" {
  command = plan

  # Terraform hands over the right ARN under each name: the template asks for it by the name of the function.
  assert {
    condition = alltrue([
      for name in concat(keys(local.functions), keys(local.mapping_functions)) :
      name == "analyze_images" || strcontains(file("../state_machine.asl.json"), "$${${name}_function_arn}")
    ])
    error_message = "A control function is not called by the workflow."
  }
}

run "workflow_role" {
  command = plan

  module {
    source = "./modules/workflow"
  }

  variables {
    name                     = "welds"
    role_name                = "welds-workflow"
    finds_other_executions   = true
    map_bucket_arn           = null
    account_id               = "111122223333"
    partition                = "aws"
    region                   = "us-east-1"
    definition               = "{}"
    function_arns            = ["arn:aws:lambda:us-east-1:111122223333:function:a", "arn:aws:lambda:us-east-1:111122223333:function:b"]
    log_level                = "ERROR"
    log_retention_days       = 30
    kms_key_arn              = null
    role_path                = "/"
    permissions_boundary_arn = null
    tags                     = {}
  }

  assert {
    condition = {
      for statement in data.aws_iam_policy_document.this.statement : statement.sid => statement.resources
      if statement.sid != "DeliverLog"
      } == {
      CallFunctions = toset([
        "arn:aws:lambda:us-east-1:111122223333:function:a", "arn:aws:lambda:us-east-1:111122223333:function:b",
      ])
      FindOtherExecutions = toset(["arn:aws:states:us-east-1:111122223333:stateMachine:welds"])
    }
    error_message = "The role names other resources than those of the workflow."
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
    condition     = endswith(aws_sfn_state_machine.this.logging_configuration[0].log_destination, ":*")
    error_message = "Step Functions accepts the ARN of a log group only with :* at its end."
  }

  assert {
    condition     = startswith(aws_cloudwatch_log_group.this.name, "/aws/vendedlogs/states/")
    error_message = "Log groups of state machines belong under /aws/vendedlogs/."
  }

  assert {
    condition     = aws_sfn_state_machine.this.timeouts.delete == "20m"
    error_message = "A destroy gives the state machine up after 5 minutes."
  }
}
