"""The server of a review: on this machine only, for the one who has the token, and for the page that it serves."""

from __future__ import annotations

import hmac
import json
import secrets
from functools import cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, override
from urllib.parse import parse_qs, urlsplit

from batch_vision.operator.errors import WrongInputError
from batch_vision.operator.pages import content_hash, template

if TYPE_CHECKING:
    from batch_vision.operator.review.cards import Cards
    from batch_vision.operator.review.session import Session

HOST = "127.0.0.1"
_MOST_BODY_BYTES = 1024**2
_MOST_ROWS = 20_000
_IDLE_SECONDS = 60


class Server(ThreadingHTTPServer):
    """Serves the page of a review and what it asks for.

    A request must name this server as its host (no other name can be made to point here), come from the page itself,
    and, for anything but the page, bring the token. The token is in the part of the URL that browsers do not send, and
    in a header that no other site can set; there is no cookie.

    Raises
    ------
    WrongInputError
        The port is taken.
    """

    daemon_threads = True

    def __init__(self, session: Session, cards: Cards, port: int = 0) -> None:
        self.session, self.cards = session, cards
        self.token = secrets.token_urlsafe(24)
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise WrongInputError(
                f"Port {port} of this machine cannot be used ({error.strerror}). Give another --port, or none."
            ) from error
        self.hosts = {f"{name}:{self.server_port}" for name in (HOST, "localhost")}

    @property
    def url(self) -> str:
        """Where the page is, with the token."""
        return f"http://{HOST}:{self.server_port}/#token={self.token}"

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # the browser went on to another page before it had its answer


class _RefusedError(Exception):
    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "batch-vision"
    sys_version = ""
    timeout = _IDLE_SECONDS
    server: Server

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def _answer(self, answer: Any) -> None:
        try:
            self._check_origin()
            body, media_type = answer(urlsplit(self.path))
            status = HTTPStatus.OK
        except _RefusedError as error:
            # What was sent with it is not read: the connection is of no more use.
            self.close_connection = True
            status, (body, media_type) = error.status, _json({"problem": str(error)})
        except Exception as error:
            self.close_connection = True
            status = HTTPStatus.BAD_GATEWAY
            body, media_type = _json({"problem": f"{type(error).__name__}: {error}"})
        self.send_response(status)
        for name, value in self._headers(media_type).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _headers(self, media_type: str) -> dict[str, str]:
        headers = {
            "Content-Type": media_type,
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Content-Security-Policy": _page()[1] if media_type.startswith("text/html") else "default-src 'none'",
        }
        return headers | ({"Connection": "close"} if self.close_connection else {})

    def _check_origin(self) -> None:
        if self.headers.get("Host") not in self.server.hosts:
            raise _RefusedError(HTTPStatus.FORBIDDEN, "The request is for another host.")
        origin = self.headers.get("Origin")
        is_other = origin is not None and origin not in {f"http://{host}" for host in self.server.hosts}
        if is_other or self.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            raise _RefusedError(HTTPStatus.FORBIDDEN, "The request comes from another page.")

    def _check_token(self) -> None:
        given = self.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {self.server.token}".encode()):
            raise _RefusedError(
                HTTPStatus.UNAUTHORIZED,
                "This page is of a review that has ended, or its address is not complete: open the one that"
                " `batch-vision review` printed.",
            )

    def _get(self, url: Any) -> tuple[bytes, str]:
        if url.path == "/":
            return _page()[0], "text/html; charset=utf-8"
        self._check_token()
        session, cards = self.server.session, self.server.cards
        match url.path.split("/")[1:]:
            case ["api", "session"]:
                return _json(session.about())
            case ["api", "state"]:
                return _json(session.state())
            case ["api", "rows"]:
                asked = {name: int(values[0]) for name, values in parse_qs(url.query).items() if values[0].isdecimal()}
                start = asked.get("start", 0)
                return _json(session.compact_rows(start, start + min(asked.get("count", _MOST_ROWS), _MOST_ROWS)))
            case ["api", ("card" | "image" | "result") as what, number]:
                row = self._row(number)
                if what == "card":
                    return _json(cards.card(row))
                found = cards.image(row) if what == "image" else cards.result(row)
                if found is None:
                    raise _RefusedError(HTTPStatus.NOT_FOUND, "The image is not there any more, or cannot be shown.")
                return found if isinstance(found, tuple) else _json(found)
        raise _RefusedError(HTTPStatus.NOT_FOUND, "There is no such thing.")

    def _row(self, number: str) -> Any:
        rows = self.server.session.rows
        if not (number.isascii() and number.isdigit() and len(number) < 10 and int(number) < len(rows)):
            raise _RefusedError(HTTPStatus.NOT_FOUND, f"There is no row {number}.")
        return rows[int(number)]

    def _post(self, url: Any) -> tuple[bytes, str]:
        self._check_token()
        if url.path != "/api/judgements":
            raise _RefusedError(HTTPStatus.NOT_FOUND, "There is no such thing.")
        length = self.headers.get("Content-Length", "")
        if self.headers.get("Content-Type") != "application/json" or not length.isdecimal():
            raise _RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send JSON, with its length.")
        if int(length) > _MOST_BODY_BYTES:
            raise _RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"Send {_MOST_BODY_BYTES} bytes at most.")
        session = self.server.session
        try:
            read = json.loads(self.rfile.read(int(length)))
            counting = session.judge(read.get("judgements") if isinstance(read, dict) else read)
        except (ValueError, RecursionError) as error:
            raise _RefusedError(HTTPStatus.BAD_REQUEST, str(error)) from error
        return _json({"counting": counting} | session.state())

    @override
    def log_message(self, *_: Any) -> None:
        pass


def _json(document: Any) -> tuple[bytes, str]:
    return json.dumps(document, separators=(",", ":")).encode(), "application/json"


@cache
def _page() -> tuple[bytes, str]:
    """Return the page and its policy: nothing else is run or styled, and nothing is asked of anybody else."""
    style, script = template("review.css"), template("review.js")
    policy = (
        f"default-src 'none'; img-src data: blob:; connect-src 'self'; style-src {content_hash(style)};"
        f" script-src {content_hash(script)}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    page = template("review.html").replace("{{ style }}", style).replace("{{ script }}", script)
    return page.encode(), policy
