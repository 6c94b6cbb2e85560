"""Strips of a signal's last hours: what a cell stands for, gaps, silent sensors, and clocks that hurry."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from gpudash.model.history import History, SignalHistory
from gpudash.model.host import Verdict
from gpudash.ui.scene import Scene, plain
from gpudash.ui.strips import axis, span_of, strip

NOW = datetime(2026, 3, 3, 14, 0, tzinfo=UTC)
M = timedelta(minutes=1)
A, I, U = Verdict.ACTIVE, Verdict.IDLE, Verdict.UNKNOWN  # noqa: E741 — as statusd's letters


def signal(*pairs: tuple[float | None, Verdict]) -> SignalHistory:
    return SignalHistory("gpu", "%", tuple(v for v, _ in pairs), tuple(v for _, v in pairs))


def minutes(*ago: int) -> tuple[datetime, ...]:
    return tuple(NOW - a * M for a in ago)


def test_each_cell_has_the_highest_value_and_the_strongest_verdict() -> None:
    line = strip(signal((10, I), (90, A), (5, I), (0, I)), minutes(4, 3, 2, 1), NOW, 4 * M, 2, 100)
    assert line == (("█", "billed-busy"), ("▁", "muted"))


def test_a_minute_in_which_nothing_looked_is_a_gap_and_a_silent_sensor_a_question() -> None:
    line = strip(signal((50, A), (None, U), (50, A)), minutes(5, 2, 1), NOW, 5 * M, 5, 100)
    assert line == (("▄", "billed-busy"), ("  ", "muted"), ("?", "unknown"), ("▄", "billed-busy"))


def test_a_signal_without_a_figure_is_no_silent_sensor() -> None:
    line = strip(signal((None, I), (None, A), (None, U)), minutes(3, 2, 1), NOW, 3 * M, 3)
    assert line == (("▁", "muted"), ("█", "billed-busy"), ("?", "unknown"))


def test_a_clock_that_hurries_leaves_no_gaps() -> None:
    ago = range(50, 0, -5)
    line = strip(signal(*((1.0, A) for _ in ago)), minutes(*ago), NOW, 50 * M, 50, 1)
    assert plain(line) == "█" * 50


def test_the_width_is_always_kept_and_empty_history_is_empty() -> None:
    assert plain(strip(signal(), (), NOW, 60 * M, 7)) == " " * 7
    for width in (1, 13, 400):
        assert len(plain(strip(signal((1, A)), minutes(3), NOW, 360 * M, width))) == width


def test_the_span_is_that_of_the_history() -> None:
    def of(*ago: int) -> timedelta:
        return span_of(History(minutes(*ago), ()), NOW)

    assert (of(3, 1), of(90, 1), of(900, 1)) == (10 * M, 90 * M, 360 * M)


def test_the_axis_names_its_ends() -> None:
    line = plain(axis(NOW, 120 * M, 40, Scene(NOW, UTC)))
    assert line.startswith("12:00")
    assert "13:00" in line
    assert line.endswith("now")
    assert len(line) == 40
