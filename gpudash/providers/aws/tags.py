"""Tags on EC2: ours (`model.tags`) in AWS's shape, and those of spawn, read as a policy. Pure.

Deadlines are absolute. A spawn instance that carries only a TTL gets an estimated deadline, counted from its last
start as that tool's agent does. Its TTL becomes our *lease* and not a hard deadline, because it can be extended.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation

from gpudash.clock import iso, parse_iso
from gpudash.errors import UsageError
from gpudash.model.policy import EndAction, Policy
from gpudash.model.tags import LAUNCH_TOKEN, MANAGED, OWNER, PARENT, PREFIX, policy_tags, tagged_policy

__all__ = ["LAUNCH_TOKEN", "MANAGED", "OWNER", "PARENT", "PREFIX", "policy_tags"]

LEASE = f"{PREFIX}lease-deadline"
HARD = f"{PREFIX}hard-deadline"
SSH_USER = f"{PREFIX}ssh-user"
SERVICE_PORT = f"{PREFIX}service-port"
SHARED = f"{PREFIX}shared"
"""On what all our instances of a region share (``network``, ``ssh``): it goes with the last of them."""
USED_BY = f"{PREFIX}used-by"
"""On the same: when a launch last chose it, and its token. Whoever cleans up elsewhere learns of that launch from it."""

_ALLOWED_KEY = re.compile(r"[A-Za-z0-9+\-=.,_:@]{1,128}")
_GO_PART = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s)")
_GO_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def as_dict(tags: object) -> dict[str, str]:
    """``[{"Key": …, "Value": …}]`` as a mapping."""
    return {str(tag["Key"]): str(tag.get("Value", "")) for tag in tags} if isinstance(tags, list) else {}


def as_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """A mapping as EC2 wants it."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def read_policy(tags: Mapping[str, str], started_at: datetime | None) -> Policy | None:
    """The limits that tags set: ours, else spawn's; None where they set none."""
    ours = tagged_policy(tags)
    if ours is not None:
        return ours
    policy = _spawn_policy(tags, started_at)
    return policy if policy.limits_anything else None


def is_spawn(tags: Mapping[str, str]) -> bool:
    """Made by spawn, whose agent obeys its own tags."""
    return tags.get("spawn:managed") == "true" or "spawn:ttl" in tags or "spawn:ttl-deadline" in tags


def deadline_is_estimated(tags: Mapping[str, str]) -> bool:
    """The deadline is counted from a TTL and not written anywhere."""
    return LEASE not in tags and "spawn:ttl" in tags and _moment(tags.get("spawn:ttl-deadline")) is None


def spawn_extension(until: datetime, first_launch: datetime | None) -> dict[str, str]:
    """What spawn's agent must read so that it obeys the new deadline: the deadline, and the TTL that agrees with it."""
    tags = {"spawn:ttl-deadline": str(iso(until))}
    if first_launch is not None and until > first_launch:
        tags["spawn:ttl"] = _go_duration(until - first_launch)
    return tags


def spawn_cost_limit(tags: Mapping[str, str]) -> Decimal | None:
    """The cost at which spawn's agent ends the instance whatever its deadline; None for no such limit."""
    try:
        limit = Decimal(tags.get("spawn:cost-limit", "0"))
    except InvalidOperation:
        return None
    return limit if limit > 0 else None


def full_key(key: str) -> str:
    """``lease-deadline`` as well as ``gpudash:lease-deadline`` name the tag."""
    return key if ":" in key or key == "Name" else PREFIX + key


def check_user_tags(tags: Mapping[str, str]) -> None:
    """Refuse keys that EC2 will not take while the instance can read its own tags.

    Raises:
        UsageError: names the key and what is allowed.
    """
    for key, value in tags.items():
        if not _ALLOWED_KEY.fullmatch(key) or key.lower().startswith("aws:") or len(value) > 256:
            raise UsageError(
                f"tag {key!r} cannot be used.",
                hint="A key has up to 128 of A-Z a-z 0-9 + - = . , _ : @ and no aws:, a value up to 256 characters.",
            )


def parse_go_duration(text: str) -> timedelta | None:
    """``24h``, ``1h30m``, ``8h0m0s``, ``1.5h`` as Go writes them; None where it is none."""
    parts = _GO_PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return timedelta(seconds=sum(float(number) * _GO_UNITS[unit] for number, unit in parts))


def _spawn_policy(tags: Mapping[str, str], started_at: datetime | None) -> Policy:
    deadline = _moment(tags.get("spawn:ttl-deadline"))
    ttl = parse_go_duration(tags.get("spawn:ttl", ""))
    if deadline is None and ttl and started_at is not None:
        deadline = started_at + ttl
    hibernates = tags.get("spawn:hibernate-on-idle") == "true"
    return Policy(
        lease_deadline=deadline,
        idle_timeout=parse_go_duration(tags.get("spawn:idle-timeout", "")) or None,
        # No tag tells whether its agent stops or terminates an idle instance; the worse one is assumed.
        idle_action=EndAction.HIBERNATE if hibernates else EndAction.TERMINATE,
        lease_action=EndAction.TERMINATE,
    )


def _go_duration(length: timedelta) -> str:
    minutes, seconds = divmod(int(length.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{seconds}s"


def _moment(text: str | None) -> datetime | None:
    try:
        return parse_iso(text) if text else None
    except ValueError:
        return None
