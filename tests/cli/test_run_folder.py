"""`show`, `validate` and `evaluate` on a real run over the scripted engine."""

import json
import shutil

from selfimprove.files import read_jsonl


def collected(run, number: int) -> tuple[list[dict], list[dict]]:
    folder = run / f"round-{number}" / "collect"
    rows = [row for file in sorted(folder.glob("rows-*.jsonl")) for row in read_jsonl(file)]
    return rows, list(read_jsonl(folder / "skips.jsonl"))


def test_show_tells_how_far_the_run_came(finished_run, told):
    output = told("show", finished_run.run)
    rows, skips = collected(finished_run.run, 1)
    assert len(rows) + len(skips) == 20
    line = next(line for line in output.splitlines() if line.strip().startswith("1 "))
    assert [int(word) for word in line.split()[:4]] == [1, 20, len(rows), len(skips)]
    assert "collect, learn, evaluate" in line
    assert "finished" in output and "model:" in output
    assert output.count("sums") == 3  # rounds 0, 1 and 2


def test_show_rounds_compares_each_with_the_one_before_and_the_first(finished_run, told):
    output = told("show", finished_run.run, "--rounds")
    assert output.count("against round 1: ") == 1
    assert output.count("against round 0: ") == 2
    # the method keeps the policy, so the same items give the same answers
    assert "+0.0 points [+0.0, +0.0], 0 gained, 0 lost, p = 1.0000" in output


def test_show_why_counts_every_skip_with_examples(finished_run, told):
    _, skips = collected(finished_run.run, 2)
    output = told("show", finished_run.run, "--why", "--limit", "2")
    assert f"round 2: 20 prompts gave {20 - len(skips)} rows" in output
    assert f"{len(skips)}  none_right ({100 * len(skips) / 20:.1f} % of the prompts)" in output
    assert output.count(": said ") == min(2, len(skips))
    assert f"{skips[0]['id']}: {' '.join(skips[0]['detail'].split())}" in output


def test_show_skips_is_one_line_each(finished_run, told):
    _, skips = collected(finished_run.run, 1)
    lines = told("show", finished_run.run, "--skips", "--round", "1").splitlines()
    assert [line.split("\t")[:2] for line in lines] == [[skip["id"], "none_right"] for skip in skips]


def test_show_rows_prints_prompt_and_completion(finished_run, told):
    rows, _ = collected(finished_run.run, 1)
    output = told("show", finished_run.run, "--rows", "--round", "1", "--limit", "1")
    assert rows[0]["id"] in output and rows[1]["id"] + "  (" not in output
    assert rows[0]["prompt"][0]["content"] in output and "reward 1" in output
    assert f"completion:\n    {rows[0]['completion'].splitlines()[0]}" in output


def test_show_samples_gives_every_answer_of_a_prompt(finished_run, told):
    output = told("show", finished_run.run, "--samples", "q1-2")
    assert "generate for sample" in output and "[0]" in output and "[1]" in output
    assert "nothing was asked for prompt 'q1-99'" in told("show", finished_run.run, "--samples", "q1-99", code=2)


def test_show_refuses_what_is_no_run(finished_run, told, tmp_path):
    assert "not a run folder" in told("show", tmp_path, code=2)
    assert "round 7 has not been collected" in told("show", finished_run.run, "--why", "--round", "7", code=2)


def test_validate_grades_every_gold_answer(finished_run, told, tmp_path, sums):
    assert "every gold answer is graded as right" in told("validate", finished_run.recipe)
    sums(tmp_path / "bad.jsonl", [(i, 0) for i in range(8)], wrong=("q3-0", "q5-0"))
    output = told("validate", finished_run.recipe, f"prompts={tmp_path / 'bad.jsonl'}", "--limit", "1", code=2)
    assert "q3-0: gold '3/0'" in output and "q5-0" not in output
    assert "2 rows cannot be graded by their own gold answer (1 more" in output


def test_validate_refuses_held_out_items_that_are_trained_on(finished_run, told):
    output = told("validate", finished_run.recipe, f"prompts={finished_run.folder / 'held.jsonl'}", code=2)
    assert "10 held-out items are also training prompts" in output


def test_evaluate_measures_a_model_and_compares_it(finished_run, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    output = told("evaluate", finished_run.recipe, "--against", finished_run.run / "round-0", "--output", "here")
    marker = json.loads((finished_run.run / "round-0" / "evaluate.json").read_text())["sets"]["sums"]
    assert f"({marker['correct']:g} of 10" in output
    assert "0 gained, 0 lost, p = 1.0000" in output  # the same model on the same items
    again = told("evaluate", finished_run.recipe, "--output", "here")
    assert f"({marker['correct']:g} of 10" in again
    held = f"held={finished_run.folder / 'held.jsonl'}"
    plain = told("evaluate", "--model", finished_run.model, "--data", held, "--engine", "scripted")
    assert f"({marker['correct']:g} of 10" in plain


def test_evaluate_refuses_another_model_in_the_same_folder(finished_run, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told("evaluate", finished_run.recipe, "--output", "here")
    shutil.copytree(finished_run.model, tmp_path / "copy")
    config = json.loads((tmp_path / "copy" / "config.json").read_text())
    (tmp_path / "copy" / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 0.5}))
    told("evaluate", finished_run.recipe, "--model", "copy", "--output", "here", code=2)
    assert "no evaluation is there" in told("evaluate", finished_run.recipe, "--against", "nothing", code=2)
