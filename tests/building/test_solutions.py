"""The buffer of right and partly right programs: the worked example, the scan, prefixes, and what is learned."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfimprove.building.solutions import EMPTY, NULL, Buffer, Solution, is_constant, state_key
from selfimprove.verify.straight_line import Unit, statements_of


def traced(code):
    """Return a program of ours statement by statement, None where it raises."""
    units, state = [], {}
    try:
        for statement in statements_of(code) or ():
            exec(statement, {}, state)
            units.append(Unit(statement, dict(state)))
    except ArithmeticError:
        return None
    return units


GOLD = "n0 = 12\nt0 = n0 / 2\nt1 = t0 + 3\nanswer = t1 * 4"
OFFERED = [
    "n0 = 12\nt0 = n0 * 0.5\nt1 = t0 + 3\nanswer = t1 * 4",
    "n0 = 12\nt1 = n0 / 2\nt0 = t1 * 7\nanswer = t0",
    "n0 = 12\nt0 = n0 / 0\nanswer = t0",
    "a = 36.0\nanswer = a",
    f"# half of it first\n{GOLD}",
]


def filled(**options):
    """Return the buffer of the worked example, before any sample."""
    buffer = Buffer(36.0, **options)
    assert buffer.save(Solution(tuple(traced(GOLD))), right=True) == "S6"
    return buffer


def codes(programs):
    return [program.canonical for program in programs]


def test_the_worked_example():
    buffer = filled(refuse_constants=False)
    assert [buffer.offer(traced(code)) for code in OFFERED] == ["S6", "S6", "S0", "S6", "S1"]
    assert len(buffer.right) == 3 and codes(buffer.right)[2] == "a = 36.0\nanswer = a"
    assert codes(buffer.partly) == ["", "n0 = 12\nt1 = n0 / 2"]
    assert set(buffer.states) == {NULL, ("12",), ("12", "6.0"), ("12", "6.0", "9.0"), ("36.0",)}
    again = filled(refuse_constants=False, tolerance=100)
    assert [again.offer(traced(code)) for code in OFFERED] == ["S6", "S6", "S0", "S6", "S4"]


def test_a_program_that_states_its_answer_bars_every_longer_one_unless_it_is_refused():
    other = GOLD.replace("t1 * 4", "4 * t1")
    open_to_all = filled(refuse_constants=False)
    open_to_all.offer(traced("a = 36.0\nanswer = a"))
    assert open_to_all.offer(traced(other)) == "S1"
    guarded = filled()
    assert guarded.offer(traced("a = 36.0\nanswer = a")) == "constant"
    assert guarded.offer(traced(other)) == "S6"


@pytest.mark.parametrize(
    ("code", "constant"),
    [
        ("answer = 36", True),
        ("answer = -36.0", True),
        ("n0 = 12\nt0 = n0 * 3\nanswer = 36", True),
        ("t0 = 36\nt1 = t0\nanswer = t1", True),
        ("t0 = 12 * 3\nanswer = t0", False),
        ("answer = 30\nanswer += 6", False),
        ("answer = int('36')", False),
        ("import math\nanswer = 36", False),
    ],
)
def test_what_counts_as_stated_and_not_computed(code, constant):
    assert is_constant(statements_of(code)) is constant


def test_states_are_values_without_names_and_twelve_is_not_twelve_point_nought():
    assert state_key({"a": 1, "b": 2.0}) == state_key({"b": 1, "a": 2.0}) == ("1", "2.0")
    assert state_key({"a": 12}) != state_key({"a": 12.0})
    assert state_key({"a": 12}, merge_numbers=True) == state_key({"b": 12.0}, merge_numbers=True)
    assert state_key({"a": 1}, names=True) != state_key({"b": 1}, names=True)
    assert state_key({"a": {3, 1}}) == state_key({"a": {1, 3}})
    assert state_key({"a": [1, "x"]}) == ("[1, 'x']",)


def test_a_program_is_saved_up_to_its_last_known_state_and_not_beyond_a_wrong_answer():
    buffer = filled()
    swapped = "n0 = 12\nx = n0 / 2\ny = x + 3\nz = y * 100\nanswer = z"
    assert buffer.offer(traced(swapped), found=3) == "S6"
    assert codes(buffer.partly) == ["", "n0 = 12\nx = n0 / 2\ny = x + 3"] and buffer.partly[1].found == 3
    assert buffer.offer(traced("answer = 35\nn0 = 12")) == "S2"  # nothing before the wrong answer
    assert buffer.offer(traced("b = 7\nanswer = 1")) == "S2"
    assert buffer.offer(None) == "S0"


def test_what_follows_a_right_answer_is_cut_off():
    buffer = filled()
    assert buffer.offer(traced("n0 = 12\nanswer = n0 * 3\nanswer = 5")) == "S6"
    assert buffer.right[1].code == "n0 = 12\nanswer = n0 * 3"


def test_the_beginning_of_a_known_program_is_not_new_and_a_longer_one_takes_its_place():
    buffer = filled(refuse_constants=False)
    assert buffer.offer(traced("n0 = 12\nt0 = n0 / 2\nanswer = 5")) == "S5"  # the beginning of the gold program
    assert buffer.offer(traced("m = 12\nanswer = 5")) == "S6"
    assert buffer.offer(traced("m = 12\nanswer = 6")) == "S5"
    assert buffer.offer(traced("m = 12\nk = m / 2\nanswer = 5")) == "S6"  # m = 12 is its beginning, and goes
    assert codes(buffer.partly) == ["", "m = 12\nk = m / 2"]
    assert buffer.offer(traced("m = 12\nk = m / 2\nanswer = k * 6")) == "S6"  # right: its beginning goes too
    assert codes(buffer.partly) == [""]


def test_beginnings_are_statements_or_as_in_the_original_code_strings():
    short, long = Solution((Unit("t1 = 1", {"t1": 1}),)), Solution((Unit("t1 = 15", {"t1": 15}),))
    assert short.begins(long, "strings") and not short.begins(long, "statements")
    assert EMPTY.begins(short, "statements") and not short.begins(EMPTY, "strings")


def test_a_state_reached_in_more_statements_than_known_needs_a_tolerance():
    longer = "a = 12\nb = 12\nb = a / 2\nanswer = 1"  # (12), (12, 12), (12, 6.0) in three statements, known in two
    strict, lenient = filled(), filled(tolerance=1)
    assert strict.offer(traced(longer)) == "S6" and codes(strict.partly)[1] == "a = 12"
    assert lenient.offer(traced(longer)) == "S6" and codes(lenient.partly)[1] == "a = 12\nb = 12\nb = a / 2"


def test_without_a_given_program_the_first_right_one_may_have_any_length():
    buffer = Buffer(36.0)
    assert buffer.offer(traced("x = 5\nanswer = x")) == "S2"  # no state is known but the one before the beginning
    assert buffer.offer(traced(GOLD)) == "S6" and len(buffer.right) == 1


def test_statements_without_variables_reach_no_state():
    buffer = filled()
    assert buffer.offer(traced("pass\nn0 = 12\nanswer = 1")) == "S2"  # (12) is known in one statement, here in two
    assert filled(tolerance=1).offer(traced("pass\nn0 = 12\nanswer = 1")) == "S6"
    assert NULL in buffer.states and buffer.states[NULL] == [EMPTY]


def test_right_programs_alone_keep_no_beginnings():
    buffer = filled(partial=False)
    assert buffer.offer(traced(OFFERED[1])) == "S2" and buffer.offer(traced(OFFERED[0])) == "S6"
    assert buffer.partly == [EMPTY] and set(buffer.states) == {NULL}


def test_the_training_set_has_the_right_programs_first():
    buffer = filled()
    for code in OFFERED[:2]:
        buffer.offer(traced(code))
    rng = random.Random(1)
    assert codes(buffer.training_set(9, True, rng)) == codes([*buffer.right, buffer.partly[1]])
    assert buffer.training_set(2, True, rng) == buffer.right
    drawn = {tuple(codes(buffer.training_set(2, False, random.Random(seed)))) for seed in range(30)}
    assert len(drawn) == 3  # every two of three
    alone = filled(partial=False)
    alone.offer(traced(OFFERED[0]))
    assert {codes(alone.training_set(1, True, random.Random(seed)))[0] for seed in range(30)} == set(
        codes(alone.right)
    )


def test_prefixes_come_from_partly_right_programs_or_from_states_and_never_hold_an_answer():
    buffer = filled()
    buffer.offer(traced(OFFERED[1]))
    assert buffer.choose_prefix("empty", random.Random(0)) is EMPTY
    drawn = {buffer.choose_prefix("programs", random.Random(seed)).code for seed in range(40)}
    assert drawn == {"", "n0 = 12\nt1 = n0 / 2"}
    by_state = {buffer.choose_prefix("states", random.Random(seed)).code for seed in range(80)}
    assert {"n0 = 12", "n0 = 12\nt0 = n0 / 2", "n0 = 12\nt1 = n0 / 2"} <= by_state
    assert not any("answer" in code for code in by_state)


lines = st.sampled_from(
    ["n0 = 12", "t0 = n0 / 2", "t0 = 6.0", "t1 = t0 + 3", "t1 = 9.0", "answer = t1 * 4", "answer = 1"]
)


@settings(derandomize=True, max_examples=150, deadline=None)
@given(st.lists(st.lists(lines, min_size=1, max_size=5), max_size=8), st.integers(0, 2))
def test_no_kept_program_is_wrong_and_none_is_the_beginning_of_another(drawn, tolerance):
    buffer = filled(tolerance=tolerance)
    for number, program in enumerate(drawn):
        try:
            units = traced("\n".join(program))
        except NameError:
            units = None
        before = len(buffer.right) + len(buffer.partly)
        status = buffer.offer(units, number)
        assert status in ("S0", "S1", "S2", "S4", "S5", "S6", "constant")
        assert status == "S6" or len(buffer.right) + len(buffer.partly) == before
    assert all(program.units[-1].state["answer"] == 36 for program in buffer.right)
    partly = buffer.partly[1:]
    assert all("answer" not in program.units[-1].state for program in partly)
    for program in partly:
        others = [each for each in (*partly, *buffer.right) if each is not program]
        assert not any(program.begins(other, "statements") for other in others)
    assert len(set(codes(buffer.right))) == len(buffer.right)
    again = Buffer(36.0, tolerance)
    for right, programs in ((True, buffer.right), (False, partly)):
        assert all(again.save(program, right) == "S6" for program in programs)  # what a later round does
    assert (codes(again.right), codes(again.partly)) == (codes(buffer.right), codes(buffer.partly))
    assert set(again.states) == set(buffer.states)
