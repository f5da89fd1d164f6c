# The parts that the module is made of, one by one. The provider is mocked, so nothing is made; see tests/mocks.

mock_provider "aws" {
  source = "./tests/mocks"
}

run "bucket_is_private_versioned_and_encrypted" {
  module {
    source = "./modules/storage"
  }

  variables {
    name                              = "welds-source-111122223333-us-east-1"
    force_destroy                     = false
    kms_key_arn                       = null
    noncurrent_version_retention_days = 365
    noncurrent_days_by_prefix         = {}
    current_days_by_prefix            = {}
    tags                              = {}
  }

  assert {
    condition     = aws_s3_bucket_versioning.this.versioning_configuration[0].status == "Enabled"
    error_message = "The bucket is not versioned."
  }

  assert {
    condition = alltrue([
      aws_s3_bucket_public_access_block.this.block_public_acls,
      aws_s3_bucket_public_access_block.this.block_public_policy,
      aws_s3_bucket_public_access_block.this.ignore_public_acls,
      aws_s3_bucket_public_access_block.this.restrict_public_buckets,
    ])
    error_message = "The bucket could become public."
  }

  assert {
    condition     = one(aws_s3_bucket_server_side_encryption_configuration.this.rule).apply_server_side_encryption_by_default[0].sse_algorithm == "AES256"
    error_message = "Without a customer key S3 encrypts with its own."
  }

  assert {
    condition     = one(one(data.aws_iam_policy_document.this.statement).condition).variable == "aws:SecureTransport"
    error_message = "The bucket takes requests without TLS."
  }
}

run "lifecycle_never_expires_a_current_object" {
  module {
    source = "./modules/storage"
  }

  variables {
    name                              = "welds-source-111122223333-us-east-1"
    force_destroy                     = false
    kms_key_arn                       = null
    noncurrent_version_retention_days = 365
    noncurrent_days_by_prefix         = {}
    current_days_by_prefix            = {}
    tags                              = {}
  }

  assert {
    condition = alltrue(flatten([
      for rule in aws_s3_bucket_lifecycle_configuration.this.rule : [
        for expiration in rule.expiration : expiration.date == null && coalesce(expiration.days, 0) == 0
      ]
    ]))
    error_message = "A rule removes current objects."
  }

  assert {
    condition     = aws_s3_bucket_lifecycle_configuration.this.rule[0].noncurrent_version_expiration[0].noncurrent_days == 365
    error_message = "Noncurrent versions do not stay for as long as asked."
  }
}

run "bucket_with_customer_key" {
  module {
    source = "./modules/storage"
  }

  variables {
    name                              = "welds-source-111122223333-us-east-1"
    force_destroy                     = false
    kms_key_arn                       = "arn:aws:kms:us-east-1:111122223333:key/0a1b2c3d"
    noncurrent_version_retention_days = 365
    noncurrent_days_by_prefix         = {}
    current_days_by_prefix            = {}
    tags                              = {}
  }

  assert {
    condition = (
      one(aws_s3_bucket_server_side_encryption_configuration.this.rule).bucket_key_enabled
      && one(aws_s3_bucket_server_side_encryption_configuration.this.rule).apply_server_side_encryption_by_default[0].kms_master_key_id == var.kms_key_arn
    )
    error_message = "The bucket does not use the key, or asks KMS for each object."
  }
}

