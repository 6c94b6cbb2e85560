"""Blocks of lines about one record, shared by the details below the table and the full page. Pure."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from gpudash.fleet.record import Record
from gpudash.model.event import Event
from gpudash.model.host import GpuReading, Signal, Verdict
from gpudash.model.money import Amount, Price
from gpudash.model.operation import Operation
from gpudash.model.tunnel import Tunnel, TunnelState
from gpudash.ui import cells
from gpudash.ui import format as fmt
from gpudash.ui.scene import Line, Scene, Span

_TUNNEL = {
    TunnelState.UP: "tone-good",
    TunnelState.CONNECTING: "tone-warn",
    TunnelState.NO_SERVICE: "tone-warn",
    TunnelState.DOWN: "tone-bad",
    TunnelState.NEEDS_USER: "tone-bad",
}
_VERDICT = {
    Verdict.ACTIVE: ("active", "billed-busy"),
    Verdict.IDLE: ("idle", "muted"),
    Verdict.UNKNOWN: ("silent", "unknown"),
}
_STEP = {"done": ("✓", "tone-good"), "now": ("●", "accent"), "todo": ("·", "muted"), "failed": ("✗", "tone-bad")}


class Extras(NamedTuple):
    """What the details show that the record does not hold."""

    events: Sequence[Event] = ()
    ssh: Sequence[str] = ()


def cells_of(line: Line) -> int:
    """Width of a line in cells."""
    return sum(fmt.cell_len(text) for text, _ in line)


def rule(title: Line, width: int) -> Line:
    """A rule with words in it."""
    left: Line = (("── ", "rule"), *title, (" ", "rule"))
    return (*left, ("─" * max(0, width - cells_of(left)), "rule"))


def heading(record: Record, width: int) -> Line:
    """The rule above the details: which instance, where, and its machine."""
    instance = record.instance
    key = instance.key
    where = f"{key.account} · {instance.region} · {key.id}"
    title: list[Span] = [(fmt.clean(instance.name or key.id), "title")]
    for text, token in (
        (f"  {where}", "muted"),
        (f"  {cells.gpu_name(record)}", "text"),
        (" spot" if instance.spot else "", "tone-warn"),
    ):
        if cells_of(tuple(title)) + len(text) + 6 < width:
            title.append((text, token))
    return rule(tuple(title), width)


def labelled(label: str, value: Line, *, width: int = 10) -> Line:
    """``guard     ● armed``."""
    return ((label.ljust(width), "label"), *value)


def gpu_lines(gpus: Sequence[GpuReading], history: Sequence[float | None], width: int, limit: int) -> list[Line]:
    """One line a GPU: utilisation, memory, heat, power."""
    lines: list[Line] = []
    bar = max(4, min(12, width - 36))
    for gpu in gpus[: limit if len(gpus) <= limit else limit - 1]:
        full, empty = fmt.gauge(None if gpu.util_pct is None else gpu.util_pct / 100, bar)
        memory = f"{fmt.gib(gpu.memory_used_mib).rjust(3)}/{fmt.gib(gpu.memory_total_mib)} GB"
        heat = "" if gpu.temperature_c is None else f"{gpu.temperature_c:.0f}°C"
        power = "" if gpu.power_w is None else f"{gpu.power_w:.0f} W"
        token = "unknown" if gpu.util_pct is None else "billed-busy" if gpu.util_pct >= 5 else "billed-idle"
        lines.append(
            (
                (f"GPU {gpu.index} ", "label"),
                (fmt.percent(gpu.util_pct) + " ", token),
                (full, "gauge-on"),
                (empty, "gauge-off"),
                (f"  {memory}", "text"),
                (f"  {heat.rjust(5)}", "text"),
                (f" {power.rjust(6)}" if width > 44 else "", "muted"),
            )
        )
    if len(gpus) > limit:
        lines.append(((f"and {len(gpus) - limit + 1} more", "muted"), ("   Enter shows all", "label")))
    if lines and history and len(lines) < limit:
        lines.append((("recent ", "label"), (fmt.spark(history, min(width - 8, 40)).lstrip(), "spark")))
    return lines


def awake_line(record: Record, scene: Scene) -> Line:
    """What keeps it awake, or what it waits for."""
    known = record.status
    if not record.instance.state.bills_compute:
        return labelled("state", ((f"{record.instance.state.value}; r starts it", "muted"),))
    if known is None:
        return labelled("awake", ((record.status_problem or "no answer from statusd yet", "unknown"),))
    if known.unknown:
        held = fmt.listed(known.unknown)
        return labelled("awake", ((f"held by a silent sensor: {held}", "unknown"),))
    if known.awake_because:
        return labelled("awake", ((known.awake_because, "billed-busy"),))
    return labelled("idle", cells.idle(record, scene, 40))


def signal_lines(signals: Sequence[Signal], limit: int) -> list[Line]:
    """One line a signal: verdict, value against its threshold, age. Silent and active ones first."""
    order = {Verdict.UNKNOWN: 0, Verdict.ACTIVE: 1, Verdict.IDLE: 2}
    ranked = sorted(signals, key=lambda signal: order[signal.verdict])
    shown = ranked if len(ranked) <= limit else ranked[: max(0, limit - 1)]
    lines: list[Line] = []
    for signal in shown:
        word, token = _VERDICT[signal.verdict]
        value = signal_value(signal)
        limit_text = threshold(signal)
        age = "" if signal.age_s is None else f"{fmt.length(timedelta(seconds=signal.age_s))}"
        lines.append(
            (
                (fmt.fit(signal.name, 10), "label"),
                (word.ljust(7), token),
                (fmt.fit(value, 10, right=True), "text"),
                (f"  {limit_text.ljust(10)}", "muted"),
                (age.rjust(4), "muted"),
            )
        )
    if len(ranked) > len(shown):
        quiet = fmt.listed(signal.name for signal in ranked[len(shown) :])
        lines.append(labelled("quiet" if limit > 1 else "signals", ((quiet, "muted"),)))
    return lines


def signal_value(signal: Signal) -> str:
    """Its value with its unit; where it needs none to be idle, nothing."""
    if signal.value is not None:
        return figure(signal.value, signal.unit)
    return fmt.NOTHING if signal.verdict is Verdict.IDLE else fmt.UNKNOWN


def verdict_look(verdict: Verdict) -> Span:
    """Its word and the look of it."""
    return _VERDICT[verdict]


def threshold(signal: Signal) -> str:
    """``> 5%``: above it counts as active."""
    return "" if signal.threshold is None else f"> {figure(signal.threshold, _short(signal.unit))}"


def figure(value: float, unit: str) -> str:
    """A signal's value in its unit."""
    if unit in ("B/s", "bytes/s"):
        return fmt.bytes_rate(value)
    if unit == "MiB" and value >= 1024:
        return f"{value / 1024:.0f} GB"
    number = f"{value:.0f}" if value == int(value) or abs(value) >= 100 else f"{value:.1f}"
    if unit in ("%", "pct"):
        return f"{number}%"
    # The signal's name says what is counted.
    return f"{number} {unit}" if unit in ("s", "MiB") else number


