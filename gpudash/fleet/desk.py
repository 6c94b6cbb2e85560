"""What every action works with: ledger, clouds, hosts, clock, and the discipline of one driver for one operation."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from gpudash.clock import Clock, iso, parse_iso
from gpudash.fleet.accounts import Accounts
from gpudash.fleet.daemons import Daemons
from gpudash.fleet.liveness import Liveness
from gpudash.fleet.pace import Pace
from gpudash.fleet.record import Record
from gpudash.model.capability import Verb
from gpudash.model.event import Event
from gpudash.model.instance import InstanceKey
from gpudash.model.operation import Operation, Stage, Step
from gpudash.providers.base import DoesWithout

if TYPE_CHECKING:
    from gpudash.config import Config
    from gpudash.fleet.hostpoll import HostReading
    from gpudash.hosts import Hosts
    from gpudash.ledger import Ledger

CLAIM_S = 120.0
"""How long a living session may be at one step of an operation before another may take over."""
STALE_INTENT_S = 60.0
"""An intent that was never sent and is older than this is taken back: what the person wanted then may not hold now."""

OWNER = "owner"
"""Parameter of an operation: the session that wrote the intent; while it lives, it alone sends it."""
SENT_AT = "sent_at"
"""Parameter of an operation: when the cloud was last asked."""


@dataclass
class Desk:
    """Shared by all actions of one session. Used from several threads; holds no record of its own."""

    config: Config
    clock: Clock
    pace: Pace
    ledger: Ledger
    accounts: Accounts
    liveness: Liveness
    actor: str
    read_only: bool
    record: Callable[[InstanceKey], Record | None]
    hosts: Callable[[], Hosts]
    daemons: Daemons = field(default_factory=Daemons)
    on_operation: Callable[[Operation], None] = lambda op: None
    on_refused_launch: Callable[[str, str], None] = lambda account, region: None
    """Hears of each account and region in which a launch may have left what it prepared."""
    on_reading: Callable[[HostReading], None] = lambda reading: None
    """Hears what a daemon said while an action was at its host: the newest evidence there is."""
    looked: dict[tuple[str, str], datetime] = field(default_factory=dict)
    """When each region was last listed in this session, by the listing's own `asked_at`."""
    fresh: set[str] = field(default_factory=set)
    """Intents of this very process that may be sent; all others were left behind by someone who died."""
    withheld: dict[str, Mapping[str, str]] = field(default_factory=dict)
    """By launch that was not sent yet: options whose values are in this process's memory and nowhere else."""
    _driving: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(
        self,
        verb: Verb,
        where: tuple[str, str],
        text: str,
        *,
        key: InstanceKey | None = None,
        name: str = "",
        token: str | None = None,
        steps: tuple[Step, ...] = (),
        next_try_at: datetime | None = None,
        params: Mapping[str, object] | None = None,
    ) -> Operation:
        """Write the intent; it is on disk when this returns. `text` is its line in the diary."""
        now = self.clock.now()
        operation = Operation(
            id=os.urandom(6).hex(),
            verb=verb,
            account=where[0],
            region=where[1],
            stage=Stage.INTENDED,
            requested_at=now,
            updated_at=now,
            key=key,
            token=token,
            name=name,
            next_try_at=next_try_at,
            steps=steps,
            params=dict(params or {}) | {OWNER: self.liveness.owner},
            actor=self.actor,
        )
        self.fresh.add(operation.id)
        self.ledger.add_operation(operation)
        self.say(verb.value, text, operation)
        self.on_operation(operation)
        return operation

    def save(self, operation: Operation, *, reopen: bool = False, **changes: Any) -> Operation:
        """Write how far it has come, and tell. Nothing is written where nothing changed.

        What was closed meanwhile stays closed, unless `reopen`: a newer wish is not undone by an answer that came late.
        """
        new = replace(operation, **changes)
        known = self.ledger.operation(operation.id)
        if known is not None and not known.stage.is_open and new.stage.is_open and not reopen:
            return known
        if known is not None and known == new and known.params == new.params:
            return known
        new = replace(new, updated_at=self.clock.now())
        self.ledger.update_operation(new)
        if not new.stage.is_open:
            self.fresh.discard(new.id)
            self.withheld.pop(new.id, None)
            if known is None or known.stage is not new.stage:
                self.say(new.verb.value, f"{title(new)}: {new.stage.value}. {new.detail}".rstrip(), new)
        self.on_operation(new)
        return new

    def say(self, kind: str, text: str, operation: Operation) -> None:
        """A line in the diary about an operation."""
        self.ledger.add_event(
            Event(self.clock.now(), kind, text, operation.account, operation.key, operation.name, self.actor)
        )

    def alarm(self, text: str, account: str, key: InstanceKey | None = None, name: str = "") -> None:
        """A line in the diary that a person should see."""
        self.ledger.add_event(Event(self.clock.now(), "alarm", text, account, key, name, self.actor))

    def without(self, key: InstanceKey, name: str) -> str:
        """What its cloud did not give that instance, and why: once, and "" ever after. It stands in the diary too."""
        provider = self.accounts[key.account]
        told = provider.done_without(key) if isinstance(provider, DoesWithout) else None
        if told is None or any(event.text == told for event in self.ledger.events(key=key)):
            return ""
        self.alarm(told, key.account, key, name)
        return told

    @contextmanager
    def hold(self, op_id: str) -> Iterator[bool]:
        """Be the only one, of all threads and processes, who drives an operation; False where someone else does."""
        with self._lock:
            if op_id in self._driving:
                taken = False
            else:
                self._driving.add(op_id)
                taken = True
        if not taken:
            yield False
            return
        try:
            mine = self._claim(op_id)
            try:
                yield mine
            finally:
                if mine:
                    self.ledger.release(op_id, self.liveness.owner)
        finally:
            with self._lock:
                self._driving.discard(op_id)

    def _claim(self, op_id: str) -> bool:
        if self.ledger.claim(op_id, self.liveness.owner, CLAIM_S):
            return True
        return self.bury_dead() and self.ledger.claim(op_id, self.liveness.owner, CLAIM_S)

    def bury_dead(self) -> bool:
        """Give back what killed sessions were driving; whether there were any."""
        return self.liveness.bury(self._give_back) > 0

    def _give_back(self, owner: str) -> None:
        for operation in self.ledger.open_operations():
            self.ledger.release(operation.id, owner)

    def is_anothers(self, operation: Operation) -> bool:
        """A living session other than this one wrote the intent and has not sent it yet."""
        owner = operation.params.get(OWNER)
        return (
            operation.id not in self.fresh
            and SENT_AT not in operation.params
            and isinstance(owner, str)
            and self.liveness.is_alive(owner)
        )

    def is_blind(self, operation: Operation) -> bool:
        """Asking again would act on old knowledge: it was begun by another session, or fell due while this machine
        slept, and no listing has come since."""
        looked = self.looked.get((operation.account, operation.region))
        if operation.id not in self.fresh and looked is None:
            return True
        due = operation.next_try_at
        late = due is not None and self.clock.now() - due > self.pace.span(STALE_INTENT_S)
        return late and due is not None and (looked is None or looked < due)

    def is_stale_intent(self, operation: Operation) -> bool:
        """Never sent, and meant for a moment that has long passed."""
        due = operation.next_try_at or operation.requested_at
        return self.clock.now() - due > self.pace.span(STALE_INTENT_S)


def title(operation: Operation) -> str:
    """An operation in words: ``stop train-llama``."""
    return f"{operation.verb.value} {operation.name or (operation.key.id if operation.key else operation.token)}"


def moment(operation: Operation, name: str) -> datetime | None:
    """A time among an operation's parameters."""
    text = operation.params.get(name)
    return parse_iso(text) if isinstance(text, str) else None


def with_params(operation: Operation, **values: object) -> dict[str, object]:
    """The parameters with some replaced; a value of None takes one away. Times become text."""
    params = dict(operation.params)
    for name, value in values.items():
        if value is None:
            params.pop(name, None)
        else:
            params[name] = exact(value) if isinstance(value, datetime) else value
    return params


def exact(when: datetime) -> str:
    """A moment with its microseconds, where two listings of the same second must be told apart."""
    return when.isoformat().replace("+00:00", "Z") if when.microsecond else iso(when) or ""


def count(operation: Operation, name: str) -> int:
    """A number among an operation's parameters; 0 where there is none."""
    value = operation.params.get(name)
    return int(value) if isinstance(value, int | float) else 0
