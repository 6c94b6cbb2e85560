"""A pod's record as an `Instance`. Pure; tolerant of fields that are missing and words that are new.

A pod is up when its container is: RUNNING with a `runtime`. RunPod says RUNNING from the creation on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from gpudash.clock import parse_iso
from gpudash.model.instance import EVERYWHERE, Instance, InstanceKey, InstanceState, SshAddress
from gpudash.model.money import Price
from gpudash.providers.runpod.catalogue import COMMUNITY, SECURE, GpuType, TypeName
from gpudash.providers.runpod.storage import disk_price

TOKEN = "GPUDASH_LAUNCH_TOKEN"  # noqa: S105 - the name of a variable that proves which launch made a pod; no secret
SERVICE_PORT = "GPUDASH_SERVICE_PORT"
PUBLIC_KEY = "PUBLIC_KEY"
"""The variable from which images that follow RunPod's habit fill ``authorized_keys``."""
PROXY_ONLY = (
    "it does not expose port 22, and RunPod's SSH proxy carries a typed shell only: no files, tunnels or statusd. "
    "Add 22/tcp to its TCP ports at RunPod (its container starts anew, only volumes stay), or launch another here"
)
"""Source: `PodSsh` of REST v2 and runpod/docs @a900806, `pods/configuration/use-ssh.mdx`."""
_STATES = {
    "PROVISIONING": InstanceState.PENDING,
    "CREATED": InstanceState.PENDING,
    "STARTING": InstanceState.STARTING,
    "RESTARTING": InstanceState.STARTING,
    "RUNNING": InstanceState.RUNNING,
    "EXITED": InstanceState.STOPPED,
    "ERROR": InstanceState.ERROR,
    "TERMINATED": InstanceState.TERMINATED,
}


@dataclass(frozen=True, slots=True)
class Around:
    """What is known beside the record."""

    account: str
    types: Mapping[str, GpuType] = field(default_factory=dict)
    """By GPU id."""
    own_keys: Mapping[str, str | None] = field(default_factory=dict)
    """The body of each public key this person has → the private key's file, None where the agent holds it."""


def parse_pod(record: Mapping[str, Any], around: Around) -> Instance:
    """One pod of any listing or answer. The record has an `id`."""
    state = state_of(record)
    gpu, env, mounts = _mapping(record.get("gpu")), _mapping(record.get("env")), _mapping(record.get("mounts"))
    known = around.types.get(str(gpu.get("id")))
    disk_gb, volume_gb = _whole(record.get("disk")), _whole(_mapping(mounts.get("persistent")).get("size"))
    return Instance(
        key=InstanceKey(around.account, EVERYWHERE, str(record["id"])),
        provider="runpod",
        name=str(record.get("name") or record["id"]),
        state=state,
        provider_state=str(record.get("status") or "?"),
        instance_type=_instance_type(record),
        gpu=known.name if known else _text(gpu.get("id")),
        gpu_count=(_whole(gpu.get("count")) or 1) if gpu else 0 if record.get("cpu") else None,
        vram_gb=known.vram_gb if known else None,
        managed=TOKEN in env,
        created_at=moment(record.get("createdAt")),
        started_at=moment(record.get("startedAt")),
        price=_price(record, state),
        storage_price=_storage_price(record, state, disk_gb, volume_gb),
        disk_gb=volume_gb if state is InstanceState.STOPPED else disk_gb,
        ssh=_ssh(record, state, around),
        service_port=_port(env.get(SERVICE_PORT)),
        service_url=_service_url(record, _port(env.get(SERVICE_PORT))),
        launch_token=_text(env.get(TOKEN)),
        place=_text(record.get("dataCenterId")),
        lost_on_stop=f"{disk_gb} GB container disk" if disk_gb else None,
        stays_after_stop=f"{volume_gb} GB volume" if volume_gb else _stays(mounts) or "nothing",
        stopped_price=disk_price(disk_gb, volume_gb, stopped=True) if record.get("mounts") is not None else None,
        lost_on_terminate=_lost(disk_gb, volume_gb, state),
        stays_after_terminate=_stays(mounts),
        notice=_notice(record, state, around),
        raw=without_secrets(record),
    )


def state_of(record: Mapping[str, Any]) -> InstanceState:
    """Our word for a pod's status; RUNNING without a runtime is still starting."""
    state = _STATES.get(str(record.get("status")).upper(), InstanceState.UNKNOWN)
    if state is InstanceState.RUNNING and not record.get("runtime"):
        return InstanceState.STARTING
    return state


def moment(found: object) -> datetime | None:
    """A time of RunPod's: ISO 8601, or ``2026-08-20 06:16:19.436 +0000 UTC`` as older answers have it."""
    if not isinstance(found, str) or not found:
        return None
    text = re.sub(r" ([+-]\d{2}):?(\d{2})( UTC)?$", r"\1:\2", found)
    try:
        return parse_iso(text)
    except ValueError:
        return None


def without_secrets(record: Mapping[str, Any]) -> dict[str, object]:
    """The record for people: of `env` the names alone."""
    env = record.get("env")
    shown = dict(record)
    if isinstance(env, dict):
        shown["env"] = sorted(env)
    return shown


def _instance_type(record: Mapping[str, Any]) -> str | None:
    gpu, cpu = _mapping(record.get("gpu")), _mapping(record.get("cpu"))
    if gpu.get("id"):
        cloud = COMMUNITY if record.get("cloud") == COMMUNITY else SECURE
        return str(TypeName(_whole(gpu.get("count")) or 1, str(gpu["id"]), cloud))
    return f"{cpu['id']}-{cpu.get('vcpuCount', '?')}" if cpu.get("id") else None


