"""A DescribeInstances record, read. The sample is what moto's server answered, cut to what is read."""

from __future__ import annotations

import json
from copy import deepcopy
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from gpudash.model.instance import InstanceState
from gpudash.model.money import Price
from gpudash.providers.aws import facts
from gpudash.providers.aws.parse import Known, login_user, parse_instance
from gpudash.providers.aws.prices import Volume

FIRST, LAST = datetime(2026, 3, 1, 8, tzinfo=UTC), datetime(2026, 3, 1, 12, tzinfo=UTC)
SAMPLE: dict[str, Any] = {
    "InstanceId": "i-9576f7fd2c13b3b10",
    "InstanceType": "g5.xlarge",
    "ImageId": "ami-1",
    "KeyName": "gpudash-abc",
    "State": {"Code": 16, "Name": "running"},
    "StateReason": {"Code": "", "Message": ""},
    "LaunchTime": LAST,
    "Placement": {"AvailabilityZone": "us-east-1a"},
    "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeId": "vol-1", "DeleteOnTermination": True}}],
    "NetworkInterfaces": [
        {
            "Attachment": {"AttachTime": FIRST, "DeviceIndex": 0},
            "PrivateIpAddresses": [
                {"Association": {"IpOwnerId": "amazon", "PublicIp": "198.51.100.4"}, "Primary": True}
            ],
        }
    ],
    "PublicIpAddress": "198.51.100.4",
    "PrivateIpAddress": "10.0.0.9",
    "Tags": [{"Key": "Name", "Value": "trainer"}],
}
DISK = Volume("vol-1", 200, "gp3")


def usd(text: str, source: str = "test") -> Price:
    return Price(Decimal(text), source)


KNOWN = Known(
    types=facts.shipped(),
    volumes={"vol-1": DISK, "vol-2": Volume("vol-2", 500, "gp3", goes_with_instance=False)},
    users={"ami-1": "ubuntu"},
    identity_files={"gpudash-abc": "/home/x/.ssh/id_ed25519"},
    on_demand=lambda kind: usd("1.006") if kind == "g5.xlarge" else None,
    spot=lambda _, zone: usd("0.31") if zone == "us-east-1a" else None,
    volume_price=lambda volume: usd("0.022") if volume.id == "vol-1" else None,
    address_price=usd("0.005"),
)


def read(known: Known = KNOWN, marks: dict[str, str] | None = None, **changes: Any) -> Any:
    record = {**deepcopy(SAMPLE), **changes}
    record["Tags"] += [{"Key": key, "Value": value} for key, value in (marks or {}).items()]
    return parse_instance(record, "work", "us-east-1", known)


def test_a_running_instance() -> None:
    """Everything a row shows."""
    found = read()
    assert str(found.key) == "work:i-9576f7fd2c13b3b10"
    assert (found.name, found.state, found.provider_state) == ("trainer", InstanceState.RUNNING, "running")
    assert (found.gpu, found.gpu_count, found.vram_gb) == ("A10G", 1, 24)
    assert (found.created_at, found.started_at) == (FIRST, LAST)
    assert found.price == usd("1.006")
    assert found.storage_price == Price(Decimal("0.027"), "test")
    assert (found.disk_gb, found.lost_on_terminate, found.stays_after_terminate) == (200, "200 GB disk", None)
    assert (found.ssh.host, found.ssh.user, found.ssh.identity_file) == (
        "198.51.100.4", "ubuntu", "/home/x/.ssh/id_ed25519",
    )  # fmt: skip
    assert not found.managed
    json.dumps(found.raw)


@pytest.mark.parametrize(
    ("name", "reason", "state"),
    [
        ("pending", "", InstanceState.STARTING),
        ("running", "", InstanceState.RUNNING),
        ("stopping", "Client.UserInitiatedShutdown", InstanceState.STOPPING),
        ("stopped", "Client.UserInitiatedShutdown", InstanceState.STOPPED),
        ("stopped", "Client.InstanceInitiatedShutdown", InstanceState.STOPPED),
        ("stopped", "Client.UserInitiatedHibernate", InstanceState.HIBERNATED),
        ("shutting-down", "Client.UserInitiatedShutdown", InstanceState.TERMINATING),
        ("terminated", "Client.UserInitiatedShutdown", InstanceState.TERMINATED),
        ("terminated", "Server.InsufficientInstanceCapacity", InstanceState.TERMINATED),
        ("rebuilding", "", InstanceState.UNKNOWN),
    ],
)
def test_states(name: str, reason: str, state: InstanceState) -> None:
    """Six names, and the reason that refines them."""
    assert read(State={"Name": name}, StateReason={"Code": reason}).state is state


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("Client.UserInitiatedShutdown", None),
        ("Client.InstanceInitiatedShutdown", "powered itself off"),
        ("Server.SpotInstanceTermination", "spot: reclaimed by AWS"),
        ("Server.InsufficientInstanceCapacity", "AWS has no capacity for it"),
        ("Server.NewReason", "Server.NewReason"),
    ],
)
def test_why_it_is_down(reason: str, words: str | None) -> None:
    """Whoever ended it is named, unless it was a person."""
    assert read(State={"Name": "stopped"}, StateReason={"Code": reason}).notice == words


