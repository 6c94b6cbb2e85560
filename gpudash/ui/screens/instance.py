"""Everything about one instance on a page of six parts: overview, signals over time, timeline, costs, log, raw record.

The record is the store's; the rest is asked for in lanes and shows its age or what is wrong. No key waits for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from gpudash.errors import GpudashError
from gpudash.fleet.changes import ChangeSet
from gpudash.fleet.record import Record, is_reachable
from gpudash.model.instance import InstanceKey
from gpudash.ui import cells
from gpudash.ui.actions import ACTIONS, BY_ID, PARTS, bindings, reason_against
from gpudash.ui.scene import Line, Scene
from gpudash.ui.screens.listing import Heading
from gpudash.ui.sections import Part, Parts, lines_of
from gpudash.ui.verbs import FleetSituation, Verbs
from gpudash.ui.widgets.footer import Footer, FooterFacts
from gpudash.ui.widgets.page import Page
from gpudash.ui.widgets.parts import PartsLine

EVERY_S = {"events": 10, "operations": 10, "intervals": 10, "history": 30, "log": 10}
"""Beats between two questions, while the part that shows the answer is on the page."""
SHOWN_BY = {
    "overview": ("events", "operations", "history"),
    "signals": ("history",),
    "timeline": ("events", "operations", "history"),
    "costs": ("intervals",),
    "log": ("log",),
    "record": (),
}
"""What each part is made of."""
FROM_HOST = frozenset({"history", "log"})


class InstanceScreen(Verbs):
    """One instance; all keys that act on an instance act here too."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("instance")]

    def __init__(self, key: InstanceKey) -> None:
        super().__init__()
        self.key = key
        self.part = PARTS[0]
        self.parts = Parts()
        self._tops: dict[str, int] = {}
        self._asked: dict[str, int] = {}
        self._beats = 0
        self._last: Record | None = None

    def compose(self) -> ComposeResult:
        yield Heading((("", "title"),), self._right)
        yield PartsLine(PARTS)
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

    def situation(self) -> FleetSituation:
        return FleetSituation(self.fleet, self.targets(), "It is gone; nothing can be done to it any more.")

    def beat(self) -> None:
        super().beat()
        self._beats += 1
        self._ask()

    def changed(self, changes: ChangeSet) -> None:
        super().beat()
        self._show_footer()
        if changes.operations:
            self._asked.clear()
            self._ask()

    # -- the parts ----------------------------------------------------------------------------------------------

    def action_part(self, name: str) -> None:
        """Show that part, where it was left."""
        page = self.query_one(Page)
        self._tops[self.part] = page.top
        self.part = name
        page.top = self._tops.get(name, 0)
        self.query_one(PartsLine).show(name)
        self._ask()
        page.update_lines()

    def action_next_part(self) -> None:
        self.action_part(PARTS[(PARTS.index(self.part) + 1) % len(PARTS)])

    def action_previous_part(self) -> None:
        self.action_part(PARTS[PARTS.index(self.part) - 1])

    def on_parts_line_chosen(self, event: PartsLine.Chosen) -> None:
        self.action_part(event.name)

    def action_refresh(self) -> None:
        super().action_refresh()
        self._asked.clear()
        self._ask()

    # -- what is asked for --------------------------------------------------------------------------------------

    def _ask(self) -> None:
        """Ask for what is on the page and due."""
        record = self._record
        if record is not None and record.instance.ssh is not None:
            self.parts = replace(self.parts, ssh=tuple(self.fleet.ssh_argv(self.key)))
        for name in SHOWN_BY[self.part]:
            last = self._asked.get(name)
            if last is not None and self._beats - last < EVERY_S[name]:
                continue
            self._asked[name] = self._beats
            if name in FROM_HOST and (record is None or not is_reachable(record)):
                self._put(name, problem=self._unreachable(record))
            elif not getattr(self.parts, name).asking:
                self._put(name, asking=True)
                self.gpudash.carry_out(self._fetch(name))

    async def _fetch(self, name: str) -> None:
        questions: dict[str, Callable[[], Awaitable[Any]]] = {
            "events": lambda: self.fleet.events(limit=300, key=self.key),
            "operations": lambda: self.fleet.operations(self.key),
            "intervals": lambda: self.fleet.intervals(self.key),
            "history": lambda: self.fleet.history(self.key),
            "log": lambda: self.fleet.host_log(self.key),
        }
        try:
            value = await questions[name]()
        except GpudashError as exc:
            self._put(name, problem=str(exc))
        else:
            self._keep(name, Part(tuple(value) if isinstance(value, list) else value, self.fleet.clock.now()))
        for page in self.query(Page):
            page.update_lines()

    def _put(self, name: str, *, problem: str | None = None, asking: bool = False) -> None:
        old: Part[Any] = getattr(self.parts, name)
        self._keep(name, replace(old, problem=old.problem if asking else problem, asking=asking))

    def _keep(self, name: str, part: Part[Any]) -> None:
        changed: dict[str, Any] = {name: part}
        self.parts = replace(self.parts, **changed)

    def _unreachable(self, record: Record | None) -> str:
        if record is None:
            return "It is gone; nothing answers there any more."
        if record.instance.ssh is None and record.instance.state.bills_compute:
            return "It has no address to ask at yet."
        return f"It is {record.instance.state.value}; statusd answers only while it runs."

    # -- what is shown ------------------------------------------------------------------------------------------

    @property
    def _record(self) -> Record | None:
        record = self.fleet.store.records.get(self.key)
        if record is not None:
            self._last = record
        return record

    def _left(self) -> Line:
        record = self._record or self._last
        name = record.instance.name if record else self.key.id
        return ((name or self.key.id, "title"), (f"  {self.key.account} · {self.key.region} · {self.key.id}", "muted"))

    def _right(self, scene: Scene) -> Line:
        record = self._record
        if record is None:
            return (("gone: the cloud confirms it", "tone-good"),)
        return (*cells.state(record, scene, 20), ("   ", "text"), *cells.guard(record, scene, 20))

    def _lines(self, scene: Scene, width: int) -> Sequence[Line]:
        record = self._record or self._last
        return [] if record is None else lines_of(self.part, record, self.parts, scene, width)

    def _show_footer(self) -> None:
        situation = self.situation()
        shown = sorted(
            (action for action in ACTIONS if action.footer and "instance" in action.screens),
            key=lambda action: action.footer,
        )
        keys = [(action, reason_against(action.id, situation) is None) for action in [*shown, BY_ID["back"]]]
        self.query_one(Footer).show(FooterFacts(tuple(keys)))
