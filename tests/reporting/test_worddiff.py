"""The word diff: nothing is lost, and what is not marked stands on both sides."""

from hypothesis import given
from hypothesis import strategies as st

from selfimprove.reporting.worddiff import Piece, word_diff

texts = st.lists(st.sampled_from(["a", "b", "12", " ", "\n", "+", "é", "  "]), max_size=30).map("".join) | st.text()


def joined(pieces: list[Piece], only_same: bool = False) -> str:
    return "".join(piece.text for piece in pieces if not (only_same and piece.changed))


@given(texts, texts)
def test_the_pieces_are_the_texts(before, after):
    left, right = word_diff(before, after)
    assert joined(left) == before and joined(right) == after
    assert all(piece.text for piece in left + right)
    if any(piece.changed for piece in left + right):
        assert joined(left, only_same=True) == joined(right, only_same=True)


@given(texts)
def test_equal_texts_have_no_mark(text):
    left, right = word_diff(text, text)
    assert left == right and not any(piece.changed for piece in left)


def test_words_are_marked_as_wholes_with_the_space_between_them():
    left, right = word_diff("Leo found 6 x 7 = 42 red eggs.", "Leo found 6 + 7 = 13 big blue eggs.")
    assert [piece.text for piece in left if piece.changed] == ["x", "42 red"]
    assert [piece.text for piece in right if piece.changed] == ["+", "13 big blue"]


def test_texts_that_share_little_are_not_marked():
    left, right = word_diff("To add them you would simply count", "94 + 62 = 156")
    assert left == [Piece("To add them you would simply count", False)] and not right[0].changed
