"""A DescribeInstances record becomes an `Instance`. Pure; what the record does not say comes in as `Known`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from gpudash.clock import iso, parse_iso
from gpudash.model.instance import Instance, InstanceKey, SshAddress
from gpudash.model.money import Price
from gpudash.providers.aws import states, tags
from gpudash.providers.aws.facts import TypeFacts
from gpudash.providers.aws.prices import Volume, total


def _no_price(*_: object) -> Price | None:
    return None


@dataclass(frozen=True, slots=True)
class Known:
    """What is known beside the record itself. Whatever is missing stays unknown in the result."""

    types: Mapping[str, TypeFacts] = field(default_factory=dict)
    volumes: Mapping[str, Volume] = field(default_factory=dict)
    users: Mapping[str, str] = field(default_factory=dict)
    """Login user by image id."""
    identity_files: Mapping[str, str] = field(default_factory=dict)
    """Private key file by key pair name."""
    on_demand: Callable[[str], Price | None] = _no_price
    spot: Callable[[str, str | None], Price | None] = _no_price
    volume_price: Callable[[Volume], Price | None] = _no_price
    address_price: Price | None = None


def parse_instance(record: Mapping[str, Any], account: str, region: str, known: Known) -> Instance:
    """One machine as EC2 describes it."""
    tag = tags.as_dict(record.get("Tags"))
    instance_type = record.get("InstanceType")
    facts = known.types.get(instance_type or "")
    started_at = _utc(record.get("LaunchTime"))
    is_spot = record.get("InstanceLifecycle") == "spot"
    is_gone = states.provider_state(record) == "terminated"
    volumes = [known.volumes.get(volume_id) for volume_id in volume_ids(record)]
    sizes = [volume.size_gb for volume in volumes if volume]
    whole = bool(sizes) and len(sizes) == len(volumes)
    return Instance(
        key=InstanceKey(account, region, str(record["InstanceId"])),
        provider="aws",
        name=tag.get("Name") or str(record["InstanceId"]),
        state=states.state_of(record),
        provider_state=states.provider_state(record),
        instance_type=instance_type,
        gpu=facts.gpu if facts else None,
        gpu_count=facts.gpu_count if facts else None,
        vram_gb=facts.vram_gb if facts and facts.gpu_count else None,
        spot=is_spot,
        managed=tag.get(tags.MANAGED) == "true",
        created_at=first_launch(record, tag),
        started_at=started_at,
        ended_at=states.ended_at(record),
        price=_price(record, is_spot, known),
        storage_price=None if is_gone else _storage_price(record, volumes, known),
        disk_gb=sum(sizes) if whole else None,
        ssh=_ssh(record, tag, known),
        service_port=int(tag[tags.SERVICE_PORT]) if tag.get(tags.SERVICE_PORT, "").isdecimal() else None,
        launch_token=tag.get(tags.LAUNCH_TOKEN),
        tag_policy=tags.read_policy(tag, started_at),
        parent=tag.get(tags.PARENT) or tag.get("spawn:parent"),
        lost_on_terminate=None if is_gone else _disks(volumes, goes=True),
        stays_after_terminate=None if is_gone else _stays(record, volumes),
        notice=states.notice_of(record),
        raw=_raw(record, tag),
    )


def first_launch(record: Mapping[str, Any], tag: Mapping[str, str]) -> datetime | None:
    """When it was made: `LaunchTime` is the last start, so the primary network interface is asked instead."""
    told = tag.get("spawn:launch-time")
    if told:
        try:
            return parse_iso(told)
        except ValueError:
            pass
    for interface in record.get("NetworkInterfaces") or []:
        attachment = interface.get("Attachment") or {}
        if attachment.get("DeviceIndex") == 0 and attachment.get("AttachTime"):
            return _utc(attachment["AttachTime"])
    return _utc(record.get("LaunchTime"))


def volume_ids(record: Mapping[str, Any]) -> list[str]:
    """The EBS volumes that are attached to it."""
    mappings = record.get("BlockDeviceMappings") or []
    return [str(mapping["Ebs"]["VolumeId"]) for mapping in mappings if (mapping.get("Ebs") or {}).get("VolumeId")]


def public_addresses(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Every public IPv4 address that it holds; each is charged."""
    found: list[Mapping[str, Any]] = [
        address["Association"]
        for interface in record.get("NetworkInterfaces") or []
        for address in interface.get("PrivateIpAddresses") or []
        if (address.get("Association") or {}).get("PublicIp")
    ]
    if not found and record.get("PublicIpAddress"):
        found = [{"PublicIp": record["PublicIpAddress"], "IpOwnerId": "amazon"}]
    return found


