"""Listings: how many calls they cost, how they stream, and what they say when a region fails."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from support import moto_server
from support.aws_cloud import REGION, AwsCloud, aws_environment, linux_image, no_answer, raw_client, says
from support.clouds import NOON, launched, listing

from gpudash.clock import ManualClock, SystemClock
from gpudash.errors import AuthRefused, GpudashError, RateLimited, Unreachable
from gpudash.model.instance import Instance
from gpudash.model.listing import Listing
from gpudash.providers.aws import provider as provider_module
from gpudash.providers.aws.provider import AwsProvider
from gpudash.providers.aws.regions import DEFAULT_REGIONS
from gpudash.providers.parallel import side_by_side

LIST = "ec2:DescribeInstances"


def strangers(count: int, region: str = REGION, **changes: Any) -> list[str]:
    """Instances that nobody of ours made."""
    ec2 = raw_client("ec2", region)
    wanted = {"ImageId": linux_image(), "InstanceType": "g5.xlarge", "MinCount": 1, "MaxCount": 1, **changes}
    return [ec2.run_instances(**wanted)["Instances"][0]["InstanceId"] for _ in range(count)]


def test_a_cycle_without_news_is_one_describe_stream(cloud: AwsCloud) -> None:
    """No call an instance, none for what is known."""
    strangers(7)
    first = listing(cloud)
    cloud.wire.calls.clear()
    second = listing(cloud)
    assert cloud.wire.calls == [(LIST, REGION)]
    assert all(a is b for a, b in zip(first.items, second.items, strict=True)), "what did not change is the same object"


def test_news_cost_bulk_questions_and_no_call_an_instance(cloud: AwsCloud) -> None:
    """Whatever the number."""
    strangers(12)
    listing(cloud)
    assert {name: cloud.wire.count(name) for name, _ in cloud.wire.calls} == {
        LIST: 1,
        "ec2:DescribeVolumes": 1,
        "ec2:DescribeImages": 1,
        "pricing:GetProducts": 2,
    }


def test_the_next_program_asks_no_second_time_for_disks(cloud: AwsCloud) -> None:
    """For a day; then they are asked for again, because a disk can be enlarged."""
    strangers(2)
    listing(cloud)
    again = cloud.again()
    assert all(item.storage_price for item in again.list_instances(REGION).items)
    assert cloud.wire.count("ec2:DescribeVolumes") == 1
    cloud.clock.advance(90_000)  # type: ignore[attr-defined]
    again.list_instances(REGION)
    assert cloud.wire.count("ec2:DescribeVolumes") == 2


def test_a_disk_that_is_gone_does_not_hide_the_others(cloud: AwsCloud) -> None:
    """Between the listing and the question for disks."""
    strangers(2)
    answers = iter([says("InvalidVolume.NotFound"), lambda *_: None])
    with cloud.wire.broken(lambda *given: next(answers)(*given), "ec2:DescribeVolumes"):
        assert [item.disk_gb for item in listing(cloud).items] == [8, 8]


def test_only_what_changed_is_a_new_object(cloud: AwsCloud) -> None:
    """The rest can be compared with `is`."""
    ids = strangers(3)
    before = {item.key.id: item for item in listing(cloud).items}
    raw_client("ec2").stop_instances(InstanceIds=ids[:1])
    after = {item.key.id: item for item in listing(cloud).items}
    assert [after[i] is before[i] for i in ids] == [False, True, True]


def test_strangers_are_listed_unmanaged_with_everything_they_cost(cloud: AwsCloud) -> None:
    """Compute, disk and address."""
    strangers(1)
    (found,) = listing(cloud).items
    assert not found.managed
    assert found.price is not None
    assert found.storage_price is not None
    assert found.storage_price.usd_per_hour > 0
    assert found.disk_gb == 8


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider_module, "PAGE_SIZE", 5)


@pytest.mark.usefixtures("small_pages")
def test_pages_are_handed_on_as_they_come(cloud: AwsCloud) -> None:
    """Rows appear with the first page; only the last listing is complete."""
    strangers(12)
    came: list[Listing[Instance]] = []
    asked: list[int] = []

    def came_in(part: Listing[Instance]) -> None:
        came.append(part)
        asked.append(cloud.wire.count(LIST))

    came_in(cloud.provider.list_in_pages(REGION, came_in))
    assert [(len(part.items), part.complete) for part in came] == [(5, False), (5, False), (2, False), (12, True)]
    assert asked == [1, 2, 3, 3]
    assert all(item.price and item.storage_price for part in came for item in part.items)


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize(
    "fault", [no_answer, says("RequestLimitExceeded", status=503), says("InternalError", status=500)]
)
def test_a_page_that_fails_leaves_an_incomplete_listing(cloud: AwsCloud, fault: Any) -> None:
    """What came is shown; what did not is not gone."""
    strangers(12)
    answers = iter([lambda *_: None, fault, fault, fault])
    with cloud.wire.broken(lambda *given: next(answers)(*given), LIST):
        found = listing(cloud)
    assert (len(found.items), found.complete) == (5, False)
    assert "Could not list instances" in str(found.problem)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (says("UnauthorizedOperation", status=403), AuthRefused),
        (says("AuthFailure", status=401), AuthRefused),
        (says("OptInRequired", status=401), AuthRefused),
        (says("ExpiredToken"), AuthRefused),
        (says("RequestLimitExceeded", status=503), RateLimited),
        (says("InternalError", status=500), Unreachable),
        (no_answer, Unreachable),
    ],
)
def test_a_first_page_that_fails_is_an_error(cloud: AwsCloud, fault: Any, error: type[GpudashError]) -> None:
    """Never an empty list."""
    strangers(1)
    with cloud.wire.broken(fault, LIST), pytest.raises(error):
        listing(cloud)
    assert len(listing(cloud).items) == 1


@pytest.mark.parametrize("denied", ["ec2:DescribeVolumes", "ec2:DescribeImages", "pricing:GetProducts"])
def test_a_denied_extra_costs_only_its_column(cloud: AwsCloud, denied: str) -> None:
    """The row stays, the value is unknown, and it is not asked for again at once."""
    strangers(1)
    with cloud.wire.broken(says("UnauthorizedOperation", status=403), denied):
        first, second = listing(cloud), listing(cloud)
    assert first.complete
    assert second.complete
    assert cloud.wire.count(denied) == 1
    assert (first.items[0].storage_price is None) == (denied == "ec2:DescribeVolumes")


def test_a_denied_region_is_its_own_fault(cloud: AwsCloud) -> None:
    """The other one is listed."""
    strangers(1, "eu-west-1")

    def deny(model: Any, context: Any, **_: Any) -> Any:
        return says("UnauthorizedOperation", status=403)("", {}) if context["client_region"] == REGION else None

    for region in (REGION, "eu-west-1"):
        cloud.provider.clients.read("ec2", region).meta.events.register_first("before-call.ec2.DescribeInstances", deny)
    with pytest.raises(AuthRefused):
        cloud.provider.list_instances(REGION)
    assert len(cloud.provider.list_instances("eu-west-1").items) == 1


def test_missing_credentials_are_said_and_a_later_log_in_is_seen(
    monkeypatch: pytest.MonkeyPatch, cloud: AwsCloud
) -> None:
    """Without a restart of the program."""
    provider = cloud.again()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(AuthRefused, match="credentials"):
        provider.list_instances(REGION)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    assert provider.list_instances(REGION).complete


def test_an_unknown_profile_is_refused_credentials(cloud: AwsCloud) -> None:
    """With its name."""
    cloud.account = replace(cloud.account, profile="nowhere")
    with pytest.raises(AuthRefused, match="nowhere"):
        cloud.again().list_instances(REGION)


@contextmanager
def silent_server() -> Iterator[str]:
    """Takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []

        def take() -> None:
            while True:
                try:
                    held.append(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=take, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            for connection in held:
                connection.close()


def test_a_region_that_hangs_is_given_up_in_bounded_time(cloud: AwsCloud) -> None:
    """Two attempts of fifteen seconds, here two hundred times as fast, over a real connection."""
    with silent_server() as url:
        cloud.account = replace(cloud.account, base_url=url)
        cloud.settings["patience"] = 0.005
        hanging = cloud.again()
        clock = SystemClock()
        before = clock.monotonic()
        with pytest.raises(Unreachable):
            hanging.list_instances(REGION)
        assert clock.monotonic() - before < 10
        assert cloud.wire.count(LIST) == 1


def test_regions_answer_side_by_side() -> None:
    """One that never ends is one error."""
    forever = threading.Event()

    def ask(region: str) -> str:
        if region == "hangs":
            forever.wait(60)
        if region == "denied":
            raise AuthRefused("no")
        return region.upper()

    found = side_by_side(["a", "hangs", "denied", "b"], ask, timeout_s=1.5)
    forever.set()
    assert (found["a"], found["b"]) == ("A", "B")
    assert isinstance(found["hangs"], Unreachable)
    assert isinstance(found["denied"], AuthRefused)


def test_regions_of_settings_are_all_there_are(cloud: AwsCloud) -> None:
    """Nobody is asked."""
    assert cloud.provider.regions() == (REGION,)
    assert cloud.wire.calls == []


def test_regions_are_asked_for_once_a_day_and_remembered() -> None:
    """By the next program too; those that every account has come first."""
    with aws_environment():
        moto_server.reset()
        clock = ManualClock(NOON)
        cloud = AwsCloud(clock, regions=())
        told = {"Regions": [{"RegionName": "me-south-1"}, {"RegionName": "us-east-1"}]}
        with cloud.wire.broken(lambda *_: (_ok(), told), "ec2:DescribeRegions"):
            assert cloud.provider.regions() == cloud.provider.regions() == cloud.again().regions()
            assert cloud.provider.regions() == ("us-east-1", "me-south-1")
            assert cloud.wire.count("ec2:DescribeRegions") == 1
            clock.advance(90_000)
            cloud.provider.regions()
            assert cloud.wire.count("ec2:DescribeRegions") == 2


def test_regions_that_may_not_be_asked_for_are_those_of_everybody() -> None:
    """No fault, and not asked for again at once."""
    with aws_environment():
        moto_server.reset()
        cloud = AwsCloud(ManualClock(NOON), regions=())
        with cloud.wire.broken(says("UnauthorizedOperation", status=403), "ec2:DescribeRegions"):
            assert cloud.provider.regions() == cloud.provider.regions() == DEFAULT_REGIONS
        assert cloud.wire.count("ec2:DescribeRegions") == 1


def test_without_credentials_there_are_no_regions_to_fail_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """One problem, said once."""
    with aws_environment():
        monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)
        cloud = AwsCloud(ManualClock(NOON), regions=())
        with pytest.raises(AuthRefused, match="credentials"):
            cloud.provider.regions()


