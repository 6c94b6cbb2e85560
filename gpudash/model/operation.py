"""One change of the world from intent to proof. Open operations live in the ledger and survive a `kill -9`."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from gpudash.model.capability import Verb
from gpudash.model.instance import InstanceKey


class Stage(StrEnum):
    """How far an operation has come. The first four are open, the rest are ends."""

    INTENDED = "intended"
    """On disk; the cloud may or may not have heard of it."""
    AMBIGUOUS = "ambiguous"
    """Sent, no answer. Only a listing can tell; nothing is retried before."""
    ACCEPTED = "accepted"
    """The cloud said yes; not yet seen to be true."""
    RETRYING = "retrying"
    """An end that failed or did not take effect; asked again at `next_try_at`, for ever."""
    PROVED = "proved"
    """Read back and true."""
    FAILED = "failed"
    """A definite no, or proved not to have happened. Nothing was changed."""
    CANCELLED = "cancelled"
    """Taken back by a person before it was sent."""

    @property
    def is_open(self) -> bool:
        """Still to be settled."""
        return self in {Stage.INTENDED, Stage.AMBIGUOUS, Stage.ACCEPTED, Stage.RETRYING}


@dataclass(frozen=True, slots=True)
class Step:
    """One line of progress: ``✓ asked (1.2 s)``."""

    name: str
    """``price`` ``asked`` ``booting`` ``ssh`` ``statusd`` ``armed`` for a launch; ``asked`` ``proved`` else."""
    state: str
    """``done``, ``now``, ``todo`` or ``failed``."""
    detail: str = ""
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    """One row of the ledger's intents."""

    id: str
    verb: Verb
    account: str
    region: str
    stage: Stage
    requested_at: datetime
    updated_at: datetime
    key: InstanceKey | None = None
    """None for a launch until the instance is known."""
    token: str | None = None
    name: str = ""
    attempts: int = 0
    next_try_at: datetime | None = None
    detail: str = ""
    """The last word on it, for people: what failed, in the cloud's own words."""
    steps: tuple[Step, ...] = ()
    params: dict[str, object] = field(default_factory=dict, compare=False, hash=False)
    """What is needed to go on with it after a restart: deadline, order, action. JSON."""
    actor: str = ""
    """``dashboard``, ``cli``, ``watchdog``, ``pool``, ``gateway``."""
