"""AlphaLLM: collect, learn, answer and propose on a scripted model; the search itself is in test_alphallm_search."""

import json
from dataclasses import replace

import pytest
from option_scene import PLAIN, at_work, prompt

from selfimprove.config import make_recipe
from selfimprove.engines.base import Policy
from selfimprove.errors import ConfigError, EngineError
from selfimprove.files import read_jsonl
from selfimprove.loop import run_recipe
from selfimprove.methods import alphallm
from selfimprove.records import Example, Pair, Prompt, Skip, Steps, as_messages, kind_of
from selfimprove.search.tree import Tree
from selfimprove.store import Rows, RowWriter, Store
from selfimprove.worlds.critics import OPENING, Critics, outcome_messages, without_truth
from selfimprove.worlds.options import Search
from selfimprove.worlds.steps import Writing

SCRIPT = '''
def answer(request, seed):
    """Two lines and an answer, each one of a few; behind 'Answer:' the turn ends."""
    last = request.messages[-1]
    begun = last["content"] if last["role"] == "assistant" else ""
    lines = begun.count("\\n")
    first = [f"take {seed % 5} and then add {seed % 7} to it\\n", "multiply everything by twelve, slowly\\n"][seed % 2]
    rest = [first, "now hold on to that number\\n", f"Answer: 2 {'+-/'[seed % 3]} 2"]
    return "".join(rest[lines:])
'''


def near(value):
    return pytest.approx(value, abs=5e-5)


def test_an_answer_given_up_for_its_length_is_no_answer():
    search = Search(rounds=6, least_ends=0, root_children=2, children=2, lines=2, answer_tokens=4)
    texts = ["one\ntwo\nthree\nfour\nfive\nsix\n", "other words altogether\ntwo\nthree\nfour\n"]
    cfg = alphallm.Config(search=search, critics=PLAIN, threshold=0, learn="sft", keep="vote")
    [[row]], measured, [tree], _ = at_work(lambda run, each: alphallm.collect(cfg, run, each), answers={"*": texts})
    assert (row.reason, measured["tree_ends"]) == ("unfinished", [0.0])
    assert "terminal" in tree["nodes"]["state"] and not any(tree["nodes"]["ended"])


def config(**values) -> alphallm.Config:
    search = Search(rounds=10, least_ends=2, root_children=3, children=2, answer_tokens=60)
    defaults = {
        "search": search, "threshold": 0.0, "writing": Writing(temperature=0.8, answer=r"Answer: \d"),
        "critics": Critics(simulations=2),
    }  # fmt: skip
    return alphallm.Config(**{**defaults, **values})


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT, encoding="utf-8")
    return str(path)


def collected(cfg, script, **values):
    return at_work(lambda run, each: alphallm.collect(cfg, run, each), script=script, **values)


def test_collect_learns_the_best_answer_of_a_tree(script):
    [[row]], measured, [tree], _ = collected(config(), script)
    assert isinstance(row, Example) and row.completion.count("\n") == 2 and "Answer:" in row.completion
    assert row.id == "sum/round-3" and measured["score"] == [row.reward]
    assert measured["right"] == [float(row.completion.endswith("2 + 2"))]
    assert tree["status"] == "rounds" and tree["rounds"] == 10 and measured["tree_ends"][0] >= 2
    assert 0 <= measured["tree_right_ends"][0] <= 1
    outcomes = [each for each, ended in zip(tree["nodes"]["outcome"], tree["nodes"]["ended"], strict=True) if ended]
    assert set(outcomes) <= {0.0, 1.0}
    [[skip]], *_ = collected(config(threshold=1.01), script)
    assert skip.reason == "low_score"


def test_collect_by_the_truth_learns_right_answers_only(script):
    cfg = config(critics=Critics(outcome="verifier", simulations=2), threshold=0.98, keep="rerank")
    many = [prompt(f"sum-{number}") for number in range(6)]
    rows, *_ = collected(cfg, script, prompts=many)
    kept = [row for [row] in rows if isinstance(row, Example)]
    assert kept and all(row.completion.endswith("Answer: 2 + 2") and row.reward == 1 for row in kept)
    wrong, *_ = collected(config(right_only=True), script, prompts=many)
    assert all(row.completion.endswith("Answer: 2 + 2") for [row] in wrong if isinstance(row, Example))
    assert {row.reason for [row] in wrong if isinstance(row, Skip)} <= {"wrong"}


