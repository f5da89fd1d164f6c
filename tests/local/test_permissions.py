"""The policies of all roles against what the roles do: enough for every call, and nothing that no call needs.

One compact scenario goes through all that the roles do. `permissions.py` says how the calls are known and judged.
"""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from batch_vision.aws.current_run import write_current_run
from batch_vision.backends import sagemaker_endpoint
from batch_vision.core.models import Model
from local import config
from local.emulator.models import HOSTED_MODELS, MODELS
from local.environment import choose
from local.package import PACKAGE
from local.terraform import Terraform
from tests.contract.cases import SAGEMAKER_SETTINGS
from tests.local import deployer, permissions
from tests.local.permissions import Grant, Policies, Recording
from tests.local.stack import Stack, words_of
from tests.local.test_guard import call_guard, is_off, target_input
from tests.local.test_stack import picture
from tests.local.waits import wait_until

pytestmark = [pytest.mark.local, pytest.mark.matrix, pytest.mark.timeout(1200)]

BACKEND = "rekognition_custom_labels"

TABLE_FILE = config.BUILD / "local" / "iam-table.md"  # whatever the name of this process's environment
KMS_KEY_ARN = f"arn:aws:kms:{config.REGION}:{config.ACCOUNT_ID}:key/0a1b2c3d-0000-4000-8000-000000000000"
FORMER_KMS_KEY_ARN = f"arn:aws:kms:{config.REGION}:{config.ACCOUNT_ID}:key/0a1b2c3d-0000-4000-8000-000000000001"


@dataclass
class Scenario:
    """What the roles of the deployment did.

    Attributes
    ----------
    recording
        From the beginning of the scenario.
    last_backend_recording
        Since the last change of the backend, so that the policies at the end were in force throughout.
    planned_policies
        The policies of the same deployment with a customer key, as Terraform would make them.
    """

    stack: Stack
    role_names: list[str]
    demands: list[permissions.Demand]
    recording: Recording
    last_backend_recording: Recording
    planned_policies: dict[str, Policies]


@pytest.fixture(scope="module")
def scenario(applied: Stack) -> Scenario:
    stack = applied
    stack.reset()
    if stack.environment.backend != BACKEND:
        stack.switch(BACKEND)
    began = time.time()
    former, former_execution = close_payload(stack), stack.run()["executionArn"]
    stack.switch("lookout_for_vision")
    stop_former_model(stack, former)
    let_the_watchdog_stop(stack, former_execution)
    stack.upload("same.png", picture(1))
    stack.s3.put_object(Bucket=stack.source, Key="tagged.png", Body=picture(2), Tagging="line=3")
    stack.upload("notes.jpg", b"no picture at all")
    described = stack.run()
    assert described["status"] == "SUCCEEDED"

    former = close_payload(stack)
    stack.switch(BACKEND)
    switched = time.time()
    stop_former_model(stack, former)
    let_the_watchdog_stop(stack, described["executionArn"])
    run_over_everything(stack)
    give_up_and_send_anew(stack)
    stack.uploads.clear()

    recording = Recording.read(permissions.RECORDED_CALLS)
    return Scenario(
        stack,
        permissions.role_names(stack),
        permissions.demands(f"arn:aws:s3:::{stack.source}", f"arn:aws:s3:::{stack.final}"),
        recording.since(began),
        recording.since(switched),
        plan_policies(stack, kms_key_arn=KMS_KEY_ARN),
    )


def close_payload(stack: Stack) -> dict[str, Any]:
    """What a run of the deployed workflow gives to close_run: it names the model that the run began with."""
    states = definition(stack)["States"]
    known = {key: value for key, value in states["Close"]["Parameters"].items() if not key.endswith(".$")}
    return known | {"run": run_of(states), "previous": states["Initialize"]["Parameters"]["close"]}


def definition(stack: Stack) -> dict[str, Any]:
    machine = stack.workflow.describe_state_machine(stateMachineArn=stack.state_machine_arn)
    found: dict[str, Any] = json.loads(machine["definition"])
    return found


def run_of(states: dict[str, Any]) -> dict[str, Any]:
    """A run as the steps of the workflow are given it."""
    run = states["Initialize"]["Parameters"]["run"]
    return {"id": "before", "execution_arn": "", "started_at": now()} | {
        key: run[key] for key in ("backend", "backend_settings")
    }


