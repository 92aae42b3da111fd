"""Losses with a trainer of their own: how they are named, what they are given, and what is refused."""

import sys
from dataclasses import dataclass
from types import ModuleType

import pytest

from selfimprove.chat import load_tokenizer
from selfimprove.errors import ConfigError, TrainError
from selfimprove.training.args import check_options, options_of_kind, trainer_config
from selfimprove.training.data import load_rows
from selfimprove.training.trainers import TRAINERS, Own, own_loss


@dataclass(frozen=True)
class Gap:
    """Options of the loss of these tests."""

    scale: float = 2.0  # of the gap


@pytest.fixture
def gap(monkeypatch):
    """Return the module of a loss `gap`, which reads a number and a list of ids from every row."""
    from selfimprove.training.dpo import PairTrainer

    class GapTrainer(PairTrainer):
        def __init__(self, *, options, **kwargs):
            self.options = options
            super().__init__(**kwargs)

        def pair_loss(self, model, inputs, sides):
            return (inputs["gap"] * self.options.scale - sides.chosen + sides.rejected).square().mean(), None

    module = ModuleType("gap_trainer")
    module.columns = lambda row, tokenizer, options, limit: (
        None if row.id == "r1" else {"gap": options.scale * len(row.chosen), "hint": tokenizer.encode(row.id)}
    )
    module.make_trainer = lambda *, options, **common: GapTrainer(options=options, **common)
    monkeypatch.setitem(sys.modules, "gap_trainer", module)
    monkeypatch.setitem(TRAINERS, "gap", Own("gap_trainer", "pairs", Gap, ids=("hint",), numbers=("gap",)))
    return GapTrainer


def trainer_of(job, tmp_path):
    from selfimprove.training.worker import make_trainer

    args = trainer_config(job.kind, job.options, tmp_path / "check", job.seed, job.loss, cpu=True)
    tokenizer = load_tokenizer(job.policy_base)
    rows, counts = load_rows(job, tokenizer, 256, "keep_start", tmp_path / "cache")
    return make_trainer(job, args, tokenizer, rows), rows, counts


def test_a_loss_of_its_own_gets_its_options_columns_and_trainer(make_job, train_here, gap, tmp_path):
    job = make_job("pairs", loss_type="gap", loss_options={"scale": 3})
    trainer, rows, counts = trainer_of(job, tmp_path)
    assert type(trainer) is gap and trainer.options == Gap(scale=3)
    assert trainer.args.loss_type == ["sigmoid"]  # TRL does not know the name
    assert counts == {"trained": 23, "cut": 0, "left_out": 1}  # its columns leave the row r1 out
    assert rows[0]["gap"] == 3 * len("It is 0.") and len(rows[0]["hint"]) == len("r0")
    batch = trainer.data_collator([rows[0], rows[2]])
    assert batch["gap"].tolist() == [24.0, 24.0] and "hint" not in batch


@pytest.mark.slow
def test_a_loss_of_its_own_is_what_is_trained(make_job, train_here, gap):
    plain = train_here(make_job("pairs", max_steps=2))
    own = train_here(make_job("pairs", "own", max_steps=2, loss_type="gap"))
    # about (2 * 2 * 9 letters + 54 - 99 nats)^2, where the logistic loss starts at ln 2
    assert own.metrics["loss_first"] > 10 > plain.metrics["loss_first"]


def test_a_loss_of_its_own_is_not_replaced_by_trls(make_job, train_here, gap, tmp_path):
    job = make_job("pairs", loss_type="gap", use_weighting=True)
    with pytest.raises(TrainError, match="losses with a trainer of their own take no other divergence"):
        trainer_of(job, tmp_path)


def test_the_methods_loss_is_taken_where_the_recipe_names_none(gap):
    assert own_loss("pairs", {}, "gap") is TRAINERS["gap"] and own_loss("pairs", {}, "hinge") is None
    assert own_loss("pairs", {"loss_type": "hinge"}, "gap") is None  # the recipe wins
    assert own_loss("pairs", {"loss_type": ["gap"]}, None) is TRAINERS["gap"]
    check_options("pairs", {"loss_options": {"scale": 1.5}}, "r.yaml", "gap")


@pytest.mark.parametrize(
    ("kind", "options", "sentence"),
    [
        ("sft", {"loss_type": "gap"}, "r.yaml: train.loss_type is gap, which trains on 'pairs' rows"),
        ("pairs", {"loss_type": ["gap", "sft"]}, "train.loss_type is gap, sft; gap stands alone"),
        ("pairs", {"loss_type": "gap", "loss_options": {"scael": 1}}, "did you mean 'scale'?"),
        ("pairs", {"loss_options": {"scale": 1}}, "loss_options is for losses with a trainer of their own"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_sampled(gap, kind, options, sentence):
    with pytest.raises(ConfigError) as error:
        check_options(kind, options, "r.yaml")
    assert sentence in str(error.value)


@pytest.mark.parametrize("name", sorted(TRAINERS))
def test_the_module_of_every_loss_holds_what_is_needed(name):
    own = TRAINERS[name]
    module = own.load()
    assert callable(module.make_trainer) and own.kind in ("sft", "pairs") and own.options()
    assert callable(module.columns) if own.ids or own.numbers else True


def test_options_for_another_kind_of_rows_leave_out_what_it_does_not_know():
    given = {"beta": 0.1, "loss_type": "hinge", "learning_rate": 1e-4, "lora": {"r": 4}, "loss_options": {}}
    assert options_of_kind("sft", given) == {"learning_rate": 1e-4, "lora": {"r": 4}}
    check_options("sft", options_of_kind("sft", given), "r.yaml")
