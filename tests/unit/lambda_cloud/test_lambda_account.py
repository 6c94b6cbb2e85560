"""One account at Lambda, over HTTP: launches that cannot be, keys, filesystems, limits, ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from support.clouds import find, launched, listing
from support.http_cloud import Fault, changed
from support.lambda_cloud import KEY_VARIABLE, LambdaCloud, lambda_cloud
from support.lambda_server import error, no_capacity

from gpudash.errors import (
    Ambiguous,
    AuthRefused,
    NoCapacity,
    ProviderError,
    Refused,
    Unreachable,
    Unsupported,
    UsageError,
)
from gpudash.model.instance import InstanceKey, InstanceState
from gpudash.model.offer import OfferFilter
from gpudash.providers.sshkeys import make_key

LAUNCH = "/instance-operations/launch$"


@pytest.fixture
def cloud() -> Iterator[LambdaCloud]:
    """An account as people have it."""
    with lambda_cloud(visible_after_s=60.0) as found:
        yield found


def sent(cloud: LambdaCloud) -> dict[str, object]:
    """The body of the last launch."""
    return next(r.json for r in reversed(cloud.fake.log) if r.path.endswith("/launch"))  # type: ignore[no-any-return]


# -- listing ----------------------------------------------------------------------------------------------------------


def test_one_call_lists_everything(cloud: LambdaCloud) -> None:
    """A hundred machines in all regions are one request."""
    for number in range(100):
        cloud.fake.add_machine(region_name=("us-east-1", "us-west-1")[number % 2])
    asked = cloud.fake.count()
    found = listing(cloud)
    assert (len(found.items), cloud.fake.count() - asked) == (100, 1)
    assert {item.region for item in found.items} == {"us-east-1", "us-west-1"}


def test_watched_regions_hide_others_but_never_what_is_ours(cloud: LambdaCloud) -> None:
    """`regions` of an account is a filter here; a launch elsewhere must still be proved."""
    cloud.fake.add_machine(region_name="us-east-1")
    there = cloud.fake.add_machine(region_name="us-west-1")
    ours = launched(cloud, instance_type="gpu_1x_gh200", region="us-east-1")
    watching = cloud.again(regions=("us-west-1",))
    assert {i.key.id for i in watching.list_instances("all").items} == {there.id, ours.key.id}
    assert {offer.region for offer in watching.list_offers(OfferFilter()).items} == {"us-west-1"}


def test_a_new_instance_is_there_before_lambda_lists_it(cloud: LambdaCloud) -> None:
    """Lambda shows it late; a row that comes and goes would look like a failed launch."""
    cloud.fake.create_lag_s = 30.0
    key = cloud.provider.launch(cloud.order(options={"file_system": ""}))
    early = find(cloud, key)
    assert early is not None
    assert (early.state, early.region, early.price and early.price.usd_per_hour) == (
        InstanceState.PENDING, "us-west-1", Decimal("0.75"),
    )  # fmt: skip
    assert (early.gpu, early.vram_gb) == ("A10 PCIe", 24)


def test_after_a_lost_launch_nothing_counts_as_absent(cloud: LambdaCloud) -> None:
    """While it may still appear the listing is incomplete, so nobody concludes that it is not there."""
    cloud.fake.create_lag_s = 30.0
    with cloud.trouble("lost reply"), pytest.raises(Ambiguous):
        cloud.provider.launch(order := cloud.order())
    assert not listing(cloud).complete
    cloud.clock.sleep(31)
    late = listing(cloud)
    assert late.complete
    assert [item.launch_token for item in late.items] == [order.token]


# -- offers -----------------------------------------------------------------------------------------------------------


def test_offers_name_regions_in_stock_and_what_is_sold_out(cloud: LambdaCloud) -> None:
    """One offer a region; sold out is shown as such; machines without a GPU only where asked for by name."""
    offers = cloud.provider.list_offers(OfferFilter()).items
    places = {(o.instance_type, o.region): o.available for o in offers}
    assert places["gpu_1x_h100_sxm5", "us-south-1"] is True
    assert places["gpu_8x_h100_sxm5", ""] is False
    assert not any(name.startswith("cpu") for name, _ in places)
    named = cloud.provider.list_offers(OfferFilter(instance_type="cpu_4x_general", region="us-east-1")).items
    assert [(o.gpu_count, o.price and o.price.usd_per_hour) for o in named] == [(0, Decimal("0.08"))]


def test_a_look_at_offers_and_the_launch_after_it_ask_once(cloud: LambdaCloud) -> None:
    """One call a second is the limit, so a question just answered is not put again; its age is told."""
    first = cloud.provider.list_offers(OfferFilter())
    cloud.provider.launch(cloud.order())
    assert cloud.fake.count(pattern="/instance-types") == 1
    cloud.clock.sleep(20)
    assert cloud.provider.list_offers(OfferFilter()).items[0].as_of > first.items[0].as_of
    assert cloud.fake.count(pattern="/instance-types") == 2


# -- launches that cannot be ------------------------------------------------------------------------------------------


def test_no_stock_is_seen_before_anything_is_sent_and_names_what_comes_closest(cloud: LambdaCloud) -> None:
    """First the same type elsewhere, then what does at least as much, cheapest first; three at most."""
    with pytest.raises(NoCapacity) as caught:
        cloud.provider.launch(cloud.order(instance_type="gpu_1x_h100_sxm5", region="us-west-1"))
    assert str(caught.value) == (
        "Lambda has no gpu_1x_h100_sxm5 in us-west-1 now. Closest: gpu_1x_h100_sxm5 in us-east-1 ($3.29/h); "
        "gpu_1x_h100_sxm5 in us-south-1 ($3.29/h); gpu_1x_gh200 in us-east-1 ($1.49/h)."
    )
    assert cloud.fake.count("POST") == 0


def test_stock_that_was_gone_after_all(cloud: LambdaCloud) -> None:
    """Lambda's stock is advisory: its refusal too comes with alternatives, and the stock is asked anew."""
    with cloud.fake.fault(Fault("full", no_capacity(), path=LAUNCH)), pytest.raises(NoCapacity) as caught:
        cloud.provider.launch(cloud.order())
    assert "Not enough capacity" in caught.value.text
    assert caught.value.hint == (
        "Closest: gpu_1x_a10 in us-east-1 ($0.75/h); gpu_1x_gh200 in us-east-1 ($1.49/h); "
        "gpu_1x_h100_pcie in us-west-1 ($2.49/h)."
    )
    cloud.provider.list_offers(OfferFilter())
    assert cloud.fake.count(pattern="/instance-types") == 2