def stop_former_model(stack: Stack, payload: dict[str, Any]) -> None:
    """Do what a run does that was begun before a change of the backend: stop the model that was in use then."""
    name = payload["run"]["backend"]
    stops = stack.emulator.force_status(words_of(name).running, MODELS[name].arn)["stops"]
    function_name = f"{stack.arguments['name_prefix']}-close-run"
    answer = stack.functions.invoke(FunctionName=function_name, Payload=json.dumps(payload))
    assert "FunctionError" not in answer, answer["Payload"].read()
    assert stack.emulator.model(MODELS[name].arn)["stops"] == stops + 1
    endpoint = make_endpoint(stack)
    former = payload | {"run": payload["run"] | endpoint.to_json()}

    def is_gone() -> bool:
        again = stack.functions.invoke(FunctionName=function_name, Payload=json.dumps(former))
        assert "FunctionError" not in again, again["Payload"].read()
        return stack.emulator.state()["endpoint_configurations"] == []

    wait_until(is_gone, 60, "the former endpoint and its configuration are gone")


def make_endpoint(stack: Stack) -> Model:
    """Make an endpoint and its configuration, as a run does before the deployment gets another backend."""
    settings = SAGEMAKER_SETTINGS | {"deployment": stack.arguments["name_prefix"]}
    name = sagemaker_endpoint.Settings.read(settings).endpoint_name
    client = boto3.client(
        "sagemaker",
        endpoint_url=config.EMULATOR_URL,
        region_name=config.REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    variant = {"VariantName": "AllTraffic", "ModelName": settings["model_name"], "InstanceType": "ml.m5.xlarge"}
    client.create_endpoint_config(
        EndpointConfigName=f"{name}-0001", ProductionVariants=[variant | {"InitialInstanceCount": 1}]
    )
    client.create_endpoint(EndpointName=name, EndpointConfigName=f"{name}-0001")
    arn = MODELS[sagemaker_endpoint.NAME].arn
    wait_until(lambda: stack.emulator.model(arn)["status"] == "InService", 30, "the endpoint is in service")
    return Model.named(sagemaker_endpoint.NAME, settings)


def let_the_watchdog_stop(stack: Stack, former_execution: str) -> None:
    """Set up something for each task of the watchdog: a former model, an enabled mapping, an execution."""
    tick = target_input(stack, "schedule")
    ended = tick | {"task": "execution_ended", "execution_status": "FAILED"}
    former = next(name for name in HOSTED_MODELS if name != stack.environment.backend)
    stack.emulator.force_status(words_of(former).running, MODELS[former].arn)
    for model in (
        make_endpoint(stack),
        Model.named(former, MODELS[former].argument),
    ):  # of both, the first is a former one
        write_current_run(stack.s3, stack.final, "before", former_execution, model)
    call_guard(stack, ended | {"execution_arn": former_execution})
    stack.functions.update_event_source_mapping(UUID=stack.mapping_uuid, Enabled=True)
    stack.force_status("running")
    call_guard(stack, tick)
    wait_until(lambda: is_off(stack), 30, "mapping disabled and models off")
    upload = stack.upload("stopped.png", picture(6))
    execution = stack.start()
    wait_until(lambda: "WaitForModel" in stack.states(execution), 60, "the model starts")
    assert "errorType" not in check_without_progress(stack)
    call_guard(stack, tick | {"task": "shut_down"})
    assert stack.wait(execution)["status"] == "ABORTED"
    stack.s3.delete_object(Bucket=stack.source, Key=upload.key, VersionId=upload.version_id)
    stack.sqs.purge_queue(QueueUrl=stack.queue_url)


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())


