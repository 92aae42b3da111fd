"""What is looked at from outside while a program attacks: bait that must stay untouched, counts that must not change.

`Watch` lays the bait (listening sockets, secrets, processes, files), fills in a program's places, samples what the
program takes while it runs, and says afterwards what it reached. Nothing here trusts what a program prints, except
that a secret must not stand in it and that a program that says `won` is believed.
"""

import asyncio
import contextlib
import json
import os
import pwd
import secrets
import socket
import sqlite3
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from attacks import ATTACKS, NOT_CONTAINED, Attack, fill

import attacks_taking  # isort: skip  # noqa: F401  adds its programs to ATTACKS
from selfimprove.verify.sandbox.base import Call, Limits, Outcome, Program, Sandbox

__all__ = ["ATTACKS", "NOT_CONTAINED", "Attack", "Watch", "normal", "processes"]

ROOT = Path(__file__).resolve().parents[2]
LIMITS = {"memory": 256 << 20, "processes": 8, "disk": 8 << 20, "output": 1 << 16}
FOLDERS = ("/", "/usr", "/usr/lib", "/usr/local/lib", "/etc", "/var/tmp", "/tmp", "/dev/shm", "/run", "/opt", "/home",
           "/root", "/work",
           "/sys/fs/cgroup", str(ROOT))  # fmt: skip

NORMAL = """
import json, os, sys, math, re, random, collections
left = sorted(os.listdir("."))
for folder in ("/tmp", "/dev/shm"):
    try: left += [name for name in os.listdir(folder) if os.path.join(folder, name) != os.getcwd()]
    except OSError: pass
def f(x): return [json.loads(json.dumps({"x": x}))["x"], left, isinstance(x, int), len(sys.meta_path) > 1]
print("fine")
"""


def normal(seconds: float = 5.0) -> Program:
    """Return a program that does nothing wrong, and tells what an earlier one has left behind."""
    return Program(NORMAL, (Call.of("f", 7),), limits=Limits(seconds=seconds, **LIMITS))


def processes(mark: str) -> list[int]:
    """Return the ids of the machine's processes that carry a mark as their name."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and (entry / "comm").read_text().strip() == mark:
                found.append(int(entry.name))
    return found


def descendants(of: int) -> set[int]:
    """Return the ids of the processes that a process has started, and those that these have."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found, new = set(), {of}
    while new:
        new = {child for child, parent in parents.items() if parent in new} - found
        found |= new
    return found


def taken(ids: list[int]) -> tuple[int, int]:
    """Return how many threads processes have, and how many bytes of memory they hold."""
    threads = held = 0
    for number in ids:
        with contextlib.suppress(OSError, IndexError, ValueError):
            status = dict(line.split(":", 1) for line in Path(f"/proc/{number}/status").read_text().splitlines())
            threads += int(status["Threads"])
            held += sum(int(status.get(part, "0").split()[0]) << 10 for part in ("RssAnon", "RssShmem"))
    return threads, held


