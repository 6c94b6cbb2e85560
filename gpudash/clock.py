"""The one source of time. Aware UTC only; everything else asks a `Clock` and never the system.

`SystemClock` is the real one. `ScaledClock` is the sandbox's: a file names an origin and a speed, so that all
processes of one sandbox (dashboard, CLI, hosts, statusd) agree about a day that passes in minutes. `ManualClock`
is for tests. `sleep` and `monotonic` are here as well, so that nothing in gpudash waits on a clock it was not handed.
"""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol


class Clock(Protocol):
    """Tells the time, and waits."""

    def now(self) -> datetime:
        """The time as aware UTC."""
        ...

    def monotonic(self) -> float:
        """Real seconds that never go backwards; for time-outs and back-off, never for deadlines."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait that many real seconds. Never called on the event loop."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        threading.Event().wait(seconds)


class ScaledClock(SystemClock):
    """Virtual time read from a sandbox's clock file: ``{"real0": epoch, "virtual0": epoch, "speed": n}``.

    The file is looked at again whenever it was replaced. Without the file this is the system's clock.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._origin = (0.0, 0.0, 1.0)

    @property
    def speed(self) -> float:
        """Virtual seconds that pass in one real second."""
        self._reload()
        return self._origin[2]

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._virtual(time.time()), UTC)

    def set_speed(self, speed: float) -> None:
        """Go on from the present virtual moment at another speed; time neither jumps nor runs backwards."""
        real = time.time()
        body = {"real0": real, "virtual0": self._virtual(real), "speed": speed}
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = self._path.with_suffix(".tmp")
        draft.write_text(json.dumps(body))
        draft.replace(self._path)
        self._stamp = None

    def _virtual(self, real: float) -> float:
        self._reload()
        real0, virtual0, speed = self._origin
        return virtual0 + (real - real0) * speed

    def _reload(self) -> None:
        try:
            about = self._path.stat()
        except FileNotFoundError:
            self._stamp, self._origin = None, (0.0, 0.0, 1.0)
            return
        stamp = (about.st_mtime_ns, about.st_ino)
        if stamp == self._stamp:
            return
        body = json.loads(self._path.read_text())
        self._origin = (float(body["real0"]), float(body["virtual0"]), float(body["speed"]))
        self._stamp = stamp


class ManualClock:
    """A clock that stands still until a test moves it. `sleep` moves it."""

    def __init__(self, start: datetime) -> None:
        self._now = start
        self._mono = 0.0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._mono

    def sleep(self, seconds: float) -> None:
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Let that many seconds pass."""
        self._now += timedelta(seconds=seconds)
        self._mono += seconds


def iso(moment: datetime | None) -> str | None:
    """ISO 8601 in UTC with ``Z`` and whole seconds, as all JSON of gpudash has it; None stays None."""
    return None if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_iso(text: str) -> datetime:
    """Read an ISO 8601 time with a zone.

    Raises:
        ValueError: the text is no time, or has no zone (a time without a zone is a deadline nobody agrees on).
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone; write it like 2026-01-02T03:04:05Z")
    return moment.astimezone(UTC)
