"""Who has the interpreter when threads read long answers and a person types."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

GIVE_WAY_S = 0.0005
"""A busy thread gives way to a key after half a millisecond, not five."""
ALONE_S = 0.02
"""A frame does not give way to a busy thread in its middle: two that share the interpreter each take twice as long."""


def give_way() -> None:
    """As it is all the time."""
    sys.setswitchinterval(GIVE_WAY_S)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Work of the screen that is short, waits for nothing, and that somebody at the keyboard waits for."""
    sys.setswitchinterval(ALONE_S)
    try:
        yield
    finally:
        give_way()
