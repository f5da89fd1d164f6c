"""Holds examples/deployer-policy.json to what Terraform asks of AWS when it applies, changes and destroys the module.

The calls are recorded on LocalStack (`permissions.Recording.terraform_calls`). What LocalStack cannot do, and what a
newer provider or another setting asks, is in `DEMANDS`, with its source.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from string import Template
from typing import Any

from local import config
from local.terraform import EXAMPLES
from tests.local.permissions import Call, Grant, Permission, Policies, Verdict, gives, grants, is_allowed

POLICY_FILE = EXAMPLES / "deployer-policy.json"
KMS_KEY_ARN = f"arn:aws:kms:{config.REGION}:{config.ACCOUNT_ID}:key/0a1b2c3d-0000-4000-8000-000000000000"

# What a statement is bound to besides its resources; moto does not evaluate it.
_FUNCTIONS = {"ArnLike": {"lambda:FunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:e2e-*"}}
CONDITIONS = {
    "MakeMapping": _FUNCTIONS,
    "ChangeMapping": _FUNCTIONS,
    "PassRoles": {
        "StringEquals": {
            "iam:PassedToService": ["events.amazonaws.com", "lambda.amazonaws.com", "states.amazonaws.com"]
        }
    },
}


def rendered(**names: str) -> dict[str, Any]:
    """The policy for the end-to-end tests' deployment, or for the names that are given.

    Raises
    ------
    KeyError
        The file has a placeholder that is not known here.
    """
    known = {
        "partition": "aws",
        "region": config.REGION,
        "account_id": config.ACCOUNT_ID,
        "name_prefix": "e2e",
        "role_path": "/",
        "kms_key_arn": KMS_KEY_ARN,
    }
    policy: dict[str, Any] = json.loads(Template(POLICY_FILE.read_text()).substitute(known | names))
    return policy


def without_conditions(policy: Mapping[str, Any]) -> Policies:
    """The policy as moto evaluates it."""
    kept = [{key: value for key, value in each.items() if key != "Condition"} for each in policy["Statement"]]
    return {"deployer": json.dumps(dict(policy) | {"Statement": kept})}


# Operations whose permission has another name (S3 user guide, Required permissions for S3 API operations; Lambda and
# IAM references); the others are called as the operation.
_RENAMED = {
    "lambda:Invoke": "lambda:InvokeFunction",
    "s3:DeleteBucketLifecycle": "s3:PutLifecycleConfiguration",
    "s3:DeleteBucketOwnershipControls": "s3:PutBucketOwnershipControls",
    "s3:DeleteBucketEncryption": "s3:PutEncryptionConfiguration",
    "s3:DeleteBucketTagging": "s3:PutBucketTagging",
    "s3:DeletePublicAccessBlock": "s3:PutBucketPublicAccessBlock",
    "s3:GetBucketAccelerateConfiguration": "s3:GetAccelerateConfiguration",
    "s3:GetBucketCors": "s3:GetBucketCORS",
    "s3:GetBucketEncryption": "s3:GetEncryptionConfiguration",
    "s3:GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
    "s3:GetBucketNotificationConfiguration": "s3:GetBucketNotification",
    "s3:GetBucketReplication": "s3:GetReplicationConfiguration",
    "s3:GetObjectLockConfiguration": "s3:GetBucketObjectLockConfiguration",
    "s3:GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:HeadObject": "s3:GetObject",
    "s3:ListObjectVersions": "s3:ListBucketVersions",
    "s3:PutBucketEncryption": "s3:PutEncryptionConfiguration",
    "s3:PutBucketLifecycleConfiguration": "s3:PutLifecycleConfiguration",
    "s3:PutBucketNotificationConfiguration": "s3:PutBucketNotification",
    "s3:PutPublicAccessBlock": "s3:PutBucketPublicAccessBlock",
}

# GetCallerIdentity takes no permission (IAM reference); GetUser is asked by a provider only that checks no credentials.
_NO_PERMISSION = {"iam:GetUser", "sts:GetCallerIdentity"}

# The IAM reference defines no resource for these.
_WITHOUT_RESOURCE = {
    "lambda:CreateEventSourceMapping",
    "logs:DescribeLogGroups",
    "sns:GetSubscriptionAttributes",
    "sns:Unsubscribe",
    "states:ValidateStateMachineDefinition",
}

# The parameters that name the resource of a call, with the form of its ARN after account and Region.
_RESOURCES: Mapping[str, Mapping[str, str]] = {
    "cloudwatch": {"AlarmName": "alarm:{}", "AlarmNames": "alarm:{}", "DashboardName": "{}", "DashboardNames": "{}"},
    "events": {"Name": "rule/{}", "Rule": "rule/{}"},
    "lambda": {"FunctionName": "function:{}", "UUID": "event-source-mapping:{}"},
    "logs": {"logGroupName": "log-group:{}"},
    "sns": {"Name": "{}"},
    "sqs": {"QueueName": "{}"},
    "states": {"name": "stateMachine:{}"},
}
_ARN_PARAMETERS = ("ResourceARN", "ResourceArn", "resourceArn", "Resource", "TopicArn", "stateMachineArn")


def required(call: Call) -> Iterator[Permission]:
    """The permissions that AWS wants for a call of Terraform's provider."""
    if call.operation in _NO_PERMISSION:
        return
    action = _RENAMED.get(call.operation, call.operation)
    for resource in _resources(call):
        yield Permission(action, resource)
    role = call.parameters.get("Role") or call.parameters.get("roleArn")
    if role and call.operation in (
        "lambda:CreateFunction",
        "lambda:UpdateFunctionConfiguration",
        "states:CreateStateMachine",
        "states:UpdateStateMachine",
    ):
        yield Permission("iam:PassRole", role)
    code = call.parameters.get("Code", call.parameters)
    if "S3Key" in code:  # Lambda reads it as whoever calls (Lambda API, FunctionCode)
        yield Permission("s3:GetObject", f"arn:{call.partition}:s3:::{code['S3Bucket']}/{code['S3Key']}")


