"""`replay`: the whole history of a row, and asking again."""

import json
import shutil

import pytest
from pair_runs import make_run

from selfimprove.files import read_json, read_jsonl
from selfimprove.records import Skip
from selfimprove.reporting.replay import history, source_of
from selfimprove.store import RowWriter, Store


@pytest.fixture(scope="session")
def pair_run(tmp_path_factory, tiny_model):
    """Return the folder of a finished run of two rounds with an adapter each."""
    return make_run(tmp_path_factory.mktemp("replay"), tiny_model)


def rows(run, number):
    return list(read_jsonl(run / f"round-{number}" / "collect" / "rows-00000.jsonl"))


def ledger_of(run) -> bytes:
    return (run / "ledger.sqlite").read_bytes()


def test_a_row_is_told_from_its_requests_to_its_sides(pair_run):
    row = rows(pair_run, 2)[0]
    found = history(Store(pair_run), row["id"])
    prompt = row["id"].rpartition("/")[0]
    assert (found["round"], found["prompt"]["id"], found["rows"]) == (2, prompt, [row])
    i, j = prompt[1:].split("-")
    assert found["prompt"]["gold"] == str(int(i) + int(j))
    generate = [request for request in found["requests"] if request["kind"] == "generate"]
    assert [request["made_by"] for request in generate] == ["the start model", "the policy of round 1"]
    assert [request["policy"] for request in generate] == [
        read_json(pair_run / f"round-{number}" / "collect.json")["policy"] for number in (1, 2)
    ]
    assert [request["in_round"] for request in generate] == [False, True]
    became = {answer["index"]: answer["became"] for answer in generate[1]["answers"] if answer["became"]}
    chosen = next(answer for answer in generate[1]["answers"] if f"the chosen of {row['id']}" in answer["became"])
    rejected = next(answer for answer in generate[1]["answers"] if f"the rejected of {row['id']}" in answer["became"])
    assert (chosen["score"], rejected["score"]) == (1.0, 0.0) and len(became) == 2
    assert chosen["text"].strip() == row["chosen"].strip() and rejected["text"] == row["rejected"]
    assert not any(answer["became"] for answer in generate[0]["answers"])
    sides = {each["side"]: each["from"] for each in found["sides"]}
    place = found["requests"].index(generate[1]) + 1
    assert sides["chosen"] == f"answer [{chosen['index']}] of request {place}, cut or cleaned"  # the method pads it
    assert sides["rejected"] == f"answer [{rejected['index']}] of request {place}"
    assert [request["kind"] for request in found["requests"]].count("score") == len(
        [number for number in (1, 2) if any(r["id"] == f"{prompt}/r{number}" for r in rows(pair_run, number))]
    )


def test_the_text_reads_in_the_same_order(pair_run, told):
    row = rows(pair_run, 1)[0]
    output = told("replay", pair_run, row["id"])
    assert output.startswith(f"round 1, prompt {row['id'].rpartition('/')[0]}, gold ")
    asked, became, end = (
        output.index("1. generate for sample by the start model ("),
        output.index(f"-> became the chosen of {row['id']}"),
        output.index(f"\nrow {row['id']}  (margin "),
    )
    assert asked < became < end
    assert "n 4, temperature 0.7" in output and "log-prob" in output


def test_a_skipped_prompt_is_told_with_its_reason(pair_run, told):
    skip = next(read_jsonl(pair_run / "round-1" / "collect" / "skips.jsonl"))
    found = history(Store(pair_run), skip["id"], 1)
    assert found["skips"] == [{"stage": "collect", **skip}] and found["rows"] == []
    scores = {answer["score"] for answer in found["requests"][0]["answers"]}
    assert len(found["requests"][0]["answers"]) == 4 and len(scores) == 1  # all right, or all wrong
    assert f"{skip['id']} skipped: one_sided ({skip['detail']})" in told("replay", pair_run, skip["id"], "--round", 1)


def test_a_row_that_was_taken_out_is_told_with_the_reason(pair_run, tmp_path, told):
    run = tmp_path / "run"
    shutil.copytree(pair_run, run)
    store = Store(run)
    first, *others = rows(run, 2)
    writer = RowWriter(store.stage_folder(2, "assemble"))
    writer.write(Skip(first["id"], "near_duplicate", "of another"))
    for row in others:
        writer.write(row)
    store.finish(2, "assemble", writer.close(), rows=writer.rows, skips=writer.skips)
    output = told("replay", run, first["id"])
    assert f"{first['id']} taken out before training: near_duplicate (of another)" in output
    assert f"-> became the chosen of {first['id']}" in output


