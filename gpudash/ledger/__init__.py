"""gpudash's memory: intents, events, priced intervals, last snapshots and what a person wants, in one SQLite file.

`Ledger` is all that others use. It is safe from any thread, and several processes may have the same file open: writers
take turns. `database` owns the file, `schema` its tables, `codec` how the model becomes JSON; each subject has its
module.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, tzinfo
from pathlib import Path

from gpudash.clock import Clock
from gpudash.ledger import events, money, operations, pruning, reports, snapshots, wants
from gpudash.ledger.database import Database
from gpudash.ledger.reports import CostBy, CostLine
from gpudash.ledger.schema import TABLES
from gpudash.ledger.wants import WantedTunnel
from gpudash.model.event import Event
from gpudash.model.host import HostStatus
from gpudash.model.instance import Instance, InstanceKey
from gpudash.model.listing import Listing
from gpudash.model.money import Accrual, Amount, Interval
from gpudash.model.operation import Operation
from gpudash.model.policy import Policy

__all__ = ["CostBy", "CostLine", "Ledger", "WantedTunnel"]


class Ledger:
    """The open ledger. Every method may raise `LedgerError`; a write that raised has changed nothing."""

    def __init__(self, database: Database) -> None:
        self._db = database

    @classmethod
    def open(cls, path: Path, clock: Clock) -> Ledger:
        """Open, make or bring up to date the file at `path`. A damaged one is set aside, and `notice` says so.

        Raises:
            LedgerError: it cannot be opened, or a newer gpudash wrote it (then nothing was touched).
        """
        return cls(Database(path, clock))

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    @property
    def notice(self) -> str | None:
        """One line for the person, where the file was damaged and a new one was begun."""
        return self._db.notice

    # Operations

    def add_operation(self, operation: Operation) -> None:
        """Write an intent. It is on disk, fsynced, when this returns."""
        operations.add(self._db, operation)

    def update_operation(self, operation: Operation) -> None:
        """Write how far an operation has come, as durably."""
        operations.update(self._db, operation)

    def operation(self, op_id: str) -> Operation | None:
        """One operation by its id."""
        return operations.one(self._db, op_id)

    def open_operations(self, account: str | None = None) -> list[Operation]:
        """What is not settled, oldest first."""
        return operations.still_open(self._db, account)

    def recent_operations(self, limit: int = 50) -> list[Operation]:
        """The newest operations, settled or not, newest first."""
        return operations.recent(self._db, limit)

    def operations_of(self, key: InstanceKey, limit: int = 50) -> list[Operation]:
        """The newest operations on one instance, settled or not, newest first."""
        return operations.of_one(self._db, key, limit)

    def launched_at(self, tokens: Collection[str]) -> dict[str, datetime]:
        """When each of our launches with one of these tokens was asked for."""
        return operations.launched_at(self._db, tokens)

    def claim(self, op_id: str, owner: str, seconds: float) -> bool:
        """Take the right to drive an operation; False while another owner's claim holds."""
        return operations.claim(self._db, op_id, owner, seconds)

    def release(self, op_id: str, owner: str) -> None:
        """Give that right back."""
        operations.release(self._db, op_id, owner)

    # Events

    def add_event(self, event: Event) -> None:
        """Append a line to the diary."""
        events.add(self._db, event)

    def events(self, limit: int = 200, key: InstanceKey | None = None, since: datetime | None = None) -> list[Event]:
        """Lines of the diary, newest first."""
        return events.newest(self._db, limit, key, since)

    # Money

    def observe(self, listing: Listing[Instance], now: datetime) -> None:
        """Open and close priced intervals as a listing says; see `ledger.money` for the rules."""
        money.observe(self._db, listing, now)

    def intervals(self, key: InstanceKey) -> list[Interval]:
        """Every interval of one instance, oldest first."""
        return reports.intervals(self._db, key)

    def accruals(self, account: str | None = None) -> dict[InstanceKey, Accrual]:
        """What each instance has cost and goes on costing; instances that ended over a week ago are left out."""
        return reports.accruals(self._db, account)

    def spent(self, since: datetime, until: datetime) -> Amount:
        """All that was spent between two moments."""
        return reports.spent(self._db, since, until)

    def costs(self, since: datetime, until: datetime, by: CostBy = CostBy.DAY, zone: tzinfo = UTC) -> list[CostLine]:
        """The same by day (of `zone`), account or instance."""
        return reports.costs(self._db, since, until, by, zone)

    # Snapshots

    def save_listing(self, listing: Listing[Instance]) -> None:
        """Keep a cloud's answer for the next first frame; an incomplete one removes nothing."""
        snapshots.save_listing(self._db, listing)

    def load_listings(self) -> list[Listing[Instance]]:
        """The last answer of every region."""
        return snapshots.load_listings(self._db)

    def save_absences(self, account: str, region: str, since: Mapping[InstanceKey, datetime]) -> None:
        """Keep what the last listings of a region lacked, so that the next program goes on with the proof."""
        snapshots.save_absences(self._db, account, region, since)

    def load_absences(self) -> dict[InstanceKey, datetime]:
        """What the last listings lacked, and since when."""
        return snapshots.load_absences(self._db)

    def save_status(self, key: InstanceKey, body: Mapping[str, object], seen_at: datetime) -> None:
        """Keep a host's ``/status`` document."""
        snapshots.save_status(self._db, key, body, seen_at)

    def forget_status(self, key: InstanceKey) -> None:
        """The instance is proved gone; its host will not answer again."""
        snapshots.forget_status(self._db, key)

    def load_statuses(self) -> dict[InstanceKey, tuple[HostStatus, datetime]]:
        """Every host's last answer, and when it came."""
        return snapshots.load_statuses(self._db)

    # What a person wants

    def set_policy(self, key: InstanceKey, policy: Policy) -> Policy:
        """Keep the limits of an instance, and answer those kept: a lower revision than the kept one changes nothing."""
        return wants.set_policy(self._db, key, policy)

    def policies(self) -> dict[InstanceKey, Policy]:
        """The limits of every instance that has some."""
        return wants.policies(self._db)

    def adopt(self, key: InstanceKey) -> None:
        """This instance is managed from now on."""
        wants.adopt(self._db, key)

    def adopted(self) -> set[InstanceKey]:
        """Every adopted instance."""
        return wants.adopted(self._db)

    def want_tunnel(self, key: InstanceKey, remote: int, local: int) -> None:
        """This forward should come back."""
        wants.want_tunnel(self._db, key, remote, local)

    def unwant_tunnel(self, key: InstanceKey, remote: int) -> None:
        """This forward was closed on purpose."""
        wants.unwant_tunnel(self._db, key, remote)

    def wanted_tunnels(self) -> list[WantedTunnel]:
        """Forwards that should be up."""
        return wants.wanted_tunnels(self._db)

    def prune(self, accounts: Collection[str] | None = None) -> int:
        """Let go of old diary lines and settled intents by the rule of `ledger.pruning`; money is never touched."""
        return pruning.prune(self._db, accounts)

    def forget_account(self, account: str) -> None:
        """Remove everything of one account, history and money included (a sandbox that was reset)."""
        with self._db.write() as connection:
            for table in TABLES:
                connection.execute(f"DELETE FROM {table} WHERE account = ?", (account,))  # noqa: S608 — our own words
