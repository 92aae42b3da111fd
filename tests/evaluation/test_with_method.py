"""A method's own way to answer, measured beside the plain answer on the same items: files, lines, refusals."""

import asyncio
import json
from types import SimpleNamespace

import pytest

from selfimprove.cli.main import main
from selfimprove.config import make_recipe
from selfimprove.engines import open_engine
from selfimprove.engines.base import Policy
from selfimprove.errors import ConfigError, EngineError, MethodError
from selfimprove.estimate import heldout_tokens
from selfimprove.evaluation.heldout import read_items
from selfimprove.evaluation.report import Accuracy
from selfimprove.evaluation.standalone import compare_with_plain
from selfimprove.evaluation.with_method import plain_sets, set_name
from selfimprove.files import read_json, write_json
from selfimprove.ledger import LedgerReader
from selfimprove.loop import run_recipe
from selfimprove.methods import load_method
from selfimprove.plan import plan
from selfimprove.price import costs
from selfimprove.reporting.page.accuracy import read_measurements
from selfimprove.reporting.parcels.sections import heldout_sets, results
from selfimprove.reporting.report import write_report
from selfimprove.reporting.rounds import round_lines
from selfimprove.run import EngineOnDemand
from selfimprove.store import Store
from selfimprove.trial import try_scripted

VOTING = '''"""Voting: the most common of several answers. Paper: none."""
from collections import Counter
from dataclasses import dataclass
from selfimprove.records import Example, Sample, Skip

NEEDS, MAKES = {"messages"}, "sft"

@dataclass(frozen=True)
class Config:
    """Options."""

    votes: int = 15  # sampled answers
    fails: bool = False  # give an answer that could not be had

async def collect(cfg, run, prompt):
    return [Skip(prompt.id, "unused")]

async def answer(cfg, run, prompt):
    if cfg.fails:
        return Sample("", finish="error", error="out of order")
    [first] = await run.sample(prompt, temperature=0.0, max_tokens=32)
    samples = [first, *await run.sample(prompt, cfg.votes, temperature=0.7, max_tokens=32, purpose="vote")]
    run.measure("voters", len(samples))
    votes = Counter(run.answer(prompt, sample.text) for sample in samples)
    return next(s for s in samples if run.answer(prompt, s.text) == votes.most_common(1)[0][0])
'''


@pytest.fixture
def make(tmp_path, tiny_model):
    """Return a function that makes the recipe of a voting method on forty sums."""
    (tmp_path / "voting.py").write_text(VOTING)
    for name, numbers in (("train", range(3)), ("held", range(10, 50))):
        rows = [{"id": f"q{i}", "prompt": f"What is {i} + 7?", "gold": str(i + 7)} for i in numbers]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def make(**changes):
        plain = {
            "method": {"name": str(tmp_path / "voting.py"), **changes.pop("method", {})},
            "model": str(tiny_model),
            "prompts": str(tmp_path / "train.jsonl"),
            "heldout": {"sums": str(tmp_path / "held.jsonl")},
            "engine": {"name": "scripted"},
            "rounds": 0,
            "watch": {"prompts": 0},
            "evaluate": {"max_tokens": 32, "with_method": True},
            "output": str(tmp_path / "run"),
        }
        return make_recipe({**plain, **changes}, "test")

    return make


@pytest.fixture
def measured(make):
    """Return the store of a run that measured both ways, and what it said."""
    said: list[str] = []
    folder = run_recipe(make(), "test", say=said.append)
    return SimpleNamespace(store=Store(folder), said=said, folder=folder)


def test_both_ways_are_measured_on_the_same_items(measured):
    marker = measured.store.marker(0, "evaluate")
    assert list(marker["sets"]) == ["sums", "sums+voting"]  # the plain set first: limits and patience follow that
    plain, voted = (read_items(measured.store, 0, name) for name in marker["sets"])
    assert [item.id for item in plain] == [item.id for item in voted]
    right = [sum(item.correct for item in items) for items in (plain, voted)]
    assert right[1] > right[0] + 10  # fifteen votes of a third right and the rest scattered
    told = marker["with_method"]["sums+voting"]
    assert (told["plain"], told["answers"], told["voters"]) == ("sums", 16, 16)
    assert told["tokens"] > 16


def test_the_lines_hold_both_accuracies_and_the_paired_test(measured):
    plain, voted = round_lines(measured.store, 0)
    assert plain in measured.said and voted in measured.said
    found = compare_with_plain(measured.store, 0, "sums+voting")
    assert found.gained - found.lost == round(40 * found.difference) > 10 and found.p < 0.01
    assert f"against the plain answer: {found} (McNemar); 16.0 answers, " in voted
    assert "against" not in plain and compare_with_plain(measured.store, 0, "sums") is None


def test_the_plain_answer_is_not_asked_twice(measured):
    entries = [e for e in LedgerReader(measured.folder / "ledger.sqlite").entries("q10") if e.kind == "generate"]
    assert [(entry.purpose, entry.path, len(entry.answer)) for entry in entries] == [
        ("evaluate", "", 1), ("evaluate", "vote/", 15),
    ]  # fmt: skip


