"""From an order to the body of ``PUT /api/v0/asks/ID/``. Pure: what would be sent can be read and tested.

What an order can be told stands in `options`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from gpudash.errors import UsageError
from gpudash.model.offer import LaunchOrder
from gpudash.model.tags import LAUNCH_TOKEN, MANAGED, OWNER, policy_tags
from gpudash.providers.vast import CAPABILITIES, label
from gpudash.providers.vast.offers import DISK_GB

IMAGE = "vastai/base-image:@vastai-automatic-tag"
"""The default of Vast's own API file: CUDA as the driver can, sshd, Python."""
ONSTART_LIMIT = 4000
"""Vast tells two limits; this keeps under both."""
BID_LEAST, BID_MOST = Decimal("0.001"), Decimal(128)
_QUIET_LOGIN = "touch ~/.no_auto_tmux"
"""Without it every login lands in a tmux."""
_PORT = re.compile(r"(\d{1,5})(/(?:tcp|udp))?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check(order: LaunchOrder) -> None:
    """Refuse an option that nobody would read, or one that Vast would refuse.

    Raises:
        UsageError: names it.
    """
    for name, value in order.options.items():
        option = CAPABILITIES.launch_option(name)
        if option is None and name != "owner":
            known = ", ".join(o.name + "NAME" if o.name.endswith(".") else o.name for o in CAPABILITIES.launch_options)
            raise UsageError(f"vast knows no option {name!r}.", hint=f"It knows {known}.")
        if option is not None and (problem := option.reason_against(value)):
            raise UsageError(problem)
    disk_gb(order)
    _variables(order)
    _ports(order)
    _script(order)
    if "bid" in order.options and not order.spot:
        raise UsageError("A bid is for spot only.", hint="Launch it with --spot, or leave the bid out.")
    if order.spot and "bid" in order.options:
        bid_of(order.options["bid"])


def build(order: LaunchOrder, key_name: str, bid: Decimal | None) -> dict[str, Any]:
    """The whole body.

    Args:
        key_name: the SSH key's name, kept in the label so that links know which file fits.
        bid: USD an hour for an interruptible machine; None for one on demand.
    """
    options = order.options
    marks = policy_tags(order.policy) | {
        MANAGED: "true",
        LAUNCH_TOKEN: order.token,
        OWNER: options.get("owner", ""),
        label.KEY: key_name,
        label.SERVICE_PORT: str(order.service_port or ""),
    }
    body: dict[str, Any] = {
        "client_id": "me",
        "label": label.write(order.name, marks),
        "disk": disk_gb(order),
        "env": _variables(order) | _ports(order) | {label.VARIABLE: order.token},
        "runtype": "jupyter_direct" if options.get("jupyter") == "true" else "ssh_direct",
        "onstart": _script(order),
        "target_state": "running",
        # Without it a machine that was let meanwhile would leave a contract that waits and bills its disk.
        "cancel_unavail": True,
    }
    if "template" in options:
        body["template_hash_id"] = options["template"]
    if "template" not in options or "image" in options:
        body["image"] = options.get("image", IMAGE)
    if bid is not None:
        body["price"] = float(bid)
    if "registry_login_from" in options:
        body["image_login"] = _from_here("registry_login_from", options["registry_login_from"])
    if "volume" in options:
        body["volume_info"] = _volume(options["volume"])
    return body


def disk_gb(order: LaunchOrder) -> int:
    """GB of disk.

    Raises:
        UsageError: no whole number above zero.
    """
    told = order.options.get("disk_gb", str(DISK_GB))
    if not told.isdecimal() or not int(told):
        raise UsageError(f"disk_gb: {told!r} is no size.", hint="Write whole GB, like 100. It cannot grow later.")
    return int(told)


def bid_of(told: str) -> Decimal:
    """A bid.

    Raises:
        UsageError: none that Vast takes.
    """
    try:
        bid = Decimal(told)
    except InvalidOperation:
        bid = Decimal(0)
    if not bid.is_finite() or not BID_LEAST <= bid <= BID_MOST:
        raise UsageError(f"bid: {told!r} is no price from {BID_LEAST} to {BID_MOST} USD an hour.")
    return bid


def _variables(order: LaunchOrder) -> dict[str, str]:
    found = {}
    for option, value in order.options.items():
        kind, _, name = option.partition(".")
        if kind not in ("env", "env_from") or not name:
            continue
        if not _VARIABLE.fullmatch(name):
            raise UsageError(f"{option}: {name!r} is no name of a variable.")
        found[name] = value if kind == "env" else _from_here(option, value or name)
    return found


def _from_here(option: str, name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise UsageError(f"{option}: the variable {name} is not set here.", hint="Set it where gpudash is started.")
    return value


def _ports(order: LaunchOrder) -> dict[str, str]:
    """In the form of Docker's own option, which is how Vast takes them."""
    found = {}
    given = [part.strip() for part in order.options.get("ports", "").split(",") if part.strip()]
    if order.service_port:
        given.append(str(order.service_port))
    for part in given:
        match = _PORT.fullmatch(part)
        if match is None or not 0 < int(match.group(1)) < 65536:
            raise UsageError(f"ports: {part!r} is no port.", hint="Write them like 8000,5432/udp.")
        found[f"-p {match.group(1)}:{match.group(1)}{match.group(2) or ''}"] = "1"
    return found


def _script(order: LaunchOrder) -> str:
    told = order.options.get("onstart", "")
    if "onstart_file" in order.options:
        try:
            told = Path(order.options["onstart_file"]).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as exc:
            raise UsageError(f"onstart_file: {order.options['onstart_file']} cannot be read.") from exc
    script = f"{_QUIET_LOGIN}\n{told}".rstrip()
    if len(script) > ONSTART_LIMIT:
        raise UsageError(
            f"onstart: {len(script)} characters are more than the {ONSTART_LIMIT} that Vast takes for sure.",
            hint="Let it fetch a longer script.",
        )
    return script


def _volume(told: str) -> Mapping[str, Any]:
    identity, _, path = told.partition(":")
    if not identity.isdecimal() or not path.startswith("/"):
        raise UsageError(f"volume: {told!r} is not ID:/path.")
    return {"create_new": False, "volume_id": int(identity), "mount_path": path}
