"""What a listing needs beside the listing: instance types, disks, login users, prices. Asked once and remembered.

In a cycle where nothing is new, no call is made here at all: the describe stream is the only traffic of a region.
Where a permission is missing the value stays unknown, the listing says so, and the question rests for ten minutes.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from gpudash.clock import Clock, iso, parse_iso
from gpudash.errors import GpudashError
from gpudash.providers import sshkeys
from gpudash.providers.aws import facts
from gpudash.providers.aws.clients import Clients
from gpudash.providers.aws.errors import code_of, is_denied, translated
from gpudash.providers.aws.facts import TypeFacts
from gpudash.providers.aws.parse import Known, login_user, volume_ids
from gpudash.providers.aws.prices import PriceBook, Volume, write_whole

FILTER_VALUES = 200
"""EC2 takes that many values in one filter."""
RESTS = timedelta(minutes=10)
VOLUMES_GOOD_FOR = timedelta(days=1)
_UNKNOWN = {
    "types": "GPU and memory of new instance types are unknown",
    "volumes": "What disks cost is unknown",
    "images": "Who logs in is a guess where no tag says it",
}
"""What is missing where a question is denied."""


class Surroundings:
    """Facts of one account, by region where they differ. Safe to use from several lanes."""

    def __init__(self, clients: Clients, clock: Clock, folder: Path) -> None:
        self._clients, self._clock, self._folder = clients, clock, folder
        self.prices = PriceBook(folder / "prices.json", clock)
        self._lock = threading.Lock()
        self._types: dict[str, TypeFacts] = {}
        self._types_read = False
        self._volumes: dict[str, dict[str, Volume]] = {}
        self._volumes_since: dict[str, datetime] = {}
        self._users: dict[str, str] = {}
        self._rests: dict[tuple[str, str], datetime] = {}
        self._lacks: dict[tuple[str, str], str] = {}
        self._identity_files: Mapping[str, str] | None = None
        self._generation = 0

    @property
    def generation(self) -> int:
        """Grows whenever something that a parsed instance rests on has changed."""
        return self._generation + self.prices.generation

    def learn(self, region: str, records: Iterable[Mapping[str, Any]]) -> None:
        """Ask, in bulk, for what these records mention and is not known yet."""
        seen = [record for record in records if (record.get("State") or {}).get("Name") != "terminated"]
        kinds = {str(record["InstanceType"]) for record in seen if record.get("InstanceType")}
        self._learn_types(region, kinds)
        self._learn_volumes(region, {volume for record in seen for volume in volume_ids(record)})
        self._learn_users(region, {str(record["ImageId"]) for record in seen if record.get("ImageId")})
        spot = {str(record["InstanceType"]) for record in seen if record.get("InstanceLifecycle") == "spot"}
        if seen:
            self.prices.refresh_on_demand(self._clients, region, kinds)
        if spot:
            self.prices.refresh_spot(self._clients, region, spot)

    def lacks(self, region: str) -> tuple[str, ...]:
        """What may not be asked there, each a sentence with the way out."""
        mine = tuple(text for (where, _), text in sorted(self._lacks.items()) if where == region)
        return mine + self.prices.lacks(region)

    def known(self, region: str) -> Known:
        """What a parse needs, as it stands."""
        if self._identity_files is None:
            self._identity_files = sshkeys.identity_files()
        prices = self.prices
        return Known(
            types={**facts.shipped(), **self._types},
            volumes=self._volumes.get(region, {}),
            users=self._users,
            identity_files=self._identity_files,
            on_demand=lambda kind: prices.on_demand(region, kind),
            spot=lambda kind, zone: prices.spot(region, kind, zone),
            volume_price=lambda volume: prices.volume(region, volume),
            address_price=prices.public_ipv4(),
        )

    def type_facts(self, name: str) -> TypeFacts | None:
        """A type as far as it is known without asking."""
        return self._types.get(name) or facts.shipped().get(name)

    def remember_types(self, found: Mapping[str, TypeFacts]) -> None:
        """Keep types that somebody else asked for."""
        with self._lock:
            self._types.update(found)
            self._generation += 1

    def remember_volumes(self, region: str, volumes: Iterable[Volume]) -> None:
        """Keep disks that somebody else listed."""
        with self._lock:
            known = self._volumes.setdefault(region, {})
            for volume in volumes:
                if known.get(volume.id) != volume:
                    known[volume.id] = volume
                    self._generation += 1

    def _learn_types(self, region: str, names: set[str]) -> None:
        if not self._types_read:
            self._types_read = True
            self._types.update(_read_types(self._folder / "types.json"))
        unknown = {name for name in names if self.type_facts(name) is None}
        found = self._try(region, "types", unknown, lambda ask: facts.fetch(self._clients.quick("ec2", region), ask))
        if found:
            self.remember_types(found)
            body = {name: facts.dump_type(known) for name, known in self._types.items()}
            write_whole(self._folder / "types.json", json.dumps(body))

    def _learn_volumes(self, region: str, ids: set[str]) -> None:
        self._recall_volumes(region)
        unknown = ids - self._volumes[region].keys()
        found = self._try(region, "volumes", unknown, lambda ask: self._describe_volumes(region, ask))
        if found:
            self.remember_volumes(region, found)
            self._keep_volumes(region)

    def _recall_volumes(self, region: str) -> None:
        """What an earlier program learned, and once a day nothing: a disk can be enlarged."""
        now = self._clock.now()
        since = self._volumes_since.get(region)
        if since is None:
            since, volumes = _read_volumes(self._folder / f"volumes-{region}.json")
            with self._lock:
                self._volumes[region] = volumes
                self._volumes_since[region] = since or now
        if now - self._volumes_since[region] > VOLUMES_GOOD_FOR:
            with self._lock:
                self._volumes[region], self._volumes_since[region] = {}, now

    def _keep_volumes(self, region: str) -> None:
        rows = [asdict(volume) for volume in self._volumes[region].values()]
        body = {"since": iso(self._volumes_since[region]), "volumes": rows}
        write_whole(self._folder / f"volumes-{region}.json", json.dumps(body))

    def _learn_users(self, region: str, ids: set[str]) -> None:
        unknown = ids - self._users.keys()
        found = self._try(region, "images", unknown, lambda ask: self._describe_images(region, ask))
        if found is not None:
            with self._lock:
                self._users.update({image: login_user(found.get(image, "")) for image in unknown})
                self._generation += 1

    def _try(self, region: str, what: str, unknown: set[str], ask: Callable[[list[str]], Any]) -> Any:
        now = self._clock.now()
        rests_until = self._rests.get((region, what))
        if not unknown or (rests_until is not None and now < rests_until):
            return None
        try:
            with translated(f"read {what}"):
                found = ask(sorted(unknown))
        except GpudashError as exc:
            self._rests[region, what] = now + RESTS
            if is_denied(exc):
                self._lacks[region, what] = f"{_UNKNOWN[what]}: {exc.hint}"
            return None
        self._lacks.pop((region, what), None)
        return found

    def _describe_volumes(self, region: str, ids: list[str]) -> list[Volume]:
        client = self._clients.read("ec2", region)
        found: list[Volume] = []
        for start in range(0, len(ids), FILTER_VALUES):
            part = ids[start : start + FILTER_VALUES]
            try:
                records = client.describe_volumes(VolumeIds=part)["Volumes"]
            except Exception as exc:
                if code_of(exc) != "InvalidVolume.NotFound":
                    raise
                # One that is gone spoils a whole list of ids; a filter passes it over, and costs EC2 more.
                records = client.describe_volumes(Filters=[{"Name": "volume-id", "Values": part}])["Volumes"]
            found.extend(map(parse_volume, records))
        return found

    def _describe_images(self, region: str, ids: list[str]) -> dict[str, str]:
        client = self._clients.quick("ec2", region)
        found: dict[str, str] = {}
        for start in range(0, len(ids), FILTER_VALUES):
            asked = [{"Name": "image-id", "Values": ids[start : start + FILTER_VALUES]}]
            images = client.describe_images(Filters=asked)["Images"]
            found.update({image["ImageId"]: image.get("Name", "") for image in images})
        return found


def parse_volume(record: Mapping[str, Any]) -> Volume:
    """One DescribeVolumes record."""
    attachments = record.get("Attachments") or []
    return Volume(
        id=str(record["VolumeId"]),
        size_gb=int(record["Size"]),
        kind=str(record.get("VolumeType") or "standard"),
        iops=int(record.get("Iops") or 0),
        mbps=int(record.get("Throughput") or 0),
        goes_with_instance=bool(attachments[0].get("DeleteOnTermination", True)) if attachments else False,
        instance_id=str(attachments[0]["InstanceId"]) if attachments else None,
    )


def _read_volumes(path: Path) -> tuple[datetime | None, dict[str, Volume]]:
    try:
        body = json.loads(path.read_text())
        return parse_iso(body["since"]), {row["id"]: Volume(**row) for row in body["volumes"]}
    except (OSError, ValueError, TypeError, KeyError):
        return None, {}


def _read_types(path: Path) -> dict[str, TypeFacts]:
    try:
        return {name: facts.load_type(name, body) for name, body in json.loads(path.read_text()).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