def test_nothing_comes_close(cloud: LambdaCloud) -> None:
    """Then that is said."""
    for name in cloud.fake.stock:
        cloud.fake.stock[name] = ()
    with pytest.raises(NoCapacity, match="Nothing that could take its place has stock either"):
        cloud.provider.launch(cloud.order())


def test_a_filesystem_ties_the_launch_to_its_region(cloud: LambdaCloud) -> None:
    """One elsewhere, and one that is not there, are refused by name before the launch; alternatives keep the region."""
    cloud.fake.add_filesystem("data", "us-west-1")
    with pytest.raises(ProviderError, match=r"Filesystem data is in us-west-1, not in us-east-1\..+--region us-west-1"):
        cloud.provider.launch(cloud.order(region="us-east-1", options={"file_system": "data"}))
    with pytest.raises(ProviderError, match=r"Lambda has no filesystem nope\. It has: data\."):
        cloud.provider.launch(cloud.order(options={"file_system": "data, nope"}))
    cloud.fake.stock["gpu_1x_a10"] = ("us-east-1",)
    cloud.clock.sleep(20)
    with pytest.raises(NoCapacity) as caught:
        cloud.provider.launch(cloud.order(options={"file_system": "data"}))
    assert caught.value.hint == "Closest: gpu_1x_h100_pcie in us-west-1 ($2.49/h)."
    assert cloud.fake.count("POST", LAUNCH) == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ami": "ami-1"}, "lambda knows no option 'ami'"),
        ({"hostname": "Head Node"}, "hostname: 'Head Node'"),
        ({"tag.Team": "x"}, "tag.Team is no tag that Lambda takes"),
        ({"tag.gpudash:managed": "false"}, "is no tag that Lambda takes"),
        ({"user_data": "x" * 1_000_001}, "user_data is too long"),
        ({"user_data_file": "/nowhere/at/all"}, "user_data_file: "),
    ],
)
def test_options_that_nobody_would_read(cloud: LambdaCloud, options: dict[str, str], said: str) -> None:
    """Refused here, in our words, before a call."""
    with pytest.raises(UsageError) as caught:
        cloud.provider.launch(cloud.order(options=options))
    assert caught.value.text.startswith(said) or said in caught.value.text
    assert cloud.fake.log == []


