"""Where an instance lives and who may reach it.

The default network where the account has one, else a small one of ours, made once a region and tagged. The security
group lets SSH in from this machine's address and nothing else; when the address has changed, the old one goes.
"""

from __future__ import annotations

import contextlib
import getpass
import ipaddress
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gpudash.errors import GpudashError, NoCapacity, ProviderError, UsageError
from gpudash.providers.aws import tags
from gpudash.providers.aws.errors import code_of, translated

GROUP = "gpudash-ssh"
CIDR = "10.213.0.0/16"
ADDRESS_URL = "https://checkip.amazonaws.com"
_OURS = {tags.MANAGED: "true", "Name": "gpudash"}


@dataclass(frozen=True, slots=True)
class Subnet:
    """One place to launch into."""

    id: str
    vpc_id: str
    zone: str


def my_address() -> str:
    """This machine's public IPv4 address, as AWS sees it.

    Raises:
        ProviderError: it cannot be learned.
    """
    import httpx

    try:
        reply = httpx.get(ADDRESS_URL, timeout=5)
        reply.raise_for_status()
        return str(ipaddress.IPv4Address(reply.text.strip()))
    except (httpx.HTTPError, ValueError) as exc:
        raise ProviderError(
            f"This machine's public address is not known ({ADDRESS_URL}: {exc}).", hint="Name it as `ssh_cidr`."
        ) from exc


def ssh_source(text: str) -> str:
    """An address or network as a rule needs it; host bits are cut off. The whole Internet is refused."""
    try:
        network = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError as exc:
        raise UsageError(
            f"ssh_cidr: {text!r} is no address.", hint="Write it like 203.0.113.7 or 203.0.113.0/24."
        ) from exc
    if network.prefixlen == 0:
        raise UsageError(f"ssh_cidr: {text} is everybody.", hint="Name your own address or network.")
    return str(network)


def places(reader: Any, instance_type: str, zone: str | None, subnet_id: str | None) -> list[Subnet]:
    """Subnets that could take the type, best first. Empty where the region has no network at all.

    Raises:
        NoCapacity: no zone of the region offers the type.
        ProviderError: the subnet named is not there.
    """
    with translated("read subnets"):
        if subnet_id:
            found = reader.describe_subnets(SubnetIds=[subnet_id])["Subnets"]
        else:
            found = _subnets(reader, "default-for-az", "true") or _subnets(reader, f"tag:{tags.SHARED}", "network")
    offered = offered_zones(reader, instance_type)
    if not offered:
        raise NoCapacity(f"No zone of this region offers {instance_type}.", hint="Choose another region or type.")
    if zone is not None and zone not in offered:
        raise NoCapacity(f"{zone} does not offer {instance_type}.", hint=f"These do: {', '.join(sorted(offered))}.")
    subnets = [Subnet(item["SubnetId"], item["VpcId"], item["AvailabilityZone"]) for item in found]
    fitting = [subnet for subnet in subnets if subnet.zone in offered and zone in (None, subnet.zone)]
    if subnets and not fitting:
        where = ", ".join(sorted({subnet.zone for subnet in subnets}))
        raise NoCapacity(f"The subnets of this account ({where}) are not where {instance_type} is offered.")
    return sorted(fitting, key=lambda subnet: subnet.zone)


def offered_zones(reader: Any, instance_type: str) -> set[str]:
    """Zones of the region where the type exists."""
    with translated(f"read where {instance_type} is offered"):
        pages = reader.get_paginator("describe_instance_type_offerings").paginate(
            LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": [instance_type]}]
        )
        return {offer["Location"] for page in pages for offer in page["InstanceTypeOfferings"]}


def make_network(reader: Any, writer: Any, zone: str, mark: str) -> Subnet:
    """A network of ours: one subnet, a way to the Internet, nothing else. All of it is tagged as shared.

    The subnet comes last, so that a network whose making was cut off is never launched into. What was made before a
    refusal is taken back; what cannot be stands among the leftovers.
    """
    undo: list[Callable[[], object]] = []
    try:
        return _make_network(reader, writer, zone, mark, undo)
    except GpudashError:
        for take_back in reversed(undo):
            with contextlib.suppress(GpudashError), translated("take back a network", write=True):
                take_back()
        raise


