"""A small HTTP server on 127.0.0.1 that misbehaves by script: what hosted and local servers do on a bad day."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from selfimprove.engines.base import Generate, Policy
from selfimprove.engines.server import Config, make
from selfimprove.records import as_messages

Reply = tuple[int, dict[str, str], bytes] | str
"""Status, headers and body; or "close" (close without an answer) or "half" (close in the middle of the body)."""


def said(text: str = "fine", **choice: Any) -> Reply:
    """Return a good chat completion of one choice."""
    message = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"} | choice
    usage = {"prompt_tokens": 7, "completion_tokens": 2}
    return 200, {}, json.dumps({"choices": [message], "usage": usage}).encode()


def error(status: int, message: str = "no", **headers: str) -> Reply:
    """Return an OpenAI-style error; header names are written with underscores."""
    body = {"error": {"message": message, "type": "test", "code": headers.pop("code", None)}}
    return status, {name.replace("_", "-"): value for name, value in headers.items()}, json.dumps(body).encode()


@dataclass
class StandIn:
    """Answers chat completions by `script`, one entry a request, then by `otherwise`; other paths by `routes`."""

    script: list[Reply] = field(default_factory=list)
    otherwise: Reply | Callable[[dict[str, Any]], Reply] = field(default_factory=said)
    routes: dict[str, Reply | Callable[[dict[str, Any]], Reply]] = field(default_factory=dict)
    delay: float = 0.0
    requests: list[tuple[float, str, dict[str, Any]]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    busy: int = 0
    most_busy: int = 0
    busy_when_asked: list[int] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def chats(self) -> list[tuple[float, dict[str, Any]]]:
        """Time and body of every chat request."""
        return [(when, body) for when, path, body in self.requests if path == "/v1/chat/completions"]

    async def start(self) -> "StandIn":
        """Listen on a free port, or on the one that is set."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        """Stop listening."""
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._answer(reader, writer):
                continue
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        path = head[0].split()[1]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        raw = await reader.readexactly(int(headers.get("content-length", 0)))
        body = json.loads(raw) if raw else {}
        self.requests.append((asyncio.get_running_loop().time(), path, body))
        self.headers.append(headers)
        self.busy += 1
        self.most_busy = max(self.most_busy, self.busy)
        self.busy_when_asked.append(self.busy)
        reply = self._reply(path, body)
        await asyncio.sleep(self.delay)
        self.busy -= 1
        if reply == "close":
            return False
        half = reply == "half"
        status, extra, content = said() if isinstance(reply, str) else reply
        lines = [f"HTTP/1.1 {status} X", "content-type: application/json", f"content-length: {len(content)}"]
        lines += [f"{name}: {value}" for name, value in extra.items()]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode() + (content[: len(content) // 2] if half else content))
        await writer.drain()
        return not half

    def _reply(self, path: str, body: dict[str, Any]) -> Reply:
        if path == "/v1/chat/completions":
            reply = self.script.pop(0) if self.script else self.otherwise
        else:
            reply = self.routes.get(path, error(404, "no such path"))
        return reply(body) if callable(reply) else reply


POLICY = Policy("org/model", digest="d0")
MODELS = (200, {}, json.dumps({"data": [{"id": "m", "owned_by": "somebody"}]}).encode())
VLLM_MODELS = (200, {}, json.dumps({"data": [{"id": "m", "owned_by": "vllm"}]}).encode())
ASK = Generate(POLICY, as_messages("hello"), max_tokens=8, seed=3)


def conduct(scenario, stand_in: StandIn, **options) -> None:
    """Run a scenario with a started stand-in and engine; every wait is bounded."""

    async def run() -> None:
        stand_in.routes.setdefault("/v1/models", MODELS)
        await stand_in.start()
        engine = make(Config(url=stand_in.url, **({"backoff": 0.02, "patience": 0.6} | options)))
        try:
            await engine.start(POLICY)
            await scenario(engine)
        finally:
            await engine.close()
            await stand_in.stop()

    asyncio.run(asyncio.wait_for(run(), 30))
