"""What the ledger hears of a listing: snapshot, money, diary, and what it proves about open operations.

Runs in the ledger's lane in the dashboard and inline in a command; knows no store.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from gpudash.fleet.actions import Actions
from gpudash.fleet.desk import Desk
from gpudash.fleet.store import Weight
from gpudash.model.capability import Verb
from gpudash.model.event import Event
from gpudash.model.instance import Instance, InstanceKey, InstanceState
from gpudash.model.listing import Listing
from gpudash.model.money import Accrual
from gpudash.model.operation import Operation, Stage
from gpudash.model.policy import Policy

TOLD_AGAIN_AFTER = timedelta(days=1)
"""What an account may not ask stands in the diary once a day, however many programs look."""
MANY = 10_000
"""Lines of the diary that are searched for it."""
SAVE_EVERY_S = 10.0
"""How often an unchanged listing is saved, so that its age in the ledger stays true enough."""


@dataclass(frozen=True, slots=True)
class News:
    """What the ledger knows after a listing that the store does not know yet."""

    operations: tuple[Operation, ...] = ()
    accruals: Mapping[InstanceKey, Accrual] | None = None
    policies: Mapping[InstanceKey, Policy] | None = None
    adopted: Collection[InstanceKey] | None = None


class Keeper:
    """Feeds listings to the ledger. One thread at a time."""

    def __init__(self, desk: Desk, actions: Actions, on_end: Callable[[str, str], None]) -> None:
        """`on_end` hears of each account and region in which an instance of ours has ended, or came to nothing."""
        self._desk = desk
        self._actions = actions
        self._on_end = on_end
        self._ended: dict[InstanceKey, datetime] = {}
        self.listed_as_ended: dict[InstanceKey, Instance] = {}
        """As the last listing of their region showed them; clouds forget them after a while."""
        self._saved: dict[tuple[str, str], tuple[tuple[Instance, ...], float]] = {}
        self._states: dict[InstanceKey, InstanceState] = {}
        self._lacks: set[tuple[str, str]] = set()

    def keep(
        self,
        listing: Listing[Instance],
        kept: Listing[Instance],
        missing: Mapping[InstanceKey, datetime],
        weight: Weight,
        removed: Collection[InstanceKey] = (),
    ) -> News:
        """Write down one listing.

        Args:
            listing: as it came.
            kept: with the instances whose absence proves nothing yet.
            missing: those instances, and since when they are absent.
            weight: what an absence from it is worth.
            removed: keys that it proved gone.
        """
        ledger = self._desk.ledger
        if removed or not weight.is_sudden:
            self._save(kept)
        ledger.save_absences(listing.account, listing.region, missing)
        ledger.observe(kept if weight.is_sudden else listing, self._desk.clock.now())
        operations = self._actions.settle(listing, weight.needed)
        self._tell(listing, removed)
        self._tell_lacks(listing)
        here = {item.key: item for item in listing.items if item.state.is_terminal}
        self.listed_as_ended |= here
        ended = {item.key for item in listing.items if item.state.is_terminal and item.managed} | set(removed)
        news = ended - self._ended.keys()
        self._ended |= dict.fromkeys(news, listing.fetched_at)
        if news or any(op.verb is Verb.LAUNCH and op.stage is Stage.FAILED for op in operations):
            self._on_end(listing.account, listing.region)
        for key in removed:
            self._forget(key)
        return News(tuple(operations), ledger.accruals(listing.account), ledger.policies(), ledger.adopted())

    def ended_at(self, key: InstanceKey) -> datetime | None:
        """When a listing of this session showed that it has ended; None where none did. Safe from any thread."""
        return self._ended.get(key)

    def _save(self, kept: Listing[Instance]) -> None:
        lane, now = (kept.account, kept.region), self._desk.clock.monotonic()
        items, saved_at = self._saved.get(lane, (None, float("-inf")))
        if items != kept.items or now - saved_at >= SAVE_EVERY_S:
            self._desk.ledger.save_listing(kept)
            self._saved[lane] = (kept.items, now)

    def _tell(self, listing: Listing[Instance], removed: Collection[InstanceKey]) -> None:
        """Changes of state go into the diary; the first sight of an instance in this session does not."""
        for item in listing.items:
            before = self._states.get(item.key)
            self._states[item.key] = item.state
            if before is not None and before is not item.state:
                word = "gone" if item.state.is_terminal else "state"
                self._say(word, f"{item.name}: {before.value} → {item.state.value}", item.key, item.name)
        for key in removed:
            if (before := self._states.pop(key, None)) is None or not before.is_terminal:
                self._say("gone", f"{key} is in no listing any more", key, "")

    def _tell_lacks(self, listing: Listing[Instance]) -> None:
        for text in listing.lacks:
            if (listing.account, text) in self._lacks:
                continue
            self._lacks.add((listing.account, text))
            said = self._desk.ledger.events(limit=MANY, since=self._desk.clock.now() - TOLD_AGAIN_AFTER)
            if not any((event.account, event.text) == (listing.account, text) for event in said):
                self._desk.alarm(text, listing.account)

    def _say(self, kind: str, text: str, key: InstanceKey, name: str) -> None:
        last = self._desk.ledger.events(limit=1, key=key)
        if not last or last[0].text != text:
            self._desk.ledger.add_event(
                Event(self._desk.clock.now(), kind, text, key.account, key, name, self._desk.actor)
            )

    def _forget(self, key: InstanceKey) -> None:
        self._desk.ledger.forget_status(key)
        for tunnel in self._desk.ledger.wanted_tunnels():
            if tunnel.key == key:
                self._desk.ledger.unwant_tunnel(key, tunnel.remote)
