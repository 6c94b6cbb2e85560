"""What is known of the row under the cursor, below the table."""

from __future__ import annotations

from gpudash.fleet.record import Record
from gpudash.ui.panels import Extras, details
from gpudash.ui.scene import Line, Scene
from gpudash.ui.widgets.paint import PaintedBlock


class Details(PaintedBlock):
    """GPUs, signals, guard, lease, cost, tunnels, last events of one record."""

    ground = "surface"
    DEFAULT_CSS = "Details { height: 7; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.record: Record | None = None
        self.extras = Extras()

    def show(self, record: Record | None, extras: Extras) -> None:
        """Show another record, or the same one as it is now."""
        self.record, self.extras = record, extras
        self.update_lines()

    def compose_lines(self, scene: Scene, width: int, height: int) -> list[Line]:
        if self.record is None:
            return []
        return details(self.record, self.extras, scene, width, height)
