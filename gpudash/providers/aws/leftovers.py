"""What bills without a running instance: free volumes, stopped disks, idle addresses, orphaned children."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from gpudash.model.money import Price
from gpudash.providers.aws import tags
from gpudash.providers.aws.errors import translated
from gpudash.providers.aws.prices import PriceBook
from gpudash.providers.aws.surroundings import FILTER_VALUES, parse_volume
from gpudash.providers.base import Leftover

ENDED = "terminated"
MINE = {"Name": f"tag:{tags.MANAGED}", "Values": ["true"]}
FREE = Price(Decimal(0), "free at AWS")
_KINDS = {"elastic-ip": "address", "spot-instances-request": "spot request"}
_DESCRIBES = {
    "elastic-ip": ("describe_addresses", "allocation-id", "Addresses", "AllocationId"),
    "internet-gateway": (
        "describe_internet_gateways",
        "internet-gateway-id",
        "InternetGateways",
        "InternetGatewayId",
    ),
    "network-interface": (
        "describe_network_interfaces",
        "network-interface-id",
        "NetworkInterfaces",
        "NetworkInterfaceId",
    ),
    "route-table": ("describe_route_tables", "route-table-id", "RouteTables", "RouteTableId"),
    "security-group": ("describe_security_groups", "group-id", "SecurityGroups", "GroupId"),
    "snapshot": ("describe_snapshots", "snapshot-id", "Snapshots", "SnapshotId"),
    "spot-instances-request": (
        "describe_spot_instance_requests",
        "spot-instance-request-id",
        "SpotInstanceRequests",
        "SpotInstanceRequestId",
    ),
    "subnet": ("describe_subnets", "subnet-id", "Subnets", "SubnetId"),
    "volume": ("describe_volumes", "volume-id", "Volumes", "VolumeId"),
    "vpc": ("describe_vpcs", "vpc-id", "Vpcs", "VpcId"),
}
"""By kind: how it is asked for, by which filter, and where the answer has its id."""


Marks = Mapping[tuple[str, str], Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Child:
    """A resource of ours that goes with an instance."""

    kind: str
    """EC2's word for it: ``volume``, ``network-interface`` …"""
    id: str
    parent: str
    is_ours: bool
    """It carries our ``managed`` tag as well, so it may be taken away."""
    parent_ended: bool = False
    """EC2 shows that the parent has ended; False where it knows no such instance, which may be one of another region."""
    in_use: bool = False
    """It runs, or something is attached to it."""


def find(reader: Any, account: str, region: str, prices: PriceBook) -> list[Leftover]:
    """All leftovers of one region, in a handful of questions whatever their number."""
    with translated(f"list leftovers of {region}"):
        volumes = [v for page in reader.get_paginator("describe_volumes").paginate() for v in page["Volumes"]]
        addresses = reader.describe_addresses()["Addresses"]
        stopped = _stopped(reader)
        requests = _open_spot_requests(reader)
        marked = marks(reader)
        orphans = orphaned(reader, marked) + unused(reader, marked)
    found = [_volume(v, account, region, prices, stopped) for v in volumes]
    found += [_address(a, account, region, prices) for a in addresses if not a.get("AssociationId")]
    found += [_spot_request(r, account, region) for r in requests]
    seen = {item.id for item in found if item is not None}
    found += [
        Leftover(account, "aws", region, c.id, _KINDS.get(c.kind, c.kind), c.id, None, _price(c), c.parent or None)
        for c in orphans
        if c.id not in seen and c.kind not in ("instance", "volume")
    ]
    return [item for item in found if item is not None]


def _price(child: Child) -> Price | None:
    """A snapshot costs by what it holds, which EC2 does not tell."""
    return None if child.kind == "snapshot" else FREE


def marks(reader: Any) -> Marks:
    """By kind and id what our tags say of everything in a region that carries one."""
    marked: dict[tuple[str, str], dict[str, str]] = {}
    pages = reader.get_paginator("describe_tags").paginate(
        Filters=[{"Name": "key", "Values": [tags.PARENT, tags.MANAGED, tags.SHARED]}]
    )
    for page in pages:
        for row in page["Tags"]:
            kind = str(row["ResourceType"]).removeprefix("vpc-")  # an address is told either way
            marked.setdefault((kind, str(row["ResourceId"])), {})[row["Key"]] = row.get("Value", "")
    return marked


def children(marked: Marks) -> list[Child]:
    """Everything that names a parent instance."""
    return [
        Child(kind, resource, mark[tags.PARENT], mark.get(tags.MANAGED) == "true")
        for (kind, resource), mark in marked.items()
        if mark.get(tags.PARENT, "").startswith("i-")
    ]


def unused(reader: Any, marked: Marks) -> list[Child]:
    """What our instances of a region share, where none is left: a launch that failed, or a clean-up that is due."""
    shared = [
        Child(kind, resource, "", is_ours=True)
        for (kind, resource), mark in marked.items()
        if mark.get(tags.SHARED) and mark.get(tags.MANAGED) == "true"
    ]
    return [] if not shared or has_living(reader) else existing(reader, shared)


