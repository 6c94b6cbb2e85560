"""Everything about one instance on a page: what it is, what guards it, every signal and GPU, money, tunnels, what
happened.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from gpudash.fleet.changes import ChangeSet
from gpudash.fleet.record import Record
from gpudash.model.event import Event
from gpudash.model.instance import InstanceKey
from gpudash.ui import cells, panels
from gpudash.ui import format as fmt
from gpudash.ui.actions import ACTIONS, bindings, reason_against
from gpudash.ui.panels import Extras, labelled, rule
from gpudash.ui.scene import Line, Scene
from gpudash.ui.screens.listing import Heading
from gpudash.ui.verbs import Verbs
from gpudash.ui.widgets.footer import Footer, FooterFacts
from gpudash.ui.widgets.page import Page


class InstanceScreen(Verbs):
    """One instance; all keys that act on an instance act here too."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("instance")]

    def __init__(self, key: InstanceKey) -> None:
        super().__init__()
        self.key = key
        self._events: tuple[Event, ...] = ()
        self._ssh: tuple[str, ...] = ()
        self._last: Record | None = None

    def compose(self) -> ComposeResult:
        yield Heading((("", "title"),), self._right)
        yield Page(self._lines)
        yield Footer()

    def on_mount(self) -> None:
        self.query_one(Page).focus()
        self.query_one(Heading).left = self._left()
        self._show_footer()
        self._ask()

    def targets(self) -> Sequence[Record]:
        record = self.fleet.store.records.get(self.key)
        return [] if record is None else [record]

    def changed(self, changes: ChangeSet) -> None:
        self.beat()
        self._show_footer()
        if changes.operations:
            self._ask()

    def _ask(self) -> None:
        record = self._record
        if record is not None and record.instance.ssh is not None:
            self._ssh = tuple(self.fleet.ssh_argv(self.key))

        async def ask() -> None:
            self._events = tuple(await self.fleet.events(limit=100, key=self.key))
            if self.is_open:
                self.query_one(Page).update_lines()

        self.gpudash.carry_out(ask())

    @property
    def _record(self) -> Record | None:
        record = self.fleet.store.records.get(self.key)
        if record is not None:
            self._last = record
        return record

    def _left(self) -> Line:
        record = self._record or self._last
        name = record.instance.name if record else self.key.id
        region = record.instance.region if record else self.key.region
        return ((name or self.key.id, "title"), (f"  {self.key.account} · {region} · {self.key.id}", "muted"))

    def _right(self, scene: Scene) -> Line:
        record = self._record
        if record is None:
            return (("gone: the cloud confirms it", "tone-good"),)
        return (*cells.state(record, scene, 20), ("   ", "text"), *cells.guard(record, scene, 20))

    def _lines(self, scene: Scene, width: int) -> Sequence[Line]:
        record = self._record or self._last
        return [] if record is None else page_lines(record, Extras(self._events, self._ssh), scene, width)

    def _show_footer(self) -> None:
        situation = self.situation()
        shown = sorted(
            (action for action in ACTIONS if action.footer and "instance" in action.screens),
            key=lambda action: action.footer,
        )
        self.query_one(Footer).show(
            FooterFacts(tuple((action, reason_against(action.id, situation) is None) for action in shown))
        )


def page_lines(record: Record, extras: Extras, scene: Scene, width: int) -> list[Line]:
    """The whole page."""
    status = record.status
    lines: list[Line] = [()]
    left = [*panels.alarm_lines(record), *panels.facts(record, Extras(ssh=extras.ssh), scene, width // 2, 20)]
    right = _machine(record, scene)
    if width >= 120:
        half = width // 2
        lines += panels.beside([(left, half), (right, half - 2)], max(len(left), len(right)))
    else:
        lines += [((" ", "text"), *line) for line in [*left, (), *right]]
    if status is not None:
        lines += [(), rule((("GPUs", "title"),), width)]
        lines += _indented(panels.gpu_lines(status.gpus, (), min(width - 4, 70), 64) or [(("none reported", "muted"),)])
        if record.utilisation:
            bars = fmt.spark(record.utilisation, min(60, width - 14)).lstrip()
            lines += _indented([labelled("last polls", ((bars, "spark"),))])
        processes = [(gpu.index, process) for gpu in status.gpus for process in gpu.processes]
        if processes:
            lines += [(), rule((("Processes on the GPUs", "title"),), width)]
            lines += _indented(
                (
                    (f"GPU {index}  ", "label"),
                    (str(process.pid).rjust(8), "text"),
                    (f"  {fmt.gib(process.memory_mib).rjust(4)} GB  ", "muted"),
                    (fmt.clean(process.name), "text"),
                )
                for index, process in processes
            )
        lines += [(), rule((("Signals", "title"), ("  what keeps it awake", "muted")), width)]
        lines += _indented([panels.awake_line(record, scene), *panels.signal_lines(status.signals, 50)])
        lines += _indented(labelled("", ((f"{s.name}: {s.detail}", "muted"),)) for s in status.signals if s.detail)
    lines += [(), rule((("What happened", "title"),), width)]
    lines += _indented(panels.event_lines(extras.events, scene, 100) or [(("nothing is written down", "muted"),)])
    if status is not None and status.events:
        lines += [(), rule((("What statusd says", "title"),), width)]
        lines += _indented(
            (
                (fmt.when(event.at, scene.now, scene.zone).ljust(10), "label"),
                (fmt.fit(event.kind, 10), "accent"),
                (fmt.clean(event.text), "text"),
            )
            for event in reversed(status.events)
        )
    if record.instance.raw:
        lines += [(), rule((("The cloud's own record", "title"),), width)]
        text = json.dumps(record.instance.raw, indent=2, default=str, ensure_ascii=False)
        lines += _indented(((line, "muted"),) for line in text.splitlines())
    return lines


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
    lines.append(
        labelled("managed", (("yes" if instance.managed else "no: no guard ever ends it; d adopts it", "text"),))
    )
    return lines


def _indented(lines: Iterable[Line]) -> list[Line]:
    return [((" ", "text"), *line) for line in lines]
