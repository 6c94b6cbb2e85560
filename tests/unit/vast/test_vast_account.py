"""One account at Vast, over HTTP: pages, pace, offers, launches and what becomes of a no, marks, bids, ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.clouds import find, launched, listing, reach
from support.http_cloud import Fault, Reply, changed
from support.vast_cloud import VAST_WORDS, VastCloud, vast_cloud
from support.vast_fake import KEY, no_ask, refused

from gpudash.errors import (
    Ambiguous,
    AuthRefused,
    NoCapacity,
    ProviderError,
    RateLimited,
    Unreachable,
    Unsupported,
    UsageError,
)
from gpudash.model.instance import EVERYWHERE, InstanceKey, InstanceState
from gpudash.model.listing import Listing
from gpudash.model.offer import Offer, OfferFilter
from gpudash.providers.sshkeys import make_key

ASKS, ONE = VAST_WORDS.calls["launch"][1], VAST_WORDS.calls["end"][1]


@pytest.fixture
def cloud() -> Iterator[VastCloud]:
    """An account as people have it."""
    with vast_cloud(visible_after_s=60.0) as found:
        yield found


def sent(cloud: VastCloud, method: str = "PUT", path: str = "/asks/") -> dict[str, Any]:
    """The body of the last such request."""
    return next(r.json for r in reversed(cloud.fake.log) if r.method == method and path in r.path)  # type: ignore[no-any-return]


def offers(cloud: VastCloud, **wanted: Any) -> tuple[Offer, ...]:
    """What a search brings."""
    return cloud.provider.list_offers(OfferFilter(**wanted)).items


def ids(found: tuple[Offer, ...]) -> list[str | None]:
    """In the order that people see."""
    return [offer.id for offer in found]


# -- listing ----------------------------------------------------------------------------------------------------------


def test_a_hundred_instances_are_four_calls_in_the_pace_that_vast_allows(cloud: VastCloud) -> None:
    """25 to a page is the most; pages come as they are there, and none is asked for too soon."""
    for _ in range(100):
        cloud.fake.add()
    cloud.fake.strict = True
    pages: list[Listing[Any]] = []
    found = cloud.provider.list_in_pages(EVERYWHERE, pages.append)
    assert (found.complete, len({item.key for item in found.items})) == (True, 100)
    assert cloud.fake.count("GET", "/api/v1/instances") == 4
    assert [(page.complete, len(page.items)) for page in pages] == [(False, 25)] * 3
    again = cloud.provider.list_instances(EVERYWHERE)
    assert (again.complete, cloud.fake.count("GET", "/api/v1/instances")) == (True, 8)


def test_the_list_alone_is_asked_every_cycle(cloud: VastCloud) -> None:
    """No call an instance; what hosts ask for is looked up once in a quarter of an hour."""
    for _ in range(3):
        cloud.fake.add()
    for _ in range(10):
        listing(cloud)
        cloud.clock.sleep(15)
    assert cloud.fake.count() == 11
    assert cloud.fake.count("GET", "pending-price-increases") == 1


def test_a_page_that_leads_to_itself_ends_incomplete(cloud: VastCloud) -> None:
    """Not an endless walk, and not a list to conclude anything from."""
    cloud.fake.add()
    loop = Fault("loop", changed(lambda body: {**body, "next_token": "1"}), path="/api/v1/instances")
    with cloud.fake.fault(loop):
        found = listing(cloud)
    assert not found.complete
    assert "leads to itself" in str(found.problem)


def test_a_host_asks_for_more(cloud: VastCloud) -> None:
    """It stands on the row; where Vast cannot tell, the list is good all the same."""
    made = cloud.fake.add()
    cloud.fake.increases = [{"contract_id": made.id, "old_gpu_costpersec": 1e-4, "new_gpu_costpersec": 2e-4}]
    (found,) = listing(cloud).items
    assert "asks for more" in str(found.notice)
    with cloud.fake.fault(Fault("404", Reply(404, {"success": False}), path="pending")):
        assert cloud.again().list_instances(EVERYWHERE).complete


def test_what_was_looked_at_is_what_is_accepted(cloud: VastCloud) -> None:
    """A host that asks anew between the look and the answer, while rows are polled, does not get the yes to its first."""
    made, provider = cloud.fake.add(), cloud.provider
    key = InstanceKey(provider.account, EVERYWHERE, str(made.id))
    asks = {"contract_id": made.id, "old_gpu_costpersec": 1e-4, "new_gpu_costpersec": 2e-4}
    cloud.fake.increases = [{**asks, "pending_price_increase_id": 1}]
    assert provider.asked_increase(key) is not None
    cloud.fake.increases = [{**asks, "pending_price_increase_id": 2, "new_gpu_costpersec": 9e-4}]
    cloud.clock.sleep(1000)
    assert provider.list_instances(EVERYWHERE).complete
    with pytest.raises(ProviderError):
        provider.answer_increase(key, accept=True)
    assert cloud.fake.answers == []
    with pytest.raises(ProviderError, match="not looked at"):
        provider.answer_increase(key, accept=True)


def test_the_key_is_fetched_once(cloud: VastCloud, tmp_path: Path) -> None:
    """Its place may ask a person to touch something; what is asked aside goes with the same key."""
    count = tmp_path / "count"
    fetch = ("sh", "-c", f"echo x >> {count}; echo {KEY}")
    cloud.fake.add()
    assert cloud.again(api_key_command=fetch).list_instances(EVERYWHERE).complete
    assert cloud.fake.count("GET", "pending-price-increases") == 1
    assert count.read_text() == "x\n"


def test_a_two_factor_session_goes_before_the_key_until_it_is_over(
    cloud: VastCloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As Vast's own client has it. Where the session ends, the plain key is tried at once, and what it may not says how."""
    folder = tmp_path / "vastai"
    folder.mkdir()
    for name, text in (("vast_api_key", KEY), ("vast_tfa_key", "test-key-of-the-session")):
        (folder / name).write_text(f"{text}\n")
        (folder / name).chmod(0o600)
    monkeypatch.delenv("VAST_API_KEY")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    made, kept = cloud.fake.add(), cloud.fake.add()
    cloud.fake.session = "test-key-of-the-session"
    provider = cloud.again()
    provider.terminate(InstanceKey("vast", EVERYWHERE, str(made.id)))
    cloud.fake.session = "test-key-of-a-later-session"
    assert [item.key.id for item in provider.list_instances(EVERYWHERE).items] == [str(kept.id)]
    with pytest.raises(AuthRefused, match="Two Factor") as refused_one:
        provider.terminate(InstanceKey("vast", EVERYWHERE, str(kept.id)))
    assert "vastai tfa login" in str(refused_one.value.hint)
    assert cloud.fake.alive() == {str(kept.id)}