def shared_memory() -> int:
    """Return the bytes of memory that files hold which live in memory."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("Shmem:"))


class Watch:
    """The bait, and what has been done to it."""

    def __init__(self) -> None:
        """Lay the bait."""
        self.folder = Path(tempfile.mkdtemp(prefix="bait-", dir="/var/tmp"))
        self.folder.chmod(0o755)
        self.hunted = "SECRET" + secrets.token_hex(6)
        self.won = "WON" + secrets.token_hex(6)
        self.secrets = {
            name: f"{self.hunted}-{secrets.token_hex(8)}"
            for name in ("file", "ledger", "environment", "hidden", "home")
        }
        self._open = contextlib.ExitStack()
        self._lay_files()
        self._lay_sockets()
        self.marks: list[str] = []
        self.patience = 2.0  # seconds that what a program took may need to vanish
        self.decoys: list[subprocess.Popen[bytes]] = []
        self.start_decoys()
        for path in (Path("/etc/shadow"), Path("/etc/passwd"), ROOT / "pyproject.toml"):
            with contextlib.suppress(OSError):
                self.secrets[str(path)] = max(path.read_text().splitlines()[:40], key=len)

    def _lay_files(self) -> None:
        for name, text in (("secret", self.secrets["file"]), ("canary", "as it was")):
            (self.folder / name).write_text(text)
        (self.folder / "canary").chmod(0o666)
        self.hidden = Path("/dev/shm") / self.hunted.lower()
        self.hidden.write_text(self.secrets["hidden"])
        for name in ("victims", "tmp", "home"):
            (self.folder / name).mkdir()
            (self.folder / name).chmod(0o777)
        (self.folder / "victims" / "file").write_text("x")
        (self.folder / "home" / ".netrc").write_text(self.secrets["home"])
        connection = sqlite3.connect(self.folder / "ledger.sqlite")
        connection.execute("create table t (answer text)")
        connection.execute("insert into t values (?)", [self.secrets["ledger"]])
        connection.commit()
        connection.close()
        for path in (
            self.hidden,
            self.folder / "secret",
            self.folder / "ledger.sqlite",
            self.folder / "home" / ".netrc",
        ):
            path.chmod(0o644)

    def _lay_sockets(self) -> None:
        self.tcp = self._open.enter_context(socket.create_server(("", 0)))
        self.udp = self._open.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self.udp.bind(("", 0))
        self.unix = self._open.enter_context(socket.socket(socket.AF_UNIX))
        self.unix.bind(str(self.folder / "socket"))
        (self.folder / "socket").chmod(0o777)
        self.abstract = self._open.enter_context(socket.socket(socket.AF_UNIX))
        self.abstract.bind("\0" + self.hunted)
        for each in (self.unix, self.abstract):
            each.listen()
        for each in (self.tcp, self.udp, self.unix, self.abstract):
            each.setblocking(False)

    def start_decoys(self) -> None:
        """Start processes that a program might reach, in place of those before."""
        users = [None, 65534, 60000, 60001] if os.getuid() == 0 else [None]
        environment = {"API_TOKEN": self.secrets["environment"], "PATH": os.environ["PATH"]}
        self.decoys = [
            subprocess.Popen(["sleep", "900"], env=environment, cwd=self.folder, user=user) for user in users
        ]
        for decoy in self.decoys:
            self._open.callback(decoy.wait)
            self._open.callback(decoy.kill)

    def arm(self) -> None:
        """Let what this process starts from now on inherit a secret and keep its files in a folder of the bait."""
        os.environ["SELFIMPROVE_TEST_TOKEN"] = self.secrets["environment"]
        os.environ["TMPDIR"] = str(self.folder / "tmp")
        tempfile.tempdir = None

    def disarm(self) -> None:
        """Undo `arm`."""
        os.environ.pop("SELFIMPROVE_TEST_TOKEN", None)
        os.environ.pop("TMPDIR", None)
        tempfile.tempdir = None

    def close(self) -> None:
        """Take the bait away."""
        self.disarm()
        self._open.close()
        self.hidden.unlink(missing_ok=True)
        subprocess.run(["rm", "-rf", str(self.folder)], check=False)  # shutil ends at the depth some programs nest to

    def places(self, mark: str) -> dict[str, str]:
        """Return what a program's places are filled with."""
        return {
            "won": self.won, "marker": mark, "hunted": self.hunted, "folder": str(self.folder), "checkout": str(ROOT),
            "port": str(self.tcp.getsockname()[1]), "udp": str(self.udp.getsockname()[1]), "address": address(),
            "unix": str(self.folder / "socket"), "abstract": self.hunted, "secret": str(self.folder / "secret"),
            "hidden": str(self.hidden), "canary": str(self.folder / "canary"),
            "ledger": str(self.folder / "ledger.sqlite"),
            "home": str(self.folder / "home"), "decoys": str([decoy.pid for decoy in self.decoys]),
            "folders": repr([*FOLDERS, str(self.folder), pwd.getpwuid(os.getuid()).pw_dir]),
            "processes": str(LIMITS["processes"]), "disk": str(LIMITS["disk"]),
        }  # fmt: skip

    def program(self, attack: Attack) -> Program:
        """Return an attack's program with its places filled in, under a mark of its own."""
        self.marks.append("att" + secrets.token_hex(5))
        calls = tuple(Call.of(name, *arguments) for name, arguments in attack.calls)
        limits = Limits(seconds=attack.seconds, **LIMITS)
        return Program(fill(attack.source, self.places(self.marks[-1])), calls, limits=limits)

    def attack(self, sandbox: Sandbox, attack: Attack) -> tuple[Outcome, list[str]]:
        """Run an attack, then a normal program; return how it ended and everything that it reached."""
        program = self.program(attack)
        mark = self.marks[-1]
        before = {**self._counts(), "own processes": descendants(os.getpid())}
        sampler = Sampler(mark)
        started = time.monotonic()
        try:
            outcome = asyncio.run(sandbox.execute(program))
        finally:
            sampler.stop()
        seconds = time.monotonic() - started
        found = (
            [f"ended as {outcome.status}: {outcome.error:.80}"]
            if attack.ends and outcome.status not in attack.ends
            else []
        )
        most = 2 * attack.seconds + 5 if outcome.sandbox == "wasi" else attack.seconds + 1.5
        if seconds > most:
            found.append(f"took {seconds:.1f} s of {attack.seconds}")
        found += self._told(outcome) + self._reached(mark) + sampler.found(attack)
        return outcome, found + self._serves(sandbox) + self._changed(before, mark)

    def _counts(self) -> dict[str, Any]:
        mounts = [
            line
            for line in Path("/proc/self/mounts").read_text().splitlines()
            if str(self.folder) in line or "bait" in line
        ]
        return {
            "files for a while": sorted(os.listdir(self.folder / "tmp")),
            "the bait": sorted((p.name, p.stat().st_mode, p.stat().st_nlink) for p in self.folder.iterdir()),
            "victims": [path.name for path in self.folder.glob("victims/*")],
            "mounts": mounts,
            "queues": [Path(f"/proc/sysvipc/{n}").read_text().count("24258") for n in ("shm", "sem", "msg")],
        }  # fmt: skip

    def _told(self, outcome: Outcome) -> list[str]:
        text = json.dumps(outcome.to_row(), ensure_ascii=True)
        found = [
            f"told the secret {name}" for name, secret in self.secrets.items() if json.dumps(secret)[1:-1] in text
        ]
        found += [f"said {line:.100}" for line in (outcome.stdout + outcome.stderr).splitlines() if self.won in line][
            :3
        ]
        most = LIMITS["output"] + 200
        return found + ["gave more output than allowed"] * (max(len(outcome.stdout), len(outcome.stderr)) > most)

    def _reached(self, mark: str) -> list[str]:
        found = []
        for name in ("tcp", "udp", "unix", "abstract"):
            before = len(found)
            with contextlib.suppress(BlockingIOError):
                while True:
                    getattr(self, name).recv(99) if name == "udp" else getattr(self, name).accept()[0].close()
                    found[before:] = [f"reached the {name} socket"]
        places = [*FOLDERS, str(self.folder)]
        found += [
            f"wrote into {place}"
            for place in places
            if os.path.exists(f"{place}/{mark}") or os.path.exists(f"{place}/{mark}.d")
        ]
        canary = self.folder / "canary"
        if not canary.exists() or canary.read_text() != "as it was" or canary.stat().st_mode & 0o777 != 0o666:
            found.append("changed the canary")
            canary.write_text("as it was")
            canary.chmod(0o666)
        for decoy in self.decoys:
            state = Path(f"/proc/{decoy.pid}/stat").read_text().rpartition(")")[2].split()[0]
            found += [f"reached the decoy {decoy.pid}: {state}"] * (state not in "SD")
        return found

    def _serves(self, sandbox: Sandbox) -> list[str]:
        started = time.monotonic()
        outcome = asyncio.run(sandbox.execute(normal()))
        seconds = time.monotonic() - started
        if not outcome.passed or outcome.value(0) != [7, [], True, True] or outcome.stdout != "fine\n":
            return [f"the next program went wrong: {outcome!s:.300}"]
        most = 6.0 if outcome.sandbox == "wasi" else 1.5  # a fresh interpreter for each program, and a slow one
        return [f"the next program took {seconds:.1f} s"] if seconds > most else []

    def _changed(self, before: dict[str, Any], mark: str) -> list[str]:
        end = time.monotonic() + self.patience
        own = len(before.pop("own processes"))
        while (left := processes(mark)) or self._counts() != before or len(descendants(os.getpid())) > own:
            if time.monotonic() > end:
                now, more = self._counts(), len(descendants(os.getpid())) - own
                found = [f"{max(len(left), more)} processes are left"] if left or more > 0 else []
                return found + [f"{name}: {before[name]} -> {now[name]}" for name in now if now[name] != before[name]]
            time.sleep(0.02)
        return []


