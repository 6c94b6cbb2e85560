"""What the palette finds: every key, screen, instance and theme by name. Fed from the key table, the store and the
theme files, so nothing is listed twice.
"""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

from textual.fuzzy import FuzzySearch
from textual.screen import Screen

from gpudash.ui import themes
from gpudash.ui.actions import ACTIONS, Action, display_key, reason_against
from gpudash.ui.cells import gpu_name
from gpudash.ui.screens.base import Living
from gpudash.ui.screens.fleet import FleetScreen

if TYPE_CHECKING:
    from gpudash.fleet.record import Record
    from gpudash.ui.app import GpudashApp

MANY_WAYS = 2000
"""A name in which the typed letters can be found in more ways than that is not searched for the best of them."""


class Command(NamedTuple):
    """One line of the palette."""

    label: str
    about: Callable[[], str]
    """What it does; only asked for lines that are shown."""
    run: Callable[[], Awaitable[Any] | None]
    key: str = ""
    """The key that does the same."""
    words: str = ""
    """More words by which it is found."""
    reason: str | None = None
    """Why it cannot be done now."""
    theme: str | None = None
    """The theme it puts on."""


class Found(NamedTuple):
    """A command that fits what was typed."""

    command: Command
    places: frozenset[int] = frozenset()
    """Which letters of its label fit."""


def commands(app: GpudashApp, screen: Screen[Any]) -> list[Command]:
    """All there are, for a palette over that screen."""
    return [*_keys(app, screen), *_instances(app), *_themes(app)]


def find(known: Sequence[Command], typed: str) -> list[Found]:
    """Those that fit, best first; all where nothing is typed."""
    query = " ".join(typed.lower().split())
    if not query:
        return [Found(command) for command in known]
    in_order = re.compile(".*?".join(re.escape(letter) for letter in query), re.IGNORECASE | re.DOTALL)
    scored: list[tuple[float, int, Found]] = []
    for number, command in enumerate(known):
        if in_order.search(command.label):
            score, places = _match(query, command.label)
            scored.append((-score, number, Found(command, frozenset(places))))
        elif query in command.words.lower():
            scored.append((-0.5 * len(query), number, Found(command)))
    return [found for _, _, found in sorted(scored, key=lambda item: item[:2])]


def _match(query: str, label: str) -> tuple[float, Sequence[int]]:
    low = label.lower()
    if query not in low and math.prod(low.count(letter) for letter in query) > MANY_WAYS:
        return 0.4 * len(query), ()
    return _search().match(query, label)


@lru_cache(maxsize=1)
def _search() -> FuzzySearch:
    return FuzzySearch()


# -- where they come from -------------------------------------------------------------------------------------------


def _keys(app: GpudashApp, screen: Screen[Any]) -> Iterator[Command]:
    """What the keys of the screen below do; elsewhere than on the fleet also the way to its lists."""
    situation = screen.situation() if isinstance(screen, Living) else None
    bound = {binding.id for bindings in screen._bindings.key_to_bindings.values() for binding in bindings}
    for action in ACTIONS:
        if action.group == "move" or action.id == "palette":
            continue
        if action.id in bound:
            reason = reason_against(action.id, situation) if situation is not None else None
            yield _key(app, action, _runner(app, action, screen), reason)
        elif action.group == "list" or action.id == "launch":
            yield _key(app, action, _runner(app, action, None), None)


def _key(app: GpudashApp, action: Action, run: Callable[[], Awaitable[Any]], reason: str | None) -> Command:
    label = f"sort {action.label}" if action.group == "sort" else action.label
    key = display_key(app.key_of(action).split(",")[0])
    return Command(label, lambda: reason or action.sentence, run, key, action.sentence, reason)


def _runner(app: GpudashApp, action: Action, screen: Screen[Any] | None) -> Callable[[], Awaitable[Any]]:
    async def run() -> None:
        await app.run_action(action.method, screen or _home(app))

    return run


def _instances(app: GpudashApp) -> Iterator[Command]:
    for record in app.fleet.store.records.values():
        yield Command(
            f"go to {record.instance.name or record.key.id}",
            partial(_about, record),
            partial(_go_to, app, record.key),
            words=f"{record.key.account} {record.key.id}",
        )


def _go_to(app: GpudashApp, key: object) -> None:
    _home(app).go_to(key)


def _about(record: Record) -> str:
    return f"{record.key.account} · {gpu_name(record)} · {record.instance.state.value}"


def _themes(app: GpudashApp) -> Iterator[Command]:
    good, bad = themes.load_all()
    yield Command(
        "themes: look at them all", lambda: "A list that shows each as the cursor passes.", lambda: _list(app)
    )
    for theme in good:
        yield Command(
            f"theme {theme.name}",
            partial(str, theme.about),
            partial(app.choose_theme, theme.name),
            words=theme.about,
            theme=theme.name,
        )
    for problem in bad:
        text = str(problem)
        yield Command("theme refused", partial(str, text), lambda: None, words=text, reason=text)


def _list(app: GpudashApp) -> None:
    from gpudash.ui.screens.themepicker import ThemePicker

    app.push_screen(ThemePicker())


def _home(app: GpudashApp) -> FleetScreen:
    """The fleet, after whatever lies over it is closed."""
    while len(app.screen_stack) > 1:
        app.pop_screen()
    home = app.screen
    assert isinstance(home, FleetScreen)
    return home
