"""Growing budgets: the worked numbers of ID-sampling, its cost bound, and what a response is made of."""

import asyncio
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfimprove.building.deepening import Budgets, cost_bound, deepen, equal_cost_samples, segment_of
from selfimprove.records import Sample

TRIGGER = "\nWait!"


def write(budgets, natural, **options):
    """Return (trace, what was asked) of a model that writes natural[i] tokens in segment i; None: it never stops."""
    asked, lengths = [], iter(natural)

    async def ask(text, limit, number):
        asked.append((text, limit, number))
        length = next(lengths, None)
        if length is None or length >= limit:
            return Sample("x" * limit, limit, -0.5 * limit, "length")
        return Sample("x" * length, length + 1, -0.5 * (length + 1))  # the end token is counted

    trace = asyncio.run(deepen(budgets, TRIGGER, ask, **options))
    return trace, asked


@pytest.mark.parametrize(
    ("budgets", "natural", "options", "limits", "segments", "total", "finish"),
    [
        (Budgets(256, 2, 4096, 16), [None, None, 300], {}, [256, 512, 1024], [256, 512, 300], 1100, "eos"),
        # cumulative: 512 - (256 + 16) = 240, 1024 - (512 + 16) = 496
        (Budgets(256, 2, 4096, 16, "cumulative"), [None, None, 300], {}, [256, 240, 496], [256, 240, 300], 828, "eos"),
        (Budgets(256, 2, 4096, 16), [200], {}, [256], [200], 200, "eos"),
        # 2048 - 1000 - 16 = 1032 tokens are left for the second segment
        (Budgets(1000, 2, 2048, 16), [], {}, [1000, 1032], [1000, 1032], 2048, "length"),
        # 337.5 is rounded down, but the next budget would be 506 = floor(1.5 * 337.5); 852 are used, 148 are left
        (Budgets(100, 1.5, 1000, 10), [], {}, [100, 150, 225, 337, 148], [100, 150, 225, 337, 148], 1000, "length"),
        (
            Budgets(256, 2, 2048, 16),
            [200, 100, 120],
            {"on_eos": "continue", "max_rounds": 3},
            [256, 512, 1024],
            [200, 100, 120],
            452,
            "eos",
        ),
    ],
)
def test_worked_examples(budgets, natural, options, limits, segments, total, finish):
    trace, asked = write(budgets, natural, **options)
    assert [limit for _, limit, _ in asked] == limits == [segment.budget for segment in trace.segments]
    assert [segment.tokens for segment in trace.segments] == segments
    assert (trace.tokens, trace.triggers, trace.finish) == (total, len(segments) - 1, finish)


def test_the_record_of_the_card():
    trace, _ = write(Budgets(256, 2, 4096, 16), [None, None, 300])
    assert trace.record() == {
        "segments": [
            {"budget": 256, "n_tokens": 256},
            {"budget": 512, "n_tokens": 512},
            {"budget": 1024, "n_tokens": 300},
        ],
        "n_triggers": 2,
        "total_tokens": 1100,
        "finish_reason": "eos",
    }


def test_budgets_are_rounded_down_each_and_kept_real():
    budgets = Budgets(100, 1.5, 10_000, 10)
    assert [budgets.budget(i) for i in range(5)] == [100, 150, 225, 337, 506]
    assert Budgets(100, 1.4, 1000, 10).budget(2) == 196  # in floats 100 * 1.4 ** 2 is 195.99999999999997
    assert Budgets(1, 2.0, 1000, 1).budget(5000) > 10**1500  # more than a float holds


def test_the_answer_goes_on_behind_the_trigger_and_ends_where_it_ends():
    trace, asked = write(Budgets(3, 2, 100, 2), [None, 4])
    assert [text for text, _, _ in asked] == ["", "xxx" + TRIGGER]
    assert trace.text == "xxx" + TRIGGER + "xxxx"
    assert trace.before(0) == "" and trace.before(1) == "xxx" + TRIGGER
    assert trace.tokens == 3 + 2 + 4 and trace.drawn == 3 + 4 + 1  # the end token was drawn, the trigger was not
    assert trace.logprob == pytest.approx(-0.5 * 8)


def test_a_start_at_the_cap_is_plain_sampling():
    trace, asked = write(Budgets(64, 2, 64, 5), [])
    assert [limit for _, limit, _ in asked] == [64] and trace.triggers == 0 and trace.finish == "length"


def test_no_trigger_without_room_for_a_token_after_it():
    assert write(Budgets(10, 2, 15, 5), [])[0].triggers == 0  # 10 + 5 reaches the cap
    trace, asked = write(Budgets(10, 2, 16, 5), [])
    assert trace.triggers == 1 and asked[1][1] == 1 and trace.tokens == 16


