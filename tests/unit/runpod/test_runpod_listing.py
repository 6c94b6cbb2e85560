"""Listings, offers and leftovers over HTTP: pages, what is incomplete, how many calls, what is remembered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from support.clouds import find, launched, listing, reach
from support.http_cloud import Fault, Reply, changed
from support.runpod_cloud import RunpodCloud, problem, runpod_cloud

from gpudash.clock import ManualClock
from gpudash.errors import AuthRefused, RateLimited, Unreachable
from gpudash.model.instance import EVERYWHERE, InstanceState
from gpudash.model.offer import OfferFilter

PODS = r"^/v2/pods$"


@pytest.fixture
def cloud() -> Iterator[RunpodCloud]:
    """The account over real HTTP, and its adapter."""
    with runpod_cloud() as found:
        yield found


def test_one_call_a_cycle(cloud: RunpodCloud) -> None:
    """However many pods: one list, and the catalogue once an hour."""
    for _ in range(30):
        cloud.fake.add_pod()
    for _ in range(3):
        assert len(listing(cloud).items) == 30
    assert cloud.fake.count() == 4
    assert cloud.fake.count("GET", PODS) == 3


def test_pages_are_followed(cloud: RunpodCloud) -> None:
    """Newer servers answer in pages with a cursor."""
    for _ in range(5):
        cloud.fake.add_pod()
    cloud.fake.page_size = 2
    found = listing(cloud)
    assert (len(found.items), found.complete, cloud.fake.count("GET", PODS)) == (5, True, 3)


def test_a_page_that_fails_removes_nothing(cloud: RunpodCloud) -> None:
    """What came is shown, and the listing says that it is not all."""
    for _ in range(5):
        cloud.fake.add_pod()
    cloud.fake.page_size = 2
    answers = iter([lambda whole: whole, lambda whole: problem(500, "oops")])
    with cloud.fake.fault(Fault("second page", lambda whole: next(answers)(whole), path=PODS)):
        found = listing(cloud)
    assert not found.complete
    assert len(found.items) == 2
    assert "page 2 did not come" in (found.problem or "")


def test_pages_that_do_not_end(cloud: RunpodCloud) -> None:
    """A cursor that comes back again is followed once."""
    for _ in range(5):
        cloud.fake.add_pod()
    cloud.fake.page_size = 2
    endless = changed(lambda body: body | {"pagination": {"nextCursor": "2", "hasNextPage": True}})
    with cloud.fake.fault(Fault("endless", endless, path=PODS)):
        found = listing(cloud)
    assert (found.complete, found.problem) == (False, "the pages do not end")


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda body: {"pods": [*body["pods"], {"name": "without an id"}]}, "1 of the records cannot be read"),
        (lambda body: {"pods": [{"id": "p1", "status": "RUNNING"}]}, "launches cannot be told apart"),
    ],
)
def test_records_that_cannot_be_read_make_it_incomplete(cloud: RunpodCloud, edit: object, says: str) -> None:
    """A listing that hides something proves no absence."""
    cloud.fake.add_pod()
    with cloud.fake.fault(Fault("odd", changed(edit), path=PODS)):  # type: ignore[arg-type]
        found = listing(cloud)
    assert not found.complete
    assert found.items
    assert says in (found.problem or "")


@pytest.mark.parametrize("body", [{"items": []}, {"pods": None}, {"pods": {}}, []])
def test_a_list_of_another_form_is_no_empty_list(cloud: RunpodCloud, body: object) -> None:
    """Failure is not emptiness."""
    with cloud.fake.fault(Fault("odd", Reply(200, body), path=PODS)), pytest.raises(Unreachable):
        listing(cloud)


def test_a_catalogue_that_fails_costs_names_only(cloud: RunpodCloud) -> None:
    """Pods are listed all the same, with the GPU's id for a name."""
    cloud.fake.add_pod()
    with cloud.fake.fault(Fault("down", problem(503, "maintenance"), path="catalog")):
        (pod,) = listing(cloud).items
    assert (pod.gpu, pod.vram_gb) == ("NVIDIA GeForce RTX 4090", None)
    assert isinstance(cloud.clock, ManualClock)
    cloud.clock.advance(61)
    (pod,) = listing(cloud).items
    assert (pod.gpu, pod.vram_gb) == ("RTX 4090", 24)


