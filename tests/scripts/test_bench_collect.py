"""The benchmark prints one table whatever the sizes, and counts what it says it counts."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench_collect.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False)


def test_small_sizes_give_one_table_with_a_line_for_each_figure():
    sizes = ("--prompts=40", "--large=40", "--candidates=80", "--repeats=1")
    done = run("scripted", "large", "pairs", *sizes)
    assert done.returncode == 0, done.stderr
    versions, head, _, one, four, large, growth, pairs = done.stdout.splitlines()
    assert "cores; load average" in versions
    assert head.split() == ["measured", "ours", "bare", "ratio", "goal", "peak", "memory"]
    assert one.startswith("scripted, 40 x 1") and four.startswith("scripted, 40 x 4")
    assert large.startswith("large, 40 x 4") and growth.startswith("large, CPU time a prompt, last half")
    assert "80 candidates, near-duplicates out: 20 pairs, 18 left" in pairs, "prompts 1 and 11 repeat 0 and 10"
    assert all(line.endswith(" GB") for line in (one, four, large, growth, pairs))


def test_an_unknown_part_is_refused_before_anything_runs():
    done = run("scripte")
    assert done.returncode == 2
    assert "no part 'scripte'; there are vllm, scripted, large, pairs" in done.stderr
