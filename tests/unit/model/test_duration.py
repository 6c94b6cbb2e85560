"""Durations as people write them."""

import contextlib
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpudash.errors import UsageError
from gpudash.model.duration import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1800), ("4h", 14400), ("1h30m", 5400), ("2d", 172800), (" 1d2h3m4s ", 93784), ("0h5m", 300)],
)
def test_reads_what_people_write(text: str, seconds: int) -> None:
    """Units in falling order, each at most once."""
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "4",
        "h",
        "4 h",
        "1.5h",
        "-4h",
        "+4h",
        "4H",
        "30m1h",
        "1h1h",
        "4hours",
        "1e3s",
        "٣h",
        "4h\n5",
        "9999999d",
    ],
)
def test_refuses_anything_else_with_an_example(text: str) -> None:
    """The error names the field, the text and the form."""
    with pytest.raises(UsageError, match=r"lease: .* is not a duration.*30m"):
        parse_duration(text, field="lease")


@pytest.mark.parametrize("text", ["0s", "0h0m"])
def test_refuses_no_time_at_all(text: str) -> None:
    """A lease of nothing would end an instance at once."""
    with pytest.raises(UsageError, match="no time at all"):
        parse_duration(text)


@given(st.integers(1, 999_999 * 86_400))
def test_what_is_written_reads_back(seconds: int) -> None:
    """Exact to the second, over two thousand years."""
    length = timedelta(seconds=seconds)
    assert parse_duration(format_duration(length)) == length


@given(st.text(max_size=12))
def test_no_text_breaks_the_parser(text: str) -> None:
    """A length above zero, or a usage error."""
    with contextlib.suppress(UsageError):
        assert parse_duration(text) > timedelta(0)


def test_zero_and_less_can_be_shown() -> None:
    """A deadline that has passed has a negative remaining time."""
    assert [format_duration(timedelta(seconds=s)) for s in (0, 0.4, -0.4, -90)] == ["0s", "0s", "0s", "-1m30s"]
