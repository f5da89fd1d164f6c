"""What AWS checks and LocalStack does not, held against every resource that the module makes.

`terraform test` runs the module with a mocked provider (`terraform/tests/static_limits.tftest.hcl`: the longest names
and largest settings, and other partitions) and prints every resource with its arguments. The rules below go by the
type of a resource, so a new function, queue or topic is held to them without being named here.

==============================================================  ======================================================
rule                                                            tested by
==============================================================  ======================================================
names: S3 63, IAM role 64, Lambda 64, SQS 80, state machine 80,  test_no_text_is_longer_than_aws_takes
rule 64, log group 512, topic 256; lengths of descriptions
names of roles, buckets and dashboards, which have no Region    test_names_of_global_types_contain_the_region
bucket names: characters, reserved beginnings                   test_bucket_names_are_of_s3s_form; validations.tftest
a definition of 1 MB, states of 80 characters, waits            test_the_workflow_is_of_a_size_that_step_functions_takes
an environment of 4 KB; no reserved name in it                  test_environments_are_small_and_name_nothing_reserved
10,240 characters of inline policies for a role, 2,048 of       test_policies_fit
trust policy, 20 KB of bucket policy, 30 KB of topic policy
trust policies: service principals of all partitions, source    test_roles_trust_one_service_and_one_source
ARN and account where the service sends them
what others may do here: only from a source of this account     test_resource_policies_are_for_one_source
queue policy before notification, role policy before mapping,   test_what_aws_checks_first_is_made_first
state machine and target; log group before function
visibility timeout at least 6 times the function's, receives    test_the_mapping_fits_its_queue_and_function
at least 5, concurrency 2 to 1000, window for large batches
a record of a video is taken for longer than a function lives   test_a_record_is_taken_for_longer_than_a_function_lives
SSE-SQS or a customer key, never alias/aws/sqs                  test_queues_have_an_encryption_that_s3_can_use
dead letters kept at least as long as messages                  test_dead_letters_outlive_messages
timeout up to 900 s, memory, runtime, 50 tags                   test_functions_are_of_what_lambda_has, test_tags_fit
no reserved concurrency, of which a new account has none        test_peer_failing_reserved_concurrency_in_an_account_…
log group ARN ending in :*, /aws/vendedlogs/                    test_the_workflow_logs_as_step_functions_wants_it
no ARN of another partition                                     test_every_arn_is_of_the_partition
permission to invoke names a source                             test_resource_policies_are_for_one_source
zip up to 50 MB, 250 MB unpacked                                test_package.py
each variable's bounds                                          validations.tftest.hcl
cron and rate forms                                             validations.tftest.hcl
the history's 25,000 events                                     validations.tftest.hcl (refuses_a_drain_that_would_…)
actions and their resources                                     tests/local/test_permissions.py
==============================================================  ======================================================
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.session import get_session

from batch_vision.core import video_jobs

pytestmark = pytest.mark.timeout(300)

ACCOUNT_ID = "111122223333"

RUNS = (
    "largest",
    "largest_for_lookout",
    "largest_for_sagemaker",
    "largest_managed",
    "largest_managed_existing",
    "hosted_existing",
    "defaults",
    "china",
    "govcloud",
)


@dataclass(frozen=True)
class Resource:
    """A resource or data source of a run, with all arguments that were given."""

    address: str
    module: str
    type: str
    name: str
    values: dict[str, Any]
    depends_on: tuple[str, ...]


@dataclass(frozen=True)
class Run:
    """A run of the test file."""

    name: str
    resources: list[Resource]

    def of(self, *types: str) -> list[Resource]:
        return [resource for resource in self.resources if resource.type in types]

    @property
    def partition(self) -> str:
        return str(self.of("aws_partition")[0].values["partition"])

    @property
    def region(self) -> str:
        return str(self.of("aws_region")[0].values["id"])

    def document(self, module: str, name: str) -> dict[str, Any]:
        """Render the policy document of a module, with the longest ARNs in the place of the mocked ones."""
        (found,) = (item for item in self.of("aws_iam_policy_document") if (item.module, item.name) == (module, name))
        statements = []
        for asked in found.values["statement"]:
            statement = {"Sid": asked["sid"], "Effect": asked["effect"], "Action": asked["actions"]}
            if asked["resources"]:
                statement["Resource"] = [self.longest(resource) for resource in asked["resources"]]
            for principal in asked["principals"]:
                statement.setdefault("Principal", {})[principal["type"]] = principal["identifiers"]
            for condition in asked["condition"]:
                values = [self.longest(value) for value in condition["values"]]
                statement.setdefault("Condition", {}).setdefault(condition["test"], {})[condition["variable"]] = values
            statements.append(statement)
        return {"Version": "2012-10-17", "Statement": statements}

    def longest(self, text: str) -> str:
        """Put the longest ARN of its kind in the place of a mocked one."""
        if "mock" not in text:
            return text
        service = text.split(":")[2]
        longest = {
            "s3": ":::" + max((item.values["bucket"] for item in self.of("aws_s3_bucket")), key=len),
            "logs": ":log-group:" + max((item.values["name"] for item in self.of("aws_cloudwatch_log_group")), key=len),
            "lambda": ":function:"
            + max((item.values["function_name"] for item in self.of("aws_lambda_function")), key=len),
            "sqs": ":" + max((item.values["name"] for item in self.of("aws_sqs_queue")), key=len),
            "states": ":stateMachine:"
            + max((item.values["name"] for item in self.of("aws_sfn_state_machine")), key=len, default=""),
            "events": ":rule/"
            + max((item.values["name"] for item in self.of("aws_cloudwatch_event_rule")), key=len, default=""),
            "sns": ":" + max((item.values["name"] for item in self.of("aws_sns_topic")), key=len, default=""),
            "iam": ":role"
            + max((item.values["path"] + item.values["name"] for item in self.of("aws_iam_role")), key=len),
        }[service]
        place = "" if service == "s3" else f":{'' if service == 'iam' else self.region}:{ACCOUNT_ID}"
        return f"arn:{self.partition}:{service}{place}{longest}{text.partition('mock')[2]}"


def _resources(module: dict[str, Any]) -> Iterator[Resource]:
    for found in module.get("resources", []):
        yield Resource(
            address=found["address"],
            module=module.get("address", ""),
            type=found["type"],
            name=found["name"],
            values=found["values"],
            depends_on=tuple(found.get("depends_on", [])),
        )
    for child in module.get("child_modules", []):
        yield from _resources(child)


@pytest.fixture(scope="module")
def runs(applied_modules: dict[str, dict[str, Any]]) -> dict[str, Run]:
    return {name: Run(name, list(_resources(applied_modules[name]))) for name in RUNS}


@pytest.fixture(params=RUNS)
def run(request: pytest.FixtureRequest, runs: dict[str, Run]) -> Run:
    return runs[request.param]


# Type, argument, characters. From the page of each service's API, and where that differs from its quotas, from these.
LONGEST = [
    ("aws_s3_bucket", "bucket", 63),  # S3 user guide, General purpose bucket naming rules
    ("aws_s3_object", "key", 1024),  # S3 user guide, Naming Amazon S3 objects
    ("aws_iam_role", "name", 64),  # IAM API, CreateRole
    ("aws_iam_role", "description", 1000),
    ("aws_iam_role", "path", 512),
    ("aws_iam_role_policy", "name", 128),  # IAM API, PutRolePolicy
    ("aws_lambda_function", "function_name", 64),  # Lambda API, CreateFunction: "64 characters in length" for a name
    ("aws_lambda_function", "description", 256),
    ("aws_lambda_function", "handler", 128),
    ("aws_lambda_permission", "statement_id", 100),  # Lambda API, AddPermission
    ("aws_sqs_queue", "name", 80),  # SQS API, CreateQueue
    ("aws_sfn_state_machine", "name", 80),  # Step Functions API, CreateStateMachine
    ("aws_cloudwatch_event_rule", "name", 64),  # EventBridge API, PutRule
    ("aws_cloudwatch_event_rule", "description", 512),
    ("aws_cloudwatch_event_rule", "schedule_expression", 256),
    ("aws_cloudwatch_event_rule", "event_pattern", 4096),
    ("aws_cloudwatch_event_permission", "statement_id", 64),  # EventBridge API, PutPermission
    ("aws_cloudwatch_event_target", "target_id", 64),  # EventBridge API, Target
    ("aws_cloudwatch_event_target", "input", 8192),
    ("aws_cloudwatch_log_group", "name", 512),  # CloudWatch Logs API, CreateLogGroup
    ("aws_cloudwatch_metric_alarm", "alarm_name", 255),  # CloudWatch API, PutMetricAlarm
    ("aws_cloudwatch_metric_alarm", "alarm_description", 1024),
    ("aws_cloudwatch_dashboard", "dashboard_name", 255),  # CloudWatch API, PutDashboard
    ("aws_cloudwatch_query_definition", "name", 255),  # CloudWatch Logs API, PutQueryDefinition
    ("aws_cloudwatch_query_definition", "query_string", 10_000),
    ("aws_sns_topic", "name", 256),  # SNS API, CreateTopic
]


def test_no_text_is_longer_than_aws_takes(run: Run) -> None:
    held = set()
    for kind, argument, longest in LONGEST:
        for resource in run.of(kind):
            text = resource.values.get(argument)
            assert len(text or "") <= longest, f"{resource.address}: {argument} of {len(text)}, AWS takes {longest}"
            held.add(resource.address)
    unheld = {
        resource.address
        for resource in run.resources
        if resource.address not in held
        and {"name", "bucket"} & set(resource.values)
        and "data." not in resource.address
    }
    # What is part of something that has its name, and has none of its own.
    assert {address for address in unheld if "aws_s3_bucket_" not in address} == set()


def test_the_longest_names_are_near_the_limits(runs: dict[str, Run]) -> None:
    """A prefix of one character more would be too long for a bucket, so the run is the longest that there is."""
    longest = max(len(bucket.values["bucket"]) for bucket in runs["largest"].of("aws_s3_bucket"))
    assert longest == 63


def test_bucket_names_are_of_s3s_form(run: Run) -> None:
    for bucket in run.of("aws_s3_bucket"):
        name = bucket.values["bucket"]
        assert re.fullmatch(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", name)
        # S3 user guide, General purpose bucket naming rules
        assert not name.startswith(("xn--", "sthree-", "amzn-s3-demo-"))
        assert not name.endswith(("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3", "-an"))


# What has a name of its own in the whole account or partition, whatever the Region: its ARN has none (IAM reference).
GLOBAL_NAMES = {"aws_cloudwatch_dashboard": "dashboard_name", "aws_iam_role": "name", "aws_s3_bucket": "bucket"}


def test_names_of_global_types_contain_the_region(run: Run) -> None:
    """Two deployments with one prefix in two Regions share no name."""
    for kind, argument in GLOBAL_NAMES.items():
        names = [resource.values[argument] for resource in run.of(kind) if "data." not in resource.address]
        assert names, f"there is no {kind}"
        assert [name for name in names if run.region not in name] == []


def test_the_workflow_is_of_a_size_that_step_functions_takes(run: Run) -> None:
    """Step Functions developer guide, Service quotas; ASL specification: a wait is at most 99,999,999 s."""
    for machine in run.of("aws_sfn_state_machine"):
        text = machine.values["definition"]
        assert len(text.encode()) < 1024 * 1024
        names, seconds = [], [json.loads(text)["TimeoutSeconds"]]

        def collect(value: Any, names: list[str] = names, seconds: list[int] = seconds) -> None:
            if isinstance(value, dict):
                names.extend(value.get("States", {}))
                seconds.extend(value[key] for key in ("Seconds", "TimeoutSeconds") if isinstance(value.get(key), int))
                for item in value.values():
                    collect(item)
            elif isinstance(value, list):
                for item in value:
                    collect(item)

        collect(json.loads(text))
        assert len(names) == len(set(names)) > (8 if machine.values["name"].endswith("-backfill") else 20)
        assert max(map(len, names)) <= 80
        assert all(1 <= second <= 99_999_999 for second in seconds)


RESERVED_NAMES = {  # Lambda developer guide, Defined runtime environment variables: reserved
    "_HANDLER",
    "_X_AMZN_TRACE_ID",
    "AWS_DEFAULT_REGION",
    "AWS_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_LAMBDA_RUNTIME_API",
    "LAMBDA_TASK_ROOT",
    "LAMBDA_RUNTIME_DIR",
}


def test_environments_are_small_and_name_nothing_reserved(run: Run) -> None:
    """Lambda developer guide, Lambda quotas: 4 KB in aggregate."""
    for function in run.of("aws_lambda_function"):
        variables = function.values["environment"][0]["variables"]
        assert len(json.dumps(variables).encode()) <= 4096, function.address
        assert not set(variables) & RESERVED_NAMES
        assert all(re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_]+", name) for name in variables)


def _characters(document: dict[str, Any]) -> int:
    """What IAM counts: all characters that are no white space."""
    return len(re.sub(r"\s", "", json.dumps(document)))


def test_policies_fit(run: Run) -> None:
    """IAM user guide, IAM and STS quotas; S3 user guide, Bucket policies (20 KB); SNS quotas (30 KB).

    A document of ours has the name of the resource that it is for, in the same module.
    """
    inline: dict[tuple[str, str], int] = defaultdict(int)
    for policy in run.of("aws_iam_role_policy"):
        inline[policy.module, policy.values["role"]] += _characters(run.document(policy.module, policy.name))
    assert len(inline) == len(run.of("aws_iam_role"))
    assert max(inline.values()) <= 10_240
    for role in run.of("aws_iam_role"):
        assert _characters(run.document(role.module, "trust")) <= 2048
        assert not role.values.get("inline_policy") or not any(role.values["inline_policy"][0].values())
    for kind, longest in (("aws_s3_bucket_policy", 20 * 1024), ("aws_sns_topic", 30 * 1024)):
        for resource in run.of(kind):
            assert _characters(run.document(resource.module, resource.name)) <= longest


# Services whose principal ends otherwise in some partitions; all others end in .amazonaws.com everywhere (the AWS
# provider's data source aws_service_principal).
PRINCIPALS_BY_PARTITION = {"cloudhsm", "codedeploy", "config", "dms", "ec2", "elasticmapreduce", "logs", "workspaces"}

# Services that do not say for which resource they assume a role. Lambda documents aws:SourceArn for the policies of
# functions only (Lambda developer guide, Working with resource-based policies, and Execution role).
WITHOUT_SOURCE = {"lambda"}
# The one that says only for which account (Rekognition developer guide, Cross-service confused deputy prevention, has
# an ARN for stream processors, and none for jobs of stored videos).
WITHOUT_SOURCE_ARN = {"rekognition"}


def _services(statement: dict[str, Any]) -> list[str]:
    return [identifier.removesuffix(".amazonaws.com") for identifier in statement["Principal"].get("Service", [])]


def _conditions(statement: dict[str, Any]) -> dict[str, list[str]]:
    return {key: values for test in statement.get("Condition", {}).values() for key, values in test.items()}


def test_roles_trust_one_service_and_one_source(run: Run) -> None:
    """IAM user guide, The confused deputy problem: cross-service prevention."""
    for role in run.of("aws_iam_role"):
        (statement,) = run.document(role.module, "trust")["Statement"]
        (service,) = _services(statement)
        assert re.fullmatch(r"[a-z]+", service)
        assert service not in PRINCIPALS_BY_PARTITION
        conditions = _conditions(statement)
        if service in WITHOUT_SOURCE:
            assert conditions == {}
        else:
            assert conditions["aws:SourceAccount"] == [ACCOUNT_ID]
            if service in WITHOUT_SOURCE_ARN:
                continue
            (source,) = conditions["aws:SourceArn"]
            # Step Functions' own guide has all state machines there: the role is tried before there is one.
            assert "*" not in source.removesuffix(":stateMachine:*")
            assert source.startswith(f"arn:{run.partition}:{service}:{run.region}:{ACCOUNT_ID}:")


def test_resource_policies_are_for_one_source(run: Run) -> None:
    """Whoever else is allowed anything here comes from one bucket, rule or topic of this account."""
    found = 0
    for document in run.of("aws_iam_policy_document"):
        for statement in run.document(document.module, document.name)["Statement"]:
            if "Principal" not in statement or document.name == "trust":
                continue
            found += 1
            if statement["Effect"] == "Deny":
                assert _conditions(statement) == {"aws:SecureTransport": ["false"]}
                continue
            assert statement["Principal"].keys() == {"Service"}
            assert not set(_services(statement)) & PRINCIPALS_BY_PARTITION
            conditions = _conditions(statement)
            (source,) = conditions["aws:SourceArn"]
            # The ARN of a bucket names no account.
            assert f":{ACCOUNT_ID}:" in source or conditions["aws:SourceAccount"] == [ACCOUNT_ID]
    assert found >= 5
    for permission in run.of("aws_lambda_permission"):
        assert permission.values["source_arn"], permission.address
        assert permission.values["principal"].removesuffix(".amazonaws.com") not in PRINCIPALS_BY_PARTITION


def _given(text: str | None) -> Any:
    """An argument that is JSON; None for one that was not given, which the mocked provider makes up."""
    try:
        return json.loads(text or "null")
    except ValueError:
        return None


def test_what_aws_checks_first_is_made_first(run: Run) -> None:
    """By Terraform's own graph: what is in a resource's dependencies is there before it.

    S3 checks that it may send when it takes a notification (S3 user guide, Granting permissions to publish event
    notification messages); Lambda that the role may read when it makes a mapping, Step Functions that the role may
    deliver logs when it makes a state machine; EventBridge tells nobody. Lambda makes a log group that never expires
    for a function that runs before its own is there.
    """
    for notification in run.of("aws_s3_bucket_notification"):
        # The queue's policy is an argument of the queue.
        queue_module = "module.videos_queue" if notification.name == "videos" else "module.queue"
        assert f"{queue_module}.aws_sqs_queue.this" in notification.depends_on
    for queue in run.of("aws_sqs_queue"):
        assert _given(queue.values["policy"]) is not None
    assert run.of("aws_sqs_queue_policy") == []
    for mapping in run.of("aws_lambda_event_source_mapping"):
        assert "module.function.aws_iam_role_policy.this" in mapping.depends_on
    for machine in run.of("aws_sfn_state_machine"):
        assert f"{_plain(machine.module)}.aws_iam_role_policy.this" in machine.depends_on
    for target in run.of("aws_cloudwatch_event_target"):
        if target.values.get("role_arn"):
            assert f"{_plain(target.module)}.aws_iam_role_policy.this" in target.depends_on
    for function in run.of("aws_lambda_function"):
        assert f"{_plain(function.module)}.aws_cloudwatch_log_group.this" in function.depends_on


def test_a_destroy_that_cannot_stop_the_model_has_destroyed_nothing_that_is_needed(run: Run) -> None:
    """The call of the watchdog depends on all else but the schedule of the runs, and what only watches."""
    apart = ("module.schedule", "module.guard[", "module.monitoring")
    others = {
        _plain(resource.address)
        for resource in run.resources
        if "data." not in resource.address and not resource.address.startswith(apart)
    }
    for call in run.of("aws_lambda_invocation"):
        assert others - set(call.depends_on) == set(), call.address


def _plain(address: str) -> str:
    """An address without keys: dependencies are told so."""
    return re.sub(r"\[[^\]]*\]", "", address)


def test_the_mapping_fits_its_queue_and_function(run: Run) -> None:
    """Lambda developer guide, Using Lambda with Amazon SQS: configuring, and CreateEventSourceMapping."""
    is_hosted = any(not machine.values["name"].endswith("-backfill") for machine in run.of("aws_sfn_state_machine"))
    mappings = {mapping.name: mapping for mapping in run.of("aws_lambda_event_source_mapping")}
    is_collected = "changes" in mappings
    ends = {
        "this": ("-chunks" if is_collected else "-images", "-analyze-images"),
        "changes": ("-images", "-collect-changes"),
        "videos": ("-videos", "-register-videos"),
        "video_hints": ("-video-hints", "-dispatch-videos"),
    }
    for name, mapping in mappings.items():
        (queue,) = (item for item in run.of("aws_sqs_queue") if item.values["name"].endswith(ends[name][0]))
        (function,) = (f for f in run.of("aws_lambda_function") if f.values["function_name"].endswith(ends[name][1]))
        batch, window = mapping.values["batch_size"], mapping.values["maximum_batching_window_in_seconds"]
        timeout = function.values["timeout"]
        assert 1 <= batch <= 10_000
        assert 0 <= window <= 300
        assert batch <= 10 or window >= 1
        assert 6 * timeout + window <= queue.values["visibility_timeout_seconds"] <= 43_200
        assert 2 <= mapping.values["scaling_config"][0]["maximum_concurrency"] <= 1000
        if name != "video_hints":  # nothing is lost with a hint
            assert 5 <= _given(queue.values["redrive_policy"])["maxReceiveCount"] <= 1000
    assert mappings["this"].values["enabled"] is not is_hosted


def test_a_record_is_taken_for_longer_than_a_function_lives(run: Run) -> None:
    """Another function goes on with a record whose time with the one before is over."""
    lives = {
        name: function.values["timeout"]
        for function in run.of("aws_lambda_function")
        for name in ("dispatch-videos", "collect-videos")
        if function.values["function_name"].endswith(f"-{name}")
    }
    waits = {config.name: config.values for config in run.of("aws_lambda_function_event_invoke_config")}
    if not lives:
        assert "collect_videos" not in waits
        return
    assert lives["dispatch-videos"] < video_jobs.STARTING_LEASE.total_seconds()
    longest = waits["collect_videos"]["maximum_event_age_in_seconds"] + lives["collect-videos"]
    assert longest <= video_jobs.COLLECTING_LEASE.total_seconds()
    assert waits["collect_videos"]["maximum_retry_attempts"] == 0


def test_queues_have_an_encryption_that_s3_can_use(run: Run) -> None:
    """SQS developer guide, Key management: the policy of the AWS managed key cannot admit S3."""
    for queue in run.of("aws_sqs_queue"):
        key = queue.values["kms_master_key_id"]
        assert (key is None) == bool(queue.values["sqs_managed_sse_enabled"])
        assert key is None or re.fullmatch(r"arn:[a-z-]+:kms:[a-z0-9-]+:\d{12}:key/[a-z0-9-]+", key)


def test_dead_letters_outlive_messages(run: Run) -> None:
    """SQS developer guide, Dead-letter queues: a standard queue's message keeps its age when it is moved."""
    for queue in run.of("aws_sqs_queue"):
        if queue.values["name"].endswith("-dead-letter"):
            assert queue.values["message_retention_seconds"] == 1_209_600
        else:
            assert queue.values["visibility_timeout_seconds"] < queue.values["message_retention_seconds"] <= 1_209_600