def test_spot_and_stop_are_not_there(cloud: LambdaCloud) -> None:
    """With the way out."""
    with pytest.raises(Unsupported, match=r"Lambda has no spot instances\. Launch it on demand\."):
        cloud.provider.launch(cloud.order(spot=True))
    with pytest.raises(Unsupported, match=r"Lambda has no stop: .+ Terminate it; its filesystems stay\."):
        cloud.provider.stop(InstanceKey("lambda", "all", "x"))
    with pytest.raises(Unsupported, match="cannot be changed after the launch"):
        cloud.provider.set_tags(InstanceKey("lambda", "all", "x"), {"a": "b"})


def test_a_launch_says_everything_and_no_quantity(cloud: LambdaCloud, tmp_path: Path) -> None:
    """Name with token, tags, one key, filesystem, image by id or family, cloud-init text from a file."""
    cloud.fake.add_filesystem("data", "us-west-1")
    script = tmp_path / "init.sh"
    script.write_text("#!/bin/sh\necho hello\n")
    told = {"file_system": "data", "user_data_file": str(script), "image": "lambda-stack-22-04", "tag.team": "vision"}
    order = cloud.order(name="train", options=told)
    key = cloud.provider.launch(order)
    body = sent(cloud)
    assert set(body) == {
        "region_name", "instance_type_name", "ssh_key_names", "name", "tags", "file_system_names", "image", "user_data",
    }  # fmt: skip
    assert body["name"] == f"train gpudash#{order.token}"
    assert body["image"] == {"family": "lambda-stack-22-04"}
    assert body["user_data"] == "#!/bin/sh\necho hello\n"
    assert {"key": "team", "value": "vision"} in body["tags"]  # type: ignore[operator]
    assert len(body["ssh_key_names"]) == 1  # type: ignore[arg-type]
    found = find(cloud, key)
    assert found is not None
    assert (found.name, found.stays_after_terminate) == ("train", "filesystem data")
    by_id = "43336648-096d-4cba-9aa2-f9bb7727639d"
    cloud.provider.launch(cloud.order(options={"image": by_id}))
    assert sent(cloud)["image"] == {"id": by_id}


# -- keys -------------------------------------------------------------------------------------------------------------


def test_the_own_key_is_uploaded_once_under_a_stable_name(cloud: LambdaCloud) -> None:
    """A second launch, and another machine of the same person, find it there; links know the private half."""
    first = launched(cloud)
    cloud.again().launch(cloud.order())
    (key,) = cloud.fake.keys
    assert key["name"].startswith("gpudash-")
    assert "somebody@" not in key["public_key"]
    assert cloud.fake.count("POST", "/ssh-keys") == 1
    assert first.ssh is not None
    assert first.ssh.identity_file == str(Path.home() / ".ssh" / "id_ed25519")


def test_a_key_that_is_there_under_another_name_is_used(cloud: LambdaCloud) -> None:
    """Nothing is uploaded twice; the private half is known for that name too."""
    public = (Path.home() / ".ssh" / "id_ed25519.pub").read_text()
    cloud.fake.keys.append({"id": "a" * 32, "name": "laptop", "public_key": public})
    instance = launched(cloud)
    assert sent(cloud)["ssh_key_names"] == ["laptop"]
    assert instance.ssh is not None
    assert instance.ssh.identity_file == str(Path.home() / ".ssh" / "id_ed25519")