def test_collect_pairs_siblings_behind_what_they_share(script):
    [rows], _, [tree], _ = collected(config(learn="pairs"), script)
    assert rows and all(isinstance(row, Pair) for row in rows)
    for row in rows:
        chosen, rejected = row.meta["rewards"]
        assert chosen - rejected == near(row.margin) and row.margin > 0.001
        assert row.chosen in tree["nodes"]["text"] and not row.chosen_end
        before = row.prompt[1:]
        assert [message["role"] for message in before] == ["assistant"] * (row.meta["depth"] > 1)
    [[skip]], *_ = collected(config(learn="pairs", margin=99), script)
    assert skip.reason == "no_pairs"


@pytest.mark.parametrize("answers", [{"*": [""]}, {"*": ["\n"]}])
def test_degenerate_answers_are_skipped_with_a_reason(answers):
    [[skip]], _, [tree], _ = at_work(lambda run, each: alphallm.collect(config(), run, each), answers=answers)
    assert (skip.reason, len(tree["nodes"]["text"])) == ("no_tree", 1)


def test_answers_that_cannot_be_read_are_never_right_and_do_not_vote():
    cfg = config(critics=Critics(outcome="verifier", simulations=1), threshold=0.98, keep="vote")
    texts = ["I would rather\nnot say", "who knows,\nreally"]
    [[skip]], measured, *_ = at_work(lambda run, each: alphallm.collect(cfg, run, each), answers={"*": texts})
    assert skip.reason == "low_score" and measured["right"] == [0.0]


def test_all_answers_the_same_make_one_line():
    [[row]], _, [tree], _ = at_work(
        lambda run, each: alphallm.collect(config(), run, each), answers={"*": ["Answer: 4"]}
    )
    assert row.completion == "Answer: 4" and tree["nodes"]["text"] == ["", "Answer: 4"]


def test_a_killed_search_goes_on_to_the_same_tree_and_asks_nothing_twice(script, tmp_path):
    cfg = config(critics=Critics(simulations=1))  # one request at a time, so that none is under way when it dies
    whole = collected(cfg, script, ledger=tmp_path / "whole.sqlite")
    asked, deaths = 0, 0
    while True:
        try:
            rest = collected(cfg, script, ledger=tmp_path / "killed.sqlite", dies_after=7)
            break
        except EngineError:
            asked, deaths = asked + 7, deaths + 1
    assert deaths >= 2 and asked + rest[3].requests == whole[3].requests
    assert json.dumps(rest[2]) == json.dumps(whole[2])
    assert [row.to_row() for row in rest[0][0]] == [row.to_row() for row in whole[0][0]]


def test_several_trees_at_once_are_what_each_is_alone(script):
    many = [prompt(f"sum-{number}") for number in range(3)]
    together = collected(config(), script, prompts=many)[2]
    assert json.dumps(together[1]) == json.dumps(collected(config(), script, prompts=many[1:2])[2][0])


def test_rounds_are_start_critics_and_search():
    def stages(cfg):
        run = lambda number: type("At", (), {"round": number})()  # noqa: E731
        return [alphallm.stage_of(cfg, run(number)) for number in (0, 1, 2, 3)]

    assert stages(alphallm.Config()) == ["search", "start", "critics", "search"]
    assert stages(alphallm.Config(start="none")) == ["search", "critics", "search", "search"]
    assert stages(alphallm.Config(critics_round=False)) == ["search", "start", "search", "search"]
    verdicts = alphallm.Config(start="none", critics=Critics(value="verdict"))
    assert stages(verdicts) == ["search"] * 4  # there is nothing to train
    assert stages(replace(verdicts, train_outcome=True))[1] == "critics"


def test_the_start_learns_solutions(script):
    [[row], [skip]], *_ = collected(config(), script, round=1, prompts=[prompt(), replace(prompt(), solution=" ")])
    assert (row.completion, row.round, skip.reason) == ("2 + 2 = 4\nAnswer: 2 + 2", 1, "no_solution")