def run_over_everything(stack: Stack) -> None:
    """Make one run, started by the schedule's rule, that takes every way an image can go."""

    def record(key: str, **names: Any) -> dict[str, Any]:
        return {
            "eventName": "ObjectCreated:Put",
            "eventTime": now(),
            "s3": {"bucket": {"name": stack.source}, "object": {"key": key, **names}},
        }

    def send(*records: dict[str, Any]) -> None:
        stack.sqs.send_message(QueueUrl=stack.queue_url, MessageBody=json.dumps({"Records": records}))

    # Uploads whose events are lost; what comes to the queue is sent by hand, but for the one that is put back.
    newer = stack.upload("same.png", picture(3))
    stack.upload("without an event.png", picture(4))
    stack.upload("folder.json", picture(5))
    stack.upload("notes.jpg", b"no picture either")
    gone = stack.upload("gone.png", b"")
    wait_for_messages(stack, 5)
    stack.sqs.purge_queue(QueueUrl=stack.queue_url)
    stack.s3.delete_object(Bucket=stack.source, Key="gone.png", VersionId=gone.version_id)
    # Delivered before, so that its result is looked for first. Its older upload has a mask, which it replaces.
    send(record("same.png", versionId=newer.version_id, size=1))
    stack.sqs.receive_message(QueueUrl=stack.queue_url, VisibilityTimeout=0)
    # Deleted after its upload: there is nothing to analyze.
    send(record("gone.png", versionId=gone.version_id, size=0))
    # Events of buckets that had no versions: one names an image that is there, the other one that is not.
    send(record("folder.json"), record("never.png"))

    # What the runs before have written, for an index.
    stack.age_catalog()

    # The rule starts the run with its own role, as on its schedule. (LocalStack has either a schedule or a pattern.)
    events, name = stack.environment.client("events"), stack.environment.output("schedule_rule_name")
    rule = events.describe_rule(Name=name)
    before = set(executions(stack))
    events.put_rule(Name=name, Description=rule["Description"], EventPattern=json.dumps({"source": ["test"]}))
    events.put_events(Entries=[{"Source": "test", "DetailType": "tick", "Detail": "{}"}])
    wait_until(lambda: set(executions(stack)) - before, what="the rule starts a run")
    (started,) = set(executions(stack)) - before
    events.put_rule(Name=name, Description=rule["Description"], ScheduleExpression=rule["ScheduleExpression"])
    assert stack.wait(started)["status"] == "SUCCEEDED"
    assert stack.keys(stack.source) == []
    assert "processed/same.png.mask.png" not in stack.keys(stack.final)


def give_up_and_send_anew(stack: Stack) -> None:
    """Let an image be given up, and its message come again, with a result that is taken back; let one wait a minute."""
    stack.s3.put_object_lock_configuration(
        Bucket=stack.source, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"}
    )
    waiting, died = stack.upload("waiting.png", picture(8)), stack.upload("died.png", picture(9))
    odd = stack.upload("odd.json", b"no picture")
    assert stack.analyze(waiting) == {"batchItemFailures": []}
    stack.force_status("running")
    # Something foreign is where its result would be: the place that was reserved for it is given back.
    stack.s3.put_object(Bucket=stack.final, Key="rejected/odd.json.json", Body=b"foreign")
    assert stack.analyze(odd) == {"batchItemFailures": []}
    for key, content in (("held.png", picture(7)), ("held.jpg", b"no picture")):
        held = stack.upload(key, content)
        hold = {"Bucket": stack.source, "Key": held.key, "VersionId": held.version_id}
        stack.emulator.inject(stack.words.detect, "slow:4000", count=1)
        with ThreadPoolExecutor(1) as pool:  # a hold that is placed while the model is asked
            answer = pool.submit(stack.analyze, held)
            wait_until(lambda: not stack.emulator.state()["faults"]["planned"], 30, "the model is asked")
            stack.s3.put_object_legal_hold(**hold, LegalHold={"Status": "ON"})
            assert answer.result() == {"batchItemFailures": []}
        assert stack.analyze(held, receive_count=2) == {"batchItemFailures": []}
        stack.s3.put_object_legal_hold(**hold, LegalHold={"Status": "OFF"})
    assert {key for key, _ in stack.stuck()} == {"held.png", "held.jpg"}
    stack.force_status("stopped")
    # A run beside what is stuck, with a dead letter, and without a run before it that is known.
    wait_for_messages(stack, 5)
    stack.sqs.purge_queue(QueueUrl=stack.queue_url)
    stack.sqs.send_message(QueueUrl=stack.dead_letter_queue_url, MessageBody=stack.event_of(died))
    stack.s3.delete_object(Bucket=stack.final, Key="current-run.json")
    assert stack.run()["status"] == "SUCCEEDED"
    assert {key for key, _ in stack.stuck()} == {"held.png", "held.jpg", "died.png"}


def check_without_progress(stack: Stack) -> dict[str, Any]:
    """Do what a run does whose images do not move: its second check looks at the model. Gives the answer or error."""
    states = definition(stack)["States"]
    check = states["ProcessBacklog"]["Branches"][0]["States"]["CheckProgress"]["Parameters"]
    moments = dict.fromkeys(("started_at", "progressed_at", "checked_at"), now())
    payload = {key: value for key, value in check.items() if not key.endswith(".$")} | {
        "run": run_of(states),
        "model": {"images_per_second": 5, "requested_at": now(), "running_at": now()},
        "previous": moments
        | {"state": "waiting", "images": 1, "idle_checks": 0, "stalled_checks": 9, "restarts": 0, "short_waits": 0},
    }
    name = f"{stack.arguments['name_prefix']}-check-backlog"
    answer = stack.functions.invoke(FunctionName=name, Payload=json.dumps(payload))
    said: dict[str, Any] = json.loads(answer["Payload"].read())
    return said