def test_a_held_out_item_has_a_history_too(pair_run, told):
    output = told("replay", pair_run, "q3-9")
    for made_by in ("the start model", "the policy of round 1", "the policy of round 2"):
        assert f"generate for evaluate by {made_by} (" in output
    assert "held-out item q3-9 of sums: " in output


def test_an_unknown_row_is_refused(pair_run, told):
    assert "'q3-33'; did you mean 'q3-3'?" in told("replay", pair_run, "q3-33", code=2)
    assert "of round 9 is 'q1-1'" in told("replay", pair_run, "q1-1", "--round", 9, code=2)
    assert "add --ask" in told("replay", pair_run, "q1-1", "--engine", "transformers", code=2)


def test_asked_again_the_scripted_engine_says_exactly_the_same(pair_run, told):
    before = ledger_of(pair_run)
    for number in (1, 2):  # by the start model, and by the adapter of round 1
        row = rows(pair_run, number)[0]
        found = json.loads(told("replay", pair_run, row["id"], "--ask", "--json"))
        asked = [request for request in found["requests"] if request["kind"] == "generate" and request["in_round"]]
        assert [request["round_of_policy"] for request in asked] == [number - 1]
        for answer in asked[0]["answers"]:
            assert answer["again"] == {"text": answer["text"], "logprob": answer["logprob"], "same": True}
        assert "asked again: 4 of 4 answers are the same" in told("replay", pair_run, row["id"], "--ask")
    found = json.loads(told("replay", pair_run, "q3-9", "--ask", "--json"))  # by the adapter of round 2
    assert all(a["again"]["same"] for r in found["requests"] if r["in_round"] for a in r["answers"] if "again" in a)
    assert ledger_of(pair_run) == before and not (pair_run / "ledger.sqlite-wal").exists()


def test_other_answers_are_told_word_by_word(pair_run, tmp_path, told):
    run = tmp_path / "run"
    shutil.copytree(pair_run, run)
    row = rows(run, 1)[0]
    script = tmp_path / "other.py"
    script.write_text("def answer(request, seed):\n    return 'The answer is seventeen.'\n")
    recipe = (run / "recipe.yaml").read_text()
    (run / "recipe.yaml").write_text(
        recipe.replace("engine:\n  name: scripted", f"engine:\n  name: scripted\n  script: {script}")
    )
    output = told("replay", run, row["id"], "--ask")
    assert "asked again: another text" in output and "now  " in output
    assert "asked again: 0 of 4 answers are the same" in output


def test_a_policy_that_has_changed_since_cannot_be_asked(pair_run, tmp_path, told):
    run = tmp_path / "run"
    shutil.copytree(pair_run, run)
    (run / "round-1" / "learn" / "adapter" / "adapter_model.safetensors").write_bytes(b"other")
    output = told("replay", run, rows(run, 2)[0]["id"], "--ask")
    assert output.count("asked again: not possible: ") == 4 and "has changed since the run" in output


def test_other_runs_of_a_shared_ledger_are_left_out(tmp_path, tiny_model):
    shared = str(tmp_path / "shared.sqlite")
    first = make_run(tmp_path / "a", tiny_model, ledger=shared, rounds=1)
    make_run(tmp_path / "b", tiny_model, ledger=shared, rounds=1, seed=1)
    row = rows(first, 1)[0]
    found = history(Store(first), row["id"])
    assert [r["made_by"] for r in found["requests"] if r["kind"] == "generate"] == ["the start model"]
    assert found["requests_of_other_runs"] == 1


@pytest.mark.parametrize(
    ("text", "answers", "place"),
    [
        ("4", ["It is 4.", "4"], 1),  # the same text wins over one that holds it
        (" 4 ", ["4 4", "4"], 1),  # then the same but for its ends
        ("a b", ["x", "so a  b then"], 1),  # then one that holds it, whatever the white space
        ("c", ["a", "b"], None),
        ("  ", ["", " "], None),
    ],
)
def test_where_a_text_comes_from(text, answers, place):
    assert source_of(text, answers) == place