def test_critics_learn_from_graded_answers_and_the_solution(script):
    cfg = config(samples=6, train_outcome=True)
    [rows], measured, *_ = collected(cfg, script, round=2, models={})
    steps = [row for row in rows if isinstance(row, Steps)]
    verdicts = [row for row in rows if isinstance(row, Example)]
    assert steps[0].steps == ("2 + 2 = 4\n", "Answer: 2 + 2") and steps[0].labels == (1.0, 1.0)
    for row in steps[1:]:
        right = row.steps[-1] == "Answer: 2 + 2"
        assert len(row.steps) == 3 and sorted(map(str, row.labels)) == sorted(["None", *[str(2.0 * right - 1)] * 2])
    assert {-1.0, 1.0} <= {label for row in steps[1:] for label in row.labels}
    assert [row.completion for row in verdicts] == [
        " correct" if row.steps[-1] == "Answer: 2 + 2" else " wrong" for row in steps
    ]
    assert all(row.meta == {"critic": "outcome"} and row.prompt[-1]["content"] == OPENING for row in verdicts)
    assert 0 < measured["right_answers"][0] < 1
    unread = {"round": 2, "answers": {"*": [""]}}
    [rows], measured, *_ = at_work(lambda run, each: alphallm.collect(cfg, run, each), **unread)
    assert [row.id for row in rows] == ["sum/value-0", "sum/outcome-0"] and "right_answers" not in measured
    unsolved = replace(prompt(), solution=None)
    [[skip]], *_ = at_work(lambda run, each: alphallm.collect(cfg, run, each), prompts=[unsolved], **unread)
    assert skip.reason == "no_labels"


def test_the_value_model_may_learn_from_trees_too(script):
    [rows], _, [tree], _ = collected(config(update_value=True), script)
    steps = [row for row in rows if isinstance(row, Steps)]
    assert len(steps) == sum(tree["nodes"]["ended"])
    assert all(set(row.labels) - {None} == {1.0 if row.steps[-1] == "Answer: 2 + 2" else -1.0} for row in steps)


def stored(folder, rows) -> Rows:
    writer = RowWriter(folder)
    for row in rows:
        writer.write(row)
    return Rows(tuple(file for file in writer.close() if file.name.startswith("rows-")))


def test_learn_trains_what_the_round_is_for(tmp_path):
    asked = prompt()
    solution = Example.of(asked, "2 + 2", tag="solution", round=1)
    values = Steps.of(asked, ["a\n", "b"], [1.0, None], tag="value-0", round=2)
    verdict = Example("sum/outcome-0", outcome_messages(asked, "a"), " wrong", round=2, meta={"critic": "outcome"})
    found = Example.of(asked, "2 + 2 = 4", tag="round-3", round=3)
    pair = Pair.of(asked, "a", "b", round=3)
    rounds = {
        number: stored(tmp_path / str(number), rows)
        for number, rows in {1: [solution], 2: [values, verdict], 3: [found], 4: [pair]}.items()
    }
    trained = []

    async def trainer(kind, rows, *, name=None, start=None):
        trained.append((kind, name, start and start.digest, [row["id"] for row in rows]))
        return Policy("trained", None, f"{kind}-{name}")

    def learned(cfg, number, rows):
        trained.clear()
        result = []

        async def scene(run, _):
            result.append(await alphallm.learn(cfg, run.training_with(trainer), rows))
            return []

        at_work(scene, round=number, earlier=rounds)
        return {name: model.digest for name, model in result[0].items()}, list(trained)

    cfg = alphallm.Config(train_outcome=True)
    assert learned(cfg, 1, rounds[1]) == ({"policy": "sft-None"}, [("sft", None, None, ["sum/solution"])])
    assert learned(cfg, 2, rounds[2]) == (
        {"value": "steps-None", "outcome": "sft-outcome"},
        [("steps", None, None, ["sum/value-0"]), ("sft", "outcome", "now", ["sum/outcome-0"])],
    )
    # earlier answers are learned again, what critics learned is not
    assert learned(cfg, 3, rounds[3])[1] == [("sft", None, None, ["sum/solution", "sum/round-3"])]
    assert learned(replace(cfg, learn="pairs"), 4, rounds[4])[1] == [("pairs", None, None, ["sum"])]


@pytest.mark.parametrize("way", ["greedy", "global", "rerank", "vote"])
def test_answer_searches_without_the_truth(script, way):
    cfg = config(critics=Critics(outcome="verifier", simulations=1), answer=way)
    given = []

    async def scene(run, each):
        given.append(await alphallm.answer(cfg, run, each))
        return []

    at_work(scene, script=script, prompts=[prompt(), replace(prompt("other"), gold="2 * 2 * 1")])
    assert given[0].finish == "stop" and given[0].text.rpartition("Answer: 2 ")[2] in ("+ 2", "- 2", "/ 2")
    assert given[0].tokens > 0