def test_the_report_and_the_card_tell_them_apart(measured):
    page = write_report(measured.folder).read_text()
    assert "Accuracy on sums+voting" in page and "against the plain answer" in page
    assert page.count("against the plain answer") == 1  # only where there is one
    found = read_measurements(measured.store)
    assert found.with_method and found.sets["sums"][0].plain is None and found.tests == 1
    facts = SimpleNamespace(store=measured.store)
    assert heldout_sets(facts) == ["sums"]  # what a card claims of the model is the model's alone


def test_a_card_names_what_the_model_did_not_answer_alone(measured, make):
    facts = SimpleNamespace(store=measured.store, recipe=make())
    text = "\n".join(results(facts, 0))
    assert "by the method's own procedure, not by the model alone: sums+voting." in text
    assert "against the plain answer +" in text


def test_a_folder_without_such_answers_reads_as_before(measured):
    path = measured.folder / "round-0" / "evaluate.json"
    marker = read_json(path)
    del marker["with_method"], marker["sets"]["sums+voting"]
    write_json(path, marker)
    assert plain_sets(measured.store, 0) == {} and len(round_lines(measured.store, 0)) == 1
    assert not read_measurements(measured.store).with_method
    assert "against the plain answer" not in write_report(measured.folder).read_text()


def test_a_method_that_cannot_answer_is_refused_before_the_run(make, tmp_path):
    (tmp_path / "voting.py").write_text(VOTING.replace("async def answer", "async def reply"))
    with pytest.raises(ConfigError, match=r"evaluate.with_method is true, but method '.*voting.py' has no way of its"):
        plan(make(), "test")
    plan(make(evaluate={"with_method": False}), "test")


def test_answers_that_cannot_be_had_are_told_and_never_wrong(make):
    with pytest.raises(EngineError, match=r"'sums\+voting': none of its 40 items was answered .*out of order"):
        run_recipe(make(method={"fails": True}), "test", say=lambda line: None)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("async def answer(cfg, run, prompt)", "async def answer(cfg, run)", "is given 3"),
        ("async def answer(cfg, run, prompt):", "def answer(cfg, run, prompt):\n    return", "is no coroutine"),
    ],
)
def test_an_answer_of_another_form_is_refused(make, tmp_path, old, new, says):
    (tmp_path / "voting.py").write_text(VOTING.partition("    if cfg.fails")[0].replace(old, new) + "    pass\n")
    with pytest.raises(ConfigError, match=f"answer of method .*{says}"):
        load_method(str(tmp_path / "voting.py"))


def test_an_answer_that_is_no_sample_ends_the_run_with_its_place(make, tmp_path):
    (tmp_path / "voting.py").write_text(VOTING.replace("    return next(", "    return str("))
    with pytest.raises(MethodError, match=r"answer of .*voting.py returned .*; it must return a Sample.*prompt q10"):
        run_recipe(make(), "test", say=lambda line: None)


def test_the_price_counts_the_methods_answers(make):
    checked = plan(make(), "test")
    trial = asyncio.run(try_scripted(checked))
    answering = asyncio.run(
        try_scripted(checked, lambda run, prompt: checked.method.answer(checked.config, run, prompt))
    )
    plain, both = (next(costs(checked, trial, 3, {"sums": 40}, each)) for each in (None, answering))
    assert (plain.requests, plain.answers, plain.tokens) == (40, 40, 40 * 32)
    assert (both.requests, both.answers, both.tokens) == (40 + 80, 40 + 640, 40 * 32 + 40 * 16 * 32)


def test_an_estimate_tells_the_methods_tokens_from_the_plain_ones(make):
    async def measure(recipe):
        checked, engine = plan(recipe, "test"), EngineOnDemand(open_engine({"name": "scripted"}))
        try:
            return await heldout_tokens(checked, engine, Policy("scripted", None, "base"), checked.heldout())
        finally:
            await engine.close()

    plain, own = asyncio.run(measure(make()))
    assert len(plain) == len(own) == 8  # the first items
    assert all(tokens > answer for tokens, answer in zip(own, plain, strict=True))  # fifteen answers more
    assert asyncio.run(measure(make(evaluate={"max_tokens": 32}))) == (plain, ())


def test_the_command_line_measures_both(make, tmp_path, capsys):
    words = ["evaluate", f"method={tmp_path / 'voting.py'}", "--with-method", "--engine", "scripted"]
    options = ["--model", make().model, "--data", f"sums={tmp_path / 'held.jsonl'}", "-o", str(tmp_path / "answers")]
    with pytest.raises(SystemExit) as stopped:
        main([*words, *options])
    told = capsys.readouterr()
    assert not stopped.value.code, told.err
    first, second, _ = told.out.splitlines()
    assert first.startswith("sums ") and second.startswith("sums+voting ") and "against the plain answer" in second
    found = Store(tmp_path / "answers").marker(0, "evaluate")["sets"]["sums+voting"]
    assert Accuracy(**{name: found[name] for name in ("correct", "total", "low", "high", "failed")}).total == 40


def test_a_set_is_named_by_what_answers_it(make):
    assert set_name("sums", make()) == "sums+voting"
    assert set_name("sums", make(method={"name": "raft"})) == "sums+raft"
