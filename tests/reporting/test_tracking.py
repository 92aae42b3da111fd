"""Experiment trackers: a run's own figures reach them whole, as often as one likes, and never stop the run."""

import json
import sqlite3
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from selfimprove.config import make_recipe
from selfimprove.errors import ConfigError
from selfimprove.files import write_json
from selfimprove.reporting.tracking import mirror, mirror_safely, round_figures, step_figures, trackers_of
from selfimprove.store import Store
from selfimprove.training import check_options
from selfimprove.training.trackers import known_trackers, names_of, tracker_names, tracking_environment


def accuracy(correct: int) -> dict:
    return {"correct": correct, "total": 100, "low": 0.1, "high": 0.9, "failed": 0, "share": correct / 100}


def tell_round(store: Store, number: int, rows: int, correct: int, loss: float) -> None:
    """Write what the loop writes about one round."""
    skips = {"wrong": 10 - rows} if rows < 10 else {}
    store.finish(number, "collect", prompts=10, rows=rows, skips=skips, metrics={"agreement": 0.5}, policy="p")
    for step in (1, 5):
        store.event("train", round=number, step=step, of=5, loss=loss / step, seconds=float(step))
    store.event("trained", round=number, steps=5, seconds=7.5, loss_last=loss / 5)
    store.finish(number, "learn", adapter="a", model=None, policy=f"p{number}")
    store.finish(number, "evaluate", sets={"sums": accuracy(correct)}, policy=f"p{number}")
    store.finish(number, "watch", figures={"kl": 0.25, "judge": None}, breaches=["kl is high"], policy=f"p{number}")


@pytest.fixture
def run(tmp_path) -> Path:
    """Return the folder of a run of two rounds, with an account of one of them."""
    recipe = make_recipe({"method": "raft", "prompts": "none", "rounds": 2}, "test")
    with Store(tmp_path / "runs" / "mine").open(recipe) as store:
        store.event("started", model="m", policy="p", prompts=10)
        store.finish(0, "evaluate", sets={"sums": accuracy(20)}, policy="p")
        tell_round(store, 1, 6, 40, 1.0)
        tell_round(store, 2, 10, 55, 0.5)
        store.event("finished", model="m", policy="p2")
    stages = {
        "1/collect": {"seconds": 2.0, "tokens": 30, "prompt_tokens": 7},
        "1/learn": {"seconds": 1.5, "tokens": 0},
    }
    write_json(store.folder / "spending.json", {"seconds": 3.5, "tokens": 30, "cost": None, "stages": stages})
    return store.folder


def test_figures_of_every_round(run):
    zero, one, two = round_figures(Store(run))
    assert (zero.step, zero.values["sums/accuracy"]) == (0, 0.2)
    assert one.values == {
        "collect/prompts": 10, "collect/rows": 6, "collect/skipped": 4, "skips/wrong": 4, "collect/agreement": 0.5,
        "learn/steps": 5, "learn/seconds": 7.5, "learn/loss_last": 0.2,
        "sums/accuracy": 0.4, "sums/correct": 40, "sums/total": 100, "sums/low": 0.1, "sums/high": 0.9,
        "sums/failed": 0, "watch/kl": 0.25, "watch/breaches": 1,
        "spent/seconds": 3.5, "spent/tokens": 30, "spent/prompt_tokens": 7,
    }  # fmt: skip
    assert two.step == 2 and "skips/wrong" not in two.values and "spent/seconds" not in two.values
    points = step_figures(Store(run))[1]
    assert [(point.step, point.values) for point in points] == [
        (1, {"train/loss": 1.0, "train/seconds": 1.0}),
        (5, {"train/loss": 0.2, "train/seconds": 5.0}),
    ]


def test_what_was_redone_counts_once(run):
    recipe = make_recipe({"method": "raft", "prompts": "none", "rounds": 2}, "test")
    with Store(run).open(recipe, redo="2/learn") as store:
        assert {name.partition("/")[0] for name in round_figures(store)[2].values} == {"collect"}
        store.event("train", round=2, step=1, of=5, loss=9.0)
        assert [point.values["train/loss"] for point in step_figures(store)[2]] == [9.0]
        tell_round(store, 2, 10, 70, 0.25)
        assert round_figures(store)[2].values["sums/accuracy"] == 0.7
        assert [point.values["train/loss"] for point in step_figures(store)[2]] == [0.25, 0.05]


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    tags = found.Tags()["scalars"]
    return {tag: [(each.step, round(each.value, 5)) for each in found.Scalars(tag)] for tag in tags}  # float32


def test_tensorboard_says_the_same_however_often(run):
    for _ in range(2):
        assert mirror(run, ["tensorboard"]) == [f"tensorboard: {run}/tensorboard (tensorboard --logdir {run})"]
    assert scalars(run / "tensorboard")["sums/accuracy"] == [(0, 0.2), (1, 0.4), (2, 0.55)]
    assert scalars(run / "round-2" / "learn" / "tensorboard")["train/loss"] == [(1, 0.5), (5, 0.1)]
    assert len(list(run.rglob("events.out.tfevents.*"))) == 3
    by_trainer = run / "tensorboard" / "events.out.tfevents.1.trainer"
    by_trainer.write_bytes(b"")
    mirror(run, ["tensorboard"])
    assert by_trainer.exists()


def test_steps_that_the_trainer_reported_itself_are_not_sent_again(run):
    recipe = run / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("train: {}", "train: {report_to: tensorboard}"))
    mirror(run, ["tensorboard"])
    assert [path.parent for path in run.rglob("events.out.tfevents.*")] == [run / "tensorboard"]
    assert trackers_of(run) == ["tensorboard"]