run "queue_admits_the_source_bucket_only_and_is_encrypted" {
  module {
    source = "./modules/queue"
  }

  variables {
    name       = "welds-images"
    account_id = "111122223333"
    partition  = "aws"
    region     = "us-east-1"
    senders = { AllowSourceBucketToSend = {
      service           = "s3.amazonaws.com"
      source_arn        = "arn:aws:s3:::welds-source"
      source_account_id = "111122223333"
    } }
    visibility_timeout_seconds = 360
    message_retention_seconds  = 1209600
    max_receive_count          = 5
    kms_key_arn                = null
    tags                       = {}
  }

  assert {
    condition = [
      for statement in data.aws_iam_policy_document.queue.statement : {
        actions    = statement.actions
        principals = [for principal in statement.principals : principal.identifiers]
        conditions = { for condition in statement.condition : condition.variable => condition.values }
      } if statement.effect == "Allow"
      ] == [
      {
        actions    = toset(["sqs:SendMessage"])
        principals = [toset(["s3.amazonaws.com"])]
        conditions = {
          "aws:SourceAccount" = tolist(["111122223333"])
          "aws:SourceArn"     = tolist(["arn:aws:s3:::welds-source"])
        }
      }
    ]
    error_message = "The queue admits somebody else than S3 for the source bucket of this account."
  }

  assert {
    condition = alltrue([
      for document in [data.aws_iam_policy_document.queue, data.aws_iam_policy_document.dead_letter_queue] :
      contains([for statement in document.statement : statement.sid if statement.effect == "Deny"], "DenyInsecureTransport")
    ])
    error_message = "A queue takes requests without TLS."
  }

  assert {
    condition     = aws_sqs_queue.this.sqs_managed_sse_enabled && aws_sqs_queue.dead_letter.sqs_managed_sse_enabled
    error_message = "A queue is not encrypted."
  }

  # What the policy names must be what the queue is called.
  assert {
    condition = alltrue([
      for statement in data.aws_iam_policy_document.queue.statement :
      statement.resources == toset(["arn:aws:sqs:us-east-1:111122223333:${aws_sqs_queue.this.name}"])
    ])
    error_message = "The policy is for another queue."
  }
}

run "queue_with_customer_key" {
  module {
    source = "./modules/queue"
  }

  variables {
    name       = "welds-images"
    account_id = "111122223333"
    partition  = "aws"
    region     = "us-east-1"
    senders = { AllowSourceBucketToSend = {
      service           = "s3.amazonaws.com"
      source_arn        = "arn:aws:s3:::welds-source"
      source_account_id = "111122223333"
    } }
    visibility_timeout_seconds = 360
    message_retention_seconds  = 1209600
    max_receive_count          = 5
    kms_key_arn                = "arn:aws:kms:us-east-1:111122223333:key/0a1b2c3d"
    tags                       = {}
  }

  assert {
    condition     = aws_sqs_queue.this.kms_master_key_id == var.kms_key_arn && aws_sqs_queue.dead_letter.kms_master_key_id == var.kms_key_arn
    error_message = "A queue does not use the key."
  }
}

