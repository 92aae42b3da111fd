"""Seeds: reading small text formats."""

import re


def parse_key_values(text: str) -> dict[str, str]:
    """Read lines of the form `key = value`.

    Blank lines and lines that begin with "#" are skipped.

    >>> parse_key_values("# settings\\nname = Ada\\ncolor=red")
    {'name': 'Ada', 'color': 'red'}
    """
    values = {}
    for line in text.splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        key, _, value = line.partition("=")
        values[key.strip()] = value.strip()
    return values


def parse_ini(text: str) -> dict[str, dict[str, str]]:
    """Read a small INI file into a dictionary of sections.

    Entries before the first section header belong to the section "".

    >>> parse_ini("[db]\\nhost = localhost\\nport = 5432")
    {'db': {'host': 'localhost', 'port': '5432'}}
    """
    sections: dict[str, dict[str, str]] = {}
    name = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            name = line[1:-1]
            sections.setdefault(name, {})
        elif "=" in line and not line.startswith((";", "#")):
            key, value = line.split("=", 1)
            sections.setdefault(name, {})[key.strip()] = value.strip()
    return sections


def split_csv_line(line: str, separator: str = ",") -> list[str]:
    """Split one line of a CSV file into fields.

    Fields may stand in double quotes, in which a doubled quote means one quote.

    >>> split_csv_line('1,"a, b","a ""b"" c"')
    ['1', 'a, b', 'a "b" c']
    """
    fields, field, quoted, place = [], "", False, 0
    while place < len(line):
        character = line[place]
        if quoted and line.startswith('""', place):
            field += '"'
            place += 1
        elif character == '"':
            quoted = not quoted
        elif character == separator and not quoted:
            fields.append(field)
            field = ""
        else:
            field += character
        place += 1
    return [*fields, field]


def parse_query_string(query: str) -> dict[str, list[str]]:
    """Read the query of a web address; a name that occurs several times keeps all its values.

    >>> parse_query_string("?tag=a&tag=b&page=2")
    {'tag': ['a', 'b'], 'page': ['2']}
    """
    values: dict[str, list[str]] = {}
    for part in query.lstrip("?").split("&"):
        if part:
            name, _, value = part.partition("=")
            values.setdefault(name, []).append(value)
    return values


def parse_version(version: str) -> tuple[int, ...]:
    """Turn a version such as "v1.10.2" into a tuple of integers that can be compared.

    >>> parse_version("v1.10.2") > parse_version("1.9")
    True
    """
    return tuple(int(part) for part in version.lstrip("v").split("."))


def parse_ranges(text: str) -> list[int]:
    """Expand a list of pages such as "1-3,7" into numbers.

    >>> parse_ranges("1-3,7")
    [1, 2, 3, 7]
    """
    numbers: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        numbers.extend(range(int(first), int(last or first) + 1))
    return numbers


def format_ranges(numbers: list[int]) -> str:
    """Write sorted distinct numbers as ranges: the inverse of expanding them.

    >>> format_ranges([1, 2, 3, 7, 9, 10])
    '1-3,7,9-10'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def balanced(text: str) -> bool:
    """Tell whether all brackets in a text are closed in the right order.

    >>> balanced("f(a[0], {b})")
    True
    >>> balanced("(]")
    False
    """
    closing = {")": "(", "]": "[", "}": "{"}
    stack = []
    for character in text:
        if character in closing.values():
            stack.append(character)
        elif character in closing and (not stack or stack.pop() != closing[character]):
            return False
    return not stack


def evaluate_postfix(expression: str) -> float:
    """Evaluate an arithmetic expression in postfix notation, with blanks between its parts.

    >>> evaluate_postfix("3 4 + 2 *")
    14.0
    """
    stack: list[float] = []
    for token in expression.split():
        if token in {"+", "-", "*", "/"}:
            right, left = stack.pop(), stack.pop()
            if token == "+":
                stack.append(left + right)
            elif token == "-":
                stack.append(left - right)
            elif token == "*":
                stack.append(left * right)
            else:
                stack.append(left / right)
        else:
            stack.append(float(token))
    return stack.pop()


def tokenize(expression: str) -> list[str]:
    """Split an arithmetic expression into numbers, names and signs.

    >>> tokenize("3*(x+4.5)")
    ['3', '*', '(', 'x', '+', '4.5', ')']
    """
    return re.findall(r"\d+(?:\.\d+)?|[A-Za-z_]\w*|[-+*/^()]", expression)


def extract_links(markdown: str) -> list[tuple[str, str]]:
    """Find the links of a Markdown text as pairs of label and address.

    >>> extract_links("See [the docs](https://example.org/docs).")
    [('the docs', 'https://example.org/docs')]
    """
    return re.findall(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)", markdown)


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """Write a table in Markdown.

    Args:
        header: The titles of the columns.
        rows: The cells, one list for each row.

    Returns:
        The lines of the table, joined by line breaks.
    """
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def parse_temperature(text: str) -> float:
    """Read a temperature such as "21.5 C" or "70F" and return degrees Celsius.

    >>> parse_temperature("212F")
    100.0
    """
    match = re.fullmatch(r"\s*(-?\d+(?:\.\d+)?)\s*([CFcf])\s*", text)
    if match is None:
        raise ValueError(f"not a temperature: {text!r}")
    value = float(match[1])
    return value if match[2] in "Cc" else (value - 32) * 5 / 9


def strip_comments(source: str, mark: str = "#") -> str:
    """Remove comments that run to the end of a line, and the blank lines that remain.

    Marks inside quoted text are not recognized as such.

    >>> strip_comments("a = 1  # one\\n# only a comment\\nb = 2")
    'a = 1\\nb = 2'
    """
    lines = (line.split(mark)[0].rstrip() for line in source.splitlines())
    return "\n".join(line for line in lines if line)


def read_fixed_width(line: str, widths: list[int]) -> list[str]:
    """Cut a line into columns of fixed widths and strip each of them."""
    fields, start = [], 0
    for width in widths:
        fields.append(line[start : start + width].strip())
        start += width
    return fields
