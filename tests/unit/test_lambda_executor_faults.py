"""Faults in a function's process: with the real sandbox and botocore, against a small S3 that notes what arrives."""

from __future__ import annotations

import json
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from local.lambda_executor.batch_vision_lambda_executor import faults
from local.lambda_executor.batch_vision_lambda_executor.faults import Fault, Faults
from local.lambda_executor.batch_vision_lambda_executor.runtime_api import Invocation
from local.lambda_executor.batch_vision_lambda_executor.sandbox import FunctionConfiguration, Sandbox
from local.lambda_executor.batch_vision_lambda_executor.settings import ExecutorSettings
from local.localstack import LAMBDA_PYTHON

ECHO = "def handle(event, context):\n    return event\n"

# Puts objects in threads of its own, as analyze_images does.
PUTS = """
    import boto3
    from concurrent.futures import ThreadPoolExecutor
    s3 = boto3.client("s3")
    def put(key):
        s3.put_object(Bucket="bucket", Key=key, Body=b"x", **({"IfNoneMatch": "*"} if "taken" in key else {}))
    def handle(event, context):
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(put, event))
        return "done"
"""


def fault(action: str, point: str, **options) -> Fault:
    if "probability" not in options:
        options.setdefault("count", 1)
    return Fault(options.pop("id", "f"), options.pop("function", "analyze-images"), action, point, **options)


@pytest.fixture
def directory(tmp_path):
    folder = tmp_path / "faults"
    folder.mkdir()
    return folder


