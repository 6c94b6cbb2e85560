"""What things cost: live where AWS tells it, else a small dated table, else unknown.

On-demand and storage prices come from the Pricing API and are kept on disk for a day; spot prices from the price
history, for ten minutes. Where the API is denied or silent it is left alone for an hour, and the table that travels
with the package answers for the region it was made for; its figures are marked as estimates. A denial is told meanwhile. A price nobody told is
None, never a guess from a type's size.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from gpudash.clock import Clock, iso, parse_iso
from gpudash.errors import GpudashError
from gpudash.model.money import Price
from gpudash.providers.aws.clients import Clients
from gpudash.providers.aws.errors import is_denied, translated

HOURS_PER_MONTH = Decimal(730)
GOOD_FOR = timedelta(hours=24)
SPOT_GOOD_FOR = timedelta(minutes=10)
RETRY_AFTER = timedelta(hours=1)
PRICING_REGION = "us-east-1"
GP3_FREE_IOPS, GP3_FREE_MBPS = 3000, 125


@dataclass(frozen=True, slots=True)
class Volume:
    """One EBS volume."""

    id: str
    size_gb: int
    kind: str
    iops: int = 0
    mbps: int = 0
    goes_with_instance: bool = True
    """Deleted when its instance is terminated."""
    instance_id: str | None = None


@cache
def table() -> dict[str, Any]:
    """The price table that travels with the package."""
    loaded: dict[str, Any] = json.loads((files("gpudash.providers.aws") / "data" / "prices.json").read_text())
    return loaded


class PriceBook:
    """All prices known to one account. Safe to ask from any lane; only the ``refresh`` calls touch the network."""

    def __init__(self, cache_file: Path, clock: Clock) -> None:
        self._file, self._clock = cache_file, clock
        self._lock = threading.Lock()
        self._live: dict[str, dict[str, tuple[Decimal, datetime]]] | None = None
        self._spot: dict[tuple[str, str, str], Decimal] = {}
        self._spot_asked: dict[tuple[str, str], datetime] = {}
        self._leave_alone: dict[tuple[str, str], tuple[datetime, str]] = {}
        self._asked: dict[tuple[str, str], datetime] = {}
        self.generation = 0
        """Grows whenever a price changes; what was computed under an older one is stale."""

    def on_demand(self, region: str, instance_type: str) -> Price | None:
        """List price of a type for Linux, or None."""
        live = self._known(region).get(instance_type)
        if live is not None:
            return Price(live[0], f"pricing API {live[1]:%Y-%m-%d}")
        shipped = table()["on_demand"].get(region, {}).get(instance_type)
        return None if shipped is None else Price(Decimal(shipped), f"table {table()['as_of']}", estimated=True)

    def spot(self, region: str, instance_type: str, zone: str | None) -> Price | None:
        """The newest spot price in a zone, or the lowest of the region's zones where none is named."""
        with self._lock:
            asked = self._spot_asked.get((region, instance_type))
            prices = [
                price
                for (where, kind, place), price in self._spot.items()
                if (where, kind) == (region, instance_type) and zone in (None, place)
            ]
        if not prices or asked is None:
            return None
        return Price(min(prices), f"spot history {asked:%Y-%m-%d %H:%M}", estimated=True)

    def volume(self, region: str, volume: Volume) -> Price | None:
        """What one volume costs an hour, running or not."""
        live = self._known(region).get(f"ebs:{volume.kind}")
        shipped = table()["storage_gb_month"]
        text = shipped.get(region, {}).get(volume.kind) or shipped["us-east-1"].get(volume.kind)
        rate = live[0] if live else Decimal(text) if text else None
        if rate is None:
            return None
        month = rate * volume.size_gb
        if volume.kind == "gp3":
            month += Decimal(table()["gp3_iops_month"]) * max(volume.iops - GP3_FREE_IOPS, 0)
            month += Decimal(table()["gp3_mbps_month"]) * max(volume.mbps - GP3_FREE_MBPS, 0)
        source = f"pricing API {live[1]:%Y-%m-%d}" if live else f"table {table()['as_of']}"
        return Price(month / HOURS_PER_MONTH, source, estimated=live is None)

    def public_ipv4(self) -> Price:
        """One public IPv4 address, in use or idle; the same everywhere."""
        return Price(Decimal(table()["public_ipv4_hour"]), f"table {table()['as_of']}", estimated=True)

    def lacks(self, region: str, *, spot: bool | None = None) -> tuple[str, ...]:
        """What may not be asked there at present, each a sentence with the way out; `spot`: of these prices alone."""
        now = self._clock.now()
        with self._lock:
            self._loaded()
            resting = {what: told for (where, what), told in self._leave_alone.items() if where == region}
        kinds = [what for what, is_spot in (("pricing", False), ("spot", True)) if spot in (None, is_spot)]
        return tuple(
            resting[what][1] for what in kinds if what in resting and now < resting[what][0] and resting[what][1]
        )

    def refresh_on_demand(self, clients: Clients, region: str, instance_types: Iterable[str]) -> None:
        """Ask the Pricing API for what is missing or a day old: at most one question for types and one for disks."""
        missing = [name for name in sorted(set(instance_types)) if self._is_due(region, name)]
        if missing:
            self._ask(clients, region, "instanceType", missing, {"productFamily": "Compute Instance", **_PLAIN_LINUX})
        if self._is_due(region, "ebs"):
            self._ask(clients, region, "volumeApiName", ["ebs"], {"productFamily": "Storage"})

    def refresh_spot(self, clients: Clients, region: str, instance_types: Iterable[str]) -> None:
        """Ask the price history for types that were not asked in the last ten minutes: one question."""
        now = self._clock.now()
        with self._lock:
            due = sorted(
                name
                for name in set(instance_types)
                if now - self._spot_asked.get((region, name), datetime.min.replace(tzinfo=now.tzinfo)) > SPOT_GOOD_FOR
            )
        if not due or self._is_left_alone(region, "spot"):
            return
        try:
            with translated("read spot prices"):
                pages = clients.quick("ec2", region).get_paginator("describe_spot_price_history")
                found = list(pages.paginate(InstanceTypes=due, ProductDescriptions=["Linux/UNIX"], StartTime=now))
        except GpudashError as exc:
            self._rest(region, "spot", "Spot prices are unknown", exc)
            return
        with self._lock:
            self._spot.update(newest_spot(region, [row for page in found for row in page["SpotPriceHistory"]]))
            self._spot_asked.update({(region, name): now for name in due})
            self.generation += 1

    def _ask(self, clients: Clients, region: str, field: str, names: list[str], also: Mapping[str, str]) -> None:
        if self._is_left_alone(region, "pricing"):
            return
        filters = [{"Type": "TERM_MATCH", "Field": key, "Value": value} for key, value in also.items()]
        filters.append({"Type": "TERM_MATCH", "Field": "regionCode", "Value": region})
        if names != ["ebs"]:
            filters.append({"Type": "ANY_OF", "Field": field, "Value": ",".join(names)})
        try:
            with translated("read prices"):
                pages = clients.quick("pricing", PRICING_REGION).get_paginator("get_products")
                rows = [
                    row
                    for page in pages.paginate(ServiceCode="AmazonEC2", Filters=filters)
                    for row in page["PriceList"]
                ]
        except GpudashError as exc:
            self._rest(region, "pricing", f"Prices are those of {table()['as_of']}, or unknown", exc)
            return
        now = self._clock.now()
        prefix = "ebs:" if names == ["ebs"] else ""
        found = {prefix + name: (usd, now) for name, usd in list_prices(rows, field).items()}
        with self._lock:
            self._loaded().setdefault(region, {}).update(found)
            self._asked.update({(region, name): now for name in names})
            self.generation += 1
            self._save()

    def _is_due(self, region: str, name: str) -> bool:
        now = self._clock.now()
        if now - self._asked.get((region, name), now - 2 * GOOD_FOR) < GOOD_FOR:
            return False
        known = self._known(region)
        stamps = [at for key, (_, at) in known.items() if key == name or (name == "ebs" and key.startswith("ebs:"))]
        return not stamps or now - max(stamps) > GOOD_FOR

    def _is_left_alone(self, region: str, what: str) -> bool:
        with self._lock:
            self._loaded()
            resting = self._leave_alone.get((region, what))
        return resting is not None and self._clock.now() < resting[0]

    def _rest(self, region: str, what: str, lacking: str, error: GpudashError) -> None:
        told = f"{lacking}: {error.hint}" if is_denied(error) else ""
        with self._lock:
            self._loaded()
            self._leave_alone[region, what] = self._clock.now() + RETRY_AFTER, told
            self._save()

    def _known(self, region: str) -> Mapping[str, tuple[Decimal, datetime]]:
        with self._lock:
            return self._loaded().get(region, {})

    def _loaded(self) -> dict[str, dict[str, tuple[Decimal, datetime]]]:
        if self._live is None:
            try:
                body = json.loads(self._file.read_text())
                self._live = {
                    region: {name: (Decimal(usd), parse_iso(at)) for name, (usd, at) in prices.items()}
                    for region, prices in body["prices"].items()
                }
                self._leave_alone = {
                    (region, what): (parse_iso(until), told) for region, what, until, told in body["left_alone"]
                }
            except (OSError, ValueError, TypeError, ArithmeticError, AttributeError, KeyError):
                self._live = {}
        return self._live

    def _save(self) -> None:
        prices = {
            region: {name: [str(usd), iso(at)] for name, (usd, at) in prices.items()}
            for region, prices in self._loaded().items()
        }
        left_alone = [[region, what, iso(until), told] for (region, what), (until, told) in self._leave_alone.items()]
        write_whole(self._file, json.dumps({"prices": prices, "left_alone": left_alone}))


