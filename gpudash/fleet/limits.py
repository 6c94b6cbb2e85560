"""The limits an instance gets where nobody said otherwise."""

from __future__ import annotations

from datetime import datetime, timedelta

from gpudash.config import Defaults
from gpudash.errors import Unsupported, UsageError
from gpudash.fleet.desk import Desk
from gpudash.model.capability import Capabilities, Verb
from gpudash.model.duration import format_duration
from gpudash.model.policy import EndAction, Policy


def default_policy(
    desk: Desk,
    account: str,
    *,
    lease: timedelta | None = None,
    idle_timeout: timedelta | None = None,
    idle_action: EndAction | None = None,
) -> Policy:
    """Limits of an instance of that account that begin now; see `policy_from`."""
    return policy_from(
        desk.config.defaults,
        desk.accounts.capabilities(account),
        desk.clock.now(),
        lease=lease,
        idle_timeout=idle_timeout,
        idle_action=idle_action,
    )


def policy_from(
    defaults: Defaults,
    capabilities: Capabilities,
    now: datetime,
    *,
    lease: timedelta | None = None,
    idle_timeout: timedelta | None = None,
    idle_action: EndAction | None = None,
) -> Policy:
    """What was asked for, else the defaults; an idle action that the cloud has. Pure.

    Raises:
        UsageError: a lease longer than the longest one allowed.
        Unsupported: an idle action was asked for that this cloud does not have.
    """
    begin = now.replace(microsecond=0)
    length = lease or min(defaults.lease, defaults.max_lease)
    if length > defaults.max_lease:
        raise UsageError(
            f"A lease of {format_duration(length)} is longer than max_lease, {format_duration(defaults.max_lease)}.",
            hint="Ask for less, or raise max_lease in the settings.",
        )
    action = idle_action or defaults.idle_action
    missing = {EndAction.STOP: not capabilities.can_stop, EndAction.HIBERNATE: not capabilities.can_hibernate}
    if missing.get(action, False):
        if idle_action is not None:
            raise Unsupported(capabilities.reason_against(Verb(action.value)) or f"That cloud cannot {action.value}.")
        action = EndAction.TERMINATE
    return Policy(
        lease_deadline=begin + length,
        hard_deadline=begin + defaults.max_lease,
        idle_timeout=idle_timeout or defaults.idle_timeout,
        idle_action=action,
    )
