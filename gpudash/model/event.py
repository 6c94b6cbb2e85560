"""One line of the ledger's diary: what happened to which instance, by whose hand."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from gpudash.model.instance import InstanceKey


@dataclass(frozen=True, slots=True)
class Event:
    """Something worth telling later."""

    at: datetime
    kind: str
    """``launch`` ``start`` ``stop`` ``terminate`` ``extend`` ``push`` ``state`` ``gone`` ``alarm`` ``refused`` …"""
    text: str
    """A sentence for people."""
    account: str
    key: InstanceKey | None = None
    name: str = ""
    actor: str = ""
    """``dashboard``, ``cli``, ``watchdog``, ``host`` …"""
