"""Every key on every screen: it acts on its target, answers why it cannot, and in read-only mode changes nothing.

The rows are in `keytable`. That none is missing is asked of the key table and of what is bound on each screen while it
runs: a new key, and a new screen, fails here until it has its row.
"""

from __future__ import annotations

import importlib
import pkgutil
import string
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from textual.keys import _character_to_key
from textual.screen import Screen
from textual.widgets import Input

from gpudash.clock import ManualClock
from gpudash.model.endpoint import SERVERLESS, Bounds, Endpoint, JobCounts, WorkerCounts
from gpudash.model.instance import InstanceKey
from gpudash.model.listing import Listing
from gpudash.model.money import Price
from gpudash.model.policy import EndAction
from gpudash.ui import screens
from gpudash.ui.actions import ACTIONS, READ_ONLY, Danger
from gpudash.ui.app import GpudashApp
from gpudash.ui.columns import FIRST
from gpudash.ui.remembered import Remembered
from gpudash.ui.screens.costs import VIEWS
from gpudash.ui.synthetic.memory import MemoryFleet
from gpudash.ui.synthetic.sample import NOW, sample_fleet
from gpudash.ui.widgets.footer import Footer
from tests.ui.helpers import Stage, stage
from tests.ui.keytable import ACTS, CANNOT, PLACES, Place, Row, Seen, see
from tests.ui.walker import STYLES

KEYS = {_character_to_key(key) if len(key) == 1 else key for action in ACTIONS for key in action.keys.split(",")}
COSTS = [screen.__name__ for screen in VIEWS]
PASSED_ON = {"scroll_up", "scroll_down", "page_up", "page_down"}
"""What a text field that has nothing to scroll leaves to its screen."""
MERELY_TEXTUALS = {"screen.copy_text"}


class KeptApp(GpudashApp):
    """The real app, which tells that it would leave, and stays."""

    CSS_PATH = STYLES

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.left: list[str] = []

    async def _quit(self, code: int) -> None:
        self.left.append("quit")

    def action_suspend_process(self) -> None:
        self.left.append("suspended")


def scene(*, read_only: bool = False) -> MemoryFleet:
    """The scripted fleet, with endpoints, and a leftover that belongs to an instance."""
    fleet = sample_fleet(read_only=read_only)
    books = next(key for key, record in fleet.store.records.items() if record.instance.name == "notebooks")
    fleet.cloud.leftovers = tuple(
        replace(item, account=books.account, instance_id=books.id) if item.name == "notebooks" else item
        for item in fleet.cloud.leftovers
    )
    endpoints = tuple(
        Endpoint(
            InstanceKey("runpod", SERVERLESS, f"ep-{name}"), "runpod", name, bounds=Bounds(1, 4, 30),
            counts=WorkerCounts(idle=1), jobs=JobCounts(in_queue=2), worker_price=Price(Decimal("1.1"), "catalogue"),
        )
        for name in ("chat", "embed", "rerank")
    )  # fmt: skip
    fleet.store.apply_endpoints(Listing("runpod", SERVERLESS, endpoints, True, NOW, NOW))
    return fleet


