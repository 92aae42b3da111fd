"""Search trees as a person reads them: the table, the drawing, the page, and that they are never taken for rows."""

import json

import made_runs
import made_trees
import pytest
from test_html_report import Page, page_of

from selfimprove.cli.main import main
from selfimprove.errors import DataError
from selfimprove.files import read_jsonl
from selfimprove.reporting.dataset import export_dataset
from selfimprove.reporting.diff import compare_runs
from selfimprove.reporting.looking.tree_text import draw, visible
from selfimprove.reporting.looking.trees import Kept, find_trees, folded, main_line, read_kept, worth_showing
from selfimprove.reporting.parcels.parcel import pack
from selfimprove.reporting.report import LARGEST, Limits, write_report
from selfimprove.search.tree import Candidate, Tree

SMALL = """\
n      Q      V  guess  end    step
4      -  0.500      -         (the question)
3  0.667  0.667  0.600         ├─ * 10 - 4 = 6 (left: 6 4)
2  1.000  1.000  0.900  right  │  ├─ * 6 * 4 = 24 #### (10 - 4) * 4
1  0.000  0.000  0.400  wrong  │  └─ 6 + 4 = 10 <script>alert('x')</script> & "quoted"
1  0.100  0.100  0.300         ├─ 10 + 4 = 14 (left: 14 4)
0  0.200  0.200  0.200         │  └─ 14 * 4 = 56
0  0.000  0.000      -  dead   └─ no idea

n: visits; Q: what selection compares; V: worth of the state; guess: the critic's; *: on the chosen way"""

FOLDED = """\
n      Q      V  guess  end    step
4      -  0.500      -         (the question)
3  0.667  0.667  0.600         ├─ 10 - 4 = 6 (left: 6 4)
2  1.000  1.000  0.900  right  │  ├─ 6 * 4 = 24 #### (10 - 4…
                               │  └─ ... 1 more, 1 visit
                               └─ ... 3 more, 1 visit

n: visits; Q: what selection compares; V: worth of the state; guess: the critic's
2 of 6 nodes are drawn: --all draws every one"""

TABLE = """\
round 2:
id     nodes  ends  right  wrong  depth  tokens  rounds  stopped by
-----  -----  ----  -----  -----  -----  ------  ------  ----------
set/1      6     2      1      1      2      42       4  rounds
set/2      6     2      0      2      2      42       4  exhausted
"""


@pytest.fixture
def told(capsys):
    """Return a function that runs a command line and gives what it printed."""

    def told(*words, code: int = 0) -> str:
        with pytest.raises(SystemExit) as stopped:
            main([str(word) for word in words])
        captured = capsys.readouterr()
        assert (stopped.value.code or 0) == code, captured.err
        return captured.out + captured.err

    return told


@pytest.fixture
def run(tmp_path):
    """A run whose rounds kept two small trees each; the first of round 2 notes the chosen way."""
    small, none_right = made_trees.small(), made_trees.small("set/2", "exhausted", right=False)
    first = [made_trees.large("set/1", 60).to_row(), none_right.to_row()]
    second = [{**small.to_row(), "path": [1, 4]}, none_right.to_row()]
    return made_trees.searched(tmp_path / "run", {1: first, 2: second})


def test_a_tree_is_drawn_with_its_numbers_and_marks():
    kept = Kept(2, made_trees.small(), frozenset({1, 4}))
    assert "\n".join(draw(kept, 100)) == SMALL


def test_a_large_tree_is_folded_and_steps_are_cut_to_the_width():
    kept = Kept(2, made_trees.small(), frozenset())
    assert "\n".join(draw(kept, 40, most=3)) == FOLDED
    assert "\n".join(draw(kept, 100, most=7)) == SMALL.replace("* 10 -", "10 -").replace("* 6 *", "6 *").removesuffix(
        "; *: on the chosen way"
    )


def test_the_most_visited_nodes_are_shown_with_the_right_end_and_nothing_gets_lost():
    kept = Kept(1, made_trees.large(nodes=300), frozenset())
    shown = worth_showing(kept, 40)
    assert len(shown) == 40 and {node.id for node in main_line(kept)} <= shown
    assert all(kept.tree.nodes[id].parent in shown for id in shown if id)
    hidden = sum(rest.nodes for id in shown if (rest := folded(kept.tree, kept.tree.nodes[id], shown)))
    assert hidden + len(shown) == len(kept.tree.nodes)
    least = min(kept.tree.nodes[id].visits for id in shown - {node.id for node in main_line(kept)})
    assert all(node.visits <= least for node in kept.tree.nodes if node.id not in shown and node.parent in shown)
    assert sum(1 for _ in draw(kept, 100)) <= 40 * 2 + 4 and sum(1 for _ in draw(kept, 100, None)) > 300


