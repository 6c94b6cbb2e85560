"""From an order to the body of ``POST /v2/pods``. Pure: what would be sent can be read and tested.

Options that only RunPod knows are in `options`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gpudash.errors import Unsupported, UsageError
from gpudash.model.instance import EVERYWHERE
from gpudash.model.offer import LaunchOrder
from gpudash.providers.runpod.catalogue import ANYWHERE, TypeName
from gpudash.providers.runpod.options import LAUNCH_OPTIONS
from gpudash.providers.runpod.pods import PUBLIC_KEY, SERVICE_PORT, TOKEN
from gpudash.providers.runpod.storage import DISK_GB, VOLUME_GB

IMAGE = "runpod/pytorch:1.0.2-cu1281-torch280-ubuntu2404"
"""The image in RunPod's own examples (REST v2 of 2026-08-18); starts sshd from `PUBLIC_KEY`."""
VOLUME_PATH = "/workspace"
SSH_PORT = "22/tcp"
_PORT = re.compile(r"\d{1,5}/(tcp|http)")


def check(order: LaunchOrder) -> None:
    """Refuse what RunPod would refuse or nobody would read. Instant.

    Raises:
        UsageError: unknown option, or a wrong value.
        Unsupported: spot.
    """
    for name, value in order.options.items():
        option = next((option for option in LAUNCH_OPTIONS if option.names(name)), None)
        if option is None:
            known = ", ".join(
                f"{option.name}NAME" if option.name[-1] == "." else option.name for option in LAUNCH_OPTIONS
            )
            raise UsageError(f"runpod knows no option {name!r}.", hint=f"It knows {known}.")
        if (reason := option.reason_against(value)) is not None:
            raise UsageError(reason)
    if order.spot:
        raise Unsupported("RunPod's API no longer offers spot pods.", hint="Launch it on demand.")
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
