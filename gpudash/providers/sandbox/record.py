"""What the sandbox's "cloud" knows of one host: ``record.json``, written as one step and only under the host's lock.

It says what was *asked for* (`Power`), never what is: whether a host runs is proved by the lock its process holds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import Any

from gpudash.providers.sandbox.layout import HostDir, write_private


class Power(StrEnum):
    """What was asked for last."""

    ON = "on"
    """Launched or started."""
    OFF = "off"
    """Stopped; the disk stays."""
    GONE = "gone"
    """Terminated."""


@dataclass(frozen=True, slots=True)
class HostRecord:
    """One host. Times of the cloud are ISO texts by the clock of the account; `*_real` are seconds since 1970."""

    id: str
    region: str
    name: str
    token: str
    instance_type: str
    gpu: str
    gpu_count: int
    vram_gb: int
    price: str
    storage_price: str
    disk_gb: int
    spot: bool
    created_at: str
    started_at: str | None = None
    power: Power = Power.ON
    power_real: float = 0.0
    """When `power` was asked for."""
    boots_asked: int = 1
    """Grows with every launch or start."""
    boots_seen: int = 0
    """The last boot whose process came alive."""
    boots_ready: int = 0
    """The last boot whose SSH banner was there."""
    boots_swept: int = 0
    """The last boot that nothing runs of any more, although its process ended unasked."""
    spawns: int = 0
    """Processes begun for the present boot."""
    pid: int | None = None
    ssh_port: int | None = None
    ports: dict[str, int] = field(default_factory=dict)
    """Ports as seen on the host → real ports on 127.0.0.1."""
    host_key_fingerprint: str | None = None
    load: str = "idle"
    """Which pattern the stand-in ``nvidia-smi`` shows; may be edited at any time."""
    tags: dict[str, str] = field(default_factory=dict)
    parent: str | None = None
    service_port: int | None = None
    health_path: str | None = None
    recipe: str | None = None
    warmup_s: float = 0.0
    """Seconds after boot until the inference service answers 200."""
    gone_real: float | None = None
    """When the last process had ended and the disk was deleted."""


def parse(body: Mapping[str, Any]) -> HostRecord:
    """Read a record; fields of a newer version are passed over.

    Raises:
        ValueError: it is no record.
    """
    known = {item.name for item in fields(HostRecord)}
    try:
        record = HostRecord(**{name: value for name, value in body.items() if name in known})
        return replace(record, power=Power(record.power))
    except TypeError as exc:
        raise ValueError(f"not a record of a sandbox host: {exc}") from exc


def read(host: HostDir) -> HostRecord:
    """The record as it is now.

    Raises:
        FileNotFoundError: no such host.
        ValueError: the file cannot be read as a record.
    """
    body = json.loads(host.record.read_bytes())
    if not isinstance(body, dict):
        raise ValueError("not a record of a sandbox host")
    return parse(body)


def write(host: HostDir, record: HostRecord) -> None:
    """Put the record in place. The caller holds the host's lock."""
    write_private(host.record, json.dumps(asdict(record), indent=1).encode())


def change(host: HostDir, how: Callable[[HostRecord], HostRecord]) -> HostRecord:
    """Read, change and write as one step.

    Raises:
        FileNotFoundError: no such host.
    """
    with host.locked():
        before = read(host)
        after = how(before)
        if after != before:
            write(host, after)
        return after