def _ok() -> Any:
    from support.aws_cloud import Http

    return Http()


def test_all_regions_of_a_cycle_cost_one_call_each() -> None:
    """Seventeen lanes at once, over one Session."""
    with aws_environment():
        moto_server.reset()
        cloud = AwsCloud(ManualClock(NOON), regions=DEFAULT_REGIONS)
        strangers(1, "ap-south-1")
        found = side_by_side(DEFAULT_REGIONS, lambda region: cloud.provider.list_instances(region))
        cloud.wire.calls.clear()
        side_by_side(DEFAULT_REGIONS, lambda region: cloud.provider.list_instances(region))
        assert sorted(cloud.wire.calls) == sorted((LIST, region) for region in DEFAULT_REGIONS)
        assert sum(len(item.items) for item in found.values() if isinstance(item, Listing)) == 1
        cloud.provider.close()


def test_an_instance_that_ec2_forgot_is_forgotten_here(cloud: AwsCloud) -> None:
    """What was parsed of it does not pile up."""
    launched(cloud)
    with cloud.trouble("empty list"):
        listing(cloud)
    assert cloud.provider._parsed[REGION] == {}


def test_close_lets_go(cloud: AwsCloud) -> None:
    """And may be called before anything was opened."""
    AwsProvider(cloud.account, cloud.clock).close()
