"""Programs that attack the sandbox reach nothing, and answers that cheat do not pass."""

import ast
import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from attack_grading import NOT_HELD_TOGETHER, TOGETHER, Exam
from attack_watch import ATTACKS, NOT_CONTAINED, Watch, normal, processes
from attacks_forged import FORGERIES

from selfimprove.config import Sandbox as Options
from selfimprove.verify import Verifiers
from selfimprove.verify.sandbox import Call, Outcome, Program, Sandbox, open_sandbox
from selfimprove.verify.sandbox.base import FLOOD, outcome_of
from selfimprove.verify.sandbox.landlock import Landlock
from selfimprove.verify.sandbox.rlimits import ResourceLimits
from selfimprove.verify.sandbox.wasi import Wasi
from selfimprove.verify.sandbox.zygote import Zygote

KINDS = {"zygote": Zygote, "landlock": Landlock, "wasi": Wasi}

HARMLESS = {
    "tcp": "reached the tcp socket", "udp": "reached the udp socket", "unix": "reached the unix socket",
    "abstract": "reached the abstract socket", "secret": "told the secret file", "ledger": "told the secret ledger",
    "environment": "told the secret environment", "canary": "changed the canary", "links": "changed the canary",
    "tree": "victims", "daemon": "processes are left", "kill_decoys": "reached the decoy",
}  # fmt: skip
"""What programs that a careless machine survives do where nothing holds them, and what must be seen of it."""

REACHING = {"network", "read", "write", "process", "kernel"}
QUICK = [attack for attack in ATTACKS if attack.kind in REACHING and attack.seconds >= 1.0]
"""What the fast tests attack with: what reaches out; the rest takes (time, memory, disk), and is slow."""


def opened(name: str) -> Sandbox:
    options = Options(name=name, slots=1)
    missing = KINDS[name].missing(options)
    if missing:
        pytest.skip(f"the sandbox '{name}' cannot run here: {missing}")
    sandbox = open_sandbox(options)
    assert asyncio.run(sandbox.execute(normal(30.0))).passed
    return sandbox


@pytest.fixture(scope="module")
def bait() -> Iterator[Watch]:
    watch = Watch()
    watch.arm()
    yield watch
    watch.close()


@pytest.fixture(scope="module")
def sandboxes(bait) -> Iterator[dict[str, Sandbox]]:
    made: dict[str, Sandbox] = {}
    yield made
    for each in made.values():
        each.close()


def attack_and_see(name: str, attack, bait: Watch, made: dict[str, Sandbox]) -> None:
    sandbox = made.setdefault(name, opened(name)) if name not in made else made[name]
    outcome, found = bait.attack(sandbox, attack)
    assert outcome.sandbox == name
    if attack.name in NOT_CONTAINED[name]:
        return
    assert not found, outcome


def test_there_are_many_attacks_and_all_of_them_are_python():
    assert len(ATTACKS) >= 80
    assert len(FORGERIES) >= 30
    meant = {"bytes_of_nothing", "deep_source", "half_a_character"}
    places = {"decoys": "[]", "folders": "[]", "port": "1", "udp": "1", "processes": "1", "disk": "1"}
    for attack in ATTACKS:
        if attack.name not in meant | {"long_chain"}:
            text = attack.source
            for name, value in places.items():
                text = text.replace("{" + name + "}", value)
            ast.parse(text)
    for name in FORGERIES:
        ast.parse(Exam().forged(name))
    known = {attack.name for attack in ATTACKS}
    assert not {name for names in NOT_CONTAINED.values() for name in names} - known
    assert not NOT_CONTAINED["zygote"]


@pytest.mark.parametrize("attack", QUICK, ids=lambda attack: attack.name)
def test_the_default_sandbox_contains(attack, bait, sandboxes):
    attack_and_see("zygote", attack, bait, sandboxes)


@pytest.mark.slow
@pytest.mark.parametrize("attack", [each for each in ATTACKS if each not in QUICK], ids=lambda attack: attack.name)
def test_the_default_sandbox_contains_in_time(attack, bait, sandboxes):
    attack_and_see("zygote", attack, bait, sandboxes)


SOME = {
    "tcp", "abstract", "secret", "environment", "descriptors", "files", "canary", "links", "remains", "deep_folders",
    "kill_decoys", "daemon", "namespaces", "privileges", "one_process", "memory_files", "loop_deaf", "no_newline",
    "giant_number",
}  # fmt: skip
"""Attacks for the implementations that are not the default; `scripts/attack_sandbox.py` runs all of them."""

FEW = {"secret", "environment", "links", "deep_folders", "one_process", "loop", "giant_number"}


@pytest.mark.slow
@pytest.mark.parametrize("attack", [each for each in ATTACKS if each.name in SOME], ids=lambda attack: attack.name)
def test_landlock_contains(attack, bait, sandboxes):
    attack_and_see("landlock", attack, bait, sandboxes)


