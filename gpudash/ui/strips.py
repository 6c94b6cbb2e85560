"""A signal's last hours on one line: as high as its value, in the look of its verdict. Pure.

Each cell is a stretch of time with the highest value and the strongest verdict in it. Where nothing looked there is a
gap; where the sensor was silent, a question mark.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from gpudash.model.history import History, SignalHistory
from gpudash.model.host import Verdict
from gpudash.ui import format as fmt
from gpudash.ui.scene import Line, Scene, Span

HOURS = timedelta(hours=6)
"""The longest stretch that is shown; statusd remembers as much."""
_STRENGTH = {Verdict.ACTIVE: 2, Verdict.UNKNOWN: 1, Verdict.IDLE: 0}
_TOKEN = {Verdict.ACTIVE: "billed-busy", Verdict.IDLE: "muted", Verdict.UNKNOWN: "unknown"}
GAP = " "


def span_of(history: History, now: datetime) -> timedelta:
    """How far back the strips go: as far as the history does, six hours at most, ten minutes at least."""
    first = history.minutes[0] if history.minutes else now
    return min(HOURS, max(timedelta(minutes=10), now - first))


def strip(
    signal: SignalHistory,
    minutes: Sequence[datetime],
    now: datetime,
    span: timedelta,
    width: int,
    top: float | None = None,
) -> Line:
    """`width` cells from `span` ago until now.

    Args:
        signal: its values and verdicts.
        minutes: their moments.
        now: the right edge.
        span: what the width stands for.
        width: cells.
        top: the value of a full bar; the highest one in the span where None.
    """
    start, step = now - span, span / width
    known = [value for value, at in zip(signal.values, minutes, strict=True) if value is not None and at >= start]
    high = top if top is not None else max(known, default=0.0)
    reach = max(step, _usual_step(minutes))
    spans: list[Span] = []
    for cell in range(width):
        end = start + step * (cell + 1)
        inside = range(bisect_left(minutes, end - reach), bisect_left(minutes, end))
        text, token = _cell(signal, inside, high)
        if spans and spans[-1][1] == token:
            spans[-1] = (spans[-1][0] + text, token)
        else:
            spans.append((text, token))
    return tuple(spans)


def _cell(signal: SignalHistory, inside: range, high: float) -> Span:
    if not inside:
        return GAP, "muted"
    verdict = max((signal.verdicts[number] for number in inside), key=_STRENGTH.__getitem__)
    values = [value for number in inside if (value := signal.values[number]) is not None]
    if not values:
        # Some signals have no figure, such as a watched path that nobody named; the verdict says whether that is a fault.
        return (
            "?" if verdict is Verdict.UNKNOWN else fmt.spark([float(verdict is Verdict.ACTIVE)], 1, 1),
            _TOKEN[verdict],
        )
    return fmt.spark([max(values)], 1, high), _TOKEN[verdict]


def _usual_step(minutes: Sequence[datetime]) -> timedelta:
    """The middle distance between two looks: a clock that hurries has looks minutes apart, which is no gap."""
    gaps = sorted(later - earlier for earlier, later in pairwise(minutes))
    return gaps[(len(gaps) - 1) // 2] if gaps else timedelta(minutes=1)


def axis(now: datetime, span: timedelta, width: int, scene: Scene) -> Line:
    """The times below the strips: left, middle, right."""
    left, middle = (fmt.clock(at, scene.zone) for at in (now - span, now - span / 2))
    text = left.ljust(width)
    if width >= 24:
        at = width // 2 - len(middle) // 2
        text = text[:at] + middle + text[at + len(middle) :]
    return ((text[: width - 3] + "now", "label"),)
