"""A few letters find the text that was meant."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuitscope.app.fuzzy import match


@given(st.text(max_size=12), st.text(max_size=30))
def test_the_letters_marked_are_letters_of_the_text_in_order(typed: str, text: str) -> None:
    hit = match(typed, text)
    if hit is not None:
        assert list(hit.letters) == sorted(set(hit.letters))
        assert all(0 <= at < len(text) for at in hit.letters)


@given(st.text(st.characters(categories=["L", "Zs"]), min_size=1, max_size=30))
def test_a_text_answers_to_its_own_words(text: str) -> None:
    assert match(text, text) is not None


@pytest.mark.parametrize(("typed", "better", "worse"), [
    ("group", "Group", "Ungroup"),
    ("save", "Save", "Save as…"),
    ("lab", "Remove label", "Colour by a scale"),
    ("redo", "Redo", "Read or do"),
])  # fmt: skip
def test_closer_texts_score_more(typed: str, better: str, worse: str) -> None:
    first, second = match(typed, better), match(typed, worse)
    assert first is not None
    assert second is None or first.score > second.score


def test_letters_in_order_and_words_of_the_help_line_are_found() -> None:
    assert match("sinp", "Select inputs") is not None
    assert match("kept", "Save", ("The file is kept.",)) is not None
    assert match("zebra", "Save", ("The file is kept.",)) is None
