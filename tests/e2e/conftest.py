"""Makes `killing` importable by its bare name, with pytest's explained asserts."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("killing")