def test_pods_of_clusters_are_seen(cloud: RunpodCloud) -> None:
    """They bill as well; RunPod leaves them out unless they are asked for."""
    cloud.fake.add_pod().cluster = {"id": "c1", "rank": 0}
    (pod,) = listing(cloud).items
    assert "cluster c1" in (pod.notice or "")


def test_ready_is_runtime_and_ssh(cloud: RunpodCloud) -> None:
    """RunPod says RUNNING at once; the container comes later."""
    cloud.fake.boot_s = 40
    key = cloud.provider.launch(cloud.order())
    assert cloud.fake.record(cloud.fake.pods[key.id])["status"] == "RUNNING"
    early = find(cloud, key)
    assert early is not None
    assert (early.state, early.ssh) == (InstanceState.STARTING, None)
    assert isinstance(cloud.clock, ManualClock)
    cloud.clock.advance(41)
    assert reach(cloud, key, InstanceState.RUNNING).ssh is not None


def test_the_old_port_is_not_believed(cloud: RunpodCloud) -> None:
    """After a start the port of the start before is still told for a while; whoever has it now is a stranger."""
    cloud.fake.old_port_s = 60
    before = launched(cloud)
    assert isinstance(cloud.clock, ManualClock)
    cloud.clock.advance(300)
    cloud.provider.stop(before.key)
    reach(cloud, before.key, InstanceState.STOPPED)
    cloud.clock.advance(300)
    cloud.provider.start(before.key)
    assert reach(cloud, before.key, InstanceState.RUNNING).ssh is None
    cloud.clock.advance(61)
    after = reach(cloud, before.key, InstanceState.RUNNING)
    assert after.ssh is not None
    assert before.ssh is not None
    assert after.ssh.port != before.ssh.port


def test_a_port_that_stays_is_believed_in_the_end(cloud: RunpodCloud) -> None:
    """The same port twice is possible; after 90 s it counts."""
    cloud.fake.old_port_s = 10_000
    before = launched(cloud)
    assert isinstance(cloud.clock, ManualClock)
    cloud.clock.advance(300)
    cloud.provider.stop(before.key)
    reach(cloud, before.key, InstanceState.STOPPED)
    cloud.provider.start(before.key)
    reach(cloud, before.key, InstanceState.RUNNING)
    cloud.clock.advance(91)
    after = reach(cloud, before.key, InstanceState.RUNNING)
    assert after.ssh is not None
    assert before.ssh is not None
    assert after.ssh.port == before.ssh.port
    assert after.ssh.host_key_since == after.started_at


def test_a_stopped_pod_keeps_the_price_it_ran_at(cloud: RunpodCloud) -> None:
    """RunPod tells 0 for it; a start costs what it cost."""
    before = launched(cloud)
    cloud.provider.stop(before.key)
    stopped = reach(cloud, before.key, InstanceState.STOPPED)
    assert stopped.price == before.price
    assert not stopped.state.bills_compute


