"""Which parallelism was asked for, and which is really in force: launchers fall back without a word.

accelerate starts one process for `distributed_type: MULTI_CPU`, and runs FSDP configs as plain data parallelism
on machines without a GPU. A training that is not what was asked for is refused here.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfimprove.config import parse_yaml
from selfimprove.errors import TrainError


@dataclass(frozen=True)
class Parallelism:
    """How many processes train, and what they share: `kind` is single, ddp, deepspeed or fsdp."""

    kind: str
    processes: int | None
    zero_stage: int | None = None

    def __str__(self) -> str:
        """Return it in a form for people."""
        stage = f" ZeRO-{self.zero_stage}" if self.zero_stage is not None else ""
        return (
            f"{self.kind}{stage} with {self.processes or 'any number of'} process{'' if self.processes == 1 else 'es'}"
        )


def requested(environment: Mapping[str, str], launcher: Sequence[str]) -> Parallelism:
    """Return what was asked for: from the variables that `accelerate launch` sets and from its command line.

    `launcher` is the parent's command line, which names the config file; it is empty where nobody launched us.
    """
    config = _config(launcher)
    count = _option(launcher, "--num_processes") or config.get("num_processes")
    processes = int(count) if count is not None else int(environment.get("WORLD_SIZE", 1))
    if environment.get("ACCELERATE_USE_DEEPSPEED", "").lower() == "true":
        stage = environment.get("ACCELERATE_DEEPSPEED_ZERO_STAGE")
        return Parallelism("deepspeed", processes, int(stage) if stage else None)
    kind = str(config.get("distributed_type", "")).upper()
    if environment.get("ACCELERATE_USE_FSDP", "").lower() == "true" or kind == "FSDP":
        return Parallelism("fsdp", processes)
    return Parallelism("ddp" if processes > 1 or kind.startswith("MULTI_") else "single", processes)


def in_force(accelerator: Any) -> Parallelism:
    """Return what really runs, as the accelerator of a trainer says."""
    kind = str(accelerator.distributed_type).rpartition(".")[2].upper()
    stage = None
    if kind == "DEEPSPEED":
        stage = int(accelerator.state.deepspeed_plugin.deepspeed_config["zero_optimization"]["stage"])
    names = {"DEEPSPEED": "deepspeed", "FSDP": "fsdp", "NO": "single"}
    return Parallelism(names.get(kind, "ddp"), accelerator.num_processes, stage)


def refuse_fallback(asked: Parallelism, found: Parallelism) -> None:
    """Raise TrainError where another kind of parallelism runs than was asked for."""
    wrong = asked.kind != found.kind or (asked.processes or found.processes) != found.processes
    if not wrong and asked.zero_stage in (None, found.zero_stage):
        return
    advice = (
        "FSDP needs GPUs; without them use ddp, zero2 or zero3"
        if asked.kind == "fsdp"
        else ("take one of the files in accelerate_configs, and give --num_processes where it differs")
    )
    raise TrainError(f"the launcher was asked for {asked}, but {found} is in force; {advice}")


def launcher_command(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return the command line of the parent process where that is `accelerate launch`, otherwise nothing."""
    try:
        raw = Path(f"/proc/{os.getppid()}/cmdline").read_bytes()
    except OSError:  # not Linux: what the environment says has to do
        return []
    words = raw.decode(errors="replace").split("\0")
    return words if "launch" in words and any("accelerate" in word for word in words) else []


def _option(words: Sequence[str], name: str) -> str | None:
    for i, word in enumerate(words):
        if word == name and i + 1 < len(words):
            return words[i + 1]
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
    return None


def _config(words: Sequence[str]) -> dict[str, Any]:
    path = _option(words, "--config_file")
    if path is None or not Path(path).is_file():
        return {}
    data = parse_yaml(Path(path).read_text(encoding="utf-8"), path)
    return data if isinstance(data, dict) else {}
