"""One run of the program against the chosen accounts: what commands, watchdog and dashboard all stand on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from gpudash.clock import Clock
from gpudash.fleet.actions import Actions
from gpudash.fleet.changes import ChangeSet
from gpudash.fleet.record import Record
from gpudash.fleet.store import FleetStore
from gpudash.model.operation import Operation
from gpudash.providers.base import Provider

if TYPE_CHECKING:
    from gpudash.config import Config
    from gpudash.hosts import Hosts
    from gpudash.ledger import Ledger


class Session:
    """Context manager. Sync; `store` belongs to the thread that opened it."""

    config: Config
    clock: Clock
    ledger: Ledger
    providers: Mapping[str, Provider]
    hosts: Hosts
    actions: Actions
    store: FleetStore
    read_only: bool
    accounts: tuple[str, ...]

    @classmethod
    def open(
        cls,
        config: Config,
        *,
        accounts: Sequence[str] | None = None,
        read_only: bool = False,
        actor: str,
        clock: Clock | None = None,
    ) -> Session:
        """Open ledger and store (filled from the last snapshots). Asks no cloud."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of everything; waits for no cloud."""
        raise NotImplementedError

    def __enter__(self) -> Session:
        raise NotImplementedError

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        raise NotImplementedError

    def poll(self, timeout_s: float) -> ChangeSet:
        """Ask every lane side by side; what came by then is in the store, the rest shows in its health."""
        raise NotImplementedError

    def read_hosts(self, timeout_s: float, max_age_s: float = 0.0) -> ChangeSet:
        """Ask the daemons of running managed instances whose last answer is older than that."""
        raise NotImplementedError

    def resolve(self, text: str) -> Record:
        """`account:id`, an unambiguous name, or an unambiguous prefix of the id; `NotFound` lists candidates."""
        raise NotImplementedError

    def settle_until(
        self, op_id: str, timeout_s: float, on_step: Callable[[Operation], None] | None = None
    ) -> Operation:
        """Poll, settle and advance until that operation is over or the time is up. Real seconds."""
        raise NotImplementedError
