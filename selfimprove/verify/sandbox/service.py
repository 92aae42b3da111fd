"""The service that runs programs for others: what `remote` talks to, started by `selfimprove sandbox serve`.

    GET  /health     {"sandbox": name}
    POST /execute    a program as JSON; the answer is its outcome

Every request shows the token, where there is one. A program gets at most the limits of the service's own options.
"""

import asyncio
import hmac
import ipaddress
import json
import threading
from dataclasses import fields, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from selfimprove.errors import DataError, SandboxError
from selfimprove.verify.sandbox import Limits, OnDemand, Program, limits_of

LARGEST_BODY = 16 << 20
"""Bytes of a request; longer ones are refused unread."""

WAITING = 256
"""Programs that may run or wait at once; more are told to come again (503)."""

PATIENCE = 60.0
"""Seconds that a silent connection is kept."""


class Service(ThreadingHTTPServer):
    """An HTTP server over one local sandbox."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, sandbox: OnDemand, host: str = "127.0.0.1", port: int = 8400, token: str = "") -> None:
        """Bind; port 0 takes a free one. Raises SandboxError for what must not be served."""
        options = sandbox.options
        if options.name in ("rlimits", "remote"):
            raise SandboxError(
                f"the sandbox '{options.name}' is not served: a service needs one that isolates on this machine, "
                "--sandbox auto, zygote, wasi or landlock"
            )
        if not token and not _is_loopback(host):
            raise SandboxError(f"{host} can be reached by others, and there is no token: set one, or use 127.0.0.1")
        self.sandbox = sandbox
        self.most = limits_of(options)
        self.token = token
        self.places = threading.BoundedSemaphore(WAITING)
        sandbox.chosen()
        try:
            super().__init__((host, port), _Request)
        except OSError as error:
            raise SandboxError(f"cannot listen on {host}:{port}: {error.strerror}; choose another --port") from None

    @property
    def url(self) -> str:
        """The address at which it listens."""
        return f"http://{self.server_address[0]}:{self.server_address[1]}"

    def run(self, row: Any) -> dict[str, Any]:
        """Return the outcome of a program; raises DataError or ValueError for what is none."""
        program = Program.from_row(row)
        program = replace(program, limits=capped(program.limits, self.most))
        return asyncio.run(self.sandbox.execute(program)).to_row()


def capped(asked: Limits, most: Limits) -> Limits:
    """Return the smaller of both for every limit; what is no number at all is none."""
    pairs = {field.name: (getattr(asked, field.name), getattr(most, field.name)) for field in fields(Limits)}
    return Limits(**{name: wanted if wanted <= allowed else allowed for name, (wanted, allowed) in pairs.items()})


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Request(BaseHTTPRequestHandler):
    """One connection."""

    timeout = PATIENCE
    protocol_version = "HTTP/1.1"
    server_version = "selfimprove"
    sys_version = ""

    @property
    def service(self) -> Service:
        """The service that this connection is with."""
        assert isinstance(self.server, Service)
        return self.server

    def do_GET(self) -> None:
        """Say which sandbox runs the programs."""
        if self._allowed("/health"):
            self._answer(200, {"sandbox": self.service.sandbox.name})

    def do_POST(self) -> None:
        """Run a program."""
        if not self._allowed("/execute"):
            return
        body = self._body()
        if body is None:
            return
        if not self.service.places.acquire(blocking=False):
            self._answer(503, {"error": "too many programs wait already"}, {"Retry-After": "1"})
            return
        try:
            self._answer(200, self.service.run(json.loads(body)))
        except (DataError, ValueError, TypeError, AttributeError, RecursionError) as error:
            self._answer(400, {"error": f"this is no program: {error}"})
        except SandboxError as error:
            self._answer(500, {"error": str(error)})
        finally:
            self.service.places.release()

    def _allowed(self, path: str) -> bool:
        shown = self.headers.get("Authorization", "").encode()
        if self.service.token and not hmac.compare_digest(shown, f"Bearer {self.service.token}".encode()):
            self._refuse(401, "the token is missing or wrong")
        elif self.path != path:
            self._refuse(404, "there is GET /health and POST /execute")
        else:
            return True
        return False

    def _body(self) -> bytes | None:
        length = self.headers.get("Content-Length", "")
        if not self.headers.get("Content-Type", "").startswith("application/json"):
            self._refuse(415, "send application/json")  # which a page in a browser cannot without being asked first
        elif not length.isascii() or not length.isdigit():
            self._refuse(411, "say the Content-Length")
        elif len(length) > 12 or int(length) > LARGEST_BODY:
            self._refuse(413, f"a program may have {LARGEST_BODY >> 20} MB")
        else:
            body = self.rfile.read(int(length))
            if len(body) == int(length):
                return body
            self.close_connection = True
        return None

    def _refuse(self, status: int, reason: str) -> None:
        self.close_connection = True  # what follows on this connection is a body that is not read
        self._answer(status, {"error": reason}, {"Connection": "close"})

    def _answer(self, status: int, fields: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        body = json.dumps(fields).encode()
        try:
            self.send_response(status)
            for name, value in {
                "Content-Type": "application/json",
                "Content-Length": len(body),
                **(headers or {}),
            }.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(body)
        except OSError:  # whoever asked has gone
            self.close_connection = True

    def log_message(self, format: str, *_: Any) -> None:
        """Say nothing: a line a program would be millions."""
