"""One launch: look whether it can be, then ask once. Only the launch itself can be ambiguous."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpudash.errors import Ambiguous, NoCapacity, ProviderError
from gpudash.model.instance import EVERYWHERE
from gpudash.model.offer import LaunchOrder
from gpudash.providers.http import Api, Throttle
from gpudash.providers.lambda_cloud import request
from gpudash.providers.lambda_cloud.api import FULL, GONE
from gpudash.providers.lambda_cloud.catalogue import Catalogue, alternatives
from gpudash.providers.lambda_cloud.keys import Keys
from gpudash.providers.lambda_cloud.parse import Filesystem, TypeFacts, parse_filesystem
from gpudash.providers.recent import Recent


def launch(api: Api, throttle: Throttle, catalogue: Catalogue, keys: Keys, recent: Recent, order: LaunchOrder) -> str:
    """Ask for one instance and return its id.

    Raises:
        Ambiguous: the launch got no answer.
        NoCapacity: no stock there; the hint names up to three alternatives.
        ProviderError: no such type, filesystem or key, or any other definite no.
    """
    request.check(order)
    types, _ = catalogue.types()
    facts = _check_stock(order, types)
    _check_filesystems(api, order)
    key_name = keys.name_for(order.options.get("ssh_key_name"), order.options.get("public_key"))
    body = request.build(order, key_name)
    try:
        instance_id = _send(api, throttle, order, body)
    except Ambiguous:
        recent.unanswered(EVERYWHERE, order.token)
        raise
    except NoCapacity as exc:
        catalogue.forget()
        if exc.code == FULL:
            raise _no_stock(exc.text, facts, order, types) from exc
        raise
    except ProviderError as exc:
        if exc.code == GONE:
            keys.forget()
        raise
    recent.accepted(EVERYWHERE, instance_id, _as_listed(instance_id, body, facts))
    return instance_id


def read_filesystems(api: Api) -> list[Filesystem]:
    """Every filesystem of the account."""
    data = api.read("GET", "/file-systems", "list filesystems").get("data")
    if not isinstance(data, list):
        raise api.lost("list filesystems", "no filesystems in the answer")
    return [parse_filesystem(item) for item in data if isinstance(item, dict) and item.get("id")]


def _send(api: Api, throttle: Throttle, order: LaunchOrder, body: Mapping[str, Any]) -> str:
    doing = f"launch {order.instance_type} in {order.region}"
    answer = api.write("POST", "/instance-operations/launch", doing, json=body, throttle=throttle)
    data = answer.get("data")
    ids = data.get("instance_ids") if isinstance(data, dict) else None
    if not isinstance(ids, list) or not ids or not isinstance(ids[0], str):
        raise api.lost(doing, "no id in the answer", write=True)
    return ids[0]


def _check_stock(order: LaunchOrder, types: Mapping[str, TypeFacts]) -> TypeFacts:
    facts = types.get(order.instance_type)
    if facts is None:
        raise ProviderError(
            f"Lambda has no type {order.instance_type}.", hint="`gpudash offers --account` lists what it has."
        )
    if order.region not in facts.regions:
        raise _no_stock(f"Lambda has no {facts.name} in {order.region or 'any region'} now.", facts, order, types)
    return facts


def _no_stock(text: str, facts: TypeFacts, order: LaunchOrder, types: Mapping[str, TypeFacts]) -> NoCapacity:
    closest = alternatives(facts, order.region, types, fixed_region=bool(request.filesystems(order)))
    hint = f"Closest: {'; '.join(closest)}." if closest else "Nothing that could take its place has stock either."
    return NoCapacity(text, hint=hint)


def _check_filesystems(api: Api, order: LaunchOrder) -> None:
    wanted = request.filesystems(order)
    if not wanted:
        return
    held = read_filesystems(api)
    for name in wanted:
        places = [item.region for item in held if item.name == name]
        if not places:
            known = ", ".join(sorted(item.name for item in held)) or "none"
            raise ProviderError(f"Lambda has no filesystem {name}.", hint=f"It has: {known}.")
        if order.region not in places:
            raise ProviderError(
                f"Filesystem {name} is in {', '.join(places)}, not in {order.region}.",
                hint=f"It goes with machines of its own region only: --region {places[0]}",
            )


def _as_listed(instance_id: str, body: Mapping[str, Any], facts: TypeFacts) -> dict[str, Any]:
    """The record that stands for it until Lambda lists it."""
    cents = None if facts.price is None else int(facts.price.usd_per_hour * 100)
    gpu = f"{facts.gpu} ({facts.vram_gb} GB)" if facts.vram_gb else facts.gpu
    return {
        "id": instance_id,
        "name": body["name"],
        "status": "booting",
        "tags": body["tags"],
        "ssh_key_names": body["ssh_key_names"],
        "file_system_names": body.get("file_system_names", []),
        "region": {"name": body["region_name"]},
        "instance_type": {
            "name": facts.name,
            "gpu_description": gpu,
            "price_cents_per_hour": cents,
            "specs": {"gpus": facts.gpu_count, "storage_gib": facts.disk_gb},
        },
    }
