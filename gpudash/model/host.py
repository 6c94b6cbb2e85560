"""What statusd on one host reports.

Parsing is tolerant: an older daemon lacks fields, a newer one has more, and a value that makes no sense is not said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from gpudash.clock import parse_iso
from gpudash.model.policy import EndAction, Policy

_SENSIBLE = 10**10
"""No percentage, temperature, length in seconds or size in MiB comes near it; a timedelta still holds it."""


class Verdict(StrEnum):
    """What one signal says about activity."""

    ACTIVE = "active"
    IDLE = "idle"
    UNKNOWN = "unknown"
    """The sensor is broken or silent. Holds the host awake and raises an alarm."""


@dataclass(frozen=True, slots=True)
class Signal:
    """One source of evidence."""

    name: str
    verdict: Verdict
    value: float | None
    unit: str
    threshold: float | None
    age_s: float | None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process that holds GPU memory."""

    pid: int
    name: str
    memory_mib: int | None


@dataclass(frozen=True, slots=True)
class GpuReading:
    """One GPU at one moment."""

    index: int
    name: str
    util_pct: float | None
    memory_used_mib: int | None
    memory_total_mib: int | None
    temperature_c: float | None
    power_w: float | None
    processes: tuple[GpuProcess, ...] = ()


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something on the host that a person should know."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class HostEvent:
    """One line of the daemon's own diary."""

    at: datetime
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Ending:
    """The daemon is ending its host."""

    action: str
    reason: str
    attempts: int
    last_error: str | None


@dataclass(frozen=True, slots=True)
class HostStatus:
    """One answer of ``GET /status``."""

    version: str
    now: datetime
    """The host's own clock when it answered."""
    policy: Policy
    """Read back from the daemon: what it will really enforce."""
    idle_s: int | None
    idle_remaining_s: int | None
    """None while something holds the host awake."""
    parked_s: int | None
    parked_remaining_s: int | None
    awake_because: str | None
    held_by: tuple[str, ...]
    unknown: tuple[str, ...]
    signals: tuple[Signal, ...]
    gpus: tuple[GpuReading, ...]
    alarms: tuple[Alarm, ...]
    phase: str
    ending: Ending | None
    enforcing: bool
    end_method: str | None
    ends_at: datetime | None
    ends_why: str | None
    cpu_pct: float | None = None
    events: tuple[HostEvent, ...] = ()
    can_end: frozenset[EndAction] | None = None
    """What the host can do to itself, as the daemon found out beforehand; None for a daemon that does not say."""
    end_problems: tuple[str, ...] = ()
    """What is wrong with the ways to an end that would not work now."""

    @property
    def gpu_util_pct(self) -> float | None:
        """Mean utilisation over the GPUs that answered; None where none did."""
        known = [gpu.util_pct for gpu in self.gpus if gpu.util_pct is not None]
        return sum(known) / len(known) if known else None


def parse_status(body: Mapping[str, Any]) -> HostStatus:
    """Read a ``/status`` document.

    Raises:
        ValueError: it is no status document at all (no version, no policy, a time that is none).
    """
    try:
        return _parse(body)
    except (KeyError, TypeError, AttributeError, OverflowError) as exc:
        raise ValueError(f"not a statusd status document: {exc!r}") from exc