def test_watched_countries_hide_others_but_never_what_is_ours(cloud: VastCloud) -> None:
    """`regions` of an account is a filter here."""
    there = cloud.fake.add(104)
    cloud.fake.add(101)
    cloud.fake.machines[0].taken = True
    ours = launched(cloud)
    watching = cloud.again(regions=("SE",))
    assert {i.key.id for i in watching.list_instances(EVERYWHERE).items} == {str(there.id), ours.key.id}
    assert {offer.region for offer in watching.list_offers(OfferFilter()).items} == {"SE"}


# -- offers -----------------------------------------------------------------------------------------------------------


def test_offers_are_ranked_by_the_whole_price_then_by_the_host(cloud: VastCloud) -> None:
    """The disk asked for counts; of two at one price the more reliable comes first."""
    found = offers(cloud, gpu="4090", gpus=1, spot=False)
    assert ids(found) == ["104", "101", "102", "103"]
    cloud.fake.machines[1].dph_base = 0.35
    assert ids(offers(cloud, instance_type="1x_RTX_4090", spot=False)) == ["104", "102", "101", "103"]
    cloud.fake.machines[3].storage_cost = 3.0
    assert ids(offers(cloud, instance_type="1x_RTX_4090", spot=False, disk_gb=100))[-1] == "104"


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"cuda": Decimal("12.4")}, ["101", "102", "103"]),
        ({"min_reliability": Decimal("0.99")}, ["104", "101", "102"]),
        ({"min_down_mbps": 500}, ["104", "101", "102"]),
        ({"max_traffic_usd_per_gb": Decimal("0.01")}, ["101", "102", "103"]),
        ({"regions": ("SE", "NO")}, ["104"]),
        ({"not_regions": ("US",)}, ["104"]),
        ({"with_unverified": True}, ["105", "104", "101", "102", "103"]),
        ({"disk_gb": 600}, []),
        ({"max_price": Decimal("0.36")}, ["104", "101"]),
    ],
)
def test_filters_of_a_renter(cloud: VastCloud, wanted: dict[str, Any], expected: list[str]) -> None:
    """Each is applied at Vast, and again here."""
    assert ids(offers(cloud, instance_type="1x_RTX_4090", spot=False, **wanted)) == expected


