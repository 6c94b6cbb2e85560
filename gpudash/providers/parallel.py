"""Ask several regions, or several things, side by side. Daemon threads, so that a hanging one never delays quitting."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from gpudash.errors import GpudashError, Unreachable

T = TypeVar("T")
TIMEOUT_S = 40.0


def side_by_side(
    regions: Sequence[str], ask: Callable[[str], T], timeout_s: float = TIMEOUT_S
) -> dict[str, T | GpudashError]:
    """The answer of each region, or the error it ended with; one that is not done in time is `Unreachable`. In their order."""
    answers: queue.Queue[tuple[str, T | Exception]] = queue.Queue()

    def run(region: str) -> None:
        try:
            answers.put((region, ask(region)))
        except Exception as exc:  # handed to the thread that waits
            answers.put((region, exc))

    for region in regions:
        threading.Thread(target=run, args=(region,), name=f"ask-{region}", daemon=True).start()
    found: dict[str, T | GpudashError] = {}
    while len(found) < len(regions):
        try:
            region, answer = answers.get(timeout=timeout_s)
        except queue.Empty:
            break
        if isinstance(answer, Exception) and not isinstance(answer, GpudashError):
            raise answer
        found[region] = answer
    return {
        region: found.get(region, Unreachable(f"{region} did not answer in {timeout_s:.0f} s.")) for region in regions
    }
