"""Self-sampled solutions: what a round makes of good, degenerate and unreadable samples, and what it remembers."""

import pytest

from selfimprove.errors import ConfigError
from selfimprove.methods import configure, self_sampled_solutions
from selfimprove.records import Example, Prompt, Skip, as_messages
from selfimprove.store import Rows, RowWriter

GOLD = "n0 = 12\nt0 = n0 / 2\nt1 = t0 + 3\nanswer = t1 * 4"
OTHER = "n0 = 12\nt0 = n0 * 0.5\nt1 = t0 + 3\nanswer = t1 * 4"
PARTLY = "n0 = 12\nt1 = n0 / 2"
WRONG = f"{PARTLY}\nt0 = t1 * 7\nanswer = t0"
SANDBOX = {"name": "rlimits", "trust_the_code": True, "seconds": 20}


@pytest.fixture
def run_round(collect):
    """Return a function that collects one round for one problem with the scripted answers."""

    def run_round(answers, prompt=None, earlier=None, round=1, engine=None, **options):
        cfg = self_sampled_solutions.Config(**options)
        table = answers if isinstance(answers, dict) else {"*": answers}
        [rows], measured = collect(
            self_sampled_solutions, cfg, [prompt or problem()], table, round=round, sandbox=SANDBOX, earlier=earlier,
            **(engine or {}),
        )  # fmt: skip
        return rows, measured

    return run_round


def problem(gold="36", solution=GOLD):
    return Prompt("p", as_messages("Half of 12, and 3, four times?"), gold, solution, "program")


def stored(folder, rows):
    writer = RowWriter(folder)
    for row in rows:
        writer.write(row)
    return Rows(tuple(writer.close()))


def test_right_and_partly_right_samples_join_the_gold_program(run_round):
    rows, measured = run_round(
        [OTHER, WRONG, "n0 = 12\nt0 = n0 / 0\nanswer = t0", f"```python\n{OTHER}\n```"], samples=4
    )
    assert [(row.id, row.completion, row.end, row.reward) for row in rows] == [
        ("p/right-0", GOLD, True, 1.0),
        ("p/right-1", OTHER, True, 1.0),
        ("p/partly-0", PARTLY, False, None),
    ]
    assert all(isinstance(row, Example) and row.group == "p" and row.prompt == problem().messages for row in rows)
    assert [row.meta["found"] for row in rows] == [0, 1, 1]
    shares = {name.removeprefix("share_"): value for name, value in measured.items() if name.startswith("share_")}
    assert shares == {"S0": 0.25, "S1": 0, "S2": 0, "S4": 0.25, "S5": 0, "S6": 0.5, "constant": 0}
    assert (measured["right_programs"], measured["partly_right_programs"]) == (2, 1)


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ("", None),  # no sample at all
        ("I cannot say.", "S0"),
        ("answer = ", "S0"),
        ("n0 = 12\nraise SystemExit", "S0"),
        ("answer = '36'", "S2"),
        ("answer = [36]", "S2"),
        ("a = 36.0\nanswer = a", "constant"),
        (f"x = 0\n{OTHER}", "S1"),
        (f"# the same\n{GOLD}  # again", "S4"),
        ("n0 = 12\nanswer = 5", "S5"),
    ],
)
def test_what_teaches_nothing_new_leaves_the_gold_program_alone(run_round, answer, status):
    rows, measured = run_round([answer])
    assert [row.completion for row in rows] == [GOLD]
    assert status is None or measured[f"share_{status}"] == 1


@pytest.mark.parametrize(
    ("prompt", "answers", "engine", "options", "reason"),
    [
        (problem(gold="a dozen eggs or so"), [OTHER], {}, {}, "no_gold"),
        (problem(solution="answer = n0"), [OTHER], {}, {}, "gold_program_fails"),
        (problem(solution="answer = 35"), [OTHER], {}, {}, "gold_program_fails"),
        (problem(), [OTHER], {"failure_rate": 1.0}, {}, "engine_error"),
        (problem(solution=None), [WRONG], {}, {}, "no_program"),
        (problem(), [WRONG], {}, {"load_gold_programs": False}, "no_program"),
    ],
)
def test_every_early_exit_is_a_skip_with_its_reason(run_round, prompt, answers, engine, options, reason):
    [skip], _ = run_round(answers, prompt, engine=engine, **options)
    assert isinstance(skip, Skip) and (skip.id, skip.reason) == ("p", reason)


def test_without_a_gold_program_a_right_sample_is_the_first(run_round):
    [row], _ = run_round([OTHER], problem(solution=None))
    assert (row.completion, row.meta) == (OTHER, {"found": 1})