_PLAIN_LINUX = {
    "operatingSystem": "Linux",
    "tenancy": "Shared",
    "preInstalledSw": "NA",
    "capacitystatus": "Used",
    "marketoption": "OnDemand",
}


def list_prices(rows: Iterable[str | Mapping[str, Any]], field: str) -> dict[str, Decimal]:
    """Read GetProducts rows: USD by the value of one attribute. Rows without a price above zero tell nothing."""
    found: dict[str, Decimal] = {}
    for row in rows:
        product = json.loads(row) if isinstance(row, str) else row
        name = (product.get("product") or {}).get("attributes", {}).get(field)
        for term in ((product.get("terms") or {}).get("OnDemand") or {}).values():
            for dimension in term.get("priceDimensions", {}).values():
                usd = Decimal(str(dimension.get("pricePerUnit", {}).get("USD", "0")))
                is_storage_extra = field == "volumeApiName" and not str(dimension.get("unit", "")).startswith("GB-")
                if name and usd > 0 and not is_storage_extra:
                    found[name] = usd
    return found


def newest_spot(region: str, rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str, str], Decimal]:
    """The newest price by (region, type, zone) of a price history, whatever the order of its rows."""
    newest: dict[tuple[str, str, str], tuple[datetime, Decimal]] = {}
    for row in rows:
        key = (region, str(row["InstanceType"]), str(row["AvailabilityZone"]))
        if key not in newest or row["Timestamp"] > newest[key][0]:
            newest[key] = (row["Timestamp"], Decimal(str(row["SpotPrice"])))
    return {key: price for key, (_, price) in newest.items()}


def total(prices: Iterable[Price | None]) -> Price | None:
    """The sum of several prices; None as soon as one of them is unknown, or where there are none."""
    known = list(prices)
    if not known or any(price is None for price in known):
        return None
    parts = [price for price in known if price is not None]
    sources = ", ".join(dict.fromkeys(price.source for price in parts))
    return Price(sum((p.usd_per_hour for p in parts), Decimal(0)), sources, any(p.estimated for p in parts))


def write_whole(path: Path, text: str) -> None:
    """Replace a cache file in one step; a cache that cannot be written is no reason to fail."""
    draft = path.with_suffix(f".{threading.get_ident()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft.write_text(text)
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
