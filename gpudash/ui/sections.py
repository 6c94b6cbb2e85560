"""The parts of the page of one instance, each as lines. Pure; what came from elsewhere carries its age or its problem."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from gpudash.fleet.record import Record
from gpudash.fleet.timeline import Moment, timeline
from gpudash.model.event import Event
from gpudash.model.history import History
from gpudash.model.host import Signal
from gpudash.model.money import Amount, Interval, cost
from gpudash.model.operation import Operation
from gpudash.ui import cells, panels, strips
from gpudash.ui import format as fmt
from gpudash.ui.panels import Extras, labelled, rule
from gpudash.ui.rawrecord import cloud_record
from gpudash.ui.scene import Line, Scene

T = TypeVar("T")


@dataclass(frozen=True)
class Part(Generic[T]):
    """Something that was asked for beside the page."""

    value: T
    at: datetime | None = None
    """When it came; None before it ever did."""
    problem: str | None = None
    """Why it did not come the last time; the older value stays."""
    asking: bool = False

    def age(self, scene: Scene, what: str, width: int) -> list[Line]:
        """A line that says how old it is, or what is wrong."""
        lines: list[Line] = []
        if self.problem is not None:
            lines += panels.carried_over(((" ", "text"), (self.problem, "tone-warn")), width - 1)
        if self.at is not None:
            ago = fmt.length(scene.real(scene.now - self.at))
            lines.append(((f" {what}, as of {ago} ago", "muted"),))
        elif self.problem is None:
            lines.append(((" asking …" if self.asking else " not asked", "muted"),))
        return lines


@dataclass(frozen=True)
class Parts:
    """Everything on the page that the record does not hold."""

    events: Part[tuple[Event, ...]] = Part(())
    operations: Part[tuple[Operation, ...]] = Part(())
    intervals: Part[tuple[Interval, ...]] = Part(())
    history: Part[History | None] = Part(None)
    log: Part[tuple[str, ...]] = Part(())
    ssh: tuple[str, ...] = ()


def lines_of(section: str, record: Record, parts: Parts, scene: Scene, width: int) -> list[Line]:
    """One part of the page, for a width."""
    make: dict[str, Callable[[Record, Parts, Scene, int], list[Line]]] = {
        "overview": overview,
        "signals": signals,
        "timeline": story,
        "costs": costs,
        "log": log,
        "record": lambda record, parts, scene, width: cloud_record(record, scene, width),
    }
    return [(), *make[section](record, parts, scene, width)]


# -- overview -------------------------------------------------------------------------------------------------------


def overview(record: Record, parts: Parts, scene: Scene, width: int) -> list[Line]:
    """What it is, what guards it, GPUs and who computes on them, tunnels, the last that happened."""
    status = record.status
    left = [*panels.alarm_lines(record), *panels.facts(record, Extras(ssh=parts.ssh), scene, width // 2, 20)]
    right = _machine(record, scene)
    room = width // 2 - 4 if width >= 120 else width - 2
    left, right = _carried(left, room), _carried(right, room)
    if width >= 120:
        half = width // 2
        lines = panels.beside([(left, half), (right, half - 2)], max(len(left), len(right)))
    else:
        lines = _indented([*left, (), *right])
    if status is not None:
        lines += [(), rule((("GPUs", "title"),), width)]
        gpus = panels.gpu_lines(status.gpus, (), min(width - 4, 70), 64) or [(("none reported", "muted"),)]
        lines += _indented([*gpus, *_recent(record, width)])
        lines += [(), rule((("Processes on the GPUs", "title"),), width), *_processes(record)]
    if len(record.tunnels) > 2:
        lines += [(), rule((("Tunnels", "title"),), width)]
        lines += _indented(panels.tunnel_lines(record.tunnels, scene, 50))
    lines += [(), rule((("Last", "title"), ("  3 tells the whole story", "muted")), width)]
    story_lines = [_moment(moment, scene) for moment in _moments(record, parts, scene) if not moment.ahead]
    return lines + (story_lines[:6] or [((" nothing is written down", "muted"),)])


def _recent(record: Record, width: int) -> list[Line]:
    if not record.utilisation:
        return []
    bars = fmt.spark(record.utilisation, min(60, width - 14)).lstrip()
    return [labelled("recent", ((bars, "spark"),))]


def _processes(record: Record) -> list[Line]:
    assert record.status is not None
    found = [(gpu.index, process) for gpu in record.status.gpus for process in gpu.processes]
    if not found:
        return [((" none", "muted"),)]
    return _indented(
        (
            (f"GPU {index}  ", "label"),
            (str(process.pid).rjust(8), "text"),
            (f"  {fmt.gib(process.memory_mib).rjust(4)} GB  ", "muted"),
            (fmt.clean(process.name), "text"),
        )
        for index, process in found
    )


def _machine(record: Record, scene: Scene) -> list[Line]:
    instance = record.instance

    def moment(label: str, at: datetime | None) -> Line:
        if at is None:
            return labelled(label, cells.NOTHING)
        ago = fmt.length(scene.now - at)
        return labelled(label, ((fmt.when(at, scene.now, scene.zone), "text"), (f"  {ago} ago", "muted")))

    vram = f" {instance.vram_gb}G" if instance.vram_gb else ""
    lines = [
        labelled("machine", ((cells.gpu_name(record) + vram, "value"), (f"  {instance.instance_type or ''}", "muted"))),
        labelled(
            "state",
            (
                (instance.state.value, f"status-{instance.state.value}"),
                (f"  the cloud says {instance.provider_state!r}", "muted"),
            ),
        ),
        moment("created", instance.created_at),
        moment("started", instance.started_at),
        moment("listed", record.listed_at),
        moment("statusd", record.status_at),
    ]
    if record.status is not None:
        lines.append(
            labelled("version", ((record.status.version, "text"), (f"  phase {record.status.phase}", "muted")))
        )
    if record.status_problem:
        lines.append(labelled("problem", ((record.status_problem, "tone-warn"),)))
    managed = "yes" if instance.managed else "no: no guard ever ends it; d adopts it"
    lines.append(labelled("managed", ((managed, "text"),)))
    return lines


# -- signals --------------------------------------------------------------------------------------------------------


def signals(record: Record, parts: Parts, scene: Scene, width: int) -> list[Line]:
    """Each signal now, and its last hours as a strip in the look of its verdicts."""
    status, history = record.status, parts.history.value
    now_of = {signal.name: signal for signal in status.signals} if status else {}
    past = {signal.name: signal for signal in history.signals} if history else {}
    names = [*now_of, *(name for name in past if name not in now_of)]
    lines = _indented(panels.carried_over(panels.awake_line(record, scene), width - 2))
    if parts.history.problem is None or parts.history.problem != record.status_problem:
        lines += parts.history.age(scene, "the strips", width)
    lines.append(())
    if not names:
        return [*lines, ((" No signal is known: statusd never answered.", "muted"),)]
    room = max(10, width - _NOW_WIDTH - 4)
    # What statusd remembers ends with its last look, which the page saw when it asked.
    until = history.minutes[-1] + timedelta(minutes=1) if history and history.minutes else scene.now
    span = strips.span_of(history, until) if history else strips.HOURS
    for name in names:
        lines.append(((" ", "text"), *_signal_now(name, now_of.get(name))))
        if history is not None and name in past:
            top = 100.0 if past[name].unit in ("%", "pct") else None
            lines[-1] += (("  ", "text"), *strips.strip(past[name], history.minutes, until, span, room, top))
    if history is not None:
        lines.append(((" " * (_NOW_WIDTH + 3), "text"), *strips.axis(until, span, room, scene)))
        lines += [(), _legend()]
    details = [labelled(f" {s.name}", ((s.detail, "muted"),), width=12) for s in now_of.values() if s.detail]
    return [*lines, *([(), *details] if details else [])]


_NOW_WIDTH = 38
"""Cells of a signal's present: name, verdict, value, threshold."""


