"""What every cloud adapter promises to the rest of gpudash; one body, each cloud in turn."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from support.clouds import CLOUDS, NOON, Cloud, ended, find, launched, listing, reach

from gpudash.errors import Ambiguous, NoCapacity, ProviderError, RateLimited, Unreachable, Unsupported
from gpudash.model.capability import Verb
from gpudash.model.instance import InstanceKey, InstanceState
from gpudash.model.offer import OfferFilter
from gpudash.model.policy import EndAction, Policy
from gpudash.model.tags import policy_tags
from gpudash.providers.base import CleansUp, LooksForOne, Renames, Restarts

STATUSD = Path(__file__).parents[2] / "gpudash/statusd.py"
POLICY = Policy(
    lease_deadline=NOON + timedelta(hours=4),
    hard_deadline=NOON + timedelta(hours=24),
    idle_timeout=timedelta(minutes=30),
    idle_action=EndAction.STOP,
)


@pytest.fixture(params=CLOUDS)
def cloud(request: pytest.FixtureRequest) -> Iterator[Cloud]:
    """Each cloud in turn."""
    with CLOUDS[request.param]() as found:
        yield found


def test_launch_returns_at_once_and_the_instance_comes_up(cloud: Cloud) -> None:
    """launch answers with a key; readiness is seen by polling, with price, size and address."""
    order = cloud.order(policy=POLICY)
    instance = reach(cloud, cloud.provider.launch(order), InstanceState.RUNNING)
    assert instance.name == order.name
    assert instance.instance_type == order.instance_type
    assert instance.price is not None
    assert instance.price.usd_per_hour > 0
    assert instance.ssh is not None
    assert instance.managed


def test_launched_instance_is_found_by_its_token(cloud: Cloud) -> None:
    """The token of the intent is read back from the cloud, by another adapter too."""
    order = cloud.order()
    key = cloud.provider.launch(order)
    found = [item for item in cloud.again().list_instances(cloud.region).items if item.launch_token == order.token]
    assert [item.key for item in found] == [key]


def test_lost_reply_of_a_launch_is_ambiguous_and_found_by_token(cloud: Cloud) -> None:
    """No answer came, and yet exactly one instance is there to be adopted."""
    order = cloud.order()
    with cloud.trouble("lost reply"), pytest.raises(Ambiguous):
        cloud.provider.launch(order)
    found = [item for item in listing(cloud).items if item.launch_token == order.token]
    assert len(found) == 1


def test_same_token_twice_is_one_instance(cloud: Cloud) -> None:
    """Where the cloud says it refuses doubles, it does."""
    if not cloud.provider.capabilities.has_idempotent_launch:
        pytest.skip("this cloud has no idempotent launch")
    order = cloud.order()
    first = cloud.provider.launch(order)
    assert cloud.again().launch(order) == first
    assert len(listing(cloud).items) == 1


def test_no_capacity_is_a_definite_no(cloud: Cloud) -> None:
    """NoCapacity: nothing was launched."""
    with cloud.trouble("no capacity"), pytest.raises(NoCapacity):
        cloud.provider.launch(cloud.order())
    assert listing(cloud).items == ()


def test_unknown_type_is_refused(cloud: Cloud) -> None:
    """A wrong order is a definite no, in the cloud's words."""
    with pytest.raises(ProviderError, match="no-such-type"):
        cloud.provider.launch(cloud.order(instance_type="no-such-type"))


def test_unreachable_read_is_an_error_and_not_an_empty_list(cloud: Cloud) -> None:
    """Failure is not emptiness."""
    launched(cloud)
    with cloud.trouble("unreachable"), pytest.raises(Unreachable):
        listing(cloud)
    with cloud.trouble("busy"), pytest.raises(RateLimited) as caught:
        listing(cloud)
    assert caught.value.retry_after_s
    assert len(listing(cloud).items) == 1


