"""The keys that change the world, for every screen that shows instances.

Each acts on the records captured when the key was pressed, whatever the cursor does afterwards. Nothing here waits:
dialogs answer by callback, calls go on in their lanes, and their outcome is followed by the announcer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from gpudash.errors import GpudashError
from gpudash.fleet.families import children_of
from gpudash.fleet.record import Record
from gpudash.model.capability import Verb
from gpudash.model.instance import InstanceKey
from gpudash.model.operation import Operation, Stage
from gpudash.model.policy import EndAction
from gpudash.ui import format as fmt
from gpudash.ui.actions import Situation
from gpudash.ui.screens.base import Living

if TYPE_CHECKING:
    from gpudash.ui.port import FleetPort

HOLD_S = 5.0
"""Seconds a stop or terminate is held back, so that it can be undone."""
KEEP_AWAKE_FOR = timedelta(minutes=30)
MANY = 3
"""Above so many, a bulk action wants their number typed."""


class FleetSituation(Situation):
    """What keys act on: the marked records, else the one under the cursor."""

    def __init__(self, fleet: FleetPort, targets: Sequence[Record], nothing: str = "No instance is selected.") -> None:
        self._fleet = fleet
        self._targets = tuple(targets)
        self._nothing = nothing

    @property
    def read_only(self) -> bool:
        return self._fleet.session.read_only

    @property
    def targets(self) -> Sequence[Record]:
        return self._targets

    @property
    def nothing(self) -> str:
        return self._nothing

    @property
    def can_undo(self) -> bool:
        return bool(held(self._fleet))

    def against(self, verb: Verb, record: Record | None) -> str | None:
        return self._fleet.reason_against(verb, None if record is None else record.key)


def held(fleet: FleetPort) -> list[Operation]:
    """Ends that can still be taken back, newest first."""
    waiting = [
        operation
        for operation in fleet.store.operations.values()
        if operation.stage is Stage.INTENDED and operation.next_try_at is not None and operation.verb in _ENDS
    ]
    return sorted(waiting, key=lambda operation: operation.requested_at, reverse=True)


_ENDS = frozenset({Verb.STOP, Verb.HIBERNATE, Verb.TERMINATE})
_VERB_OF = {EndAction.STOP: Verb.STOP, EndAction.HIBERNATE: Verb.HIBERNATE, EndAction.TERMINATE: Verb.TERMINATE}


class Verbs(Living):
    """Actions on instances. A screen says which by `targets`."""

    def targets(self) -> Sequence[Record]:
        """What keys act on now."""
        raise NotImplementedError

    def situation(self) -> FleetSituation:
        return FleetSituation(self.fleet, self.targets())

    # -- ends ---------------------------------------------------------------------------------------------------

    def action_stop(self) -> None:
        self._ask_end(EndAction.STOP)

    def action_hibernate(self) -> None:
        self._ask_end(EndAction.HIBERNATE)

    def action_terminate(self) -> None:
        self._ask_end(EndAction.TERMINATE)

    def _ask_end(self, action: EndAction) -> None:
        from gpudash.ui.screens.confirm import ConfirmEnd

        able, unable = self._able(_VERB_OF[action])
        keys = [record.key for record in able]

        def answered(confirmed: bool | None) -> None:
            if confirmed:
                self.gpudash.carry_out(self._each(keys, lambda key: self.fleet.end(key, action, HOLD_S), ""))

        children = [child for key in keys for child in children_of(key, self.fleet.store.records.values())]
        self.app.push_screen(ConfirmEnd(action, able, unable, children), answered)

    def action_undo(self) -> None:
        operations = held(self.fleet)
        newest = operations[0].requested_at
        batch = [operation for operation in operations if newest - operation.requested_at < timedelta(seconds=2)]

        async def cancel() -> None:
            for operation in batch:
                self.gpudash.announcer.follow(await self.fleet.cancel(operation.id))

        self.gpudash.carry_out(cancel())

    # -- the rest -----------------------------------------------------------------------------------------------

    def action_start(self) -> None:
        able, _ = self._able(Verb.START)
        self._bulk("Start", able, self.fleet.start, f"Starting {_named(able)} …")

    def action_restart(self) -> None:
        from gpudash.ui.screens.confirm import ConfirmRestart

        able, _ = self._able(Verb.RESTART)
        keys = [record.key for record in able]

        def answered(confirmed: bool | None) -> None:
            if confirmed:
                self.gpudash.carry_out(self._each(keys, self.fleet.restart, f"Restarting {_named(able)} …"))

        self.app.push_screen(ConfirmRestart(able), answered)

    def action_push(self) -> None:
        able, _ = self._able(Verb.PUSH)
        self._bulk("Push", able, self.fleet.push, f"Pushing statusd to {_named(able)} …")

    def action_adopt(self) -> None:
        able, _ = self._able(Verb.ADOPT)
        self._bulk("Adopt", able, self.fleet.adopt, f"Adopting {_named(able)} …")

    def action_keep_awake(self) -> None:
        able, _ = self._able(Verb.KEEPALIVE)
        span = fmt.short_length(KEEP_AWAKE_FOR)
        self._bulk(
            "Keep awake",
            able,
            lambda key: self.fleet.keep_awake(key, KEEP_AWAKE_FOR),
            f"Holding {_named(able)} awake for {span} …",
        )

    def action_extend(self) -> None:
        from gpudash.ui.screens.extend import ExtendScreen

        able, _ = self._able(Verb.EXTEND)

        def answered(amount: timedelta | datetime | None) -> None:
            if amount is None:
                return
            until = {record.key: new_deadline(record, amount, self.gpudash.scene.now) for record in able}
            self.gpudash.carry_out(
                self._each(
                    list(until),
                    lambda key: self.fleet.extend(key, until[key]),
                    f"Extending {_named(able)} …",
                )
            )

        self.app.push_screen(ExtendScreen(able), answered)

    def action_rename(self) -> None:
        from gpudash.ui.screens.rename import RenameScreen

        record = self.targets()[0]
        key = record.key

        def answered(name: str | None) -> None:
            if name is not None:
                self.gpudash.carry_out(
                    self._each([key], lambda one: self.fleet.rename(one, name), f"Renaming {_named([record])} …")
                )

        names = {other.instance.name for other in self.fleet.store.records.values() if other.key != key}
        self.app.push_screen(RenameScreen(record, names), answered)

    def action_toggle_tunnels(self) -> None:
        records = list(self.targets())

        async def toggle() -> None:
            for record in records:
                on = await self.fleet.toggle_tunnels(record.key)
                name = record.instance.name or record.key.id
                self.gpudash.say(f"{name}: tunnels {'on' if on else 'off'}.", "tone-good")
                self.done_for(record.key)

        self.gpudash.say(f"Tunnels of {_named(records)} …", "muted")
        self.gpudash.carry_out(toggle())

    def action_copy_ssh(self) -> None:
        import shlex

        command = shlex.join(self.fleet.ssh_argv(self.targets()[0].key))
        self.app.copy_to_clipboard(command)
        self.gpudash.say(f"Copied: {command}", "tone-good")

    def action_ssh(self) -> None:
        from gpudash.ui.shell import run_shell

        record = self.targets()[0]
        run_shell(self.gpudash, self.fleet.ssh_argv(record.key), record.instance.name or record.key.id)

    # -- inside -------------------------------------------------------------------------------------------------

    def _able(self, verb: Verb) -> tuple[list[Record], list[tuple[Record, str]]]:
        able: list[Record] = []
        unable: list[tuple[Record, str]] = []
        for record in self.targets():
            reason = self.fleet.reason_against(verb, record.key)
            if reason is None:
                able.append(record)
            else:
                unable.append((record, reason))
        return able, unable

    def _bulk(
        self, word: str, records: Sequence[Record], call: Callable[[InstanceKey], Awaitable[Operation]], saying: str
    ) -> None:
        keys = [record.key for record in records]
        if len(keys) <= MANY:
            self.gpudash.carry_out(self._each(keys, call, saying))
            return
        from gpudash.ui.screens.confirm import ConfirmMany

        def answered(confirmed: bool | None) -> None:
            if confirmed:
                self.gpudash.carry_out(self._each(keys, call, saying))

        self.app.push_screen(ConfirmMany(word, records), answered)

    async def _each(
        self, keys: Sequence[InstanceKey], call: Callable[[InstanceKey], Awaitable[Operation]], saying: str
    ) -> None:
        """Ask for all of them; one that is refused stops none of the others, and keeps its mark."""
        if saying:
            self.gpudash.say(saying, "muted")
        refused: list[str] = []
        for key in keys:
            try:
                self.gpudash.announcer.follow(await call(key))
            except GpudashError as exc:
                refused.append(str(exc))
            else:
                self.done_for(key)
        if refused:
            many = f"{len(refused)} of {len(keys)} refused: " if len(keys) > 1 else ""
            self.gpudash.say(many + refused[0], "tone-bad")

    def done_for(self, key: InstanceKey) -> None:
        """What a key asked for was taken on for that instance. A screen with marks unmarks it."""


def new_deadline(record: Record, amount: timedelta | datetime, now: datetime) -> datetime:
    """Where the lease will end: so much after its present end (from now where that has passed), or at that moment."""
    if isinstance(amount, datetime):
        return amount
    lease = record.policy.lease_deadline if record.policy else None
    return max(lease, now) + amount if lease else now + amount


def _named(records: Sequence[Record]) -> str:
    names = [record.instance.name or record.key.id for record in records]
    return names[0] if len(names) == 1 else fmt.plural(len(names), "instance")