def test_the_key_is_refused(cloud: RunpodCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """401 is a matter of the key, and the key is in no text."""
    monkeypatch.setenv("RUNPOD_TEST_KEY", "another-test-key")
    with pytest.raises(AuthRefused) as caught:
        cloud.again().list_instances(EVERYWHERE)
    assert "another-test-key" not in str(caught.value)


def test_the_rate_limit_header_says_when(cloud: RunpodCloud) -> None:
    """Without Retry-After the used-up window of the RateLimit header tells."""
    told = problem(429, "rate limit exceeded", RateLimit='"minute";r=0;t=12, "hour";r=0;t=50, "day";r=9;t=4000')
    with cloud.fake.fault(Fault("busy", told)), pytest.raises(RateLimited) as caught:
        listing(cloud)
    assert caught.value.retry_after_s == 50


def test_the_user_agent_is_ours(cloud: RunpodCloud) -> None:
    """RunPod's edge refuses default ones; keys travel in the header only."""
    listing(cloud)
    assert all(r.headers["user-agent"].startswith("gpudash/") and "key" not in r.path for r in cloud.fake.log)


def test_offers_of_both_clouds(cloud: RunpodCloud) -> None:
    """Prices are per machine; stock is asked for the number of GPUs that is wanted."""
    found = {offer.instance_type: offer for offer in cloud.provider.list_offers(OfferFilter(gpus=2)).items}
    assert found["2x-rtx-4090"].price.usd_per_hour == Decimal("0.88")  # type: ignore[union-attr]
    assert found["2x-rtx-4090-community"].price.usd_per_hour == Decimal("0.62")  # type: ignore[union-attr]
    assert found["2x-rtx-4090"].available is True
    assert found["2x-rtx-4090"].region == "any"
    assert {request.one("count") for request in cloud.fake.log} == {"2"}


def test_stock_of_more_gpus_than_were_asked_for_is_unknown(cloud: RunpodCloud) -> None:
    """One free GPU says nothing of eight on one machine; none says all."""
    found = {offer.instance_type: offer for offer in cloud.provider.list_offers(OfferFilter()).items}
    assert (found["1x-rtx-4090"].available, found["8x-rtx-4090"].available) == (True, None)
    assert "8x-rtx-4090-community" not in found
    with cloud.trouble("no capacity"):
        assert not any(offer.available for offer in cloud.provider.list_offers(OfferFilter()).items)


def test_offers_of_one_data_centre(cloud: RunpodCloud) -> None:
    """Its own stock; an unknown place has none."""
    assert all(
        offer.available is not False for offer in cloud.provider.list_offers(OfferFilter(region="US-KS-2")).items
    )
    assert not any(offer.available for offer in cloud.provider.list_offers(OfferFilter(region="XX-1")).items)


def test_network_volumes_are_leftovers(cloud: RunpodCloud) -> None:
    """They bill until they are deleted; a tier without a published price is unknown."""
    cloud.fake.volumes = [
        {"id": "v1", "name": "data", "size": 2000, "dataCenter": "EU-RO-1", "type": "STANDARD"},
        {"id": "v2", "name": "fast", "size": 100, "dataCenter": "EU-RO-1", "type": "HIGH_PERFORMANCE"},
    ]
    plain, fast = cloud.provider.list_leftovers().items
    assert (plain.kind, plain.region, plain.size_gb) == ("network volume", "EU-RO-1", 2000)
    assert plain.price is not None
    assert plain.price.usd_per_hour == (Decimal(120) / 730).quantize(Decimal("0.000001"))
    assert fast.price is None


def test_leftovers_that_failed_in_part_say_so(cloud: RunpodCloud) -> None:
    """The disks are there, and the listing is incomplete."""
    pod = launched(cloud)
    cloud.provider.stop(pod.key)
    with cloud.fake.fault(Fault("down", problem(503, "maintenance"), path="network-volumes")):
        found = cloud.provider.list_leftovers()
    assert not found.complete
    assert [item.instance_id for item in found.items] == [pod.key.id]


def test_a_limit_that_is_used_up_is_waited_for_before_runpod_refuses(cloud: RunpodCloud) -> None:
    """A good answer tells that none is left: the next call leaves when the window opens, or is refused unsent."""

    def told(header: str) -> Fault:
        return Fault("quota", lambda whole: replace(whole, headers={**whole.headers, "RateLimit": header}), path="pods")

    with cloud.fake.fault(told('"minute";r=0;t=4, "hour";r=2900;t=50')):
        listing(cloud)
    began = cloud.clock.monotonic()
    assert listing(cloud).complete
    assert cloud.clock.monotonic() - began == pytest.approx(4, abs=0.5)
    with cloud.fake.fault(told('"minute";r=7;t=4, "hour";r=0;t=50')):
        listing(cloud)
    asked = cloud.fake.count("GET", "^/v2/pods$")
    with pytest.raises(RateLimited, match="used up") as caught:
        listing(cloud)
    assert caught.value.retry_after_s == pytest.approx(50, abs=0.5)
    assert cloud.fake.count("GET", "^/v2/pods$") == asked
    cloud.clock.advance(51)
    assert listing(cloud).complete


def test_a_pod_without_a_gpu_is_listed_and_bills(cloud: RunpodCloud) -> None:
    """It costs as much as the cloud says, so it is a row like every other."""
    launched(cloud)

    def without_gpu(body: Any) -> Any:
        cpu = {"cpu": {"id": "cpu5c", "vcpuCount": 4, "memory": 8}, "cost": 0.14}
        return {"pods": [{name: pod[name] for name in pod if name != "gpu"} | cpu for pod in body["pods"]]}

    with cloud.fake.fault(Fault("cpu", changed(without_gpu), path="pods")):
        (pod,) = listing(cloud).items
    assert (pod.instance_type, pod.gpu_count, pod.bills_compute) == ("cpu5c-4", 0, True)
    assert pod.price is not None
    assert pod.price.usd_per_hour == Decimal("0.14")
