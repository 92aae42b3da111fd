"""selfimprove: language models that improve themselves, round by round, on data they made and judged."""

__version__ = "0.1.0"
