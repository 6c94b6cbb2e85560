"""What each instance costs an hour, has cost, and will have cost at its deadline."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from gpudash.fleet.changes import ChangeSet
from gpudash.fleet.record import Record
from gpudash.model.instance import InstanceKey
from gpudash.ui import cells, columns
from gpudash.ui import format as fmt
from gpudash.ui.columns import Column
from gpudash.ui.scene import Line, Scene
from gpudash.ui.screens.listing import ListScreen


def _disk(record: Record, scene: Scene, width: int) -> Line:
    return ((fmt.rate(record.instance.storage_price), "estimate"),)


def _source(record: Record, scene: Scene, width: int) -> Line:
    price = record.instance.price
    return ((fmt.NOTHING if price is None else price.source, "muted"),)


class CostsScreen(ListScreen[Record]):
    """Instances that are listed now, dearest first; the strip's sums above."""

    title_text = "Costs"
    first_sort = "spent"
    first_falling = True
    columns: ClassVar[Sequence[Column[Any]]] = (
        Column("name", "NAME", 16, cells.name, lambda r: r.instance.name, weight=1, grow=20),
        Column("account", "ACCOUNT", 9, cells.account, lambda r: r.key.account, weight=1, grow=6),
        Column("state", "STATE", 13, cells.state, lambda r: r.instance.state.value, weight=1),
        Column("price", "$/H", 7, cells.price, columns.hourly, weight=1, right=True, falling=True),
        Column("disk", "DISK $/H", 8, _disk, None, weight=4, right=True),
        Column("spent", "SPENT", 11, cells.spent, columns.spent_so_far, weight=1, right=True, falling=True),
        Column("projected", "AT DEADLINE", 11, cells.projected, None, weight=1, right=True),
        Column("ends", "ENDS", 16, cells.ends, columns.ends_at, weight=3),
        Column("source", "PRICE FROM", 12, _source, None, weight=5, grow=10),
    )

    async def fetch(self) -> Iterable[tuple[InstanceKey, Record]]:
        return list(self.fleet.store.records.items())

    def changed(self, changes: ChangeSet) -> None:
        self.load()

    def right(self, scene: Scene) -> Line:
        totals = self.fleet.store.totals(scene.now)
        return (
            (fmt.usd_rate(totals.burn), "value"),
            ("   today ", "label"),
            (fmt.money(totals.spent_today), "value"),
            ("   until deadlines ", "label"),
            (fmt.money(totals.projected), "text"),
        )

    def nothing(self) -> str:
        return "No instance, no cost."