def _short(unit: str) -> str:
    return unit if unit in ("%", "pct", "B/s", "bytes/s", "MiB") else ""


def guard_line(record: Record, scene: Scene) -> Line:
    """The verdict with its reason."""
    verdict = record.guard(scene.now)
    if verdict is None:
        return labelled("guard", (("nothing to guard: no compute is billed", "muted"),))
    return labelled("guard", (*cells.guard_word(verdict), (f"  {verdict.reason}", "muted")))


def lease_line(record: Record, scene: Scene) -> Line:
    """When the lease ends, how much of it is left, and the hard deadline."""
    policy = record.policy
    if policy is None or (policy.lease_deadline is None and policy.hard_deadline is None):
        if not record.instance.state.bills_compute:
            return labelled("lease", cells.NOTHING)
        return labelled("lease", (("none", "guard-none"), ("  + sets one", "muted")))
    spans: list[Span] = []
    if policy.lease_deadline is not None:
        left = policy.lease_deadline - scene.now
        token = cells.urgency(left)
        full, empty = fmt.gauge(cells.lease_fraction(record, scene.now), 8)
        spans += [
            (f"{fmt.when(policy.lease_deadline, scene.now, scene.zone)} ", "value"),
            (f"in {fmt.countdown(left).ljust(6)} " if left > timedelta(0) else f"{fmt.length(-left)} ago ", token),
            (full, "gauge-on" if token == "urgency-calm" else token),
            (empty, "gauge-off"),
        ]
        if policy.lease_action.value != "terminate":
            spans.append((f" {policy.lease_action.value}", "muted"))
    if policy.hard_deadline is not None:
        spans.append((f"  hard {fmt.when(policy.hard_deadline, scene.now, scene.zone)}", "muted"))
    return labelled("lease", tuple(spans))


