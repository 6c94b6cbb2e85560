"""One does the work, all get its answer: callers in one program, and programs on this machine."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from gpudash.clock import Clock, parse_iso
from gpudash.errors import LinkDown
from gpudash.model.instance import InstanceKey

LOOK_EVERY_S = 0.1
"""How often a program that waits looks whether the other one is done."""

Goal = tuple[InstanceKey, int]
"""An instance, and the port of its service."""


class SingleFlight:
    """Many may ask for the same goal at once; one does the work, and all get its answer or its error."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flights: dict[Goal, Future[str]] = {}

    def run(self, goal: Goal, work: Callable[[], str]) -> str:
        """The answer of `work`, done once however many ask while it runs."""
        with self._lock:
            flight = self._flights.get(goal)
            mine = flight is None
            if flight is None:
                flight = self._flights[goal] = Future()
        if mine:
            try:
                flight.set_result(work())
            except BaseException as exc:  # whoever waits along must hear of it too
                flight.set_exception(exc)
            finally:
                with self._lock:
                    del self._flights[goal]
        return flight.result()


def between_programs(
    folder: Path, goal: Goal, clock: Clock, deadline: float, waits: Callable[[], None], work: Callable[[], str]
) -> str:
    """The same over programs: who comes second waits and takes over what the first one found.

    The first holds a lock that the system takes back when it dies; an error of it is its own, and the next one tries.

    Args:
        folder: where the locks are.
        goal: what is wanted.
        clock: the same for all of them.
        deadline: on its monotonic scale.
        waits: called once if another program is at it.
        work: does it.

    Raises:
        LinkDown: the other program is not done in time.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    key, port = goal
    path = folder / quote(f"{key.account}@{key.region}@{key.id}@{port}", safe="@")
    came = clock.now()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not _taken(descriptor):
            waits()
            while not _taken(descriptor):
                if clock.monotonic() >= deadline:
                    raise LinkDown("Another gpudash is still bringing it up.")
                clock.sleep(LOOK_EVERY_S)
            if (found := _found_since(descriptor, came)) is not None:
                return found
        answer = work()
        body = json.dumps({"url": answer, "at": clock.now().isoformat()}).encode()
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, body, 0)
        return answer
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _found_since(descriptor: int, moment: datetime) -> str | None:
    """What the other program found, if that was after we began to wait."""
    try:
        body = json.loads(os.pread(descriptor, 10_000, 0))
        return str(body["url"]) if parse_iso(body["at"]) >= moment else None
    except (ValueError, KeyError, TypeError):
        return None
