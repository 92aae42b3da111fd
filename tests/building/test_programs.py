"""Data sets of programs: names, what is compared of code, and the greedy choice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfimprove.building.programs import choose_rows, code_representation, names_of


def block(code):
    return f"```python\n{code}\n```"


def test_names():
    code = "class A_b:\n    def Do_It(self): pass\n\ndef helper_1(): pass"
    assert names_of(code) == ({"doit", "helper1"}, {"ab"})
    with pytest.raises(SyntaxError):
        names_of("def f(:")


def test_code_representation_is_top_level_code_without_comments():
    text = "\n".join(
        [
            "Prose.",
            block('import math\nx = 1\ndef f(a):\n    """Doc."""\n    # why\n    return a\n'),
            block("broken("),
            block('class C:\n    """Only this."""'),
        ]
    )
    assert code_representation(text) == "def f(a):\n    return a\n\nclass C:\n    pass"
    assert code_representation(block("x = 1")) == code_representation("no block") == ""


@given(
    st.lists(st.lists(st.sampled_from("abcdef"), max_size=3), max_size=12).flatmap(
        lambda marks: st.tuples(st.just(marks), st.permutations(range(len(marks))))
    )
)
def test_no_two_chosen_rows_share_a_mark_and_every_other_one_shares_one(drawn):
    marks, order = drawn
    lost = choose_rows([("", [("letter", letter) for letter in each]) for each in marks], order)
    chosen = [letter for number, each in enumerate(marks) if number not in lost for letter in set(each)]
    assert len(chosen) == len(set(chosen))
    assert all(set(marks[number]) & set(chosen) and reason == "same_letter" for number, reason in lost.items())
    assert not order or order[0] not in lost