def limit_line(record: Record) -> Line:
    """The idle timeout and what it does."""
    policy = record.policy
    if policy is None or policy.idle_timeout is None:
        return labelled("if idle", (("nothing happens: no timeout", "muted"),))
    text = f"{policy.idle_action.value} after {fmt.short_length(policy.idle_timeout)}"
    spans: list[Span] = [(text, "text")]
    if policy.parked_timeout is not None:
        spans.append((f"  parked {fmt.short_length(policy.parked_timeout)}", "muted"))
    return labelled("if idle", tuple(spans))


def cost_lines(record: Record, scene: Scene, width: int) -> list[Line]:
    """What an hour costs, what it has cost, and what it will have cost; on one line where there is room."""
    instance = record.instance
    compute: list[Span] = [(_per_hour(instance.price), "value"), (" compute", "muted")]
    rate, disk = compute, instance.storage_price
    if not instance.state.bills_compute:
        rate = [(_per_hour(disk), "value"), (" disk", "muted")]
        if instance.price is not None and not instance.state.is_terminal:
            rate += [(f"  {_per_hour(instance.price)} once it runs", "muted")]
    elif disk is not None:
        rate += [("  ", "text"), (_per_hour(disk), "text"), (" disk", "muted")]
    spent: list[Span] = [(fmt.money(record.accrued(scene.now)), "value"), (" spent", "muted")]
    projected, rest = record.projected(scene.now), record.to_come(scene.now)
    if projected is not None and rest is not None and (rest.usd or rest.unknown):
        spent += [("  ", "text"), (fmt.money(projected), "text"), (" at the deadline", "muted")]
    together = (*rate, ("  ", "text"), *spent)
    if cells_of(together) + 10 <= width:
        return [labelled("cost", together)]
    spent[1] = (" so far", "muted")
    return [labelled("cost", tuple(rate)), labelled("spent", tuple(spent))]


def tunnel_lines(tunnels: Sequence[Tunnel], scene: Scene, limit: int) -> list[Line]:
    """One line a forward."""
    lines: list[Line] = []
    for number, tunnel in enumerate(tunnels[:limit]):
        since = (
            "" if tunnel.since is None or tunnel.state is not TunnelState.UP else fmt.length(scene.now - tunnel.since)
        )
        more = f"  and {len(tunnels) - limit} more" if number == limit - 1 and len(tunnels) > limit else ""
        lines.append(
            labelled(
                "tunnels" if number == 0 else "",
                (
                    (f"http://127.0.0.1:{tunnel.local}", "link"),
                    (f" → {tunnel.remote} ", "text"),
                    (f"{tunnel.state.value} {since}", _TUNNEL[tunnel.state]),
                    (f" {tunnel.detail}" if tunnel.detail and tunnel.state is not TunnelState.UP else "", "muted"),
                    (more, "muted"),
                ),
            )
        )
    return lines


def ssh_line(argv: Sequence[str]) -> Line:
    """The command of a shell, ready to be pasted."""
    return labelled("ssh", ((shell_words(argv), "text"), ("  y copies", "muted"))) if argv else ()


def shell_words(argv: Sequence[str]) -> str:
    """The command as a shell takes it, with ``~`` for the person's own folder, so that more of it is seen."""
    return shlex.join(argv).replace(f" {os.path.expanduser('~')}/", " ~/")


def event_lines(events: Sequence[Event], scene: Scene, limit: int) -> list[Line]:
    """The last events, newest first."""
    return [
        (
            (fmt.when(event.at, scene.now, scene.zone).ljust(10), "label"),
            (fmt.fit(event.kind, 9), "accent"),
            (f" {fmt.clean(event.text)}", "text"),
        )
        for event in events[:limit]
    ]


def step_spans(operation: Operation, scene: Scene, *, brief: bool = False) -> Line:
    """The steps of an operation on one line: ``✓ asked 1.2 s   ● booting 1m12s``; in brief, no times of what is done."""
    spans: list[Span] = []
    for step in operation.steps:
        glyph, token = _STEP.get(step.state, ("·", "muted"))
        detail = "" if brief and step.state == "done" else step.detail
        if step.state == "now" and step.at is not None:
            detail = f"{fmt.length(scene.now - step.at)} {detail}".rstrip()
        spans += [
            (f"{glyph} ", token),
            (step.name, "value" if step.state == "now" else "text" if step.state == "done" else "muted"),
            (f" {detail}" if detail else "", "muted"),
            ("  " if brief else "   ", "text"),
        ]
    return tuple(spans[:-1])