def _signal_now(name: str, signal: Signal | None) -> Line:
    if signal is None:
        return ((fmt.fit(name, 10), "label"), (fmt.fit("not any more", _NOW_WIDTH - 10), "muted"))
    word, token = panels.verdict_look(signal.verdict)
    value = panels.signal_value(signal)
    return ((fmt.fit(name, 10), "label"), (fmt.fit(word, 7), token), (fmt.fit(value, 9, right=True), "text"),
            (fmt.fit(f"  {panels.threshold(signal)}", 12), "muted"))  # fmt: skip


def _legend() -> Line:
    return (
        (" ▆ active", "billed-busy"), ("   ", "text"), ("▂ idle", "muted"), ("   ", "text"),
        ("? silent sensor", "unknown"), ("   gaps: nothing looked", "muted"),
    )  # fmt: skip


# -- timeline -------------------------------------------------------------------------------------------------------


def story(record: Record, parts: Parts, scene: Scene, width: int) -> list[Line]:
    """Everything that happened and what is ahead, the latest first."""
    moments = _moments(record, parts, scene)
    ahead = [_moment(moment, scene) for moment in moments if moment.ahead]
    past = [_moment(moment, scene) for moment in moments if not moment.ahead]
    lines = [rule((("Ahead", "title"),), width), *ahead, ()] if ahead else []
    lines += [rule((("Happened", "title"),), width), *past]
    if not past:
        lines.append(((" nothing is written down", "muted"),))
    if parts.history.problem is not None:
        said = ((" ", "text"), (f"When it was in use is not known: {parts.history.problem}", "muted"))
        lines += [(), *panels.carried_over(said, width - 1)]
    return lines


