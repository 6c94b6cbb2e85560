"""N made-up rows that tick: money, idle time, leases and utilisation move as they do on real ones. No network, no
hosts.

Everything goes through the same store, change sets, view and table as a real fleet; only the cloud is an in-memory
one.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from sys import intern

from gpudash.clock import Clock, SystemClock
from gpudash.config import Config
from gpudash.fleet.changes import ChangeSet
from gpudash.fleet.record import Record
from gpudash.model.host import GpuReading, HostStatus, Signal, Verdict
from gpudash.model.instance import Instance, InstanceKey, InstanceState, SshAddress
from gpudash.model.listing import Listing
from gpudash.model.money import Accrual, Price
from gpudash.model.policy import Policy
from gpudash.ui.synthetic.memory import MemoryFleet
from gpudash.ui.synthetic.money import accrual

_GPUS = (
    ("H100", 80, "2.49"), ("H200", 141, "3.79"), ("A100", 80, "1.89"), ("A100", 40, "1.29"), ("L40S", 48, "1.09"),
    ("RTX 4090", 24, "0.41"), ("A10", 24, "0.75"), ("A10G", 24, "1.01"), ("T4", 16, "0.53"), ("A40", 48, "0.40"),
    ("B200", 192, "5.99"), ("RTX A6000", 48, "0.79"),
)  # fmt: skip
_WORDS = (
    "train",
    "eval",
    "notebook",
    "sweep",
    "serve",
    "render",
    "finetune",
    "embed",
    "bench",
    "probe",
    "label",
    "dedup",
)
_PLACES = (
    ("aws", "us-east-1"), ("aws", "eu-west-1"), ("lambda", "us-west-1"), ("runpod", "US-KS-2"), ("vast", "NL"),
    ("runpod", "EU-RO-1"), ("lambda", "us-south-1"), ("vast", "US"),
)  # fmt: skip
PAGE = 40
"""Rows handled in one go, so that a refresh of all never stops a key."""


class SyntheticFleet(MemoryFleet):
    """Made-up rows; a few of them report anew each second, all of them every half minute, page by page."""

    def __init__(self, rows: int, clock: Clock | None = None, config: Config | None = None, *, read_only: bool = False):
        super().__init__(clock or SystemClock(), config, read_only=read_only)
        self._random = random.Random(rows)  # noqa: S311 - made-up rows, the same each time
        self._task: asyncio.Task[None] | None = None
        # Equal parts are one object: ten thousand made-up rows shall cost no more memory than they must.
        self._accruals: dict[tuple[InstanceState, Price | None], Accrual] = {}
        self._hard = self.clock.now() + _HARD
        self._fill(rows)

    async def __aenter__(self) -> SyntheticFleet:
        self._task = asyncio.create_task(self._live())
        return self

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        if self._task is not None:
            self._task.cancel()

    async def refresh_all(self) -> None:
        """List everything anew, page by page."""
        keys = list(self.store.records)
        for start in range(0, len(keys), PAGE):
            self._report(keys[start : start + PAGE])
            await asyncio.sleep(0.004)

    def _report(self, keys: Sequence[InstanceKey]) -> None:
        """Those hosts answer, in one change set."""
        now = self.clock.now()
        changed: set[InstanceKey] = set()
        for key in keys:
            record = self.store.records[key]
            if record.status is not None:
                changed |= self.store.apply_status(key, self._status(record.instance, now), now).changed
        self._tell(ChangeSet(changed=frozenset(changed)))

    def refresh(self) -> None:
        super().refresh()
        self._refreshing = asyncio.create_task(self.refresh_all())

    async def _live(self) -> None:
        beats = 0
        while True:
            await asyncio.sleep(1.0)
            beats += 1
            self.step()
            keys = list(self.store.records)
            self._report(self._random.sample(keys, min(20, -(-len(keys) // 10))))
            if beats % 30 == 0:
                await self.refresh_all()

    # -- making rows up -----------------------------------------------------------------------------------------

    def _fill(self, rows: int) -> None:
        now = self.clock.now()
        lanes: dict[tuple[str, str], list[Instance]] = {place: [] for place in _PLACES}
        for number in range(rows):
            item = self._instance(number, now)
            lanes[item.key.account, item.key.region].append(item)
        for (account, region), items in lanes.items():
            self.store.expect(account, region, cadence_s=60, lists_terminated=True)
            self.store.apply_listing(Listing(account, region, tuple(items), True, now, now))
        started = now - timedelta(hours=3)
        self.store.apply_accruals(
            {record.key: self._accrual(started, record.instance) for record in self.store.records.values()}
        )
        for key, record in list(self.store.records.items()):
            if record.instance.state is InstanceState.RUNNING and self._random.random() < 0.96:
                self.store.apply_status(key, self._status(record.instance, now), now)

    def _accrual(self, started: datetime, item: Instance) -> Accrual:
        made_of = (item.state, item.price)
        if made_of not in self._accruals:
            self._accruals[made_of] = accrual(started, item)
        return self._accruals[made_of]

    def _instance(self, number: int, now: datetime) -> Instance:
        chance = self._random
        account, region = _PLACES[number % len(_PLACES)]
        gpu, vram, usd = chance.choice(_GPUS)
        gpus = chance.choice((1, 1, 1, 2, 4, 8))
        running = chance.random() < 0.9
        state = InstanceState.RUNNING if running else InstanceState.STOPPED
        begun = now - timedelta(minutes=chance.randrange(5, 600))
        return Instance(
            InstanceKey(account, region, f"i-{number:08x}"),
            account,
            f"{chance.choice(_WORDS)}-{number}",
            state,
            state.value,
            intern(f"gpu_{gpus}x_{gpu.lower().replace(' ', '_')}"),
            gpu=gpu,
            gpu_count=gpus,
            vram_gb=vram,
            managed=True,
            created_at=begun,
            started_at=begun,
            price=_price(usd, gpus),
            storage_price=_DISK,
            ssh=_SSH if running else None,
            tag_policy=Policy(now + timedelta(minutes=chance.randrange(4, 700)), self._hard, _IDLE),
            lost_on_terminate="100 GB disk",
            raw=_RAW,
        )

    def _status(self, item: Instance, now: datetime) -> HostStatus:
        busy = self._random.random() < 0.7
        util = float(self._random.randrange(70, 100)) if busy else 0.0
        idle = None if busy else self._random.randrange(60, 1700)
        policy = item.tag_policy or Policy()
        readings = _readings(item.gpu_count or 0, item.vram_gb or 0, util)
        return HostStatus(
            version="made up",
            now=now,
            policy=policy,
            idle_s=idle,
            idle_remaining_s=None if idle is None else 1800 - idle,
            parked_s=None,
            parked_remaining_s=None,
            awake_because=readings[2] if busy else None,
            held_by=_HELD if busy else (),
            unknown=(),
            signals=readings[1],
            gpus=readings[0],
            alarms=(),
            phase="watching",
            ending=None,
            enforcing=True,
            end_method="command",
            ends_at=policy.lease_deadline,
            ends_why="lease",
        )


_HELD = ("gpu",)
_SSH = SshAddress("192.0.2.1", 22, "ubuntu")
_RAW: dict[str, object] = {}
_DISK = Price(Decimal("0.02"), "made up", estimated=True)
_HARD, _IDLE = timedelta(hours=20), timedelta(minutes=30)


@lru_cache(maxsize=256)
def _price(usd: str, gpus: int) -> Price:
    return Price(Decimal(usd) * gpus, "made up")


@lru_cache(maxsize=1024)
def _readings(gpus: int, vram_gb: int, util: float) -> tuple[tuple[GpuReading, ...], tuple[Signal, ...], str]:
    used = int(vram_gb * 1024 * 0.75) if util else 0
    cards = tuple(
        GpuReading(index, "", util, used, vram_gb * 1024, 60 + index, 90.0 + 3 * util) for index in range(gpus)
    )
    verdict = Verdict.ACTIVE if util else Verdict.IDLE
    return cards, (Signal("gpu", verdict, util, "%", 5, 1.0),), f"gpu {util:.0f}% (> 5%)"


def records(fleet: MemoryFleet) -> list[Record]:
    """All rows, for tests."""
    return list(fleet.store.records.values())
