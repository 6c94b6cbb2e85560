"""From an order and what was found out to the RunInstances request. Pure: what it would send can be read and tested.

What only EC2 knows stands in `LaunchOrder.options`, all text; `options` lists it.
"""

from __future__ import annotations

import getpass
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from gpudash.errors import Unsupported, UsageError
from gpudash.model.offer import LaunchOrder
from gpudash.model.policy import EndAction
from gpudash.providers.aws import CAPABILITIES, tags
from gpudash.providers.aws.facts import TypeFacts
from gpudash.providers.aws.images import Image
from gpudash.providers.aws.userdata import with_hard_deadline

PLAIN_DISK_GB, GPU_DISK_GB = 30, 100
USER_DATA_LIMIT = 16 * 1024


@dataclass(frozen=True, slots=True)
class Plan:
    """What an order turned into, before it is sent."""

    order: LaunchOrder
    facts: TypeFacts
    image: Image
    needs_hibernation: bool
    spot_type: str | None
    shutdown: str
    disk_gb: int
    user_data: str | None


def check_options(order: LaunchOrder) -> None:
    """Refuse an option that nobody would read, or with a senseless value.

    Raises:
        UsageError: names the option and what it takes.
    """
    for name, value in order.options.items():
        option = CAPABILITIES.launch_option(name)
        if option is None:
            known = ", ".join(o.name.replace("tag.", "tag.KEY") for o in CAPABILITIES.launch_options)
            raise UsageError(f"aws knows no option {name!r}.", hint=f"It knows {known}.")
        if (reason := option.reason_against(value)) is not None:
            raise UsageError(reason)
    disk = order.options.get("disk_gb")
    if disk is not None and not (disk.isascii() and disk.isdecimal()):
        raise UsageError(f"disk_gb: {disk!r} is no size.", hint="Write whole GB, like 200.")
    _max_price(order)
    tags.check_user_tags(_own_tags(order))


def plan(order: LaunchOrder, facts: TypeFacts, image: Image) -> Plan:
    """Decide what follows from type, image and policy.

    Raises:
        Unsupported: the type cannot do what the policy or an option asks for.
        UsageError: an option has a wrong value.
    """
    hibernates = check_hibernation(order, facts)
    spot_type = check_spot(order, facts)
    return Plan(
        order=order,
        facts=facts,
        image=image,
        needs_hibernation=hibernates,
        spot_type=spot_type,
        shutdown=_shutdown(order, spot_type),
        disk_gb=_disk_gb(order, facts, image, hibernates=hibernates),
        user_data=_user_data(order),
    )


def check_type(order: LaunchOrder, facts: TypeFacts) -> None:
    """Refuse what that type cannot do.

    Raises:
        Unsupported: with the reason.
    """
    check_hibernation(order, facts)
    check_spot(order, facts)
    wanted = order.options.get("architecture")
    if wanted is not None and wanted != facts.architecture:
        raise Unsupported(f"{facts.name} is {facts.architecture}, and {wanted} was asked for.", hint="Choose another.")


def check_hibernation(order: LaunchOrder, facts: TypeFacts) -> bool:
    """Whether the launch must be able to hibernate; refused with the reason where the type cannot."""
    wants = _wanted_actions(order)
    if EndAction.HIBERNATE not in wants and order.options.get("hibernate") != "true":
        return False
    if not facts.can_hibernate:
        why = "no type with a GPU can" if facts.gpu_count else "EC2 does not offer it for that type"
        raise Unsupported(f"{facts.name} cannot hibernate: {why}.", hint="Use stop or terminate as the idle action.")
    if facts.memory_mib >= 150 * 1024:
        raise Unsupported(f"{facts.name} cannot hibernate: it has 150 GiB of memory or more.", hint="Use stop instead.")
    return True


def check_spot(order: LaunchOrder, facts: TypeFacts) -> str | None:
    """Kind of spot request: a one-time one cannot be stopped, so a policy that stops needs a persistent one."""
    if not order.spot:
        return None
    if not facts.has_spot:
        raise Unsupported(f"{facts.name} is not offered as spot.", hint="Launch it on demand.")
    stops = bool(_wanted_actions(order) & {EndAction.STOP, EndAction.HIBERNATE})
    chosen = order.options.get("spot_type") or ("persistent" if stops else "one-time")
    if chosen == "one-time" and stops:
        raise Unsupported(
            "A one-time spot instance cannot be stopped.",
            hint="Use terminate as the idle action, or spot_type=persistent.",
        )
    return chosen


def build(
    made: Plan, *, client_token: str, subnet_id: str, group_ids: list[str], key_name: str | None, profile: str | None
) -> dict[str, Any]:
    """The RunInstances request."""
    order, options = made.order, made.order.options
    marks = launch_tags(order, made.image.user)
    kinds = ["instance", "volume", "network-interface", *(["spot-instances-request"] if made.spot_type else [])]
    request: dict[str, Any] = {
        "MinCount": 1,
        "MaxCount": 1,
        "ClientToken": client_token,
        "ImageId": made.image.id,
        "InstanceType": order.instance_type,
        "InstanceInitiatedShutdownBehavior": made.shutdown,
        "NetworkInterfaces": [
            {
                "DeviceIndex": 0,
                "SubnetId": subnet_id,
                "Groups": group_ids,
                "AssociatePublicIpAddress": options.get("public_ip") != "false",
                "DeleteOnTermination": True,
            }
        ],
        "BlockDeviceMappings": _disks(made),
        "MetadataOptions": {
            "HttpTokens": "required",
            "HttpPutResponseHopLimit": 2,
            "HttpEndpoint": "enabled",
            "InstanceMetadataTags": "enabled",
        },
        "TagSpecifications": [{"ResourceType": kind, "Tags": tags.as_list(marks)} for kind in kinds],
    }
    if key_name:
        request["KeyName"] = key_name
    if profile:
        request["IamInstanceProfile"] = {"Name": profile}
    if made.needs_hibernation:
        request["HibernationOptions"] = {"Configured": True}
    if made.user_data:
        request["UserData"] = made.user_data
    request.update(_market(made))
    return request


