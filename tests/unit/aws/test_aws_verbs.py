"""Start, stop, hibernate, terminate, tags, and how a host ends itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from support import moto_server
from support.aws_cloud import REGION, AwsCloud, Http, linux_image, raw_client, says
from support.clouds import find, launched, listing, reach

from gpudash.errors import (
    AuthRefused,
    NoCapacity,
    ProviderError,
    RateLimited,
    Refused,
    Unreachable,
    Unsupported,
    UsageError,
)
from gpudash.model.instance import InstanceKey, InstanceState
from gpudash.model.policy import EndAction, Policy
from gpudash.model.tags import policy_tags
from gpudash.providers.aws.verbs import end_chain

KEY = InstanceKey("aws", REGION, "i-1")
SPOT = {"InstanceLifecycle": "spot", "SpotInstanceRequestId": "sir-1"}


def spot_lives(cloud: AwsCloud, kind: str) -> Any:
    """moto makes no request for a spot launch; here every instance has one of that kind."""

    def mark(_: str, parsed: dict[str, Any]) -> None:
        for reservation in parsed.get("Reservations", []):
            for record in reservation["Instances"]:
                record.update(SPOT)
        if "SpotInstanceRequests" in parsed:
            parsed["SpotInstanceRequests"] = [{"SpotInstanceRequestId": "sir-1", "Type": kind, "State": "active"}]

    return cloud.wire.broken(mark, "ec2:DescribeInstances", "ec2:DescribeSpotInstanceRequests", afterwards=True)


def test_transitions_take_time_and_are_seen(cloud: AwsCloud) -> None:
    """Stopping, pending and shutting-down are states of their own."""
    with moto_server.slow_transitions(1.5):
        instance = launched(cloud)
        cloud.provider.stop(instance.key)
        assert find(cloud, instance.key).state is InstanceState.STOPPING  # type: ignore[union-attr]
        with pytest.raises(ProviderError, match="Wait until it has stopped"):
            cloud.provider.start(instance.key)
        reach(cloud, instance.key, InstanceState.STOPPED)
        cloud.provider.start(instance.key)
        assert find(cloud, instance.key).state is InstanceState.STARTING  # type: ignore[union-attr]
        reach(cloud, instance.key, InstanceState.RUNNING)
        cloud.provider.terminate(instance.key)
        assert find(cloud, instance.key).state is InstanceState.TERMINATING  # type: ignore[union-attr]
        reach(cloud, instance.key, InstanceState.TERMINATED)


def test_hibernate_asks_for_memory_to_be_kept(cloud: AwsCloud) -> None:
    """And the state shows once EC2 gives that reason."""
    instance = launched(cloud)
    cloud.provider.hibernate(instance.key)
    assert cloud.wire.sent["ec2:StopInstances"] == [{"InstanceIds": [instance.key.id], "Hibernate": True}]
    moto_server.set_state(REGION, instance.key.id, "stopped", "Client.UserInitiatedHibernate")
    assert find(cloud, instance.key).state is InstanceState.HIBERNATED  # type: ignore[union-attr]


def test_hibernate_that_was_not_prepared_is_refused(cloud: AwsCloud) -> None:
    """It can only be had at launch."""
    instance = launched(cloud, instance_type="t3.micro")
    with pytest.raises(Unsupported, match="cannot be added later"):
        cloud.provider.hibernate(instance.key)
    assert cloud.wire.count("ec2:StopInstances") == 0


def test_one_time_spot_cannot_be_stopped(cloud: AwsCloud) -> None:
    """moto would do it; EC2 would not."""
    instance = launched(cloud)
    with spot_lives(cloud, "one-time"), pytest.raises(Unsupported, match="one-time spot"):
        cloud.provider.stop(instance.key)
    with cloud.wire.broken(says("UnsupportedOperation"), "ec2:StopInstances"), pytest.raises(Unsupported):
        cloud.provider.stop(instance.key)


def test_persistent_spot_can_be_stopped(cloud: AwsCloud) -> None:
    """That is what it is for."""
    instance = launched(cloud)
    with spot_lives(cloud, "persistent"):
        cloud.provider.stop(instance.key)
    reach(cloud, instance.key, InstanceState.STOPPED)


def test_the_spot_request_is_cancelled_before_its_instance_ends(cloud: AwsCloud) -> None:
    """Else it would launch another."""
    instance = launched(cloud)
    ended: list[str] = []

    def note(name: str, _: dict[str, Any]) -> Any:
        ended.append(name)
        return says("InvalidSpotInstanceRequestID.NotFound")("", {}) if "Cancel" in name else None

    with (
        spot_lives(cloud, "persistent"),
        cloud.wire.broken(note, "ec2:CancelSpotInstanceRequests", "ec2:TerminateInstances"),
    ):
        cloud.provider.terminate(instance.key)
    assert ended == ["ec2:CancelSpotInstanceRequests", "ec2:TerminateInstances"]


def test_a_request_that_cannot_be_cancelled_keeps_its_instance(cloud: AwsCloud) -> None:
    """Ending it now would start it anew, unguarded."""
    instance = launched(cloud)
    denied = says("UnauthorizedOperation", status=403)
    with (
        spot_lives(cloud, "persistent"),
        cloud.wire.broken(denied, "ec2:CancelSpotInstanceRequests"),
        pytest.raises(AuthRefused),
    ):
        cloud.provider.terminate(instance.key)
    assert cloud.wire.count("ec2:TerminateInstances") == 0


def test_ended_by_someone_else(cloud: AwsCloud) -> None:
    """A colleague in the console was faster: success for an end, a definite no for a start."""
    instance = launched(cloud)
    raw_client("ec2").terminate_instances(InstanceIds=[instance.key.id])
    cloud.provider.terminate(instance.key)
    assert cloud.wire.count("ec2:TerminateInstances") == 0
    with pytest.raises(ProviderError, match="cannot come back"):
        cloud.provider.start(instance.key)


def test_two_dashboards_end_the_same_instance(cloud: AwsCloud) -> None:
    """Both are told that it worked; both see it."""
    instance = launched(cloud)
    other = cloud.again()
    with moto_server.slow_transitions(0.2):
        cloud.provider.terminate(instance.key)
        other.terminate(instance.key)
    moto_server.set_state(REGION, instance.key.id, "terminated", "Client.UserInitiatedShutdown")
    assert other.list_instances(REGION).items[0].state is InstanceState.TERMINATED


def test_the_second_to_end_it_may_find_no_trace(cloud: AwsCloud) -> None:
    """EC2 has forgotten it between look and call."""
    instance = launched(cloud)
    with cloud.wire.broken(says("InvalidInstanceID.NotFound"), "ec2:TerminateInstances"):
        cloud.provider.terminate(instance.key)


def test_what_ec2_has_forgotten_is_gone_unless_it_was_launched_a_moment_ago(cloud: AwsCloud) -> None:
    """An ended instance is shown for about an hour; a fresh one may not be shown yet."""
    fresh = cloud.again()
    fresh._recent.visible_after_s = 60
    instance_id = fresh.launch(cloud.order())
    moto_server.reset()
    with pytest.raises(Unreachable, match="a moment ago"):
        fresh.is_gone(instance_id)
    assert cloud.provider.is_gone(instance_id)
    with cloud.wire.broken(lambda *_: (Http(), {"Reservations": []}), "ec2:DescribeInstances"):
        assert cloud.provider.is_gone(KEY), "an id that is somebody else's is left out of the answer"


def test_termination_protection_says_what_to_do(cloud: AwsCloud) -> None:
    """And keeps EC2's words."""
    instance = launched(cloud)
    raw_client("ec2").modify_instance_attribute(InstanceId=instance.key.id, DisableApiTermination={"Value": True})
    with pytest.raises(ProviderError, match="protection"):
        cloud.provider.terminate(instance.key)


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        ("InsufficientInstanceCapacity", 500, NoCapacity),
        ("UnauthorizedOperation", 403, AuthRefused),
        ("RequestLimitExceeded", 503, RateLimited),
        ("IncorrectInstanceState", 400, ProviderError),
        ("IncorrectSpotRequestState", 400, ProviderError),
    ],
)
def test_a_start_that_is_refused(cloud: AwsCloud, code: str, status: int, error: type[Exception]) -> None:
    """Each in its kind; the instance stays stopped."""
    instance = launched(cloud)
    cloud.provider.stop(instance.key)
    with cloud.wire.broken(says(code, status=status), "ec2:StartInstances"), pytest.raises(error):
        cloud.provider.start(instance.key)
    assert find(cloud, instance.key).state is InstanceState.STOPPED  # type: ignore[union-attr]


