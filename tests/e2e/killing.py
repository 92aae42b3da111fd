"""Runs in processes of their own that are killed at a chosen point, and what is left of them."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

STAGES = [(0, "evaluate"), (1, "collect"), (1, "learn"), (1, "evaluate"), (2, "collect"), (2, "learn")]
"""Every stage of a run of two rounds but the last."""


def start(recipe: Path, output: str, served: str = "served") -> subprocess.Popen:
    """Start a run in a process of its own; the recipe's script may note what it serves in the file `served`."""
    return subprocess.Popen(
        [sys.executable, "-m", "selfimprove.cli.main", "run", recipe.name, f"output={output}"],
        cwd=recipe.parent,
        env={**os.environ, "SERVED": str(recipe.parent / served), "PYTHONPATH": str(Path.cwd())},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen) -> str:
    """Wait for a run that must succeed; return what it said."""
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 0, text
    return text


def answers(folder: Path) -> dict[str, float]:
    """Return {key: when it was written} of the ledger; empty where there is none."""
    if not (folder / "ledger.sqlite").exists():
        return {}
    connection = sqlite3.connect(folder / "ledger.sqlite")
    found = dict(connection.execute("SELECT key, time FROM answers").fetchall())
    connection.close()
    return found


def finished_requests(folder: Path) -> set[str]:
    """Return the answers in the ledger as the script of the tests notes them when it serves one."""
    if not (folder / "ledger.sqlite").exists():
        return set()
    connection = sqlite3.connect(folder / "ledger.sqlite")
    rows = connection.execute("SELECT request FROM answers WHERE kind = 'generate'").fetchall()
    connection.close()
    requests = [json.loads(text) for (text,) in rows]
    return {
        json.dumps([r["messages"][-1]["content"], r["policy"], r["temperature"], r["seed"] + i])
        for r in requests
        for i in range(r["n"])
    }


def data_of(folder: Path) -> dict[str, bytes]:
    """Return the rows, skips and held-out items of a run as bytes."""
    rounds = [path for path in sorted(folder.rglob("*.jsonl")) if path.parent.name in ("collect", "sums")]
    assert len(rounds) >= 5
    return {str(path.relative_to(folder)): path.read_bytes() for path in rounds}


def stage_begun(folder: Path, round: int, stage: str) -> Callable[[], bool]:
    """True once a stage has begun and written something of its own, and has not finished."""
    place = folder / f"round-{round}"
    trace = {"learn": place / "learn" / "events.jsonl", "evaluate": place / "evaluate" / "sums"}
    begun = trace.get(stage, place / stage)
    return lambda: begun.exists() and not (place / f"{stage}.json").exists()


def kill_when(process: subprocess.Popen, reached: Callable[[], bool], extra: float) -> None:
    """SIGKILL a run `extra` seconds after it reached a point."""
    deadline = time.monotonic() + 120
    while not reached():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline, "the stage never began"
        time.sleep(0.01)
    time.sleep(extra)
    process.send_signal(signal.SIGKILL)
    process.wait()


def last_event(folder: Path) -> dict:
    """Return the last line of a run's events."""
    return json.loads((folder / "events.jsonl").read_text().splitlines()[-1])
