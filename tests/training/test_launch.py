"""Jobs as files, launchers, logs, and which parallelism is asked for."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from selfimprove.config import parse_yaml
from selfimprove.errors import ConfigError, DataError, TrainError
from selfimprove.training.distributed import Parallelism, refuse_fallback, requested
from selfimprove.training.job import Job, Result, refuse_another_job
from selfimprove.training.launch import accelerate_config, command_of, failure, last_meaningful_line
from selfimprove.training.worker import parse

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "accelerate_configs").glob("*.yaml"))


def test_a_job_survives_its_file(make_job, tmp_path):
    job = make_job("pairs", adapter="some/adapter", beta=0.3)
    assert Job.read(job.write()) == job
    (tmp_path / "bad.json").write_text('{"kind": "sft", "rowz": []}')
    with pytest.raises(DataError, match="no field 'rowz'"):
        Job.read(tmp_path / "bad.json")


def test_checkpoints_of_another_job_are_refused_with_what_differs(make_job, rows):
    job = make_job("sft")
    refuse_another_job(job)
    (Path(job.output) / "checkpoints" / "checkpoint-2").mkdir(parents=True)
    refuse_another_job(make_job("sft"))  # the same rows, options and policy: goes on
    with pytest.raises(TrainError, match=r"another training \(options.learning_rate differ\)"):
        refuse_another_job(make_job("sft", learning_rate=1.0))
    rows("sft", "sft.jsonl", weight=0.5)
    with pytest.raises(TrainError, match=r"\(rows differ\)"):
        refuse_another_job(job)


def test_command_line_gives_a_job(tmp_path, rows):
    recipe = tmp_path / "r.yaml"
    recipe.write_text("method: raft\nprompts: p.jsonl\nmodel: some/base\nseed: 5\ntrain: {max_steps: 3}\n")
    line = [
        "--config",
        str(recipe),
        "--output",
        "o",
        "--rows",
        str(rows("sft", "a=b.jsonl")),
        "x.jsonl",
        "train.max_steps=7",
    ]
    job = parse("sft", line)
    assert job.rows == (str(tmp_path / "a=b.jsonl"), "x.jsonl")
    assert (job.policy_base, job.seed, job.options) == ("some/base", 5, {"max_steps": 7})
    assert parse("sft", [*line, "--model", "m", "--adapter", "a"]).policy_adapter == "a"
    with pytest.raises(ConfigError):
        parse("sft", ["--config", str(tmp_path / "none.yaml"), "--output", "o", "--rows", "x"])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_accelerate_config_says_what_it_is_and_is_found(path):
    text = path.read_text()
    assert text.startswith("# ") and "accelerate launch --config_file" in text and path.name in text
    data = parse_yaml(text, str(path))
    assert data["distributed_type"] in ("NO", "MULTI_GPU", "DEEPSPEED", "FSDP")
    assert "use_cpu" not in data and "mixed_precision" not in data  # the machine and the recipe decide
    from accelerate.commands.config.config_args import load_config_from_file

    assert load_config_from_file(str(path)).num_processes == data["num_processes"]
    if path.stem != "single":
        assert accelerate_config(path.stem) == path


def test_single_needs_no_launcher(make_job):
    job = make_job("pairs")
    assert accelerate_config("single") is None
    assert command_of(job, Path("job.json"), None)[1].endswith("selfimprove/train_dpo.py")
    assert "launch" in command_of(job, Path("job.json"), accelerate_config("zero3"))


def test_requested_parallelism_is_read_from_launcher_and_environment():
    line = ["python", "accelerate", "launch", "--config_file", str(ROOT / "accelerate_configs/ddp.yaml")]
    assert requested({"WORLD_SIZE": "2"}, line) == Parallelism("ddp", 2)
    assert requested({"WORLD_SIZE": "4"}, [*line, "--num_processes=4"]) == Parallelism("ddp", 4)
    zero = {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3", "WORLD_SIZE": "2"}
    assert requested(zero, []) == Parallelism("deepspeed", 2, 3)
    assert requested({"ACCELERATE_USE_FSDP": "true", "WORLD_SIZE": "2"}, []) == Parallelism("fsdp", 2)
    assert requested({}, []) == Parallelism("single", 1)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (Parallelism("ddp", 2), Parallelism("single", 1)),  # MULTI_CPU starts one process
        (Parallelism("fsdp", 2), Parallelism("ddp", 2)),  # no FSDP on CPUs
        (Parallelism("deepspeed", 2, 3), Parallelism("ddp", 2)),
        (Parallelism("deepspeed", 2, 3), Parallelism("deepspeed", 2, 2)),
        (Parallelism("ddp", 4), Parallelism("ddp", 2)),
    ],
)
def test_silent_fallbacks_are_refused(asked, found):
    with pytest.raises(TrainError, match=f"asked for {asked}, but {found} is in force"):
        refuse_fallback(asked, found)
    refuse_fallback(found, found)


def test_a_failure_is_told_in_the_words_of_the_worker(tmp_path):
    (tmp_path / "train.log").write_text(
        "Loading weights\n[rank1]: ValueError: bad thing 7\nraise ChildFailedError(\n"
        "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n=====\n"
    )
    assert last_meaningful_line((tmp_path / "train.log").read_text()) == "ValueError: bad thing 7"
    assert "exit code 1: ValueError: bad thing 7; its log is" in str(failure(tmp_path, 1))
    assert "was killed" in str(failure(tmp_path, -9))
    (tmp_path / "error.json").write_text(json.dumps({"sentence": "the rows are odd"}))
    assert str(failure(tmp_path, 1)) == "the rows are odd"


def test_result_is_read_back(tmp_path):
    result = Result("a", None, "b", 3, 2, 1.5, {"loss": 0.5}, {"trained": 4}, {"kind": "single"})
    assert Result.read(tmp_path) is None
    result.write(tmp_path)
    assert Result.read(tmp_path) == result


def alive(pid: int) -> bool:
    try:
        return "(zombie)" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.mark.slow
def test_training_dies_with_a_killed_parent(make_job, tmp_path):
    job = make_job("sft", max_steps=100_000, logging_steps=1)
    job.write(tmp_path / "job.json")
    code = (
        "import sys; from selfimprove.training import Job, run_job\n"
        "run_job(Job.read(sys.argv[1]), on_event=lambda event: print('step', event['step'], flush=True))"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "job.json")], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None and parent.stdout.readline().startswith("step")
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
    assert children and all(alive(int(child)) for child in children)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    until = time.monotonic() + 20
    while any(alive(int(child)) for child in children) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(alive(int(child)) for child in children)
