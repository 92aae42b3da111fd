"""data/instructions: made by its script byte for byte, its own answers pass its checks, and it is honestly split."""

import asyncio
import subprocess
import sys
from pathlib import Path

from selfimprove.sources import load_prompts, normalized_text
from selfimprove.verify import validate_gold
from selfimprove.verify.formats import CHECKS

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "data" / "instructions"


def prompts_of(name):
    return list(load_prompts(str(FOLDER / f"{name}.jsonl")))


def test_the_script_makes_the_shipped_files_byte_for_byte(tmp_path):
    subprocess.run([sys.executable, str(ROOT / "scripts" / "make_instructions.py"), str(tmp_path)], check=True)
    for name in ("train.jsonl", "heldout.jsonl"):
        assert (tmp_path / name).read_bytes() == (FOLDER / name).read_bytes(), name


def test_sizes_kinds_and_checks():
    train, heldout = prompts_of("train"), prompts_of("heldout")
    assert len(train) >= 160 and len(heldout) == 120
    assert not {p.meta["kind"] for p in train} & {p.meta["kind"] for p in heldout}
    named = {check["check"] for prompt in heldout for check in prompt.meta["checks"]}
    assert len(named) >= 12 and named <= set(CHECKS)


def test_every_check_can_be_met_and_none_is_met_by_saying_nothing_of_it():
    heldout = prompts_of("heldout")
    assert asyncio.run(validate_gold(heldout)) == []
    swapped = [  # the answer to another kind of prompt does not do
        type(prompt)(prompt.id, prompt.messages, other.gold, None, prompt.verifier, prompt.meta)
        for prompt, other in zip(heldout, heldout[10:] + heldout[:10], strict=True)
    ]
    assert len(asyncio.run(validate_gold(swapped))) >= 0.8 * len(heldout)


def test_nothing_held_out_is_trained_on():
    train, heldout = ({normalized_text(prompt) for prompt in prompts_of(name)} for name in ("train", "heldout"))
    assert len(heldout) == 120 and len(train) >= 160 and not train & heldout