def test_the_chosen_way_is_shown_however_few_visits_it_has():
    tree = made_trees.large(nodes=300)
    deepest = max(tree.nodes, key=lambda node: node.depth)
    deepest.extra["chosen"] = True
    kept = read_kept(tree.to_row(), 1, made_runs.Path("trees.jsonl"))
    assert kept.chosen == {deepest.id}
    assert {node.id for node in tree.line(deepest)} <= worth_showing(kept, 40)


def test_without_a_right_end_the_main_line_follows_the_visits():
    tree = made_trees.small(right=False)
    assert [node.id for node in main_line(Kept(1, tree, frozenset()))] == [0, 1, 4]


def test_a_step_cannot_command_the_terminal():
    assert visible("one\n\x1b[31mred\x07 \u202eover") == "one ·[31mred· ·over"
    tree = Tree("x")
    tree.add(tree.root, Candidate("\n"))
    assert any(line.endswith("└─ (empty)") for line in draw(Kept(1, tree, frozenset()), 80))


def test_show_lists_the_trees_of_the_last_round(run, told):
    folder = run.folder
    hint = f"one of them drawn: selfimprove show {folder} --tree set/1\n"
    assert told("show", folder, "--tree") == TABLE + hint
    assert "set/1     60" in told("show", folder, "--tree", "--round", 1)
    assert told("show", folder, "--tree", "--limit", 1).count("set/") == 2
    assert "there are more: --limit 0 shows all" in told("show", folder, "--tree", "--limit", 1)
    ids = [json.loads(line)["id"] for line in told("show", folder, "--tree", "--wrong", "--json").splitlines()]
    assert ids == ["set/2"]
    assert "no tree is like that" in told("show", folder, "--tree", "--where", "nodes>6")


def test_show_draws_the_tree_of_a_prompt(run, told, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    out = told("show", run.folder, "--tree", "set/1")
    head = "set/1, round 2: 6 nodes, 2 ends (1 right, 1 wrong), 4 rounds, 42 tokens; it stopped after all its rounds"
    assert out == f"{head}\n\n{SMALL}\n"
    assert "of 60 nodes are drawn" in told("show", run.folder, "--tree", "set/1", "--round", 1)
    whole = told("show", run.folder, "--tree", "set/1", "--round", 1, "--all")
    assert "more" not in whole and whole.count("left of them") == 60
    nodes = [json.loads(line) for line in told("show", run.folder, "--tree", "set/1", "--json").splitlines()]
    assert (
        [node["node"] for node in nodes] == [0, 1, 4, 5, 2, 6, 3] and nodes[2]["chosen"] and nodes[2]["outcome"] == 1
    )


def test_the_question_is_told_where_the_prompts_can_be_read(tmp_path, told):
    prompts = tmp_path / "train.jsonl"
    prompts.write_text('{"id": "set/1", "prompt": "Make 24 of 10 and 4.", "gold": "24"}\n')
    store = made_runs.begin(tmp_path / "run", prompts=str(prompts))
    made_trees.begun(store.folder, 1, [made_trees.small().to_row()], store)[1].close()
    assert "\n  Make 24 of 10 and 4.\n" in told("show", store.folder, "--tree", "set/1")
    assert "Question Make 24 of 10 and 4." in page_of(store).said("trees")


def test_what_is_not_there_is_said_in_a_sentence(run, tmp_path, told):
    unknown = told("show", run.folder, "--tree", "set/11", code=2)
    assert "no tree of any round is prompt 'set/11's; did you mean 'set/1'?" in unknown
    assert "round 3 has kept no search trees; rounds 1, 2 have" in told(
        "show", run.folder, "--tree", "--round", 3, code=2
    )
    bare = made_runs.begin(tmp_path / "bare")
    assert "this run has kept no search trees; only methods" in told("show", bare.folder, "--tree", code=2)
    assert "only --tree takes a prompt" in told("show", run.folder, "set/1", "--rows", code=2)
    assert "--tree PROMPT --all" in told("show", run.folder, "--tree", "--all", code=2)
    assert "filters go with the table" in told("show", run.folder, "--tree", "set/1", "--wrong", code=2)


def test_a_stage_under_way_is_read_as_far_as_it_is_written(tmp_path, told):
    store, writer = made_trees.begun(tmp_path / "run", 1, [made_trees.small().to_row()])
    assert "no search trees so far" in told("show", store.folder, "--tree", code=2)  # nothing is on disk yet
    writer.close()
    with (store.stage_folder(1, "collect") / "trees.jsonl").open("a") as file:
        file.write('{"version": 1, "id": "set/2", "nod')
    assert told("show", store.folder, "--tree").startswith("round 1 is still being collected; so far:\nid ")
    assert [kept.tree.id for kept in find_trees(store, "set/1")] == ["set/1"]
    assert "set/2" not in page_of(store).said("trees")


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        ('{"version": 1, "id": "set/1", "no', "trees.jsonl line 3: not valid JSON"),
        ('{"version": 9, "id": "set/1"}\n', "a tree of version 9 cannot be read"),
        ('{"version": 1, "id": "set/1", "nodes": {}}\n', "tree 'set/1' is damaged (KeyError: "),
        ('{"version": 1, "id": "set/1", "nodes": []}\n', "tree 'set/1' is damaged (TypeError: "),
    ],
)
def test_a_damaged_line_is_named(run, told, damage, sentence):
    with (run.stage_folder(2, "collect") / "trees.jsonl").open("a") as file:
        file.write(damage)
    assert sentence in told("show", run.folder, "--tree", "set/1", code=2)
    with pytest.raises(DataError, match=r"round-2/collect/trees\.jsonl"):
        write_report(run.folder)