def has_living(reader: Any) -> bool:
    """A managed instance of the region has not ended."""
    states = {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped", "shutting-down"]}
    return bool(reader.describe_instances(Filters=[MINE, states])["Reservations"])


def orphaned(reader: Any, marked: Marks) -> list[Child]:
    """Children whose parent has ended or is unknown."""
    candidates = children(marked)
    if not candidates:
        return []
    states = states_of(reader, sorted({child.parent for child in candidates}))
    gone = [
        replace(child, parent_ended=child.parent in states)
        for child in candidates
        if states.get(child.parent, ENDED) == ENDED
    ]
    return existing(reader, gone)


def launches(reader: Any, tokens: set[str]) -> dict[str, str]:
    """By token of a launch the state of its instance, where EC2 knows one."""
    found: dict[str, str] = {}
    asked = sorted(tokens)
    for start in range(0, len(asked), FILTER_VALUES):
        wanted = {"Name": f"tag:{tags.LAUNCH_TOKEN}", "Values": asked[start : start + FILTER_VALUES]}
        for page in reader.get_paginator("describe_instances").paginate(Filters=[wanted]):
            found |= {
                tags.as_dict(record.get("Tags")).get(tags.LAUNCH_TOKEN, ""): str(
                    (record.get("State") or {}).get("Name")
                )
                for reservation in page["Reservations"]
                for record in reservation["Instances"]
            }
    return found


def existing(reader: Any, candidates: list[Child]) -> list[Child]:
    """Those that are really there: EC2 keeps tags for a while after what carried them. One question a kind."""
    there: dict[tuple[str, str], bool] = {}
    for kind in sorted({child.kind for child in candidates}):
        ids = sorted(child.id for child in candidates if child.kind == kind)
        if kind == "instance":
            there |= {(kind, found): True for found, state in states_of(reader, ids).items() if state != ENDED}
        elif kind in _DESCRIBES:
            operation, name, records, identity = _DESCRIBES[kind]
            for start in range(0, len(ids), FILTER_VALUES):
                asked = [{"Name": name, "Values": ids[start : start + FILTER_VALUES]}]
                answer = getattr(reader, operation)(Filters=asked)
                alive = (record for record in answer[records] if not _is_over(record))
                there |= {(kind, str(record[identity])): _is_in_use(record) for record in alive}
    found = (child for child in candidates if (child.kind, child.id) in there)
    return [replace(child, in_use=there[child.kind, child.id]) for child in found]


def _is_over(record: Mapping[str, Any]) -> bool:
    return record.get("State") in {"cancelled", "closed", "failed"}


def _is_in_use(record: Mapping[str, Any]) -> bool:
    """Of a volume, an interface, an address or a spot request; the rest says no."""
    attached = record.get("Attachments") if "VolumeId" in record else record.get("Attachment")
    return bool(attached or record.get("AssociationId")) or record.get("State") == "active"


def states_of(reader: Any, ids: list[str]) -> dict[str, str]:
    """The state of each of these instances that EC2 knows. Asked by filter: unknown ids are simply absent."""
    found: dict[str, str] = {}
    for start in range(0, len(ids), FILTER_VALUES):
        pages = reader.get_paginator("describe_instances").paginate(
            Filters=[{"Name": "instance-id", "Values": ids[start : start + FILTER_VALUES]}]
        )
        found |= {
            str(i["InstanceId"]): str((i.get("State") or {}).get("Name"))
            for page in pages
            for r in page["Reservations"]
            for i in r["Instances"]
        }
    return found


def _stopped(reader: Any) -> set[str]:
    pages = reader.get_paginator("describe_instances").paginate(
        Filters=[{"Name": "instance-state-name", "Values": ["stopped"]}]
    )
    return {str(i["InstanceId"]) for page in pages for r in page["Reservations"] for i in r["Instances"]}


def _open_spot_requests(reader: Any) -> list[Mapping[str, Any]]:
    pages = reader.get_paginator("describe_spot_instance_requests").paginate(
        Filters=[{"Name": "state", "Values": ["open"]}]
    )
    return [
        request for page in pages for request in page["SpotInstanceRequests"] if request.get("Type") == "persistent"
    ]


def _volume(
    record: Mapping[str, Any], account: str, region: str, prices: PriceBook, stopped: set[str]
) -> Leftover | None:
    volume = parse_volume(record)
    if volume.instance_id is not None and volume.instance_id not in stopped:
        return None
    kind = "disk" if volume.instance_id else "volume"
    name = tags.as_dict(record.get("Tags")).get("Name") or volume.id
    price = prices.volume(region, volume)
    return Leftover(account, "aws", region, volume.id, kind, name, volume.size_gb, price, volume.instance_id)


def _address(record: Mapping[str, Any], account: str, region: str, prices: PriceBook) -> Leftover:
    marks = tags.as_dict(record.get("Tags"))
    address = str(record.get("PublicIp") or record.get("AllocationId"))
    identity = str(record.get("AllocationId") or address)
    parent = marks.get(tags.PARENT)
    return Leftover(
        account, "aws", region, identity, "address", marks.get("Name") or address, None, prices.public_ipv4(), parent
    )


def _spot_request(record: Mapping[str, Any], account: str, region: str) -> Leftover:
    name = tags.as_dict(record.get("Tags")).get("Name") or str(record["SpotInstanceRequestId"])
    identity = str(record["SpotInstanceRequestId"])
    return Leftover(account, "aws", region, identity, "spot request", name, None, FREE, record.get("InstanceId"))
