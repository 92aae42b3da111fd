"""Which sandbox runs a program: the strongest that works, or none."""

import asyncio
import json
import os
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

import pytest

import selfimprove.verify.sandbox as package
from selfimprove.config import Sandbox as Options
from selfimprove.errors import SandboxError
from selfimprove.verify.sandbox import AUTOMATIC, KINDS, OnDemand, kind_of, limits_of, open_sandbox
from selfimprove.verify.sandbox.base import Call, Limits, Program

WORKING = [name for name in ("zygote", "landlock") if kind_of(name).missing(Options()) is None]
needs_one = pytest.mark.skipif(not WORKING, reason="neither zygote nor landlock works here")

CHOOSING = """
import asyncio, ctypes, json, struct, sys
from selfimprove.config import Sandbox as Options
from selfimprove.errors import SandboxError
from selfimprove.verify.sandbox import Program, open_sandbox, seccomp

if "no-landlock" in sys.argv:  # as on a kernel without it
    step = lambda code, value, yes=0, no=0: struct.pack("HBBI", code, yes, no, value)
    seccomp.install(step(0x20, 0) + step(0x15, 444, 0, 1) + step(6, 0x50000 | 38) + step(6, 0x7FFF0000))
sandbox = open_sandbox(Options())
try:
    outcome = asyncio.run(sandbox.execute(Program("print(1)")))
    print(json.dumps({"sandbox": outcome.sandbox, "stdout": outcome.stdout, "name": sandbox.name}))
except SandboxError as error:
    print(json.dumps({"error": str(error)}))
sandbox.close()
"""


def choose_in(folder: Path, *words: str, cache: Path) -> dict:
    """Let `auto` choose in a process whose PATH is an empty folder, so that there is no bubblewrap."""
    environment = {**os.environ, "PATH": str(folder), "SELFIMPROVE_CACHE": str(cache)}
    command = [sys.executable, "-c", CHOOSING, *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    return json.loads(done.stdout)


@needs_one
def test_auto_takes_the_first_that_works():
    if WORKING[0] != "zygote":
        pytest.skip(f"zygote: {kind_of('zygote').missing(Options())}")
    sandbox = open_sandbox(Options(seconds=20.0))
    assert sandbox.name == "auto"
    outcome = asyncio.run(sandbox.execute(Program("def f():\n    return 1", (Call.of("f"),))))
    assert outcome.value(0) == 1 and outcome.sandbox == sandbox.name == AUTOMATIC[0]
    sandbox.close()
    assert asyncio.run(sandbox.execute(Program("print(1)"))).passed
    sandbox.close()


def test_where_the_stronger_ones_are_missing_the_weaker_one_runs(tmp_path):
    reason = kind_of("landlock").missing(Options())
    if reason:
        pytest.skip(f"landlock: {reason}")
    (tmp_path / "file").touch()  # a cache that cannot be written: no wasi
    told = choose_in(tmp_path, cache=tmp_path / "file")
    assert told == {"sandbox": "landlock", "stdout": "1\n", "name": "landlock"}


def test_where_none_works_nothing_runs_and_every_reason_is_told(tmp_path):
    (tmp_path / "file").touch()
    told = choose_in(tmp_path, "no-landlock", cache=tmp_path / "file")
    assert told.keys() == {"error"}
    for part in (
        "cannot be run safely here",
        "zygote: ",
        "bubblewrap",
        "wasi: ",
        "landlock: this kernel has no landlock",
    ):
        assert part in told["error"]
    reason = "cannot keep its compiled interpreter" if find_spec("wasmtime") else 'pip install "selfimprove[wasi]"'
    assert reason in told["error"] and "\n" not in told["error"]


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("wasmtime"), reason="wasi: not installed")
def test_without_bubblewrap_auto_takes_wasi(tmp_path):
    from selfimprove.embedded import cache_folder

    assert choose_in(tmp_path, "no-landlock", cache=cache_folder())["sandbox"] == "wasi"


def test_a_named_sandbox_is_that_one_or_an_error():
    with pytest.raises(SandboxError, match="'rlimits' cannot run here: it isolates nothing"):
        asyncio.run(open_sandbox(Options(name="rlimits")).execute(Program("print(1)")))
    with pytest.raises(SandboxError, match=r"'remote' cannot run here: .*sandbox\.url"):
        asyncio.run(open_sandbox(Options(name="remote")).execute(Program("print(1)")))
    with pytest.raises(SandboxError, match="no sandbox 'zygot'; did you mean 'zygote'"):
        asyncio.run(open_sandbox(Options(name="zygot")).execute(Program("print(1)")))
    trusted = open_sandbox(Options(name="rlimits", trust_the_code=True, seconds=20.0))
    assert asyncio.run(trusted.execute(Program("print(1)"))).sandbox == "rlimits"
    trusted.close()


@needs_one
@pytest.mark.parametrize("name", WORKING)
def test_a_named_sandbox_runs(name):
    sandbox = open_sandbox(Options(name=name))
    assert asyncio.run(sandbox.execute(Program("print(1)", limits=Limits(20.0)))).sandbox == name
    sandbox.close()


def test_nothing_is_started_before_the_first_program():
    threads = threading.active_count()
    sandbox = open_sandbox(Options())
    sandbox.close()
    assert threading.active_count() == threads and sandbox._chosen is None


@needs_one
def test_it_is_chosen_once_by_however_many_programs():
    sandbox = OnDemand(Options(name=WORKING[0]))
    chosen, ready = set(), threading.Barrier(8)

    def choose():
        ready.wait()
        chosen.add(id(sandbox.chosen()))

    threads = [threading.Thread(target=choose) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(chosen) == 1
    sandbox.close()


def test_every_kind_has_its_file_and_says_what_it_covers():
    for name in KINDS:
        kind = kind_of(name)
        assert kind.name == name and callable(kind.missing)
        assert f"| {name} |" in package.__doc__
    assert set(AUTOMATIC) < set(KINDS) and not {"rlimits", "remote"} & set(AUTOMATIC)


def test_limits_come_from_the_recipe():
    assert limits_of(Options(seconds=2.5, memory_mb=64)) == Limits(seconds=2.5, memory=64 << 20)