class Visit:
    """A running app that is brought to one place again and again."""

    def __init__(self, on: Stage, place: Place, *, gone: bool = False) -> None:
        self.on, self.place, self.gone = on, place, gone
        self.app: Any = on.app
        store = on.fleet.store
        self.records, self.operations = dict(store.records), dict(store.operations)
        self.policies, self.adopted = dict(store.policies), set(store.adopted)
        self.here: Seen | None = None

    @property
    def target(self) -> InstanceKey | None:
        return next((key for key, record in self.records.items() if record.instance.name == self.place.at), None)

    async def come(self) -> Seen:
        """Everything as it was before the last key."""
        on, place = self.on, self.place
        here, now = self.here, see(on)
        if here is not None and (now.screen, now.focus, now.calls, now.shown) == (
            here.screen,
            here.focus,
            here.calls,
            here.shown,
        ):
            self._forget()
            return here
        while len(self.app.screen_stack) > 1:
            self.app.pop_screen()
        self._reset()
        await on.settle()
        if place.push is not None:
            self.app.push_screen(place.push())
            await on.settle()
        await on.press(*place.reach)
        if place.at_once:
            self.app.screen.query_one(f"#{place.focus}").focus()
        for _ in range(place.steps):
            on.fleet.step()
        screen = self.app.screen
        if getattr(screen, "view", None) is not None and screen is not on.fleet_screen:
            screen.table.move_to(place.row)
        if self.gone:
            on.fleet.store.records.pop(self.target)  # type: ignore[arg-type]
        await on.settle()
        self._forget()
        assert type(screen) is place.kind
        assert not place.focus or self.app.focused.id == place.focus or (
            place.focus == "filter" and self.app.focused is screen.query_one("FilterBar Input")
        )  # fmt: skip
        self.here = see(on)
        return self.here

    def _reset(self) -> None:
        """The world and the fleet's screen, by their own doors."""
        store, home = self.on.fleet.store, self.on.fleet_screen
        store.apply_policies(self.policies, self.adopted)
        store.records.update(self.records)
        for operation in set(store.operations) - set(self.operations):
            del store.operations[operation]
        for screen in ("EventsScreen", "TunnelsScreen", "LeftoversScreen", "EndpointsScreen", *COSTS):
            self.app.views.put(screen, Remembered())
        home.view.replace_all(dict(store.records))
        home.close_filter()
        home.table.clear_marks()
        home.view.only = None
        home.sort_as(FIRST, reverse=False)
        home.rebuild()
        if self.target is not None:
            home.table.select(self.target)

    def _forget(self) -> None:
        self.on.fleet.calls.clear()
        self.app.left.clear()
        self.app._clipboard = ""
        for screen in self.app.screen_stack:
            for footer in screen.query(Footer):
                footer.say("")

    async def press(self, key: str, row_name: str, row: Row, state: str) -> None:
        """One key from there, and its row must hold."""
        was = await self.come()
        expected = getattr(row, state)
        if row_name == "undo" and state == "can":
            await self.on.fleet.end(self.target, EndAction.STOP)  # type: ignore[arg-type]
            was = see(self.on)
        await self.on.press(key)
        now = see(self.on)
        assert expected.holds(self.on, was, now), (key, row_name, state, expected, now)
        for _, what in now.calls[len(was.calls) :]:
            self._is_mine(what)

    def _is_mine(self, what: object) -> None:
        key = what[0] if type(what) is tuple else what  # type: ignore[index]
        if isinstance(key, InstanceKey) and self.place.kind.__module__.rpartition(".")[2] in ("fleet", "instance"):
            assert key == self.target

    def bound(self) -> dict[str, str]:
        """What is bound there now: key → the id of its action, or the action itself. Letters in a text field are text."""
        screen, typing = self.app.screen, isinstance(self.app.focused, Input)
        found = {}
        for key, active in screen.active_bindings.items():
            if (typing and is_text(key)) or active.binding.action in MERELY_TEXTUALS:
                continue
            binding = active.binding
            if isinstance(active.node, Input) and binding.action != "submit":
                bindings = screen._bindings.key_to_bindings.get(key, ())
                below = [one for one in bindings if one.action not in MERELY_TEXTUALS]
                if binding.action not in PASSED_ON or not below:
                    continue
                binding = below[-1]
            found[key] = binding.id or binding.action
        return found


def is_text(key: str) -> bool:
    """It is a letter or sign, which a text field takes."""
    return len(key) == 1 or key == "space" or key in {_character_to_key(letter) for letter in string.punctuation}


@asynccontextmanager
async def visit(place: Place, state: str) -> AsyncIterator[Visit]:
    gone = state == "empty" and place.kind.__name__ == "InstanceScreen"
    is_empty = state == "empty" and not gone
    fleet = MemoryFleet(ManualClock(NOW)) if is_empty else scene(read_only=state == "read_only")
    async with stage(fleet, size=place.size, kind=KeptApp) as on:
        yield Visit(on, place, gone=gone)


