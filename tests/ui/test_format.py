"""How values become words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from gpudash.model.money import Amount, Price
from gpudash.ui import format as fmt
from gpudash.ui.glyphs import to_ascii, wants_ascii

NOW = datetime(2026, 3, 3, 14, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("price", "text"),
    [
        (None, "?"),
        (Price(Decimal("23.92"), "x"), "23.92"),
        (Price(Decimal("0.03"), "x", estimated=True), "~0.03"),
        (Price(Decimal("0.004"), "x"), "0.004"),
        (Price(Decimal(0), "x"), "0.00"),
    ],
)
def test_a_rate_says_what_is_estimated_and_what_is_unknown(price: Price | None, text: str) -> None:
    assert fmt.rate(price) == text


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (None, "–"),
        (Amount(unknown=True), "?"),
        (Amount(Decimal("3.016")), "$3.02"),
        (Amount(Decimal("3.02"), estimated=True), "~$3.02"),
        (Amount(Decimal("3.02"), unknown=True), "$3.02+?"),
        (Amount(Decimal("1234.5")), "$1,234.50"),
    ],
)
def test_a_sum_says_what_it_does_not_know(amount: Amount | None, text: str) -> None:
    assert fmt.money(amount) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "past"), (12, "0m12s"), (599, "9m59s"), (600, "10m"), (4440, "1h14m"), (172800, "2d00h"), (273600, "3d04h")],
)
def test_a_countdown_shows_seconds_only_at_the_end(seconds: int, text: str) -> None:
    assert fmt.countdown(timedelta(seconds=seconds)) == text


@given(st.integers(-10, 60 * 60 * 24 * 99))
def test_a_countdown_is_never_wider_than_six(seconds: int) -> None:
    assert len(fmt.countdown(timedelta(seconds=seconds))) <= 6


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (NOW + timedelta(hours=1), "15:02"),
        (NOW + timedelta(days=1), "Wed 14:02"),
        (NOW + timedelta(days=30), "2 Apr"),
        (NOW + timedelta(days=400), "Apr 2027"),
    ],
)
def test_a_moment_names_its_day_when_that_is_another(moment: datetime, text: str) -> None:
    assert fmt.when(moment, NOW, UTC) == text


def test_a_sparkline_keeps_its_width_and_shows_gaps() -> None:
    assert fmt.spark([0.0, None, 100.0], 5) == "  ▁ █"


def test_something_is_not_drawn_as_nothing() -> None:
    """A gauge with a little left is not empty."""
    assert fmt.gauge(0.01, 5) == ("▰", "▱▱▱▱")
    assert fmt.gauge(None, 5) == ("", "     ")


@given(st.text(max_size=40), st.integers(1, 30), st.booleans())
def test_fit_is_exact_in_cells(text: str, width: int, right: bool) -> None:
    """CJK, emoji and control characters in names do not move the columns after them."""
    fitted = fmt.fit(text, width, right=right)
    assert cell_len(fitted) == width
    assert "\n" not in fitted
    assert "\x1b" not in fitted


@given(st.text(max_size=40))
def test_ascii_is_ascii(text: str) -> None:
    assert to_ascii(text).isascii()


@given(st.text(alphabet="▁▂▃▄▅▆▇█▰▱▌│─●◐○◌▲▸▪✓✗×·–…→↑↓°≥ abc", max_size=30))
def test_our_own_signs_keep_their_cells_in_ascii(text: str) -> None:
    assert len(to_ascii(text)) == cell_len(text)


@pytest.mark.parametrize(
    ("environment", "ascii_only"),
    [
        ({}, False),
        ({"LANG": "C"}, True),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, True),
        ({"LC_CTYPE": "C.UTF-8"}, False),
        ({"LANG": "en_US.UTF-8"}, False),
        ({"LC_ALL": "POSIX"}, True),
        ({"LANG": "en_US.UTF-8", "TERM": "linux"}, True),
        ({"LANG": "C", "GPUDASH_ASCII": "0"}, False),
        ({"LANG": "en_US.UTF-8", "GPUDASH_ASCII": "1"}, True),
    ],
)
def test_poor_terminals_get_ascii(environment: dict[str, str], ascii_only: bool) -> None:
    assert wants_ascii(environment) is ascii_only


def test_wrapping_breaks_between_words_and_never_loses_one() -> None:
    words = "one two three " + "x" * 25
    lines = fmt.wrap(words, 10)
    assert all(cell_len(line) <= 10 for line in lines)
    assert "".join(lines).replace(" ", "") == words.replace(" ", "")