def logged(folder: Path, project: str) -> dict[str, list[tuple[int, dict]]]:
    """Return {run: [(step, figures)]} of a trackio project, straight from its file."""
    connection = sqlite3.connect(folder / f"{project}.db")
    found: dict[str, list[tuple[int, dict]]] = {}
    for name, step, metrics in connection.execute("SELECT run_name, step, metrics FROM metrics ORDER BY id"):
        found.setdefault(name, []).append((step, json.loads(metrics)))
    connection.close()
    return found


def test_trackio_says_the_same_however_often_and_leaves_other_runs_alone(run, tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    said: list[str] = []
    assert mirror_safely(run, ["trackio"], said.append) and said == []
    first = logged(tmp_path / "trackio", "raft")
    assert set(first) == {"mine", "mine-round-1", "mine-round-2"}
    assert [(step, values["sums/accuracy"]) for step, values in first["mine"]] == [(0, 0.2), (1, 0.4), (2, 0.55)]
    assert [(step, values["train/loss"]) for step, values in first["mine-round-1"]] == [(1, 1.0), (5, 0.2)]
    # a run of the same name in another place is another run, and stays
    other = tmp_path / "elsewhere" / "mine"
    with Store(other).open(make_recipe({"method": "raft", "prompts": "none"}, "test")) as store:
        store.finish(0, "evaluate", sets={"sums": accuracy(99)}, policy="p")
    code = "from selfimprove.reporting.tracking import mirror\n"
    code += f"for run in {[str(other), str(run)]}:\n    mirror(run, ['trackio'])"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    again = logged(tmp_path / "trackio", "raft")
    assert sorted(values["sums/accuracy"] for _, values in again["mine"]) == [0.2, 0.4, 0.55, 0.99]
    assert again["mine-round-1"] == first["mine-round-1"]


def test_a_tracker_that_fails_costs_one_line(run, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "file"))
    said: list[str] = []
    assert not mirror_safely(run, ["trackio"], said.append)
    [line] = said
    assert line.startswith("warning: the figures did not reach trackio (") and line.endswith("; the run goes on")
    assert "\n" not in line


def test_unknown_and_absent_trackers(run):
    with pytest.raises(ConfigError, match="there is no tracker 'trakio' for a run's figures; did you mean 'trackio'?"):
        mirror(run, ["trakio"])
    assert trackers_of(run) == []
    if find_spec("wandb") is None:
        with pytest.raises(ConfigError, match="tracking needs wandb: pip install wandb"):
            mirror(run, ["wandb"])


@pytest.mark.parametrize("value", ["none", None, [], "trackio", ["trackio", "tensorboard"], "all"])
def test_recipes_may_name_trackers(value):
    check_options("sft", {"report_to": value} if value is not None else {}, "r.yaml")


def test_a_tracker_that_there_is_not_is_refused_before_the_run():
    with pytest.raises(ConfigError, match=r"r.yaml: train.report_to is 'trakio': .*did you mean 'trackio'\?"):
        check_options("sft", {"report_to": "trakio"}, "r.yaml")
    with pytest.raises(ConfigError, match=r"no tracker 'tensorbord'; did you mean 'tensorboard'\?"):
        check_options("pairs", {"report_to": ["trackio", "tensorbord"]}, "r.yaml")
    if find_spec("wandb") is None:
        with pytest.raises(ConfigError, match="r.yaml: train.report_to needs wandb: pip install wandb"):
            check_options("sft", {"report_to": "wandb"}, "r.yaml")
    assert {"trackio", "tensorboard", "wandb", "mlflow"} <= known_trackers()
    assert tracker_names("none") == tracker_names(None) == [] and tracker_names("mlflow") == ["mlflow"]


def test_trainings_are_named_after_run_and_round(run, tmp_path):
    learn = run / "round-2" / "learn"
    assert names_of(learn, {}) == ("raft", "mine-round-2")
    assert names_of(learn, {"project": "study", "run_name": "a"}) == ("study", "a")
    assert names_of(tmp_path / "out", {}) == ("selfimprove", "out")  # by hand, outside a run folder
    assert tracking_environment(learn, "raft") == {
        "TENSORBOARD_LOGGING_DIR": str(learn / "tensorboard"),
        "WANDB_PROJECT": "raft",
    }


@pytest.mark.slow
def test_a_real_training_reports_under_these_names(run, tmp_path, tiny_model, monkeypatch):
    from selfimprove.training.job import Job
    from selfimprove.training.launch import run_job

    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    rows = tmp_path / "rows.jsonl"
    row = {"id": "a", "prompt": [{"role": "user", "content": "What is 1 + 1?"}], "completion": "2"}
    rows.write_text("".join(json.dumps({**row, "id": str(i)}) + "\n" for i in range(8)))
    options = {
        "report_to": ["trackio", "tensorboard"], "max_steps": 3, "logging_steps": 1, "lora": {"r": 4, "alpha": 8},
        "per_device_train_batch_size": 2, "max_length": 64, "dtype": "float32",
    }  # fmt: skip
    learn = run / "round-1" / "learn"
    run_job(Job("sft", (str(rows),), str(tiny_model), None, str(learn), options))
    losses = [json.loads(line)["loss"] for line in (learn / "events.jsonl").read_text().splitlines()]
    found = logged(tmp_path / "trackio", "raft")
    assert [v["train/loss"] for _, v in found["mine-round-1"] if "train/loss" in v] == pytest.approx(losses)
    assert [value for _, value in scalars(learn / "tensorboard")["train/loss"]] == pytest.approx(losses, abs=1e-4)
