"""Lanes: one daemon thread and a queue each, so that a hung cloud delays only itself and quitting waits for nothing.

There is one lane for the reads of each (account, region), one for the writes of each account, one for each machine
that is polled, and one for the ledger. What runs in a lane needs no locks against itself.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from functools import partial
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger(__name__)

_Job = Callable[[], None]


class Lane:
    """One thread that does one thing after another. The thread starts with the first job and dies with the process."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting = 0
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def busy(self) -> bool:
        """Something runs or waits here; a poll that finds its lane busy is skipped, not queued."""
        return self._waiting > 0

    def submit(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Queue a call. The future holds its result; an exception in it is the caller's to see."""
        future: Future[T] = Future()

        def job() -> None:
            tell = _run(future, lambda: fn(*args, **kwargs)) if future.set_running_or_notify_cancel() else None
            # Free before the answer is out: whoever gets it may ask again at once.
            with self._lock:
                self._waiting -= 1
            if tell is not None:
                tell()

        with self._lock:
            if self._closed:
                raise RuntimeError(f"lane {self.name} is closed")
            self._waiting += 1
            self._jobs.put(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=f"lane {self.name}", daemon=True)
                self._thread.start()
        return future

    async def call(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Queue a call and await its result. Giving up the wait does not interrupt a call that already runs."""
        import asyncio  # not at the top: commands have no event loop, and its import takes 10 ms

        return await asyncio.wrap_future(self.submit(fn, *args, **kwargs))

    def close(self) -> None:
        """Take no more jobs and let the thread end after those it has. Waits for nothing."""
        with self._lock:
            self._closed = True
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


def _run(future: Future[Any], fn: Callable[[], Any]) -> Callable[[], None]:
    """Do it; the function that is returned hands the outcome to the future."""
    try:
        result = fn()
    except BaseException as exc:  # a lane must outlive whatever it runs; the future carries the error to its owner
        log.debug("a call in %s failed", threading.current_thread().name, exc_info=True)
        return partial(future.set_exception, exc)
    return partial(future.set_result, result)


class Lanes:
    """Lanes by key, made when first asked for."""

    def __init__(self) -> None:
        self._lanes: dict[Hashable, Lane] = {}
        self._lock = threading.Lock()

    def __getitem__(self, key: Hashable) -> Lane:
        with self._lock:
            lane = self._lanes.get(key)
            if lane is None:
                name = ":".join(map(str, key)) if isinstance(key, tuple) else str(key)
                lane = self._lanes[key] = Lane(name)
            return lane

    def drop(self, key: Hashable) -> None:
        """Close one lane and forget it."""
        with self._lock:
            lane = self._lanes.pop(key, None)
        if lane is not None:
            lane.close()

    def close(self) -> None:
        """Close all."""
        with self._lock:
            lanes, self._lanes = list(self._lanes.values()), {}
        for lane in lanes:
            lane.close()