def test_the_page_tells_figures_by_round_and_draws_a_few_trees(run):
    page = page_of(run)
    said = page.said("trees")
    assert "1 2 33.0 " in said and "2 2 6.0 2.0 25.0 % 1 of 4 2.0 42 50.0 % 1 of 2 rounds 1, exhausted 1" in said
    assert "The first with a right end and the largest: set/1" in said and "only: set/2" in said
    assert "10 - 4 = 6 (left: 6 4) chosen n 3 Q 0.6667 V 0.6667 guess 0.6" in said
    assert "6 * 4 = 24 #### (10 - 4) * 4 right chosen n 2 Q 1 V 1 guess 0.9" in said
    assert "no idea dead n 0" in said and "14 * 4 = 56 n 0 Q 0.2" in said
    assert "#trees" in page.links and "run/round-2/collect/trees.jsonl" in " ".join(
        f"run/{link}" for link in page.links
    )
    assert "script" not in page.tags and "6 + 4 = 10 <script>alert('x')</script>" in said


def test_a_run_without_trees_says_nothing_of_them(tmp_path):
    text = write_report(made_runs.finished_run(tmp_path / "run").folder).read_text()
    assert 'id="trees"' not in text and "#trees" not in text


def test_ends_that_were_not_graded_are_no_wrong_ones(tmp_path, told):
    tree = made_trees.small()
    for node in tree.nodes:
        node.outcome = None
    store = made_trees.searched(tmp_path / "run", {1: [tree.to_row()]})
    assert "1 1 6.0 2.0 – 2.0 42 – rounds 1" in page_of(store).said("trees")
    drawn = told("show", store.folder, "--tree", "set/1")
    assert "2 ends, 4 rounds" in drawn and drawn.count("  end  ") == 3 and "wrong" not in drawn
    assert "no tree is like that" in told("show", store.folder, "--tree", "--wrong")


def test_huge_and_deep_trees_stay_small_on_the_page(tmp_path):
    huge, deep = made_trees.large("set/1", 3000), Tree("set/2")
    for node in huge.nodes:
        node.text *= 300
    node = deep.root
    for _ in range(100):
        node = made_trees.put(deep, node, "& on <and> on " * 2000, 1)
    node.extra["chosen"] = True
    node.ended, node.outcome = True, 0.0
    store = made_trees.searched(tmp_path / "run", {1: [huge.to_row(), deep.to_row()]})
    path = write_report(store.folder)
    assert path.stat().st_size < LARGEST / 4
    said = Page(path.read_text()).said("trees")
    assert f"{Limits().nodes - 1} of its " in said and "more characters)" in said


def test_trees_are_never_taken_for_rows(run, tmp_path, told):
    names = [path.name for path in run.files(1, "collect")]
    assert names == ["rows-00000.jsonl", "trees.jsonl"]  # checked by the stage's checksums
    assert export_dataset(run.folder, tmp_path / "out", 1) == 2
    assert {row["id"] for row in read_jsonl(tmp_path / "out" / "rows.jsonl")} == {"set/0/p", "set/1/p"}
    parcel = pack(run.folder, "me/rows", "dataset", 1, tmp_path / "space")
    assert sorted(file.name for file in parcel.files) == ["README.md", "rows.jsonl", "rows.parquet"]
    again = made_trees.searched(tmp_path / "again", {1: [made_trees.small().to_row()] * 2, 2: []})
    rows = next(each for each in compare_runs(run, again)["rows"] if each["round"] == 1)
    assert (rows["common"], rows["changed"]) == (2, 0)
    trees = run.stage_folder(1, "collect") / "trees.jsonl"
    refused = told("data", "dedup", trees, "-o", tmp_path / "deduped.jsonl", code=2)
    assert "trees.jsonl line 1: the row has no text" in refused and not (tmp_path / "deduped.jsonl").exists()
