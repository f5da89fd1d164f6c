import http.server
import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import psutil
import pytest

from local import config, localstack, processes
from local.errors import LocalError
from local.processes import find_background, start_background

# A stand-in for LocalStack: what its interpreter is asked to run is given to it as arguments.
HEALTHY = """
    import http.server, json, os, pathlib
    pathlib.Path("environment.json").write_text(json.dumps(dict(os.environ)))
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = b'{"services": {}, "version": "4.14.0"}'
            self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
            self.wfile.write(body)
    host, port = os.environ["GATEWAY_LISTEN"].split(":")
    print("serving", flush=True)
    http.server.HTTPServer((host, int(port)), Handler).serve_forever()
"""


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Let `local.localstack` work in a folder of the test, with a program of the test as LocalStack."""
    monkeypatch.setattr(localstack, "DIRECTORY", tmp_path / "localstack")
    monkeypatch.setattr(localstack, "PID_FILE", tmp_path / "localstack.pid")
    monkeypatch.setattr(localstack, "LOG_FILE", tmp_path / "localstack.log")
    monkeypatch.setattr(localstack, "LAMBDA_LOGS", tmp_path / "lambda")
    monkeypatch.setattr(localstack, "EXECUTOR", tmp_path / "modules")

    def use(code):
        package = tmp_path / "modules" / "localstack" / "runtime"
        package.mkdir(parents=True)
        (package / "main.py").write_text(textwrap.dedent(code))
        monkeypatch.setattr(localstack, "PYTHON", Path(sys.executable))

    yield use
    localstack.stop_localstack()


def is_alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def test_start_and_stop(stand_in, port, monkeypatch):
    of_the_user = ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_CONFIG_FILE", "SERVICES")
    for name in (*of_the_user, "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.setenv(name, "of the user")
    stand_in(HEALTHY)
    running = localstack.start_localstack(
        port, lambda_environment={"AWS_ENDPOINT_URL_REKOGNITION": "é"}, settings={"DEBUG": "1"}
    )
    assert running.url == f"http://127.0.0.1:{port}"
    assert running.is_healthy()
    assert localstack.is_healthy(port)
    environment = json.loads((localstack.DIRECTORY / "environment.json").read_text())
    assert "of the user" not in environment.values()
    assert not [name for name in environment if name.startswith("AWS_")]
    assert environment["GATEWAY_LISTEN"] == f"127.0.0.1:{port}"
    assert environment["DEBUG"] == "1"
    without_proxy = {"NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}
    assert without_proxy.items() <= environment.items()
    functions = json.loads(environment["BATCH_VISION_LAMBDA_ENVIRONMENT"])
    assert functions == {"AWS_ENDPOINT_URL_REKOGNITION": "é"} | without_proxy
    for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "FILESYSTEM_ROOT"):
        assert Path(environment[name]).is_relative_to(localstack.DIRECTORY)
    found = localstack.find_localstack(port)
    assert found == running
    assert "serving" in localstack.LOG_FILE.read_text()

    assert localstack.stop_localstack()
    assert not running.is_healthy()
    assert not is_alive(running.process.pid)
    assert not localstack.PID_FILE.exists()
    assert not localstack.DIRECTORY.exists()
    assert localstack.LOG_FILE.exists()
    assert localstack.find_localstack(port) is None
    assert not localstack.stop_localstack()


def test_the_own_one_that_runs_already_is_not_replaced(stand_in, port):
    stand_in(HEALTHY)
    running = localstack.start_localstack(port)
    with pytest.raises(LocalError, match="make local-down"):
        localstack.start_localstack(port)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        other_port = free.getsockname()[1]
    with pytest.raises(LocalError, match=r"running already.*make local-down"):
        localstack.start_localstack(other_port)
    assert running.is_healthy()


def test_end_while_starting_shows_the_log(stand_in, port):
    stand_in("print('first'); raise SystemExit('no such setting')")
    with pytest.raises(localstack.LocalStackStartError, match=r"(?s)ended while it started.*first.*no such setting"):
        localstack.start_localstack(port)
    assert not localstack.PID_FILE.exists()


def test_not_healthy_in_time_is_stopped(stand_in, port):
    stand_in("""
        import os, signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("pid", os.getpid(), flush=True)
        time.sleep(300)
    """)
    with pytest.raises(localstack.LocalStackStartError, match=r"was not healthy after 1 seconds") as caught:
        localstack.start_localstack(port, timeout_seconds=1.0, stop_seconds=0.2)
    pid = int(re.search(r"pid (\d+)", str(caught.value)).group(1))
    assert not is_alive(pid)


def test_interpreter_that_is_missing(stand_in, port, tmp_path, monkeypatch):
    stand_in(HEALTHY)
    monkeypatch.setattr(localstack, "PYTHON", tmp_path / "none" / "python")
    with pytest.raises(LocalError, match=r"cannot start .*none/python"):
        localstack.start_localstack(port)


class TestPortInUse:
    @staticmethod
    def serve(port, body):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        server = http.server.HTTPServer(("127.0.0.1", port), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server

    @pytest.mark.parametrize(
        ("body", "owner"),
        [
            (b'{"services": {}, "version": "3.8.1"}', "LocalStack 3.8.1"),
            (b"<html>", "another program"),
            (b"[]", "another program"),
        ],
    )
    def test_names_the_port_what_answers_and_the_remedy(self, stand_in, port, body, owner):
        server = self.serve(port, body)
        try:
            with pytest.raises(localstack.PortInUseError) as caught:
                localstack.start_localstack(port)
        finally:
            server.shutdown()
            server.server_close()
        message = str(caught.value)
        assert f"port {port} is in use: {owner} answers there" in message
        assert f"LOCALSTACK_PORT={port + 1}" in message
        assert "make local-down" in message
        assert not localstack.PID_FILE.exists()

    def test_something_that_does_not_speak_http(self, port, monkeypatch):
        monkeypatch.setattr(localstack, "HEALTH_SECONDS", 0.2)
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", port))
            silent.listen()
            with pytest.raises(localstack.PortInUseError, match="another program"):
                localstack.check_port(port)

    def test_free(self, port):
        localstack.check_port(port)


def start(tmp_path, code, **options):
    return start_background(
        [sys.executable, "-c", textwrap.dedent(code)],
        environment={"PATH": os.environ["PATH"]},
        directory=tmp_path,
        log_file=tmp_path / "log",
        pid_file=tmp_path / "pid",
        **options,
    )


SLEEP = "import time; print('up', flush=True); time.sleep(300)"


class TestBackgroundProcess:
    def test_found_again_and_stopped(self, tmp_path):
        process = start(tmp_path, SLEEP)
        assert process.is_running()
        assert os.getpgid(process.pid) == process.pid
        found = find_background(tmp_path / "pid")
        assert found == process
        found.stop(10)
        assert not process.is_running()
        assert not (tmp_path / "pid").exists()
        assert find_background(tmp_path / "pid") is None
        process.stop(10)

    def test_one_that_does_not_stop_is_killed_with_its_group(self, tmp_path):
        process = start(
            tmp_path,
            """
            import signal, subprocess, sys, time
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
            print("child", child.pid, flush=True)
            time.sleep(300)
            """,
        )
        assert wait_until(lambda: "child" in (tmp_path / "log").read_text())
        child = int((tmp_path / "log").read_text().split()[1])
        process.stop(0.3)
        assert not process.is_running()
        assert wait_until(lambda: not is_alive(child))

    def test_a_recycled_pid_is_left_alone(self, tmp_path):
        process = start(tmp_path, SLEEP)
        try:
            stale = tmp_path / "stale"
            stale.write_text(json.dumps({"pid": process.pid, "word": "of a process that is no more"}))
            assert find_background(stale) is None
            assert not stale.exists()
            processes.BackgroundProcess(process.pid, "of a process that is no more", stale).stop(1)
            assert process.is_running()
        finally:
            process.stop(10)

    @pytest.mark.parametrize("content", ["", "123", "{}", '{"pid": "x", "word": 1}'])
    def test_a_broken_pid_file_is_no_process(self, tmp_path, content):
        (tmp_path / "pid").write_text(content)
        assert find_background(tmp_path / "pid") is None

    @pytest.mark.parametrize("dies_with_parent", [True, False])
    def test_lives_on_unless_asked_to_die_with_its_parent(self, tmp_path, dies_with_parent):
        program = f"""
            import sys, time
            from pathlib import Path
            from local.processes import start_background
            here = Path({str(tmp_path)!r})
            start_background(
                [sys.executable, "-c", "import os, time; print('pid', os.getpid(), flush=True); time.sleep(300)"],
                environment={{}}, directory=here, log_file=here / "log", pid_file=here / "pid",
                dies_with_parent={dies_with_parent},
            )
            time.sleep(300)
        """
        parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], cwd=config.REPOSITORY)
        log = tmp_path / "log"
        try:
            assert wait_until(lambda: log.exists() and "pid" in log.read_text())
        finally:
            parent.send_signal(signal.SIGKILL)
            parent.wait()
        pid = int(log.read_text().split()[1])
        if dies_with_parent:
            assert wait_until(lambda: not is_alive(pid))
            assert wait_until(lambda: find_background(tmp_path / "pid") is None)
        else:
            time.sleep(0.5)
            assert is_alive(pid)
            find_background(tmp_path / "pid").stop(10)
            assert not is_alive(pid)

    def test_one_that_dies_with_its_parent_can_be_stopped_too(self, tmp_path):
        process = start(tmp_path, "import os; print(os.getpid(), flush=True)\n" + SLEEP, dies_with_parent=True)
        assert wait_until(lambda: "up" in (tmp_path / "log").read_text())
        child = int((tmp_path / "log").read_text().split()[0])
        assert child != process.pid
        process.stop(10)
        assert not is_alive(child)
        assert not process.is_running()
