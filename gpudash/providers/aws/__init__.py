"""AWS EC2. `create` makes the adapter of one account; nothing here imports boto3 before a region is asked.

| file | subject |
|---|---|
| clients | the one Session of an account, its clients, retry mode and time-outs |
| errors | what each exception and error code of AWS means to us |
| states, tags, parse | pure: a DescribeInstances record becomes an `Instance` |
| facts, prices, surroundings | what instance types, disks and images are, and cost; cached with their age |
| options, images, keys, network, roles, request, launch | from an order to RunInstances |
| verbs | start, stop, hibernate, terminate, tags, and how a host ends itself |
| leftovers, cleanup | what bills without an instance, and taking it away |
| permissions, simulation, policies | which calls are allowed, and the least that is needed |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpudash.model.capability import Capabilities
from gpudash.providers.aws.options import LAUNCH_OPTIONS

if TYPE_CHECKING:
    from gpudash.clock import Clock
    from gpudash.config import Account
    from gpudash.model.offer import LaunchOrder
    from gpudash.providers.aws.provider import AwsProvider
    from gpudash.providers.base import Examination

CAPABILITIES = Capabilities(
    provider="aws",
    can_stop=True,
    can_rename=True,
    can_hibernate=True,
    has_spot=True,
    has_tags=True,
    has_idempotent_launch=True,
    lists_terminated=True,
    bills_stopped=True,
    cadence_s=15.0,
    tells_host_key=False,
    why_not={},
    launch_options=LAUNCH_OPTIONS,
)
"""Hibernation is a property of the instance type (no GPU type has it), so it is refused an instance at a time."""


def create(account: Account, clock: Clock) -> AwsProvider:
    """The adapter of one account. Credentials are looked for when the first region is asked, in its lane."""
    from gpudash.providers.aws.provider import AwsProvider

    return AwsProvider(account, clock)


def check(order: LaunchOrder) -> None:
    """Refuse an order that EC2 would refuse, as far as can be told without asking it. Instant.

    Raises:
        UsageError: an option that there is not, or a senseless value.
        Unsupported: the type cannot do what limits or options ask for.
    """
    from gpudash.providers.aws import facts, request

    request.check_options(order)
    kind = facts.shipped().get(order.instance_type)
    if kind is not None:
        request.check_type(order, kind)


def doctor(account: Account, clock: Clock) -> Examination:
    """Which calls this account may make. Changes nothing."""
    from gpudash.providers.aws.permissions import examine

    provider = create(account, clock)
    try:
        return examine(provider)
    finally:
        provider.close()


def documents() -> dict[str, dict[str, Any]]:
    """The least that is needed, as IAM policies to paste: for the person, for the instance role, and who may have that."""
    from gpudash.providers.aws import policies

    return {
        "person": policies.person_policy(),
        "instance": policies.instance_policy(),
        "trust": policies.trust_policy(),
    }