def wait_for_messages(stack: Stack, count: int) -> None:
    wait_until(lambda: stack.messages()[""] >= count, what="S3 sends all events")


def executions(stack: Stack) -> list[str]:
    listed = stack.workflow.list_executions(stateMachineArn=stack.state_machine_arn)["executions"]
    return [execution["executionArn"] for execution in listed]


def plan_policies(stack: Stack, **arguments: Any) -> dict[str, Policies]:
    """The roles' policies as an apply with other arguments would make them."""
    terraform = Terraform()
    unchanged = stack.arguments | choose(stack.environment.backend)
    plan_file = "changed.tfplan"
    try:
        terraform.write_root(unchanged | arguments)
        planned = terraform.run("plan", "-input=false", "-no-color", f"-out={plan_file}")
        assert planned.returncode == 0, planned.stdout + planned.stderr
        shown = json.loads(terraform.run("show", "-json", plan_file).stdout)
    finally:
        terraform.write_root(unchanged)
    planned_resources = [change | change["change"] for change in shown["resource_changes"]]
    documents = {
        (change["module_address"], change["name"]): change["after"]
        for change in planned_resources
        if change["type"] == "aws_iam_policy_document"
    }
    policies: dict[str, dict[str, str]] = {}
    for change in planned_resources:
        if change["type"] == "aws_iam_role_policy":
            after = change["after"]
            # Terraform renders a document when it applies, where that depends on something that changes.
            policy = after.get("policy") or rendered(documents[change["module_address"], change["name"]])
            policies.setdefault(after["role"], {})[after["name"]] = policy
    return policies


def rendered(document: dict[str, Any]) -> str:
    """Render a policy document of which the plan knows all statements."""
    elements = {"sid": "Sid", "effect": "Effect", "actions": "Action", "resources": "Resource"}
    found = []
    for statement in document["statement"]:
        known = {element: statement.pop(name) for name, element in elements.items()}
        assert None not in (*known["Action"], *known["Resource"]), f"not known before the apply: {known}"
        assert not any(statement.values()), f"not rendered here: {statement}"
        found.append(known)
    return json.dumps({"Version": "2012-10-17", "Statement": found})


def judge(scenario: Scenario, recording: Recording) -> list[permissions.Verdict]:
    return permissions.judge(recording, scenario.role_names, scenario.demands)


def problems(scenario: Scenario, recording: Recording) -> list[str]:
    return [problem for verdict in judge(scenario, recording) for problem in verdict.problems()]


def test_each_role_may_do_what_it_does_and_nothing_else(
    scenario: Scenario, record_property: Callable[[str, object], None]
) -> None:
    text = permissions.table(judge(scenario, scenario.recording))
    TABLE_FILE.parent.mkdir(exist_ok=True)
    TABLE_FILE.write_text(text)
    record_property("table", text)
    assert problems(scenario, scenario.recording) == []


def test_each_role_was_at_work_and_was_assumed_by_the_service_that_it_trusts(scenario: Scenario) -> None:
    iam = scenario.stack.environment.client("iam")
    at_work = {call.role_name for call in scenario.recording.calls}
    for name in scenario.role_names:
        assert name in at_work, f"{name} has done nothing: let the scenario use it"
        trust = iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]["Statement"]
        trusted = {statement["Principal"]["Service"].removesuffix(".amazonaws.com") for statement in trust}
        assert scenario.recording.principals[name] == trusted, name


def test_the_policies_are_those_of_the_deployment(scenario: Scenario) -> None:
    """What was judged is what IAM has: inline policies only, put by Terraform."""
    iam = scenario.stack.environment.client("iam")
    for name in scenario.role_names:
        assert iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"] == []
        deployed = {
            policy: iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
            for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]
        }
        judged = scenario.recording.latest_policies()[name]
        assert deployed == {policy: json.loads(document) for policy, document in judged.items()}


