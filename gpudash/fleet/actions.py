"""Everything that changes the world, in one place: intent on disk, call, read back, outcome."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

from gpudash.fleet.record import Record
from gpudash.model.capability import Verb
from gpudash.model.instance import Instance, InstanceKey
from gpudash.model.listing import Listing
from gpudash.model.offer import LaunchOrder, Offer
from gpudash.model.operation import Operation
from gpudash.model.policy import EndAction, Policy


class Actions:
    """Blocking; called from a command's thread or from a lane. What is refused raises before anything is written;
    what a cloud or host answers comes back as the operation's stage and `detail`."""

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
    ) -> LaunchOrder:
        """A complete order from an offer and the defaults. Pure; asks nobody."""
        raise NotImplementedError

    def reason_against(self, verb: Verb, record: Record | None, account: str | None = None) -> str | None:
        """Why that verb cannot be done there now, or None. Pure and instant. `account` for a launch."""
        raise NotImplementedError

    def launch(self, order: LaunchOrder) -> Operation:
        """Ask for one instance. Never asked twice."""
        raise NotImplementedError

    def end(self, key: InstanceKey, action: EndAction, hold_s: float = 0.0) -> Operation:
        """Stop, hibernate or terminate. With `hold_s` it is sent after so many real seconds, unless cancelled."""
        raise NotImplementedError

    def start(self, key: InstanceKey) -> Operation:
        """Bring a stopped or hibernated instance back."""
        raise NotImplementedError

    def extend(self, key: InstanceKey, until: datetime) -> Operation:
        """Move the lease deadline. The same moment twice changes nothing."""
        raise NotImplementedError

    def keep_awake(self, key: InstanceKey, for_: timedelta) -> Operation:
        """Hold off the idle action that long."""
        raise NotImplementedError

    def push(self, key: InstanceKey) -> Operation:
        """Install or renew the daemon and prove that it enforces the policy."""
        raise NotImplementedError

    def adopt(self, key: InstanceKey, policy: Policy | None = None) -> Operation:
        """Take an instance under management, with the default limits where none are given."""
        raise NotImplementedError

    def cancel(self, op_id: str) -> Operation:
        """Take back an end that is still held."""
        raise NotImplementedError

    def settle(self, listing: Listing[Instance], needed: timedelta | None = None) -> list[Operation]:
        """Weigh the open operations of that account and region against what a listing shows; those that moved."""
        raise NotImplementedError

    def advance(self, op: Operation) -> Operation:
        """Do the next thing an open operation waits for, if it is due."""
        raise NotImplementedError