def test_spot_offers_tell_the_least_bid(cloud: VastCloud) -> None:
    """What it costs now, if nobody bids more."""
    found = offers(cloud, instance_type="1x_H100_SXM")
    assert [(o.spot, o.price and o.price.usd_per_hour, o.options.get("bid")) for o in found] == [
        (True, Decimal("1.3"), "1.3"),
        (False, Decimal("2.1"), None),
    ]


def test_the_board_shows_the_best_of_each_type_and_country(cloud: VastCloud) -> None:
    """Thousands of hosts offer the same; a type that is named brings them all."""
    cloud.fake.machines += [replace(cloud.fake.machines[0], ask=200 + n) for n in range(20)]
    board = [
        offer for offer in offers(cloud, spot=False) if (offer.instance_type, offer.region) == ("1x_RTX_4090", "US")
    ]
    assert len(board) == 3
    assert len(offers(cloud, spot=False, instance_type="1x_RTX_4090", region="US")) == 23


# -- launching --------------------------------------------------------------------------------------------------------


def test_an_order_becomes_one_create(cloud: VastCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Image, disk, script, variables, ports and label, in the forms that Vast takes; secrets by reference."""
    monkeypatch.setenv("MY_TOKEN", "from-this-machine")
    options = {
        "image": "me/train:1", "disk_gb": "80", "onstart": "echo hi", "env.MODE": "fast", "env_from.HF": "MY_TOKEN",
        "ports": "5432/udp", "volume": "7:/data", "owner": "me",
    }  # fmt: skip
    order = cloud.order(name="train", service_port=8000, options=options)
    key = cloud.provider.launch(order)
    body = sent(cloud)
    assert body["env"] == {
        "MODE": "fast", "HF": "from-this-machine", "-p 5432:5432/udp": "1", "-p 8000:8000": "1",
        "GPUDASH_LAUNCH_TOKEN": order.token,
    }  # fmt: skip
    assert (body["image"], body["disk"], body["runtype"], body["cancel_unavail"]) == (
        "me/train:1",
        80,
        "ssh_direct",
        True,
    )
    assert body["onstart"].splitlines() == ["touch ~/.no_auto_tmux", "echo hi"]
    assert body["volume_info"] == {"create_new": False, "volume_id": 7, "mount_path": "/data"}
    assert body["label"].startswith("train [gpudash ")
    assert "price" not in body
    found = reach(cloud, key, InstanceState.RUNNING)
    assert (found.name, found.service_port, found.disk_gb) == ("train", 8000, 80)


def test_a_template_brings_its_own_image(cloud: VastCloud) -> None:
    """What is given wins over it, so nothing is given by default."""
    cloud.provider.launch(cloud.order(options={"template": "4e17788f74f075dd9aab7d0d4427968f"}))
    assert sent(cloud)["template_hash_id"] == "4e17788f74f075dd9aab7d0d4427968f"
    assert "image" not in sent(cloud)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"colour": "red"}, "no option 'colour'"),
        ({"disk_gb": "big"}, "disk_gb"),
        ({"bid": "0.2"}, "for spot only"),
        ({"ports": "http"}, "ports"),
        ({"env.1A": "x"}, "no name of a variable"),
        ({"env_from.NOT_SET_ANYWHERE": ""}, "not set here"),
        ({"onstart": "x" * 4001}, "more than the 4000"),
        ({"onstart_file": "/no/such/file"}, "cannot be read"),
        ({"volume": "data"}, "ID:/path"),
    ],
)
def test_what_vast_would_refuse_is_refused_here(cloud: VastCloud, options: dict[str, str], said: str) -> None:
    """Before anything is asked for."""
    with pytest.raises(UsageError, match=said):
        cloud.provider.launch(cloud.order(options=options))
    assert cloud.fake.count("PUT") == 0


def test_exactly_the_machine_that_was_chosen(cloud: VastCloud) -> None:
    """An offer is one machine; when it has been let, that is a definite no, and what stands in is the fleet's to say."""
    second = offers(cloud, instance_type="1x_RTX_4090", region="US", spot=False)[1]
    key = cloud.provider.launch(cloud.order(offer=second))
    assert sent(cloud, path="/asks/102/")["disk"] == 32
    assert key.id in cloud.fake.alive()
    with pytest.raises(NoCapacity, match="no longer available"):
        cloud.provider.launch(cloud.order(offer=second))


def test_after_a_lost_answer_nothing_counts_as_absent(cloud: VastCloud) -> None:
    """The machine may be ours already, and Vast may show it late."""
    first = offers(cloud, instance_type="1x_RTX_4090", region="US", spot=False)[0]
    cloud.fake.create_lag_s = 30.0
    with cloud.trouble("lost reply"), pytest.raises(Ambiguous):
        cloud.provider.launch(cloud.order(offer=first, max_price=Decimal(1)))
    assert cloud.fake.count("PUT", ASKS) == 1
    assert not listing(cloud).complete


def _no_with_contract(cloud: VastCloud) -> Fault:
    answer = VAST_WORDS.own["a no that made a contract"][1].answer
    return Fault("contract", answer, method="PUT", path=ASKS)


def test_a_no_that_made_a_contract_is_undone(cloud: VastCloud) -> None:
    """It would stand there stopped and bill its disk."""
    with cloud.fake.fault(_no_with_contract(cloud)), pytest.raises(ProviderError, match="bid too low") as caught:
        cloud.provider.launch(cloud.order())
    assert not isinstance(caught.value, Unreachable)
    assert cloud.fake.alive() == set()


def test_a_contract_that_cannot_be_undone_is_no_definite_no(cloud: VastCloud) -> None:
    """The launch is then looked for by its token, like one without an answer."""
    order = cloud.order()
    down = Fault("500", Reply(500, {"msg": "oops"}), method="DELETE", path=ONE)
    with cloud.fake.fault(_no_with_contract(cloud)), cloud.fake.fault(down), pytest.raises(Ambiguous, match="contract"):
        cloud.provider.launch(order)
    assert [item.launch_token for item in listing(cloud).items] == [order.token]


def test_no_credit_says_where_to_add_some(cloud: VastCloud) -> None:
    """The words are Vast's, the next step is ours."""
    no = Fault("credit", refused("insufficient_credit", "Your account lacks credit."), path=ASKS)
    with cloud.fake.fault(no), pytest.raises(ProviderError, match=r"lacks credit.*billing") as caught:
        cloud.provider.launch(cloud.order())
    assert caught.value.code == "insufficient_credit"


def test_the_key_is_uploaded_once(cloud: VastCloud) -> None:
    """Under no name of the person; another adapter finds it there."""
    for provider in (cloud.provider, cloud.provider, cloud.again()):
        provider.launch(cloud.order())
    assert cloud.fake.count("POST", "/ssh") == 1
    assert cloud.fake.keys[0]["key"].endswith(" gpudash")
    assert "somebody@example" not in str(cloud.fake.keys)


def test_another_key_of_the_person(cloud: VastCloud, tmp_path: Any) -> None:
    """Named by its file; links are told which private half fits."""
    key = make_key(tmp_path / "other")
    instance = launched(cloud, options={"public_key": key.source})
    assert cloud.fake.keys[0]["key"] == key.text
    assert find(cloud, instance.key).ssh.identity_file is None  # type: ignore[union-attr]
    assert f"key={key.name}" in sent(cloud)["label"]


def test_a_key_whose_upload_got_no_answer(cloud: VastCloud) -> None:
    """It is looked for; where it is not there, nothing is launched and nothing is in doubt."""
    lost = Fault("lost", takes_effect=True, wire="drop", method="POST", path="/ssh")
    with cloud.fake.fault(lost):
        cloud.provider.launch(cloud.order())
    cloud.fake.keys.clear()
    with cloud.fake.fault(Fault("lost", wire="drop", method="POST", path="/ssh")), pytest.raises(Unreachable) as caught:
        cloud.again().launch(cloud.order())
    assert not isinstance(caught.value, Ambiguous)


# -- changing and ending ----------------------------------------------------------------------------------------------


def test_a_stop_of_ours_is_marked_and_an_outbid_is_not(cloud: VastCloud) -> None:
    """Seen by another process too; a start takes the mark away."""
    bid = launched(cloud, spot=True)
    cloud.fake.contracts[int(bid.key.id)].outbid = True
    assert "outbid" in str(find(cloud, bid.key).notice)  # type: ignore[union-attr]
    cloud.fake.contracts[int(bid.key.id)].outbid = False
    cloud.provider.stop(bid.key)
    reach(cloud, bid.key, InstanceState.STOPPED)
    assert cloud.again().list_instances(EVERYWHERE).items[0].notice is None
    cloud.provider.start(bid.key)
    assert "asked=stop" not in str(cloud.fake.contracts[int(bid.key.id)].label)


def test_a_stop_is_sent_though_the_mark_fails(cloud: VastCloud) -> None:
    """The mark is a convenience, the stop is money."""
    bid = launched(cloud, spot=True)
    refuse = Fault("first", refused("invalid_args", "no label today"), method="PUT", path=ONE, times=1)
    with cloud.fake.fault(refuse):
        cloud.provider.stop(bid.key)
    assert reach(cloud, bid.key, InstanceState.STOPPED)


def test_a_higher_bid(cloud: VastCloud) -> None:
    """For interruptible instances only; the price follows."""
    bid, fixed = launched(cloud, spot=True), launched(cloud)
    cloud.provider.set_bid(bid.key, Decimal("0.25"))
    assert find(cloud, bid.key).price.usd_per_hour == Decimal("0.25")  # type: ignore[union-attr]
    with pytest.raises(Unsupported, match="on demand"):
        cloud.provider.set_bid(fixed.key, Decimal("0.25"))
    with pytest.raises(UsageError, match="no price"):
        cloud.provider.set_bid(bid.key, Decimal(500))


def test_a_new_name_keeps_the_marks(cloud: VastCloud) -> None:
    """Name and limits share one label; a cold adapter looks before it writes."""
    before = launched(cloud)
    cloud.again().set_tags(before.key, {"Name": "renamed"})
    after = find(cloud, before.key)
    assert after is not None
    assert (after.name, after.launch_token, after.managed) == ("renamed", before.launch_token, True)
    with pytest.raises(ProviderError, match="no such instance"):
        cloud.provider.set_tags(InstanceKey("vast", EVERYWHERE, "123"), {"Name": "x"})


def test_a_fresh_instance_that_vast_does_not_know_yet_is_not_gone(cloud: VastCloud) -> None:
    """Unknown counts as ended only once Vast must know it."""
    key = cloud.provider.launch(cloud.order())
    with cloud.fake.fault(Fault("404", Reply(404, {"success": False, "error": "not_found"}), method="DELETE")):
        with pytest.raises(Unreachable, match="a moment ago"):
            cloud.provider.terminate(key)
        cloud.clock.sleep(61)
        cloud.provider.terminate(key)


def test_a_404_of_a_refused_key_is_no_end(cloud: VastCloud) -> None:
    """The same status as an instance that is gone, and the opposite of a proof."""
    key = launched(cloud).key
    with cloud.fake.fault(Fault("auth", VAST_WORDS.refused_keys["404 auth_error"])), pytest.raises(AuthRefused):
        cloud.provider.terminate(key)
    assert key.id in cloud.fake.alive()


def test_ends_wait_for_their_turn_and_then_say_when(cloud: VastCloud) -> None:
    """One destroy in three seconds; who would wait too long is told to come back, and nothing was sent."""
    keys = [InstanceKey("vast", EVERYWHERE, str(cloud.fake.add().id)) for _ in range(3)]
    cloud.fake.strict = True
    for key in keys:
        cloud.provider.terminate(key)
    assert cloud.fake.alive() == set()
    no = Reply(429, b"API requests too frequent: endpoint threshold=3.0", {"Content-Type": "text/plain"})
    with cloud.fake.fault(Fault("429", no)), pytest.raises(RateLimited, match="too frequent") as caught:
        cloud.provider.terminate(keys[0])
    assert caught.value.retry_after_s == 3


def test_the_days_searches_are_used_up(cloud: VastCloud) -> None:
    """Asking again before midnight is of no use, and the wait says so."""
    moment = int(cloud.clock.now().timestamp()) + 7200
    body = {"success": False, "error": "search_quota_exceeded", "msg": "Daily search quota exceeded"}
    no = Reply(429, body, {"X-RateLimit-Reset": str(moment)})
    with cloud.fake.fault(Fault("quota", no)), pytest.raises(RateLimited, match="midnight UTC") as caught:
        offers(cloud)
    assert caught.value.retry_after_s == 7200


def test_the_host_ends_itself_with_its_own_key(cloud: VastCloud) -> None:
    """A key that Vast puts into that container alone; on another machine the calls are not made."""
    key = launched(cloud).key
    spec: Any = cloud.provider.end_spec(key)
    for rung, verb, body in (("stop", "PUT", {"state": "stopped"}), ("terminate", "DELETE", {})):
        (step,) = spec[rung]
        assert (step["verb"], step["body"], step["only_if_env"]) == (verb, body, {"CONTAINER_ID": key.id})
        assert (step["token_env"], step["ok_json"]) == ("CONTAINER_API_KEY", {"success": True})
        assert step["url"].endswith(f"/api/v0/instances/{key.id}/")


def test_what_is_on_its_way_up_is_no_leftover(cloud: VastCloud) -> None:
    """Its disk bills while it loads, and that is no surprise; one that waits for a GPU is."""
    key = cloud.provider.launch(cloud.order())
    assert cloud.provider.list_leftovers().items == ()
    contract = cloud.fake.contracts[int(key.id)]
    waiting = Fault("waits", changed(lambda body: _scheduling(body)), path="/api/v1/instances")
    with cloud.fake.fault(waiting):
        (disk,) = cloud.again().list_leftovers().items
    assert (disk.instance_id, disk.size_gb) == (str(contract.id), 32)


def _scheduling(body: Any) -> Any:
    for record in body["instances"]:
        record |= {"actual_status": "exited", "intended_status": "running", "cur_state": "stopped"}
    return body


def test_volumes_are_leftovers(cloud: VastCloud) -> None:
    """They bill without any instance; one that a machine uses names it."""
    cloud.fake.volumes = [
        {"id": 5, "disk_space": 50, "storage_total_cost": 0.01, "machine_id": 12, "instances": [{"id": 31}]},
        {"id": 6, "machine_id": 13, "instances": []},
    ]
    first, second = cloud.provider.list_leftovers().items
    assert (first.kind, first.size_gb, first.price and first.price.usd_per_hour, first.instance_id) == (
        "volume", 50, Decimal("0.01"), "31",
    )  # fmt: skip
    assert (second.price, second.instance_id) == (None, None)


def test_the_old_list_is_never_asked(cloud: VastCloud) -> None:
    """It answers 410 by now."""
    launched(cloud)
    assert not [r for r in cloud.fake.log if r.path.rstrip("/") == "/api/v0/instances"]
    assert no_ask(1).status == 410
