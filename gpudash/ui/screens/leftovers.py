"""What bills without a running instance: disks, volumes, addresses, filesystems, warm workers."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any, ClassVar

from textual.binding import BindingType

from gpudash.model.money import Amount, cost
from gpudash.providers.base import Leftover
from gpudash.ui import format as fmt
from gpudash.ui.actions import again, bindings
from gpudash.ui.columns import Column
from gpudash.ui.scene import Line, Scene
from gpudash.ui.screens.listing import ListScreen

MONTH_HOURS = Decimal(730)


def _hour(item: Leftover) -> float | None:
    return None if item.price is None else float(item.price.usd_per_hour)


def _month(item: Leftover, scene: Scene, width: int) -> Line:
    if item.price is None:
        return ((fmt.UNKNOWN, "unknown"),)
    return ((fmt.money(Amount(item.price.usd_per_hour * MONTH_HOURS, item.price.estimated)), "value"),)


def _size(item: Leftover, scene: Scene, width: int) -> Line:
    return ((fmt.NOTHING if item.size_gb is None else f"{item.size_gb} GB", "text"),)


class LeftoversScreen(ListScreen[Leftover]):
    """One row a leftover, dearest first."""

    title_text = "Leftovers: what bills without a running instance"
    row_name = "leftover"
    first_sort = "month"
    first_falling = True
    columns: ClassVar[Sequence[Column[Any]]] = (
        Column("kind", "WHAT", 10, lambda x, s, w: ((x.kind, "value"),), lambda x: x.kind, weight=1, grow=4),
        Column("name", "NAME", 16, lambda x, s, w: ((x.name or x.id, "text"),), lambda x: x.name, weight=1, grow=20),
        Column("account", "ACCOUNT", 9, lambda x, s, w: ((x.account, "text"),), lambda x: x.account, weight=1, grow=4),
        Column("region", "REGION", 12, lambda x, s, w: ((x.region, "muted"),), lambda x: x.region, weight=3, grow=6),
        Column("size", "SIZE", 7, _size, lambda x: x.size_gb, weight=2, right=True, falling=True),
        Column(
            "price", "$/H", 7, lambda x, s, w: ((fmt.rate(x.price), "text"),), _hour, weight=4, right=True, falling=True
        ),
        Column("month", "A MONTH", 9, _month, _hour, weight=1, right=True, falling=True),
        Column(
            "of",
            "OF",
            12,
            lambda x, s, w: ((x.instance_id or fmt.NOTHING, "muted"),),
            lambda x: x.instance_id,
            weight=5,
            grow=10,
        ),
    )

    kind = "leftovers"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("leftovers"), again("leftovers")]

    async def fetch(self) -> Iterable[tuple[Hashable, Leftover]]:
        listings = await self.fleet.leftovers()
        self.problem = next((f"{lst.account}: {lst.trouble}" for lst in listings if lst.trouble), None)
        silent = {listing.account for listing in listings if not listing.complete}
        told: dict[Hashable, Leftover] = dict(self.kept(lambda item: item.account in silent))
        told |= {(item.account, item.id): item for listing in listings for item in listing.items}
        return told.items()

    def opened(self) -> None:
        item = self.chosen()
        if item is None:
            return
        keys = self.fleet.store.records
        key = next((key for key in keys if (key.account, key.id) == (item.account, item.instance_id)), None)
        if key is not None:
            self.open_instance(key, item.name)
        else:
            self.gpudash.say(
                f"{item.name or item.id} belongs to no instance of the fleet; its cloud deletes it.", "muted"
            )

    def action_copy_id(self) -> None:
        item = self.chosen()
        if item is not None:
            self.copy(item.id)

    def right(self, scene: Scene) -> Line:
        hours = timedelta(hours=float(MONTH_HOURS))
        total = sum((cost(row.record.price, hours) for row in self.view.rows.values()), Amount())
        return ((f"{fmt.money(total)} a month", "money-risk" if total.usd else "muted"),)

    def nothing(self) -> str:
        return "Nothing is left over: no disk, volume or address bills on its own."