def test_a_customer_key_is_allowed_where_it_is_used(scenario: Scenario) -> None:
    """With a key, reading and writing objects and messages takes permissions on it; nothing else about a role changes.

    Applied is the deployment without a key; these are the policies of a plan with one, for the same calls.
    """
    recording = scenario.last_backend_recording.with_policies(scenario.planned_policies)
    verdicts = permissions.judge(recording, scenario.role_names, scenario.demands, kms_key_arn=KMS_KEY_ARN)
    assert [problem for verdict in verdicts for problem in verdict.problems(with_unneeded=False)] == []
    on_key = {
        (verdict.role_name, grant.action): needed_by
        for verdict in verdicts
        for grant, needed_by in verdict.needed.items()
        if grant.resource == KMS_KEY_ARN
    }
    assert on_key, "no role may use the key"
    assert [grant for grant, needed_by in on_key.items() if not needed_by] == []
    without_key = scenario.recording.latest_policies()
    for name in scenario.role_names:
        planned = {
            grant for grant in permissions.grants(scenario.planned_policies[name]) if grant.resource != KMS_KEY_ARN
        }
        assert planned == set(permissions.grants(without_key[name])), name


def test_aws_knows_each_action_and_each_resource(scenario: Scenario) -> None:
    """Every action exists, on a resource of a type that it knows; a star only where an action knows no resource."""
    reference = permissions.Reference()
    for name in scenario.role_names:
        for _, policies in scenario.recording.policies[name]:
            assert [found for grant in permissions.grants(policies) if (found := reference.problem_of(grant))] == []


def test_a_permission_that_is_taken_away_is_missed(scenario: Scenario) -> None:
    """Every single one of them, but those that stand twice in the role's policies with a reason."""
    taken = 0
    for verdict in judge(scenario, scenario.recording):
        for grant in verdict.needed:
            changed = scenario.recording.with_changed(verdict.role_name, without(grant))
            found = problems(scenario, changed)
            if grant in verdict.redundant:
                assert permissions.is_accepted(verdict.role_name, grant)
                assert found == [], grant
            else:
                assert any(f"{verdict.role_name} may not {grant.action} on" in problem for problem in found), grant
            taken += 1
    assert taken > 50


def test_a_permission_too_much_is_found(scenario: Scenario) -> None:
    """An action more in every statement, a resource more in every statement, and what looks harmless."""
    for name in scenario.role_names:
        document = next(iter(scenario.recording.latest_policies()[name].values()))
        for statement in permissions.statements(document):
            service = statement["Action"][0] if isinstance(statement["Action"], list) else statement["Action"]
            service = service.partition(":")[0]
            for added in (
                {"Action": f"{service}:CreateSomething"},
                {"Action": f"{service}:*"},
                {"Resource": f"arn:aws:{service}:us-east-1:000000000000:something/else"},
            ):
                changed = scenario.recording.with_changed(name, adding(statement["Sid"], added))
                found = [problem for problem in problems(scenario, changed) if name in problem]
                assert found, (name, statement["Sid"], added)


# From here on the deployment is changed, and at last destroyed.


@pytest.fixture(scope="module")
def tagged(scenario: Scenario) -> Stack:
    """The stack of a company: tags in both places, one of them in both and one empty; a boundary; a prefix."""
    stack = scenario.stack
    stack.apply(
        default_tags={"Project": "all", "Owner": "vision", "CostCenter": ""},
        tags={"Project": "welds"},
        source_prefix="before/",
        permissions_boundary_arn=f"arn:aws:iam::{config.ACCOUNT_ID}:policy/developers",
        alert_email_addresses=["team@example.com"],
        monitoring={"log_queries": False},
    )
    return stack


def test_a_plan_is_settled_with_tags_in_both_places(tagged: Stack) -> None:
    terraform = Terraform()
    planned = terraform.run("plan", "-input=false", "-no-color", "-out=tags.tfplan")
    assert planned.returncode == 0, planned.stderr
    shown = json.loads(terraform.run("show", "-json", "tags.tfplan").stdout)
    changes = [(entry["address"], entry["type"], entry["change"]) for entry in shown["resource_changes"]]
    unsettled = {
        address: (change["before"].get("tags_all"), change["after"].get("tags_all"))
        for address, kind, change in changes
        if change["actions"] == ["update"] and change["before"].get("tags_all") != change["after"].get("tags_all")
        if kind != "aws_cloudwatch_log_group"  # LocalStack forgets their tags
    }
    assert unsettled == {}