def test_a_stopped_instance_pays_its_disk_and_no_released_address() -> None:
    """An address of AWS's own pool is given back by a stop."""
    found = read(State={"Name": "stopped"})
    assert found.storage_price == Price(Decimal("0.022"), "test")
    assert found.ssh is None


def test_an_elastic_address_is_paid_while_stopped_and_stays() -> None:
    """It belongs to the account."""
    interface = deepcopy(SAMPLE["NetworkInterfaces"])
    own = {"IpOwnerId": "123456789012", "PublicIp": "198.51.100.9", "AllocationId": "eipalloc-1"}
    interface[0]["PrivateIpAddresses"][0]["Association"] = own
    found = read(State={"Name": "stopped"}, NetworkInterfaces=interface, OwnerId="123456789012")
    assert found.storage_price == Price(Decimal("0.027"), "test")
    assert found.stays_after_terminate == "address 198.51.100.9"


def test_a_disk_that_outlives_it_is_told() -> None:
    """DeleteOnTermination is off."""
    more = [*SAMPLE["BlockDeviceMappings"], {"DeviceName": "/dev/sdf", "Ebs": {"VolumeId": "vol-2"}}]
    found = read(BlockDeviceMappings=more)
    assert (found.lost_on_terminate, found.stays_after_terminate) == ("200 GB disk", "500 GB disk")
    assert found.storage_price is None, "a disk without a price leaves the sum unknown"


def test_unknown_stays_unknown() -> None:
    """Nothing is guessed from a type's name."""
    found = read(Known(), InstanceType="g99.huge")
    assert (found.gpu, found.gpu_count, found.price, found.storage_price, found.disk_gb) == (None,) * 5


def test_spot_price_is_that_of_its_zone() -> None:
    """Zones differ."""
    assert read(InstanceLifecycle="spot").price == usd("0.31")
    assert read(InstanceLifecycle="spot", Placement={"AvailabilityZone": "us-east-1b"}).price is None


def test_capacity_block_has_no_hourly_price() -> None:
    """It is prepaid; the list price would be wrong."""
    assert read(CapacityBlockId="cb-1").price is None


def test_managed_is_only_what_carries_our_tag() -> None:
    """An instance of spawn shows its limits and is not ours to end."""
    found = read(marks={"spawn:managed": "true", "spawn:ttl-deadline": "2026-03-01T20:00:00Z", "spawn:parent": "i-0"})
    assert (found.managed, found.parent) == (False, "i-0")
    assert found.tag_policy is not None
    assert found.raw["managed_by"] == "spawn"
    assert read(marks={"gpudash:managed": "true"}).managed


def test_spawn_tells_its_first_launch() -> None:
    """Its own tag is better than the network interface."""
    assert read(marks={"spawn:launch-time": "2026-02-01T00:00:00Z"}).created_at == datetime(2026, 2, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("image", "user"),
    [
        ("Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 22.04) 20261001", "ubuntu"),
        ("al2023-ami-2023.12-kernel-6.18-x86_64", "ec2-user"),
        ("debian-12-amd64", "admin"),
        ("", "ec2-user"),
    ],
)
def test_login_user(image: str, user: str) -> None:
    """By the image's name."""
    assert login_user(image) == user


def test_a_record_with_almost_nothing_is_read() -> None:
    """What a terminated instance keeps after a while."""
    found = parse_instance({"InstanceId": "i-1", "State": {"Name": "terminated"}}, "work", "us-east-1", KNOWN)
    assert (found.state, found.storage_price, found.name) == (InstanceState.TERMINATED, None, "i-1")