run "function_has_a_role_for_its_statements_and_its_own_log" {
  module {
    source = "./modules/function"
  }

  variables {
    name               = "welds-start-model"
    description        = "Stops the model"
    region             = "us-east-1"
    package            = { bucket = "welds-final", key = "functions/0a1b2c3d.zip", sha256_base64 = "Ch4sPQ==" }
    handler            = "lambdas.start_model.handler.handler"
    architecture       = "arm64"
    memory_mb          = 512
    timeout_seconds    = 300
    environment        = { BACKEND = "any" }
    log_retention_days = 30
    kms_key_arn        = "arn:aws:kms:us-east-1:111122223333:key/0a1b2c3d"
    tags               = { Project = "welds" }

    role_path                = "/vision/"
    permissions_boundary_arn = "arn:aws:iam::111122223333:policy/developers"

    statements = {
      StopModel = {
        actions   = ["rekognition:StopProjectVersion"]
        resources = ["arn:aws:rekognition:us-east-1:111122223333:project/welds/version/welds.1/1"]
      }
    }
  }

  assert {
    condition = { for statement in data.aws_iam_policy_document.this.statement : statement.sid => statement.resources } == {
      WriteOwnLog = toset(["arn:aws:logs:us-east-1:111122223333:log-group:mock:*"])
      StopModel   = toset(["arn:aws:rekognition:us-east-1:111122223333:project/welds/version/welds.1/1"])
    }
    error_message = "The policy has other statements than those given and the one for the function's own log."
  }

  assert {
    condition     = aws_lambda_function.this.runtime == "python3.13" && aws_lambda_function.this.handler == "lambdas.start_model.handler.handler"
    error_message = "The function runs ${aws_lambda_function.this.handler} on ${aws_lambda_function.this.runtime}."
  }

  assert {
    condition     = aws_lambda_function.this.source_code_hash == "Ch4sPQ==" && aws_lambda_function.this.s3_key == "functions/0a1b2c3d.zip" && aws_lambda_function.this.filename == null
    error_message = "The function's code is not the object in S3, or a changed zip would not be deployed."
  }

  assert {
    condition     = aws_cloudwatch_log_group.this.name == "/aws/lambda/welds-start-model" && aws_cloudwatch_log_group.this.retention_in_days == 30
    error_message = "The log group is not the one that Lambda writes to."
  }

  assert {
    condition     = aws_lambda_function.this.kms_key_arn == var.kms_key_arn && aws_cloudwatch_log_group.this.kms_key_id == var.kms_key_arn
    error_message = "The environment or the log is not encrypted with the key."
  }

  assert {
    condition     = aws_iam_role.this.path == "/vision/" && aws_iam_role.this.permissions_boundary == var.permissions_boundary_arn
    error_message = "The role is ${aws_iam_role.this.path}${aws_iam_role.this.name}, bounded by ${aws_iam_role.this.permissions_boundary}."
  }

  assert {
    condition     = coalesce(aws_lambda_function.this.reserved_concurrent_executions, -1) == -1
    error_message = "Reserved concurrency takes from the account's other functions."
  }

  assert {
    condition     = alltrue([for tags in [aws_lambda_function.this.tags, aws_iam_role.this.tags, aws_cloudwatch_log_group.this.tags] : tags == tomap({ Project = "welds" })])
    error_message = "Tags are missing."
  }
}

run "schedule_starts_the_workflow" {
  module {
    source = "./modules/schedule"
  }

  variables {
    name                = "welds-schedule"
    description         = "Starts a run"
    account_id          = "111122223333"
    region              = "us-east-1"
    schedule_expression = "rate(1 hour)"
    is_enabled          = true
    state_machine_arn   = "arn:aws:states:us-east-1:111122223333:stateMachine:welds"
    input               = null
    tags                = {}

    role_path                = "/"
    permissions_boundary_arn = null
  }

  assert {
    condition     = aws_cloudwatch_event_rule.this.state == "ENABLED" && aws_cloudwatch_event_rule.this.schedule_expression == "rate(1 hour)"
    error_message = "The rule does not fire every hour."
  }

  assert {
    condition     = aws_cloudwatch_event_target.this.arn == var.state_machine_arn && aws_cloudwatch_event_target.this.input == null
    error_message = "The rule starts something else, or with an input."
  }

  assert {
    condition = (
      one(data.aws_iam_policy_document.this.statement).actions == toset(["states:StartExecution"])
      && one(data.aws_iam_policy_document.this.statement).resources == toset([var.state_machine_arn])
    )
    error_message = "The role may do something else than start the workflow."
  }

  assert {
    condition = toset(one(data.aws_iam_policy_document.trust.statement).condition[*].variable) == toset([
      "aws:SourceAccount", "aws:SourceArn",
    ])
    error_message = "Rules of others could use the role."
  }
}

run "schedule_can_be_off" {
  module {
    source = "./modules/schedule"
  }

  variables {
    name                = "welds-schedule"
    description         = "Starts a run"
    account_id          = "111122223333"
    region              = "us-east-1"
    schedule_expression = "rate(1 hour)"
    is_enabled          = false
    state_machine_arn   = "arn:aws:states:us-east-1:111122223333:stateMachine:welds"
    input               = null
    tags                = {}

    role_path                = "/"
    permissions_boundary_arn = null
  }

  assert {
    condition     = aws_cloudwatch_event_rule.this.state == "DISABLED"
    error_message = "The rule fires although it is off."
  }
}

