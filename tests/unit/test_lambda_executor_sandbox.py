"""The sandbox with AWS's own runtime client, as LocalStack uses it but without LocalStack."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from local import config
from local.lambda_executor.batch_vision_lambda_executor.runtime_api import MAX_PAYLOAD_BYTES, Invocation
from local.lambda_executor.batch_vision_lambda_executor.sandbox import FunctionConfiguration, Sandbox
from local.lambda_executor.batch_vision_lambda_executor.settings import ExecutorSettings
from local.localstack import LAMBDA_PYTHON

ECHO = "def handle(event, context):\n    return event\n"
ARN = "arn:aws:lambda:us-east-1:000000000000:function:f"


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not (status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z")


def wait_until(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


@pytest.fixture
def make_sandbox(tmp_path, monkeypatch):
    """Make a started sandbox of a function with this code."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    made = []

    def make(code, *, name="f", timeout_seconds=20.0, start_seconds=20.0, environment=None, handler="app.handle"):
        task_root = tmp_path / f"task-{len(made)}"
        task_root.mkdir()
        (task_root / "app.py").write_text(textwrap.dedent(code))
        function = FunctionConfiguration(
            name=name,
            handler=handler,
            task_root=task_root,
            timeout_seconds=timeout_seconds,
            memory_mb=256,
            environment=environment or {},
        )
        settings = ExecutorSettings(LAMBDA_PYTHON, tmp_path / "logs", {}, start_seconds)
        sandbox = Sandbox(function, settings)
        made.append(sandbox)
        sandbox.start()
        return sandbox

    yield make
    pids = [sandbox.pid for sandbox in made if sandbox.pid is not None]
    for sandbox in made:
        sandbox.stop()
    assert not [pid for pid in pids if is_alive(pid)]
    assert not list(tmp_path.glob("lambda-*")), "a sandbox left its folder behind"


def invoke(sandbox, event, request_id="request-1"):
    outcome = sandbox.invoke(Invocation(request_id, ARN, json.dumps(event).encode(), "Root=1-a"))
    return outcome, json.loads(outcome.payload)


@pytest.mark.parametrize("event", [{"a": 1}, {"käse": "日本 🐈 \u0000"}, [], None, "text", 1.5])
def test_returns_what_the_handler_returns(make_sandbox, event):
    outcome, result = invoke(make_sandbox(ECHO), event)
    assert result == event
    assert not outcome.is_error


def test_the_process_is_kept_between_invocations(make_sandbox):
    sandbox = make_sandbox("""
        count = 0
        def handle(event, context):
            global count
            count += 1
            return count
    """)
    pid = sandbox.pid
    assert [invoke(sandbox, {})[1] for _ in range(3)] == [1, 2, 3]
    assert sandbox.pid == pid


def test_payloads_up_to_the_limit_of_lambda(make_sandbox):
    sandbox = make_sandbox("def handle(event, context):\n    return 'x' * event['size'] + event.get('more', '')\n")
    more = "y" * 3_000_000
    assert len(invoke(sandbox, {"size": 3_000_000, "more": more})[1]) == 6_000_000
    outcome, error = invoke(sandbox, {"size": MAX_PAYLOAD_BYTES + 1})
    assert outcome.is_error
    assert error["errorType"] == "Function.ResponseSizeTooLarge"
    assert invoke(sandbox, {"size": 2})[1] == "xx"


