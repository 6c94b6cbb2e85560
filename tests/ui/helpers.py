"""An app over an in-memory fleet, and ways to ask what stands on its screen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC
from typing import Any

from blockbuster import BlockBuster
from textual import events
from textual.keys import _character_to_key
from textual.pilot import Pilot

from gpudash.ui.app import GpudashApp, Options
from gpudash.ui.screens.fleet import FleetScreen
from gpudash.ui.synthetic.memory import MemoryFleet
from gpudash.ui.widgets.footer import Footer
from gpudash.ui.widgets.paint import Painted

WIDE, NARROW = (160, 48), (80, 24)


class Stage:
    """A running app with its pilot."""

    def __init__(self, app: GpudashApp, pilot: Pilot[int], fleet: MemoryFleet) -> None:
        self.app, self.pilot, self.fleet = app, pilot, fleet

    async def press(self, *keys: str) -> None:
        """As `pilot.press`, which waits 60 ms a key for the CPU to calm down."""
        for key in keys:
            await self.press_fast(key)

    async def press_fast(self, *keys: str) -> None:
        """All of them before anything is awaited."""
        for key in keys:
            name = _character_to_key(key) if len(key) == 1 else key
            event = events.Key(name, key if len(key) == 1 else " " if key == "space" else None)
            event.set_sender(self.app)
            self.app.post_message(event)
        await self.settle()

    async def settle(self) -> None:
        """Let messages, workers of keys and gathered changes through; `pilot.pause` waits for the CPU."""
        for _ in range(3):
            await asyncio.sleep(0.006)  # more than a frame: what waits for a refresh comes through
            await self.pilot._wait_for_screen()
            working = [worker for worker in self.app.workers if worker.group == "verbs"]
            if working:
                await self.app.workers.wait_for_complete(working)
        await self.pilot._wait_for_screen()
        if self.app._gathering:
            self.app._draw_changes()
        await self.pilot._wait_for_screen()

    async def paint(self) -> None:
        """Wait until what was refreshed has been drawn."""
        await self.pilot.pause()
        await self.pilot.pause()

    async def beat(self, seconds: float = 1.0) -> None:
        """Let time pass and the screen see it."""
        self.fleet.clock.advance(seconds)  # type: ignore[attr-defined]
        self.app.beat()
        await self.settle()

    @property
    def fleet_screen(self) -> FleetScreen:
        screen = self.app.screen_stack[0]
        assert isinstance(screen, FleetScreen)
        return screen

    @property
    def answer(self) -> str:
        """What the footer says to the last key."""
        return next((f.answer for s in reversed(self.app.screen_stack) for f in s.query(Footer)), "")

    def text(self, selector: str | None = None) -> str:
        """The words on the top screen."""
        nodes: Any = self.app.screen.query(selector) if selector else self.app.screen.query(Painted)
        lines: list[str] = []
        for node in nodes:
            for y in range(node.size.height):
                lines.append("".join(segment.text for segment in node.render_line(y)))
        return "\n".join(lines)

    def rows(self) -> list[str]:
        return [row.record.instance.name for row in self.fleet_screen.view.order]

    async def go_to(self, name: str) -> None:
        screen = self.fleet_screen
        key = next(k for k, r in self.fleet.store.records.items() if r.instance.name == name)
        screen.table.select(key)
        await self.settle()


@asynccontextmanager
async def stage(
    fleet: MemoryFleet, size: tuple[int, int] = WIDE, *, kind: type[GpudashApp] = GpudashApp, **options: Any
) -> AsyncIterator[Stage]:
    app = kind(fleet, Options(zone=UTC, **options))
    async with app.run_test(size=size) as pilot:
        on = Stage(app, pilot, fleet)
        await on.settle()
        with nothing_blocks():
            yield on


@contextmanager
def nothing_blocks() -> Iterator[None]:
    """A call of gpudash that blocks the loop of a running app fails the test; a test may open files as it likes.

    Allowed are the small files that a person's own key asks for: themes, and the settings where a choice is kept.
    """
    guard = BlockBuster("gpudash")
    for function in guard.functions.values():
        function.can_block_in("gpudash/ui/themes.py", {"names", "load", "load_all", "_files", "_toml_files"})
        function.can_block_in("gpudash/ui/app.py", {"choose_theme"})
    guard.activate()
    try:
        yield
    finally:
        guard.deactivate()
