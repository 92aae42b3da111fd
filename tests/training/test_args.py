"""What a recipe's train section may say."""

import subprocess
import sys
from pathlib import Path

import pytest

from selfimprove.errors import ConfigError
from selfimprove.training import check_options
from selfimprove.training.args import known_options, lora_fields, trainer_config

GOOD = {
    "learning_rate": 3e-4,
    "num_train_epochs": 3,
    "per_device_train_batch_size": 16,
    "report_to": ["tensorboard"],
    "lora": {"r": 32, "alpha": 64, "dropout": 0.0, "target_modules": ["q_proj"], "use_rslora": True},
    "dtype": "auto",
    "resume": False,
}


@pytest.mark.parametrize("kind", ["sft", "pairs"])
def test_options_of_trl_peft_and_ours_pass(kind):
    check_options(kind, GOOD, "r.yaml")
    check_options(kind, {"lora": None, "accelerate": "zero3"}, "r.yaml")
    check_options(kind, {"lora": False, "accelerate": "single"}, "r.yaml")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"learning_rat": 1e-4}, "r.yaml: train has no option 'learning_rat'; did you mean 'learning_rate'?"),
        ({"lora": {"rr": 8}}, "r.yaml: train.lora has no option 'rr'; did you mean 'r'?"),
        ({"lora": {"aplha": 8}}, "did you mean 'alpha'?"),
        ({"lora": {"alpha": 8, "lora_alpha": 8}}, "train.lora sets alpha and lora_alpha, which are the same"),
        ({"lora": True}, "write a mapping"),
        ({"learning_rate": "fast"}, "train.learning_rate is 'fast'; expected float"),
        ({"num_train_epochs": True}, "train.num_train_epochs is True; expected"),
        ({"lora": {"r": "big"}}, "train.lora.r is 'big'; expected int"),
        ({"seed": 3}, "train.seed cannot be set: the recipe's own seed"),
        ({"deepspeed": "x.json"}, "train.deepspeed cannot be set: write accelerate"),
        ({"packing": True}, "train.packing cannot be set: rows carry weights"),
        ({"dtype": "float8"}, "allowed: auto, bfloat16, float32"),
        ({"accelerate": "zero33"}, "there is no such config; did you mean 'zero3'?"),
        ({"accelerate": "no/such.yaml"}, "there is no such file"),
        ({"resume": "yes please"}, "train.resume is 'yes please'"),
    ],
)
def test_wrong_options_are_refused_with_what_to_do(options, sentence):
    with pytest.raises(ConfigError) as error:
        check_options("pairs", options, "r.yaml")
    assert sentence in str(error.value) and "r.yaml" in str(error.value)


def test_pair_options_are_unknown_to_sft():
    check_options("pairs", {"beta": 0.1}, "r.yaml")
    with pytest.raises(ConfigError, match="no option 'beta'"):
        check_options("sft", {"beta": 0.1}, "r.yaml")


def test_check_needs_no_torch():
    code = (
        "import sys; from selfimprove.training import check_options, Job, run_job\n"
        "check_options('pairs', {'beta': 0.1, 'lora': {'r': 8}, 'accelerate': 'zero2'}, 'r.yaml')\n"
        "heavy = {'torch', 'trl', 'transformers', 'peft', 'datasets'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root, timeout=60)


def test_field_names_read_from_source_are_those_of_the_classes():
    from dataclasses import fields

    from trl import DPOConfig, SFTConfig

    for kind, cls in (("sft", SFTConfig), ("pairs", DPOConfig)):
        assert {f.name for f in fields(cls) if f.init} <= set(known_options(kind))


def test_lora_short_names_become_peft_names():
    assert lora_fields({"r": 8, "alpha": 16, "dropout": 0.1}) == {
        "r": 8,
        "lora_alpha": 16,
        "lora_dropout": 0.1,
        "target_modules": "all-linear",
        "task_type": "CAUSAL_LM",
    }
    assert lora_fields(None) is None and lora_fields(False) is None


def test_defaults_are_visible_and_can_be_overridden(tmp_path):
    args = trainer_config("pairs", {"beta": 0.3, "logging_steps": 2}, tmp_path, 7, "hinge", cpu=True)
    assert (args.beta, args.logging_steps, args.loss_type, args.seed) == (0.3, 2, ["hinge"], 7)
    assert (args.report_to, args.gradient_checkpointing, args.use_cpu) == ([], False, True)
    args = trainer_config("pairs", {"loss_type": "ipo"}, tmp_path, 0, "hinge", cpu=True)
    assert args.loss_type == ["ipo"]  # the recipe wins over the method
