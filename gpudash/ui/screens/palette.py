"""The command palette: every key, screen, instance and theme by name. Fed from the key table, so nothing is listed
twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

from textual.command import CommandPalette, DiscoveryHit, Hit, Hits, Provider
from textual.screen import Screen

from gpudash.ui import themes
from gpudash.ui.actions import ACTIONS
from gpudash.ui.cells import gpu_name
from gpudash.ui.screens.fleet import FleetScreen

if TYPE_CHECKING:
    from gpudash.ui.app import GpudashApp

Command = tuple[str, str, Callable[[], Any]]
"""What is shown, what it does in a sentence, and how it is done."""


class _Source:
    """Some commands for the screen below."""

    def __init__(self, screen: Screen[Any]) -> None:
        self.screen = screen
        self.app = cast("GpudashApp", screen.app)

    def commands(self) -> Iterator[Command]:
        raise NotImplementedError


class KeyCommands(_Source):
    """What the keys of the screen below do."""

    def commands(self) -> Iterator[Command]:
        for action in ACTIONS:
            if action.group != "move" and any(b.id == action.id for b in _bindings(self.screen)):
                label = f"{action.label[0].upper()}{action.label[1:]}"
                label = f"Sort {action.label}" if action.group == "sort" else label
                yield f"{label}  ({action.shown_key})", action.sentence, self._runner(action.method)

    def _runner(self, method: str) -> Callable[[], Any]:
        screen = self.screen

        async def run() -> None:
            await self.app.run_action(method, screen)

        return run


class InstanceCommands(_Source):
    """Go to an instance by name."""

    def commands(self) -> Iterator[Command]:
        for record in list(self.app.fleet.store.records.values())[:2000]:
            instance = record.instance
            text = f"Go to {_plain(instance.name or record.key.id)}"
            yield text, f"{record.key.account} · {gpu_name(record)} · {instance.state.value}", self._goer(record.key)

    def _goer(self, key: object) -> Callable[[], Any]:
        def go() -> None:
            screen = self.app.screen
            if isinstance(screen, FleetScreen):
                screen.go_to(key)

        return go


class ThemeCommands(_Source):
    """Themes, tried as soon as they are chosen."""

    def commands(self) -> Iterator[Command]:
        good, bad = themes.load_all()
        yield "Themes: look at them all", "A list that shows each as the cursor passes.", self._list
        for theme in good:
            yield f"Theme {theme.name}", theme.about, self._chooser(theme.name)
        for problem in bad:
            yield f"Theme refused: {_plain(problem.text)}", problem.hint or "", lambda: None

    def _list(self) -> None:
        from gpudash.ui.screens.themepicker import ThemePicker

        self.app.push_screen(ThemePicker())

    def _chooser(self, name: str) -> Callable[[], Any]:
        return lambda: self.app.choose_theme(name)


class Everything(Provider):
    """All sources in one provider, because several would come in any order."""

    def _commands(self) -> Iterator[Command]:
        for source in (KeyCommands, InstanceCommands, ThemeCommands):
            yield from source(self.screen).commands()

    async def discover(self) -> Hits:
        for text, sentence, run in self._commands():
            yield DiscoveryHit(text, run, text=text, help=sentence)

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for text, sentence, run in self._commands():
            score = max(matcher.match(text), 0.7 * matcher.match(sentence))
            if score > 0:
                yield Hit(score, matcher.highlight(text), run, text=text, help=sentence)


def open_palette(app: GpudashApp) -> None:
    """Open it over the present screen."""
    app.push_screen(CommandPalette(providers=[Everything], placeholder="verb, screen, instance or theme"))


def _bindings(screen: Screen[Any]) -> list[Any]:
    return [binding for bindings in screen._bindings.key_to_bindings.values() for binding in bindings]


def _plain(text: str) -> str:
    return text.replace("[", "(").replace("]", ")")