def _price(record: Mapping[str, Any], state: InstanceState) -> Price | None:
    """The pod's own rate while it runs. A stopped pod's `cost` is 0 or stale, and 0 for a running one is no price."""
    cost = record.get("cost")
    if not isinstance(cost, int | Decimal) or isinstance(cost, bool) or cost <= 0 or state.is_terminal:
        return None
    return Price(Decimal(cost), "instance")


def _storage_price(
    record: Mapping[str, Any], state: InstanceState, disk_gb: int | None, volume_gb: int | None
) -> Price | None:
    """None where a disk that bills in this state is not told of."""
    stopped = state is InstanceState.STOPPED
    if record.get("mounts") is None or (disk_gb is None and not stopped):
        return None
    return disk_price(disk_gb, volume_gb, stopped=stopped)


def _ssh(record: Mapping[str, Any], state: InstanceState, around: Around) -> SshAddress | None:
    """Direct where port 22 is mapped; the proxy, a shell without files and forwards, where no port 22 is exposed.

    Stopped pods keep telling ports that are no longer theirs, so nothing is told before the container runs. Its disk,
    with the host key, is made anew at every start.
    """
    if state is not InstanceState.RUNNING:
        return None
    ways = _mapping(record.get("ssh"))
    file = _identity(record, around)
    direct = _address(_mapping(ways.get("direct")), "root") or _mapped(record)
    if direct is not None:
        return SshAddress(*direct, identity_file=file, host_key_since=moment(record.get("startedAt")))
    proxy = _address(_mapping(ways.get("proxy")), None)
    if proxy is None or exposes_ssh(record):
        return None
    return SshAddress(*proxy, identity_file=file, only_a_shell=PROXY_ONLY)


def exposes_ssh(record: Mapping[str, Any]) -> bool:
    """Port 22 is to be mapped, so that direct SSH is there or still to come."""
    ports = record.get("ports")
    return isinstance(ports, list) and any(str(port).split("/")[0] == "22" for port in ports)


def _address(told: Mapping[str, Any], user: str | None) -> tuple[str, int, str] | None:
    host, port, name = _text(told.get("host")), _port(told.get("port")), _text(told.get("username")) or user
    return None if host is None or port is None or name is None else (host, port, name)


def _mapped(record: Mapping[str, Any]) -> tuple[str, int, str] | None:
    """Direct SSH from the list of mapped ports, where the record has no word on SSH."""
    for port in _mapping(record.get("runtime")).get("ports") or ():
        if isinstance(port, dict) and port.get("private") == 22 and port.get("type", "tcp") == "tcp":
            host, public = _text(port.get("ip")), _port(port.get("public"))
            if host is not None and public is not None and not host.startswith("100."):
                return host, public, "root"
    return None


def _keys_in(record: Mapping[str, Any]) -> list[str]:
    lines = str(_mapping(record.get("env")).get(PUBLIC_KEY) or "").splitlines()
    return [parts[1] for line in lines if len(parts := line.split()) > 1]


def _identity(record: Mapping[str, Any], around: Around) -> str | None:
    return next((around.own_keys[blob] for blob in _keys_in(record) if around.own_keys.get(blob)), None)


def _service_url(record: Mapping[str, Any], port: int | None) -> str | None:
    """RunPod's web proxy serves a port that is exposed as HTTP, to everybody."""
    ports = record.get("ports")
    if port is None or not isinstance(ports, list) or f"{port}/http" not in ports:
        return None
    return f"https://{record['id']}-{port}.proxy.runpod.net"


def _lost(disk_gb: int | None, volume_gb: int | None, state: InstanceState) -> str | None:
    parts = [f"{volume_gb} GB volume"] if volume_gb else []
    if disk_gb and state is not InstanceState.STOPPED:
        parts.append(f"{disk_gb} GB container disk")
    return " and ".join(parts) or None


def _stays(mounts: Mapping[str, Any]) -> str | None:
    volumes = mounts.get("network")
    ids = [str(v.get("volumeId")) for v in volumes if isinstance(v, dict)] if isinstance(volumes, list) else []
    return f"network volume {', '.join(ids)}" if ids else None


def _notice(record: Mapping[str, Any], state: InstanceState, around: Around) -> str | None:
    """What a person should know before the next verb, most pressing first."""
    told = []
    cluster, keys = _mapping(record.get("cluster")), _keys_in(record)
    gpus = _mapping(record.get("runtime")).get("gpus")
    if state is InstanceState.RUNNING and record.get("gpu") and gpus == []:
        told.append("came back without a GPU; its host has none free")
    if cluster.get("id"):
        told.append(f"member of cluster {cluster['id']}; RunPod acts on it there only")
    if record.get("locked") is True:
        told.append("locked at RunPod: it cannot be stopped")
    if keys and around.own_keys and not around.own_keys.keys() & set(keys):
        told.append("none of your SSH keys is in it; only the holder of another key can log in")
    elif state is InstanceState.RUNNING and not exposes_ssh(record):
        told.append(PROXY_ONLY)
    return "; ".join(told) or None


def _mapping(found: object) -> Mapping[str, Any]:
    return found if isinstance(found, dict) else {}


def _text(found: object) -> str | None:
    return found if isinstance(found, str) and found else None


def _whole(found: object) -> int | None:
    return found if isinstance(found, int) and not isinstance(found, bool) and found >= 0 else None


def _port(found: object) -> int | None:
    number = int(found) if isinstance(found, str) and found.isdecimal() else found
    return number if isinstance(number, int) and 0 < number < 65536 else None
