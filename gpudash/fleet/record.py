"""One row of the fleet: everything known of one instance, merged, with the clocks of each part.

Frozen: a change is a new record, an unchanged one stays the same object. Nothing that lives with the clock is stored;
ask the record with `now` when a line is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from gpudash.ledger.money import lasting_meters
from gpudash.model.capability import Verb
from gpudash.model.guard import FRESH_FOR, GuardLevel, GuardVerdict, judge
from gpudash.model.host import HostStatus
from gpudash.model.instance import Instance, InstanceKey, InstanceState
from gpudash.model.money import NOTHING_SPENT, Accrual, Amount, cost
from gpudash.model.operation import Operation, Stage
from gpudash.model.policy import Policy
from gpudash.model.tunnel import Tunnel

ENDING_VERBS = frozenset({Verb.STOP, Verb.HIBERNATE, Verb.TERMINATE})


@dataclass(frozen=True, slots=True)
class Record:
    """One instance, merged from listing, ledger, host and tunnels."""

    instance: Instance
    listed_at: datetime
    """When the cloud last confirmed it."""
    policy: Policy | None = None
    """In force as far as we know: the daemon's own answer, else the cloud's tags, else the ledger's."""
    wanted: Policy | None = None
    """What a person decided (ledger or tags); the guard compares it with what the daemon enforces."""
    status: HostStatus | None = None
    status_at: datetime | None = None
    """When `status` came, by our clock."""
    status_problem: str | None = None
    """Why the last attempt to ask the host failed; None after a good answer."""
    daemon_gone: bool = False
    """The last attempt got through to the host and found no daemon running there."""
    accrual: Accrual = NOTHING_SPENT
    tunnels: tuple[Tunnel, ...] = ()
    operation: Operation | None = None
    """The newest open operation on it, or its last failed one until seen."""
    utilisation: Sequence[float | None] = ()
    """GPU utilisation of the last polls, oldest first, for the sparkline."""
    missing_since: datetime | None = None
    """First good listing it was absent from; one more proves it gone."""
    fresh_for: timedelta = FRESH_FOR
    """How long a daemon's answer proves its guard; longer where the clock runs fast."""

    @property
    def key(self) -> InstanceKey:
        return self.instance.key

    @property
    def is_ending(self) -> bool:
        """An end was asked for and is not proved."""
        operation = self.operation
        return operation is not None and operation.verb in ENDING_VERBS and operation.stage.is_open

    def is_stale(self, now: datetime, cadence: timedelta) -> bool:
        """The cloud has not confirmed it for more than two cadences."""
        return now - self.listed_at > 2 * cadence

    def guard(self, now: datetime) -> GuardVerdict | None:
        """Whether anything will end it, and whether that is proved."""
        verdict = judge(self.instance, self.wanted, self.status, self.status_at, now, self.fresh_for)
        if self.daemon_gone and verdict is not None and self.status is not None:
            return GuardVerdict(GuardLevel.NONE, self.status_problem or "statusd does not run there any more")
        return verdict

    def is_unguarded(self, now: datetime) -> bool:
        """It bills and nothing is proved to end it."""
        verdict = self.guard(now)
        return verdict is not None and verdict.level is not GuardLevel.ARMED

    def accrued(self, now: datetime) -> Amount:
        """Spent so far."""
        return self.accrual.at(now)

    def lease_remaining(self, now: datetime) -> timedelta | None:
        """Until the lease deadline; negative once it has passed; None without one."""
        deadline = self.policy.lease_deadline if self.policy else None
        return None if deadline is None else deadline - now

    def idle_remaining(self, now: datetime) -> timedelta | None:
        """Until the idle action, or None while something keeps the host awake or nothing is known."""
        if self.status is None or self.status_at is None or self.status.idle_remaining_s is None:
            return None
        return timedelta(seconds=self.status.idle_remaining_s) - (now - self.status_at)

    def ends(self) -> tuple[datetime, str] | None:
        """What ends it first and when: ``lease``, ``hard``, ``idle``, ``parked`` or the cloud's own notice (``spot``)."""
        return min(self.all_ends(), default=None)

    def all_ends(self) -> list[tuple[datetime, str]]:
        """Everything that will end it, named as in `ends`."""
        candidates: list[tuple[datetime, str]] = []
        if self.policy is not None:
            for moment, why in ((self.policy.lease_deadline, "lease"), (self.policy.hard_deadline, "hard")):
                if moment is not None:
                    candidates.append((moment, why))
        if self.status is not None and self.status_at is not None:
            for seconds, why in ((self.status.idle_remaining_s, "idle"), (self.status.parked_remaining_s, "parked")):
                if seconds is not None:
                    candidates.append((self.status_at + timedelta(seconds=seconds), why))
            if self.status.ends_why == "spot" and self.status.ends_at is not None:
                candidates.append((self.status.ends_at, "spot"))
        return candidates

    def will_end(self, now: datetime) -> tuple[datetime, str] | None:
        """As `ends`, where there is something to do it: limits that nothing enforces end nothing."""
        verdict = self.guard(now)
        return None if verdict is None or verdict.level is GuardLevel.NONE else self.ends()

    def projected(self, now: datetime) -> Amount | None:
        """Spent when its lease (else hard deadline) ends, if nothing else ends it; None without a deadline."""
        rest = self.to_come(now)
        return None if rest is None else self.accrued(now) + rest

    def to_come(self, now: datetime) -> Amount | None:
        """The part of `projected` that is not spent yet: nothing where it is stopped; None without a deadline."""
        deadline = None if self.policy is None else self.policy.lease_deadline or self.policy.hard_deadline
        if deadline is None:
            return None
        rest = deadline - now if self.instance.state.bills_compute else timedelta(0)
        return sum((cost(price, rest) for price in lasting_meters(self.instance).values()), Amount())

    def still_billing_since(self) -> datetime | None:
        """When an end was asked for that is not proved and has been tried more than once or failed."""
        if self.is_ending and self.operation is not None and self.operation.stage in {Stage.RETRYING, Stage.AMBIGUOUS}:
            return self.operation.requested_at
        return None


def is_reachable(record: Record) -> bool:
    """It runs as far as the cloud says, and has an address that programs can use."""
    ssh = record.instance.ssh
    return record.instance.state is InstanceState.RUNNING and ssh is not None and ssh.only_a_shell is None


def closed_to_programs(record: Record) -> str | None:
    """A sentence where only a person can get in, so that nothing is tried in vain; else None."""
    ssh = record.instance.ssh
    if ssh is None or ssh.only_a_shell is None:
        return None
    return f"{record.instance.name} can be reached by `gpudash ssh` only: {ssh.only_a_shell}."
