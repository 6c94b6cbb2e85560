"""How values read in plain text."""

from datetime import timedelta
from decimal import Decimal

import pytest

from gpudash.cli import words
from gpudash.model.money import Amount, Price


@pytest.mark.parametrize(
    ("usd", "text"), [("2.49", "2.49"), ("0", "0.00"), ("0.031", "0.031"), ("0.00012", "0.00012"), ("23.916", "23.92")]
)
def test_price_keeps_digits_that_make_it_more_than_zero(usd: str, text: str) -> None:
    """A disk at a hundredth of a cent does not read as free."""
    assert words.price(Price(Decimal(usd), "instance")) == text


def test_unknown_is_not_zero() -> None:
    """No price is a question mark, an estimate has a tilde, a partial sum says that it is one."""
    assert words.price(None) == "?"
    assert words.price(Price(Decimal("1.5"), "table", estimated=True)) == "~1.50"
    assert words.amount(Amount(unknown=True)) == "?"
    assert words.amount(Amount(Decimal(2), unknown=True)) == ">$2.00"
    assert words.amount(None) == "–"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (42, "42s"), (4440, "1h14m"), (4500.7, "1h15m"), (273600, "3d4h"), (-90, "-1m")]
)
def test_length_has_two_units_at_most(seconds: float, text: str) -> None:
    """People read the two largest units."""
    assert words.length(timedelta(seconds=seconds)) == text


def test_table_aligns_wide_characters_and_disarms_names() -> None:
    """A name in another script keeps its column, and a name with an escape sequence does not reach the terminal."""
    lines = words.table(("NAME", "$/H"), [("日本", "1.00"), ("\x1b[2Jx", "10.00")], right=frozenset({1}))
    assert lines == ["NAME     $/H", "日本    1.00", "·[2Jx  10.00"]
