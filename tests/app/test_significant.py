"""Numbers keep their digits however small they are."""

import pytest

from circuitscope.app.words import MINUS, THIN, signed_percent, significant


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.16, "0.16"), (1.0, "1.00"), (0.0, "0.00"), (0.043, "0.043"), (0.0043, "0.0043"),
        (-0.00012, f"{MINUS}0.00012"), (0.0999, "0.100"),
    ],
)  # fmt: skip
def test_a_small_number_is_not_shown_as_none(number: float, text: str) -> None:
    assert significant(number) == text


@pytest.mark.parametrize(
    ("share", "text"), [(0.123, "+12"), (-0.00034, f"{MINUS}0.034"), (0.0079, "+0.79")]
)
def test_a_small_share_keeps_two_digits(share: float, text: str) -> None:
    assert signed_percent(share) == f"{text}{THIN}%"
