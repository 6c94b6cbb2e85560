"""One time for all processes of a sandbox, and none that jumps."""

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gpudash.clock import ManualClock, ScaledClock, SystemClock, iso, parse_iso

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_without_a_file_it_is_the_system_clock(tmp_path: Path) -> None:
    """A sandbox at speed 1 needs no file."""
    clock = ScaledClock(tmp_path / "clock.json")
    assert abs(clock.now() - SystemClock().now()) < timedelta(seconds=1)
    assert clock.speed == 1


def test_virtual_time_runs_at_its_speed(tmp_path: Path) -> None:
    """A minute ago in real time is an hour ago at 60."""
    path = tmp_path / "clock.json"
    path.write_text(json.dumps({"real0": time.time() - 60, "virtual0": NOON.timestamp(), "speed": 60}))
    assert abs(ScaledClock(path).now() - (NOON + timedelta(hours=1))) < timedelta(seconds=60)


def test_a_change_of_speed_is_no_jump(tmp_path: Path) -> None:
    """Time goes on from the same moment, faster or slower, and never backwards."""
    clock = ScaledClock(tmp_path / "clock.json")
    for speed in (60.0, 3600.0, 1.0, 10.0):
        before, real = clock.now(), time.time()
        fastest = max(clock.speed, speed)
        clock.set_speed(speed)
        after = clock.now()
        assert timedelta(0) <= after - before <= timedelta(seconds=(time.time() - real) * fastest + 0.001)


def test_another_process_sees_the_change(tmp_path: Path) -> None:
    """Two clocks on one file agree, even when it was replaced twice within one tick of the file system."""
    one, other = ScaledClock(tmp_path / "clock.json"), ScaledClock(tmp_path / "clock.json")
    for speed in (60.0, 61.0, 62.0):
        one.set_speed(speed)
        assert other.speed == speed


def test_a_reset_goes_back_to_system_time(tmp_path: Path) -> None:
    """The file is gone, and so is virtual time."""
    clock = ScaledClock(tmp_path / "clock.json")
    clock.set_speed(60)
    (tmp_path / "clock.json").unlink()
    assert clock.speed == 1


def test_a_manual_clock_moves_when_told() -> None:
    """Sleeping and advancing move both of its hands."""
    clock = ManualClock(NOON)
    clock.sleep(60)
    clock.advance(0.5)
    assert (clock.now(), clock.monotonic()) == (NOON + timedelta(seconds=60.5), 60.5)


def test_iso_is_utc_with_z() -> None:
    """Whatever zone it came in."""
    assert iso(datetime.fromisoformat("2026-03-01T13:00:00.9+01:00")) == "2026-03-01T12:00:00Z"
    assert iso(None) is None


def test_a_time_without_a_zone_is_refused() -> None:
    """Nobody agrees on such a deadline."""
    with pytest.raises(ValueError, match="no time zone"):
        parse_iso("2026-03-01T12:00:00")


def test_iso_reads_back() -> None:
    """To the second."""
    assert parse_iso(str(iso(NOON))) == NOON
