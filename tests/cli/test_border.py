"""How the command line starts and how errors leave it: one paragraph and a code, or the whole traceback."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from selfimprove.cli.main import app, main
from selfimprove.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]


def run(*words: str, **settings) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "selfimprove.cli.main", *words],
        capture_output=True, text=True, check=False, timeout=60, cwd=ROOT, **settings,
    )  # fmt: skip


def code_of(*words: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(list(words))
    return stopped.value.code or 0


def test_help_imports_nothing_heavy_and_is_quick():
    began = time.monotonic()
    done = run("--help", env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"})
    assert done.returncode == 0
    for verb in ("run", "build", "train", "evaluate", "validate", "show", "methods", "recipes", "doctor"):
        assert f" {verb} " in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "|" in line}
    assert "typer" in imported
    heavy = {"torch", "vllm", "transformers", "datasets", "trl", "numpy", "scipy", "pydantic", "yaml"}
    assert not imported & heavy
    assert time.monotonic() - began < 10  # 0.5 s on a quiet machine


def test_every_verb_has_help(capsys):
    for command in app.registered_commands:
        assert code_of(command.callback.__name__, "--help") == 0
        assert command.callback.__doc__.splitlines()[0][:40] in capsys.readouterr().out.replace("\n", " ")


def test_a_user_error_is_one_paragraph_and_code_2(capsys):
    assert code_of("run", "no/such.yaml") == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("ConfigError: no/such.yaml: no such recipe")
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err


@pytest.mark.parametrize("place", [0, 1, 2])
def test_traceback_may_stand_anywhere(place):
    words = ["run", "no/such.yaml"]
    words.insert(place, "--traceback")
    with pytest.raises(ConfigError, match="no such recipe"):
        main(words)


def test_a_mistyped_key_is_told_with_the_nearest_one(tmp_path, capsys):
    path = tmp_path / "typo.yaml"
    path.write_text("method: {name: raft, smaples: 3}\nprompts: data.jsonl\n")
    assert code_of("validate", str(path)) == 2
    assert "no option 'smaples'; did you mean 'samples'?" in capsys.readouterr().err
    assert code_of("run", str(path), "method.smaples=4", "--dry-run") == 2


def test_an_unknown_verb_and_an_unknown_option_are_code_2(capsys):
    assert code_of("ruin") == 2
    assert "No such command" in capsys.readouterr().err
    assert code_of("methods", "--loud") == 2


def test_no_verb_shows_the_help(capsys):
    code_of()
    assert "Usage" in "".join(capsys.readouterr())


def test_version(capsys):
    assert code_of("--version") == 0
    assert capsys.readouterr().out.startswith("selfimprove 0.")


def test_ctrl_c_is_code_130(tmp_path):
    """`doctor` waits for a driver tool that does not answer, and is interrupted there."""
    begun, tool = tmp_path / "begun", tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\ntouch {begun}\nexec sleep 30\n")
    tool.chmod(0o755)
    process = subprocess.Popen(
        [sys.executable, "-m", "selfimprove.cli.main", "doctor"],
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}, cwd=ROOT, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while not begun.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in errors
