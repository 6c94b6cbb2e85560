"""From an order to the body of ``POST /v2/pods``. Pure: what would be sent can be read and tested.

Options of an order that only RunPod knows (`LaunchOrder.options`), all text:

| option | means |
|---|---|
| image | container image; else RunPod's PyTorch image |
| template | a template's id: its image, ports, variables and disks, ours added |
| args | what the container runs instead of the image's own command, which also starts sshd |
| disk_gb | container disk, wiped at every stop |
| volume_gb, volume_path | volume that survives a stop; ``0``: none |
| network_volume | id of a network volume, mounted at `volume_path` instead |
| ports | more ports, ``8000/http,5432/tcp``; those by HTTP are open to the world |
| env.NAME | a variable of the container |
| data_center | where, else the offer's region |
| min_cuda | lowest CUDA version of the host, ``12.8`` |
| registry | id of a registry credential |
| jupyter | ``true``: RunPod starts JupyterLab |
| public_key | the file of the public key to log in with |
| owner | a short name |
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gpudash.errors import UsageError
from gpudash.model.instance import EVERYWHERE
from gpudash.model.offer import LaunchOrder
from gpudash.providers.runpod.catalogue import ANYWHERE, TypeName
from gpudash.providers.runpod.pods import PUBLIC_KEY, SERVICE_PORT, TOKEN

OPTIONS = frozenset({
    "image", "template", "args", "disk_gb", "volume_gb", "volume_path", "network_volume", "ports", "data_center",
    "min_cuda", "registry", "jupyter", "public_key", "owner",
})  # fmt: skip
IMAGE = "runpod/pytorch:1.0.2-cu1281-torch280-ubuntu2404"
"""The image in RunPod's own examples (REST v2 of 2026-08-18); starts sshd from `PUBLIC_KEY`."""
DISK_GB, VOLUME_GB, VOLUME_PATH = 50, 20, "/workspace"
SSH_PORT = "22/tcp"
_PORT = re.compile(r"\d{1,5}/(tcp|http)")


def check_options(order: LaunchOrder) -> None:
    """Refuse an option that nobody would read.

    Raises:
        UsageError: unknown option, or a wrong value.
    """
    unknown = sorted(name for name in order.options if name not in OPTIONS and not name.startswith("env."))
    if unknown:
        known = ", ".join(sorted(OPTIONS))
        raise UsageError(f"runpod knows no option {unknown[0]!r}.", hint=f"It knows {known} and env.NAME.")
    if order.spot:
        raise UsageError("RunPod's API no longer offers spot pods.", hint="Launch it on demand.")
    if "network_volume" in order.options and _number(order, "volume_gb", 0):
        raise UsageError("A pod has a volume of its own or a network volume, not both.", hint="Leave one out.")
    for port in _ports(order):
        if not _PORT.fullmatch(port):
            raise UsageError(f"{port!r} is no port.", hint='Write ports like "8000/http,5432/tcp".')


def body_of(
    order: LaunchOrder, name: TypeName, public_keys: list[str], template: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The create. `public_keys` are those that may log in; `template` is the record of the one that was named.

    What is named explicitly replaces what a template says, so its ports and variables are sent again with ours.
    """
    base = template or {}
    body: dict[str, Any] = {
        "name": order.name,
        "gpu": {"id": name.gpu, "count": name.count},
        "cloud": name.cloud,
        "ports": list(dict.fromkeys([*(base.get("ports") or ()), SSH_PORT, *_ports(order)])),
        "env": _env(order, public_keys, base.get("env") or {}),
        "startSsh": True,
    }
    if template is not None:
        body["templateId"] = order.options["template"]
    if template is None or "image" in order.options:
        body["image"] = order.options.get("image") or IMAGE
    if template is None or "disk_gb" in order.options:
        body["disk"] = _number(order, "disk_gb", DISK_GB, least=1)
    mounts = _mounts(order, has_template=template is not None)
    if mounts:
        body["mounts"] = mounts
    if "min_cuda" in order.options:
        body["gpu"]["minCudaVersion"] = order.options["min_cuda"]
    place = order.options.get("data_center") or order.region
    if place not in ("", ANYWHERE, EVERYWHERE):
        body["dataCenterIds"] = [place]
    for option, field in (("args", "args"), ("registry", "registry")):
        if option in order.options:
            body[field] = order.options[option]
    if order.options.get("jupyter") == "true":
        body["startJupyter"] = True
    return body


def _mounts(order: LaunchOrder, *, has_template: bool) -> dict[str, Any]:
    path = order.options.get("volume_path") or VOLUME_PATH
    if "network_volume" in order.options:
        return {"network": [{"volumeId": order.options["network_volume"], "path": path}]}
    if has_template and "volume_gb" not in order.options:
        return {}
    size = _number(order, "volume_gb", VOLUME_GB)
    if 0 < size < 10:
        raise UsageError("RunPod's smallest volume has 10 GB.", hint="Name 10 or more, or 0 for none.")
    return {"persistent": {"size": size, "path": path}} if size else {}


def _env(order: LaunchOrder, public_keys: list[str], base: Mapping[str, Any]) -> dict[str, str]:
    own = {name.removeprefix("env."): value for name, value in order.options.items() if name.startswith("env.")}
    env = {str(name): str(value) for name, value in base.items()} | own
    env[TOKEN] = order.token
    if order.service_port:
        env[SERVICE_PORT] = str(order.service_port)
    if public_keys:
        env.setdefault(PUBLIC_KEY, "\n".join(public_keys))
    return env


def _ports(order: LaunchOrder) -> list[str]:
    return [port.strip() for port in order.options.get("ports", "").split(",") if port.strip()]


def _number(order: LaunchOrder, option: str, otherwise: int, least: int = 0) -> int:
    text = order.options.get(option)
    if text is None:
        return otherwise
    if not text.isdecimal() or int(text) < least:
        raise UsageError(f"{option} is a whole number of GB, not {text!r}.", hint=f"Write {option}=50.")
    return int(text)
