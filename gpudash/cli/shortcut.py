"""The dashboard without the command line's machinery: parsing by click takes 15 ms and 3 MiB that a screen does not need.

Only the plain forms of `gpudash` and `gpudash demo` are known here. Everything else, and everything that is wrong, goes
the long way, which says what is wrong with it; a test holds both ways to the same meaning.
"""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Sequence
from typing import NamedTuple

from gpudash.errors import GpudashError

_NUMBER = re.compile(r"\d{1,6}")
_SPEED = re.compile(r"\d{1,4}(?:\.\d{1,6})?")


class Wanted(NamedTuple):
    """A dashboard as the words of the command line ask for it."""

    demo: bool = False
    speed: float = 1.0
    fresh: bool = False
    synthetic: int | None = None
    read_only: bool = False


def wanted(argv: Sequence[str]) -> Wanted | None:
    """What these words ask for, where they are one of the plain forms."""
    found = Wanted()
    words = list(argv)
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        if word == "--read-only":
            found = found._replace(read_only=True)
        elif word == "demo" and not found.demo:
            found = found._replace(demo=True)
        elif word == "--fresh" and found.demo:
            found = found._replace(fresh=True)
        elif name in ("--speed", "--synthetic") and found.demo and (equals or words):
            with_value = _valued(found, name, value if equals else words.pop(0))
            if with_value is None:
                return None
            found = with_value
        else:
            return None
    return found


def _valued(found: Wanted, name: str, value: str) -> Wanted | None:
    if name == "--speed":
        is_good = _SPEED.fullmatch(value) and 0.1 <= float(value) <= 3600
        return found._replace(speed=float(value)) if is_good else None
    is_good = _NUMBER.fullmatch(value) and 1 <= int(value) <= 100_000
    return found._replace(synthetic=int(value)) if is_good else None


def dashboard(argv: Sequence[str]) -> int | None:
    """Open the dashboard where that is all that was asked for; its exit code, or None: go the long way."""
    asked = wanted(argv)
    if asked is None or "_GPUDASH_COMPLETE" in os.environ or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return None
    from gpudash import config
    from gpudash.ui import run_dashboard

    try:
        # A demo shows the sandbox alone: nobody's credentials are looked for.
        settings = config.load(adapters=() if asked.demo else _clouds())
    except GpudashError:
        return None
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    read_only = asked.read_only or settings.defaults.read_only
    try:
        return run_dashboard(settings, **asked._replace(read_only=read_only)._asdict())
    except (Exception, KeyboardInterrupt) as exc:
        from gpudash.cli.main import ended_by

        return ended_by(exc, argv)


def _clouds() -> tuple[str, ...]:
    from gpudash.providers import registry

    return registry.names()
