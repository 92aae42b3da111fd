"""Writes what the docs say about methods from the method files: docs/methods.md, and the table in README.md.

python scripts/make_docs.py            writes them
python scripts/make_docs.py --check    exit 1 where they are not current
"""

import sys
from pathlib import Path

from selfimprove.reporting.methods import Card, method_cards
from selfimprove.reporting.table import markdown

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- methods: written by scripts/make_docs.py -->", "<!-- end of methods -->"


def methods_page(cards: list[Card]) -> str:
    """Return docs/methods.md: one section per method, its docstring and its options."""
    parts = ["# Methods", "", "Written from the method files by `make docs`; edit those.", ""]
    for card in cards:
        options = [[f"`{o.name}`", f"`{o.type}`", f"`{o.default}`", o.help] for o in card.options]
        first, _, rest = card.text.partition("\n")
        parts += [
            f"## `{card.name}`",
            "",
            f"{card.title}: {first.partition(':')[2].strip()}",
            *(f"- {line}" if line.startswith(("Paper:", "Input:")) else line for line in rest.rstrip().splitlines()),
            "",
            f"Makes {card.makes}; needs {', '.join(card.needs)}. Source: `selfimprove/methods/{card.name}.py`.",
            "",
            *markdown(["option", "type", "default", "meaning"], options),
            "",
        ]
    return "\n".join(parts)


def methods_table(cards: list[Card]) -> str:
    """Return the table of README.md."""
    rows = [
        [
            f"[`{card.name}`](docs/methods.md#{card.name})",
            card.summary,
            card.makes,
            ", ".join(card.needs),
            f"[{card.paper}](https://arxiv.org/abs/{card.paper})" if card.paper else "",
        ]
        for card in cards
    ]
    return "\n".join(markdown(["method", "what it does", "makes", "needs", "paper"], rows))


def pages() -> dict[Path, str]:
    """Return {file: what it should hold}."""
    cards = method_cards()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not rest or not after:
        raise SystemExit(f"README.md: the lines '{BEGIN}' and '{END}' are missing; the table goes between them")
    return {
        ROOT / "docs" / "methods.md": methods_page(cards),
        ROOT / "README.md": f"{before}{BEGIN}\n{methods_table(cards)}\n{END}{after}",
    }


def main() -> None:
    """Write the pages, or with --check only compare them."""
    stale = [file for file, text in pages().items() if not file.is_file() or file.read_text(encoding="utf-8") != text]
    if "--check" in sys.argv[1:]:
        if stale:
            raise SystemExit(
                f"not current: {', '.join(str(file.relative_to(ROOT)) for file in stale)}; run `make docs`"
            )
        return
    for file, text in pages().items():
        if file in stale:
            file.write_text(text, encoding="utf-8")
            print(f"wrote {file.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
