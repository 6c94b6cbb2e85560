"""One policy out of what ledger, cloud tags and host each remember, and the tags that are written for it.

How tags carry a policy is in `model.tags`. Tags survive the loss of this machine; the daemon's file survives the loss
of both.
"""

from __future__ import annotations

from dataclasses import replace

from gpudash.model.policy import Policy
from gpudash.model.tags import MANAGED, OWNER, policy_tags, tagged_policy

__all__ = ["MANAGED", "OWNER", "merged", "policy_tags", "tagged_policy", "tags_for", "whole"]


def tags_for(policy: Policy, *, managed: bool) -> dict[str, str]:
    """What is written to an instance at its cloud. Limits alone do not make it ours."""
    return policy_tags(policy) | ({MANAGED: "true"} if managed else {})


def whole(policy: Policy) -> Policy:
    """The policy in whole seconds, as host and tags keep it, so that what is read back compares equal."""
    lease, hard = policy.lease_deadline, policy.hard_deadline
    return replace(
        policy,
        lease_deadline=None if lease is None else lease.replace(microsecond=0),
        hard_deadline=None if hard is None else hard.replace(microsecond=0),
    )


def merged(*policies: Policy | None) -> Policy | None:
    """One policy out of several memories of it: the highest revision, its lease the latest known, never past the
    earliest hard deadline. A deadline that one of them extended is not lost, and none is stretched past the limit.
    """
    known = [policy for policy in policies if policy is not None]
    if not known:
        return None
    newest = max(known, key=lambda policy: policy.revision)
    hard = min((p.hard_deadline for p in known if p.hard_deadline is not None), default=None)
    lease = max((p.lease_deadline for p in known if p.lease_deadline is not None), default=None)
    if lease is not None and hard is not None:
        lease = min(lease, hard)
    if (lease, hard) == (newest.lease_deadline, newest.hard_deadline):
        return newest
    return replace(newest, lease_deadline=lease, hard_deadline=hard)