run "watchdog_is_called_when_an_execution_did_not_end_well" {
  module {
    source = "./modules/guard"
  }

  variables {
    name                      = "welds-guard"
    function_arn              = "arn:aws:lambda:us-east-1:111122223333:function:welds-guard-model"
    state_machine_arn         = "arn:aws:states:us-east-1:111122223333:stateMachine:welds"
    event_source_mapping_uuid = "5f2c2d3e-0000-4000-8000-000000000000"
    backend                   = "any"
    backend_settings          = { model = "welds.1" }
    schedule_expression       = "rate(15 minutes)"
    poll_seconds              = 30
    analyze_timeout_seconds   = 60
    alert_topic_arn           = "arn:aws:sns:us-east-1:111122223333:welds-alerts"
    tags                      = {}
  }

  override_resource {
    target = aws_cloudwatch_event_rule.executions
    values = {
      arn = "arn:aws:events:us-east-1:111122223333:rule/executions"
    }
  }

  override_resource {
    target = aws_cloudwatch_event_rule.schedule
    values = {
      arn = "arn:aws:events:us-east-1:111122223333:rule/schedule"
    }
  }

  assert {
    condition = jsondecode(aws_cloudwatch_event_rule.executions.event_pattern) == {
      source        = ["aws.states"]
      "detail-type" = ["Step Functions Execution Status Change"]
      detail = {
        stateMachineArn = ["arn:aws:states:us-east-1:111122223333:stateMachine:welds"]
        status          = ["ABORTED", "FAILED", "TIMED_OUT"]
      }
    }
    error_message = "The rule is for ${aws_cloudwatch_event_rule.executions.event_pattern}."
  }

  # What EventBridge makes of it: the placeholder, with the quotes of a text.
  assert {
    condition = replace(
      aws_cloudwatch_event_target.executions.input_transformer[0].input_template, "/<(execution_[a-z]+)>/", "\"$1\"",
      ) == jsonencode(merge(local.input, {
        task             = "execution_ended"
        execution_arn    = "execution_arn"
        execution_status = "execution_status"
    }))
    error_message = "The event is ${aws_cloudwatch_event_target.executions.input_transformer[0].input_template}."
  }

  assert {
    condition     = aws_cloudwatch_event_target.executions.input_transformer[0].input_paths == tomap({ execution_arn = "$.detail.executionArn", execution_status = "$.detail.status" })
    error_message = "The event does not say which execution ended."
  }

  assert {
    condition     = aws_cloudwatch_event_target.schedule.input == jsonencode(merge(local.input, { task = "tick" }))
    error_message = "The tick is ${aws_cloudwatch_event_target.schedule.input}."
  }

  assert {
    condition = {
      for key, permission in aws_lambda_permission.this : permission.source_arn => permission.principal
      } == {
      "arn:aws:events:us-east-1:111122223333:rule/executions" = "events.amazonaws.com"
      "arn:aws:events:us-east-1:111122223333:rule/schedule"   = "events.amazonaws.com"
    }
    error_message = "Other rules than these two may call the watchdog, or one of them may not."
  }

  assert {
    condition = (
      aws_lambda_invocation.deployment.input == jsonencode(merge(local.input, { task = "shut_down" }))
      && aws_lambda_invocation.model.input == jsonencode(merge(local.input, { task = "release_model" }))
      && alltrue([for invocation in [aws_lambda_invocation.deployment, aws_lambda_invocation.model] : invocation.lifecycle_scope == "CRUD"])
    )
    error_message = "Terraform does not call the watchdog when the deployment or its model goes."
  }

  assert {
    condition = aws_lambda_invocation.model.triggers == tomap({
      backend          = "any"
      backend_settings = jsonencode({ model = "welds.1" })
    })
    error_message = "Another model would not replace the invocation."
  }
}