class Sampler:
    """Looks, while a program runs, at what its processes take."""

    def __init__(self, mark: str) -> None:
        """Start to look."""
        self.mark, self.threads, self.held = mark, 0, 0
        self.shared_before = self.shared = shared_memory()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(0.02):
            threads, held = taken(processes(self.mark))
            self.threads, self.held = max(self.threads, threads), max(self.held, held)
            self.shared = max(self.shared, shared_memory())

    def stop(self) -> None:
        """Stop looking."""
        self._over.set()
        self._thread.join()

    def found(self, attack: Attack) -> list[str]:
        """Return what was taken beyond the limits."""
        found = []
        if self.threads > LIMITS["processes"] + 2:
            found.append(f"{self.threads} processes and threads")
        if self.held > LIMITS["memory"] * LIMITS["processes"] + (64 << 20):
            found.append(f"{self.held >> 20} MB of memory")
        if attack.kind in ("memory", "disk") and self.shared - self.shared_before > LIMITS["memory"] + (64 << 20):
            found.append(f"{self.shared - self.shared_before >> 20} MB of files in memory")
        return found


def address() -> str:
    """Return this machine's own address, as another machine would call it."""
    with contextlib.suppress(OSError):
        return socket.gethostbyname(socket.gethostname())
    return "127.0.0.1"
