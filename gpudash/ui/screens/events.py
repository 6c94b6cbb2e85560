"""What happened, newest first: by whose hand, to which instance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, ClassVar

from textual.binding import BindingType

from gpudash.fleet.changes import ChangeSet
from gpudash.model.event import Event
from gpudash.ui import format as fmt
from gpudash.ui.actions import again, bindings
from gpudash.ui.columns import Column
from gpudash.ui.scene import Line, Scene
from gpudash.ui.screens.listing import ListScreen

MOST = 500
"""As many are read; `gpudash events --limit` tells more."""
_ALARMING = frozenset({"alarm", "refused", "failed", "gone"})


def _when(event: Event, scene: Scene, width: int) -> Line:
    text = fmt.when(event.at, scene.now, scene.zone)
    return (
        ((text, "label"), (f"  {fmt.length(scene.now - event.at)} ago", "muted")) if width > 16 else ((text, "label"),)
    )


def _kind(event: Event, scene: Scene, width: int) -> Line:
    return ((event.kind, "tone-bad" if event.kind in _ALARMING else "accent"),)


class EventsScreen(ListScreen[Event]):
    """The ledger's diary."""

    title_text = "Events"
    row_name = "event"
    first_sort = "when"
    first_falling = True
    columns: ClassVar[Sequence[Column[Any]]] = (
        Column("when", "WHEN", 9, _when, lambda e: e.at.timestamp(), weight=1, grow=10, falling=True),
        Column("kind", "WHAT", 10, _kind, lambda e: e.kind, weight=1, grow=2),
        Column(
            "name",
            "INSTANCE",
            12,
            lambda e, s, w: ((e.name or fmt.NOTHING, "value"),),
            lambda e: e.name,
            weight=1,
            grow=12,
        ),
        Column("account", "ACCOUNT", 9, lambda e, s, w: ((e.account, "text"),), lambda e: e.account, weight=4),
        Column("by", "BY", 9, lambda e, s, w: ((e.actor or fmt.NOTHING, "muted"),), lambda e: e.actor, weight=3),
        Column("text", "DETAIL", 26, lambda e, s, w: ((e.text, "text"),), None, weight=1, grow=160),
    )

    kind = "events"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("events"), again("events")]

    def __init__(self) -> None:
        super().__init__()
        self._is_old = False

    async def fetch(self) -> Iterable[tuple[Hashable, Event]]:
        told = await self.fleet.events(limit=MOST)
        seen: Counter[tuple[object, ...]] = Counter()
        rows: list[tuple[Hashable, Event]] = []
        for event in reversed(told):
            what = (event.at, event.kind, event.text, event.key)
            rows.append(((*what, seen[what]), event))
            seen[what] += 1
        return rows

    def changed(self, changes: ChangeSet) -> None:
        self._is_old |= changes.operations or bool(changes.added or changes.removed or changes.changed)

    def beat(self) -> None:
        """What happened meanwhile is read once a beat, not with every change."""
        super().beat()
        if self._is_old:
            self._is_old = False
            self.load()

    def opened(self) -> None:
        event = self.chosen()
        if event is not None:
            self.open_instance(event.key, event.name)

    def action_copy_event(self) -> None:
        event = self.chosen()
        if event is not None:
            self.copy(f"{fmt.utc(event.at)} {event.kind} {event.name or event.account}: {event.text}")

    def right(self, scene: Scene) -> Line:
        count = len(self.view.rows)
        return ((f"the last {count}" if count == MOST else fmt.plural(count, "event"), "muted"),)

    def nothing(self) -> str:
        return "Nothing has happened yet."
