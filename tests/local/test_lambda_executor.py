"""Functions on a real LocalStack: created from a zip, run by the subprocess executor."""

import io
import json
import os
import socket
import textwrap
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from local import config
from local import localstack as localstack_process
from tests.local.conftest import LocalStackEndpoint
from tests.local.faults import LambdaFaults

pytestmark = pytest.mark.local

CODE = """
    import os, sys, time
    class ModelNotReadyError(Exception):
        pass
    def handle(event, context):
        print("working on", event)
        match event.get("do"):
            case "fail":
                raise ModelNotReadyError("not yet")
            case "die":
                os._exit(1)
            case "sleep":
                time.sleep(event["seconds"])
            case "look":
                return {"environment": dict(os.environ), "path": sys.path, "arn": context.invoked_function_arn}
            case "call":
                import boto3
                return boto3.client("sts").get_caller_identity()["Account"]
        return {"pid": os.getpid(), "event": event}
"""


@pytest.fixture(scope="module")
def localstack(alone):
    """One that looks for faults, as that of the stack's tests does."""
    faults = {"BATCH_VISION_LAMBDA_FAULTS": str(LambdaFaults.prepare())}
    running = localstack_process.start_localstack(dies_with_parent=True, settings=faults)
    try:
        yield LocalStackEndpoint(running.url)
    finally:
        running.stop()


@pytest.fixture(scope="module")
def client(localstack):
    return localstack.client("lambda")


@pytest.fixture(scope="module")
def make_function(localstack, client):
    role = localstack.client("iam").create_role(RoleName="executor-test", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("package/app.py", textwrap.dedent(CODE))
    names = []

    def make(name, *, handler="package.app.handle", runtime="python3.13", wait=True):
        # Without waiting it may never become active, and then LocalStack cannot delete it.
        client.create_function(
            FunctionName=name,
            Runtime=runtime,
            Role=role,
            Handler=handler,
            Code={"ZipFile": archive.getvalue()},
            Timeout=2,
            MemorySize=192,
            Environment={"Variables": {"MINE": "é"}},
        )
        if wait:
            names.append(name)
            client.get_waiter("function_active_v2").wait(FunctionName=name)
        return name

    yield make
    for name in names:
        client.delete_function(FunctionName=name)
    localstack.client("iam").delete_role(RoleName="executor-test")


@pytest.fixture(scope="module")
def function(make_function):
    return make_function("executor-test")


def invoke(client, name, event):
    response = client.invoke(FunctionName=name, Payload=json.dumps(event))
    return response.get("FunctionError"), json.loads(response["Payload"].read())


def test_returns_what_the_handler_returns(client, function):
    event = {"text": "käse 日本"}
    error, result = invoke(client, function, event)
    assert error is None
    assert result["event"] == event
    assert invoke(client, function, {})[1]["pid"] == result["pid"], "the environment was not kept"


def test_environment(client, function, localstack):
    error, seen = invoke(client, function, {"do": "look"})
    assert error is None
    environment = seen["environment"]
    expected = {
        "AWS_LAMBDA_FUNCTION_NAME": function,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "192",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function}",
        "AWS_REGION": config.REGION,
        "AWS_DEFAULT_REGION": config.REGION,
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
        "AWS_ENDPOINT_URL": localstack.url,
        "_HANDLER": "package.app.handle",
        "TZ": ":UTC",
        "MINE": "é",
    }
    assert {name: environment.get(name) for name in expected} == expected
    assert environment["AWS_ACCESS_KEY_ID"]
    assert environment["AWS_SESSION_TOKEN"]
    assert not [name for name in environment if "LOCALSTACK" in name or "BATCH_VISION" in name or "PYTHON" in name]
    assert seen["path"][0] == environment["LAMBDA_TASK_ROOT"]
    assert not {str(config.REPOSITORY), os.getcwd()} & set(seen["path"])  # noqa: PTH109
    assert seen["arn"] == f"arn:aws:lambda:{config.REGION}:{config.ACCOUNT_ID}:function:{function}"


def test_reaches_localstack(client, make_function):
    # The first import of boto3 takes its time on a busy machine; what is tested is where the call goes.
    name = make_function("executor-test-call")
    client.update_function_configuration(FunctionName=name, Timeout=30)
    client.get_waiter("function_updated_v2").wait(FunctionName=name)
    assert invoke(client, name, {"do": "call"}) == (None, config.ACCOUNT_ID)