def _make_network(reader: Any, writer: Any, zone: str, mark: str, undo: list[Callable[[], object]]) -> Subnet:
    with translated("make a network"):
        vpc_id = writer.create_vpc(CidrBlock=CIDR, TagSpecifications=_marked("vpc", mark))["Vpc"]["VpcId"]
        undo.append(lambda: writer.delete_vpc(VpcId=vpc_id))
        writer.modify_vpc_attribute(VpcId=vpc_id, EnableDnsHostnames={"Value": True})
        gateway = writer.create_internet_gateway(TagSpecifications=_marked("internet-gateway", mark))
        gateway_id = gateway["InternetGateway"]["InternetGatewayId"]
        undo.append(lambda: writer.delete_internet_gateway(InternetGatewayId=gateway_id))
        writer.attach_internet_gateway(InternetGatewayId=gateway_id, VpcId=vpc_id)
        undo.append(lambda: writer.detach_internet_gateway(InternetGatewayId=gateway_id, VpcId=vpc_id))
        main = [{"Name": "vpc-id", "Values": [vpc_id]}, {"Name": "association.main", "Values": ["true"]}]
        route_id = reader.describe_route_tables(Filters=main)["RouteTables"][0]["RouteTableId"]
        writer.create_route(RouteTableId=route_id, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway_id)
        subnet = writer.create_subnet(
            VpcId=vpc_id,
            CidrBlock=CIDR.replace("/16", "/20"),
            AvailabilityZone=zone,
            TagSpecifications=_marked("subnet", mark),
        )
    return Subnet(subnet["Subnet"]["SubnetId"], vpc_id, zone)


def ensure_group(reader: Any, writer: Any, vpc_id: str, source: str, mark: str) -> str:
    """The security group of a network: SSH from `source`, added where it is missing; `mark` says who will use it."""
    with translated(f"prepare security group {GROUP}"):
        found = _group(reader, vpc_id)
        if found is None:
            group_id = _make_group(reader, writer, vpc_id, mark)
            rules: list[Mapping[str, Any]] = []
        else:
            group_id, rules = found["GroupId"], found.get("IpPermissions") or []
            if tags.as_dict(found.get("Tags")).get(tags.MANAGED) == "true":
                writer.create_tags(Resources=[group_id], Tags=tags.as_list({tags.USED_BY: mark}))
        _refresh_rules(writer, group_id, rules, source)
    return group_id


def who() -> str:
    """This person at this machine, in letters that a rule's description takes."""
    try:
        name = f"{getpass.getuser()}@{socket.gethostname()}"
    except OSError:
        name = socket.gethostname()
    return re.sub(r"[^A-Za-z0-9._:/()#,@\[\]+=&;{}!$*-]", "-", name)[:80]


def _refresh_rules(writer: Any, group_id: str, rules: list[Mapping[str, Any]], source: str) -> None:
    mine = f"gpudash {who()}"
    is_v6 = ":" in source
    ranges, field = ("Ipv6Ranges", "CidrIpv6") if is_v6 else ("IpRanges", "CidrIp")
    ssh = [rule for rule in rules if rule.get("FromPort") == 22 and rule.get("ToPort") == 22]
    present = {item[field]: item.get("Description") for rule in ssh for item in rule.get(ranges) or []}
    if source not in present:
        try:
            writer.authorize_security_group_ingress(
                GroupId=group_id, IpPermissions=[_ssh_rule(ranges, field, source, mine)]
            )
        except Exception as exc:
            if code_of(exc) != "InvalidPermission.Duplicate":
                raise
    for old in [cidr for cidr, described in present.items() if described == mine and cidr != source]:
        writer.revoke_security_group_ingress(GroupId=group_id, IpPermissions=[_ssh_rule(ranges, field, old, mine)])


def _ssh_rule(ranges: str, field: str, cidr: str, described: str) -> dict[str, Any]:
    return {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, ranges: [{field: cidr, "Description": described}]}


def _group(reader: Any, vpc_id: str) -> Mapping[str, Any] | None:
    filters = [{"Name": "group-name", "Values": [GROUP]}, {"Name": "vpc-id", "Values": [vpc_id]}]
    groups = reader.describe_security_groups(Filters=filters)["SecurityGroups"]
    return groups[0] if groups else None


def _make_group(reader: Any, writer: Any, vpc_id: str, mark: str) -> str:
    ours = {**_OURS, tags.SHARED: "ssh", tags.USED_BY: mark}
    marks = [{"ResourceType": "security-group", "Tags": tags.as_list(ours)}]
    try:
        made = writer.create_security_group(
            GroupName=GROUP, Description="gpudash: SSH from its users", VpcId=vpc_id, TagSpecifications=marks
        )
        return str(made["GroupId"])
    except Exception as exc:
        if code_of(exc) != "InvalidGroup.Duplicate":
            raise
    found = _group(reader, vpc_id)
    if found is None:
        raise ProviderError(f"Security group {GROUP} exists and cannot be read.")
    return str(found["GroupId"])


def _subnets(reader: Any, name: str, value: str) -> list[Mapping[str, Any]]:
    filters = [{"Name": name, "Values": [value]}, {"Name": "state", "Values": ["available"]}]
    found: list[Mapping[str, Any]] = reader.describe_subnets(Filters=filters)["Subnets"]
    return found


def _marked(kind: str, mark: str) -> list[dict[str, Any]]:
    return [{"ResourceType": kind, "Tags": tags.as_list({**_OURS, tags.SHARED: "network", tags.USED_BY: mark})}]