def facts(record: Record, extras: Extras, scene: Scene, width: int, limit: int) -> list[Line]:
    """The block of guard, lease, cost, tunnels, ssh; as many as fit, weightiest first."""
    lines = [guard_line(record, scene), lease_line(record, scene)]
    lines += [*cost_lines(record, scene, width), limit_line(record)]
    problem = operation_line(record)
    if problem:
        lines.insert(0, problem)
    if record.instance.notice:
        lines.insert(0, labelled("notice", ((record.instance.notice, "tone-bad"),)))
    lines += tunnel_lines(record.tunnels, scene, 2)
    if extras.ssh:
        lines.append(ssh_line(extras.ssh))
    rest = limit - len(lines)
    if rest > 0:
        lines += event_lines(extras.events, scene, rest)
    return lines[:limit]


def operation_line(record: Record) -> Line:
    """The last word on what was asked for, while it is not done."""
    operation = record.operation
    if operation is None or not operation.detail:
        return ()
    token = "tone-warn" if operation.stage.is_open else "tone-bad"
    return labelled(operation.verb.value, ((fmt.clean(operation.detail), token),))


def alarm_lines(record: Record) -> list[Line]:
    """What the host itself complains about."""
    return (
        []
        if record.status is None
        else [labelled("alarm", ((alarm.text, "tone-bad"),)) for alarm in record.status.alarms]
    )


def details(record: Record, extras: Extras, scene: Scene, width: int, height: int) -> list[Line]:
    """The details below the table: three blocks side by side where there is room, else the weightiest lines."""
    body = height - 1
    lines = [heading(record, width)]
    status = record.status if record.instance.state.bills_compute else None
    if width < 110:
        gpus = gpu_lines(status.gpus, record.utilisation, width - 4, 2) if status else []
        block = [awake_line(record, scene), *facts(record, Extras(ssh=extras.ssh), scene, width - 2, body - 1)]
        free = body - len(block)
        block = [*gpus[: max(0, free)], *block]
        return lines + [((" ", "text"), *line) for line in block[:body]]
    left = gpu_lines(status.gpus, record.utilisation, 44, body) if status else []
    middle = [part for line in (*alarm_lines(record), awake_line(record, scene)) for part in carried_over(line, 44)]
    if status is not None and record.instance.state.bills_compute:
        middle += signal_lines(status.signals, body - len(middle))
    columns: list[tuple[list[Line], int]] = []
    if left:
        columns.append((left, 50))
    columns.append((middle, 46))
    rest = width - sum(wide for _, wide in columns) - 2
    if rest < 50:
        columns = columns[-1:]
        rest = width - columns[0][1] - 2
    columns.append((facts(record, extras, scene, rest - 2, body), rest))
    return lines + beside(columns, body)


def beside(columns: Sequence[tuple[Sequence[Line], int]], height: int) -> list[Line]:
    """Blocks side by side, each cut and padded to its width."""
    lines: list[Line] = []
    for y in range(height):
        spans: list[Span] = [(" ", "text")]
        for block, width in columns:
            line = cut(block[y], width - 2) if y < len(block) else ()
            spans += [*line, (" " * (width - cells_of(line)), "text")]
        lines.append(tuple(spans))
    return lines


def cut(line: Line, width: int) -> Line:
    """At most `width` cells of a line, with ``…`` where something is missing."""
    if cells_of(line) <= width:
        return line
    spans: list[Span] = []
    left = width
    for text, token in line:
        cells_here = fmt.cell_len(text)
        if cells_here > left:
            spans.append((fmt.fit(text, left), token) if left > 1 else ("…" * left, token))
            break
        spans.append((text, token))
        left -= cells_here
        if left == 0:
            break
    return tuple(spans)


def carried_over(line: Line, width: int) -> list[Line]:
    """The line, its last words carried over into further lines below where they began."""
    if cells_of(line) <= width or not line:
        return [line]
    *head, (text, token) = line
    indent = cells_of(tuple(head))
    if indent > width - 20:
        return [line]
    first, *more = fmt.wrap(text, width - indent)
    return [(*head, (first, token)), *(((" " * indent, "text"), (part, token)) for part in more)]


def _per_hour(price: Price | None) -> str:
    return fmt.usd_rate(Amount(unknown=True)) if price is None else f"{fmt.rate(price, sign='$')}/h"
