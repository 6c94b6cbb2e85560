"""A serverless endpoint: workers that come and go, a queue of jobs, and what both cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from gpudash.model.instance import Instance, InstanceKey, InstanceState
from gpudash.model.money import Amount, Price

SERVERLESS = "serverless"
"""Region of every endpoint's key, so that it never meets an instance's."""
HOUR, DAY = timedelta(hours=1), 24


@dataclass(frozen=True, slots=True)
class WorkerCounts:
    """How many workers are in which state, as the cloud counts them."""

    running: int = 0
    """At work on a job; billed."""
    idle: int = 0
    """Ready and waiting; billed where they are kept by the minimum, maybe else."""
    initializing: int = 0
    """Starting; maybe billed."""
    throttled: int = 0
    """Waiting for a GPU; not billed."""
    unhealthy: int = 0
    """Failing; not billed."""
    other: int = 0
    """In states nobody knew when this was written; maybe billed."""

    @property
    def total(self) -> int:
        """All of them."""
        return self.running + self.idle + self.initializing + self.throttled + self.unhealthy + self.other


@dataclass(frozen=True, slots=True)
class JobCounts:
    """Jobs by what became of them. The last three count what the cloud still remembers."""

    in_queue: int = 0
    in_progress: int = 0
    completed: int = 0
    failed: int = 0
    retried: int = 0


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker."""

    id: str
    state: str
    """The cloud's own word, in lower case."""
    gpu: str | None = None
    place: str | None = None
    started_at: datetime | None = None
    is_stale: bool = False
    """It runs an older configuration than the endpoint has now."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What can be changed about workers; None leaves it as it is."""

    low: int | None = None
    """Workers kept even without a job."""
    high: int | None = None
    """Most workers at once; 0 takes no more jobs."""
    idle_timeout_s: int | None = None
    """How long a worker without a job stays."""

    def __str__(self) -> str:
        told = (
            ("min", self.low, ""),
            ("max", self.high, ""),
            ("idle timeout", self.idle_timeout_s, " s"),
        )
        return ", ".join(f"{name} {value}{unit}" for name, value, unit in told if value is not None)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint in one listing. None means the cloud did not say."""

    key: InstanceKey
    provider: str
    name: str
    kind: str = "queue"
    """``queue``, ``load balancer``, or the cloud's own word."""
    gpu: str | None = None
    """GPUs or pools that workers may get."""
    bounds: Bounds = Bounds()
    counts: WorkerCounts | None = None
    jobs: JobCounts | None = None
    """None for endpoints without a queue, and where it could not be read."""
    worker_price: Price | None = None
    """One worker, while it is billed."""
    created_at: datetime | None = None
    workers: tuple[Worker, ...] | None = None
    """One by one, where they were asked for."""
    problem: str | None = None
    """Why counts or jobs are missing."""
    raw: dict[str, object] = field(default_factory=dict, compare=False, hash=False, repr=False)
    """The cloud's record; values of variables removed."""

    @property
    def has_queue(self) -> bool:
        """Jobs can be submitted, watched and taken back."""
        return self.kind == "queue"

    @property
    def kept_warm(self) -> int:
        """Workers that are paid for around the clock, jobs or not."""
        low, high = self.bounds.low or 0, self.bounds.high
        return low if high is None else min(low, high)

    @property
    def warm_price(self) -> Price | None:
        """The workers kept by the minimum, an hour; None where a worker's price is unknown."""
        return times(self.worker_price, self.kept_warm)

    @property
    def maybe_billed(self) -> int:
        """Workers beyond the minimum that are idle, starting or in an unknown state.

        Of the first two the cloud's own texts disagree on whether they bill.
        """
        if self.counts is None:
            return 0
        ready = self.counts.idle + self.counts.initializing + self.counts.other
        spare_for_low = max(self.kept_warm - self.counts.running, 0)
        return max(ready - spare_for_low, 0)

    @property
    def price_now(self) -> Price | None:
        """USD an hour now: workers at work, at least those kept warm, and what maybe bills, then as an estimate.

        None where something bills at an unknown price, or nobody knows how many workers there are.
        """
        if self.counts is None:
            return None
        billed = max(self.counts.running, self.kept_warm) + self.maybe_billed
        price = times(self.worker_price, billed)
        if price is None or not self.maybe_billed:
            return price
        return Price(price.usd_per_hour, price.source, estimated=True)

    @property
    def burn(self) -> Amount:
        """`price_now` as an amount that knows what it does not know."""
        price = self.price_now
        return Amount(unknown=True) if price is None else Amount(price.usd_per_hour, price.estimated)

    @property
    def warning(self) -> str | None:
        """A minimum of one or more bills around the clock; most often it was forgotten."""
        if not self.kept_warm:
            return None
        some = f"{self.kept_warm} worker{'' if self.kept_warm == 1 else 's'}"
        price = self.warm_price
        if price is None:
            return f"keeps {some} warm around the clock, at an unknown price"
        about = "~" if price.estimated else ""
        return f"keeps {some} warm around the clock: {about}${price.usd_per_hour * DAY:.2f} a day"

    def as_billed(self) -> Instance:
        """The endpoint as the ledger's meters see it: one thing that bills at a rate, or at nothing.

        The time before the first sight is left out on purpose: how many workers there were then nobody tells.
        """
        price = self.price_now
        bills = price is None or bool(price.usd_per_hour)
        return Instance(
            key=self.key,
            provider=self.provider,
            name=self.name,
            state=InstanceState.RUNNING if bills else InstanceState.STOPPED,
            provider_state="",
            price=Price(price.usd_per_hour, price.source, estimated=True) if price else None,
            storage_price=Price(Decimal(0), "workers keep no disk"),
        )


class JobState:
    """Words of jobs that are over; everything else is under way."""

    COMPLETED, FAILED, CANCELLED, TIMED_OUT = "COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"
    OVER = frozenset({COMPLETED, FAILED, CANCELLED, TIMED_OUT})


@dataclass(frozen=True, slots=True)
class Job:
    """One job of an endpoint."""

    id: str
    state: str
    """The cloud's own word: ``IN_QUEUE IN_PROGRESS COMPLETED FAILED CANCELLED TIMED_OUT``."""
    waited_s: float | None = None
    ran_s: float | None = None
    output: object = None
    error: str | None = None

    @property
    def is_over(self) -> bool:
        """Nothing will change any more."""
        return self.state in JobState.OVER


def times(price: Price | None, count: int) -> Price | None:
    """The price of so many; nothing costs nothing even where one has no price."""
    if price is None:
        return None if count else Price(Decimal(0), "no workers")
    return Price(price.usd_per_hour * count, price.source, price.estimated)
