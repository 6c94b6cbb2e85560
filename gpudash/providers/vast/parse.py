"""One record of ``GET /api/v1/instances`` becomes an `Instance`. Pure; every field is optional.

Never kept: `jupyter_token`, `extra_env`, `onstart`, `image_args`, which hold secrets.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from gpudash.model.instance import EVERYWHERE, Instance, InstanceKey, InstanceState, SshAddress
from gpudash.model.tags import MANAGED, PARENT, tagged_policy
from gpudash.providers.vast import label, prices, states

USER = "root"
_SHOWN = ("machine_id", "host_id", "image_uuid", "image_runtype", "template_name", "status_msg", "geolocation",
          "verification", "cpu_cores_effective", "min_bid", "time_remaining", "gpu_util", "gpu_temp", "disk_usage",
          "static_ip", "direct_port_count")  # fmt: skip


def parse_instance(
    record: Mapping[str, Any],
    account: str,
    identity_files: Mapping[str, str],
    *,
    stopped_by_us: bool = False,
    announced: str | None = None,
) -> Instance:
    """One machine as Vast describes it.

    Args:
        record: an element of the list.
        account: whose it is.
        identity_files: private key file by the name we give its public half.
        stopped_by_us: this process asked for the stop that it shows.
        announced: what its host has asked for, in words.
    """
    name, marks = label.read(record.get("label"))
    seen = states.look(record, asked_to_stop=stopped_by_us or marks.get(label.ASKED) == "stop")
    token, size = label.token_of(record, marks), prices.number(record.get("disk_space"))
    gpus = whole(record.get("num_gpus"))
    gpu = text(record.get("gpu_name"))
    port = marks.get(label.SERVICE_PORT, "")
    return Instance(
        key=InstanceKey(account, EVERYWHERE, str(record["id"])),
        provider="vast",
        name=name or str(record["id"]),
        state=seen.state,
        provider_state=seen.word,
        instance_type=type_name(gpus, gpu) if gpus and gpu else None,
        gpu=gpu,
        gpu_count=gpus,
        vram_gb=vram_gb(record.get("gpu_ram")),
        spot=record.get("is_bid") is True,
        managed=marks.get(MANAGED) == "true" or token is not None,
        created_at=moment(record.get("start_date")),
        price=prices.compute(record),
        compute_billed=seen.compute_billed,
        storage_price=prices.disk(record, is_billed=seen.disk_billed),
        disk_gb=None if size is None else int(size),
        ssh=_ssh(record, seen.state, identity_files, marks.get(label.KEY)),
        service_port=int(port) if port.isdecimal() else None,
        launch_token=token,
        tag_policy=tagged_policy(marks),
        place=place_of(record),
        parent=marks.get(PARENT),
        lost_on_terminate=None if size is None else f"{int(size)} GB disk",
        stays_after_terminate=_volumes(record),
        notice=_joined(seen.notice, announced),
        raw=_raw(record),
    )


def type_name(gpus: int, gpu: str) -> str:
    """``2x_RTX_4090``: how many and which, with Vast's own name for the GPU; `read_type` reads it back."""
    return f"{gpus}x_{gpu.replace(' ', '_')}"


def read_type(name: str) -> tuple[int, str] | None:
    """How many GPUs and Vast's name for them; None where the text is no type."""
    count, mark, gpu = name.partition("x_")
    return (int(count), gpu.replace("_", " ")) if mark and gpu and count.isdecimal() and int(count) else None


def place_of(record: Mapping[str, Any]) -> str | None:
    """The country's code where one is told, else Vast's words: ``Washington, US`` → ``US``."""
    told = text(record.get("country_code"))
    if told:
        return told
    words = text(record.get("geolocation")) or ""
    last = words.rpartition(",")[2].strip()
    return last if len(last) == 2 and last.isalpha() else words or None


def vram_gb(megabytes: Any) -> int | None:
    """VRAM of one GPU. Drivers keep some of it, so 24,564 MB is a GPU of 24 GB."""
    told = prices.number(megabytes)
    return None if not told else int((told / 1024).quantize(Decimal(1)))


def moment(epoch: Any) -> datetime | None:
    """Seconds since 1970 as a time; None where they are none."""
    told = prices.number(epoch)
    try:
        return None if told is None else datetime.fromtimestamp(float(told), UTC)
    except (OverflowError, ValueError, OSError):
        return None


def text(value: Any) -> str | None:
    """A text without blanks around it; None where there is none."""
    return value.strip() or None if isinstance(value, str) else None


def whole(value: Any) -> int | None:
    """A whole number; None for anything else."""
    told = prices.number(value)
    return int(told) if told is not None and told == int(told) else None


def _ssh(
    record: Mapping[str, Any], state: InstanceState, identity_files: Mapping[str, str], given: str | None
) -> SshAddress | None:
    """Straight to the machine where it maps port 22, else through Vast's proxy, as its own ``ssh-url`` does.

    A mapped port can be dead all the same (a firewall of the host); then the proxy leads to the same server.
    """
    if state is not InstanceState.RUNNING:
        return None
    identity = identity_files.get(given or "")
    direct, address = mapped_port(record, 22), text(record.get("public_ipaddr"))
    proxy = _proxy(record)
    if direct is not None and address:
        host, port = proxy or (None, None)
        return SshAddress(
            address, direct, USER, identity_file=identity, given_key=given, proxy_host=host, proxy_port=port
        )
    if proxy is None:
        return None
    return SshAddress(*proxy, USER, identity_file=identity, given_key=given, by_proxy=True)


def _proxy(record: Mapping[str, Any]) -> tuple[str, int] | None:
    host, port = text(record.get("ssh_host")), whole(record.get("ssh_port"))
    if not host or port is None:
        return None
    return host, port + (1 if "jupyter" in str(record.get("image_runtype") or "") else 0)


def mapped_port(record: Mapping[str, Any], inside: int) -> int | None:
    """The port of the host that leads to a TCP port of the container; None where none does."""
    ports = record.get("ports")
    entries = ports.get(f"{inside}/tcp") if isinstance(ports, dict) else None
    for entry in entries if isinstance(entries, list) else ():
        outside = str(entry.get("HostPort") or "") if isinstance(entry, dict) else ""
        if outside.isdecimal():
            return int(outside)
    return None


def _volumes(record: Mapping[str, Any]) -> str | None:
    found = record.get("volume_info")
    count = len(found) if isinstance(found, list) else 0
    return None if not count else "1 volume" if count == 1 else f"{count} volumes"


def _joined(*parts: str | None) -> str | None:
    return "; ".join(part for part in parts if part) or None


def _raw(record: Mapping[str, Any]) -> dict[str, object]:
    """What the details page shows: named fields only, because others are secrets."""
    raw: dict[str, object] = {name: record[name] for name in _SHOWN if record.get(name) is not None}
    direct = mapped_port(record, 22) is not None and bool(text(record.get("public_ipaddr")))
    has_proxy = _proxy(record) is not None
    raw["ssh_way"] = ("direct, else proxy" if has_proxy else "direct") if direct else "proxy" if has_proxy else "none"
    raw["traffic"] = prices.traffic(record)
    raw["contract_ends"] = str(moment(record.get("end_date")) or "") or None
    return raw
