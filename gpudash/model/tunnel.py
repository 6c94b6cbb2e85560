"""What is known of one forwarded port, whoever holds it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class TunnelState(StrEnum):
    """Up is a probe that went through, nothing less."""

    CONNECTING = "connecting"
    UP = "up"
    """The link answered and the last connection to the remote port went through."""
    NO_SERVICE = "no service"
    """The link is up; nothing listens on the remote port."""
    DOWN = "down"
    """The link is lost; it is being tried again."""
    NEEDS_USER = "needs you"
    """A person must decide: host key, key, pass phrase."""


@dataclass(frozen=True, slots=True)
class Tunnel:
    """One forward ``127.0.0.1:local → instance:remote``."""

    account: str
    instance_id: str
    name: str
    """The instance's name, for people."""
    remote: int
    local: int
    state: TunnelState
    owner_pid: int
    owner: str
    """``dashboard``, ``cli`` or ``supervisor``."""
    since: datetime | None = None
    """When it last came up."""
    detail: str = ""
