"""The scripted scene: one fleet with every kind of row, frozen at 14:02. Pictures and snapshots are made of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from gpudash.clock import ManualClock
from gpudash.config import Config
from gpudash.errors import RateLimited
from gpudash.fleet.record import Record
from gpudash.model.capability import Verb
from gpudash.model.event import Event
from gpudash.model.host import GpuProcess, GpuReading, HostEvent, HostStatus, Signal, Verdict
from gpudash.model.instance import Instance, InstanceKey, InstanceState, SshAddress
from gpudash.model.money import Amount, Interval, Price
from gpudash.model.offer import NewDisk, Offer
from gpudash.model.operation import Operation, Stage
from gpudash.model.policy import EndAction, Policy
from gpudash.model.tunnel import Tunnel, TunnelState
from gpudash.providers.base import Leftover
from gpudash.ui.synthetic.memory import MemoryFleet
from gpudash.ui.synthetic.money import accrual
from gpudash.ui.synthetic.past import remember

NOW = datetime(2026, 3, 3, 14, 2, 11, tzinfo=UTC)
_M = timedelta(minutes=1)
_POD_DISK = NewDisk(
    (("disk_gb", 50), ("volume_gb", 20)), Price(Decimal("0.10") / 730, "simulated", True), ("template",)
)


def sample_fleet(*, read_only: bool = False, config: Config | None = None) -> MemoryFleet:
    """A fleet of eight on four clouds, with everything that can be wrong with one."""
    fleet = MemoryFleet(ManualClock(NOW), config, read_only=read_only)
    for record in _records():
        fleet.add(record)
    _health(fleet)
    fleet.store.apply_spent(Amount(Decimal("100.39")), NOW)
    fleet.cloud.reasons[Verb.STOP, "lambda"] = "Lambda cannot stop instances; terminate instead (X)."
    fleet.cloud.reasons[Verb.HIBERNATE, "lambda"] = "Lambda cannot hibernate instances; terminate instead (X)."
    fleet.cloud.reasons[Verb.HIBERNATE, "runpod"] = "RunPod cannot hibernate pods; stop instead (x)."
    fleet.cloud.reasons[Verb.HIBERNATE, "vast"] = "Vast cannot hibernate instances; stop instead (x)."
    fleet.cloud.offers = offers()
    fleet.cloud.leftovers = _leftovers()
    fleet.cloud.events = _events()
    _history_of_money(fleet)
    remember(fleet, NOW)
    return fleet


def _price(usd: str, *, estimated: bool = False) -> Price:
    return Price(Decimal(usd), "simulated", estimated)


def _instance(
    name: str,
    account: str,
    region: str,
    gpus: int,
    gpu: str,
    vram: int,
    usd: str,
    *,
    state: InstanceState,
    age: timedelta,
) -> Instance:
    digits = f"{abs(hash_of(name)) % 16**8:08x}"
    return Instance(
        InstanceKey(account, region, f"i-{digits}"),
        account,
        name,
        state,
        state.value,
        f"gpu_{gpus}x_{gpu.lower()}",
        gpu=gpu,
        gpu_count=gpus,
        vram_gb=vram,
        managed=True,
        created_at=NOW - age,
        started_at=NOW - age,
        price=_price(usd),
        storage_price=_price("0.02", estimated=True),
        disk_gb=32,
        ssh=SshAddress("198.51.100.7", 22, "ubuntu"),
        service_port=8000,
        lost_on_terminate="32 GB disk (not on a volume)",
        raw={
            "id": f"i-{digits}",
            "status": state.value,
            "region": {"name": region},
            "hourly_cost_cents": int(Decimal(usd) * 100),
        },
    )


def hash_of(name: str) -> int:
    """The same digits for a name in every process."""
    value = 7
    for char in name:
        value = (value * 1_000_003 + ord(char)) % 2**61
    return value


def _signals(gpu: float, *, cpu: float = 3, sessions: int = 0, connections: int = 0) -> tuple[Signal, ...]:
    def one(name: str, value: float, unit: str, limit: float, detail: str = "") -> Signal:
        return Signal(name, Verdict.ACTIVE if value > limit else Verdict.IDLE, value, unit, limit, 1.0, detail)

    return (
        one("gpu", gpu, "%", 5),
        one("ssh", sessions, "sessions", 0),
        one("ports", connections, "open", 0, "port 8000"),
        one("cpu", cpu, "%", 20),
        one("network", 4_100, "B/s", 100_000),
        one("disk", 0, "B/s", 1_000_000),
        one("files", 0, "touched", 0),
        one("declared", 0, "s", 0),
    )


def _status(policy: Policy, gpus: tuple[GpuReading, ...], signals: tuple[Signal, ...], **other: object) -> HostStatus:
    active = tuple(signal.name for signal in signals if signal.verdict is Verdict.ACTIVE)
    base = HostStatus(
        version="0.1.0",
        now=NOW,
        policy=policy,
        idle_s=None,
        idle_remaining_s=None,
        parked_s=None,
        parked_remaining_s=None,
        awake_because=f"gpu {signals[0].value:.0f}% (> 5%)" if active else None,
        held_by=active,
        unknown=(),
        signals=signals,
        gpus=gpus,
        alarms=(),
        phase="watching",
        ending=None,
        enforcing=True,
        end_method="command",
        ends_at=policy.lease_deadline,
        ends_why="lease",
        cpu_pct=3.0,
        events=(HostEvent(NOW - 70 * _M, "start", "statusd 0.1.0 started"),),
    )
    return replace(base, **other)  # type: ignore[arg-type]


def _gpu(index: int, util: float, used: int, total: int, heat: int, watts: int) -> GpuReading:
    process = (GpuProcess(4100 + index, "python train.py", used * 1024 - 400),) if used > 2 else ()
    return GpuReading(index, "", util, used * 1024, total * 1024, heat, watts, process)


def _records() -> list[Record]:
    run, hours = InstanceState.RUNNING, timedelta(hours=1)
    forgotten = replace(
        _instance("old-test", "aws", "us-east-1", 1, "A10G", 24, "1.01", state=run, age=48 * hours), managed=False
    )
    probe = _instance("probe-7", "lambda", "us-west-1", 1, "A10", 24, "0.75", state=run, age=20 * _M)
    comfy = _instance("comfy", "vast", "NL", 1, "RTX 4090", 24, "0.41", state=run, age=440 * _M)
    train = _instance("train-llama", "lambda", "us-west-1", 8, "H100", 80, "23.92", state=run, age=3 * hours)
    evaluate = _instance("eval", "runpod", "US-KS-2", 1, "A40", 48, "0.40", state=run, age=285 * _M)
    serve = _instance("serve-mixtral", "aws", "eu-west-1", 4, "L40S", 48, "4.36", state=run, age=122 * _M)
    books = _instance(
        "notebooks", "runpod", "EU-RO-1", 1, "A40", 48, "0.40", state=InstanceState.STOPPED, age=90 * hours
    )
    books = replace(books, storage_price=_price("0.03", estimated=True), ssh=None)
    new = _instance("sweep-3", "vast", "US", 2, "RTX 4090", 24, "0.78", state=InstanceState.PENDING, age=_M)
    return [
        Record(forgotten, NOW - 4 * timedelta(seconds=1), accrual=accrual(NOW - 48 * hours, forgotten)),
        _probe(probe),
        _comfy(comfy),
        _train(train),
        _eval(evaluate),
        _serve(serve),
        Record(books, NOW - timedelta(seconds=3), accrual=accrual(NOW - 40 * hours, books, 50 * Decimal("0.43"))),
        Record(new, NOW - timedelta(seconds=92), accrual=accrual(NOW - _M, new)),
    ]


def _probe(item: Instance) -> Record:
    asked = NOW - 3 * _M
    operation = Operation(
        "op-probe",
        Verb.TERMINATE,
        item.key.account,
        item.key.region,
        Stage.RETRYING,
        asked,
        NOW - 40 * timedelta(seconds=1),
        key=item.key,
        name=item.name,
        attempts=3,
        next_try_at=NOW + timedelta(seconds=20),
        detail='Lambda: "internal error" (500); it is still billing $0.75/h',
        actor="dashboard",
    )
    policy = Policy(NOW + 40 * _M, NOW + 600 * _M, 30 * _M)
    return Record(
        item, NOW - timedelta(seconds=6), wanted=policy, accrual=accrual(NOW - 20 * _M, item), operation=operation
    )


def _comfy(item: Instance) -> Record:
    policy = Policy(NOW + 161 * _M, NOW + 1000 * _M, 30 * _M, EndAction.STOP)
    status = _status(
        policy,
        (_gpu(0, 0, 3, 24, 41, 22),),
        _signals(0, connections=0),
        idle_s=18 * 60,
        idle_remaining_s=12 * 60,
        ends_at=NOW + 12 * _M,
        ends_why="idle",
    )
    up = NOW - 130 * _M
    tunnels = tuple(
        Tunnel("vast", item.key.id, item.name, port, port, TunnelState.UP, 71, "dashboard", since=up)
        for port in (8188, 8888)
    )
    utilisation = (90.0, 85.0, 60.0, 30.0, 4.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    return Record(
        item,
        NOW - timedelta(seconds=92),
        wanted=policy,
        status=status,
        status_at=NOW,
        accrual=accrual(NOW - 440 * _M, item),
        tunnels=tunnels,
        utilisation=utilisation,
    )


def _train(item: Instance) -> Record:
    policy = Policy(NOW + 74 * _M, NOW + 358 * _M, 30 * _M, EndAction.TERMINATE)
    heat = (64, 66, 63, 67, 65, 64, 66, 68)
    gpus = tuple(_gpu(index, 98 - index % 3, 71, 80, heat[index], 680 - index * 3) for index in range(8))
    status = _status(policy, gpus, _signals(97, sessions=1, connections=3))
    tunnel = Tunnel(
        "lambda", item.key.id, item.name, 8888, 8889, TunnelState.UP, 71, "dashboard", since=NOW - timedelta(hours=2)
    )
    utilisation = (
        97.0,
        96.0,
        98.0,
        94.0,
        99.0,
        60.0,
        97.0,
        98.0,
        97.0,
        96.0,
        98.0,
        90.0,
        98.0,
        97.0,
        98.0,
        99.0,
        97.0,
        98.0,
    )
    return Record(
        item,
        NOW - timedelta(seconds=6),
        wanted=policy,
        status=status,
        status_at=NOW - timedelta(seconds=2),
        accrual=accrual(NOW - 180 * _M, item),
        tunnels=(tunnel,),
        utilisation=utilisation,
    )


def _eval(item: Instance) -> Record:
    policy = Policy(NOW + 182 * _M, NOW + 900 * _M, 30 * _M, EndAction.STOP, parked_timeout=60 * _M)
    status = _status(
        policy,
        (_gpu(0, 0, 44, 48, 38, 31),),
        _signals(0),
        idle_s=0,
        parked_s=42 * 60,
        parked_remaining_s=18 * 60,
        ends_at=NOW + 18 * _M,
        ends_why="parked",
    )
    return Record(
        item,
        NOW - timedelta(seconds=3),
        wanted=policy,
        status=status,
        status_at=NOW - 95 * timedelta(seconds=1),
        status_problem="no answer in 5 s",
        accrual=accrual(NOW - 285 * _M, item),
        utilisation=(70.0, 72.0, 65.0, 10.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    )


def _serve(item: Instance) -> Record:
    policy = Policy(NOW + 430 * _M, NOW + 1200 * _M, 60 * _M, EndAction.STOP)
    gpus = tuple(_gpu(index, 35 + 8 * index, 40, 48, 55 + index, 210) for index in range(4))
    status = _status(policy, gpus, _signals(47, connections=12))
    utilisation = (20.0, 35.0, 55.0, 30.0, 62.0, 48.0, 15.0, 44.0, 71.0, 52.0, 33.0, 47.0)
    return Record(
        item,
        NOW - timedelta(seconds=4),
        wanted=policy,
        status=status,
        status_at=NOW - timedelta(seconds=1),
        accrual=accrual(NOW - 122 * _M, item),
        utilisation=utilisation,
    )


def _health(fleet: MemoryFleet) -> None:
    error = RateLimited("429 too many requests")
    fleet.store.apply_failure("vast", "NL", error, NOW, NOW + timedelta(seconds=20))


def offers() -> tuple[Offer, ...]:
    """A board of offers."""
    table = (
        ("vast", "NL", "RTX 4090", 1, 24, "0.41", False, True),
        ("runpod", "US-KS-2", "A40", 1, 48, "0.40", False, True),
        ("lambda", "us-west-1", "A10", 1, 24, "0.75", False, True),
        ("runpod", "EU-RO-1", "H100 PCIe", 1, 80, "1.89", False, True),
        ("vast", "US", "H100 SXM", 1, 80, "2.10", True, None),
        ("lambda", "us-west-1", "H100 PCIe", 1, 80, "2.49", False, True),
        ("aws", "us-east-1", "A10G", 1, 24, "1.01", False, None),
        ("aws", "us-east-1", "A10G", 1, 24, "0.38", True, None),
        ("aws", "us-east-1", "H100", 8, 80, "55.04", False, None),
        ("lambda", "us-south-1", "H100 SXM", 8, 80, "23.92", False, False),
        ("runpod", "US-KS-2", "L40S", 4, 48, "3.16", False, True),
        ("vast", "DE", "RTX A6000", 2, 48, "0.92", False, True),
    )
    return tuple(
        Offer(
            account,
            account,
            f"gpu_{count}x_{gpu.lower().replace(' ', '_')}{'_spot' if spot else ''}",
            gpu,
            count,
            vram,
            region,
            _price(usd, estimated=account == "vast" and spot),
            spot,
            available,
            NOW - timedelta(seconds=8),
            disk_gb=100,
            new_disk=_POD_DISK if account == "runpod" else None,
        )
        for account, region, gpu, count, vram, usd, spot, available in table
    )


def _history_of_money(fleet: MemoryFleet) -> None:
    """A stopped instance's life, and two that are gone: one known, one of unknown price."""
    day, disk = timedelta(days=1), _price("0.03", estimated=True)
    books = next(key for key, record in fleet.store.records.items() if record.instance.name == "notebooks")
    fleet.cloud.intervals[books] = [
        Interval("compute", "running", _price("0.40"), NOW - 90 * _M * 60, NOW - 40 * _M * 60),
        Interval("storage", "running", disk, NOW - 90 * _M * 60, NOW - 40 * _M * 60),
    ]
    gone = (
        ("lambda", "us-west-1", "sweep-1", "2.49", NOW - 2.2 * day, NOW - 1.6 * day),
        ("vast", "NL", "bench", None, NOW - 5 * day, NOW - 4.8 * day),
        ("runpod", "EU-RO-1", "finetune", "1.89", NOW - 4 * day, NOW - 2.5 * day),
    )
    for account, region, name, usd, start, end in gone:
        key = InstanceKey(account, region, f"i-{hash_of(name) % 16**8:08x}")
        fleet.cloud.names[key] = name
        price = None if usd is None else _price(usd)
        fleet.cloud.intervals[key] = [Interval("compute", "running", price, start, end)]


