"""Child instances go with the instance that they name as their parent: each by an ordinary end, never by clean-up.

So the intent is on disk before anything is sent, the listing proves the end, and what fails is asked for again. A child
is only what one of our launches made, and its parent has ended only where a listing or the ledger proved it; a parent
that nobody knows (another region, a wrong id) ends nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from gpudash.fleet.record import Record
from gpudash.model.capability import Verb
from gpudash.model.instance import InstanceKey, InstanceState
from gpudash.model.operation import Operation, Stage
from gpudash.model.policy import EndAction

if TYPE_CHECKING:
    from gpudash.fleet.actions import Actions
    from gpudash.fleet.desk import Desk

MOST_AT_ONCE = 3
"""How many child instances one round may end; the rest waits for the next one, and a person hears of it."""
_OVER = frozenset({InstanceState.TERMINATING, InstanceState.TERMINATED})


@dataclass(frozen=True, slots=True)
class Orphan:
    """A child instance that outlived its parent."""

    record: Record
    since: datetime
    """When its parent was known to have ended."""

    @property
    def name(self) -> str:
        return self.record.instance.name or self.record.key.id


def children_of(key: InstanceKey, records: Iterable[Record]) -> list[Record]:
    """What goes with an instance when it ends. Pure."""
    return [record for record in records if parent_of(record) == key]


def parent_of(record: Record) -> InstanceKey | None:
    """The parent of a child that one of our launches made; None for everything else, and for what is over."""
    machine = record.instance
    is_child = machine.parent and machine.managed and machine.launch_token and machine.state not in _OVER
    return InstanceKey(machine.key.account, machine.key.region, str(machine.parent)) if is_child else None


def left_alone(records: Mapping[InstanceKey, Record]) -> list[Record]:
    """Children whose parent is in no row; whether it has ended `Families` tells. Pure and quick: a loop may ask."""
    return [record for record in records.values() if (key := parent_of(record)) is not None and key not in records]


class Families:
    """Of one session. Safe from several threads; asks the ledger, so not for the event loop."""

    def __init__(self, desk: Desk, actions: Actions, listed_as_ended: Callable[[InstanceKey], datetime | None]) -> None:
        self._desk, self._actions, self._listed = desk, actions, listed_as_ended
        self._lock = threading.Lock()
        self._told: frozenset[InstanceKey] = frozenset()

    def orphans(self, candidates: Iterable[Record]) -> list[Orphan]:
        """Those of `left_alone` whose parent is proved to have ended."""
        ends: dict[InstanceKey, datetime | None] = {}
        found = []
        for record in candidates:
            key = parent_of(record)
            if key is not None and key not in ends:
                ends[key] = self._listed(key) or self._in_ledger(key)
            if key is not None and (since := ends[key]) is not None:
                found.append(Orphan(record, since))
        return found

    def end(self, orphans: Iterable[Orphan], begin: Callable[[InstanceKey, EndAction], Operation]) -> list[Operation]:
        """Ask for the ends of some, by an action; at most `MOST_AT_ONCE`, of which an alarm tells once."""
        waiting = [orphan for orphan in orphans if not orphan.record.is_ending]
        able = [orphan for orphan in waiting if self._actions.reason_against(Verb.TERMINATE, orphan.record) is None]
        self._tell(able[MOST_AT_ONCE:])
        return [begin(orphan.record.key, EndAction.TERMINATE) for orphan in able[:MOST_AT_ONCE]]

    def _tell(self, held_back: list[Orphan]) -> None:
        keys = frozenset(orphan.record.key for orphan in held_back)
        with self._lock:
            is_news, self._told = not keys <= self._told, self._told | keys
        if is_news:
            names = ", ".join(orphan.name for orphan in held_back)
            text = f"one round ends at most {MOST_AT_ONCE} instances whose parent has ended; these wait: {names}"
            self._desk.alarm(text, held_back[0].record.key.account)

    def _in_ledger(self, key: InstanceKey) -> datetime | None:
        """Its end as an operation proved it, or as the diary says that it was gone."""
        for operation in self._desk.ledger.operations_of(key):
            if operation.verb is Verb.TERMINATE and operation.stage is Stage.PROVED:
                return operation.updated_at
        return next((event.at for event in self._desk.ledger.events(key=key) if event.kind == "gone"), None)
