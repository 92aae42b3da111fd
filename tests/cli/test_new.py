"""`new`: the files it writes are valid, the test fails with what to do, and passes once the formula is written."""

import importlib.util
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import selfimprove.methods
from selfimprove.cli.new import FORMULAS, TEMPLATES, checkout, write_method
from selfimprove.config import read_recipe
from selfimprove.errors import ConfigError
from selfimprove.plan import plan
from selfimprove.reporting.methods import read_card

ROOT = Path(__file__).resolve().parents[2]
ANSWERS = {"agreement": "votes / samples", "margin": "(most - least) / votes", "value": "right / rollouts"}
KINDS = sorted(FORMULAS)


def fill_in(method: Path) -> None:
    """Write the formula of a new method, as its author would."""
    source = method.read_text()
    for name, formula in ANSWERS.items():
        source = source.replace(
            f'raise NotImplementedError("{name}: write the formula, then run the test")', f"return {formula}"
        )
    assert source != method.read_text()
    method.write_text(source)


def ruff(*words: str, text: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *words], input=text, capture_output=True, text=True, cwd=cwd, check=False
    )
    return done.stdout + done.stderr if done.returncode else ""


def load(path: Path):
    spec = importlib.util.spec_from_file_location(f"written_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def outcomes(path: Path, tmp_path: Path) -> dict[str, str]:
    """Run the tests of a written file in this process; return {test: "" or what it raised}."""
    module = load(path)
    found: dict[str, str] = {}
    for name, test in inspect.getmembers(module, inspect.isfunction):
        if not name.startswith("test_"):
            continue
        marks = [mark for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"]
        cases = [dict(zip(mark.args[0], case, strict=True)) for mark in marks for case in mark.args[1]] or [{}]
        for number, case in enumerate(cases):
            place = tmp_path / f"{len(found)}-{name[:20]}"
            place.mkdir(parents=True)
            given = (
                {"collect": inspect.unwrap(module.collect)(place)}
                if "collect" in inspect.signature(test).parameters
                else {}
            )
            try:
                test(**given, **case)
                found[f"{name}-{number}"] = ""
            except (AssertionError, NotImplementedError) as error:
                found[f"{name}-{number}"] = str(error) or "an assertion does not hold"
    return found


@pytest.mark.parametrize("makes", KINDS)
def test_the_written_test_fails_until_the_formula_is_written(tmp_path, makes):
    method, _, test = write_method("my_idea", makes, tmp_path, project=False)
    before = outcomes(test, tmp_path / "before")
    name = FORMULAS[makes]
    assert before[f"test_{name}-0"] == f"{name}: write the formula, then run the test"
    assert [text for text in before.values() if text and "write the formula" not in text] == []
    fill_in(method)
    after = outcomes(test, tmp_path / "after")
    assert set(after) == set(before) and set(after.values()) == {""}


def test_the_written_test_sees_chosen_and_rejected_swapped(tmp_path):
    method, _, test = write_method("my_idea", "pairs", tmp_path, project=False)
    fill_in(method)
    method.write_text(
        method.read_text().replace("chosen=chosen, rejected=rejected", "chosen=rejected, rejected=chosen")
    )
    assert any(outcomes(test, tmp_path / "run").values())


@pytest.mark.parametrize("makes", KINDS)
@pytest.mark.parametrize("project", [True, False])
def test_recipe_and_method_are_what_the_project_asks_for(tmp_path, monkeypatch, makes, project):
    monkeypatch.chdir(tmp_path)
    name = f"my_idea_with_a_long_name_that_makes_{makes}"[:40]
    method, recipe, test = write_method(name, makes, Path(), project)
    card = read_card(method)
    assert (card.makes, card.name, bool(card.paper), card.summary.endswith(".")) == (makes, name, True, True)
    for part in ("Paper:", "Input:", "Output:", "differs from the paper"):
        assert part in card.text
    assert card.options and all(option.help for option in card.options)
    if project:
        monkeypatch.setattr(
            selfimprove.methods, "__path__", [*selfimprove.methods.__path__, str(method.parent.absolute())]
        )
    checked = plan(read_recipe(recipe), str(recipe), recipe.parent)
    assert checked.kind == makes and checked.recipe.heldout
    lines = recipe.read_text().splitlines()
    assert lines[0].endswith(".") and lines[1].startswith(f"#   selfimprove run {recipe}")
    for path in (method, test):
        place = ["--stdin-filename", str(ROOT / path)] if project else ["--isolated", "--line-length", "119"]
        for words in (("check", "--quiet"), ("format", "--diff")):
            assert ruff(*words, *place, "-", text=path.read_text(), cwd=ROOT if project else tmp_path) == ""


def test_new_writes_here_and_says_what_to_do_next(tmp_path, told, monkeypatch):
    monkeypatch.chdir(tmp_path)
    output = told("new", "my-idea", "--makes", "pairs").splitlines()
    assert {path.name for path in tmp_path.iterdir()} == {"my_idea.py", "my_idea.yaml", "test_my_idea.py"}
    assert output[1:] == [
        "1. write the formula: margin() in my_idea.py",
        "2. run the test: pytest test_my_idea.py",
        "3. look at the plan, then run it: selfimprove run my_idea.yaml --dry-run",
    ]
    told("recipes", "validate", "my_idea.yaml")
    (tmp_path / "my_idea.py").write_text("mine")
    assert "is there already and is not overwritten" in told("new", "my_idea", "--makes", "sft", code=2)
    assert (tmp_path / "my_idea.py").read_text() == "mine"
    told("new", "my_idea", "--makes", "sft", "--to", "elsewhere/deep")
    told("recipes", "validate", "elsewhere/deep/my_idea.yaml")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("raft", "there is a method 'raft' already"),
        ("My_idea", "cannot name a method"),
        ("2nd", "cannot name a method"),
        ("../idea", "cannot name a method"),
        ("lambda", "cannot name a method"),
        ("x" * 41, "cannot name a method"),
        ("statistics", "'statistics' is a Python module"),
        ("torch", "'torch' is a Python module"),
    ],
)
def test_names_that_cannot_be_are_refused(told, tmp_path, monkeypatch, name, sentence):
    monkeypatch.chdir(tmp_path)
    assert sentence in told("new", name, "--makes", "sft", code=2)
    assert not list(tmp_path.iterdir())


