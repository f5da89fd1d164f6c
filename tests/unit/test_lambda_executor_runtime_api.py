import http.client
import threading

import pytest

from local.lambda_executor.batch_vision_lambda_executor.runtime_api import Invocation, Response, RuntimeApi

EVENT = Invocation("r-1", "arn:f", b'{"a": 1}', "Root=1")
PREFIX = "/2018-06-01/runtime/"


@pytest.fixture
def api():
    api = RuntimeApi()
    yield api
    api.close()


def call(api, method, path, body=None):
    connection = http.client.HTTPConnection(api.address, timeout=10)
    connection.request(method, path, body)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, dict(response.getheaders()), content


def in_background(target):
    results = []
    thread = threading.Thread(target=lambda: results.append(target()), daemon=True)
    thread.start()

    def join():
        thread.join(10)
        assert not thread.is_alive()
        return results[0]

    return join


def test_one_event_from_next_to_response(api):
    invocation = in_background(lambda: api.invoke(EVENT, 10))
    status, headers, body = call(api, "GET", f"{PREFIX}invocation/next")
    assert (status, body) == (200, EVENT.payload)
    assert headers["Lambda-Runtime-Aws-Request-Id"] == "r-1"
    assert headers["Lambda-Runtime-Invoked-Function-Arn"] == "arn:f"
    assert headers["Lambda-Runtime-Trace-Id"] == "Root=1"
    assert headers["Lambda-Runtime-Deadline-Ms"].isdigit()
    assert api.is_ready
    assert call(api, "POST", f"{PREFIX}invocation/r-1/response", b"[]")[0] == 202
    assert invocation() == Response(b"[]", is_error=False)


def test_error(api):
    invocation = in_background(lambda: api.invoke(EVENT, 10))
    call(api, "GET", f"{PREFIX}invocation/next")
    assert call(api, "POST", f"{PREFIX}invocation/r-1/error", b"{}")[0] == 202
    assert invocation() == Response(b"{}", is_error=True)


def test_only_the_event_in_work_can_be_answered_and_only_once(api):
    path = f"{PREFIX}invocation/r-1/response"
    assert call(api, "POST", path, b"1")[0] == 400
    invocation = in_background(lambda: api.invoke(EVENT, 10))
    call(api, "GET", f"{PREFIX}invocation/next")
    assert call(api, "POST", f"{PREFIX}invocation/r-0/response", b"0")[0] == 400
    assert call(api, "POST", path, b"1")[0] == 202
    assert call(api, "POST", path, b"2")[0] == 400
    assert invocation() == Response(b"1", is_error=False)


def test_init_error(api):
    assert call(api, "POST", f"{PREFIX}init/error", b'{"errorType": "X"}')[0] == 202
    assert api.wait_for_start(0)
    assert api.init_error == b'{"errorType": "X"}'
    assert not api.is_ready


def test_waits_end_with_the_time_or_with_the_runtime(api):
    assert not api.wait_for_start(0.05)
    assert api.invoke(EVENT, 0.05) is None
    invocation = in_background(lambda: api.invoke(EVENT, 60))
    api.runtime_exited()
    assert invocation() is None
    assert api.wait_for_start(0)


def test_a_runtime_that_waits_for_an_event_is_sent_away_at_the_end(api):
    waiting = in_background(lambda: call(api, "GET", f"{PREFIX}invocation/next"))
    assert api.wait_for_start(10)
    api.runtime_exited()
    assert waiting()[0] == 503


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/"), ("GET", f"{PREFIX}nothing"), ("POST", f"{PREFIX}invocation/r-1/what")]
)
def test_unknown_resources(api, method, path):
    assert call(api, method, path, b"" if method == "POST" else None)[0] == 404


def test_a_body_of_unknown_length_is_refused(api):
    connection = http.client.HTTPConnection(api.address, timeout=10)
    connection.putrequest("POST", f"{PREFIX}init/error")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    assert connection.getresponse().status == 411
    connection.close()


def test_listens_on_the_loopback_interface_only(api):
    assert api._server.server_address[0] == "127.0.0.1"
