"""The README's commands: the cheap ones run, the others at least name files, verbs and options that exist."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from selfimprove.cli.main import app

ROOT = Path(__file__).resolve().parent.parent
FENCE = re.compile(r"(<!-- not run: (?P<reason>[^>]+) -->\n+)?```(sh|bash)\n(?P<body>.*?)```", re.DOTALL)


def commands() -> list[tuple[str, str]]:
    """Every command line of the README's shell blocks, with the reason why it is not run here, or ''."""
    found = []
    for block in FENCE.finditer((ROOT / "README.md").read_text(encoding="utf-8")):
        body = block["body"].replace("\\\n", " ")
        for line in body.splitlines():
            command = line.partition("  #")[0].strip()
            if command and not command.startswith("#"):
                found.append((command, block["reason"] or ""))
    return found


def test_the_readme_shows_the_two_commands():
    given = [command for command, _ in commands()]
    assert "bash scripts/quickstart.sh" in given
    assert "bash scripts/test.sh" in given
    assert 'pip install "selfimprove[vllm,deepspeed]"' in given


@pytest.mark.parametrize(("command", "reason"), commands(), ids=[command for command, _ in commands()])
def test_command_names_what_exists(command, reason):
    words = shlex.split(command)
    for word in words:
        file = word.partition("=")[0]
        if (
            file.split("/")[0] in ("scripts", "recipes", "accelerate_configs", "data", "docs", "selfimprove")
            and "/" in file
        ):
            assert (ROOT / file).exists(), f"README.md: {file} does not exist"
    if words[0] == "selfimprove":
        groups = {group.name for group in app.registered_groups}
        verbs = {command.callback.__name__ for command in app.registered_commands} | groups
        assert words[1] in verbs | {"--help", "--version"}, f"README.md: selfimprove has no verb {words[1]}"


@pytest.mark.parametrize("command", [command for command, reason in commands() if not reason])
def test_cheap_command_runs(command, tmp_path):
    words = shlex.split(command)
    assert words[0] == "selfimprove", (
        "only our own verbs are run from the README; mark others `<!-- not run: reason -->`"
    )
    environment = {**os.environ, "COLUMNS": "120", "SELFIMPROVE_CACHE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "selfimprove.cli.main", *words[1:]],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