def test_what_is_seen_without_gold_and_without_a_value_model(script):
    seen = []

    async def scene(run, each):
        for critics in (Critics(outcome="verifier"), Critics(outcome="verifier", value_weight=0), PLAIN):
            found = without_truth(critics, run)
            seen.append((found.outcome, found.value))
        seen.append(await alphallm.judge(config(critics=PLAIN), run, prompt(values={"x": 0.5}), "x"))
        return []

    at_work(scene)
    assert seen == [("value", "model"), ("verdict", "model"), ("value", "model"), 0.75]
    seen.clear()
    at_work(scene, models={})
    assert seen[:3] == [("value", "verdict"), ("verdict", "model"), ("value", "verdict")] and 0 <= seen[3] <= 1


def test_prompts_are_imagined_in_search_rounds_only(script):
    given = [prompt("a"), replace(prompt("b"), messages=as_messages("Lucy has 13 pencils and 13 pens, and buys 5."))]
    cfg = config(imagine="numbers", new_prompts=6)
    found = {}

    async def scene(run, _):
        found[run.round] = await alphallm.propose(cfg, run, given)
        return []

    for number in (2, 3):
        at_work(scene, round=number)
    assert found[2] == given
    made = [item for item in found[3] if isinstance(item, Prompt)]
    assert len(found[3]) == 6 and len({item.text for item in made} | {item.text for item in given}) == len(made) + 2
    assert all((item.gold, item.solution, item.meta) == (None, None, {"written": 3}) for item in made)
    assert all(item.verifier == "countdown" for item in made)
    with pytest.raises(ConfigError, match="right answers to such prompts are not known"):
        config(imagine="write", right_only=True)


def test_prompts_are_written_after_given_ones(script):
    cfg = config(imagine="write", new_prompts=2)
    given = [replace(prompt("a"), messages=({"role": "system", "content": "Be brief."}, *prompt().messages))]
    found = []

    async def scene(run, _):
        found.extend(await alphallm.propose(cfg, run, given))
        return []

    at_work(scene, answers={"*": ["Make seven out of two, two and three.</task>", "Name the tallest hill.</task>"]})
    made = [item for item in found if isinstance(item, Prompt)]
    assert made and all([each["role"] for each in item.messages] == ["system", "user"] for item in made)
    assert made[0].messages[0]["content"] == "Be brief." and made[0].gold is None


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"answer": "best"}, "answer is 'best'"),
        ({"learn": "steps"}, "learn is 'steps'"),
        ({"samples": 0}, r"samples \(0\)"),
    ],
)
def test_options_that_cannot_work_are_refused(values, problem):
    with pytest.raises(ConfigError, match=problem):
        alphallm.Config(**values)


@pytest.mark.slow
def test_a_run_trains_policy_and_value_model_and_searches_with_them(tmp_path, tiny_model):
    rows = [
        {"id": f"q{i}", "prompt": f"Make {i + 3} out of {i} and 3.", "gold": f"{i} + 3", "verifier": "countdown",
         "solution": f"{i} + 3 = {i + 3}\nAnswer: {i} + 3", "meta": {"numbers": [i, 3], "target": i + 3}}
        for i in range(4, 10)
    ]  # fmt: skip
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    section = {
        "method": {"name": "alphallm", "samples": 1, "threshold": 0.0, "writing": {"max_tokens": 4, "answer": "."},
                   "search": {"rounds": 2, "least_ends": 0, "root_children": 2, "answer_tokens": 6},
                   "critics": {"outcome": "value", "simulations": 1}},
        "model": str(tiny_model), "rounds": 3, "prompts_per_round": 2, "prompts": str(tmp_path / "prompts.jsonl"),
        "engine": {"name": "transformers"}, "output": str(tmp_path / "run"), "export": "adapter",
        "train": {"max_steps": 1, "per_device_train_batch_size": 2, "dtype": "float32", "max_length": 256,
                  "lora": {"r": 4, "alpha": 8}},
        "watch": {"prompts": 0},
    }  # fmt: skip
    folder = run_recipe(make_recipe(section, "test.yaml"), "test.yaml", say=lambda line: None)
    store = Store(folder)
    start, critics, search = (store.marker(number, "learn") for number in (1, 2, 3))
    assert start["adapter"] and critics["adapter"] == start["adapter"] and critics["models"]["value"]["adapter"]
    assert {kind_of(row) for row in store.rows(2)} == {"steps"}
    assert search["adapter"] != start["adapter"] and search["models"] == critics["models"]
    trees = [Tree.from_row(row) for row in read_jsonl(folder / "round-3" / "collect" / "trees.jsonl")]
    assert [tree.id for tree in trees] == ["q8", "q9"]
    values = {node.extra["value"] for tree in trees for node in tree.nodes[1:]}
    assert len(values) > 1  # each its own: the value model was asked
