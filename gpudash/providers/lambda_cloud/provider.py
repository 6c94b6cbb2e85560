"""The adapter of one Lambda account: the provider contract on one side, the subjects of this folder on the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gpudash.clock import Clock
from gpudash.errors import ProviderError, Refused, Unreachable, Unsupported
from gpudash.model.capability import Verb
from gpudash.model.instance import EVERYWHERE, Instance, InstanceKey
from gpudash.model.listing import Listing
from gpudash.model.offer import LaunchOrder, Offer, OfferFilter
from gpudash.providers.base import Leftover
from gpudash.providers.http import Timeouts, segment
from gpudash.providers.lambda_cloud import CAPABILITIES
from gpudash.providers.lambda_cloud.api import GONE, launch_throttle, make_api
from gpudash.providers.lambda_cloud.catalogue import Catalogue
from gpudash.providers.lambda_cloud.keys import Keys
from gpudash.providers.lambda_cloud.labels import NAME_LIMIT, marked_name, shown_name
from gpudash.providers.lambda_cloud.parse import leftover_of, offers_of, parse_instance
from gpudash.providers.recent import Recent

if TYPE_CHECKING:
    from gpudash.config import Account

VISIBLE_AFTER_S = 60.0
"""Lambda shows a new instance within that time."""
ENDED = frozenset({"terminating", "terminated", "preempted"})


class LambdaProvider:
    """One account at Lambda. One list covers all regions, so there is one lane."""

    provider = "lambda"
    capabilities = CAPABILITIES

    def __init__(
        self,
        account: Account,
        clock: Clock,
        *,
        timeouts: Timeouts | None = None,
        visible_after_s: float = VISIBLE_AFTER_S,
    ) -> None:
        self.account: str = account.name
        self._clock = clock
        self._regions = tuple(account.regions or ())
        self._key_on_hosts: bool = account.key_on_hosts
        self.api = make_api(account, clock, timeouts)
        self._launches = launch_throttle(clock)
        self._catalogue = Catalogue(self.api, clock)
        self._keys = Keys(self.api)
        self._recent = Recent(clock, visible_after_s)
        self._mounted: dict[str, str] = {}

    def regions(self) -> tuple[str, ...]:
        """One lane for all."""
        return (EVERYWHERE,)

    def list_instances(self, region: str) -> Listing[Instance]:
        """Every instance of the account in one call; a record that cannot be read makes the listing incomplete."""
        asked_at = self._clock.now()
        data = self.api.read("GET", "/instances", "list instances").get("data")
        if not isinstance(data, list):
            raise self.api.lost("list instances", "no instances in the answer")
        items, problem = self._parse(data)
        if problem is None:
            late = self._recent.missing(EVERYWHERE, (item.key.id for item in items))
            items += self._parse(late)[0]
            if self._recent.still_unproved(EVERYWHERE, (item.launch_token for item in items)):
                problem = (
                    "a launch got no answer a moment ago; Lambda may show it late, so nothing counts as absent yet"
                )
            self._mounted = {name: item.key.id for item in items for name in _filesystems(item)}
        wanted = [item for item in items if self._is_watched(item)]
        return Listing(self.account, EVERYWHERE, tuple(wanted), problem is None, asked_at, self._clock.now(), problem)

    def list_offers(self, wanted: OfferFilter) -> Listing[Offer]:
        """Types with a GPU, one offer a region with stock. With a type named, that one, GPU or not."""
        types, asked_at = self._catalogue.types()
        offers = [
            offer
            for facts in types.values()
            if facts.gpu_count or wanted.instance_type == facts.name
            for offer in offers_of(facts, self.account, asked_at)
            if wanted.accepts(offer) and (not self._regions or offer.region in self._regions)
        ]
        return Listing(self.account, EVERYWHERE, tuple(offers), True, asked_at, self._clock.now())

    def list_leftovers(self) -> Listing[Leftover]:
        """Filesystems, which bill with and without a machine; those in use name it where it is known."""
        from gpudash.providers.lambda_cloud.launch import read_filesystems

        asked_at = self._clock.now()
        items = tuple(
            leftover_of(item, self.account, self._mounted.get(item.name) if item.is_in_use else None)
            for item in read_filesystems(self.api)
        )
        return Listing(self.account, EVERYWHERE, items, True, asked_at, self._clock.now())

    def launch(self, order: LaunchOrder) -> InstanceKey:
        """Check type, stock, filesystem and key, then ask once."""
        from gpudash.providers.lambda_cloud.launch import launch

        made = launch(self.api, self._launches, self._catalogue, self._keys, self._recent, order)
        return InstanceKey(self.account, EVERYWHERE, made)

    def start(self, key: InstanceKey) -> None:
        """Lambda has nothing to start."""
        raise self._cannot(Verb.START)

    def stop(self, key: InstanceKey) -> None:
        """Lambda has no stop."""
        raise self._cannot(Verb.STOP)

    def hibernate(self, key: InstanceKey) -> None:
        """Lambda has no stop, with or without memory."""
        raise self._cannot(Verb.HIBERNATE)

    def terminate(self, key: InstanceKey) -> None:
        """Ask for the end. Unknown is success, and so is one that is ending already, which Lambda answers with 500."""
        doing = f"terminate {key.id}"
        try:
            self.api.write("POST", "/instance-operations/terminate", doing, json={"instance_ids": [key.id]})
        except ProviderError as exc:
            if exc.code == GONE:
                if self._recent.is_fresh(key.id):
                    raise Unreachable(f"{key.id} was launched a moment ago; Lambda does not show it yet.") from exc
                return
            if exc.status is None or exc.status < 400 or not isinstance(exc, Unreachable) or not self._is_ending(key):
                raise
        self._recent.forget(key.id)

    def is_gone(self, key: InstanceKey) -> bool:
        """Whether Lambda, asked for it by its id, says that it ended or never was."""
        return self._status_of(key) in ("terminated", "preempted", GONE)

    def restart(self, key: InstanceKey) -> None:
        """Ask for a restart; a conflict with another change that is under way is a definite no."""
        self.api.write("POST", "/instance-operations/restart", f"restart {key.id}", json={"instance_ids": [key.id]})

    def rename(self, instance: Instance, name: str) -> None:
        """Rename it; a token of ours in the name stays there.

        Raises:
            Refused: longer than Lambda takes.
        """
        token = instance.launch_token
        text = marked_name(name, token) if token else name
        if len(text) > NAME_LIMIT or shown_name(text) != name:
            room = NAME_LIMIT - (len(marked_name("", token)) if token else 0)
            raise Refused(f"Lambda takes a name of at most {room} characters here; {name} has {len(name)}.")
        self.api.write(
            "POST", f"/instances/{segment(instance.key.id)}", f"rename {instance.key.id}", json={"name": text}
        )

    def set_tags(self, key: InstanceKey, tags: Mapping[str, str]) -> None:
        """Tags at Lambda are given at launch and never change."""
        raise Unsupported("Lambda's tags cannot be changed after the launch.", hint="The limits stand in the ledger.")

    def end_spec(self, key: InstanceKey) -> Mapping[str, object]:
        """Lambda has no key for one machine, and a power-off goes on billing, so the end comes from outside.

        Only where the person agreed, in so many words, to put the account's key on its hosts, one call with that key,
        and only from the machine whose address or hostname stands in Lambda's record of that id.
        """
        if not self._key_on_hosts:
            return {"method": "none"}
        url = f"{self.api.base_url}/instance-operations/terminate"
        step = {
            "method": "http",
            "verb": "POST",
            "url": url,
            "body": {"instance_ids": [key.id]},
            "token_file": "account.key",
            "self_url": f"{self.api.base_url}/instances/{segment(key.id)}",
            "self_fields": ["data.private_ip", "data.hostname"],
            "ok_json": {"error": None},
        }
        return {"method": "chain", "terminate": [step]}

    def close(self) -> None:
        """Let go of connections."""
        self.api.close()

    def _parse(self, records: list[Any]) -> tuple[list[Instance], str | None]:
        files = self._keys.identity_files()
        readable = [record for record in records if isinstance(record, dict) and isinstance(record.get("id"), str)]
        items = [parse_instance(record, self.account, files) for record in readable]
        lost = len(records) - len(readable)
        return items, f"{lost} of {len(records)} instances could not be read" if lost else None

    def _is_watched(self, instance: Instance) -> bool:
        """What the settings name, and whatever is ours or has no region."""
        return not self._regions or instance.managed or instance.place in (None, *self._regions)

    def _is_ending(self, key: InstanceKey) -> bool:
        """Whether Lambda says that it is on its way out, or gone."""
        try:
            return self._status_of(key) in {*ENDED, GONE}
        except ProviderError:
            return False

    def _status_of(self, key: InstanceKey) -> str | None:
        """Lambda's word for one instance, or `GONE`; None for one launched a moment ago, which it may not show yet."""
        try:
            body = self.api.read("GET", f"/instances/{segment(key.id)}", f"look at {key.id}")
        except ProviderError as exc:
            if exc.code != GONE:
                raise
            return None if self._recent.is_fresh(key.id) else GONE
        data = body.get("data")
        return str(data.get("status")) if isinstance(data, dict) else None

    def _cannot(self, verb: Verb) -> Unsupported:
        return Unsupported(CAPABILITIES.why_not[verb])


def _filesystems(instance: Instance) -> list[str]:
    names = instance.raw.get("file_system_names")
    return [str(name) for name in names] if isinstance(names, list) else []
