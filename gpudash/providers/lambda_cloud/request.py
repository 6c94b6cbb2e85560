"""From an order to the body of one launch. Pure.

What only Lambda knows stands in `LaunchOrder.options`, all text; `options` lists it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from gpudash.errors import Unsupported, UsageError
from gpudash.model.offer import LaunchOrder
from gpudash.providers.lambda_cloud import CAPABILITIES
from gpudash.providers.lambda_cloud.labels import launch_tags, marked_name

USER_DATA_LIMIT = 1_000_000
_TAG_KEY = re.compile(r"[a-z][a-z0-9:-]{1,54}")
_HOSTNAME = re.compile(r"[a-z0-9][0-9a-z-]{0,62}")
_IMAGE_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}")


def check(order: LaunchOrder) -> None:
    """Refuse what Lambda cannot do, or what nobody would read.

    Raises:
        UsageError: unknown option, or one with a value that Lambda would refuse.
        Unsupported: spot.
    """
    if order.spot:
        raise Unsupported("Lambda has no spot instances.", hint="Launch it on demand.")
    for name, value in order.options.items():
        option = CAPABILITIES.launch_option(name)
        if option is None:
            known = ", ".join(o.name.replace("tag.", "tag.KEY") for o in CAPABILITIES.launch_options)
            raise UsageError(f"lambda knows no option {name!r}.", hint=f"It knows {known}.")
        if (reason := option.reason_against(value)) is not None:
            raise UsageError(reason)
    hostname = order.options.get("hostname")
    if hostname is not None and not _HOSTNAME.fullmatch(hostname):
        raise UsageError(f"hostname: {hostname!r} has letters that Lambda refuses.", hint="Use a to z, 0 to 9 and -.")
    for key, value in _own_tags(order).items():
        if not _TAG_KEY.fullmatch(key) or len(value) > 128 or key.startswith("gpudash:"):
            raise UsageError(f"tag.{key} is no tag that Lambda takes.", hint="A key is like team or cost-center.")
    user_data(order)


def filesystems(order: LaunchOrder) -> list[str]:
    """Names of the filesystems that are wanted."""
    return [name.strip() for name in order.options.get("file_system", "").split(",") if name.strip()]


def build(order: LaunchOrder, key_name: str) -> dict[str, Any]:
    """The body of ``POST /instance-operations/launch``. Exactly one key, and never a quantity."""
    options = order.options
    body: dict[str, Any] = {
        "region_name": order.region,
        "instance_type_name": order.instance_type,
        "ssh_key_names": [key_name],
        "name": marked_name(order.name, order.token),
        "tags": [*launch_tags(order.token), *({"key": k, "value": v} for k, v in _own_tags(order).items())],
    }
    names, text, image = filesystems(order), user_data(order), options.get("image")
    if names:
        body["file_system_names"] = names
    if options.get("hostname"):
        body["hostname"] = options["hostname"]
    if image:
        body["image"] = {"id" if _IMAGE_ID.fullmatch(image) else "family": image}
    if text:
        body["user_data"] = text
    return body


def user_data(order: LaunchOrder) -> str | None:
    """The cloud-init text that is wanted.

    Raises:
        UsageError: the file cannot be read, or the text is too long.
    """
    text, path = order.options.get("user_data"), order.options.get("user_data_file")
    if path is not None:
        try:
            text = Path(path).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as exc:
            raise UsageError(f"user_data_file: {exc}") from exc
    if text and len(text.encode()) > USER_DATA_LIMIT:
        raise UsageError("user_data is too long.", hint="Lambda takes 1 MB; let it fetch the rest.")
    return text or None


def _own_tags(order: LaunchOrder) -> dict[str, str]:
    return {key[4:]: value for key, value in order.options.items() if key.startswith("tag.")}