def launch_tags(order: LaunchOrder, user: str) -> dict[str, str]:
    """Every tag of a launch."""
    options = order.options
    owner = re.sub(r"[^A-Za-z0-9+\-=.,_:@]", "-", options.get("owner") or _login_name())
    marks = {
        "Name": order.name,
        tags.MANAGED: "true",
        tags.OWNER: owner,
        tags.LAUNCH_TOKEN: order.token,
        tags.SSH_USER: user,
        **{name: value for name, value in tags.policy_tags(order.policy).items() if value},
        **_own_tags(order),
    }
    if order.service_port:
        marks[tags.SERVICE_PORT] = str(order.service_port)
    if options.get("parent"):
        marks[tags.PARENT] = options["parent"]
    return marks


def _disks(made: Plan) -> list[dict[str, Any]]:
    """All of them go with the instance, also those that the image brings: what is still there after its end is
    there because somebody took it off or kept it."""
    root = {
        "VolumeSize": made.disk_gb,
        "VolumeType": made.order.options.get("disk_type", "gp3"),
        "DeleteOnTermination": True,
        "Encrypted": True,
    }
    others = {
        device: {"DeleteOnTermination": True, **({"VolumeSize": size} if size else {})}
        for device, size in made.image.other_disks
    }
    return [{"DeviceName": device, "Ebs": ebs} for device, ebs in {made.image.root_device: root, **others}.items()]


def _market(made: Plan) -> dict[str, Any]:
    order, options = made.order, made.order.options
    extra: dict[str, Any] = {}
    reservation = options.get("capacity_reservation_id")
    if reservation:
        target = {"CapacityReservationTarget": {"CapacityReservationId": reservation}}
        extra["CapacityReservationSpecification"] = target
        if options.get("capacity_block") == "true":
            extra["InstanceMarketOptions"] = {"MarketType": "capacity-block"}
    if made.spot_type:
        spot: dict[str, Any] = {"SpotInstanceType": made.spot_type}
        if made.spot_type == "persistent":
            spot["InstanceInterruptionBehavior"] = "hibernate" if made.needs_hibernation else "stop"
            if order.policy.hard_deadline is not None:
                # Nothing may be launched anew by the request once the instance must be gone.
                spot["ValidUntil"] = order.policy.hard_deadline
        cap = _max_price(order)
        if cap is not None:
            spot["MaxPrice"] = f"{cap:f}"
        extra["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": spot}
    return extra


def _max_price(order: LaunchOrder) -> Decimal | None:
    text = order.options.get("spot_max_price")
    if text is None:
        return order.max_price
    try:
        price = Decimal(text)
    except InvalidOperation:
        price = Decimal(0)
    if not price.is_finite() or price <= 0:
        raise UsageError(f"spot_max_price: {text!r} is no price.", hint="Write USD an hour, like 0.45.")
    return price


def _shutdown(order: LaunchOrder, spot_type: str | None) -> str:
    """A power-off has one meaning. Stop keeps the disk, so terminate is chosen only where nothing else is wanted."""
    chosen = order.options.get("shutdown")
    if chosen is None:
        chosen = "terminate" if spot_type == "one-time" or _wanted_actions(order) <= {EndAction.TERMINATE} else "stop"
    return chosen


def _wanted_actions(order: LaunchOrder) -> set[EndAction]:
    policy, wants = order.policy, set()
    if policy.idle_timeout or policy.parked_timeout:
        wants.add(policy.idle_action)
    if policy.lease_deadline or policy.hard_deadline:
        wants.add(policy.lease_action)
    return wants or {EndAction.STOP} if not order.spot else wants


def _disk_gb(order: LaunchOrder, facts: TypeFacts, image: Image, *, hibernates: bool) -> int:
    memory_gb = -(-facts.memory_mib // 1024) if hibernates else 0
    least = image.root_gb + memory_gb
    text = order.options.get("disk_gb")
    if text is None:
        return max(least + 8 if hibernates else least, GPU_DISK_GB if facts.gpu_count else PLAIN_DISK_GB)
    if int(text) < max(least, 1):
        why = f"the image needs {image.root_gb} GB" + (f" and the memory {memory_gb} GB" if hibernates else "")
        raise UsageError(f"disk_gb: {text!r} is too small: {why}.", hint=f"Use {least} or more.")
    return int(text)


def _user_data(order: LaunchOrder) -> str | None:
    text = order.options.get("user_data")
    path = order.options.get("user_data_file")
    if path is not None:
        try:
            text = Path(path).expanduser().read_text()
        except (OSError, UnicodeDecodeError) as exc:
            raise UsageError(f"user_data_file: {exc}") from exc
    whole = with_hard_deadline(text, order.policy.hard_deadline)
    if whole is not None and len(whole.encode()) > USER_DATA_LIMIT:
        raise UsageError("user_data is too long.", hint="EC2 takes 16 KiB; let it fetch the rest.")
    return whole


def _own_tags(order: LaunchOrder) -> Mapping[str, str]:
    return {key[4:]: value for key, value in order.options.items() if key.startswith("tag.")}


def _login_name() -> str:
    try:
        return getpass.getuser()
    except OSError:
        return "unknown"