def test_tags_may_be_named_short_and_an_empty_text_clears(cloud: AwsCloud) -> None:
    """Nothing is sent where nothing changes."""
    instance = launched(cloud)
    cloud.provider.set_tags(instance.key, {"idle-timeout": "45m", "Name": "renamed"})
    assert find(cloud, instance.key).name == "renamed"  # type: ignore[union-attr]
    calls = cloud.wire.count("ec2:CreateTags")
    cloud.provider.set_tags(instance.key, {"idle-timeout": "45m"})
    assert cloud.wire.count("ec2:CreateTags") == calls
    cloud.provider.set_tags(instance.key, {"idle-timeout": ""})
    assert find(cloud, instance.key).tag_policy.idle_timeout is None  # type: ignore[union-attr]


def test_the_hard_deadline_never_moves(cloud: AwsCloud) -> None:
    """Neither on nor away."""
    hard = datetime(2026, 3, 2, tzinfo=UTC)
    instance = launched(cloud, policy=Policy(hard_deadline=hard))
    for later in (hard + timedelta(hours=1), None):
        with pytest.raises(Refused, match="never moved"):
            cloud.provider.set_tags(instance.key, policy_tags(Policy(hard_deadline=later)))


def test_wrong_tags_are_refused(cloud: AwsCloud) -> None:
    """Before anything is sent."""
    instance = launched(cloud)
    with pytest.raises(UsageError):
        cloud.provider.set_tags(instance.key, {"kubernetes.io/x": "1"})
    with pytest.raises(UsageError, match="time zone"):
        cloud.provider.set_tags(instance.key, {"lease-deadline": "2026-03-01T12:00:00"})


