"""The dashboard's way in: the session behind an event loop that never waits for a network."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from types import TracebackType

from gpudash.clock import Clock
from gpudash.fleet.changes import ChangeSet
from gpudash.fleet.session import Session
from gpudash.fleet.store import FleetStore
from gpudash.model.capability import Verb
from gpudash.model.event import Event
from gpudash.model.instance import Instance, InstanceKey
from gpudash.model.listing import Listing
from gpudash.model.offer import LaunchOrder, Offer, OfferFilter
from gpudash.model.operation import Operation
from gpudash.model.policy import EndAction, Policy
from gpudash.model.tunnel import Tunnel
from gpudash.providers.base import Leftover

Listener = Callable[[ChangeSet], None]


class Fleet:
    """Async context manager; all methods and all listeners run on the loop."""

    session: Session
    store: FleetStore
    clock: Clock

    def __init__(self, session: Session) -> None:
        raise NotImplementedError

    async def __aenter__(self) -> Fleet:
        raise NotImplementedError

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        raise NotImplementedError

    def subscribe(self, fn: Listener) -> Callable[[], None]:
        """Call `fn` with every change set, until the returned function is called."""
        raise NotImplementedError

    def refresh(self) -> None:
        """Ask all clouds and hosts again now."""
        raise NotImplementedError

    def reason_against(self, verb: Verb, key: InstanceKey | None) -> str | None:
        """Why that verb cannot be done there now, or None. Pure and instant."""
        raise NotImplementedError

    async def launch(self, order: LaunchOrder) -> Operation:
        """See `Actions.launch`; the call itself goes on in its lane."""
        raise NotImplementedError

    async def end(self, key: InstanceKey, action: EndAction, hold_s: float = 5.0) -> Operation:
        """Stop, hibernate or terminate, held back so that `cancel` can take it back."""
        raise NotImplementedError

    async def cancel(self, op_id: str) -> Operation:
        """Take back an end that is still held."""
        raise NotImplementedError

    async def start(self, key: InstanceKey) -> Operation:
        """Bring a stopped instance back."""
        raise NotImplementedError

    async def extend(self, key: InstanceKey, until: datetime) -> Operation:
        """Move the lease deadline."""
        raise NotImplementedError

    async def keep_awake(self, key: InstanceKey, for_: timedelta) -> Operation:
        """Hold off the idle action that long."""
        raise NotImplementedError

    async def push(self, key: InstanceKey) -> Operation:
        """Install or renew the daemon and prove it."""
        raise NotImplementedError

    async def adopt(self, key: InstanceKey, policy: Policy | None = None) -> Operation:
        """Take an instance under management."""
        raise NotImplementedError

    async def offers(self, wanted: OfferFilter) -> list[Listing[Offer]]:
        """What can be launched, one listing an account; failures are incomplete listings with a problem."""
        raise NotImplementedError

    async def leftovers(self) -> list[Listing[Leftover]]:
        """What bills without a running instance, one listing an account."""
        raise NotImplementedError

    async def events(self, limit: int = 200, key: InstanceKey | None = None) -> list[Event]:
        """The ledger's diary, newest first."""
        raise NotImplementedError

    async def open_tunnel(self, key: InstanceKey, remote: int, local: int | None = None) -> Tunnel:
        """Forward a port; it comes back by itself when the dashboard is reopened."""
        raise NotImplementedError

    async def close_tunnel(self, key: InstanceKey, remote: int) -> None:
        """End a forward for good."""
        raise NotImplementedError

    async def toggle_tunnels(self, key: InstanceKey) -> bool:
        """All of the instance's tunnels off if any is open, else on; whether they are on now."""
        raise NotImplementedError

    def ssh_argv(self, key: InstanceKey) -> list[str]:
        """The command line of a shell on the instance."""
        raise NotImplementedError

    def instance(self, key: InstanceKey) -> Instance:
        """The newest known description; raises `NotFound`."""
        raise NotImplementedError
