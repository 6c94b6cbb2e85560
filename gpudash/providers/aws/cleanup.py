"""Takes away what an ended instance leaves: its children, in the order their dependencies allow, and only ours.

Child instances are not ended here: that is an end like every other, with its intent and its proof (`fleet.families`).

Data is never deleted here. EC2 takes the disks of a launch with its instance, because every launch asks for that
(`request.build`); one that is still there was taken off, or kept, by somebody, and a snapshot is a copy somebody made.

Nothing waits here. What is still in use is reported and tried again at the next round; meanwhile it stands among the
leftovers with its cost. What all instances of a region share goes only when none of them is left. Key pairs and the
instance role stay.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from gpudash.clock import parse_iso
from gpudash.errors import GpudashError
from gpudash.providers.aws import leftovers, tags
from gpudash.providers.aws.errors import code_of, translated
from gpudash.providers.aws.leftovers import Child
from gpudash.providers.base import CleanUp

ORDER = (
    "spot-instances-request", "elastic-ip", "network-interface", "security-group", "route-table", "subnet",
    "internet-gateway", "vpc",
)  # fmt: skip
CLAIM = timedelta(minutes=10)
"""How long a launch may take from choosing what is shared until EC2 shows its instance."""
_GO_WITH_AN_INSTANCE = frozenset({"spot-instances-request", "network-interface"})
"""While one of these is in use, an instance has it, and ends first."""
_MINE = leftovers.MINE


def clean_up(reader: Any, writer: Any, region: str, is_fresh: Callable[[str], bool], now: datetime) -> CleanUp:
    """One round in one region.

    Args:
        reader: a client for questions.
        writer: a client for changes.
        region: for the error texts.
        is_fresh: an instance that EC2 may not show yet; its children are left alone.
        now: what a launch marked a moment ago, on whatever machine, is left alone.
    """
    with translated(f"look for what is left in {region}"):
        ours = [
            c for c in leftovers.orphaned(reader, leftovers.marks(reader)) if _is_doomed(c) and not is_fresh(c.parent)
        ]
        waiting = tuple(c.id for c in ours if c.in_use and c.kind in _GO_WITH_AN_INSTANCE)
        shared, claimed = _shared(reader, now)
        waiting += claimed
        doomed = [c for c in ours if c.id not in waiting] + shared
    done: list[str] = []
    failed: list[tuple[str, str]] = []
    for child in sorted(doomed, key=lambda c: ORDER.index(c.kind)):
        try:
            with translated(f"delete {child.kind} {child.id}", write=True):
                _delete(reader, writer, child)
            done.append(child.id)
        except GpudashError as exc:
            failed.append((child.id, str(exc)))
    return CleanUp(tuple(done), tuple(failed), waiting)


def _is_doomed(child: Child) -> bool:
    """What is in use goes only where EC2 shows that its parent has ended, and not where nobody knows the parent."""
    return child.is_ours and child.kind in ORDER and (child.parent_ended or not child.in_use)


def _delete(reader: Any, writer: Any, child: Child) -> None:
    try:
        _DELETERS[child.kind](reader, writer, child.id)
    except Exception as exc:
        code = code_of(exc)
        if not code.endswith((".NotFound", "NotFoundException")):
            raise


def _delete_address(reader: Any, writer: Any, identity: str) -> None:
    for address in reader.describe_addresses(AllocationIds=[identity])["Addresses"]:
        holder = address.get("InstanceId")
        if address.get("AssociationId"):
            if not holder or leftovers.states_of(reader, [holder]).get(holder, leftovers.ENDED) != leftovers.ENDED:
                raise GpudashError(f"Address {identity} is in use by {holder or 'something else'}.")
            writer.disassociate_address(AssociationId=address["AssociationId"])
    writer.release_address(AllocationId=identity)


def _delete_group(reader: Any, writer: Any, identity: str) -> None:
    # moto and EC2 differ in what they refuse; a group in use is left alone at both.
    if _interfaces(reader, "group-id", identity):
        raise GpudashError(f"Security group {identity} is still in use.")
    writer.delete_security_group(GroupId=identity)


def _delete_route_table(reader: Any, writer: Any, identity: str) -> None:
    for table in reader.describe_route_tables(RouteTableIds=[identity])["RouteTables"]:
        for association in table.get("Associations") or []:
            if not association.get("Main"):
                writer.disassociate_route_table(AssociationId=association["RouteTableAssociationId"])
    writer.delete_route_table(RouteTableId=identity)


def _delete_subnet(reader: Any, writer: Any, identity: str) -> None:
    if _interfaces(reader, "subnet-id", identity):
        raise GpudashError(f"Subnet {identity} is still in use.")
    writer.delete_subnet(SubnetId=identity)


def _delete_gateway(reader: Any, writer: Any, identity: str) -> None:
    for gateway in reader.describe_internet_gateways(InternetGatewayIds=[identity])["InternetGateways"]:
        for attachment in gateway.get("Attachments") or []:
            writer.detach_internet_gateway(InternetGatewayId=identity, VpcId=attachment["VpcId"])
    writer.delete_internet_gateway(InternetGatewayId=identity)


_DELETERS: Mapping[str, Callable[[Any, Any, str], object]] = {
    "spot-instances-request": lambda _, w, i: w.cancel_spot_instance_requests(SpotInstanceRequestIds=[i]),
    "elastic-ip": _delete_address,
    "network-interface": lambda _, w, i: w.delete_network_interface(NetworkInterfaceId=i),
    "security-group": _delete_group,
    "route-table": _delete_route_table,
    "subnet": _delete_subnet,
    "internet-gateway": _delete_gateway,
    "vpc": lambda _, w, i: w.delete_vpc(VpcId=i),
}


def _shared(reader: Any, now: datetime) -> tuple[list[Child], tuple[str, ...]]:
    """Our security groups and our network, once the cloud knows no user of them in the region.

    Users are instances of ours, interfaces of anybody, and launches under way on any machine, which have put their mark
    on it. The second part is what such a launch has claimed: nothing goes then, because it needs all of it.
    """
    if leftovers.has_living(reader):
        return [], ()
    found: list[Child] = []
    groups = reader.describe_security_groups(Filters=[_MINE, _shared_as("ssh")])["SecurityGroups"]
    network = [_MINE, _shared_as("network")]
    vpcs = reader.describe_vpcs(Filters=network)["Vpcs"]
    claimed = _claimed(reader, [*groups, *vpcs], now)
    if claimed:
        return [], claimed
    found += [Child("security-group", g["GroupId"], "", is_ours=True) for g in groups if _is_unused(reader, g)]
    if any(_interfaces(reader, "vpc-id", vpc["VpcId"]) for vpc in vpcs):
        return found, ()
    found += [
        Child("subnet", s["SubnetId"], "", is_ours=True) for s in reader.describe_subnets(Filters=network)["Subnets"]
    ]
    gateways = reader.describe_internet_gateways(Filters=network)["InternetGateways"]
    found += [Child("internet-gateway", g["InternetGatewayId"], "", is_ours=True) for g in gateways]
    found += [Child("vpc", vpc["VpcId"], "", is_ours=True) for vpc in vpcs]
    return found, ()


def _claimed(reader: Any, shared: list[Mapping[str, Any]], now: datetime) -> tuple[str, ...]:
    """Those that a launch chose a moment ago and whose instance EC2 does not know yet, in whatever state."""
    young: dict[str, str] = {}
    for record in shared:
        moment, _, token = tags.as_dict(record.get("Tags")).get(tags.USED_BY, "").partition(" ")
        with contextlib.suppress(ValueError):
            if now - parse_iso(moment) < CLAIM:
                young[str(record.get("GroupId") or record["VpcId"])] = token
    if not young:
        return ()
    arrived = leftovers.launches(reader, set(young.values()))
    return tuple(identity for identity, token in young.items() if token not in arrived)


def _is_unused(reader: Any, group: Mapping[str, Any]) -> bool:
    return not _interfaces(reader, "group-id", group["GroupId"])


def _shared_as(what: str) -> dict[str, Any]:
    return {"Name": f"tag:{tags.SHARED}", "Values": [what]}


def _interfaces(reader: Any, name: str, value: str) -> list[Any]:
    found: list[Any] = reader.describe_network_interfaces(Filters=[{"Name": name, "Values": [value]}])[
        "NetworkInterfaces"
    ]
    return found
