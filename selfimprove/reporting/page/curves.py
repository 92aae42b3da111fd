"""The curves of a run's trainings, all rounds behind each other along one axis of optimiser steps."""

from dataclasses import dataclass
from typing import Any

from selfimprove.reporting.growing import read_growing
from selfimprove.reporting.page.plots import Chart, Point, Series, drawable, thinned
from selfimprove.reporting.page.wording import figure
from selfimprove.store import Store

CHARTS: tuple[tuple[str, tuple[tuple[str, str], ...], str], ...] = (
    ("Loss", (("loss", "loss"),), ""),
    ("Margin", (("margin", "margin"),), "reward of chosen minus reward of rejected, in nats times beta"),
    ("Accuracy of pairs", (("accuracy", "accuracy"),), "share of pairs whose chosen side has the higher reward"),
    (
        "Rewards",
        (("reward_chosen", "chosen"), ("reward_rejected", "rejected")),
        "beta times the log-ratio to the reference",
    ),
    ("Log-probs", (("logp_chosen", "chosen"), ("logp_rejected", "rejected")), "mean sum over an answer, in nats"),
    ("KL", (("kl", "KL"),), "to the reference, in nats"),
    ("Token accuracy", (("token_accuracy", "token accuracy"),), "share of trained tokens that would be said greedily"),
    ("Learning rate", (("learning_rate", "learning rate"),), ""),
    ("Gradient norm", (("grad_norm", "gradient norm"),), "before clipping"),
)
"""What is drawn, where the trainer logged it: title, (field of an event, name), what it is."""
SHARES = ("accuracy", "token_accuracy")
MOST = 300
"""Points of a curve, of all rounds together."""


@dataclass(frozen=True, slots=True)
class Curves:
    """The charts of all trainings, which figures none of them logged, and a line of facts per training."""

    charts: list[Chart]
    missing: list[str]
    trainings: list[dict[str, Any]]
    averaged: bool


def read_curves(store: Store, rounds: list[int]) -> Curves:
    """Return the curves of the given rounds; nothing is kept of an event but its numbers."""
    values: dict[str, list[Point]] = {name: [] for _, names, _ in CHARTS for name, _ in names}
    bands: list[tuple[float, float, str]] = []
    trainings: list[dict[str, Any]] = []
    averaged = False
    end = 0
    for number in rounds:
        begin = start = end
        last: dict[str, Any] = {}
        found: dict[str, list[Point]] = {name: [] for name in values}
        for event in read_growing(store.stage_folder(number, "learn") / "events.jsonl"):
            if not isinstance(event.get("step"), int):
                continue
            if last and event["step"] <= last["step"]:  # the method trained more than once in this round
                start = end
            last, end = event, start + event["step"]
            for name, points in found.items():
                if isinstance(event.get(name), int | float) and drawable(event[name]):
                    told = f"round {number}, step {event['step']}: {figure(event[name])}"
                    points.append(Point(end, event[name], text=told))
        if last:
            bands.append((begin, end, f"round {number}"))
            trainings.append({"round": number, **last})
        most = max(MOST // len(rounds), 8)
        averaged |= any(len(points) > most for points in found.values())
        for name, points in found.items():
            values[name] += thinned(points, most)
    charts = []
    for title, names, note in CHARTS:
        series = tuple(Series(label, tuple(values[name])) for name, label in names if values[name])
        if series:
            charts.append(Chart(title, series, "optimiser step", note, False, names[0][0] in SHARES, tuple(bands)))
    missing = [title for title, names, _ in CHARTS if not any(values[name] for name, _ in names)]
    return Curves(charts, missing, trainings, averaged)