def test_context(make_sandbox):
    sandbox = make_sandbox(
        """
        import os
        def handle(event, context):
            return {
                "request": context.aws_request_id,
                "arn": context.invoked_function_arn,
                "name": context.function_name,
                "memory": context.memory_limit_in_mb,
                "milliseconds": context.get_remaining_time_in_millis(),
                "trace": os.environ["_X_AMZN_TRACE_ID"],
            }
        """,
        timeout_seconds=7.0,
        environment={"AWS_LAMBDA_FUNCTION_NAME": "f", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256"},
    )
    _, result = invoke(sandbox, {}, request_id="request-7")
    assert 0 < result.pop("milliseconds") <= 7000
    assert result == {"request": "request-7", "arn": ARN, "name": "f", "memory": "256", "trace": "Root=1-a"}


def test_handler_error_has_the_name_of_its_class(make_sandbox):
    sandbox = make_sandbox("""
        class ModelNotReadyError(Exception):
            pass
        def handle(event, context):
            if event:
                raise ModelNotReadyError("not yet: é")
            return "fine"
    """)
    pid = sandbox.pid
    outcome, error = invoke(sandbox, {"fail": True})
    assert outcome.is_error
    assert (error["errorType"], error["errorMessage"]) == ("ModelNotReadyError", "not yet: é")
    assert 'raise ModelNotReadyError("not yet: é")' in "".join(error["stackTrace"])
    assert invoke(sandbox, {})[1] == "fine"
    assert sandbox.pid == pid


@pytest.mark.parametrize(
    ("code", "handler", "error_type", "message"),
    [
        ("import no_such_module\n", "app.handle", "Runtime.ImportModuleError", "No module named 'no_such_module'"),
        (ECHO, "other.handle", "Runtime.ImportModuleError", "No module named 'other'"),
        (ECHO, "app.other", "Runtime.HandlerNotFound", "Handler 'other' missing on module 'app'"),
        ("def handle(:\n", "app.handle", "Runtime.UserCodeSyntaxError", "Syntax error in module 'app'"),
        ("raise KeyError('BUCKET')\n", "app.handle", "KeyError", "BUCKET"),
    ],
)
def test_handler_that_cannot_be_loaded(make_sandbox, code, handler, error_type, message):
    sandbox = make_sandbox(code, handler=handler)
    for request_id in ("first", "second"):
        outcome, error = invoke(sandbox, {}, request_id)
        assert outcome.is_error
        assert error["errorType"] == error_type
        assert message in error["errorMessage"]
        assert error["requestId"] == request_id
        assert error_type in outcome.logs


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("os._exit(3)", "Runtime exited with error: exit status 3"),
        ("os._exit(0)", "Runtime exited without providing a reason"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "Runtime exited with error: signal: killed"),
        ("os.killpg(0, signal.SIGKILL)", "Runtime exited with error: signal: killed"),
    ],
)
def test_death_is_reported_and_the_next_event_gets_a_new_process(make_sandbox, how, reason):
    sandbox = make_sandbox(f"""
        import os, signal
        def handle(event, context):
            if event:
                print("last words", end="")
                {how}
            return "fine"
    """)
    pid = sandbox.pid
    outcome, error = invoke(sandbox, {"die": True})
    assert outcome.is_error
    assert error == {"errorType": "Runtime.ExitError", "errorMessage": f"RequestId: request-1 Error: {reason}"}
    assert f"last words\nRequestId: request-1 Error: {reason}\n" in outcome.logs
    assert invoke(sandbox, {})[1] == "fine"
    assert sandbox.pid != pid


def test_death_while_the_handler_is_loaded(make_sandbox):
    outcome, error = invoke(make_sandbox("import os\nos._exit(5)\n"), {})
    assert outcome.is_error
    assert error["errorType"] == "Runtime.ExitError"
    assert "exit status 5" in error["errorMessage"]


def test_death_between_two_events_is_nobodys_error(make_sandbox):
    sandbox = make_sandbox(ECHO)
    assert invoke(sandbox, 1)[1] == 1
    os.killpg(sandbox.pid, signal.SIGKILL)
    assert wait_until(lambda: sandbox._process.has_ended)
    assert invoke(sandbox, 2)[1] == 2


SPAWNING = """
    import os, subprocess, sys, time
    def handle(event, context):
        if event:
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
            with open(event["pids"], "w") as file:
                file.write(f"{os.getpid()} {child.pid}")
            time.sleep(event["seconds"])
        return "fine"
"""