def spawned(**marks: str) -> InstanceKey:
    """An instance as spawn makes them."""
    ec2 = raw_client("ec2")
    tags = [
        {"Key": f"spawn:{key.replace('_', '-')}", "Value": value} for key, value in {"managed": "true", **marks}.items()
    ]
    made = ec2.run_instances(
        ImageId=linux_image(), InstanceType="t3.micro", MinCount=1, MaxCount=1,
        TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
    )  # fmt: skip
    return InstanceKey("aws", REGION, made["Instances"][0]["InstanceId"])


def test_an_extended_instance_of_spawn_obeys_its_own_agent_too(cloud: AwsCloud) -> None:
    """Deadline and TTL are both rewritten, and the policy is read back."""
    key = spawned(ttl="2h", ttl_deadline="2026-03-01T14:00:00Z", launch_time="2026-03-01T12:00:00Z")
    until = datetime(2026, 3, 1, 18, tzinfo=UTC)
    cloud.provider.set_tags(key, policy_tags(Policy(lease_deadline=until)))
    (found,) = listing(cloud).items
    marks: Any = found.raw["Tags"]
    assert (marks["spawn:ttl-deadline"], marks["spawn:ttl"]) == ("2026-03-01T18:00:00Z", "6h0m0s")
    assert found.tag_policy is not None
    assert found.tag_policy.lease_deadline == until
    assert not found.managed


def test_spawns_cost_limit_would_end_it_all_the_same(cloud: AwsCloud) -> None:
    """An extend that its agent would not keep is refused, with the figure."""
    key = spawned(ttl_deadline="2026-03-01T14:00:00Z", launch_time="2026-03-01T12:00:00Z", cost_limit="0.05")
    assert listing(cloud).items[0].price.usd_per_hour == Decimal("0.0104")  # type: ignore[union-attr]
    cloud.provider.set_tags(key, {"lease-deadline": "2026-03-01T16:00:00Z"})
    with pytest.raises(Refused, match=r"cost limit of \$0.05"):
        cloud.provider.set_tags(key, {"lease-deadline": "2026-03-01T20:00:00Z"})


def test_spawn_limits_show(cloud: AwsCloud) -> None:
    """Though it is not ours to end."""
    spawned(idle_timeout="1h30m", hibernate_on_idle="true")
    (found,) = listing(cloud).items
    assert found.tag_policy is not None
    assert (found.tag_policy.idle_timeout, found.tag_policy.idle_action) == (timedelta(minutes=90), EndAction.HIBERNATE)


@pytest.mark.parametrize(
    ("behaviour", "has_profile", "spot", "expected"),
    [
        ("stop", True, False, {"stop": "poweroff ec2", "terminate": "ec2", "poweroff": "poweroff"}),
        ("stop", False, False, {"stop": "poweroff", "poweroff": "poweroff"}),
        ("stop", True, True, {"stop": "poweroff ec2", "terminate": "poweroff", "poweroff": "poweroff"}),
        ("terminate", True, False, {"terminate": "poweroff ec2", "stop": "ec2"}),
        ("terminate", False, False, {"terminate": "poweroff"}),
    ],
)
def test_how_a_host_ends_itself(behaviour: str, has_profile: bool, spot: bool, expected: dict[str, str]) -> None:
    """Power-off for what it means there; it is never a rung below stop where it destroys the disk."""
    spec: dict[str, Any] = end_chain(
        REGION, behaviour, has_profile=has_profile, can_hibernate=False, is_persistent_spot=spot
    )
    assert spec.pop("method") == "chain"
    assert {name: " ".join(step["method"] for step in steps) for name, steps in spec.items()} == expected


def test_a_host_that_can_hibernate_asks_the_api(cloud: AwsCloud) -> None:
    """A power-off cannot reach it."""
    instance = launched(cloud)
    spec = cloud.provider.end_spec(instance.key)
    (step,) = spec["hibernate"]  # type: ignore[misc]
    assert (step["method"], step["region"]) == ("ec2", REGION)
