"""Papers as methods name them in their docstrings, and the BibTeX entries made of that.

The line is `Paper: "Title", Author et al. 2023, arXiv 2304.06767.`; it may run over several lines, and name
several papers one behind the other.
"""

import re
import unicodedata
from dataclasses import dataclass

_PAPER = re.compile(
    r'"(?P<title>[^"]+)",\s+(?P<authors>[^"]+?),?\s+(?P<year>(?:19|20)\d\d)\b[^"]*?\barXiv[:\s]\s*'
    r"(?P<arxiv>\d{4}\.\d{4,5})"
)
_SPECIAL = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}
_EMPTY_WORDS = {"a", "an", "the", "on", "of", "for", "in", "is", "are", "to", "with", "from", "can", "do", "does"}


@dataclass(frozen=True, slots=True)
class Paper:
    """What a docstring says of a paper; `authors` as they stand there, for example `Dong et al.`."""

    title: str
    authors: str
    year: int
    arxiv: str

    @property
    def key(self) -> str:
        """The BibTeX key: first author, year, first telling word of the title; plain lower-case letters."""
        first = re.split(r",|\s+and\s+|\s+et\s+al\b", self.authors)[0].split()
        words = [_plain(word) for word in re.split(r"[\s:/-]+", self.title)]
        telling = next((word for word in words if word and word not in _EMPTY_WORDS), "")
        return f"{_plain(first[-1]) if first else ''}{self.year}{telling}"

    def bibtex(self) -> str:
        """Return the @misc entry; `et al.` becomes `and others`, which BibTeX prints as et al."""
        fields = {
            "title": f"{{{_escaped(self.title)}}}",
            "author": _escaped(bibtex_authors(self.authors)),
            "year": str(self.year),
            "eprint": self.arxiv,
            "archivePrefix": "arXiv",
            "url": f"https://arxiv.org/abs/{self.arxiv}",
        }
        return "\n".join([f"@misc{{{self.key},", *(f"  {name} = {{{text}}}," for name, text in fields.items()), "}"])


def papers(docstring: str) -> list[Paper]:
    """Return the papers that a method's docstring names behind `Paper:`, in order; [] where it names none."""
    found = re.search(r"^Papers?:(.*?)(?=^\w[\w ]*:|^\s*$|\Z)", docstring, flags=re.MULTILINE | re.DOTALL)
    if not found:
        return []
    text = " ".join(found[1].split())
    return [Paper(each["title"], each["authors"], int(each["year"]), each["arxiv"]) for each in _PAPER.finditer(text)]


def bibtex_authors(authors: str) -> str:
    """Return authors as BibTeX separates them: `A, B and C` is `A and B and C`, `A et al.` is `A and others`."""
    more = re.search(r",?\s+et\s+al\.?$", authors)
    names = re.split(r",\s*(?:and\s+)?|\s+and\s+|\s+&\s+", authors[: more.start()] if more else authors)
    return " and ".join([*(name.strip() for name in names if name.strip()), *(["others"] if more else [])])


def _escaped(text: str) -> str:
    return "".join(_SPECIAL.get(character, character) for character in text)


def _plain(word: str) -> str:
    letters = unicodedata.normalize("NFKD", word).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]", "", letters)
