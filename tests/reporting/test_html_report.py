"""The report: one page, well formed, with the folder's own numbers, at every state a run can be in."""

import asyncio
import re
from html.parser import HTMLParser

import made_runs
import pytest

from selfimprove.cli.main import main
from selfimprove.errors import ConfigError, DataError
from selfimprove.evaluation.heldout import read_items
from selfimprove.files import read_json
from selfimprove.ledger import Ledger
from selfimprove.reporting.page.wording import clip, clock, duration, figure
from selfimprove.reporting.report import LARGEST, TEMPLATES, Limits, write_report

SECTIONS = ["accuracy", "funnel", "training", "drift", "changes", "preview", "rows", "spending", "configuration"]
VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """A parsed page: whether its tags close, its ids, attributes that load something, and its text by section."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: list[str] = []
        self.loads: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.labelled: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, str] = {}
        self.section = "head"
        self.feed(text)
        self.close()
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.add(tag)
        self.handle_data(" ")
        if tag not in VOID:
            self.open.append(tag)
        if "id" in values:
            self.ids.append(values["id"])
        if tag == "section":
            self.section = values["id"]
        if tag == "a":
            self.links.append(values["href"])
        elif values.keys() & {"src", "href", "srcset", "data", "action", "poster"}:
            self.loads.append(tag)
        self.labelled.append((tag, values))

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]} at {self.getpos()}"
        self.open.pop()
        self.handle_data(" ")

    def handle_data(self, data):
        self.text[self.section] = self.text.get(self.section, "") + data

    def said(self, section: str) -> str:
        return " ".join(self.text[section].split())


def page_of(store, output=None) -> Page:
    return Page(write_report(store.folder, output).read_text(encoding="utf-8"))


@pytest.fixture
def finished(tmp_path):
    return made_runs.finished_run(tmp_path / "run")


def test_the_page_is_whole_loads_nothing_and_leads_to_its_sections(finished):
    page = page_of(finished)
    assert [id for id in page.ids if not id.endswith("-title")] == SECTIONS
    assert len(set(page.ids)) == len(page.ids)
    assert not page.loads and not page.tags & {"script", "img", "iframe", "link", "object", "embed", "form"}
    outside = [link for link in page.links if re.match(r"\w+:", link)]
    assert outside == ["https://arxiv.org/abs/2401.01335"]
    assert {link[1:] for link in page.links if link.startswith("#")} == set(SECTIONS)
    style = (TEMPLATES / "report.css").read_text()
    assert "url(" not in style and "@import" not in style


def test_everything_from_the_run_is_escaped(finished):
    text = write_report(finished.folder).read_text(encoding="utf-8")
    assert "<script" not in text and "alert(&#39;x&#39;)" in text
    said = Page(text)
    for section in ("changes", "preview", "rows", "funnel"):
        assert "<script>alert('x')</script>" in said.said(section), section


def test_the_numbers_are_those_of_the_folder(finished):
    page = page_of(finished)
    sets = [read_json(finished.folder / f"round-{n}" / "evaluate.json")["sets"]["sums"] for n in (0, 1, 2)]
    accuracy = page.said("accuracy")
    for number, found in enumerate(sets):
        row = f"{number} {100 * found['share']:.1f} % {100 * found['low']:.1f} to {100 * found['high']:.1f}"
        assert f"{row} {found['correct']:.0f} of 10 1 not gradable" in accuracy
    assert "+50.0 points" in accuracy and "5 gained, 0 lost" in accuracy and "p = 0.0625" in accuracy
    assert "−10.0 points" in accuracy and "0 gained, 1 lost" in accuracy  # round 2 against round 1
    assert "pass@4" in accuracy
    funnel = page.said("funnel")
    for part in ("prompts 10", "answers that came 18 −2 error of the engine", "prompts with rows 6 −3 identical"):
        assert part in funnel
    assert "rows trained on 18 −1 longer than max_length" in funnel and "+10 rows of round 1" in funnel
    assert "60 s" not in page.said("spending") and "1 min 00 s 1,000 tokens" in page.said("spending")
    assert "Cost: 1.50" in page.said("spending") and "4,000 tokens were generated" in page.said("spending")


def test_the_head_says_what_came_out(finished):
    head = page_of(finished).said("head")
    assert "SPIN on embedded" in head
    assert "Accuracy on sums did not change measurably: from 30.0 % to 70.0 % in round 2" in head
    assert "Finished at" in head


def test_a_roll_back_makes_the_best_round_the_result(finished):
    finished.event("started", model="m", policy="p0", prompts=10)
    finished.event("rolled_back", round=2, to=1)
    finished.event("finished", model="model", round=1, policy="p1")
    head = page_of(finished).said("head")
    assert "to 80.0 % in round 1" in head and "round 2 broke the watch's limits, so round 1 is the result" in head


def test_drift_tells_figures_limits_breaches_and_the_judge(finished):
    text = write_report(finished.folder).read_text(encoding="utf-8")
    drift = Page(text).said("drift")
    assert "1 breach of the watch Round 2: kl 4 is above the limit 3" in drift
    assert "In round 2 the judge rose while the truth fell." in drift
    assert "at most 3" in drift and "at least 0.5 × the start" in drift
    assert 'aria-label="KL to the start. kl: 0 at round 0, 2 at round 1, 4 at round 2"' in text


def test_changes_show_both_answers_with_their_differences(finished):
    text = write_report(finished.folder).read_text(encoding="utf-8")
    page = Page(text)
    counts = "11 items: 4 gained, 0 lost, 3 right both times, 3 wrong both times, 1 not gradable in both."
    assert counts in page.said("changes")
    assert "No item was lost." in page.said("changes")
    assert re.search(r"The answer to 3 is <del>4</del>", text) and re.search(r"The answer to 3 is <ins>3</ins>", text)
    assert "not known here" in page.said("changes")  # neither ledger nor held-out file is there


def test_questions_and_gold_come_from_the_heldout_file_where_it_is(tmp_path):
    held = tmp_path / "held.jsonl"
    held.write_text("".join(f'{{"id": "i{n}", "prompt": "Which number is {n}?", "gold": "{n}"}}\n' for n in range(11)))
    store = made_runs.begin(tmp_path / "run", heldout={"sums": str(held)})
    made_runs.evaluate(store, 0, 3)
    made_runs.evaluate(store, 1, 4)
    changes = page_of(store).said("changes")
    assert "Question Which number is 3? Gold answer 3 Round 0: wrong" in changes and "not known" not in changes


def test_questions_come_from_the_ledger_where_the_file_is_gone(tmp_path):
    store = made_runs.begin(tmp_path / "run", heldout={"sums": "moved.jsonl"})
    made_runs.evaluate(store, 0, 3)
    made_runs.evaluate(store, 1, 4)
    before = read_items(store, 0, "sums")[3].text
    asked = {"of this set": before, "of another set with the same ids": "another answer"}

    async def fill() -> None:
        ledger = Ledger(store.folder / "ledger.sqlite")
        for question, text in asked.items():
            messages = [{"role": "user", "content": f"Number 3 {question}?"}]
            values = {"kind": "generate", "prompt": "i3", "purpose": "evaluate", "request": {"messages": messages}}
            await ledger.answer(question, lambda text=text: said([{"text": text}]), **values)
        values = {"kind": "check", "prompt": "i3", "purpose": "check", "request": {"text": before, "gold": "three"}}
        await ledger.answer("check", lambda: said({"score": 0}), **values)
        ledger.close()

    async def said(answer):
        return answer, True

    asyncio.run(fill())
    page = page_of(store).said("changes")
    assert "Question Number 3 of this set? Gold answer three Round 0: wrong" in page and "another set" not in page


def test_nothing_but_the_page_is_written(finished):
    def files() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in finished.folder.rglob("*") if path.is_file()}

    Ledger(finished.folder / "ledger.sqlite").close()
    before = files()
    page = write_report(finished.folder)
    after = files()
    assert after.pop(str(page)) and after == before


def test_links_lead_to_the_files_from_wherever_the_page_lies(finished, tmp_path):
    for output in (None, tmp_path / "mail" / "a page.html"):
        path = write_report(finished.folder, output)
        files = [link for link in Page(path.read_text()).links if not re.match(r"\w+:|#", link)]
        assert any(link.endswith("round-1/assemble/rows-00000.jsonl") for link in files)
        assert all((path.parent / link).is_file() for link in files)


def test_the_same_folder_gives_the_same_bytes(finished, tmp_path):
    first = write_report(finished.folder, tmp_path / "a.html").read_bytes()
    assert write_report(finished.folder, tmp_path / "b.html").read_bytes() == first


STATES = {
    "only started": lambda store: None,
    "measured once": lambda store: made_runs.evaluate(store, 0, 3),
    "collecting": lambda store: store.stage_folder(1, "collect").mkdir(parents=True),
    "training": lambda store: (
        made_runs.evaluate(store, 0, 3),
        made_runs.collect(store, 1, 2),
        made_runs.log(store, 1, 7, 20),
        store.event("interrupted", signal="SIGINT"),
    ),
    "no rows": lambda store: (
        made_runs.collect(store, 1, 0, {"empty": 3}),
        store.finish(1, "learn", adapter=None, model=None, metrics={}),
    ),
    "budget": lambda store: (made_runs.collect(store, 1, 2), store.event("budget", reason="max_hours is reached")),
}
SAID = {
    "only started": {"head": "No end is recorded", "funnel": "Nothing was collected yet.", "accuracy": "No round"},
    "measured once": {"head": "30.0 %", "changes": "Only one round was measured", "training": "Nothing was trained"},
    "collecting": {"head": "in round 1, collect", "funnel": "has not finished"},
    "training": {"head": "Stopped by SIGINT", "funnel": "not been trained yet", "training": "7 of 20"},
    "no rows": {"funnel": "prompts with rows 0 −3 empty", "preview": "No training has written"},
    "budget": {"head": "Stopped by its budget", "spending": "no spending.json", "drift": "No round was watched"},
}


@pytest.mark.parametrize("name", SAID)
def test_a_run_in_any_state_has_every_section(tmp_path, name):
    store = made_runs.begin(tmp_path / "run")
    STATES[name](store)
    page = page_of(store)
    assert [id for id in page.ids if not id.endswith("-title")] == SECTIONS
    for section in SECTIONS:
        assert len(page.said(section).split()) > 4, section  # a section with nothing says so in a sentence
    for section, sentence in SAID[name].items():
        assert sentence in page.said(section), section
    if name == "training":
        assert "in round 1, learn (step 7 of 20)" in page.said("head")


def test_a_data_set_alone_says_what_it_is(tmp_path):
    store = made_runs.begin(tmp_path / "run", heldout={})
    made_runs.collect(store, 1, 2)
    page = page_of(store)
    assert "Report of a data set" in page.said("head") and "No held-out set was measured" in page.said("head")
    assert "names no held-out set" in page.said("accuracy")
    assert "selfimprove build" in page.said("configuration")


def test_an_evaluation_alone_says_what_it_is(tmp_path):
    store = made_runs.begin(tmp_path / "run")
    (store.folder / "events.jsonl").unlink()
    made_runs.evaluate(store, 0, 3)
    page = page_of(store)
    assert "Evaluation of embedded" in page.said("head") and "before any round" in page.said("head")
    assert "selfimprove evaluate" in page.said("configuration") and "evaluation only" in page.said("funnel")


def test_a_torn_last_event_is_passed_over_and_a_damaged_file_is_named(finished):
    with (finished.folder / "events.jsonl").open("a") as file:
        file.write('{"time": "2026')
    assert "Finished at" in page_of(finished).said("head")
    (finished.folder / "round-1" / "collect.json").write_text("{")
    with pytest.raises(DataError, match=r"round-1/collect\.json"):
        write_report(finished.folder)


def test_secrets_of_the_recipe_stay_out(tmp_path):
    key = "sk-aSecretThatMustNotLeave123"
    engine = {"name": "server", "url": "http://me:hunter22pass@10.0.0.3/v1", "extra_body": {"api_key": key}}
    store = made_runs.begin(tmp_path / "run", engine=engine)
    text = write_report(store.folder).read_text()
    assert key not in text and "hunter22pass" not in text and "10.0.0.3" in text


@pytest.mark.slow
def test_a_long_run_with_huge_texts_stays_small(tmp_path):
    store = made_runs.begin(tmp_path / "run", rounds=60)
    for round in range(1, 61):
        made_runs.collect(store, round, 2, {f"reason_{n}_{'<&>' * 200}": 1 for n in range(20)})
        made_runs.learn(store, round, {"trained": 4, "left_out": 0}, steps=400)
        (store.stage_folder(round, "learn") / "batch_preview.txt").write_text("[[&\"'<é>]]" * 100_000)
        made_runs.evaluate(store, round, round % 10)
    path = write_report(store.folder)
    assert path.stat().st_size <= LARGEST
    page = Page(path.read_text())
    assert "This run has 60 rounds" in " ".join(page.text["head"].split())


def test_limits_shrink_to_something_that_still_works():
    limits = Limits()
    for _ in range(12):
        limits = limits.smaller()
    assert limits.rounds == 4 and limits.changes == limits.characters == 1


def test_a_page_that_is_too_large_is_written_with_less(finished, monkeypatch):
    whole = write_report(finished.folder).read_text()
    monkeypatch.setattr("selfimprove.reporting.report.LARGEST", len(whole.encode()) - 1)
    shorter = write_report(finished.folder).read_text()
    assert len(shorter) < len(whole)
    Page(shorter)


def test_the_command_line_writes_the_page_and_says_where(finished, capsys, tmp_path):
    with pytest.raises(SystemExit) as stopped:
        main(["report", str(finished.folder), "-o", str(tmp_path / "out.html")])
    assert not stopped.value.code and f"report: {tmp_path / 'out.html'} (" in capsys.readouterr().out
    assert (tmp_path / "out.html").read_text().startswith("<!DOCTYPE html>")


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="not a run folder"):
        write_report(tmp_path)


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    r, g, b = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [0, 1, 2])
def test_text_and_lines_can_be_read_in_both_themes_and_in_print(theme):
    blocks = re.findall(r":root \{(.*?)\}", (TEMPLATES / "report.css").read_text(), flags=re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#\w{6});", blocks[theme]))
    assert len(blocks) == 3
    for name in ("ink", "quiet", "link", "good", "bad"):
        assert contrast(colours[name], colours["paper"]) >= 4.5, name
    for text, sheet in (("good", "good-sheet"), ("bad", "bad-sheet"), ("ink", "bad-sheet"), ("ink", "sheet")):
        assert contrast(colours[text], colours[sheet]) >= 4.5, text
    for name in ("kept", *(f"series-{n}" for n in range(1, 7))):
        assert contrast(colours[name], colours["paper"]) >= 3, name


def test_pictures_tables_and_regions_are_named_for_those_who_do_not_see(finished):
    page = page_of(finished)
    for tag, values in page.labelled:
        if values.get("role") in ("img", "region"):
            assert values.get("aria-label"), tag
        if tag == "th":
            assert values.get("scope") in ("col", "row")
        if tag == "section":
            assert values["aria-labelledby"] in page.ids
    assert {"header", "nav", "main", "footer"} <= page.tags


def test_numbers_are_written_as_people_write_them():
    assert [figure(value) for value in (None, 3, 12345, 0.00005, -1.5, 2.0, True)] == [
        "–", "3", "12,345", "5e−5", "−1.5", "2", "True",
    ]  # fmt: skip
    lengths = [duration(value) for value in (0.84, 59.7, 261, 3900)]
    assert lengths == ["0.8 s", "1 min 00 s", "4 min 21 s", "1 h 05 min"]
    assert clock("2026-11-22T07:30:07+00:00") == "2026-11-22 07:30 UTC" and clock("once") == "once"
    assert clip("abcdef", 4) == "abcd… (2 more characters)" and clip("abcd", 4) == "abcd"


def test_rounding_noise_is_no_drift(tmp_path):
    store = made_runs.begin(tmp_path / "run")
    made_runs.watch(store, 0)
    made_runs.watch(store, 1, kl=1.8e-16)
    assert 'aria-label="KL to the start. kl: 0 at round 0, 0 at round 1"' in write_report(store.folder).read_text()
