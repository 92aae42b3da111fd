"""Makes `conformance` and `subject` importable by their bare names, with pytest's explained asserts."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("conformance", "subject")
