"""What the screens need of the fleet. `gpudash.fleet.fleet.Fleet` is one; `gpudash.ui.synthetic` another, without a
network.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from gpudash.clock import Clock
from gpudash.fleet.changes import ChangeSet
from gpudash.fleet.store import FleetStore
from gpudash.model.capability import Verb
from gpudash.model.event import Event
from gpudash.model.instance import InstanceKey
from gpudash.model.listing import Listing
from gpudash.model.offer import LaunchOrder, Offer, OfferFilter
from gpudash.model.operation import Operation
from gpudash.model.policy import EndAction, Policy
from gpudash.model.tunnel import Tunnel
from gpudash.providers.base import Leftover

if TYPE_CHECKING:
    from gpudash.config import Config


class ActionsPort(Protocol):
    """The part of `gpudash.fleet.actions.Actions` that asks nobody."""

    def plan_launch(
        self,
        offer: Offer,
        *,
        name: str | None = None,
        lease: timedelta | None = None,
        idle_timeout: timedelta | None = None,
        idle_action: EndAction | None = None,
        max_price: Decimal | None = None,
        service_port: int | None = None,
        health_path: str | None = None,
        recipe: str | None = None,
        options: dict[str, str] | None = None,
    ) -> LaunchOrder: ...


class SessionPort(Protocol):
    """What stands behind a fleet."""

    @property
    def config(self) -> Config: ...
    @property
    def read_only(self) -> bool: ...
    @property
    def actions(self) -> ActionsPort: ...


class FleetPort(Protocol):
    """A fleet as the screens use it. Nothing here blocks; what is awaited goes on in its lane meanwhile."""

    @property
    def store(self) -> FleetStore: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def session(self) -> SessionPort: ...

    async def __aenter__(self) -> object: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def subscribe(self, fn: Callable[[ChangeSet], None]) -> Callable[[], None]: ...
    def refresh(self) -> None: ...
    def reason_against(self, verb: Verb, key: InstanceKey | None) -> str | None: ...
    async def launch(self, order: LaunchOrder) -> Operation: ...
    async def end(self, key: InstanceKey, action: EndAction, hold_s: float = 5.0) -> Operation: ...
    async def cancel(self, op_id: str) -> Operation: ...
    async def start(self, key: InstanceKey) -> Operation: ...
    async def extend(self, key: InstanceKey, until: datetime) -> Operation: ...
    async def keep_awake(self, key: InstanceKey, for_: timedelta) -> Operation: ...
    async def push(self, key: InstanceKey) -> Operation: ...
    async def adopt(self, key: InstanceKey, policy: Policy | None = None) -> Operation: ...
    async def offers(self, wanted: OfferFilter) -> list[Listing[Offer]]: ...
    async def leftovers(self) -> list[Listing[Leftover]]: ...
    async def events(self, limit: int = 200, key: InstanceKey | None = None) -> list[Event]: ...
    async def open_tunnel(self, key: InstanceKey, remote: int, local: int | None = None) -> Tunnel: ...
    async def close_tunnel(self, key: InstanceKey, remote: int) -> None: ...
    async def toggle_tunnels(self, key: InstanceKey) -> bool: ...
    def ssh_argv(self, key: InstanceKey) -> list[str]: ...