def test_failures_have_the_form_of_aws_and_the_next_event_is_fine(client, function):
    error, result = invoke(client, function, {"do": "fail"})
    assert (error, result["errorType"], result["errorMessage"]) == ("Unhandled", "ModelNotReadyError", "not yet")
    error, result = invoke(client, function, {"do": "die"})
    assert (error, result["errorType"]) == ("Unhandled", "Runtime.ExitError")
    assert invoke(client, function, {})[0] is None
    error, result = invoke(client, function, {"do": "sleep", "seconds": 60})
    assert (error, result["errorType"]) == ("Unhandled", "Sandbox.Timedout")
    assert "Task timed out after 2.00 seconds" in result["errorMessage"]
    assert invoke(client, function, {})[0] is None


def test_handler_that_cannot_be_loaded(client, make_function):
    name = make_function("executor-test-broken", handler="package.missing.handle")
    error, result = invoke(client, name, {})
    assert (error, result["errorType"]) == ("Unhandled", "Runtime.ImportModuleError")
    assert "package.missing" in result["errorMessage"]


def test_another_runtime_is_refused(client, make_function):
    name = make_function("executor-test-old", runtime="python3.12", wait=False)
    deadline = time.monotonic() + 120
    while (found := client.get_function_configuration(FunctionName=name))["State"] == "Pending":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert found["State"] == "Failed"
    assert "python3.13 only" in found["StateReason"]


def test_environments_side_by_side(client, function):
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: invoke(client, function, {"do": "sleep", "seconds": 0.8}), range(4)))
    assert [error for error, _ in results] == [None] * 4
    assert len({result["pid"] for _, result in results}) == 4


def test_logs_are_in_cloudwatch_and_in_the_file(client, function, localstack):
    word = f"word-{time.time_ns()}"
    assert invoke(client, function, {"word": word})[0] is None
    logs = localstack.client("logs")
    deadline = time.monotonic() + 120
    found = []
    while not found and time.monotonic() < deadline:
        events = logs.filter_log_events(logGroupName=f"/aws/lambda/{function}")["events"]
        found = [event for event in events if word in event["message"]]
        time.sleep(0.1)
    assert found
    messages = [event["message"] for event in events]
    assert any(message.startswith("REPORT RequestId: ") for message in messages)
    assert word in (config.LOGS / "lambda" / f"{function}.log").read_text()


def test_a_wrong_setting_ends_localstack_at_once_and_is_named(tmp_path, monkeypatch):
    for name in ("DIRECTORY", "PID_FILE", "LOG_FILE", "LAMBDA_LOGS"):
        monkeypatch.setattr(localstack_process, name, tmp_path / name)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(localstack_process.LocalStackStartError) as caught:
        localstack_process.start_localstack(port, settings={"BATCH_VISION_LAMBDA_ENVIRONMENT": '{"PORT": 4599}'})
    assert "ended while it started" in str(caught.value)
    assert "the value of 'PORT' is not a string" in str(caught.value)


def test_a_mapping_takes_as_long_as_it_is_told(client, function, localstack):
    sqs = localstack.client("sqs")
    queue = sqs.create_queue(QueueName="executor-test")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    mapping = client.create_event_source_mapping(FunctionName=function, EventSourceArn=arn, Enabled=False)["UUID"]
    log = config.LOGS / "lambda" / f"{function}.log"

    def state():
        return client.get_event_source_mapping(UUID=mapping)["State"]

    def until(condition):
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def deliver(word):
        sqs.send_message(QueueUrl=queue, MessageBody=word)
        until(lambda: word in log.read_text())

    until(lambda: state() == "Disabled")
    faults = LambdaFaults()
    faults.slow_mapping(transition_seconds=5)
    sqs.send_message(QueueUrl=queue, MessageBody="first-message")

    began = time.monotonic()
    assert client.update_event_source_mapping(UUID=mapping, Enabled=True)["State"] == "Enabling"
    with pytest.raises(client.exceptions.ResourceInUseException):
        client.update_event_source_mapping(UUID=mapping, Enabled=False)
    assert state() == "Enabling"
    assert "first-message" not in log.read_text()
    until(lambda: state() == "Enabled")
    assert time.monotonic() - began >= 5
    until(lambda: "first-message" in log.read_text())

    faults.slow_mapping(transition_seconds=15)
    assert client.update_event_source_mapping(UUID=mapping, Enabled=False)["State"] == "Disabling"
    deliver("message-while-disabling")
    with pytest.raises(client.exceptions.ResourceInUseException):
        client.update_event_source_mapping(UUID=mapping, Enabled=True)
    until(lambda: state() == "Disabled")

    faults.clear()
    assert client.update_event_source_mapping(UUID=mapping, Enabled=True)["State"] == "Enabling"
    until(lambda: state() == "Enabled")
    deliver("message-at-once")
    client.update_event_source_mapping(UUID=mapping, Enabled=False)
    until(lambda: state() == "Disabled")
    client.delete_event_source_mapping(UUID=mapping)
    sqs.delete_queue(QueueUrl=queue)
