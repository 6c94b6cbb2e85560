"""RunPod: pods and serverless endpoints over REST v2, jobs over the data plane, balance over GraphQL.

| file | subject |
|---|---|
| surfaces | the three origins, who answers which question, and what their answers mean |
| catalogue | GPU types, their names for people, prices and stock; offers |
| pods | pure: a pod's record becomes an `Instance` |
| seen | what one process remembers of pods: prices while running, addresses of earlier starts |
| options, request | pure: an order becomes the body of a create |
| account_keys | the person's SSH key among the account's |
| storage | disks and volumes: prices and leftovers |
| endpoints | pure: serverless records become an `Endpoint` |
| serverless | asking for endpoints and jobs, and changing them |
| money | the balance |
| provider | the adapter |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpudash.model.capability import Capabilities, Verb
from gpudash.providers.runpod.options import LAUNCH_OPTIONS

if TYPE_CHECKING:
    from gpudash.clock import Clock
    from gpudash.config import Account
    from gpudash.model.offer import LaunchOrder
    from gpudash.providers.runpod.provider import RunpodProvider

CAPABILITIES = Capabilities(
    provider="runpod",
    can_stop=True,
    can_rename=True,
    can_hibernate=False,
    has_spot=False,
    has_tags=False,
    has_idempotent_launch=False,
    lists_terminated=False,
    bills_stopped=True,
    cadence_s=10.0,
    tells_host_key=False,
    why_not={
        Verb.HIBERNATE: "RunPod cannot keep a pod's memory; stop keeps its volume, terminate ends it for good.",
    },
    lists_everywhere=True,
    can_restart=True,
    has_endpoints=True,
    has_balance=True,
    launch_options=LAUNCH_OPTIONS,
)


def create(account: Account, clock: Clock) -> RunpodProvider:
    """The adapter of one account. Its key is looked for when RunPod is first asked."""
    from gpudash.providers.runpod.provider import RunpodProvider

    return RunpodProvider(account, clock)


def check(order: LaunchOrder) -> None:
    """Refuse an order that RunPod would refuse, as far as can be told without asking it. Instant.

    Raises:
        UsageError: an option that there is not, or a senseless value.
        Unsupported: spot.
    """
    from gpudash.providers.runpod import request

    request.check(order)
