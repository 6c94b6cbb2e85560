"""What screens that live with the fleet have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from textual.screen import Screen

from gpudash.fleet.changes import ChangeSet
from gpudash.ui.actions import Situation
from gpudash.ui.port import FleetPort
from gpudash.ui.widgets.paint import Painted

if TYPE_CHECKING:
    from gpudash.ui.app import GpudashApp


class Living(Screen[Any]):
    """A screen that hears beats and change sets. By default it looks at every painted widget and draws what differs."""

    @property
    def gpudash(self) -> GpudashApp:
        """The app, by its own type."""
        return cast("GpudashApp", self.app)

    @property
    def fleet(self) -> FleetPort:
        return self.gpudash.fleet

    def beat(self) -> None:
        """A second has passed."""
        for widget in self.query(Painted):
            widget.update_lines()

    def changed(self, changes: ChangeSet) -> None:
        """The store changed."""
        self.beat()

    def situation(self) -> Situation | None:
        """What keys would act on here; None where no key of the table acts."""
        return None

    async def action_palette(self) -> None:
        from gpudash.ui.commands import Command, commands
        from gpudash.ui.screens.palette import Palette

        def chosen(command: Command | None) -> None:
            if command is not None:
                self.gpudash.call_later(command.run)

        self.app.push_screen(Palette(commands(self.gpudash, self)), chosen)

    def action_help(self) -> None:
        from gpudash.ui.screens.help import HelpScreen

        self.app.push_screen(HelpScreen())

    def action_refresh(self) -> None:
        """Ask everybody again, and write every cell again: another program may have written on the terminal."""
        self.fleet.refresh()
        self.gpudash.shown.forget()
        self.refresh()
        self.gpudash.say("Asking all clouds and hosts …", "muted")

    @property
    def is_open(self) -> bool:
        """It has not been left. Ask after each wait: its widgets are gone with it."""
        return self in self.app.screen_stack

    def leave(self) -> None:
        """Go back to the screen below. A second Esc that was on its way already takes no other screen with it."""
        if len(self.app.screen_stack) > 1 and self.app.screen is self:
            self.app.pop_screen()

    def action_back(self) -> None:
        self.leave()

    async def action_quit(self) -> None:
        await self.gpudash.action_quit()

    def action_suspend_process(self) -> None:
        self.app.action_suspend_process()
