"""What one training is asked for (`job.json`) and what came of it (`result.json`); plain data, no torch."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from selfimprove.config import differing_keys
from selfimprove.errors import DataError, TrainError
from selfimprove.files import file_digest, read_json, write_json

KINDS = ("sft", "pairs", "steps", "reward")
JOB, RESULT, ERROR, EVENTS, LOG = "job.json", "result.json", "error.json", "events.jsonl", "train.log"
UNSEEN = ("resume", "report_to", "project", "run_name")
"""Options that leave no trace in the weights."""

PREVIEW, CHECKPOINTS, IDENTITY = "batch_preview.txt", "checkpoints", "identity.json"


@dataclass(frozen=True)
class Job:
    """One training: rows, the policy it starts from, and the options of the recipe's `train` section.

    `rows` are JSONL files of Example rows (kind sft), Pair rows (kinds pairs and reward) or Steps rows (kind steps:
    a value model). Training starts from
    `policy_base` with `policy_adapter` on top; for pairs that same policy is the reference. `loss` is what the
    method asks for; `options["loss_type"]`, where given, wins.
    """

    kind: str
    rows: tuple[str, ...]
    policy_base: str
    policy_adapter: str | None
    output: str
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    loss: str | None = None
    recipe: str = ""

    def write(self, path: Path | None = None) -> Path:
        """Write the job as JSON, by default to `job.json` in its output folder; return the path."""
        path = path or Path(self.output) / JOB
        write_json(path, asdict(self))
        return path

    @classmethod
    def read(cls, path: str | Path) -> "Job":
        """Return the job of a JSON file; raises DataError where the file is no job."""
        data: dict[str, Any] = read_json(Path(path))
        unknown = sorted(set(data) - {f.name for f in fields(cls)})
        if unknown:
            raise DataError(f"{path}: a training job has no field {', '.join(map(repr, unknown))}")
        try:
            data["rows"] = tuple(data.get("rows", ()))
            return cls(**data)
        except TypeError as error:
            raise DataError(f"{path}: not a training job: {error}") from None

    def identity(self) -> dict[str, Any]:
        """Return what decides the trained weights: everything but paths of output, and the rows by content."""
        plain = json.loads(json.dumps(asdict(self)))
        options = {key: value for key, value in plain["options"].items() if key not in UNSEEN}
        same = {key: plain[key] for key in ("kind", "policy_base", "policy_adapter", "seed", "loss")}
        return {**same, "options": options, "rows": [file_digest(Path(path)) for path in self.rows]}


@dataclass(frozen=True)
class Result:
    """What a training gave: an adapter folder or a whole model folder, with figures.

    `steps` counts all optimiser steps of the job, `steps_now` those of this process (fewer after a resume).
    `distributed` says which kind of parallelism was in force, `rows` how many rows were trained on and how
    many were cut or left out because they were too long.
    """

    adapter: str | None
    model: str | None
    base: str
    steps: int
    steps_now: int
    seconds: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    rows: Mapping[str, int] = field(default_factory=dict)
    distributed: Mapping[str, Any] = field(default_factory=dict)

    def write(self, output: Path) -> None:
        """Write `result.json`; it appears in one step and last of all, so its presence means the job is done."""
        write_json(output / RESULT, asdict(self))

    @classmethod
    def read(cls, output: str | Path) -> "Result | None":
        """Return the result in an output folder, None where the job has not finished."""
        path = Path(output) / RESULT
        return cls(**read_json(path)) if path.is_file() else None


def refuse_another_result(job: Job) -> None:
    """Raise TrainError where the output folder holds what another training gave, which would be overwritten."""
    output, path = Path(job.output), Path(job.output) / IDENTITY
    if (output / RESULT).is_file() and path.is_file():
        changed = differing_keys(read_json(path), job.identity())
        if changed:
            raise TrainError(
                f"{output}: it holds the result of another training ({', '.join(sorted(changed))} differ); name "
                "another --output, or remove the folder"
            )


def refuse_another_job(job: Job) -> None:
    """Raise TrainError where the output folder holds checkpoints of a job with other rows, policy or options."""
    output = Path(job.output)
    identity, path = job.identity(), output / IDENTITY
    if path.is_file() and any((output / CHECKPOINTS).glob("checkpoint-*")):
        changed = differing_keys(read_json(path), identity)
        if changed:
            raise TrainError(
                f"{output}: it holds checkpoints of another training ({', '.join(sorted(changed))} differ); "
                "remove the folder or name another output"
            )
    output.mkdir(parents=True, exist_ok=True)
    write_json(path, identity)