def test_functions_are_of_what_lambda_has(run: Run) -> None:
    shapes = get_session().get_service_model("lambda")
    for function in run.of("aws_lambda_function"):
        assert 1 <= function.values["timeout"] <= 900
        assert 128 <= function.values["memory_size"] <= 10_240
        assert function.values["runtime"] in shapes.shape_for("Runtime").enum
        assert set(function.values["architectures"]) <= set(shapes.shape_for("Architecture").enum)


def test_peer_failing_reserved_concurrency_in_an_account_of_ten(run: Run) -> None:
    """Lambda API reference, PutFunctionConcurrency: 100 must be left unreserved, and a new account has 10 in all."""
    assert not run.of("aws_lambda_provisioned_concurrency_config")
    for function in run.of("aws_lambda_function"):
        assert (function.values.get("reserved_concurrent_executions") or -1) == -1, function.address


def test_tags_fit(run: Run) -> None:
    """AWS general reference, Tag naming limits; 50, with what the provider's default_tags add."""
    for resource in run.resources:
        tags = resource.values.get("tags") or {}
        assert len(tags) <= 50
        assert all(len(key) <= 128 and len(value) <= 256 for key, value in tags.items())


def test_the_workflow_logs_as_step_functions_wants_it(run: Run) -> None:
    """Step Functions developer guide, Logging using CloudWatch Logs: the ARN's end, and the prefix for the group."""
    groups = [group for group in run.of("aws_cloudwatch_log_group") if "/states/" in group.values["name"]]
    for machine in run.of("aws_sfn_state_machine"):
        (logging,) = machine.values["logging_configuration"]
        assert logging["log_destination"].endswith(":*")
        assert not logging["log_destination"].endswith(":*:*")
    assert bool(groups) == bool(run.of("aws_sfn_state_machine"))
    assert all(group.values["name"].startswith("/aws/vendedlogs/states/") for group in groups)


def test_every_arn_is_of_the_partition(run: Run) -> None:
    """The mocked ones are of aws, whatever the partition of the run."""
    values = [resource.values for resource in run.resources]
    arns = set(re.findall(r"arn:aws[a-z-]*:[^\"\\, ]*", json.dumps(values)))
    mocked = {arn for arn in arns if "mock" in arn or "5f2c2d3e-0000-4000-8000-000000000000" in arn}
    own = {arn for arn in arns - mocked if not arn.startswith("arn:aws:iam::aws:")}
    assert len(own) > 3
    assert {arn for arn in own if not arn.startswith(f"arn:{run.partition}:")} == set()