def rows_in(place: Place, state: str) -> dict[str, Row]:
    """What is to be tried there: all, and where there is nothing to act on, or in read-only mode, what differs by it."""
    rows = {**place.rows, **place.extra}
    if state == "can":
        return {name: row for name, row in rows.items() if name not in ACTS}  # each instance its own, see below
    return {name: row for name, row in rows.items() if getattr(row, state) is not row.can}


STATES = [
    pytest.param(name, state, id=f"{name}-{state}")
    for name, place in PLACES.items()
    for state in ("can", "empty", "read_only")
    if rows_in(place, state)
]


@pytest.mark.parametrize(("name", "state"), STATES)
async def test_every_key_does_what_its_row_says_and_every_other_key_nothing(name: str, state: str) -> None:
    place = PLACES[name]
    async with visit(place, state) as there:
        was = await there.come()
        bound = there.bound()
        assert set(bound.values()) == set(place.rows)
        rows = rows_in(place, state)
        for key, row_name in [*bound.items(), *((key, key) for key in place.extra)]:
            if row_name in rows:
                await there.press(key, row_name, rows[row_name], state)
        if state != "can":
            return
        was = await there.come()
        meant = {*there.app.screen.active_bindings, *place.extra}
        await there.on.press_fast(*sorted(key for key in KEYS - meant if not is_text(key)))
        assert see(there.on) == was
        await there.on.press_fast(*sorted(key for key in KEYS - meant if is_text(key)))
        now = see(there.on)
        assert (now.screen, now.calls, now.left, now.answer) == (was.screen, was.calls, was.left, was.answer)
        assert place.types or now == was


OF_EACH_KIND = ("comfy", "train-llama", "probe-7", "notebooks")
"""Running, at a cloud that cannot stop, being ended, stopped."""


@pytest.mark.parametrize(
    ("name", "place"), [*((name, "fleet") for name in CANNOT), *((name, "instance") for name in OF_EACH_KIND)]
)
async def test_every_verb_acts_on_its_instance_or_answers_why(name: str, place: str) -> None:
    async with visit(PLACES[place]._replace(at=name), "can") as there:
        await there.come()
        for key, row_name in there.bound().items():
            if row_name not in ACTS or (row_name == "undo" and name in ("probe-7", "notebooks")):
                continue
            row = ACTS[row_name]
            if row_name in CANNOT[name]:
                row = says_why(CANNOT[name][row_name])
            await there.press(key, row_name, row, "can")
            about = getattr(there.app.screen, "records", None) or [getattr(there.app.screen, "record", None)]
            assert [record.key for record in about if record] in ([there.target], [])


def says_why(words: str) -> Row:
    from tests.ui.keytable import always, says

    return always(says(words))


def test_no_key_of_the_table_is_without_a_row() -> None:
    for action in ACTIONS:
        heard = [place for place in PLACES.values() if place.heard & action.screens]
        assert heard, action.id
        for place in heard:
            assert action.id in place.rows, (action.id, place.kind)


def test_whatever_changes_the_world_is_refused_in_read_only_mode_by_its_row() -> None:
    for action in ACTIONS:
        if action.danger is Danger.NONE or action.id in ("undo", "cancel_launch"):
            continue  # there is nothing to undo, and nothing that was launched
        for place in PLACES.values():
            if place.heard & action.screens:
                assert str(place.rows[action.id].read_only) == f"says {READ_ONLY!r}", action.id


def test_no_screen_is_without_a_place() -> None:
    for module in pkgutil.iter_modules(screens.__path__):
        importlib.import_module(f"{screens.__name__}.{module.name}")

    def below(kind: type[Any]) -> set[type[Any]]:
        return {kind}.union(*(below(one) for one in kind.__subclasses__()))

    ours = {kind for kind in below(Screen) if kind.__module__.startswith("gpudash.")}
    abstract = {base for kind in ours for base in kind.__mro__[1:]}
    assert ours - abstract == {place.kind for place in PLACES.values()}