def test_a_later_round_goes_on_from_what_the_earlier_one_found(run_round, tmp_path):
    first, _ = run_round([WRONG])
    earlier = {1: stored(tmp_path / "1", first)}
    table = {"*": ["answer = 1"], f"{PARTLY}\n": ["x = t1 + 3\nanswer = x * 4"]}
    found = set()
    for seed in range(2, 8):  # whether the empty program or the other is gone on from differs from round to round
        rows, _ = run_round(table, earlier=earlier, round=seed)
        found.add(tuple(row.completion for row in rows))
        assert all(row.round == seed for row in rows)
    whole = f"{PARTLY}\nx = t1 + 3\nanswer = x * 4"
    assert found == {(GOLD, PARTLY), (GOLD, whole)}  # the beginning goes when the whole is known
    assert run_round(table, earlier=earlier, round=2) == run_round(table, earlier=earlier, round=2)


def test_a_round_that_was_skipped_forgets_nothing(run_round, tmp_path):
    rows, _ = run_round([OTHER])
    earlier = {1: stored(tmp_path / "1", rows), 2: Rows()}
    again, _ = run_round(["answer = 1"], earlier=earlier, round=3)
    assert [(row.completion, row.meta["found"]) for row in again] == [(GOLD, 0), (OTHER, 1)]


def test_programs_beyond_the_limit_stay_in_the_buffer_and_out_of_training(run_round, tmp_path):
    rows, _ = run_round([OTHER, WRONG], samples=2, max_programs=2)
    assert [row.meta.get("left_out", False) for row in rows] == [False, False, True]
    cfg = self_sampled_solutions.Config(max_programs=2)
    data = stored(tmp_path / "1", rows)
    kept = list(self_sampled_solutions.assemble(cfg, data))
    assert [row["id"] for row in kept if not isinstance(row, Skip)] == ["p/right-0", "p/right-1"]
    assert [row.reason for row in kept if isinstance(row, Skip)] == ["over_max_programs"]
    again, _ = run_round(["answer = 1"], earlier={1: data}, round=2)
    assert [row.completion for row in again] == [GOLD, OTHER, PARTLY]
    mle, _ = run_round([OTHER, WRONG], samples=2, objective="mle")
    assert [row.meta.get("left_out", False) for row in mle] == [False, True, True]


def test_nothing_is_assembled_where_all_are_learned(run_round, tmp_path):
    rows, _ = run_round([OTHER])
    data = stored(tmp_path / "1", rows)
    assert self_sampled_solutions.assemble(self_sampled_solutions.Config(), data) is data


def test_the_gold_programs_alone_need_no_engine(run_round):
    rows, measured = run_round([OTHER], samples=0, engine={"failure_rate": 1.0})
    assert [row.completion for row in rows] == [GOLD] and "share_S6" not in measured


def test_a_warm_up_round_samples_nothing(run_round):
    rows, _ = run_round([OTHER], warm_up=1, engine={"failure_rate": 1.0})
    assert [row.completion for row in rows] == [GOLD]
    rows, _ = run_round([OTHER], warm_up=1, round=2)
    assert [row.completion for row in rows] == [GOLD, OTHER]


def test_right_programs_alone_stop_at_a_full_buffer(run_round, tmp_path):
    rows, _ = run_round([OTHER, WRONG], samples=2, partial=False)
    assert [row.completion for row in rows] == [GOLD, OTHER]
    full = {1: stored(tmp_path / "1", rows)}
    _, measured = run_round([OTHER], earlier=full, round=2, partial=False, max_buffer=2)
    assert "share_S4" not in measured
    _, measured = run_round([OTHER], earlier=full, round=2, partial=False, max_buffer=3)
    assert measured["share_S4"] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prefix": "program"}, "prefix is 'program'; it is one of programs, states, empty"),
        ({"prefix_test": "text"}, "prefix_test is 'text'; it is one of statements, strings"),
        ({"samples": -1}, "samples (-1) and tolerance (0) cannot be negative"),
        ({"max_programs": 0}, "max_programs (0) must be at least 1"),
        ({"objective": "nll"}, "objective is 'nll'"),
        ({"objective": {"beta": 2}}, "beta is 2.0; it must be above 0 and at most 1"),
    ],
)
def test_options_that_cannot_work_are_refused(options, message):
    with pytest.raises(ConfigError) as error:
        configure({"name": "self-sampled-solutions", **options})
    assert message in str(error.value)


def test_published_values_are_the_defaults():
    cfg = configure({"name": "self-sampled-solutions"})[1]
    found = (cfg.samples, cfg.temperature, cfg.max_tokens, cfg.tolerance, cfg.max_programs, cfg.objective, cfg.prefix)
    assert found == (1, 0.8, 100, 0, 100, "mle_aug", "programs")
