"""The texts that models are asked with, and the examples they are shown: files beside this one, read once.

A prompt is a Jinja file whose placeholders must all be given; what is put into one is never read as a template. The
examples of a few-shot prompt are a JSONL file.
"""

from functools import cache
from pathlib import Path
from typing import Any

from selfimprove.errors import ConfigError, did_you_mean
from selfimprove.files import read_jsonl

FOLDER = Path(__file__).resolve().parent


def fill_prompt(name: str, **values: Any) -> str:
    """Return the text of `<name>.jinja` in this folder with its placeholders filled, without white space at its end.

    Raises ConfigError where a placeholder is not given.
    """
    from jinja2.exceptions import UndefinedError

    try:
        return _template(name).render(values).rstrip()
    except UndefinedError as error:
        raise ConfigError(f"the prompt '{name}' was not given everything it needs: {error}") from None


@cache
def _template(name: str) -> Any:
    from jinja2 import FileSystemLoader, StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    environment = SandboxedEnvironment(
        loader=FileSystemLoader(FOLDER), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(f"{name}.jinja")


@cache
def few_shots(name: str, keys: tuple[str, ...]) -> tuple[dict[str, Any], ...]:
    """Return the examples of a shipped file (by its name) or of the user's own (a path that ends in .jsonl).

    Raises ConfigError where there is no such file, or where an example lacks one of `keys`.
    """
    path = Path(name).expanduser() if name.endswith(".jsonl") else FOLDER / f"{name}.jsonl"
    if not path.is_file():
        known = [file.stem for file in FOLDER.glob("*.jsonl")]
        raise ConfigError(f"there are no few-shot examples {name!r}{did_you_mean(name, known)}; or name a .jsonl file")
    found = tuple(read_jsonl(path))
    for number, example in enumerate(found, 1):
        lacking = [key for key in keys if key not in example]
        if lacking:
            raise ConfigError(f"{path} line {number}: the example has no {lacking[0]}; it needs {', '.join(keys)}")
    return found