def test_unreachable_write_did_not_happen(cloud: Cloud) -> None:
    """Where no connection was made the error is not ambiguous, and nothing is there."""
    order = cloud.order()
    with cloud.trouble("unreachable"), pytest.raises(Unreachable) as caught:
        cloud.provider.launch(order)
    assert not isinstance(caught.value, Ambiguous)
    assert listing(cloud).items == ()


def test_sudden_empty_list_looks_complete(cloud: Cloud) -> None:
    """The trap that the layers above must not fall into can be set."""
    instance = launched(cloud)
    with cloud.trouble("empty list"):
        empty = listing(cloud)
    assert (empty.complete, empty.items) == (True, ())
    assert find(cloud, instance.key) is not None


def test_listing_says_when_it_was_asked(cloud: Cloud) -> None:
    """Proof of absence counts from `asked_at`."""
    found = listing(cloud)
    assert found.complete
    assert found.asked_at <= found.fetched_at
    assert (found.account, found.region) == (cloud.provider.account, cloud.region)


def test_stop_and_start_keep_identity_and_disk(cloud: Cloud) -> None:
    """A stopped instance bills no compute, has no address, and comes back as the same."""
    if not cloud.provider.capabilities.can_stop:
        pytest.skip("this cloud cannot stop")
    before = launched(cloud)
    cloud.provider.stop(before.key)
    stopped = reach(cloud, before.key, InstanceState.STOPPED)
    assert stopped.ssh is None
    assert (stopped.storage_price is not None) == cloud.provider.capabilities.bills_stopped
    cloud.provider.start(before.key)
    after = reach(cloud, before.key, InstanceState.RUNNING)
    assert after.ssh
    assert before.ssh
    assert after.ssh.host_key_fingerprint == before.ssh.host_key_fingerprint
    assert after.created_at == before.created_at


def test_stop_and_start_twice_are_success(cloud: Cloud) -> None:
    """Asking for what is already so changes nothing."""
    if not cloud.provider.capabilities.can_stop:
        pytest.skip("this cloud cannot stop")
    instance = launched(cloud)
    cloud.provider.start(instance.key)
    assert reach(cloud, instance.key, InstanceState.RUNNING)
    cloud.provider.stop(instance.key)
    cloud.provider.stop(instance.key)
    reach(cloud, instance.key, InstanceState.STOPPED)
    cloud.provider.stop(instance.key)
    assert reach(cloud, instance.key, InstanceState.STOPPED)


def test_terminate_is_proved_and_idempotent(cloud: Cloud) -> None:
    """The end is seen in a listing; asking again, or for what never was, is success."""
    instance = launched(cloud)
    cloud.provider.terminate(instance.key)
    cloud.provider.terminate(instance.key)
    if cloud.provider.capabilities.lists_terminated:
        assert not reach(cloud, instance.key, InstanceState.TERMINATED).state.bills_compute
    cloud.provider.terminate(instance.key)
    cloud.provider.terminate(InstanceKey(cloud.provider.account, cloud.region, "sb-00000000"))


def test_one_is_looked_for_by_its_id(cloud: Cloud) -> None:
    """Whatever the list says: there is there, and gone is gone only where the cloud answers so."""
    provider = cloud.provider
    assert isinstance(provider, LooksForOne)
    instance = launched(cloud)
    with cloud.trouble("empty list"):
        assert listing(cloud).items == ()
    assert not provider.is_gone(instance.key)
    with cloud.trouble("unreachable"), pytest.raises(Unreachable):
        provider.is_gone(instance.key)
    provider.terminate(instance.key)
    ended(cloud, instance.key)
    assert provider.is_gone(instance.key)


def test_terminated_cannot_be_started(cloud: Cloud) -> None:
    """Gone is gone."""
    if cloud.provider.capabilities.reason_against(Verb.START):
        pytest.skip("this cloud has nothing to start")
    instance = launched(cloud)
    cloud.provider.terminate(instance.key)
    with pytest.raises(ProviderError, match="terminat"):
        cloud.provider.start(instance.key)