def test_a_key_that_nobody_here_has_is_refused_and_the_fitting_one_named(cloud: LambdaCloud, tmp_path: Path) -> None:
    """Otherwise nobody could log in, and no guard could be put there."""
    stranger = make_key(tmp_path / "stranger")
    public = (Path.home() / ".ssh" / "id_ed25519.pub").read_text()
    cloud.fake.keys.append({"id": "a" * 32, "name": "hers", "public_key": stranger.text})
    with pytest.raises(UsageError, match="None of the keys at Lambda fits one you have here"):
        cloud.provider.launch(cloud.order(options={"ssh_key_name": "hers"}))
    cloud.fake.keys.append({"id": "b" * 32, "name": "mine", "public_key": public})
    with pytest.raises(UsageError) as caught:
        cloud.provider.launch(cloud.order(options={"ssh_key_name": "hers"}))
    assert (
        caught.value.hint == f"These at Lambda fit keys you have here: mine (fits {Path.home()}/.ssh/id_ed25519.pub)."
    )
    with pytest.raises(ProviderError, match=r"Lambda holds no SSH key named nope\. It holds: hers, mine\."):
        cloud.provider.launch(cloud.order(options={"ssh_key_name": "nope"}))
    cloud.provider.launch(cloud.order(options={"ssh_key_name": "mine"}))
    assert sent(cloud)["ssh_key_names"] == ["mine"]


def test_our_name_with_another_key_is_never_overwritten(cloud: LambdaCloud, tmp_path: Path) -> None:
    """Somebody put it there; the launch says so."""
    cloud.provider.launch(cloud.order())
    cloud.fake.keys[0]["public_key"] = make_key(tmp_path / "other").text
    with pytest.raises(ProviderError, match="holds another key than"):
        cloud.again().launch(cloud.order())


def test_a_lost_answer_to_the_upload_is_looked_up_and_the_launch_goes_on(cloud: LambdaCloud) -> None:
    """What comes before the launch is never ambiguous."""
    with cloud.fake.fault(Fault("lost", takes_effect=True, wire="drop", method="POST", path="/ssh-keys")):
        cloud.provider.launch(cloud.order())
    assert len(cloud.fake.keys) == len(cloud.fake.machines) == 1
    cloud.fake.keys.clear()
    lost = Fault("lost", wire="drop", method="POST", path="/ssh-keys")
    with cloud.fake.fault(lost), pytest.raises(Unreachable, match="was not taken by Lambda") as caught:
        cloud.again().launch(cloud.order())
    assert not isinstance(caught.value, Ambiguous)
    assert len(cloud.fake.machines) == 1


def test_a_key_that_was_taken_away_is_uploaded_again(cloud: LambdaCloud) -> None:
    """Lambda's no at the launch makes us look anew the next time."""
    cloud.provider.launch(cloud.order())
    cloud.fake.keys.clear()
    with pytest.raises(ProviderError, match="SSH key was not found"):
        cloud.provider.launch(cloud.order())
    cloud.provider.launch(cloud.order())
    assert len(cloud.fake.keys) == 1


def test_without_any_key_it_is_said_how_to_make_one(cloud: LambdaCloud) -> None:
    """Nothing is sent."""
    (Path.home() / ".ssh" / "id_ed25519.pub").unlink()
    with pytest.raises(UsageError, match="ssh-keygen -t ed25519"):
        cloud.provider.launch(cloud.order())
    assert cloud.fake.count("POST") == 0


# -- limits -----------------------------------------------------------------------------------------------------------


def test_calls_keep_a_second_apart_and_launches_twelve(cloud: LambdaCloud) -> None:
    """Lambda's published limits hold without a 429 being needed."""
    began = cloud.clock.monotonic()
    for _ in range(4):
        listing(cloud)
    assert 3.0 <= cloud.clock.monotonic() - began < 4.0
    cloud.provider.launch(cloud.order())
    first = cloud.clock.monotonic()
    for _ in range(6):
        cloud.provider.launch(cloud.order())
    assert 72.0 <= cloud.clock.monotonic() - first < 75.0


