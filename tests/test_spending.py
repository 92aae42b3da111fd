"""The account of a run: by stage, over several processes, and the budget that ends it."""

import pytest

from selfimprove.config import Budget
from selfimprove.files import read_json
from selfimprove.spending import BudgetSpent, Meter


class Clock:
    def __init__(self):
        self.now, self.tokens = 1000.0, (0, 0)

    def spend(self, seconds, generated=0, read=0):
        self.now += seconds
        self.tokens = (self.tokens[0] + generated, self.tokens[1] + read)


def meter(tmp_path, clock, price=None, **budget):
    return Meter(tmp_path / "spending.json", Budget(**budget), price, 2, lambda: clock.tokens, lambda: clock.now)


def test_the_account_goes_on_in_the_next_process(tmp_path):
    clock = Clock()
    first = meter(tmp_path, clock, price=3.0)
    with first.stage(1, "collect"):
        clock.spend(60, 500, 900)
    clock.spend(1000, 7, 7)  # between stages nothing is charged
    with first.stage(1, "learn"):
        clock.spend(30)
    second = meter(tmp_path, Clock(), price=3.0)
    assert (second.seconds, second.tokens) == (90, 500)
    assert second.cost == pytest.approx(90 / 3600 * 2 * 3.0)  # two devices at 3 an hour
    other = Clock()
    second = meter(tmp_path, other, price=3.0)
    with second.stage(1, "collect"):
        other.spend(10, 1, 2)
    found = read_json(tmp_path / "spending.json")
    assert found["stages"]["1/collect"] == {"seconds": 70, "tokens": 501, "prompt_tokens": 902}
    assert found["seconds"] == 100 and found["tokens"] == 501 and found["prompt_tokens"] == 902


def test_a_killed_process_loses_at_most_the_last_seconds(tmp_path):
    clock = Clock()
    lost = meter(tmp_path, clock)
    with lost.stage(1, "collect"):
        for _ in range(20):
            clock.spend(1, 10)
            lost.check()
        assert 14 <= meter(tmp_path, Clock()).seconds <= 20  # what another process would find now


@pytest.mark.parametrize(
    ("budget", "price", "said"),
    [
        ({"max_tokens": 100}, None, r"budget\.max_tokens is reached \(100 of 100 tokens\).*budget\.max_tokens=200"),
        ({"max_hours": 0.5}, None, r"budget\.max_hours is reached \(0\.5 of 0\.5 hours\).*budget\.max_hours=1,"),
        ({"max_cost": 1.0}, 2.0, r"budget\.max_cost is reached \(1\.11111 of 1 of cost\)"),
    ],
)
def test_a_bound_stops_the_work_and_every_later_stage(tmp_path, budget, price, said):
    clock = Clock()
    bounded = meter(tmp_path, clock, price=price, **budget)
    with pytest.raises(BudgetSpent, match=said), bounded.stage(1, "collect"):
        for _ in range(100):
            clock.spend(200, 10)
            bounded.check()
    with pytest.raises(BudgetSpent), meter(tmp_path, Clock(), price=price, **budget).stage(1, "collect"):
        pytest.fail("the stage began although nothing is left")
    raised = {key: 10 * value for key, value in budget.items()}
    with meter(tmp_path, Clock(), price=price, **raised).stage(1, "collect"):
        assert bounded.spent()  # the old bound is still reached; the raised one lets the work go on


def test_a_clock_that_jumps_back_takes_nothing_away(tmp_path):
    clock = Clock()
    jumped = meter(tmp_path, clock)
    with jumped.stage(1, "collect"):
        clock.spend(10)
        jumped.check()
        clock.spend(-500)
        jumped.check()
        clock.spend(5)
    assert jumped.seconds == 15
