"""The stand-in server of the engines' tests, in a thread of its own, so that a command line can talk to it."""

import asyncio
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "engines"))
from stand_in import MODELS, StandIn

QUICK = {"name": "server", "retries": 1, "patience": 0.3, "backoff": 0.01, "timeout": 2, "concurrency": 4}
"""Options of the server engine that give up soon."""


@contextmanager
def serving(stand_in: StandIn) -> Iterator[StandIn]:
    """Let a stand-in serve until the end of the block."""
    stand_in.routes.setdefault("/v1/models", MODELS)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(stand_in.start(), loop).result(10)
    try:
        yield stand_in
    finally:
        asyncio.run_coroutine_threadsafe(_stop(stand_in), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _stop(stand_in: StandIn) -> None:
    await stand_in.stop()
    answering = asyncio.all_tasks() - {asyncio.current_task()}
    for task in answering:
        task.cancel()
    await asyncio.gather(*answering, return_exceptions=True)


def die(stand_in: StandIn) -> str:
    """Stop listening, and close this connection and every other that asks again: a server whose process is gone."""
    stand_in._server.close()
    return "close"


def sums(body: dict[str, Any]) -> Any:
    """Answer an addition rightly."""
    from stand_in import said

    words = body["messages"][-1]["content"].rstrip("?").split()
    return said(f"The answer is {int(words[2]) + int(words[4])}.")
