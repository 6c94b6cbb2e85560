"""Lease and idle limits as tags or labels at a cloud, so that they outlive this machine and its ledger. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from gpudash.clock import iso, parse_iso
from gpudash.errors import UsageError
from gpudash.model.duration import format_duration, parse_duration
from gpudash.model.policy import EndAction, Policy

PREFIX = "gpudash:"
MANAGED = f"{PREFIX}managed"
OWNER = f"{PREFIX}owner"
LAUNCH_TOKEN = f"{PREFIX}launch-token"
PARENT = f"{PREFIX}parent"
_LEASE = f"{PREFIX}lease-deadline"
_HARD = f"{PREFIX}hard-deadline"
_IDLE = f"{PREFIX}idle-timeout"
_IDLE_ACTION = f"{PREFIX}idle-action"
_LEASE_ACTION = f"{PREFIX}lease-action"
_PARKED = f"{PREFIX}parked-timeout"
_REVISION = f"{PREFIX}revision"
_POLICY = (_LEASE, _HARD, _IDLE, _IDLE_ACTION, _LEASE_ACTION, _PARKED, _REVISION)


def policy_tags(policy: Policy) -> dict[str, str]:
    """The tags that carry a policy. A limit that is not set has the empty text, which clears an older tag."""
    return {
        _LEASE: iso(policy.lease_deadline) or "",
        _HARD: iso(policy.hard_deadline) or "",
        _IDLE: _length(policy.idle_timeout),
        _IDLE_ACTION: policy.idle_action.value,
        _LEASE_ACTION: policy.lease_action.value,
        _PARKED: _length(policy.parked_timeout),
        _REVISION: str(policy.revision),
    }


def tagged_policy(tags: Mapping[str, str]) -> Policy | None:
    """The policy that tags carry; None where they carry none, or one that cannot be read (then it proves nothing)."""
    if not any(tags.get(name) for name in _POLICY):
        return None
    try:
        return Policy(
            lease_deadline=parse_iso(tags[_LEASE]) if tags.get(_LEASE) else None,
            hard_deadline=parse_iso(tags[_HARD]) if tags.get(_HARD) else None,
            idle_timeout=parse_duration(tags[_IDLE]) if tags.get(_IDLE) else None,
            idle_action=EndAction(tags.get(_IDLE_ACTION) or EndAction.STOP),
            lease_action=EndAction(tags.get(_LEASE_ACTION) or EndAction.TERMINATE),
            parked_timeout=parse_duration(tags[_PARKED]) if tags.get(_PARKED) else None,
            revision=int(tags.get(_REVISION) or 1),
        )
    except (ValueError, UsageError):
        return None


def _length(length: timedelta | None) -> str:
    return format_duration(length) if length else ""