def test_an_account_with_a_key_elsewhere_and_one_without(cloud: LambdaCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several accounts a cloud, each with its own key; a missing one is named when the account is asked."""
    monkeypatch.setenv("OTHER_KEY", os.environ[KEY_VARIABLE])
    monkeypatch.delenv(KEY_VARIABLE)
    other = cloud.again(api_key_env="OTHER_KEY")
    assert other.list_instances("all").complete
    with pytest.raises(AuthRefused, match=r"no key was found \(looked at \$LAMBDA_API_KEY"):
        cloud.again().list_instances("all")


# -- guards on the host -----------------------------------------------------------------------------------------------


def test_a_host_ends_itself_only_where_the_person_agreed(cloud: LambdaCloud) -> None:
    """Lambda has no lesser key than the account's: without consent the end comes from outside."""
    key = cloud.provider.launch(cloud.order())
    assert cloud.provider.end_spec(key) == {"method": "none"}
    spec = cloud.again(key_on_hosts=True).end_spec(key)
    (step,) = spec["terminate"]  # type: ignore[misc]
    assert set(spec) == {"method", "terminate"}
    assert step["url"] == f"{cloud.fake.url}/api/v1/instance-operations/terminate"
    assert (step["body"], step["token_file"]) == ({"instance_ids": [key.id]}, "account.key")
    assert os.environ[KEY_VARIABLE] not in str(spec)


# -- ends and leftovers -----------------------------------------------------------------------------------------------


def test_a_name_that_leaves_no_room_for_the_token_is_refused(cloud: LambdaCloud) -> None:
    """Cut it would be another name, and without its token a launch could not be found again."""
    made = launched(cloud)
    with pytest.raises(Refused, match="at most"):
        cloud.provider.rename(made, "x" * 60)
    assert find(cloud, made.key) == made


def test_the_end_of_what_is_ending_is_success_though_lambda_says_500(cloud: LambdaCloud) -> None:
    """Its state is read back; a 500 for what runs stays ambiguous."""
    instance = launched(cloud)
    broken = Fault("500", error(500, "global/internal-error", "Oops."), path="/terminate$")
    with cloud.fake.fault(broken), pytest.raises(Ambiguous):
        cloud.provider.terminate(instance.key)
    cloud.provider.terminate(instance.key)
    cloud.provider.terminate(instance.key)
    assert cloud.fake.alive() == set()


def test_a_fresh_instance_that_lambda_does_not_know_yet_is_not_taken_for_gone(cloud: LambdaCloud) -> None:
    """A 404 right after the launch is no proof of an end."""
    key = cloud.provider.launch(cloud.order())
    gone = error(404, "global/object-does-not-exist", "Specified instance does not exist.")
    with cloud.fake.fault(Fault("404", gone, path="/terminate$")), pytest.raises(Unreachable, match="a moment ago"):
        cloud.provider.terminate(key)
    cloud.clock.sleep(61)
    with cloud.fake.fault(Fault("404", gone, path="/terminate$")):
        cloud.provider.terminate(key)


def test_a_fresh_instance_is_not_gone_because_the_read_back_does_not_show_it(cloud: LambdaCloud) -> None:
    """A 500 and then a 404 right after the launch: it is asked for again, and stays on the list."""
    key = cloud.provider.launch(cloud.order())
    broken = Fault("500", error(500, "global/internal-error", "Oops."), path="/terminate$")
    gone = error(404, "global/object-does-not-exist", "Specified instance does not exist.")
    late = Fault("404", gone, path=f"/instances/{key.id}$")
    with cloud.fake.fault(broken), cloud.fake.fault(late), pytest.raises(Ambiguous):
        cloud.provider.terminate(key)
    assert key in {item.key for item in listing(cloud).items}


def test_what_was_ended_at_once_is_not_kept_as_new(cloud: LambdaCloud) -> None:
    """Ended within a minute of its launch and straight to absent: the list without it is the proof."""
    cloud.fake.end_s = cloud.fake.tombstone_s = 0.0
    key = cloud.provider.launch(cloud.order())
    cloud.provider.terminate(key)
    assert listing(cloud).items == ()


def test_filesystems_are_leftovers_with_their_machine(cloud: LambdaCloud) -> None:
    """They bill with and without one; a size that Lambda does not tell has no price."""
    cloud.fake.add_filesystem("data", "us-west-1", 146 * 10**9)
    cloud.fake.add_filesystem("old", "us-east-1")
    instance = launched(cloud, options={"file_system": "data"})
    data, old = cloud.provider.list_leftovers().items
    assert (data.name, data.region, data.size_gb, data.instance_id) == ("data", "us-west-1", 146, instance.key.id)
    assert data.price is not None
    assert (data.price.usd_per_hour, data.price.estimated) == (Decimal("0.04"), True)
    assert (old.name, old.instance_id) == ("old", None)
    without = Fault("sparse", changed(lambda body: {"data": [{"id": "x"} for _ in body["data"]]}), path="/file-systems")
    with cloud.fake.fault(without):
        assert {item.price for item in cloud.provider.list_leftovers().items} == {None}