def login_user(image_name: str) -> str:
    """The login user that images of that name come with."""
    lowered = image_name.lower()
    if "ubuntu" in lowered:
        return "ubuntu"
    return "admin" if lowered.startswith("debian") else "ec2-user"


def _price(record: Mapping[str, Any], is_spot: bool, known: Known) -> Price | None:
    instance_type = str(record.get("InstanceType") or "")
    if record.get("Platform") == "windows" or record.get("CapacityBlockId"):
        return None
    if is_spot:
        return known.spot(instance_type, (record.get("Placement") or {}).get("AvailabilityZone"))
    return known.on_demand(instance_type)


def _storage_price(record: Mapping[str, Any], volumes: list[Volume | None], known: Known) -> Price | None:
    disks = [known.volume_price(volume) if volume else None for volume in volumes]
    state = states.provider_state(record)
    addresses = [a for a in public_addresses(record) if state != "stopped" or a.get("IpOwnerId") != "amazon"]
    return total([*disks, *(known.address_price for _ in addresses)])


def _ssh(record: Mapping[str, Any], tag: Mapping[str, str], known: Known) -> SshAddress | None:
    host = record.get("PublicIpAddress") or record.get("PublicDnsName") or record.get("PrivateIpAddress")
    if not host or states.provider_state(record) in {"terminated", "shutting-down", "stopped"}:
        return None
    user = tag.get(tags.SSH_USER) or known.users.get(str(record.get("ImageId")), "ec2-user")
    given = str(record.get("KeyName") or "") or None
    return SshAddress(str(host), 22, user, identity_file=known.identity_files.get(given or ""), given_key=given)


def _disks(volumes: list[Volume | None], *, goes: bool) -> str | None:
    sizes = [volume.size_gb for volume in volumes if volume and volume.goes_with_instance is goes]
    if not sizes:
        return None
    return f"{sum(sizes)} GB disk" if len(sizes) == 1 else f"{sum(sizes)} GB on {len(sizes)} disks"


def _stays(record: Mapping[str, Any], volumes: list[Volume | None]) -> str | None:
    parts = [_disks(volumes, goes=False)]
    owner = record.get("OwnerId")
    kept = [a for a in public_addresses(record) if owner and a.get("IpOwnerId") == owner and a.get("AllocationId")]
    parts.append(f"address {kept[0]['PublicIp']}" if len(kept) == 1 else f"{len(kept)} addresses" if kept else None)
    return ", ".join(part for part in parts if part) or None


def _raw(record: Mapping[str, Any], tag: Mapping[str, str]) -> dict[str, object]:
    """What the details page shows; only what JSON can hold, and nothing secret."""
    keys = ("ImageId", "KeyName", "VpcId", "SubnetId", "PrivateIpAddress", "PublicIpAddress", "PublicDnsName",
            "Architecture", "SpotInstanceRequestId", "CapacityReservationId", "RootDeviceName")  # fmt: skip
    raw: dict[str, object] = {key: record[key] for key in keys if record.get(key)}
    raw["AvailabilityZone"] = (record.get("Placement") or {}).get("AvailabilityZone")
    raw["StateReason"] = states.reason_code(record) or None
    raw["SecurityGroups"] = [group.get("GroupId") for group in record.get("SecurityGroups") or []]
    raw["InstanceProfile"] = (record.get("IamInstanceProfile") or {}).get("Arn")
    raw["HibernationConfigured"] = bool((record.get("HibernationOptions") or {}).get("Configured"))
    raw["LaunchTime"] = iso(_utc(record.get("LaunchTime")))
    raw["Tags"] = dict(tag)
    if tags.is_spawn(tag):
        raw["managed_by"] = "spawn"
        raw["deadline_estimated"] = tags.deadline_is_estimated(tag)
    return raw


def _utc(moment: Any) -> datetime | None:
    return moment.astimezone(UTC) if isinstance(moment, datetime) else None