def test_what_it_makes_is_checked(told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "did you mean 'pairs'?" in told("new", "my_idea", "--makes", "pair", code=2)
    assert not list(tmp_path.iterdir())


def test_the_projects_places_are_used_inside_its_checkout_only(tmp_path):
    assert checkout(ROOT, inside=True) == checkout(ROOT / "docs", inside=True) == checkout(ROOT, inside=False) == ROOT
    assert checkout(ROOT / "docs", inside=False) is None and checkout(tmp_path, inside=True) is None


def test_the_projects_places(tmp_path):
    method, recipe, test = write_method("my_idea", "sft", tmp_path, project=True)
    assert [str(path.relative_to(tmp_path)) for path in (method, recipe, test)] == [
        "selfimprove/methods/my_idea.py",
        "recipes/quick/my_idea.yaml",
        "tests/methods/test_my_idea.py",
    ]
    recipe.unlink()
    with pytest.raises(ConfigError, match="is there already"):
        write_method("my_idea", "sft", tmp_path, project=True)
    assert not recipe.exists()


def test_a_wheel_holds_the_templates():
    import tomllib

    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert "selfimprove" in wheel["only-include"] and not wheel.get("exclude")
    assert len(list(TEMPLATES.glob("*.jinja"))) == 5
    ignored = subprocess.run(["git", "check-ignore", *TEMPLATES.iterdir()], cwd=ROOT, capture_output=True, check=False)
    assert ignored.returncode != 0  # hatch leaves out what git ignores


@pytest.mark.slow
@pytest.mark.parametrize("project", [True, False])
def test_pytest_itself_fails_and_then_passes(tmp_path, project):
    method, _, test = write_method("my_idea", "pairs", tmp_path, project)
    if project:
        shared = (ROOT / "tests" / "methods" / "conftest.py").read_text()
        here = f"import selfimprove.methods\n\nselfimprove.methods.__path__.append({str(method.parent)!r})\n"
        (test.parent / "conftest.py").write_text(shared + here)

    def run() -> str:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(test)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout

    assert "NotImplementedError: margin: write the formula, then run the test" in run()
    fill_in(method)
    assert " passed" in (output := run()) and "failed" not in output