def test_a_function_that_runs_over_is_killed_with_its_children(make_sandbox, tmp_path):
    sandbox = make_sandbox(SPAWNING, timeout_seconds=1.5)
    pids = tmp_path / "pids"
    begun = time.monotonic()
    outcome, error = invoke(sandbox, {"pids": str(pids), "seconds": 300})
    assert 1.4 < time.monotonic() - begun < 300
    assert outcome.is_error
    message = "Task timed out after 1.50 seconds"
    assert error == {"errorType": "Sandbox.Timedout", "errorMessage": f"RequestId: request-1 Error: {message}"}
    assert re.search(rf"^\d{{4}}-\d\d-\d\dT[\d:.]+Z request-1 {message}$", outcome.logs, re.MULTILINE)
    killed = [int(pid) for pid in pids.read_text().split()]
    assert len(killed) == 2
    assert wait_until(lambda: not any(map(is_alive, killed)))
    assert invoke(sandbox, {})[1] == "fine"


def test_stop_ends_a_running_invocation_and_its_children(make_sandbox, tmp_path):
    sandbox = make_sandbox(SPAWNING)
    pids = tmp_path / "pids"
    results = []
    event = {"pids": str(pids), "seconds": 300}
    thread = threading.Thread(target=lambda: results.append(invoke(sandbox, event)))
    thread.start()
    assert wait_until(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    sandbox.stop()
    thread.join(60)
    assert results[0][1]["errorType"] == "Runtime.ExitError"
    assert wait_until(lambda: not any(is_alive(int(pid)) for pid in pids.read_text().split()))
    with pytest.raises(RuntimeError, match="has been stopped"):
        invoke(sandbox, {})


def test_a_function_that_never_gets_ready_is_killed(make_sandbox):
    sandbox = make_sandbox("import time\ntime.sleep(300)\n", start_seconds=0.5)
    outcome, error = invoke(sandbox, {})
    assert outcome.is_error
    assert error["errorType"] == "Sandbox.Timedout"
    assert "0.50 seconds" in error["errorMessage"]


def test_nothing_outlives_an_executor_that_is_killed(tmp_path):
    (tmp_path / "app.py").write_text(textwrap.dedent(SPAWNING))
    program = f"""
        import json, sys
        from pathlib import Path
        from local.lambda_executor.batch_vision_lambda_executor.runtime_api import Invocation
        from local.lambda_executor.batch_vision_lambda_executor.sandbox import FunctionConfiguration, Sandbox
        from local.lambda_executor.batch_vision_lambda_executor.settings import ExecutorSettings
        here = Path({str(tmp_path)!r})
        function = FunctionConfiguration("f", "app.handle", here, 300, 128, {{}})
        sandbox = Sandbox(function, ExecutorSettings(Path({str(LAMBDA_PYTHON)!r}), here / "logs"))
        sandbox.invoke(Invocation("r", "a", json.dumps({{"pids": str(here / "pids"), "seconds": 300}}).encode()))
    """
    executor = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=config.REPOSITORY,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    pids = tmp_path / "pids"
    try:
        assert wait_until(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    finally:
        executor.kill()
        executor.wait()
    assert wait_until(lambda: not any(is_alive(int(pid)) for pid in pids.read_text().split()))


def test_environments_of_one_function_run_side_by_side(make_sandbox, tmp_path):
    """Each waits until all of them are at work."""
    code = """
        import os, pathlib, time
        def handle(event, context):
            (pathlib.Path(event["folder"]) / str(os.getpid())).touch()
            while len(os.listdir(event["folder"])) < 3:
                time.sleep(0.05)
            return os.getpid()
    """
    (tmp_path / "at work").mkdir()
    event = {"folder": str(tmp_path / "at work")}
    sandboxes = [make_sandbox(code) for _ in range(3)]
    results = []
    threads = [
        threading.Thread(target=lambda sandbox=sandbox: results.append(invoke(sandbox, event)[1]))
        for sandbox in sandboxes
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(results)) == 3


def test_the_function_sees_its_package_and_the_runtime_only(make_sandbox, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(config.REPOSITORY))
    monkeypatch.setenv("AWS_PROFILE", "somebody")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://elsewhere")
    sandbox = make_sandbox(
        """
        import importlib.util, os, sys, tempfile
        def handle(event, context):
            return {
                "path": sys.path,
                "found": [name for name in event if importlib.util.find_spec(name)],
                "environment": dict(os.environ),
                "directory": os.getcwd(),
                "temporary": tempfile.gettempdir(),
                "prefix": sys.prefix,
            }
        """,
        environment={"AWS_REGION": "us-east-1", "MINE": "é"},
    )
    modules = ["app", "boto3", "awslambdaric", "local", "lambdas", "pytest", "localstack"]
    _, seen = invoke(sandbox, modules)
    task_root = sandbox._function.task_root
    assert seen["found"] == ["app", "boto3", "awslambdaric"]
    assert seen["path"][0] == seen["directory"] == str(task_root)
    assert str(config.REPOSITORY) not in seen["path"]
    assert not [entry for entry in seen["path"] if "venvs/dev" in entry or "lambda_executor" in entry]
    assert seen["prefix"] == str(LAMBDA_PYTHON.parent.parent)
    environment = seen["environment"]
    assert environment["HOME"] != os.environ.get("HOME")
    assert seen["temporary"] == environment["TMPDIR"]
    assert environment["MINE"] == "é"
    assert environment["LAMBDA_TASK_ROOT"] == str(task_root)
    assert environment.keys() <= {
        *("PATH", "LANG", "LC_CTYPE", "TZ", "HOME", "TMPDIR", "AWS_REGION", "MINE"),
        *("AWS_LAMBDA_RUNTIME_API", "LAMBDA_TASK_ROOT", "_X_AMZN_TRACE_ID", "__CF_USER_TEXT_ENCODING"),
    }


def test_the_package_stays_as_it_was(make_sandbox):
    def digest(folder):
        return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}

    sandbox = make_sandbox("import helper\ndef handle(event, context):\n    return 1\n")
    folder = sandbox._function.task_root
    (folder / "helper.py").write_text("X = 1\n")
    before = digest(folder)
    invoke(sandbox, {})
    assert invoke(sandbox, {})[1] == 1
    assert digest(folder) == before


def test_log_lines_are_in_order_and_in_the_file_of_the_function(make_sandbox, tmp_path):
    sandbox = make_sandbox(
        """
        import logging, os, sys
        print("loading")
        def handle(event, context):
            print("out é")
            print("err", file=sys.stderr)
            logging.warning("logged")
            os.write(1, b"raw \\xff")
            if event:
                raise ValueError("two\\nlines")
        """,
        name="my-function",
    )
    first, _ = invoke(sandbox, {}, "one")
    second, _ = invoke(sandbox, {"fail": True}, "two")
    lines = first.logs.splitlines()
    assert lines[0] == "loading"
    assert lines[1] == "START RequestId: one Version: $LATEST"
    assert lines[2:4] == ["out é", "err"]
    assert lines[4].startswith("[WARNING]\t")
    assert lines[4].endswith("\tone\tlogged")
    assert lines[5] == "raw \N{REPLACEMENT CHARACTER}"
    assert lines[6] == "END RequestId: one"
    assert re.match(
        r"REPORT RequestId: one\tDuration: [\d.]+ ms\tBilled Duration: \d+ ms\tMemory Size: 256 MB", lines[7]
    )
    assert "Init Duration" in lines[7]
    assert "Init Duration" not in second.logs
    assert "loading" not in second.logs
    assert "ValueError: two" in second.logs
    written = (tmp_path / "logs" / "my-function.log").read_bytes().decode()
    assert "\r" in second.logs, "a traceback is one event for CloudWatch"
    assert written == (first.logs + second.logs).replace("\r", "\n")


def test_what_is_logged_after_the_last_response_is_kept(make_sandbox, tmp_path):
    sandbox = make_sandbox("""
        import pathlib, threading, time
        def later(folder):
            while not (folder / "answered").exists():
                time.sleep(0.02)
            print("late", flush=True)
            (folder / "printed").touch()
        def handle(event, context):
            threading.Thread(target=later, args=[pathlib.Path(event["folder"])]).start()
    """)
    outcome, _ = invoke(sandbox, {"folder": str(tmp_path)})
    assert "late" not in outcome.logs
    (tmp_path / "answered").touch()
    assert wait_until((tmp_path / "printed").exists)
    sandbox.stop()
    assert "late\n" in (tmp_path / "logs" / "f.log").read_text()
