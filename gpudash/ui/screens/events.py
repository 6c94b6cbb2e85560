"""What happened, newest first: by whose hand, to which instance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from gpudash.model.event import Event
from gpudash.ui import format as fmt
from gpudash.ui.columns import Column
from gpudash.ui.scene import Line, Scene
from gpudash.ui.screens.listing import ListScreen

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
        Column("text", "", 26, lambda e, s, w: ((e.text, "text"),), None, weight=1, grow=160),
    )

    async def fetch(self) -> Iterable[tuple[int, Event]]:
        return list(enumerate(reversed(await self.fleet.events(limit=500))))

    def nothing(self) -> str:
        return "Nothing has happened yet."
