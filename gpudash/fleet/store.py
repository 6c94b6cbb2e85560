"""The fleet as it is known now: one frozen record an instance, one health a lane, the operations that matter.

Only its owner's thread touches it (the event loop in the dashboard, the main thread in a command). Every `apply_…`
merges one piece of news and returns which keys changed. It knows no screen, asks nobody and writes nothing.

A record that a call does not concern stays the same object. A listing that only confirms a row renews its `listed_at`
(the record is a new object, its `instance` the same one) and does not name it in the change set.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from gpudash.errors import GpudashError
from gpudash.fleet import absence
from gpudash.fleet.changes import ChangeSet
from gpudash.fleet.endpoints import EndpointBook
from gpudash.fleet.health import AccountNote, Health
from gpudash.fleet.history import History
from gpudash.fleet.policytags import merged
from gpudash.fleet.record import ENDING_VERBS, Record
from gpudash.fleet.totals import Totals, sum_up
from gpudash.model.balance import Balance
from gpudash.model.endpoint import Endpoint
from gpudash.model.guard import FRESH_FOR
from gpudash.model.host import HostStatus
from gpudash.model.instance import Instance, InstanceKey
from gpudash.model.listing import Listing
from gpudash.model.money import NOTHING_SPENT, Accrual, Amount, Price, cost
from gpudash.model.operation import Operation, Stage
from gpudash.model.policy import Policy
from gpudash.model.tunnel import Tunnel

if TYPE_CHECKING:
    from gpudash.ledger import Ledger

DEFAULT_CADENCE_S = 10.0
"""For accounts whose cadence nobody told."""
CLOSED_KEPT = 100
"""Operations that are over and still remembered here; the ledger keeps all."""


def real_time(seconds: float) -> timedelta:
    """Spans of a clock that runs as fast as a wall clock."""
    return timedelta(seconds=seconds)


@dataclass(frozen=True, slots=True)
class Weight:
    """What an absence from one answer is worth."""

    needed: timedelta
    """How long it must last, over at least two complete answers, to prove that an instance is gone."""
    is_sudden: bool
    """The answer is empty although instances were there that nobody asked to end."""


class FleetStore:
    """Records, health and operations, merged from listings, hosts, ledger and tunnels."""

    def __init__(self, span: Callable[[float], timedelta] = real_time) -> None:
        """`span` turns real seconds into spans of the clock that listings are stamped with (see `pace.Pace`)."""
        self.records: dict[InstanceKey, Record] = {}
        self.health: dict[tuple[str, str], Health] = {}
        self.notes: dict[tuple[str, str], AccountNote] = {}
        """By account and source (``budget``, ``balance``)."""
        self.operations: dict[str, Operation] = {}
        self.endpoints = EndpointBook()
        self.balances: dict[str, Balance] = {}
        """By account, where a cloud is paid in advance."""
        self.policies: dict[InstanceKey, Policy] = {}
        """What the ledger holds as decided."""
        self.adopted: frozenset[InstanceKey] = frozenset()
        self.accruals: dict[InstanceKey, Accrual] = {}
        self._span = span
        self._cadences: dict[str, float] = {}
        self._cycles: dict[str, float] = {}
        self._tombstones: dict[str, bool] = {}
        self._lanes: dict[tuple[str, str], dict[InstanceKey, None]] = {}
        """The keys of each lane; dictionaries, because large sets take four times their memory."""
        self._asked: dict[tuple[str, str], datetime] = {}
        self._spent: tuple[Amount, datetime] | None = None

    # -- what to expect -----------------------------------------------------------------------------------------

    def expect(
        self, account: str, region: str, *, cadence_s: float, lists_terminated: bool, cycle_s: float | None = None
    ) -> ChangeSet:
        """Tell of a lane before it has answered, so that its silence can be seen.

        Args:
            account: whose.
            region: where; empty while the regions are not known.
            cadence_s: real seconds between two questions.
            lists_terminated: an ended instance stays in this cloud's listings for a while.
            cycle_s: real seconds that two listings must lie apart to count twice; asking more often than suits a
                cloud makes no absence a better proof. The cadence where not told.
        """
        self._cadences[account] = cadence_s
        self._cycles[account] = cadence_s if cycle_s is None else cycle_s
        self._tombstones[account] = lists_terminated
        if region:
            self.health.pop((account, ""), None)
        if (account, region) in self.health:
            return ChangeSet()
        self.health[account, region] = Health(account, region)
        return ChangeSet(health=True)

    def cadence(self, account: str) -> timedelta:
        """Time between two listings of an account, by the clock."""
        return self._span(self._cadences.get(account, DEFAULT_CADENCE_S))

    def weigh(self, listing: Listing[Instance]) -> Weight:
        """How much an absence from this answer says. Ask before it is applied."""
        known = [self.records[key] for key in self._keys(listing)]
        tombstones = self._tombstones.get(listing.account, False)
        cycles = absence.cycles_needed(listing, known, lists_terminated=tombstones)
        cycle_s = self._cycles.get(listing.account, DEFAULT_CADENCE_S)
        needed = self._span(absence.seconds_needed(cycles, cycle_s))
        return Weight(needed, absence.is_sudden(listing, known))

    def to_look_for(self, account: str, region: str, now: datetime) -> tuple[InstanceKey, ...]:
        """Rows to ask for by their ids should the next answer of that lane be empty (see `absence`)."""
        return absence.to_look_for((self.records[key] for key in self._lanes.get((account, region), ())), now)

    # -- news from clouds ---------------------------------------------------------------------------------------

    def apply_listing(self, listing: Listing[Instance]) -> ChangeSet:
        """Merge one answer. Incomplete ones remove nothing; a complete one removes what was long enough absent."""
        lane = (listing.account, listing.region)
        last = self._asked.get(lane)
        if last is not None and listing.asked_at < last:
            return ChangeSet()
        self._asked[lane] = listing.asked_at
        weight = self.weigh(listing)
        change = self._heard(listing, weight)
        alive = {item.key: item for item in listing.items if not item.state.is_terminal}
        ended = {item.key for item in listing.items if item.state.is_terminal}
        keys = frozenset(self._keys(listing))
        seen = {key for key, item in alive.items() if self._see(item, listing.fetched_at)}
        changed = set(seen & keys)
        removed = set(keys & ended)
        if listing.complete:
            for key in keys - alive.keys() - ended:
                self._miss(key, listing.asked_at, weight.needed, changed, removed)
        for key in removed:
            self._remove(key)
        return change | ChangeSet(frozenset(seen - keys), frozenset(changed), frozenset(removed))

    def apply_page(self, page: Listing[Instance]) -> ChangeSet:
        """Show a part of a listing that is still coming. It says nothing of what it lacks, nor of the lane's health."""
        if page.asked_at < self._asked.get((page.account, page.region), page.asked_at):
            return ChangeSet()
        alive = [item for item in page.items if not item.state.is_terminal]
        known = {item.key for item in alive} & self.records.keys()
        seen = {item.key for item in alive if self._see(item, page.fetched_at)}
        return ChangeSet(frozenset(seen - known), frozenset(seen & known))

    def apply_failure(
        self, account: str, region: str, error: GpudashError | str, now: datetime, next_try_at: datetime | None = None
    ) -> ChangeSet:
        """A listing failed. Old values stay, with their age."""
        old = self.health.get((account, region)) or Health(account, region)
        code = int(error.exit_code) if isinstance(error, GpudashError) else 5
        new = replace(old, error=str(error), next_try_at=next_try_at, failures=old.failures + 1, exit_code=code)
        return self._set_health(new.at(now, self.cadence(account)))

    def forget_lane(self, account: str, region: str) -> ChangeSet:
        """A region is no longer polled; its rows go without any claim about them."""
        keys = frozenset(self._lanes.get((account, region), ()))
        for key in keys:
            self._remove(key)
        return ChangeSet(removed=keys, health=self.health.pop((account, region), None) is not None)

    def kept(self, listing: Listing[Instance]) -> Listing[Instance]:
        """The listing as it is believed: with the instances whose absence proves nothing yet. For ledger and money."""
        items = {item.key: item for item in listing.items}
        items.update({key: self.records[key].instance for key in self._keys(listing)})
        return replace(listing, items=tuple(items.values()))

    def missing(self, listing: Listing[Instance]) -> dict[InstanceKey, datetime]:
        """Rows of its account and region that good listings lacked, and since when. For the ledger."""
        since = {key: self.records[key].missing_since for key in self._keys(listing)}
        return {key: moment for key, moment in since.items() if moment is not None}

    def tick(self, now: datetime) -> ChangeSet:
        """Let time pass: a lane that went silent turns stale, then red."""
        change = ChangeSet()
        for health in list(self.health.values()):
            change |= self._set_health(health.at(now, self.cadence(health.account)))
        return change

    # -- news from hosts, tunnels and the ledger ----------------------------------------------------------------

    def apply_status(
        self,
        key: InstanceKey,
        status: HostStatus | None,
        at: datetime,
        problem: str | None = None,
        *,
        is_gone: bool = False,
    ) -> ChangeSet:
        """An answer of the host's daemon, or None and why there was none. The last good answer stays, with its age.

        `is_gone`: the host was reached and no daemon runs there; a link that is down says nothing of the kind.
        """
        record = self.records.get(key)
        if record is None:
            return ChangeSet()
        if status is None:
            gone = is_gone or record.daemon_gone
            return self._put(replace(record, status_problem=problem, daemon_gone=gone))
        if record.status_at is not None and at < record.status_at:
            return ChangeSet()
        before = record.utilisation
        ring = (before if isinstance(before, History) else History(before)).after(status.gpu_util_pct)
        record = replace(record, status=status, status_at=at, status_problem=None, daemon_gone=False, utilisation=ring)
        return self._put(self._with_policy(record))

    def apply_tunnels(self, tunnels: Iterable[Tunnel]) -> ChangeSet:
        """The complete list of forwards, of all processes."""
        wanted: dict[tuple[str, str], list[Tunnel]] = {}
        for tunnel in tunnels:
            wanted.setdefault((tunnel.account, tunnel.instance_id), []).append(tunnel)
        changed: set[InstanceKey] = set()
        for key, record in list(self.records.items()):
            mine = tuple(sorted(wanted.get((key.account, key.id), ()), key=lambda t: (t.remote, t.local)))
            if mine != record.tunnels:
                changed |= self._put(replace(record, tunnels=mine)).changed
        return ChangeSet(changed=frozenset(changed))

    def apply_operation(self, operation: Operation) -> ChangeSet:
        """An operation began, moved on or ended."""
        if self.operations.get(operation.id) == operation:
            return ChangeSet()
        self.operations.pop(operation.id, None)
        self.operations[operation.id] = operation
        closed = [op.id for op in self.operations.values() if not op.stage.is_open]
        for op_id in closed[:-CLOSED_KEPT]:
            del self.operations[op_id]
        return ChangeSet(operations=True) | (self._mark(operation.key) if operation.key else ChangeSet())

    def apply_notes(self, source: str, notes: Mapping[str, AccountNote]) -> ChangeSet:
        """All that one source has to say, by account; what it said before is taken back."""
        before = dict(self.notes)
        self.notes = {key: note for key, note in before.items() if key[1] != source}
        self.notes |= {(account, source): note for account, note in notes.items()}
        return ChangeSet(health=self.notes != before)

    def dismiss(self, op_id: str) -> ChangeSet:
        """A person has seen that an operation failed; its row shows it no longer."""
        operation = self.operations.get(op_id)
        if operation is None or operation.stage.is_open:
            return ChangeSet()
        del self.operations[op_id]
        return ChangeSet(operations=True) | (self._mark(operation.key) if operation.key else ChangeSet())

    def apply_policies(self, policies: Mapping[InstanceKey, Policy], adopted: Collection[InstanceKey]) -> ChangeSet:
        """What the ledger holds as decided, and which instances are ours."""
        stale = {key for key in self.policies.keys() | policies.keys() if self.policies.get(key) != policies.get(key)}
        stale |= self.adopted ^ frozenset(adopted)
        self.policies, self.adopted = dict(policies), frozenset(adopted)
        changed: set[InstanceKey] = set()
        for key in stale & self.records.keys():
            record = self.records[key]
            changed |= self._put(self._with_policy(replace(record, instance=self._owned(record.instance)))).changed
        return ChangeSet(changed=frozenset(changed))

    def apply_balance(self, balance: Balance) -> ChangeSet:
        """What is left in an account; it stands beside the account's name."""
        self.balances[balance.account] = balance
        notes = {name: AccountNote(str(one), one.is_short) for name, one in self.balances.items()}
        return self.apply_notes("balance", notes)

    def apply_endpoints(self, listing: Listing[Endpoint]) -> ChangeSet:
        """Serverless endpoints of one account, as they came."""
        return ChangeSet(endpoints=self.endpoints.apply(listing))

    def fail_endpoints(self, account: str, problem: str) -> ChangeSet:
        """A look at an account's endpoints failed."""
        return ChangeSet(endpoints=self.endpoints.fail(account, problem))

    def apply_accruals(self, accruals: Mapping[InstanceKey, Accrual]) -> ChangeSet:
        """Money spent, by instance. Keys that are not named keep what they have."""
        self.accruals.update(accruals)
        changed: set[InstanceKey] = set()
        for key in accruals.keys() & self.records.keys():
            if self.records[key].accrual != accruals[key]:
                changed |= self._put(replace(self.records[key], accrual=accruals[key])).changed
        return ChangeSet(changed=frozenset(changed))

    def apply_spent(self, today: Amount, at: datetime) -> None:
        """The ledger's sum since midnight UTC, as of `at`."""
        self._spent = (today, at)

    def load(self, ledger: Ledger, accounts: Collection[str] | None = None) -> ChangeSet:
        """Fill from the ledger's last snapshots, for the first frame and for commands that ask no cloud."""
        self.policies, self.adopted = dict(ledger.policies()), frozenset(ledger.adopted())
        self.accruals = dict(ledger.accruals())
        for listing in ledger.load_listings():
            lane = (listing.account, listing.region)
            if accounts is not None and listing.account not in accounts:
                continue
            for item in listing.items:
                if not item.state.is_terminal:
                    self._see(item, listing.fetched_at)
            health = self.health.get(lane) or Health(*lane)
            self.health[lane] = replace(health, as_of=listing.fetched_at)
        for key, since in ledger.load_absences().items():
            if key in self.records:
                self.records[key] = replace(self.records[key], missing_since=since)
        for key, (status, at) in ledger.load_statuses().items():
            self.apply_status(key, status, at)
        for operation in ledger.open_operations():
            if accounts is None or operation.account in accounts:
                self.apply_operation(operation)
        return ChangeSet(added=frozenset(self.records), health=True, operations=bool(self.operations))

    # -- questions ----------------------------------------------------------------------------------------------

    def totals(self, now: datetime) -> Totals:
        """The fleet in one line."""
        sums = sum_up(self.records.values(), now)
        burn = sums.burn + self.endpoints.burn
        return replace(sums, burn=burn, spent_today=self.spent_today(now, burn))

    def spent_today(self, now: datetime, burn: Amount) -> Amount:
        """Spent since midnight UTC: the ledger's sum, gone on with at the burn of now."""
        if self._spent is None:
            return Amount(unknown=bool(self.records))
        spent, at = self._spent
        return spent + Amount(cost(Price(burn.usd, ""), now - at).usd, burn.estimated, burn.unknown)

    # -- inside -------------------------------------------------------------------------------------------------

    def _keys(self, listing: Listing[Instance]) -> Collection[InstanceKey]:
        return self._lanes.get((listing.account, listing.region), {}).keys()

    def _heard(self, listing: Listing[Instance], weight: Weight) -> ChangeSet:
        lane = (listing.account, listing.region)
        old = self.health.get(lane) or Health(*lane)
        problem = None if listing.complete else (listing.problem or "the answer was incomplete")
        if weight.is_sudden:
            count = len(self._keys(listing))
            problem = f"answered with an empty list where {count} {'was' if count == 1 else 'were'}; old values kept"
        if problem is None:
            new = Health(*lane, state="ok", as_of=listing.fetched_at, lacks=listing.lacks)
        else:
            new = replace(old, error=problem, next_try_at=None, failures=old.failures + 1, exit_code=5)
        return self._set_health(new.at(listing.fetched_at, self.cadence(listing.account)))

    def _set_health(self, new: Health) -> ChangeSet:
        lane = (new.account, new.region)
        old = self.health.get(lane)
        if old is new:
            return ChangeSet()
        self.health[lane] = new
        seen = old is not None and (old.state, old.error, old.next_try_at) == (new.state, new.error, new.next_try_at)
        return ChangeSet(health=not seen)

    def _see(self, item: Instance, at: datetime) -> bool:
        """Merge a listed instance; whether anything but the time of the confirmation changed."""
        item = self._owned(item)
        old = self.records.get(item.key)
        if old is None:
            self._lanes.setdefault((item.key.account, item.key.region), {})[item.key] = None
            fresh = max(FRESH_FOR, self._span(FRESH_FOR.total_seconds()))
            spent = self.accruals.get(item.key, NOTHING_SPENT)
            new = Record(item, at, accrual=spent, fresh_for=fresh)
            self.records[item.key] = self._with_operation(self._with_policy(new))
            return True
        if (old.instance is item or old.instance == item) and old.missing_since is None:
            if old.listed_at != at:
                self.records[item.key] = replace(old, listed_at=at)
            return False
        self.records[item.key] = self._with_policy(replace(old, instance=item, listed_at=at, missing_since=None))
        return True

    def _miss(
        self,
        key: InstanceKey,
        asked_at: datetime,
        needed: timedelta,
        changed: set[InstanceKey],
        removed: set[InstanceKey],
    ) -> None:
        record = self.records[key]
        if record.missing_since is None:
            self.records[key] = replace(record, missing_since=asked_at)
            changed.add(key)
        elif absence.is_proved(record.missing_since, asked_at, needed):
            removed.add(key)

    def _remove(self, key: InstanceKey) -> None:
        self.records.pop(key, None)
        self._lanes.get((key.account, key.region), {}).pop(key, None)

    def _put(self, record: Record) -> ChangeSet:
        if self.records.get(record.key) == record:
            return ChangeSet()
        self.records[record.key] = record
        return ChangeSet(changed=frozenset({record.key}))

    def _owned(self, item: Instance) -> Instance:
        return item if item.managed or item.key not in self.adopted else replace(item, managed=True)

    def _with_policy(self, record: Record) -> Record:
        wanted = merged(self.policies.get(record.key), record.instance.tag_policy)
        policy = record.status.policy if record.status is not None else wanted
        if (wanted, policy) == (record.wanted, record.policy):
            return record
        return replace(record, wanted=wanted, policy=policy)

    def _mark(self, key: InstanceKey) -> ChangeSet:
        record = self.records.get(key)
        return ChangeSet() if record is None else self._put(self._with_operation(record))

    def _with_operation(self, record: Record) -> Record:
        mine = [op for op in self.operations.values() if op.key == record.key]
        newest = max(mine, key=_weight, default=None)
        shown = newest if newest is not None and (newest.stage.is_open or newest.stage is Stage.FAILED) else None
        return record if shown == record.operation else replace(record, operation=shown)


def _weight(operation: Operation) -> tuple[bool, bool, datetime]:
    """An open end outweighs anything open, that outweighs anything over; then the newest."""
    is_open = operation.stage.is_open
    return is_open, is_open and operation.verb in ENDING_VERBS, operation.requested_at
