"""A disk that fills up in any stage: one sentence, nothing lost, and the same command goes on once there is room."""

import os
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
from killing import answers, data_of, finish, last_event, stage_begun, start, write_recipe

pytestmark = pytest.mark.slow

SIZE = 24 * 2**20


@pytest.fixture
def disk(tmp_path):
    """Return a folder on a disk of its own with little room."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(path: Path) -> None:
    """Write until there is no room left."""
    with path.open("ab", buffering=0) as file, suppress(OSError):
        for size in (2**16, 2**12, 1):
            with suppress(OSError):
                while file.write(os.urandom(size)):
                    pass


def test_a_full_disk_in_any_stage_loses_nothing(tmp_path, tiny_model, disk):
    recipe = write_recipe(tmp_path, tiny_model)
    finish(start(recipe, "whole", "served-whole"))
    folder, filler = disk / "run", disk / "filler"
    known: dict[str, float] = {}
    for round, stage in [(0, "evaluate"), (0, "watch"), (1, "collect"), (1, "learn")]:
        process = start(recipe, str(folder), "served")
        reached = stage_begun(folder, round, stage)
        deadline = time.monotonic() + 180
        while not reached():
            assert process.poll() is None, process.stdout.read()
            assert time.monotonic() < deadline, f"{stage} never began"
            time.sleep(0.01)
        while process.poll() is None and time.monotonic() < deadline:
            fill(filler)
            time.sleep(0.05)
        text, _ = process.communicate(timeout=120)
        assert process.returncode == 2, f"{stage}: {text}"
        assert "Traceback" not in text, text
        assert "no space left" in text.lower() or "full" in text, text
        assert not (folder / f"round-{round}" / f"{stage}.json").exists(), "filled too late to prove anything"
        filler.unlink()
        now = answers(folder)
        assert known.items() <= now.items(), f"a full disk in {stage} lost answers"
        known = now
    finish(start(recipe, str(folder), "served"))
    assert data_of(folder) == data_of(tmp_path / "whole")
    assert last_event(folder)["policy"] == last_event(tmp_path / "whole")["policy"]
