"""Somebody who uses keys and mouse at random, and remembers at each deed what it may concern."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from textual import events
from textual.keys import _character_to_key
from textual.widgets import Input

from gpudash.errors import GpudashError
from gpudash.fleet.fleet import Fleet
from gpudash.fleet.session import Session
from gpudash.model.instance import InstanceKey, InstanceState
from gpudash.model.offer import LaunchOrder
from gpudash.model.operation import Operation, Stage
from gpudash.model.policy import EndAction, Policy
from gpudash.providers.sandbox import control
from gpudash.ui import themes
from gpudash.ui.actions import ACTIONS
from gpudash.ui.app import GpudashApp, Options
from gpudash.ui.screens.confirm import ConfirmEnd, ConfirmMany, ConfirmRestart
from gpudash.ui.screens.fleet import FleetScreen
from gpudash.ui.screens.instance import InstanceScreen
from gpudash.ui.screens.launch import LaunchScreen
from gpudash.ui.screens.palette import Palette
from tests.ui import hands

LEAVING = {"q", "ctrl+q", "ctrl+c", "ctrl+z"}
KEYS = [
    *sorted({key for action in ACTIONS for key in action.keys.split(",")} - LEAVING),
    *("tab", "left", "right", "down", "down", "up", "enter", "enter", "escape", "escape", "backspace", "3", "e"),
]
STYLES = Path(themes.__file__).parent / "gpudash.tcss"
"""Of the real app: a subclass elsewhere would look beside itself."""
LAST_KEYS = 3
"""What a key asked for begins a moment after it, when the next may have come already."""
MOST_HOSTS = 6
"""Above that no more is launched: each is a real process."""
FAULTS = (
    "api-down", "api-slow", "rate-limit", "lost-reply", "no-capacity", "no-effect", "empty-list", "ssh-cut",
    "statusd-killed", "sensor-broken",
)  # fmt: skip


class WatchedFleet(Fleet):
    """The real fleet, which also tells what it is asked to change."""

    def __init__(self, session: Session, watch: Callable[[str, object], None]) -> None:
        super().__init__(session)
        self._watch = watch

    async def launch(self, order: LaunchOrder) -> Operation:
        self._watch("launch", None)
        return await super().launch(order)

    async def end(self, key: InstanceKey, action: EndAction, hold_s: float = 5.0) -> Operation:
        self._watch("end", key)
        return await super().end(key, action, hold_s)

    async def cancel(self, op_id: str) -> Operation:
        self._watch("cancel", op_id)
        return await super().cancel(op_id)

    async def start(self, key: InstanceKey) -> Operation:
        self._watch("start", key)
        return await super().start(key)

    async def extend(self, key: InstanceKey, until: datetime) -> Operation:
        self._watch("extend", key)
        return await super().extend(key, until)

    async def keep_awake(self, key: InstanceKey, for_: timedelta) -> Operation:
        self._watch("keep_awake", key)
        return await super().keep_awake(key, for_)

    async def restart(self, key: InstanceKey) -> Operation:
        self._watch("restart", key)
        return await super().restart(key)

    async def rename(self, key: InstanceKey, name: str) -> Operation:
        self._watch("rename", key)
        return await super().rename(key, name)

    async def push(self, key: InstanceKey) -> Operation:
        self._watch("push", key)
        return await super().push(key)

    async def adopt(self, key: InstanceKey, policy: Policy | None = None) -> Operation:
        self._watch("adopt", key)
        return await super().adopt(key, policy)

    async def toggle_tunnels(self, key: InstanceKey) -> bool:
        self._watch("toggle_tunnels", key)
        return await super().toggle_tunnels(key)


class StayingApp(GpudashApp):
    """The real app, which a click on ``quit`` does not end, so that the walk goes on."""

    CSS_PATH = STYLES
    is_staying = True

    async def run_action(self, action: Any, default_namespace: Any = None, namespaces: Any = None) -> bool:
        if self.is_staying and action == "quit":
            return True
        return await super().run_action(action, default_namespace, namespaces)


class WatchedApp(StayingApp):
    """Tells when it acts on a key."""

    def __init__(self, fleet: Fleet, walker: Walker) -> None:
        super().__init__(fleet, Options())
        self._walker = walker
        walker.app = self

    async def run_action(self, action: Any, default_namespace: Any = None, namespaces: Any = None) -> bool:
        self._walker.remember()
        if action == "quit" and self._walker.is_walking:  # a click on the last line, or a line of the palette
            return True
        return await super().run_action(action, default_namespace, namespaces)


class Walker:
    """Presses a key, looks whether the program stands, and goes on."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.app: GpudashApp | None = None
        self.is_walking = False
        self.pressed: list[str] = []
        self.asked: list[tuple[str, object]] = []
        """What was asked to be changed, and of which instance."""
        self.wrong: list[str] = []
        self._rows: deque[set[Any]] = deque([set()], maxlen=LAST_KEYS)
        """What the last keys could act on; stands still while a dialog is open."""
        self._held: set[str] = set()
        self._batches: WeakKeyDictionary[asyncio.Task[Any], set[Any]] = WeakKeyDictionary()
        """What each thing that was asked for may go to: many go one after the other, and keys go on meanwhile."""

    def watch(self, verb: str, target: object) -> None:
        """The fleet is asked to change something: it must be what was under the keys when they were pressed."""
        self.asked.append((verb, target))
        task = asyncio.current_task()
        assert task is not None
        over: set[Any] = self._held if verb == "cancel" else set().union(*self._rows)
        allowed = self._batches.setdefault(task, over)
        if target is not None and target not in allowed:
            self.wrong.append(f"{verb} went to {target}, the keys were over {allowed}: … {self.pressed[-12:]}")

    async def walk(self, seconds: float) -> None:
        """So long, with faults that come and go."""
        app = self.app
        assert app is not None
        loop = asyncio.get_running_loop()
        end, next_fault = loop.time() + seconds, 0.0
        self.is_walking = True
        while loop.time() < end and not self.wrong:
            if loop.time() > next_fault:
                self._turn_a_fault()
                next_fault = loop.time() + self.chance.uniform(0.5, 3)
            if self.chance.random() < 0.2 and len(control.sandbox().hosts()) < MOST_HOSTS:
                self.pressed.append(hands.act(app, self.chance))
                await asyncio.sleep(self.chance.choice((0.0, 0.02)))
            else:
                for key in self._next():
                    await self._press(key)
            assert app.crash is None, self.pressed[-40:]
            assert app.is_running, self.pressed[-40:]
            assert len(app.screen_stack) < 12, self.pressed[-40:]
        self.is_walking = False

    def _next(self) -> list[str]:
        """One key; in a dialog that wants something typed, now and then just that."""
        assert self.app is not None
        screen = self.app.screen
        if isinstance(screen, LaunchScreen) and len(control.sandbox().hosts()) >= MOST_HOSTS:
            return ["escape"]
        if isinstance(screen, ConfirmEnd | ConfirmMany | ConfirmRestart) and self.chance.random() < 0.4:
            return ["right", "enter"] if screen.must_type is None else [*screen.must_type, "enter", "enter"]
        if isinstance(screen, Palette) and self.chance.random() < 0.3:
            return [*self.chance.choice(["stop", "extend", "theme", "go to", "push", "costs"]), "enter"]
        if isinstance(self.app.focused, Input) and self.chance.random() < 0.3:
            return ["escape"]
        return [self.chance.choice(KEYS)]

    async def _press(self, key: str) -> None:
        assert self.app is not None
        self.pressed.append(key)
        name = _character_to_key(key) if len(key) == 1 else key
        event = events.Key(name, key if len(key) == 1 else " " if key == "space" else None)
        event.set_sender(self.app)
        self.app.post_message(event)
        await asyncio.sleep(self.chance.choice((0.0, 0.004, 0.02, 0.05)))

    def remember(self) -> None:
        """A key is being acted on: these are the rows it is over. A dialog keeps what it was opened for."""
        assert self.app is not None
        shown = self.app.screen
        if isinstance(shown, FleetScreen):
            table = shown.table
            self._rows.append(set(table.marks) or {table.cursor})
        elif isinstance(shown, InstanceScreen):
            self._rows.append({shown.key})
        self._held = {
            operation.id for operation in self.app.fleet.store.operations.values() if operation.stage is Stage.INTENDED
        }

    def _turn_a_fault(self) -> None:
        name = self.chance.choice(FAULTS)
        hosts = [host.id for host in control.sandbox().hosts()]
        everywhere = self.chance.random() < 0.5 or not hosts
        try:
            if self.chance.random() < 0.5:
                for fault in control.faults():
                    control.set_fault(fault.name, False)
            else:
                control.set_fault(name, True, None if everywhere else self.chance.choice(hosts))
        except (GpudashError, FileNotFoundError):
            pass  # a fault that this host cannot have, or a host that has just gone


def is_up(fleet: Fleet) -> bool:
    """The first host runs."""
    return any(record.instance.state is InstanceState.RUNNING for record in fleet.store.records.values())