def test_another_name_changes_nothing_else(cloud: Cloud) -> None:
    """The id, what proves who launched it, and the limits stay; another adapter sees the name as well."""
    provider, before = cloud.provider, launched(cloud, policy=POLICY)
    assert isinstance(provider, Renames) == provider.capabilities.can_rename
    if isinstance(provider, Renames):
        provider.rename(before, "night run 2")
        (seen,) = cloud.again().list_instances(cloud.region).items
        kept = (before.key, before.launch_token, before.managed, before.tag_policy)
        assert (seen.name, kept) == ("night run 2", (seen.key, seen.launch_token, seen.managed, seen.tag_policy))


def test_restart_comes_back_as_the_same(cloud: Cloud) -> None:
    """Where a cloud has it, a restarted instance runs again under its id; else data and adapter agree that there is none."""
    provider = cloud.provider
    assert isinstance(provider, Restarts) == provider.capabilities.can_restart
    if not isinstance(provider, Restarts):
        assert "There is no restart" in (provider.capabilities.reason_against(Verb.RESTART) or "")
        return
    before = launched(cloud)
    provider.restart(before.key)
    after = reach(cloud, before.key, InstanceState.RUNNING)
    assert after.launch_token == before.launch_token
    with pytest.raises(ProviderError):
        provider.restart(InstanceKey(provider.account, cloud.region, "sb-00000000"))


@pytest.mark.parametrize("verb", ["stop", "start"])
def test_verbs_on_an_unknown_id_are_refused(cloud: Cloud, verb: str) -> None:
    """Only `terminate` takes absence for success."""
    if cloud.provider.capabilities.reason_against(Verb(verb)):
        pytest.skip("this cloud has no such verb")
    with pytest.raises(ProviderError):
        getattr(cloud.provider, verb)(InstanceKey(cloud.provider.account, cloud.region, "sb-00000000"))


def test_lost_reply_of_an_end_is_ambiguous_and_happened(cloud: Cloud) -> None:
    """Listings settle what the answer did not say."""
    instance = launched(cloud)
    with cloud.trouble("lost reply"), pytest.raises(Ambiguous):
        cloud.provider.terminate(instance.key)
    ended(cloud, instance.key)


def test_yes_without_effect_leaves_everything_as_it_was(cloud: Cloud) -> None:
    """A cloud that lies is seen through only by reading back."""
    instance = launched(cloud)
    with cloud.trouble("no effect"):
        cloud.provider.terminate(instance.key)
        if cloud.provider.capabilities.can_stop:
            cloud.provider.stop(instance.key)
        ghost = cloud.provider.launch(cloud.order())
    assert find(cloud, instance.key).state is InstanceState.RUNNING  # type: ignore[union-attr]
    assert find(cloud, ghost) is None


def test_capability_data_agrees_with_behaviour(cloud: Cloud) -> None:
    """Every verb with a reason against it raises Unsupported with that reason; every other one works."""
    capabilities = cloud.provider.capabilities
    instance = launched(cloud)
    for verb in (Verb.STOP, Verb.START, Verb.HIBERNATE):
        act = getattr(cloud.provider, verb.value)
        reason = capabilities.reason_against(verb)
        if reason is None:
            act(instance.key)
            if verb is Verb.STOP:
                reach(cloud, instance.key, InstanceState.STOPPED)
        else:
            with pytest.raises(Unsupported) as caught:
                act(instance.key)
            assert caught.value.text == reason
    assert capabilities.can_stop == (capabilities.reason_against(Verb.STOP) is None)
    assert capabilities.can_hibernate == (capabilities.reason_against(Verb.HIBERNATE) is None)
    assert capabilities.reason_against(Verb.LAUNCH) is None
    assert capabilities.reason_against(Verb.TERMINATE) is None