@pytest.fixture
def s3():
    """The keys that arrived, and the address they arrive at; a key with "taken" in it is refused."""
    arrived = []

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            arrived.append(self.path.removeprefix("/bucket/"))
            self.send_response(412 if "taken" in self.path else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield arrived, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def make_sandbox(tmp_path, monkeypatch, directory, s3):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    made = []

    def make(code, *, name="e2e-analyze-images", timeout_seconds=20.0, fault_directory=directory):
        task_root = tmp_path / f"task-{len(made)}"
        task_root.mkdir()
        (task_root / "app.py").write_text(textwrap.dedent(code))
        environment = {
            "AWS_ENDPOINT_URL": s3[1],
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        function = FunctionConfiguration(name, "app.handle", task_root, timeout_seconds, 256, environment)
        settings = ExecutorSettings(LAMBDA_PYTHON, tmp_path / "logs", fault_directory=fault_directory)
        sandbox = Sandbox(function, settings)
        made.append(sandbox)
        sandbox.start()
        return sandbox

    yield make
    for sandbox in made:
        sandbox.stop()


def invoke(sandbox, event):
    outcome = sandbox.invoke(Invocation("request-1", "arn", json.dumps(event).encode()))
    return outcome, json.loads(outcome.payload)


def test_without_a_folder_nothing_of_it_is_there(make_sandbox, directory):
    faults.write(directory, [fault("die", "invocation")])
    code = "import os, sys\ndef handle(event, context):\n    return [sorted(sys.modules), dict(os.environ)]\n"
    modules, environment = invoke(make_sandbox(code, fault_directory=None), {})[1]
    assert not [name for name in modules if "fault" in name or name.startswith("botocore")]
    assert not [name for name in environment if "BATCH_VISION" in name]
    assert faults.hits(directory, "f") == 0


def test_with_a_folder_the_function_sees_neither_variable_nor_path(make_sandbox):
    code = "import os, sys\ndef handle(event, context):\n    return [sys.path, dict(os.environ), sys.argv]\n"
    path, environment, arguments = invoke(make_sandbox(code), {})[1]
    assert not [entry for entry in path if "lambda_executor" in entry]
    assert not [name for name in environment if "BATCH_VISION" in name]
    assert arguments[1:] == ["app.handle"]


def test_a_function_dies_as_often_as_is_asked_for(make_sandbox, directory):
    sandbox = make_sandbox(ECHO)
    assert invoke(sandbox, 1)[1] == 1
    faults.write(directory, [fault("die", "invocation", count=2)])
    for _ in range(2):
        outcome, error = invoke(sandbox, 2)
        assert outcome.is_error
        assert error["errorType"] == "Runtime.ExitError"
        assert "signal: killed" in error["errorMessage"]
        assert "injected fault f: die, invocation\n" in outcome.logs
    assert invoke(sandbox, 3)[1] == 3
    assert faults.hits(directory, "f") == 2


def test_a_function_hangs_until_its_time_is_up(make_sandbox, directory):
    faults.write(directory, [fault("hang", "invocation")])
    sandbox = make_sandbox(ECHO, timeout_seconds=1.0)
    assert invoke(sandbox, 1)[1]["errorType"] == "Sandbox.Timedout"
    assert invoke(sandbox, 2)[1] == 2


def test_a_slow_start(make_sandbox, directory):
    faults.write(directory, [fault("delay", "start", seconds=1.0)])
    began = time.monotonic()
    sandbox = make_sandbox(ECHO)
    assert time.monotonic() - began >= 1
    assert invoke(sandbox, 1)[1] == 1


def test_only_the_function_that_is_named(make_sandbox, directory):
    faults.write(directory, [fault("die", "invocation", function="check-backlog")])
    assert invoke(make_sandbox(ECHO), 1)[1] == 1
    assert invoke(make_sandbox(ECHO, name="e2e-check-backlog"), 1)[0].is_error


@pytest.mark.parametrize(
    ("point", "arrived"),
    [("before PutObject", ["a.json"]), ("after PutObject", ["a.json", "b.json"])],
)
def test_a_function_dies_at_a_call(make_sandbox, directory, s3, point, arrived):
    faults.write(directory, [fault("die", point, key=r"^b\.json$")])
    sandbox = make_sandbox(PUTS)
    assert invoke(sandbox, ["a.json"])[1] == "done"
    outcome, error = invoke(sandbox, ["b.json"])
    assert error["errorType"] == "Runtime.ExitError"
    assert s3[0] == arrived
    assert f"injected fault f: die, {point} b.json\n" in outcome.logs
    assert invoke(sandbox, ["b.json"])[1] == "done"


def test_a_call_that_was_refused_did_nothing_to_die_after(make_sandbox, directory, s3):
    faults.write(directory, [fault("die", "after PutObject")])
    sandbox = make_sandbox(PUTS)
    assert invoke(sandbox, ["taken"])[1]["errorType"] == "ClientError"
    assert s3[0] == ["taken"]
    assert faults.hits(directory, "f") == 0
    assert invoke(sandbox, ["a"])[1]["errorType"] == "Runtime.ExitError"


def test_a_thread_that_hangs_holds_the_function(make_sandbox, directory, s3):
    faults.write(directory, [fault("hang", "before PutObject", key="b")])
    sandbox = make_sandbox(PUTS, timeout_seconds=2.0)
    assert invoke(sandbox, ["a", "b"])[1]["errorType"] == "Sandbox.Timedout"
    assert s3[0] == ["a"]


def strikes(directory, calls: int) -> list[bool]:
    """Whether a delay happened at each call."""
    faulty, before, happened = Faults(directory, "e2e-analyze-images"), 0, []
    for _ in range(calls):
        faulty.strike("invocation")
        now = faults.hits(directory, "f")
        happened.append(now > before)
        before = now
    return happened


def test_chances_repeat_with_their_seed(tmp_path):
    rounds = []
    for number, seed in enumerate((1, 1, 2)):
        folder = tmp_path / str(number)
        folder.mkdir()
        faults.write(folder, [fault("delay", "invocation", seconds=0, probability=0.4, seed=seed)])
        rounds.append(strikes(folder, 60))
    assert rounds[0] == rounds[1] != rounds[2]
    assert 12 <= sum(rounds[0]) <= 36


def test_what_is_counted_is_counted_across_processes_and_threads(directory):
    faults.write(directory, [fault("delay", "invocation", seconds=0, count=7)])
    functions = [Faults(directory, "e2e-analyze-images") for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: functions[number % 4].strike("invocation"), range(100)))
    assert faults.hits(directory, "f") == 7


def test_chances_are_drawn_once_across_processes_and_threads(directory):
    faults.write(directory, [fault("delay", "invocation", seconds=0, probability=1e-9)])
    with ThreadPoolExecutor(4) as pool:
        for round_ in range(3):  # others begin when many are drawn
            functions = [Faults(directory, "e2e-analyze-images") for _ in range(4)]
            list(pool.map(lambda number, of=functions: of[number % 4].strike("invocation"), range(33 + round_)))
    drawn = sorted(int(path.name.removeprefix("draw-f-")) for path in directory.glob("draw-f-*"))
    assert drawn == list(range(33 + 34 + 35))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"id": "a/b"}, "id 'a/b'"),
        ({"action": "explode"}, "unknown action 'explode': use one of die, hang, delay"),
        ({"point": "before"}, "unknown point 'before': use start"),
        ({"point": "during PutObject"}, "unknown point"),
        ({"point": "before PutObject", "key": "("}, "key '\\(' is no regular expression"),
        ({"key": "a"}, "key 'a' makes no sense at invocation"),
        ({"count": None}, "either a count or a probability"),
        ({"probability": 0.5}, "either a count or a probability"),
        ({"count": 0}, "count is 0"),
        ({"count": None, "probability": 1.5}, r"probability is 1\.5"),
        ({"action": "delay"}, "only a delay has, and needs, seconds"),
        ({"seconds": 1.0}, "only a delay has, and needs, seconds"),
    ],
)
def test_faults_that_cannot_be(options, named):
    fields = {"id": "f", "function": "f", "action": "die", "point": "invocation", "count": 1} | options
    with pytest.raises(ValueError, match=named):
        Fault(**fields)
