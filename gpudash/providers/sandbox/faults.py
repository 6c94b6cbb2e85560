"""What can be broken on purpose: one switch each, for all hosts or for some, in ``faults.json``.

Faults of the cloud's interface are looked up by the adapter at each call; faults of a host are read by the host's
process and its stand-in programs, and carried out on the process by `control`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from typing import Any

from gpudash.clock import iso, parse_iso
from gpudash.providers.sandbox.layout import Sandbox, held, write_private


class Fault(StrEnum):
    """Every switch. The texts are in `TEXTS`."""

    API_DOWN = "api-down"
    API_SLOW = "api-slow"
    RATE_LIMIT = "rate-limit"
    LOST_REPLY = "lost-reply"
    NO_CAPACITY = "no-capacity"
    NO_EFFECT = "no-effect"
    EMPTY_LIST = "empty-list"
    SSH_CUT = "ssh-cut"
    STATUSD_KILLED = "statusd-killed"
    HOST_FROZEN = "host-frozen"
    SENSOR_BROKEN = "sensor-broken"
    SPOT_NOTICE = "spot-notice"


TEXTS = {
    Fault.API_DOWN: "the cloud's interface refuses connections",
    Fault.API_SLOW: "calls hang until they time out",
    Fault.RATE_LIMIT: "every call is refused as one too many",
    Fault.LOST_REPLY: "writes happen, but their answer is lost",
    Fault.NO_CAPACITY: "nothing is free to launch or start",
    Fault.NO_EFFECT: "writes are answered with yes, and nothing happens",
    Fault.EMPTY_LIST: "listings come back empty and look complete",
    Fault.SSH_CUT: "SSH connections are cut and refused",
    Fault.STATUSD_KILLED: "the status daemon is killed whenever it runs",
    Fault.HOST_FROZEN: "every process of the host stands still",
    Fault.SENSOR_BROKEN: "nvidia-smi fails",
    Fault.SPOT_NOTICE: "the cloud announces that it takes a spot instance back",
}
"""What each does, for `gpudash sandbox fault` and the dashboard."""


SPOT_WARNING = timedelta(minutes=2)
"""How long before the end a cloud announces that it takes a spot instance back."""


@dataclass(frozen=True, slots=True)
class Switch:
    """Where one fault is on."""

    everywhere: bool = False
    hosts: frozenset[str] = frozenset()
    since: str | None = None
    """When it was switched on, by the sandbox's clock."""

    def hits(self, host_id: str | None) -> bool:
        """Whether it concerns that host; None asks about calls that concern no single host."""
        return self.everywhere or host_id in self.hosts

    @property
    def is_on(self) -> bool:
        return self.everywhere or bool(self.hosts)


@dataclass(frozen=True, slots=True)
class Faults:
    """All switches at one moment."""

    switches: Mapping[Fault, Switch] = field(default_factory=dict)

    def on(self, fault: Fault, host_id: str | None = None) -> bool:
        """Whether that fault is on, for that host or for calls in general."""
        return self.switch(fault).hits(host_id)

    def switch(self, fault: Fault) -> Switch:
        return self.switches.get(fault, Switch())


def read(sandbox: Sandbox) -> Faults:
    """The switches as they stand; none on where the file is missing or cannot be read."""
    try:
        body = json.loads(sandbox.faults_file.read_bytes())
        return Faults({fault: _switch(body[fault.value]) for fault in Fault if fault.value in body})
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return Faults()


def turn(sandbox: Sandbox, fault: Fault, *, on: bool, host_id: str | None, since: str) -> Faults:
    """Move one switch. Off without a host clears it for all hosts."""
    sandbox.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    with held(sandbox.path / "faults.lock"):
        switches = dict(read(sandbox).switches)
        switch = switches.get(fault, Switch())
        if host_id is None:
            switch = replace(switch, everywhere=True) if on else Switch()
        else:
            switch = replace(switch, hosts=switch.hosts | {host_id} if on else switch.hosts - {host_id})
        switches[fault] = replace(switch, since=(switch.since or since) if switch.is_on else None)
        body = {name.value: _body(item) for name, item in switches.items() if item.is_on}
        write_private(sandbox.faults_file, json.dumps(body, indent=1).encode())
        return Faults(switches)


def takes_back_at(switch: Switch) -> str | None:
    """When a spot instance ends that the cloud has announced to take back."""
    return iso(parse_iso(switch.since) + SPOT_WARNING) if switch.since else None


def _switch(body: Mapping[str, Any]) -> Switch:
    return Switch(bool(body.get("all")), frozenset(body.get("hosts") or ()), body.get("since"))


def _body(switch: Switch) -> dict[str, object]:
    return {"all": switch.everywhere, "hosts": sorted(switch.hosts), "since": switch.since}
