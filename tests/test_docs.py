"""The generated docs are current, and the docs' links and code hold."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from selfimprove.reporting.methods import method_cards, read_card

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_generated_pages_are_current():
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "make_docs.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_method_is_described():
    page = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    for card in method_cards():
        assert f"## `{card.name}`" in page
        for option in card.options:
            assert f"| `{option.name}` |" in page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not link.startswith("http"):
            assert (page.parent / link).exists(), f"{page.name}: the link {link} leads nowhere"


def test_the_example_method_is_a_method(tmp_path):
    page = (ROOT / "docs" / "adding-a-method.md").read_text(encoding="utf-8")
    source = re.search(r"```python\n(.*?)```", page, re.DOTALL)[1]
    ast.parse(source)
    path = tmp_path / "majority_pairs.py"
    path.write_text(source)
    card = read_card(path)
    assert (card.makes, card.needs, card.paper) == ("pairs", ("messages",), "2501.00000")
    assert all(option.help for option in card.options)
    namespace: dict = {"__name__": "majority_pairs"}
    exec(compile(source, str(path), "exec"), namespace)
    assert namespace["margin"](5, 1, 8) == 0.5  # (5 - 1) / 8