@pytest.mark.slow
@pytest.mark.parametrize("attack", [each for each in ATTACKS if each.name in FEW], ids=lambda attack: attack.name)
def test_wasi_contains(attack, bait, sandboxes):
    attack_and_see("wasi", attack, bait, sandboxes)


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_watched_is_seen_where_nothing_holds_a_program(name, bait):
    attack = next(attack for attack in ATTACKS if attack.name == name)
    sandbox = ResourceLimits(Options(name="rlimits", trust_the_code=True, slots=1))
    bait.patience = 0.3
    try:
        _, found = bait.attack(sandbox, attack)
    finally:
        bait.patience = 2.0
        sandbox.close()
        mended(bait)
    assert HARMLESS[name] in " ".join(found)


def test_a_program_beside_an_attack_runs_as_if_alone(bait):
    opened("zygote").close()
    sandbox = open_sandbox(Options(name="zygote", slots=2))
    victim = Program(
        "import time\ntime.sleep(0.5)\ndef f():\n    import os\n    return sorted(os.listdir('/tmp'))", (Call.of("f"),)
    )

    async def together(attacks: list[Program]) -> list[Outcome]:
        beside = asyncio.ensure_future(sandbox.execute(victim))
        for attack in attacks:
            await sandbox.execute(attack)
        return [await beside, await sandbox.execute(victim)]

    names = ("kill_all", "remains", "priorities", "fork_sessions", "huge_file", "daemon")
    try:
        asyncio.run(sandbox.execute(normal()))
        outcomes = asyncio.run(together([bait.program(each) for each in ATTACKS if each.name in names]))
    finally:
        sandbox.close()
    for outcome in outcomes:
        assert outcome.passed and outcome.value(0) == [], outcome
        assert outcome.seconds < 1.5


def mended(bait: Watch) -> None:
    """Lay again the bait that a program has taken, and end what it has left."""
    victims = bait.folder / "victims"
    victims.mkdir(exist_ok=True)
    victims.chmod(0o777)
    (victims / "file").write_text("x")
    (bait.folder / "canary.old").unlink(missing_ok=True)
    for mark in bait.marks:
        for number in processes(mark):
            os.kill(number, 9)
    for decoy in bait.decoys:
        if decoy.poll() is not None or "T" in Path(f"/proc/{decoy.pid}/stat").read_text().rpartition(")")[2][:4]:
            bait.start_decoys()
            break


@pytest.fixture(scope="module")
def exam() -> Exam:
    return Exam()


@pytest.fixture(scope="module")
def verifiers() -> Iterator[Verifiers]:
    opened("zygote").close()
    made = Verifiers(Options(name="zygote", slots=1, seconds=2.0, memory_mb=256))
    yield made
    made.close()


@pytest.mark.parametrize("form", Exam().forms())
def test_an_honest_answer_passes_and_a_forged_one_does_not(form, exam, verifiers):
    assert exam.grade(verifiers, form, exam.honest).score == 1.0
    passed = {name for name in FORGERIES if exam.grade(verifiers, form, exam.forged(name)).score != 0.0}
    assert passed == (set(NOT_HELD_TOGETHER) if form == TOGETHER else set())


def test_an_answer_that_looks_for_the_right_value_finds_it_only_where_tests_run_in_its_process(exam, verifiers):
    # The search is no straw man: where the tests share its process, it finds the value.
    assert f"{exam.first}" in exam.grade(verifiers, TOGETHER, exam.forged("looks_in_call")).reason.split("has")[1]
    for form in set(exam.forms()) - {TOGETHER}:
        for name in ("looks_in_call", "looks_at_start"):
            reason = exam.grade(verifiers, form, exam.forged(name)).reason
            assert "None" in reason or "printed ''" in reason or "0 of 2" in reason, (form, name, reason)


MERSENNE = 2**61 - 1
REPLIES = {
    "dict of one hash": '{"dict": [' + ",".join(f"[{n * MERSENNE}, 0]" for n in range(100_000)) + "]}",
    "set of one hash": '{"set": [' + ",".join(f"{n * MERSENNE}" for n in range(100_000)) + "]}",
    "nested lists": "[" * 100_000 + "]" * 100_000,
    "nested tuples": '{"tuple":' * 10_000 + "[]" + "}" * 10_000,
    "giant number": "9" * 100_000,
    "half a character": '"\\ud800"',
    "a list in a set": '{"set": [[1]]}',
    "a list as a key": '{"dict": [[[1], 2]]}',
    "no pair": '{"dict": [1]}',
    "letters as a number": '{"complex": ["a", "b"]}',
    "a number as bytes": '{"bytes": 5}',
    "no kind": '{"object": 5}',
    "two kinds": '{"tuple": [], "set": []}',
    "not a number": "NaN",
}


@pytest.mark.parametrize("name", REPLIES)
def test_a_forged_reply_is_refused_at_once(name):
    reply = f'{{"error": null, "kind": "failed", "trace": [], "results": [{{"value": {REPLIES[name]}}}]}}'
    assert len(reply) < FLOOD
    started = time.monotonic()
    outcome = outcome_of(Program("", (Call.of("f"),)), reply.encode(), sandbox="test")
    assert outcome.status == "crashed" and not outcome.results
    assert time.monotonic() - started < 2