def _leftovers() -> tuple[Leftover, ...]:
    return (
        Leftover("aws", "aws", "us-east-1", "vol-0a11", "volume", "old-datasets", 500, _price("0.055")),
        Leftover("runpod", "runpod", "EU-RO-1", "nv-77", "volume", "notebooks", 100, _price("0.0097", estimated=True)),
        Leftover("aws", "aws", "us-east-1", "eip-9", "address", "198.51.100.90", None, _price("0.005")),
        Leftover("lambda", "lambda", "us-west-1", "fs-2", "filesystem", "checkpoints", None, None),
    )


def _events() -> list[Event]:
    train = _train(
        _instance("train-llama", "lambda", "us-west-1", 8, "H100", 80, "23.92", state=InstanceState.RUNNING, age=_M)
    )
    key = train.key
    told = (
        (3, "terminate", "asked Lambda to terminate it", None, "probe-7", "dashboard"),
        (70, "extend", "lease moved to 15:16, read back from statusd", key, "train-llama", "dashboard"),
        (170, "push", "statusd 0.1.0 runs; policy read back in 1.1 s", key, "train-llama", "dashboard"),
        (180, "launch", "8×H100 in us-west-1 at $23.92/h", key, "train-llama", "dashboard"),
        (40 * 60, "stop", "idle for 30m, stopped itself", None, "notebooks", "host"),
    )
    return [
        Event(NOW - ago * _M, kind, text, "runpod" if name == "notebooks" else "lambda", at, name, actor)
        for ago, kind, text, at, name, actor in told
    ]