def _moments(record: Record, parts: Parts, scene: Scene) -> list[Moment]:
    return timeline(record, parts.events.value, parts.operations.value, parts.history.value, scene.now)


_LOOK = {
    "alarm": "tone-bad", "failed": "tone-bad", "refused": "tone-bad", "gone": "tone-bad", "warning": "tone-warn",
    "end": "tone-warn", "activity": "billed-busy", "idle": "muted", "armed": "tone-good", "ready": "tone-good",
}  # fmt: skip


def _moment(moment: Moment, scene: Scene) -> Line:
    gap = f"in {fmt.countdown(moment.at - scene.now)}" if moment.ahead else ""
    return (
        (f" {fmt.fit(fmt.when(moment.at, scene.now, scene.zone), 10)}", "label"),
        (fmt.fit(moment.kind, 10), _LOOK.get(moment.kind, "accent")),
        (fmt.fit(gap or moment.who, 10), cells.urgency(moment.at - scene.now) if moment.ahead else "muted"),
        (fmt.clean(moment.text), "text"),
    )


# -- costs ----------------------------------------------------------------------------------------------------------


def costs(record: Record, parts: Parts, scene: Scene, width: int) -> list[Line]:
    """What it costs, and every stretch of its life at one price."""
    lines = _indented(panels.cost_lines(record, scene, width - 2))
    if record.instance.price is not None:
        lines.append(((" ", "text"), *labelled("price", ((f"from {record.instance.price.source}", "muted"),))))
    lines += [(), rule((("Stretches at one price", "title"), ("  newest first", "muted")), width)]
    if not parts.intervals.value:
        return lines + (
            parts.intervals.age(scene, "", width) if parts.intervals.at is None else [((" none yet", "muted"),)]
        )
    head = f" {'WHAT':<9}{'STATE':<11}{'FROM':<10}{'TO':<10}{'LENGTH':>6}{'$/H':>8}{'COST':>11}  PRICE FROM"
    lines.append(((head, "label"),))
    for interval in reversed(parts.intervals.value):
        lines.append(_interval(interval, scene))
    total = sum((_cost(interval, scene.now) for interval in parts.intervals.value), Amount())
    lines.append(((f" {'all of it':<54}{fmt.money(total):>11}", "value"),))
    return lines


def _cost(interval: Interval, now: datetime) -> Amount:
    return cost(interval.price, (interval.end or now) - interval.start)


def _interval(interval: Interval, scene: Scene) -> Line:
    end = interval.end or scene.now
    amount = _cost(interval, scene.now)
    until = "now" if interval.end is None else fmt.when(interval.end, scene.now, scene.zone)
    source = fmt.NOTHING if interval.price is None else interval.price.source
    return (
        (f" {fmt.fit(interval.kind, 9)}", "text"),
        (fmt.fit(interval.state, 11), f"status-{interval.state}" if interval.state != "unseen" else "unknown"),
        (fmt.fit(fmt.when(interval.start, scene.now, scene.zone), 10), "text"),
        (fmt.fit(until, 10), "accent" if interval.end is None else "text"),
        (fmt.fit(fmt.length(end - interval.start), 6, right=True), "muted"),
        (fmt.fit(fmt.rate(interval.price), 8, right=True), "unknown" if interval.price is None else "text"),
        (fmt.fit(fmt.money(amount), 11, right=True), "unknown" if amount.unknown else "value"),
        (f"  {source}", "muted"),
    )


# -- log -------------------------------------------------------------------------------------------------------------


def log(record: Record, parts: Parts, scene: Scene, width: int) -> list[Line]:
    """The last lines of statusd's own log, the newest first."""
    lines = [*parts.log.age(scene, "the log of statusd, newest first", width), ()]
    for text in reversed(parts.log.value):
        stamp, _, rest = text.partition(" ")
        first, *more = fmt.wrap(rest, max(20, width - len(stamp) - 3)) or [""]
        lines.append(((f" {fmt.clean(stamp)} ", "label"), (first, "text")))
        lines += [((" " * (len(stamp) + 2), "label"), (line, "text")) for line in more]
    if not parts.log.value and parts.log.at is not None:
        lines.append(((" It is empty.", "muted"),))
    return lines


def _carried(lines: Iterable[Line], width: int) -> list[Line]:
    return [part for line in lines for part in panels.carried_over(line, width)]


def _indented(lines: Iterable[Line]) -> list[Line]:
    return [((" ", "text"), *line) for line in lines]
