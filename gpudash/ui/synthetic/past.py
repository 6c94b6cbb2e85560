"""What the daemons of the scripted scene remember: signals minute by minute, and their logs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from gpudash.fleet.record import Record
from gpudash.model.history import History, SignalHistory
from gpudash.model.host import Verdict
from gpudash.ui.synthetic.memory import MemoryFleet

_M = timedelta(minutes=1)


def remember(fleet: MemoryFleet, now: datetime) -> None:
    """Give `train-llama` three hours of work and `comfy` a morning that went quiet; the others are too old to tell."""
    for key, record in fleet.store.records.items():
        if record.instance.name == "train-llama":
            fleet.cloud.histories[key] = _history(record, now, 176, _training, unseen=range(60, 82))
            fleet.cloud.logs[key] = _log(now, _TRAINING_LOG)
        elif record.instance.name == "comfy":
            fleet.cloud.histories[key] = _history(record, now, 360, _morning, unseen=range(0))
            fleet.cloud.logs[key] = _log(now, _COMFY_LOG)


def _training(name: str, ago: int) -> float | None:
    busy = ago < 168
    wave = (ago * 37) % 11
    values = {
        "gpu": None if 30 <= ago < 36 else 97.0 - wave % 4 if busy else 0.0,
        "ssh": 1.0 if ago < 25 or ago > 150 else 0.0,
        "ports": 3.0 if ago < 90 else 0.0,
        "cpu": 3.0 + wave if busy else 1.0,
        "network": 4_100.0 + 900 * wave if busy else 200.0,
        "disk": 2_600_000.0 if ago % 30 == 0 and busy else 0.0,
        "files": 0.0,
        "declared": 0.0,
    }
    return values[name]


def _morning(name: str, ago: int) -> float | None:
    busy = ago > 18 and (ago // 45) % 3 != 1
    wave = (ago * 29) % 13
    values = {
        "gpu": 55.0 + 3 * wave if busy else 0.0,
        "ssh": 0.0,
        "ports": 2.0 if busy else 0.0,
        "cpu": 12.0 + wave if busy else 2.0,
        "network": 40_000.0 * (1 + wave) if busy else 300.0,
        "disk": 0.0,
        "files": 0.0,
        "declared": 0.0,
    }
    return values[name]


def _history(
    record: Record, now: datetime, minutes: int, value: Callable[[str, int], float | None], *, unseen: range
) -> History:
    start = now.replace(second=0, microsecond=0)
    agos = [ago for ago in range(minutes - 1, -1, -1) if ago not in unseen]
    assert record.status is not None
    signals = []
    for signal in record.status.signals:
        values = [value(signal.name, ago) for ago in agos]
        verdicts = tuple(_verdict(one, signal.threshold or 0.0) for one in values)
        signals.append(SignalHistory(signal.name, signal.unit, tuple(values), verdicts))
    return History(tuple(start - ago * _M for ago in agos), tuple(signals))


def _verdict(value: float | None, threshold: float) -> Verdict:
    if value is None:
        return Verdict.UNKNOWN
    return Verdict.ACTIVE if value > threshold else Verdict.IDLE


_TRAINING_LOG = (
    (176, "start", "statusd 0.1.0 serves on 127.0.0.1:8080"),
    (176, "config", "limits taken over: lease 3 h, hard deadline 8 h 53 min, idle 30 min"),
    (82, "clock", "this host slept for 22 min"),
    (70, "extend", "the lease was moved from 2026-03-03T13:16:00Z to 2026-03-03T15:16:00Z"),
    (36, "alarm", "sensor gpu: nvidia-smi did not answer within 10 s"),
    (30, "alarm-cleared", "sensor gpu: nvidia-smi did not answer within 10 s"),
)
_COMFY_LOG = (
    (420, "start", "statusd 0.1.0 serves on 127.0.0.1:8080"),
    (15, "warning", "nothing is active; this host is stopped in 15 min unless it is used"),
)


def _log(now: datetime, told: Sequence[tuple[int, str, str]]) -> tuple[str, ...]:
    return tuple(f"{now - ago * _M:%Y-%m-%dT%H:%M:%SZ} {kind:16s} {text}" for ago, kind, text in told)