def _parse(body: Mapping[str, Any]) -> HostStatus:
    idle, parked = body.get("idle") or {}, body.get("parked") or {}
    return HostStatus(
        version=str(body["version"]),
        now=parse_iso(body["now"]),
        policy=_policy(body["policy"]),
        idle_s=_count(idle.get("idle_s")),
        # A daemon tells the whole timeout while something holds the host awake; that is no countdown.
        idle_remaining_s=None if idle.get("held_by") else _count(idle.get("remaining_s")),
        parked_s=_count(parked.get("parked_s")),
        parked_remaining_s=_count(parked.get("remaining_s")),
        awake_because=_words(body.get("awake_because")),
        held_by=tuple(str(name) for name in idle.get("held_by") or ()),
        unknown=tuple(str(name) for name in idle.get("unknown") or ()),
        signals=tuple(_signal(item) for item in body.get("signals") or ()),
        gpus=tuple(_gpu(item) for item in body.get("gpus") or ()),
        alarms=tuple(Alarm(str(item["code"]), str(item["text"])) for item in body.get("alarms") or ()),
        phase=str(body.get("phase", "watching")),
        ending=_ending(body.get("ending")),
        enforcing=bool(body.get("enforcing", False)),
        end_method=_method(body.get("end_method")),
        ends_at=_moment(body.get("ends_at")),
        ends_why=_words(body.get("ends_why")),
        cpu_pct=_number(body.get("cpu_pct")),
        events=tuple(HostEvent(parse_iso(e["at"]), str(e["kind"]), str(e["text"])) for e in body.get("events") or ()),
        can_end=_can_end(body.get("end")),
        end_problems=_end_problems(body.get("end")),
    )


def _can_end(body: Mapping[str, Any] | None) -> frozenset[EndAction] | None:
    if not body:
        return None
    return frozenset(action for action in EndAction if action.value in (body.get("can") or ()))


def _end_problems(body: Mapping[str, Any] | None) -> tuple[str, ...]:
    ways = (body or {}).get("ways") or ()
    return tuple(dict.fromkeys(f"{way.get('method')}: {way['problem']}" for way in ways if way.get("problem")))


def _policy(body: Mapping[str, Any]) -> Policy:
    return Policy(
        lease_deadline=_moment(body.get("lease_deadline")),
        hard_deadline=_moment(body.get("hard_deadline")),
        idle_timeout=_length(body.get("idle_timeout_s")),
        idle_action=EndAction(body.get("idle_action", "stop")),
        lease_action=EndAction(body.get("lease_action", "terminate")),
        parked_timeout=_length(body.get("parked_timeout_s")),
        revision=int(body.get("revision", 1)),
    )


def _signal(item: Mapping[str, Any]) -> Signal:
    known = item.get("verdict") in set(Verdict)
    return Signal(
        name=str(item["name"]),
        verdict=Verdict(item["verdict"]) if known else Verdict.UNKNOWN,
        value=_number(item.get("value")),
        unit=str(item.get("unit") or ""),
        threshold=_number(item.get("threshold")),
        age_s=_number(item.get("age_s")),
        detail=str(item.get("detail") or ""),
    )


def _gpu(item: Mapping[str, Any]) -> GpuReading:
    return GpuReading(
        index=int(item["index"]),
        name=str(item.get("name") or ""),
        util_pct=_number(item.get("util_pct")),
        memory_used_mib=_count(item.get("memory_used_mib")),
        memory_total_mib=_count(item.get("memory_total_mib")),
        temperature_c=_number(item.get("temperature_c")),
        power_w=_number(item.get("power_w")),
        processes=tuple(_process(part) for part in item.get("processes") or ()),
    )


def _process(item: Mapping[str, Any]) -> GpuProcess:
    return GpuProcess(int(item["pid"]), str(item.get("name") or ""), _count(item.get("memory_mib")))


def _ending(item: Mapping[str, Any] | None) -> Ending | None:
    if not item:
        return None
    return Ending(
        action=str(item["action"]),
        reason=str(item.get("reason") or ""),
        attempts=int(item.get("attempts") or 0),
        last_error=_words(item.get("last_error")),
    )


def _number(value: object) -> float | None:
    """A finite number of sensible size; anything else is as good as not said."""
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _SENSIBLE:
        return value
    return None


def _count(value: object) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


def _words(value: object) -> str | None:
    return None if value is None else str(value)


def _moment(text: str | None) -> datetime | None:
    return None if text is None else parse_iso(text)


def _length(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)


def _method(value: object) -> str | None:
    """The daemon's ``none`` is no method."""
    word = _words(value)
    return None if word == "none" else word