def test_a_used_up_cumulative_budget_gives_way_to_the_next_without_a_second_trigger():
    # 10 and a trigger of 25 are 35: the budgets of 20 are used up, those of 40 leave 5, those of 80 (40 + 25 = 65) 15
    trace, asked = write(Budgets(10, 2, 1000, 25, "cumulative"), [None, None, 3])
    assert [(limit, number) for _, limit, number in asked] == [(10, 0), (5, 2), (15, 3)]
    assert trace.triggers == 2 and trace.text.count(TRIGGER) == 2


def test_a_continued_end_is_dropped_and_a_last_one_counts():
    trace, _ = write(Budgets(40, 2, 51, 20), [5, 6], on_eos="continue")
    assert trace.tokens == 5 + 20 + 6 and trace.finish == "eos"  # another trigger would reach the cap
    budgets = Budgets(50, 2, 60, 20)
    trace, _ = write(budgets, [5, 6, 7], on_eos="continue")
    assert [segment.tokens for segment in trace.segments] == [5, 6, 7] and trace.finish == "eos"
    trace, _ = write(budgets, [5, None], on_eos="continue", max_rounds=2)
    assert trace.finish == "length"


def thinking(texts, **options):
    """Return (trace, limits) of a model that gives these (text, tokens, finish) in turn."""
    left, limits = list(texts), []

    async def ask(text, limit, number):
        limits.append((limit, number))
        text, tokens, finish = left.pop(0)
        return Sample(text, tokens, finish=finish)

    return asyncio.run(deepen(Budgets(10, 2, 100, 5), TRIGGER, ask, closing="</think>", **options)), limits


def test_an_answer_that_is_cut_behind_the_thinking_is_drawn_again_with_all_that_is_left():
    trace, limits = thinking(
        [("hm", 10, "length"), ("so</think>It", 20, "length"), ("so</think>It is 4.", 31, "stop")]
    )
    assert limits == [(10, 0), (20, 1), (85, 1)]  # 100 - 10 - 5; the same budget number, so the same seed
    assert trace.text == f"hm{TRIGGER}so</think>It is 4." and trace.finish == "eos"
    assert (trace.redrawn, trace.tokens, trace.drawn) == (20, 10 + 5 + 30, 10 + 31 + 20)


def test_no_trigger_behind_the_thinking_even_where_ends_are_continued():
    trace, limits = thinking([("so</think>4", 8, "stop")], on_eos="continue")
    assert trace.finish == "eos" and len(limits) == 1


def test_a_full_context_ends_a_response_and_an_error_keeps_its_reason():
    trace, limits = thinking([("hm", 7, "length")])
    assert trace.finish == "length" and len(limits) == 1
    left = [Sample("hm", 10, finish="length"), Sample("", finish="error", error="too long")]

    async def ask(text, limit, number):
        return left.pop(0)

    trace = asyncio.run(deepen(Budgets(10, 2, 100, 5), TRIGGER, ask))
    assert (trace.finish, trace.error) == ("error", "too long")


def test_segments_of_samples():
    assert segment_of(Sample("a\ufffd", 3, finish="length"), 3).text == "a"  # half a character
    assert segment_of(Sample("a", 0, finish="length"), 3).tokens == 3  # a server that does not count
    assert (segment_of(Sample("", 1), 3).tokens, segment_of(Sample("", 1), 3).ended) == (0, True)


def test_plain_samples_of_equal_cost():
    assert equal_cost_samples(8, 300, 200) == 12
    assert equal_cost_samples(16, 100, 160) == 10


@settings(deadline=None)
@given(
    start=st.integers(1, 400),
    growth=st.sampled_from([1.1, 1.5, 2, 2.5, 3]),
    room=st.integers(0, 5000),
    trigger=st.integers(1, 40),
    natural=st.lists(st.one_of(st.none(), st.integers(0, 600)), max_size=6),
    mode=st.sampled_from(["segment", "cumulative"]),
    on_eos=st.sampled_from(["stop", "continue"]),
)
def test_cost_stays_within_the_bound_and_the_cap(start, growth, room, trigger, natural, mode, on_eos):
    budgets = Budgets(start, growth, start + room, trigger, mode)
    trace, asked = write(budgets, natural, on_eos=on_eos)
    assert all(limit >= 1 for _, limit, _ in asked)
    assert trace.tokens <= budgets.cap
    if mode == "segment":
        bound = cost_bound(start, growth, trace.triggers, trigger)
        assert trace.tokens <= bound + 1e-6
        last = start * growth**trace.triggers
        assert bound - trace.triggers * trigger <= growth / (growth - 1) * last + 1e-6
    if trace.finish == "length":  # no trigger and token would fit any more
        assert trace.tokens + trigger >= budgets.cap


def test_the_bound_in_numbers():
    assert cost_bound(256, 2, 2, 16) == 256 * 7 + 32
    assert math.isclose(cost_bound(100, 1.5, 1, 10), 250 + 10)
