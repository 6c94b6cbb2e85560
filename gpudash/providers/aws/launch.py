"""One launch: find out, prepare, ask. Only RunInstances itself can be ambiguous; what comes before leaves nothing.

A second launch with the same token finds the first one by its tag before anything is sent (and EC2 itself answers a
repeated client token with the same instance). Zones are tried one after another, and only after a definite no.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from gpudash.clock import iso
from gpudash.errors import Ambiguous, AuthRefused, NoCapacity, ProviderError
from gpudash.model.offer import LaunchOrder
from gpudash.providers import sshkeys
from gpudash.providers.aws import facts, images, keys, network, request, roles, states, tags
from gpudash.providers.aws.clients import Clients
from gpudash.providers.aws.errors import QUOTA_CODES, allow_first, code_of, is_denied, translated
from gpudash.providers.parents import check_parent
from gpudash.providers.recent import Recent


@dataclass(frozen=True, slots=True)
class Launched:
    """What came of a launch."""

    id: str
    no_role: str | None = None
    """Why it cannot end itself through the API, although it was meant to; None where it can, or will once it is pushed."""


def launch(
    clients: Clients, recent: Recent, order: LaunchOrder, address_source: Callable[[], str], now: datetime
) -> Launched:
    """Ask for one instance. `now` is written on what it shares with others.

    Raises:
        Ambiguous: RunInstances got no answer.
        NoCapacity: no zone has it, or the quota is reached.
        Unsupported: the type cannot do what the policy asks.
        ProviderError: any other definite no.
    """
    request.check_options(order)
    reader, writer = clients.read("ec2", order.region), clients.write("ec2", order.region)
    earlier = find_by_token(reader, order.token)
    if earlier is not None:
        return Launched(earlier)
    _check_parent(reader, order)
    kind = type_facts(reader, order.instance_type)
    request.check_type(order, kind)
    image = images.choose_image(clients.read("ssm", order.region), reader, kind, order.options.get("ami"))
    plan = request.plan(order, kind, image)
    key_name = order.options.get("key_name")
    if key_name is None:
        key = sshkeys.find_public_key(order.options.get("public_key"))
        key_name = keys.ensure_key_pair(reader, writer, key)
    mark = f"{iso(now)} {order.token}"
    places = _places(reader, writer, order, mark)
    named = order.options.get("security_group_id")
    group_ids = [named or _group(reader, writer, order, places[0], address_source, mark)]
    profile = _profile(clients, order)
    refusals: dict[str, list[str]] = {}
    for attempt, place in enumerate(places):
        built = request.build(
            plan,
            client_token=_client_token(order.token, attempt),
            subnet_id=place.id,
            group_ids=group_ids,
            key_name=key_name,
            profile=profile.name,
        )
        try:
            made = _run(writer, recent, order, built, may_drop_profile="instance_profile" not in order.options)
            return replace(made, no_role=made.no_role or profile.problem)
        except NoCapacity as exc:
            refusals.setdefault(exc.text, []).append(place.zone)
            if code_of(exc.__cause__) in QUOTA_CODES:
                raise
            last = exc
    told = " ".join(f"{', '.join(zones)}: {text}" for text, zones in refusals.items())
    raise NoCapacity(told, hint=last.hint or "Try another region or type.") from last


def type_facts(reader: Any, instance_type: str) -> facts.TypeFacts:
    """The type as EC2 describes it in this region.

    Raises:
        NoCapacity: the region does not have it.
    """
    with translated(f"read type {instance_type}"):
        found = facts.fetch(reader, [instance_type])
    if instance_type not in found:
        raise NoCapacity(f"This region has no type {instance_type}.", hint="`gpudash offers` lists what it has.")
    return found[instance_type]


def _check_parent(reader: Any, order: LaunchOrder) -> None:
    """Before anything is made: the parent is known, ours and alive."""
    parent = order.options.get("parent")
    if parent is None:
        return
    with translated("look for the parent"):
        asked = [{"Name": "instance-id", "Values": [parent]}]
        pages = reader.get_paginator("describe_instances").paginate(Filters=asked)
        found = [i for page in pages for r in page["Reservations"] for i in r["Instances"]]
    managed = tags.as_dict(found[0].get("Tags")).get(tags.MANAGED) == "true" if found else None
    ended = bool(found) and states.provider_state(found[0]) in ("terminated", "shutting-down")
    check_parent(parent, order.region, managed=managed, ended=ended)


def find_by_token(reader: Any, token: str) -> str | None:
    """The instance that an earlier launch with this token made, unless it has ended."""
    with translated("look for an earlier launch"):
        pages = reader.get_paginator("describe_instances").paginate(
            Filters=[{"Name": f"tag:{tags.LAUNCH_TOKEN}", "Values": [token]}]
        )
        found = [i for page in pages for r in page["Reservations"] for i in r["Instances"]]
    alive = [i for i in found if (i.get("State") or {}).get("Name") not in ("terminated", "shutting-down")]
    return str(alive[0]["InstanceId"]) if alive else None


def _run(writer: Any, recent: Recent, order: LaunchOrder, built: dict[str, Any], *, may_drop_profile: bool) -> Launched:
    try:
        return Launched(_run_once(writer, recent, order, built))
    except (AuthRefused, ProviderError) as exc:
        # A profile that EC2 does not know yet, or a role that may not be handed over, must not prevent the launch:
        # the box then ends itself by power-off, and the profile is attached when statusd is pushed.
        is_profile = "IamInstanceProfile" in built and may_drop_profile
        if not is_profile or not _speaks_of_profile(exc):
            raise
        # EC2 may hide what was denied; what goes through without the profile is the right to hand it over.
        told = f"{exc.text} {allow_first('iam:PassRole')}" if is_denied(exc) else str(exc)
    without = {key: value for key, value in built.items() if key != "IamInstanceProfile"}
    without["ClientToken"] = _client_token(built["ClientToken"], 100)
    return Launched(_run_once(writer, recent, order, without), no_role=told)


def _run_once(writer: Any, recent: Recent, order: LaunchOrder, built: dict[str, Any]) -> str:
    try:
        with translated(f"launch {order.instance_type}", write=True):
            record = writer.run_instances(**built)["Instances"][0]
    except Ambiguous:
        recent.unanswered(order.region, order.token)
        raise
    recent.accepted(order.region, str(record["InstanceId"]), record)
    return str(record["InstanceId"])


def _speaks_of_profile(exc: ProviderError) -> bool:
    code = code_of(exc.__cause__)
    words = str(exc.__cause__).lower()
    return (
        code == "UnauthorizedOperation"
        or (code.startswith("Invalid") and "instance profile" in words)
        or ("iam:passrole" in words)
    )


def _places(reader: Any, writer: Any, order: LaunchOrder, mark: str) -> list[network.Subnet]:
    zone = order.options.get("availability_zone")
    found = network.places(reader, order.instance_type, zone, order.options.get("subnet_id"))
    if found:
        return found
    zone = zone or min(network.offered_zones(reader, order.instance_type))
    return [network.make_network(reader, writer, zone, mark)]


def _group(
    reader: Any, writer: Any, order: LaunchOrder, place: network.Subnet, address_source: Callable[[], str], mark: str
) -> str:
    source = network.ssh_source(order.options.get("ssh_cidr") or address_source())
    return network.ensure_group(reader, writer, place.vpc_id, source, mark)


def _profile(clients: Clients, order: LaunchOrder) -> roles.Profile:
    named = order.options.get("instance_profile")
    if named is not None:
        return roles.Profile(None if named == "none" else named)
    home = clients.home_region()
    found = roles.ensure_profile(clients.quick("iam", home), clients.write("iam", home))
    return roles.Profile(None) if found.is_new else found


def _client_token(token: str, attempt: int) -> str:
    whole = token if attempt == 0 else f"{token}.{attempt}"
    return whole if len(whole) <= 64 and whole.isascii() else hashlib.sha256(whole.encode()).hexdigest()
