"""`selfimprove data` as a user types it."""

import json

import pytest

from selfimprove.cli.main import main


def rows_of(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def data(capsys):
    """Return a function that runs `selfimprove data ...` and gives exit code, output and error output."""

    def run(*words) -> tuple[int, str, str]:
        code = 0
        try:
            main(["data", *map(str, words)])
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else 0
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def examples(count: int, start: int = 0) -> list[dict]:
    return [
        {"id": f"p{n // 2}/{n % 2}", "prompt": f"Question {n // 2}?", "completion": f"Answer {n}."}
        for n in range(start, start + count)
    ]


def test_dedup_lists_what_it_took_out(data, tmp_path):
    rows = examples(4)
    file = write(tmp_path / "in.jsonl", [*rows, {**rows[1], "id": "again"}, {**rows[2], "completion": "answer 2"}])
    code, said, _ = data("dedup", file, "-o", tmp_path / "out.jsonl", "--near")
    assert code == 0 and rows_of(tmp_path / "out.jsonl") == rows
    assert rows_of(tmp_path / "out.skips.jsonl") == [
        {"id": "again", "reason": "duplicate", "detail": "same as p0/1"},
        {"id": "p1/0", "reason": "near_duplicate", "detail": "near p1/0"},
    ]
    lines = [" ".join(line.split()) for line in said.splitlines()]
    assert lines == [
        f"in 6 rows of {file}",
        f"out 4 rows to {tmp_path / 'out.jsonl'}",
        "1 taken out: duplicate",
        "1 taken out: near_duplicate",
        f"listed in {tmp_path / 'out.skips.jsonl'}",
    ]


def test_nothing_is_overwritten_without_force(data, tmp_path):
    file, output = write(tmp_path / "in.jsonl", examples(2) * 2), tmp_path / "out.jsonl"
    assert data("dedup", file, "-o", output)[0] == 0
    code, _, error = data("dedup", file, "-o", output)
    assert code == 2 and "out.jsonl is there already; choose another name, or --force" in error
    write(file, examples(2))
    assert data("dedup", file, "-o", output, "--force")[0] == 0
    assert not (tmp_path / "out.skips.jsonl").exists()  # it told of the file that was overwritten
    assert data("dedup", output, "-o", output, "--force")[0] == 0 and rows_of(output) == examples(2)


def test_decontaminate_names_set_and_words(data, tmp_path):
    held = write(tmp_path / "held.jsonl", [{"id": "h", "prompt": "What is 4 + 5?", "gold": "9"}])
    public = write(tmp_path / "test.jsonl", [{"question": "What is 7 - 1?", "answer": "7 - 1 = 6\n#### 6"}])
    rows = [
        {"id": "a", "prompt": "What is 4+5?", "completion": "9"},
        {"id": "b", "prompt": "What is 7 - 1?", "completion": "6"},
        {"id": "c", "prompt": "What is 7 + 1?", "completion": "8"},
    ]
    code, said, _ = data(
        "decontaminate", write(tmp_path / "in.jsonl", rows), "-o", tmp_path / "out.jsonl",
        "--against", held, "--against", f"{{name: gsm8k, path: {public}}}",
    )  # fmt: skip
    assert code == 0 and rows_of(tmp_path / "out.jsonl") == rows[2:] and "2 taken out: contaminated" in said
    assert [row["detail"] for row in rows_of(tmp_path / "out.skips.jsonl")] == [
        f"{held}: 'what is 4 + 5'",
        "gsm8k: 'what is 7 - 1'",
    ]


def test_balance_tells_mean_lengths(data, tmp_path):
    rows = [{"id": str(n), "prompt": "q", "chosen": "c" * n, "rejected": "r" * 10} for n in (10, 11, 60)]
    code, said, _ = data("balance", write(tmp_path / "in.jsonl", rows), "-o", tmp_path / "out.jsonl", "--share", "0.1")
    assert code == 0 and rows_of(tmp_path / "out.jsonl") == rows[:2]
    assert "mean length before: chosen 27.0, rejected 10.0 characters" in said
    assert "mean length  after: chosen 10.5, rejected 10.0 characters" in said
    code, _, error = data("balance", write(tmp_path / "sft.jsonl", examples(1)), "-o", tmp_path / "x.jsonl")
    assert code == 2 and "balance_length needs pairs" in error and not (tmp_path / "x.jsonl").exists()


def test_mix_says_which_source_ended_it(data, tmp_path):
    one, other = write(tmp_path / "a.jsonl", examples(70)), write(tmp_path / "b.jsonl", examples(60, start=100))
    code, said, _ = data("mix", f"{one}=0.7", f"{other}=0.3", "-o", tmp_path / "out.parquet")
    assert code == 0 and f"ended where {one} ran out; --repeat begins it again" in said
    assert "70 rows of" in said and "(70.0%)" in said and "100 rows to" in said
    assert data("mix", f"{one}=1", f"{other}=1", "-o", tmp_path / "ten.jsonl", "--rows", 10)[0] == 0
    assert len(rows_of(tmp_path / "ten.jsonl")) == 10
    for word in ("a.jsonl", "a.jsonl=much", "=1"):
        code, _, error = data("mix", word, "-o", tmp_path / "no.jsonl")
        assert code == 2 and f"'{word}': a source is written name=number" in error


def test_split_divides_no_group(data, tmp_path):
    rows = examples(200)
    file = write(tmp_path / "in.jsonl", rows)
    code, said, _ = data("split", file, "-o", tmp_path / "parts", "--shares", "train=0.8,test=0.2")
    assert code == 0 and "of rows, asked 80.0%" in said
    parts = {name: rows_of(tmp_path / "parts" / f"{name}.jsonl") for name in ("train", "test")}
    groups = {name: {row["id"].split("/")[0] for row in part} for name, part in parts.items()}
    assert not groups["train"] & groups["test"] and 10 < len(groups["test"]) < 35
    assert sorted(map(str, parts["train"] + parts["test"])) == sorted(map(str, rows))
    write(file, examples(400))
    data("split", file, "-o", tmp_path / "more", "--shares", "train=0.8,test=0.2")
    assert {str(row) for row in parts["test"]} <= {str(row) for row in rows_of(tmp_path / "more" / "test.jsonl")}


def test_split_tells_where_all_is_one_group(data, tmp_path):
    rows = [{**row, "id": f"gsm8k/{n}"} for n, row in enumerate(examples(20))]
    file = write(tmp_path / "in.jsonl", rows)
    assert "all rows are one group by 'id'" in data("split", file, "-o", tmp_path / "a")[1]
    code, said, _ = data("split", file, "-o", tmp_path / "b", "--by", "prompt", "--shares", "x=0.5,y=0.5")
    assert code == 0 and "one group" not in said
    code, _, error = data("split", file, "-o", tmp_path / "c", "--by", "topic")
    assert (
        code == 2 and "in.jsonl line 1: rows are grouped by 'topic'" in error and not list((tmp_path / "c").glob("*"))
    )
    code, _, error = data("split", file, "-o", tmp_path / "c", "--shares", "x=0.5")
    assert code == 2 and "sum to 0.5; they must sum to 1" in error


def test_pairs_from_parquet_to_parquet(data, tmp_path):
    rows = [{**row, "reward": score} for row, score in zip(examples(8), [0, 1, None, 1, 0.5, 0.5, 3, 2], strict=True)]
    file = write(tmp_path / "in.jsonl", rows)
    data("mix", f"{file}=1", "-o", tmp_path / "in.parquet")
    code, said, _ = data("pairs", tmp_path / "in.parquet", "-o", tmp_path / "out.jsonl", "--score", "reward")
    assert code == 0
    assert [(row["id"], row["chosen"], row["rejected"], row["margin"]) for row in rows_of(tmp_path / "out.jsonl")] == [
        ("p0", "Answer 1.", "Answer 0.", 1.0),
        ("p3", "Answer 6.", "Answer 7.", 1.0),
    ]
    skipped = [(row["id"], row["reason"]) for row in rows_of(tmp_path / "out.skips.jsonl")]
    assert skipped == [("p1/0", "unscored"), ("p1/1", "single"), ("p2", "tie")]
    assert "1 without pair: tie" in said and "8 candidates of" in said


def test_unsorted_candidates(data, tmp_path):
    rows = [{**row, "score": n} for n, row in enumerate(examples(8))]
    file = write(tmp_path / "in.jsonl", rows[::2] + rows[1::2])
    code, _, error = data("pairs", file, "-o", tmp_path / "out.jsonl")
    assert code == 2 and "4 prompts do not stand one after the other" in error
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]
    assert data("pairs", file, "-o", tmp_path / "out.jsonl", "--unsorted")[0] == 0
    assert {row["id"] for row in rows_of(tmp_path / "out.jsonl")} == {"p0", "p1", "p2", "p3"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "line 2: not valid JSON"),
        ('{"id": "b", "n": 1}', "line 2: the row has no text"),
        ('{"prompt": 7, "completion": "a"}', "line 2: prompt must be text or a list of messages, not 7"),
        ("[1]", "line 2: expected a JSON object"),
    ],
)
def test_bad_input_is_one_sentence_with_file_and_line(data, tmp_path, line, problem):
    file = tmp_path / "in.jsonl"
    file.write_text(json.dumps(examples(1)[0]) + "\n" + line + "\n")
    code, _, error = data("dedup", file, "-o", tmp_path / "out.jsonl")
    assert code == 2 and f"{file} {problem}" in error and error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_bad_candidates_and_missing_files(data, tmp_path):
    file = write(tmp_path / "in.jsonl", [{**examples(1)[0], "score": "high"}])
    code, _, error = data("pairs", file, "-o", tmp_path / "out.jsonl")
    assert code == 2 and f"{file} line 1: score must be a number or null, not 'high'" in error
    code, _, error = data("dedup", tmp_path / "none.jsonl", "-o", tmp_path / "out.jsonl")
    assert code == 2 and "none.jsonl: no such file" in error
    code, _, error = data("dedup", file, "-o", tmp_path / "out.csv")
    assert code == 2 and "cannot write files that end in '.csv'" in error