def _resources(call: Call) -> Iterator[str]:
    service, asked = call.operation.partition(":")[0], call.parameters
    if call.operation in _WITHOUT_RESOURCE:
        yield "*"
    elif service == "s3":
        yield f"arn:{call.partition}:s3:::{asked['Bucket']}" + (f"/{asked['Key']}" if "Key" in asked else "")
    elif service == "iam":
        yield f"arn:{call.partition}:iam::{call.account_id}:role{asked.get('Path', '/')}{asked['RoleName']}"
    elif "QueueUrl" in asked:
        yield call.arn("sqs", asked["QueueUrl"].rpartition("/")[2])
    elif arn := next((asked[name] for name in _ARN_PARAMETERS if name in asked), None):
        yield arn
    else:
        parameter, form = next((name, form) for name, form in _RESOURCES[service].items() if name in asked)
        qualifier = f":{asked['Qualifier']}" if "Qualifier" in asked else ""
        for name in [asked[parameter]] if isinstance(asked[parameter], str) else asked[parameter]:
            if name.startswith("arn:"):
                yield name + qualifier
            elif parameter.startswith("Dashboard"):
                yield f"arn:{call.partition}:cloudwatch::{call.account_id}:dashboard/{name}"
            else:
                yield call.arn(service, form.format(name)) + qualifier


def _demand(reason: str, resource: str, *actions: str) -> dict[Permission, str]:
    return {Permission(action, resource): reason for action in actions}


_REGIONAL = f"{config.REGION}:{config.ACCOUNT_ID}"
_BUCKET = f"arn:aws:s3:::e2e-source-{config.ACCOUNT_ID}-{config.REGION}"
_FINAL_BUCKET = f"arn:aws:s3:::e2e-final-{config.ACCOUNT_ID}-{config.REGION}"
_ROLE = f"arn:aws:iam::{config.ACCOUNT_ID}:role/e2e-schedule-{config.REGION}"
_LOG_GROUP = f"arn:aws:logs:{_REGIONAL}:log-group:/aws/lambda/e2e-guard-model"

