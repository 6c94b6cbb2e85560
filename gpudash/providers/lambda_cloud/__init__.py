"""Lambda Cloud. `create` makes the adapter of one account; nothing here opens a connection before it is asked.

| file | subject |
|---|---|
| api | the origin, the limits Lambda publishes, and what its error codes mean |
| parse | pure: its JSON becomes instances, types, offers and filesystems |
| catalogue | types with their stock, asked once for questions close together, and ranked alternatives |
| labels | our token in an instance's tags and name |
| keys | the one SSH key of a launch |
| options, request, launch | from an order to one launch |
| provider | the provider contract |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpudash.model.capability import Capabilities, Verb
from gpudash.providers.lambda_cloud.options import LAUNCH_OPTIONS

if TYPE_CHECKING:
    from gpudash.clock import Clock
    from gpudash.config import Account
    from gpudash.model.offer import LaunchOrder
    from gpudash.providers.lambda_cloud.provider import LambdaProvider

_NO_STOP = "Lambda has no stop: a machine that is shut down goes on billing. Terminate it; its filesystems stay."
CAPABILITIES = Capabilities(
    provider="lambda",
    can_stop=False,
    can_rename=True,
    can_hibernate=False,
    has_spot=False,
    has_tags=False,
    has_idempotent_launch=False,
    lists_terminated=False,
    bills_stopped=False,
    cadence_s=15.0,
    tells_host_key=False,
    why_not={
        Verb.STOP: _NO_STOP,
        Verb.HIBERNATE: _NO_STOP,
        Verb.START: "Lambda has no stopped instances that could start. Launch another one.",
    },
    lists_everywhere=True,
    launch_options=LAUNCH_OPTIONS,
    can_restart=True,
)
"""Tags cannot be changed after the launch, so limits that move have no place there: `has_tags` is False."""


def create(account: Account, clock: Clock) -> LambdaProvider:
    """The adapter of one account. The key is looked for when the first question is asked."""
    from gpudash.providers.lambda_cloud.provider import LambdaProvider

    return LambdaProvider(account, clock)


def check(order: LaunchOrder) -> None:
    """Refuse an order that Lambda would refuse, as far as can be told without asking it. Instant.

    Raises:
        UsageError: an option that there is not, or a senseless value.
        Unsupported: spot.
    """
    from gpudash.providers.lambda_cloud import request

    request.check(order)
