"""Attack a sandbox of this machine with every program of the test suite, and show what each reached.

    python scripts/attack_sandbox.py                      # the one that recipes use here
    python scripts/attack_sandbox.py --sandbox landlock   # a named one
    python scripts/attack_sandbox.py --user nobody        # as root: the same, as an ordinary user
    python scripts/attack_sandbox.py fork_bomb tcp        # only these programs

Whether a program was contained is looked up from outside (tests/verify/attack_watch.py). Then answers that claim to be
right without being it are graded. The exit code is 1 where one was not contained (unless that is known: NOT_CONTAINED
in tests/verify/attacks.py), or passed. Only run it where a program that does escape may do its worst: in a virtual
machine, not on the machine you work on.
"""

import argparse
import asyncio
import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "verify")]

PYTHONS = (os.path.realpath(sys.executable), "/usr/local/bin/python3", "/usr/bin/python3")


def rerun(user: str) -> int:
    """Run this script again as another user; return its exit code."""
    known = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    python = next(
        each for each in PYTHONS if os.path.exists(each) and all(p.stat().st_mode & 1 for p in Path(each).parents)
    )
    home = tempfile.mkdtemp(prefix="attack-home-", dir="/var/tmp")
    os.chown(home, known.pw_uid, known.pw_gid)
    environment = {"PATH": os.environ["PATH"], "HOME": home, "LANG": "C.UTF-8", "TMPDIR": "/var/tmp"}
    environment["PYTHONPATH"] = sysconfig.get_path("purelib")
    words = [word for word in sys.argv[1:] if word not in ("--user", user) and not word.startswith("--user=")]
    command = [
        "setpriv",
        f"--reuid={known.pw_uid}",
        f"--regid={known.pw_gid}",
        "--clear-groups",
        python,
        "-B",
        __file__,
    ]
    try:
        return subprocess.run([*command, *words], env=environment, cwd="/").returncode
    finally:
        shutil.rmtree(home, ignore_errors=True)


def speed(sandbox, seconds: float = 2.0) -> float:
    """Return how many programs a second a sandbox runs, one after the other."""
    from attack_watch import normal

    async def serve() -> float:
        for _ in range(3):
            await sandbox.execute(normal())
        started, done = time.monotonic(), 0
        while time.monotonic() < started + seconds:
            outcome = await sandbox.execute(normal())
            assert outcome.passed, outcome
            done += 1
        return done / (time.monotonic() - started)

    return asyncio.run(serve())


def attack_all(sandbox, names: list[str]) -> tuple[int, int, int]:
    """Attack with every program and print a line each; return how many were contained, known not to be, and tried."""
    from attack_watch import ATTACKS, NOT_CONTAINED, Watch

    watch, contained, known, tried = Watch(), 0, 0, 0
    watch.arm()
    try:
        for attack in ATTACKS:
            if names and attack.name not in names:
                continue
            outcome, found = watch.attack(sandbox, attack)
            tried, contained = tried + 1, contained + (not found)
            line = f"{attack.name:<18} {attack.tries:<88.88} {outcome.status:<8} {outcome.seconds * 1000:6.0f} ms  "
            why = NOT_CONTAINED.get(outcome.sandbox, {}).get(attack.name, "") if found else ""
            known += bool(why)
            print(
                line + ("yes" if not found else "NO: " + "; ".join(found)) + (why and f" (known: {why})"), flush=True
            )
    finally:
        watch.close()
    return contained, known, tried


def grade_all(sandbox) -> tuple[int, int]:
    """Grade every forged answer in every form of tests; return how many passed that may not, of how many."""
    from attack_grading import NOT_HELD_TOGETHER, TOGETHER, Exam
    from attacks_forged import FORGERIES

    from selfimprove.config import Sandbox as Options
    from selfimprove.verify import Verifiers

    exam, passed, graded = Exam(), 0, 0
    verifiers = Verifiers(Options(name=sandbox.name, trust_the_code=True, seconds=3.0, memory_mb=256))
    try:
        for form in exam.forms():
            verdict = exam.grade(verifiers, form, exam.honest)
            assert verdict.score == 1.0, f"an honest answer failed in the form {form}: {verdict}"
            cheats = [name for name in FORGERIES if exam.grade(verifiers, form, exam.forged(name)).score == 1.0]
            wrong = [name for name in cheats if form != TOGETHER or name not in NOT_HELD_TOGETHER]
            passed, graded = passed + len(wrong), graded + len(FORGERIES)
            known = f", {len(cheats) - len(wrong)} known to" if form == TOGETHER else ""
            print(
                f"tests as {form:<10} {len(FORGERIES)} forged answers, {len(wrong)} passed{known} {' '.join(wrong)}",
                flush=True,
            )
    finally:
        verifiers.close()
    return passed, graded


def main() -> int:
    """Attack, grade, and sum up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="PROGRAM", help="programs to attack with; none: all")
    parser.add_argument("--sandbox", default="auto", help="zygote, landlock, wasi, or auto: what recipes use here")
    parser.add_argument("--user", help="run as this user (needs root)")
    arguments = parser.parse_args()
    if arguments.user:
        return rerun(arguments.user)
    from selfimprove.config import Sandbox as Options
    from selfimprove.verify.sandbox import open_sandbox

    sandbox = open_sandbox(Options(name=arguments.sandbox, slots=1))
    try:
        before = speed(sandbox)
        contained, known, tried = attack_all(sandbox, arguments.names)
        after = speed(sandbox)
        print(f"user {os.getuid()}, sandbox {arguments.sandbox}, one slot")
        passed, graded = (0, 0) if arguments.names else grade_all(sandbox)
    finally:
        sandbox.close()
    summary = f"{contained} of {tried} contained; {passed} of {graded} forged answers passed"
    print(f"{summary}; still serving at {after:.0f}/s (before: {before:.0f}/s)")
    return 0 if contained + known == tried and not passed else 1


if __name__ == "__main__":
    raise SystemExit(main())