DEMANDS: Mapping[Permission, str] = {
    **_demand(
        "named in the call by its version or not (provider, lambda/invocation.go; provider issue 23778)",
        f"arn:aws:lambda:{_REGIONAL}:function:e2e-guard-model",
        "lambda:InvokeFunction",
    ),
    **_demand(
        "GetFunction returns tags only with it (Lambda API, GetFunction)",
        f"arn:aws:lambda:{_REGIONAL}:function:e2e-guard-model",
        "lambda:ListTags",
    ),
    **_demand(
        "the object with the settings, with images_bucket_name (provider, s3/object.go and s3/delete.go)",
        f"{_FINAL_BUCKET}/settings/0a1b2c3d.json",
        "s3:DeleteObject",
        "s3:DeleteObjectVersion",
        "s3:GetObject",
        "s3:GetObjectTagging",
        "s3:PutObject",
    ),
    **_demand("the versions of that object, when it is deleted", _FINAL_BUCKET, "s3:ListBucketVersions"),
    **_demand(
        "the role of the rule's target (EventBridge user guide, Using resource-based policies and roles)",
        _ROLE,
        "iam:PassRole",
    ),
    **_demand(
        "tags of buckets from version 6.23 of the provider on (provider issue 45292)",
        _BUCKET,
        "s3:ListTagsForResource",
        "s3:TagResource",
        "s3:UntagResource",
    ),
    **_demand(
        "LocalStack has no saved queries",
        "*",
        "logs:DeleteQueryDefinition",
        "logs:DescribeQueryDefinitions",
        "logs:PutQueryDefinition",
    ),
    **_demand(
        "a change of kms_key_arn; LocalStack has no keys of log groups",
        _LOG_GROUP,
        "logs:AssociateKmsKey",
        "logs:DisassociateKmsKey",
    ),
    **_demand("a tag that is taken out; LocalStack's log groups forget their tags", _LOG_GROUP, "logs:UntagResource"),
    **_demand("log_retention_days = 0", _LOG_GROUP, "logs:DeleteRetentionPolicy"),
    **_demand(
        "a version of the module that changes what is said of a role, or whom it trusts",
        _ROLE,
        "iam:UpdateAssumeRolePolicy",
        "iam:UpdateRole",
        "iam:UpdateRoleDescription",
    ),
    **_demand(
        "environments and log groups with kms_key_arn (Lambda developer guide, Securing environment variables;"
        " CloudWatch Logs user guide, Encrypt log data)",
        KMS_KEY_ARN,
        "kms:CreateGrant",
        "kms:Decrypt",
        "kms:DescribeKey",
        "kms:Encrypt",
        "kms:GenerateDataKey",
    ),
}


def judge(calls: Iterable[Call], policies: Policies) -> Verdict:
    """Judge the policy by the calls and by `DEMANDS`: what it lacks, and what nothing needs."""
    needed: Counter[tuple[Permission, str]] = Counter()
    for call in calls:
        for permission in required(call):
            needed[permission, call.operation] += 1
    needed.update(dict.fromkeys(DEMANDS.items(), 1))
    found = grants(policies)
    # What one of the resources of a statement needs, the others have too: one bucket of two has a notification.
    counts: dict[tuple[str, str], Counter[str]] = {(grant.sid, grant.action): Counter() for grant in found}
    verdict = Verdict("whoever applies", needed={grant: counts[grant.sid, grant.action] for grant in found})
    for (permission, reason), count in needed.items():
        if not is_allowed(policies, permission):
            verdict.refused[permission] = reason
        for grant in found:
            if _is_of(grant, permission) and gives(grant, permission):
                counts[grant.sid, grant.action][reason] += count
    return verdict


def _is_of(grant: Grant, permission: Permission) -> bool:
    """Whether a grant is for an action: moto looks at nothing else of it where the resource is a star."""
    return bool(re.fullmatch(re.escape(grant.action).replace(r"\*", ".*"), permission.action))
