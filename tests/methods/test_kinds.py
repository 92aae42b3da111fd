"""A method that makes one kind of rows or another, as an option has it: what its file must say, and what is told."""

from pathlib import Path

import pytest

from selfimprove.config import make_recipe
from selfimprove.errors import ConfigError, MethodError
from selfimprove.methods import load_method, made_by
from selfimprove.plan import plan
from selfimprove.reporting.methods import read_card

EITHER = '''"""Either: examples or pairs. Paper: none."""
from dataclasses import dataclass
from selfimprove.records import Example, Pair

NEEDS, MAKES = {"messages"}, ("sft", "pairs")

@dataclass(frozen=True)
class Config:
    """Options."""

    made: str = "sft"  # sft or pairs

def makes(cfg):
    return cfg.made, "hinge" if cfg.made == "pairs" else None

async def collect(cfg, run, prompt):
    row = Pair.of(prompt, "a", "b") if cfg.made == "pairs" else Example.of(prompt, "a")
    return [row if cfg.made != "text" else "a"]
'''


@pytest.fixture
def write(tmp_path):
    def write(old: str = "", new: str = "") -> str:
        assert old in EITHER
        (tmp_path / "either.py").write_text(EITHER.replace(old, new, 1) if old else EITHER)
        return str(tmp_path / "either.py")

    return write


@pytest.mark.parametrize(("made", "kind", "loss"), [("sft", "sft", None), ("pairs", "pairs", "hinge")])
def test_the_option_decides_kind_loss_and_the_trainers_options(write, made, kind, loss):
    def checked(**train):
        return plan(make_recipe({"method": {"name": write(), "made": made}, "prompts": "x", "train": train}, "test"))

    found = checked()
    assert (found.kind, found.loss) == (kind, loss) and f"makes {kind};" in found.lines()[0]
    if made == "pairs":
        checked(beta=0.5)
    else:
        with pytest.raises(ConfigError, match="train has no option 'beta'"):
            checked(beta=0.5)


def test_a_card_names_both(write, tmp_path):
    write()
    assert read_card(tmp_path / "either.py").makes == "sft or pairs"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("def makes(cfg)", "def made(cfg)", r"makes sft or pairs; write makes\(cfg\) to say which"),
        ("def makes(cfg)", "def makes()", "makes of method .* is given 1"),
        ('("sft", "pairs")', '("sft", "pair")', "makes .*'pair'"),
        ('("sft", "pairs")', '["sft", "pairs"]', "makes .*'sft', 'pairs'"),
        ('("sft", "pairs")', "()", r"makes \(\)"),
    ],
)
def test_what_cannot_work_is_told_when_the_file_is_read(write, old, new, says):
    with pytest.raises(ConfigError, match=says):
        load_method(write(old, new))


def test_a_kind_that_was_not_named_is_told(write):
    module = load_method(write())
    with pytest.raises(ConfigError, match="'steps', which its MAKES does not name"):
        made_by(module, module.Config(made="steps"))


def test_rows_of_neither_kind_are_told(write, collect):
    module = load_method(write())
    from selfimprove.records import Prompt, as_messages

    with pytest.raises(MethodError, match="a row is Example or Pair or Skip"):
        collect(module, module.Config(made="text"), [Prompt("a", as_messages("?"))], {"*": ["4"]})


def test_a_method_of_one_kind_may_call_a_formula_makes(write):
    one = write('("sft", "pairs")', '"sft"')
    path = Path(one)
    path.write_text(path.read_text().replace("def makes(cfg)", "def makes(a, b)"))
    module = load_method(one)
    assert made_by(module, module.Config()) == ("sft", None)