def test_policy_of_the_order_is_read_back_from_tags(cloud: Cloud) -> None:
    """Lease and idle limits outlive this machine, where the cloud has tags."""
    if not cloud.provider.capabilities.has_tags:
        pytest.skip("this cloud has no tags")
    instance = launched(cloud, policy=POLICY)
    assert instance.tag_policy == POLICY


def test_set_tags_is_read_back_as_policy(cloud: Cloud) -> None:
    """A changed policy replaces the old one; a limit that is gone is gone from the tags too."""
    if not cloud.provider.capabilities.has_tags:
        pytest.skip("this cloud has no tags")
    instance = launched(cloud, policy=POLICY)
    changed = replace(POLICY, lease_deadline=NOON + timedelta(hours=6), idle_timeout=None, revision=2)
    cloud.provider.set_tags(instance.key, policy_tags(changed))
    assert find(cloud, instance.key).tag_policy == changed  # type: ignore[union-attr]


def test_offers_fit_what_was_wanted(cloud: Cloud) -> None:
    """Filters hold for every offer, prices are exact, and what is offered can be launched."""
    wanted = OfferFilter(min_vram_gb=80, max_price=Decimal(4), region=cloud.order().region)
    offers = cloud.provider.list_offers(wanted).items
    assert offers
    assert all(wanted.accepts(offer) for offer in offers)
    may_be_free = (item for item in offers if item.available is not False)
    offer = min(may_be_free, key=lambda item: item.price.usd_per_hour)  # type: ignore[union-attr]
    instance = launched(cloud, instance_type=offer.instance_type, spot=offer.spot, offer=offer, region=offer.region)
    assert instance.price.usd_per_hour == offer.price.usd_per_hour  # type: ignore[union-attr]
    _, disk = offer.meters({})
    assert disk is not None
    assert instance.storage_price is not None
    address = Decimal("0.005") if offer.provider == "aws" else Decimal(0)
    assert -Decimal("1e-5") < disk.usd_per_hour - instance.storage_price.usd_per_hour < address + Decimal("1e-5")
    assert (instance.gpu, instance.gpu_count, instance.vram_gb) == (offer.gpu, offer.gpu_count, offer.vram_gb)
    assert instance.spot is offer.spot


def test_stopped_disk_is_a_leftover(cloud: Cloud) -> None:
    """What bills without a running instance is listed, and goes with the instance."""
    if not cloud.provider.capabilities.bills_stopped:
        pytest.skip("a stopped instance costs nothing here")
    instance = launched(cloud)
    assert cloud.provider.list_leftovers().items == ()
    cloud.provider.stop(instance.key)
    stopped = reach(cloud, instance.key, InstanceState.STOPPED)
    (disk,) = cloud.provider.list_leftovers().items
    assert disk.instance_id == instance.key.id
    assert disk.price == stopped.storage_price
    cloud.provider.terminate(instance.key)
    ended(cloud, instance.key)
    if isinstance(cloud.provider, CleansUp):
        cloud.provider.clean_up(cloud.region)
    assert cloud.provider.list_leftovers().items == ()


def test_end_spec_names_a_way_for_each_verb_it_has(cloud: Cloud, tmp_path: Path) -> None:
    """statusd is told how to end its host, in words that it understands to the last one."""
    instance = launched(cloud)
    spec = cloud.provider.end_spec(instance.key)
    assert spec["method"]
    assert ("hibernate" in spec) == cloud.provider.capabilities.can_hibernate
    config = {"schema": 1, "instance": {"account": "a", "id": instance.key.id}, "end": dict(spec)}
    (tmp_path / "config.json").write_text(json.dumps(config))
    checked = subprocess.run(
        [sys.executable, "-I", "-S", str(STATUSD), "--home", str(tmp_path), "--check"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stderr
    assert "these keys do nothing" not in checked.stdout
