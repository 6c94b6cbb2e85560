"""The adapter of one RunPod account: the provider contract on one side, the subjects of this folder on the other."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gpudash.clock import Clock
from gpudash.errors import GpudashError, ProviderError, Unsupported
from gpudash.model.balance import Balance
from gpudash.model.capability import Verb
from gpudash.model.instance import EVERYWHERE, Instance, InstanceKey, InstanceState
from gpudash.model.listing import Listing
from gpudash.model.offer import LaunchOrder, Offer, OfferFilter
from gpudash.providers import sshkeys
from gpudash.providers.base import Endpoints, Leftover
from gpudash.providers.http import Timeouts, segment
from gpudash.providers.runpod import CAPABILITIES, account_keys, ending, money, request, storage
from gpudash.providers.runpod.catalogue import ANYWHERE, COMMUNITY, SECURE, Catalogue, offers_of, type_name
from gpudash.providers.runpod.pods import Around, parse_pod, state_of
from gpudash.providers.runpod.seen import Seen
from gpudash.providers.runpod.serverless import Serverless
from gpudash.providers.runpod.surfaces import every_page, surfaces

if TYPE_CHECKING:
    from gpudash.config import Account

NAMES_S = 0.25
"""How long a list of pods that is there waits for names of GPUs that are still on their way."""
_UP = frozenset({InstanceState.PENDING, InstanceState.STARTING, InstanceState.RUNNING})


class RunpodProvider:
    """One account at RunPod. Safe from any thread."""

    provider = "runpod"
    capabilities = CAPABILITIES

    def __init__(self, account: Account, clock: Clock, *, timeouts: Timeouts | None = None) -> None:
        from gpudash.config import credential

        self.account: str = account.name
        self._clock = clock
        self._surfaces = surfaces(account, clock, lambda: credential(account), timeouts)
        self._rest = self._surfaces.rest
        self._catalogue = Catalogue(self._surfaces.catalogue, clock)
        self._seen = Seen()
        self._serverless = Serverless(self.account, self._surfaces, self._catalogue, clock)
        self.endpoints: Endpoints = self._serverless
        self._keys_lock = threading.Lock()
        self._own_keys: Mapping[str, str | None] | None = None

    def regions(self) -> tuple[str, ...]:
        """One list covers all data centres."""
        return (EVERYWHERE,)

    def list_instances(self, region: str) -> Listing[Instance]:
        """All pods, those of clusters too, in one call a page; names of GPUs come from a catalogue of the last hour."""
        asked_at = self._clock.now()
        self._catalogue.refresh()
        records, problem = every_page(self._rest, "/pods", "pods", "list pods", {"includeClusterPods": "true"})
        around = self._around()
        now = self._clock.now()
        pods = tuple(self._seen.complete(parse_pod(record, around), now) for record in records)
        unmarked = [record for record in records if not isinstance(record.get("env"), dict)]
        if problem is None and unmarked:
            problem = f"{len(unmarked)} of the pods came without variables, so launches cannot be told apart"
        if problem is None:
            self._seen.keep_only(pod.key.id for pod in pods)
        return Listing(self.account, EVERYWHERE, pods, problem is None, asked_at, now, problem)

    def list_offers(self, wanted: OfferFilter) -> Listing[Offer]:
        """Types of both clouds. Stock is asked for the wanted number of GPUs, else for one.

        Without a region an offer leaves the data centre to RunPod; with one it is that data centre's stock.
        """
        asked_at = self._clock.now()
        if wanted.account not in (None, self.account) or wanted.spot:
            return Listing(self.account, "", (), True, asked_at, asked_at)
        named = type_name(wanted.instance_type) if wanted.instance_type else None
        count = wanted.gpus or (named.count if named else 1)
        found: list[Offer] = []
        problem: str | None = None
        for cloud in (SECURE, COMMUNITY):
            try:
                types = self._catalogue.with_stock(cloud, count)
            except GpudashError as exc:
                if cloud == SECURE:
                    raise
                problem = exc.text
                break
            for gpu in types:
                for place in wanted.places or (ANYWHERE,):
                    found += offers_of(gpu, cloud, count, wanted.gpus, place, self.account, self._clock.now())
        chosen = tuple(offer for offer in found if wanted.accepts(offer))
        return Listing(self.account, "", chosen, problem is None, asked_at, self._clock.now(), problem)

    def list_leftovers(self) -> Listing[Leftover]:
        """Volumes of stopped pods, network volumes, and workers that are kept warm."""
        pods = self.list_instances(EVERYWHERE)
        found = [disk for pod in pods.items if (disk := storage.stopped_disk(pod)) is not None]
        problem = pods.problem
        for part in (self._network_volumes, self._serverless.leftovers):
            try:
                more, short = part()
            except GpudashError as exc:
                more, short = [], exc.text
            found += more
            problem = problem or short
        return Listing(self.account, "", tuple(found), problem is None, pods.asked_at, self._clock.now(), problem)

    def launch(self, order: LaunchOrder) -> InstanceKey:
        """Ask for one pod; see `options`. It carries the token in a variable; never asked twice."""
        request.check(order)
        name, gpu = self._catalogue.resolve(order.instance_type)
        template = self._template(order)
        key = sshkeys.find_public_key(order.options.get("public_key"))
        body = request.body_of(order, name, account_keys.keys_with(self._rest, key), template)
        doing = f"launch {gpu.name} as {order.name}"
        reply: dict[str, Any] = self._rest.write("POST", "/pods", doing, json=body)
        identity = reply.get("id")
        if not isinstance(identity, str) or not identity:
            raise self._rest.lost(doing, "the answer names no pod", write=True)
        return InstanceKey(self.account, EVERYWHERE, identity)

    def start(self, key: InstanceKey) -> None:
        """Start a stopped pod on the host it is tied to; no free GPU there is `NoCapacity`."""
        self._act(key, "start", _UP)

    def stop(self, key: InstanceKey) -> None:
        """Stop; the container disk is wiped, the volume stays and bills double."""
        self._act(key, "stop", frozenset({InstanceState.STOPPED}))

    def restart(self, key: InstanceKey) -> None:
        """Start the container of a running pod anew; its disk is wiped, its volume stays."""
        self._act(key, "restart", frozenset())

    def hibernate(self, key: InstanceKey) -> None:
        """RunPod has no such verb."""
        raise Unsupported(CAPABILITIES.why_not[Verb.HIBERNATE])

    def terminate(self, key: InstanceKey) -> None:
        """Delete the pod with its disks. An unknown id is success."""
        try:
            self._rest.write("DELETE", f"/pods/{segment(key.id)}", f"terminate {key.id}", expect=None)
        except ProviderError as exc:
            if exc.status != 404:
                raise

    def is_gone(self, key: InstanceKey) -> bool:
        """Whether RunPod, asked for it by its id, does not know it, or says that it is terminated."""
        try:
            return state_of(self._rest.read("GET", f"/pods/{segment(key.id)}", f"look at {key.id}")).is_terminal
        except ProviderError as exc:
            if exc.status != 404:
                raise
            return True

    def rename(self, instance: Instance, name: str) -> None:
        """Change the name and nothing else, so that the container goes on as it is."""
        path, doing = f"/pods/{segment(instance.key.id)}", f"rename {instance.key.id}"
        self._rest.write("PATCH", path, doing, json={"name": name})

    def set_tags(self, key: InstanceKey, tags: Mapping[str, str]) -> None:
        """Pods have no tags, and a changed variable would reset the container."""
        raise Unsupported("RunPod keeps no tags on pods; limits live on the host and in the ledger.")

    def end_spec(self, key: InstanceKey) -> Mapping[str, object]:
        """A pod ends itself with the key that RunPod gave it for itself alone; see `ending`."""
        graphql, rest = self._surfaces.graphql.base_url, self._rest.base_url
        actions = ("stop", "terminate")
        return {"method": "chain"} | {action: ending.chain(action, key.id, graphql, rest) for action in actions}

    def balance(self) -> Balance:
        """What is left, and what RunPod counts as spent an hour."""
        return money.balance(self._surfaces.graphql, self.account, self._clock.now())

    def close(self) -> None:
        """Let go of connections."""
        self._surfaces.close()

    def _network_volumes(self) -> tuple[list[Leftover], str | None]:
        volumes, problem = every_page(self._rest, "/network-volumes", "networkVolumes", "list network volumes")
        return [storage.network_volume(record, self.account) for record in volumes], problem

    def _act(self, key: InstanceKey, action: str, done: frozenset[InstanceState]) -> None:
        """Ask for a verb. A 409 is success where the pod is already what was wanted."""
        path, doing = f"/pods/{segment(key.id)}", f"{action} {key.id}"
        try:
            self._rest.write("POST", f"{path}/action", doing, json={"action": action}, expect=None)
        except ProviderError as exc:
            if exc.status == 404:
                raise self._gone(exc, doing) from exc
            if exc.status != 409 or state_of(self._rest.read("GET", path, f"look at {key.id}")) not in done:
                raise

    def _gone(self, exc: ProviderError, doing: str) -> ProviderError:
        gone = ProviderError(
            f"Could not {doing} (RunPod: {_inner(exc)}): it was terminated, or belongs to another account."
        )
        gone.code, gone.status = exc.code, exc.status
        return gone

    def _template(self, order: LaunchOrder) -> Mapping[str, Any] | None:
        name = order.options.get("template")
        if not name:
            return None
        found: dict[str, Any] = self._rest.read("GET", f"/templates/{segment(name)}", f"read template {name}")
        return found

    def _around(self) -> Around:
        with self._keys_lock:
            if self._own_keys is None:
                self._own_keys = {key.blob: sshkeys.private_file(key) for key in reversed(sshkeys.own_keys())}
        return Around(self.account, self._catalogue.known(NAMES_S), self._own_keys)


def _inner(exc: ProviderError) -> str:
    """The cloud's own words inside an error's text."""
    return exc.text.partition("(RunPod: ")[2].rpartition(")")[0] or exc.text
