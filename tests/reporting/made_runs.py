"""Small run folders, written by the real store: what the report is tested on."""

import json
from pathlib import Path

from selfimprove.config import make_recipe
from selfimprove.evaluation.heldout import Item, summary
from selfimprove.files import write_json
from selfimprove.records import Pair, Prompt, Skip
from selfimprove.store import RowWriter, Store

NASTY = "<script>alert('x')</script> & \"quoted\""
FIGURES = {"tokens": 20.0, "truncated": 0.1, "entropy": 1.0, "kl": 0.0, "verified": 0.5, "judge": 1.0}


def begin(folder: Path, **changes) -> Store:
    """Return the closed store of a new pairs run that has only started; `changes` go over its recipe."""
    plain = {"method": "spin", "prompts": "train.jsonl", "heldout": {"sums": "held.jsonl"}, "rounds": 2, **changes}
    store = Store(folder)
    store.open(make_recipe(plain, "test.yaml"))
    store.event("started", model="m", policy="p0", prompts=10)
    store.close()
    return store


def prompt(number: int) -> Prompt:
    return Prompt(f"set/{number}", ({"role": "user", "content": f"What is {number} + {number}? {NASTY}"},))


def collect(store: Store, round: int, rows: int = 6, skips: dict[str, int] | None = None, **values) -> None:
    """Finish a collection: `rows` prompts with two pairs each, then prompts with one skip each, by reason."""
    writer = RowWriter(store.stage_folder(round, "collect"), shard_rows=8)
    number = 0
    for _ in range(rows):
        for tag in "ab":
            sides = {"chosen": f"{number} and {number} make {2 * number}.", "rejected": f"{tag} {NASTY}"}
            writer.write(Pair.of(prompt(number), **sides, tag=tag, round=round, margin=0.5))
        number += 1
    for reason, count in (skips or {}).items():
        for _ in range(count):
            writer.write(Skip(prompt(number).id, reason, f"because {NASTY}"))
            number += 1
    marker = {"prompts": number, "rows": writer.rows, "skips": writer.skips, "metrics": {"margin": 0.25}, **values}
    store.finish(round, "collect", writer.close(), policy=f"p{round - 1}", **marker)


def assemble(store: Store, round: int, out: dict[str, int]) -> None:
    """Finish an assembly that takes out the first so many rows by reason."""
    writer = RowWriter(store.stage_folder(round, "assemble"))
    reasons = [reason for reason, count in out.items() for _ in range(count)]
    for place, row in enumerate(store.rows(round)):
        writer.write(Skip(row["id"], reasons[place], "like another") if place < len(reasons) else row)
    store.finish(round, "assemble", writer.close(), rows=writer.rows, skips=writer.skips)


def learn(store: Store, round: int, counts: dict[str, int], steps: int = 20, rounds: tuple[int, ...] = ()) -> None:
    """Finish a training with the counts of its result; `rounds` are those whose rows it was given."""
    folder = store.stage_folder(round, "learn")
    log(store, round, steps, steps)
    files = [str(store.stage_folder(number, "collect") / "rows-00000.jsonl") for number in rounds or (round,)]
    write_json(folder / "job.json", {"kind": "pairs", "rows": files})
    write_json(folder / "result.json", {"steps": steps, "seconds": 12.5, "rows": counts})
    text = f"the first batch: 2 sequences.\n\n--- row 1\n<|user|>hi[[{NASTY}<|end|>]]\nids: 1 [2] [3]\n"
    (folder / "batch_preview.txt").write_text(text)
    store.finish(round, "learn", adapter=f"round-{round}/learn/adapter", model=None, policy=f"p{round}")


def log(store: Store, round: int, steps: int, of: int) -> None:
    """Write the events of a training as far as `steps`."""
    folder = store.stage_folder(round, "learn")
    folder.mkdir(parents=True)
    with (folder / "events.jsonl").open("w") as file:
        for step in range(1, steps + 1):
            figures = {"loss": 0.7 / step, "margin": step / 10, "learning_rate": 1e-5, "epoch": 2 * step / of}
            file.write(json.dumps({"step": step, "of": of, **figures}) + "\n")


def evaluate(store: Store, round: int, right: int, total: int = 10, name: str = "sums", sampled: int = 0) -> None:
    """Finish an evaluation in which the first `right` items are right, one more than `total` cannot be graded."""
    writer = RowWriter(store.stage_folder(round, "evaluate") / name, 1_000_000)
    items = []
    for number in range(total + 1):
        correct = None if number == total else number < right
        text = f"The answer to {number} is {number if correct else number + 1}. {NASTY}"
        drawn = tuple(place < right - number for place in range(sampled))
        item = Item(f"i{number}", correct, str(number), text, "stop", 7, drawn, tuple("1" for _ in drawn))
        writer.write(item)
        items.append(item)
    store.finish(round, "evaluate", writer.close(), sets={name: summary(items)}, policy=f"p{round}")


def watch(store: Store, round: int, breaches: list[str] | None = None, **figures) -> None:
    """Finish a watch with FIGURES, where `figures` do not say otherwise."""
    writer = RowWriter(store.stage_folder(round, "watch"))
    writer.write({"id": "i0#0", "text": "hi"})
    store.finish(round, "watch", writer.close(), figures={**FIGURES, **figures}, breaches=breaches or [], skips={})


def finished_run(folder: Path) -> Store:
    """Return the store of a whole run of two rounds with losses at every stage and a breach in the second."""
    limits = {"limits": {"kl": {"max": 3}, "entropy": {"min_ratio": 0.5}}}
    store = begin(folder, watch=limits, hygiene={"dedup": "exact"})
    evaluate(store, 0, 3, sampled=4)
    watch(store, 0)
    collect(store, 1, 6, {"identical": 3, "empty": 1}, asked={"generate": 10, "samples": 20, "failed": 2, "check": 20})
    assemble(store, 1, {"duplicate": 2})
    learn(store, 1, {"trained": 9, "cut": 4, "left_out": 1})
    evaluate(store, 1, 8, sampled=4)
    watch(store, 1, kl=2.0, judge=2.0)
    collect(store, 2, 5, {"identical": 5})
    assemble(store, 2, {"duplicate": 1})
    learn(store, 2, {"trained": 18, "cut": 0, "left_out": 1}, rounds=(2, 1))
    evaluate(store, 2, 7, sampled=4)
    watch(store, 2, ["kl 4 is above the limit 3"], kl=4.0, judge=3.0, verified=0.4)
    spent = {"seconds": 60.0, "tokens": 1000, "prompt_tokens": 500}
    stages = {f"{number}/{stage}": spent for number in (1, 2) for stage in ("collect", "learn")}
    total = {"seconds": 240.0, "tokens": 4000, "prompt_tokens": 2000, "cost": 1.5, "devices": 2}
    write_json(folder / "spending.json", {**total, "stages": stages})
    store.event("finished", model="model", round=2, policy="p2")
    return store