run "alerts_go_to_the_addresses_and_by_tls_only" {
  module {
    source = "./modules/alerts"
  }

  variables {
    name            = "welds-alerts"
    account_id      = "111122223333"
    partition       = "aws"
    region          = "us-east-1"
    email_addresses = ["a@example.com", "b@example.com"]
    kms_key_arn     = "arn:aws:kms:us-east-1:111122223333:key/0a1b2c3d"
    tags            = {}
  }

  assert {
    condition     = toset([for subscription in aws_sns_topic_subscription.email : subscription.endpoint if subscription.protocol == "email"]) == toset(var.email_addresses)
    error_message = "Somebody is not told."
  }

  assert {
    condition = one([
      for statement in data.aws_iam_policy_document.this.statement : {
        condition = one(statement.condition).variable
        resources = statement.resources
      } if statement.effect == "Deny"
      ]) == {
      condition = "aws:SecureTransport"
      resources = toset(["arn:aws:sns:us-east-1:111122223333:${aws_sns_topic.this.name}"])
    }
    error_message = "The topic takes messages without TLS, or the policy is for another topic."
  }

  assert {
    condition     = aws_sns_topic.this.kms_master_key_id == var.kms_key_arn
    error_message = "The topic does not use the key."
  }
}

run "rekognition_of_this_account_tells_the_hint_queue" {
  module {
    source = "./modules/videos"
  }

  variables {
    topic_name                 = "clips-video-jobs"
    queue_name                 = "clips-video-hints"
    account_id                 = "111122223333"
    partition                  = "aws"
    region                     = "us-east-1"
    visibility_timeout_seconds = 365
    kms_key_arn                = "arn:aws:kms:us-east-1:111122223333:key/0a1b2c3d"
    role_path                  = "/"
    permissions_boundary_arn   = null
    tags                       = {}
  }

  assert {
    condition = [
      for statement in data.aws_iam_policy_document.trust.statement : {
        services   = flatten([for principal in statement.principals : tolist(principal.identifiers)])
        conditions = { for condition in statement.condition : condition.variable => condition.values }
      }
    ] == [{ services = ["rekognition.amazonaws.com"], conditions = { "aws:SourceAccount" = tolist(["111122223333"]) } }]
    error_message = "Jobs of another account could use the role, or another service."
  }

  assert {
    condition = { for statement in data.aws_iam_policy_document.publish.statement : statement.sid => [statement.actions, statement.resources] } == {
      TellOfJobs     = [toset(["sns:Publish"]), toset(["arn:aws:sns:us-east-1:111122223333:${aws_sns_topic.this.name}"])]
      UseCustomerKey = [toset(["kms:Decrypt", "kms:GenerateDataKey"]), toset([var.kms_key_arn])]
    }
    error_message = "The role may do something else than tell of jobs."
  }

  assert {
    condition = one([
      for statement in data.aws_iam_policy_document.queue.statement : {
        service = one(one(statement.principals).identifiers)
        source  = one(one(statement.condition).values)
        queue   = one(statement.resources)
      } if statement.effect == "Allow"
      ]) == {
      service = "sns.amazonaws.com"
      source  = "arn:aws:sns:us-east-1:111122223333:clips-video-jobs"
      queue   = "arn:aws:sqs:us-east-1:111122223333:clips-video-hints"
    }
    error_message = "The queue admits another topic than that of the jobs."
  }

  assert {
    condition     = aws_sns_topic_subscription.this.raw_message_delivery && aws_sns_topic_subscription.this.endpoint == aws_sqs_queue.this.arn && aws_sqs_queue.this.name == "clips-video-hints"
    error_message = "The queue is not told."
  }

  assert {
    condition     = aws_sqs_queue.this.message_retention_seconds == 730 && aws_sqs_queue.this.kms_master_key_id == var.kms_key_arn && aws_sns_topic.this.kms_master_key_id == var.kms_key_arn
    error_message = "Hints are kept for ${aws_sqs_queue.this.message_retention_seconds} seconds, encrypted with ${aws_sqs_queue.this.kms_master_key_id}."
  }
}
