"""The Lambda Runtime API (version 2018-06-01) for one runtime process.

A runtime asks for its next event, works on it and posts a response or an error; it posts an initialisation error when
it cannot load its handler.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_PREFIX = "/2018-06-01/runtime/"

MAX_PAYLOAD_BYTES = 6 * 1024 * 1024 + 100
"""What Lambda accepts for a synchronous event or response (the 6 MB of its quota and some room)."""


@dataclass(frozen=True)
class Invocation:
    """One event for a function."""

    request_id: str
    function_arn: str
    payload: bytes
    trace_id: str = ""


@dataclass(frozen=True)
class Response:
    """What a runtime posted for an invocation."""

    payload: bytes
    is_error: bool


class RuntimeApi:
    """A Runtime API server on a free port of the loopback interface, for one runtime process.

    The runtime is on the HTTP side; `wait_for_start` and `invoke` are for the executor, and `runtime_exited` for
    whoever watches the process.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._is_ready = False
        self._has_exited = False
        self._is_closed = False
        self._init_error: bytes | None = None
        self._waiting: tuple[Invocation, float] | None = None
        self._current: Invocation | None = None
        self._was_delivered = False
        self._response: Response | None = None
        self._server = _Server(self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="runtime-api", daemon=True
        )
        self._thread.start()

    @property
    def address(self) -> str:
        """Host and port, the form of AWS_LAMBDA_RUNTIME_API."""
        return f"127.0.0.1:{self._server.server_port}"

    @property
    def is_ready(self) -> bool:
        """Whether the runtime has loaded its handler and asked for an event."""
        return self._is_ready

    @property
    def has_exited(self) -> bool:
        """Whether the runtime's process has ended."""
        return self._has_exited

    @property
    def init_error(self) -> bytes | None:
        """The error document of a runtime that could not load its handler."""
        return self._init_error

    def wait_for_start(self, timeout_seconds: float) -> bool:
        """Wait until the runtime is ready, has failed or has exited; False when it did none of these in time."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self._is_ready or self._init_error is not None or self._has_exited, timeout_seconds
            )

    def invoke(self, invocation: Invocation, timeout_seconds: float) -> Response | None:
        """Hand over an event and wait for the response; None when the runtime exited or the time is up."""
        with self._changed:
            self._response = None
            self._current = None
            self._was_delivered = False
            self._waiting = (invocation, time.time() + timeout_seconds)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._response is not None or self._has_exited, timeout_seconds)
            response, self._response = self._response, None
            self._waiting = None
            return response

    @property
    def was_delivered(self) -> bool:
        """Whether the runtime has taken the event of the last `invoke`."""
        return self._was_delivered

    def runtime_exited(self) -> None:
        """End every wait: nobody will answer any more."""
        with self._changed:
            self._has_exited = True
            self._changed.notify_all()

    def close(self) -> None:
        """Stop serving."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def take_next(self) -> tuple[Invocation, float] | None:
        """Wait for an event; None when there will be none (called for the runtime)."""
        with self._changed:
            self._is_ready = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._waiting is not None or self._is_closed or self._has_exited)
            if self._is_closed or self._has_exited:
                return None
            taken, self._waiting = self._waiting, None
            if taken is not None:
                self._current = taken[0]
                self._was_delivered = True
            return taken

    def post_response(self, request_id: str, response: Response) -> bool:
        """Accept the response to the event in work; False when it answers something else (called for the runtime)."""
        with self._changed:
            if self._current is None or self._current.request_id != request_id:
                return False
            self._current = None
            self._response = response
            self._changed.notify_all()
            return True

    def post_init_error(self, payload: bytes) -> None:
        """Accept the reason why the handler could not be loaded (called for the runtime)."""
        with self._changed:
            if self._init_error is None:
                self._init_error = payload
            self._changed.notify_all()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, api: RuntimeApi) -> None:
        self.api = api
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a runtime that was killed while it waited for an answer."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        if self.path != f"{_PREFIX}invocation/next":
            self._send_error(HTTPStatus.NOT_FOUND, "NotFound", f"no such resource: {self.path}")
            return
        taken = self.server.api.take_next()
        if taken is None:
            self.close_connection = True
            self._send_error(HTTPStatus.SERVICE_UNAVAILABLE, "ShuttingDown", "this environment is being stopped")
            return
        invocation, deadline = taken
        headers = {
            "Content-Type": "application/json",
            "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
            "Lambda-Runtime-Deadline-Ms": str(int(deadline * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": invocation.function_arn,
        }
        if invocation.trace_id:
            headers["Lambda-Runtime-Trace-Id"] = invocation.trace_id
        self._send(HTTPStatus.OK, invocation.payload, headers)

    def do_POST(self) -> None:
        body = self._read_body()
        if body is None:
            return
        if self.path == f"{_PREFIX}init/error":
            self.server.api.post_init_error(body)
            self._send(HTTPStatus.ACCEPTED, b'{"status":"OK"}')
            return
        request_id, _, kind = self.path.removeprefix(f"{_PREFIX}invocation/").partition("/")
        if not self.path.startswith(f"{_PREFIX}invocation/") or kind not in ("response", "error"):
            self._send_error(HTTPStatus.NOT_FOUND, "NotFound", f"no such resource: {self.path}")
            return
        too_large = kind == "response" and len(body) > MAX_PAYLOAD_BYTES
        if too_large:
            message = (
                f"Response payload size ({len(body)} bytes) exceeded maximum allowed payload size "
                f"({MAX_PAYLOAD_BYTES} bytes)."
            )
            error = {"errorType": "Function.ResponseSizeTooLarge", "errorMessage": message}
            response = Response(json.dumps(error).encode(), is_error=True)
        else:
            response = Response(body, is_error=kind == "error")
        if not self.server.api.post_response(request_id, response):
            self._send_error(HTTPStatus.BAD_REQUEST, "InvalidRequestID", f"not in work: {request_id}")
        elif too_large:
            self._send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "RequestEntityTooLarge", "response too large")
        else:
            self._send(HTTPStatus.ACCEPTED, b'{"status":"OK"}')

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet: every request would be a line in LocalStack's log."""

    def _read_body(self) -> bytes | None:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit():
            self.close_connection = True
            self._send_error(HTTPStatus.LENGTH_REQUIRED, "LengthRequired", "Content-Length is missing")
            return None
        return self.rfile.read(int(length))

    def _send_error(self, status: HTTPStatus, error_type: str, message: str) -> None:
        self._send(status, json.dumps({"errorType": error_type, "errorMessage": message}).encode())

    def _send(self, status: HTTPStatus, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {"Content-Type": "application/json"}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