def test_what_waits_under_a_former_prefix_or_key_is_analyzed(scenario: Scenario, tagged: Stack, tmp_path: Path) -> None:
    """Three uploads: before the change without a message and with one, and after it; a run analyzes each.

    LocalStack has no keys of log groups, so that a change of the key cannot be applied there. The calls of the run are
    held to the policies of a plan with that change: what is read may be encrypted with either key.
    """
    stack = tagged
    stack.reset(applies=False)
    stack.upload("before/without an event.png", picture(1))
    wait_for_messages(stack, 1)
    stack.sqs.purge_queue(QueueUrl=stack.queue_url)
    stack.upload("before/a.png", picture(2))
    wait_for_messages(stack, 1)
    package = tmp_path / "lambdas.zip"
    package.write_bytes(PACKAGE.read_bytes())
    with zipfile.ZipFile(package, "a") as archive:
        archive.writestr("lambdas/new.py", "")
    changed: dict[str, Any] = {
        "source_prefix": "after/",
        "former_settings": {"source_prefixes": ["before/"]},
        # Of the mapping and of the queue, for whoever applies.
        "batch_size": 9,
        "max_receive_count": 7,
    }
    stack.apply(**changed, lambda_package_path=str(package))
    stack.upload("after/b.png", picture(3))
    wait_for_messages(stack, 2)
    began = time.time()
    described = stack.run()
    assert described["status"] == "SUCCEEDED", described
    stack.check()
    assert {key for key, _ in stack.results()} == {"before/without an event.png", "before/a.png", "after/b.png"}

    former = {"former_settings": {"kms_key_arns": [FORMER_KMS_KEY_ARN]}}
    recording = Recording.read(permissions.RECORDED_CALLS).since(began)
    verdicts = permissions.judge(
        recording.with_policies(plan_policies(stack, kms_key_arn=KMS_KEY_ARN, **former)),
        scenario.role_names,
        kms_key_arn=KMS_KEY_ARN,
        former_kms_key_arn=FORMER_KMS_KEY_ARN,
    )
    assert [problem for verdict in verdicts for problem in verdict.problems(with_unneeded=False)] == []
    read_with_it = {
        verdict.role_name for verdict in verdicts for grant in verdict.needed if grant.resource == FORMER_KMS_KEY_ARN
    }
    assert any("analyze-images" in name for name in read_with_it)


def test_whoever_applies_may_do_what_an_apply_a_change_and_a_destroy_do(tagged: Stack) -> None:
    """And nothing else: examples/deployer-policy.json by the calls that Terraform's provider has made in this file."""
    tagged.reset(applies=False)
    tagged.is_destroyed = True
    destroyed = Terraform().run("destroy", "-auto-approve", "-input=false", "-no-color")
    assert destroyed.returncode == 0, destroyed.stdout + destroyed.stderr
    calls = Recording.read(permissions.RECORDED_CALLS).terraform_calls
    operations = {call.operation for call in calls}
    # An apply, a change and a destroy are in it, or the test would see nothing.
    assert operations >= {"lambda:CreateFunction", "lambda:UpdateFunctionCode", "s3:DeleteBucket", "iam:DeleteRole"}
    verdict = deployer.judge(calls, deployer.without_conditions(deployer.rendered()))
    assert verdict.problems() == []


def without(grant: Grant) -> Callable[[str], str]:
    """Take one action on one resource out of a policy."""

    def change(document: str) -> str:
        kept = []
        for statement in permissions.statements(document):
            actions = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
            resources = [statement["Resource"]] if isinstance(statement["Resource"], str) else statement["Resource"]
            if statement["Sid"] == grant.sid and grant.action in actions and grant.resource in resources:
                kept.append(statement | {"Action": [action for action in actions if action != grant.action]})
                others = [resource for resource in resources if resource != grant.resource]
                kept.append(statement | {"Action": [grant.action], "Resource": others})
            else:
                kept.append(statement)
        kept = [statement for statement in kept if statement["Action"] and statement["Resource"]]
        return json.dumps({"Version": "2012-10-17", "Statement": kept})

    return change


def adding(sid: str, added: dict[str, str]) -> Callable[[str], str]:
    """Add an action or a resource to a statement of a policy."""

    def change(document: str) -> str:
        changed = permissions.statements(document)
        for statement in changed:
            if statement["Sid"] == sid:
                for element, value in added.items():
                    present = statement[element]
                    statement[element] = [value, *([present] if isinstance(present, str) else present)]
        return json.dumps({"Version": "2012-10-17", "Statement": changed})

    return change
