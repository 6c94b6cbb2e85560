"""What would be sent to RunInstances; nothing is."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.systemd import UNITS, machine_disk, systemd_says

from gpudash.errors import Unsupported, UsageError
from gpudash.model.offer import LaunchOrder
from gpudash.model.policy import EndAction, Policy
from gpudash.providers.aws import facts, request
from gpudash.providers.aws.facts import TypeFacts
from gpudash.providers.aws.images import Image
from gpudash.providers.aws.userdata import with_hard_deadline

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
IMAGE = Image("ami-1", "Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 22.04)", "x86_64", "/dev/sda1", 65)
G5 = facts.shipped()["g5.xlarge"]
M5 = TypeFacts("m5.large", "x86_64", 2, 8192, can_hibernate=True)
POLICY = Policy(
    lease_deadline=NOON + timedelta(hours=4),
    hard_deadline=NOON + timedelta(hours=24),
    idle_timeout=timedelta(minutes=30),
)


def order(policy: Policy = POLICY, options: dict[str, str] | None = None, **changes: Any) -> LaunchOrder:
    base = LaunchOrder("token-1", "work", "us-east-1", "g5.xlarge", "trainer", False, policy, options=options or {})
    return replace(base, **changes)


def built(made: LaunchOrder, kind: TypeFacts = G5, image: Image = IMAGE, profile: str | None = None) -> dict[str, Any]:
    request.check_options(made)
    plan = request.plan(made, kind, image)
    return request.build(
        plan, client_token="t", subnet_id="subnet-1", group_ids=["sg-1"], key_name="gpudash-k", profile=profile
    )


def marks(sent: dict[str, Any], kind: str = "instance") -> dict[str, str]:
    (found,) = (spec["Tags"] for spec in sent["TagSpecifications"] if spec["ResourceType"] == kind)
    return {tag["Key"]: tag["Value"] for tag in found}


def test_defaults_are_safe() -> None:
    """One instance, one disk under the image's own name, nothing that stays, tags readable, IMDSv2 only."""
    sent = built(order())
    (disk,) = sent["BlockDeviceMappings"]
    assert (sent["MinCount"], sent["MaxCount"], sent["ClientToken"]) == (1, 1, "t")
    assert disk["DeviceName"] == "/dev/sda1"
    assert disk["Ebs"] == {"VolumeSize": 100, "VolumeType": "gp3", "DeleteOnTermination": True, "Encrypted": True}
    assert sent["NetworkInterfaces"][0]["DeleteOnTermination"] is True
    assert sent["MetadataOptions"]["HttpTokens"] == "required"
    assert sent["MetadataOptions"]["InstanceMetadataTags"] == "enabled"
    assert "InstanceMarketOptions" not in sent
    assert "HibernationOptions" not in sent


def test_tags_carry_token_policy_and_login() -> None:
    """On the instance, its disk and its interface alike."""
    sent = built(order(service_port=8000, options={"parent": "i-1", "tag.team": "vision", "owner": "Ada L"}))
    assert marks(sent) == {
        "Name": "trainer",
        "gpudash:managed": "true",
        "gpudash:owner": "Ada-L",
        "gpudash:launch-token": "token-1",
        "gpudash:lease-deadline": "2026-03-01T16:00:00Z",
        "gpudash:hard-deadline": "2026-03-02T12:00:00Z",
        "gpudash:idle-timeout": "30m",
        "gpudash:idle-action": "stop",
        "gpudash:lease-action": "terminate",
        "gpudash:revision": "1",
        "gpudash:ssh-user": "ubuntu",
        "gpudash:service-port": "8000",
        "gpudash:parent": "i-1",
        "team": "vision",
    }
    assert marks(sent, "volume") == marks(sent, "network-interface") == marks(sent)


@pytest.mark.parametrize(
    ("policy", "spot", "behaviour"),
    [
        (POLICY, False, "stop"),
        (Policy(), False, "stop"),
        (replace(POLICY, idle_action=EndAction.TERMINATE), False, "terminate"),
        (Policy(lease_deadline=NOON), False, "terminate"),
        (replace(POLICY, idle_action=EndAction.TERMINATE), True, "terminate"),
        (Policy(), True, "terminate"),
        (POLICY, True, "stop"),
    ],
)
def test_what_a_power_off_does(policy: Policy, spot: bool, behaviour: str) -> None:
    """Terminate only where nothing gentler is wanted by any limit."""
    assert built(order(policy, spot=spot))["InstanceInitiatedShutdownBehavior"] == behaviour


def test_one_time_spot_where_nothing_stops() -> None:
    """The order's cap is the maximum price."""
    sent = built(order(Policy(), spot=True, max_price=Decimal("0.50")))
    assert sent["InstanceMarketOptions"] == {
        "MarketType": "spot",
        "SpotOptions": {"SpotInstanceType": "one-time", "MaxPrice": "0.50"},
    }
    assert "spot-instances-request" in {spec["ResourceType"] for spec in sent["TagSpecifications"]}


def test_persistent_spot_where_the_policy_stops() -> None:
    """It stops when interrupted, and its request ends with the hard deadline."""
    sent = built(order(spot=True, options={"spot_max_price": "0.45"}))
    assert sent["InstanceMarketOptions"]["SpotOptions"] == {
        "SpotInstanceType": "persistent",
        "InstanceInterruptionBehavior": "stop",
        "ValidUntil": POLICY.hard_deadline,
        "MaxPrice": "0.45",
    }


def test_one_time_spot_that_must_stop_is_refused() -> None:
    """EC2 cannot stop it."""
    with pytest.raises(Unsupported, match="cannot be stopped"):
        built(order(spot=True, options={"spot_type": "one-time"}))


@pytest.mark.parametrize(
    "changes", [{"policy": replace(POLICY, idle_action=EndAction.HIBERNATE)}, {"options": {"hibernate": "true"}}]
)
def test_hibernation_is_refused_with_the_reason_on_a_gpu_type(changes: dict[str, Any]) -> None:
    """No type with a GPU can."""
    with pytest.raises(Unsupported, match="no type with a GPU can") as caught:
        built(order(**changes))
    assert "stop or terminate" in str(caught.value)


def test_hibernation_makes_room_for_the_memory() -> None:
    """Encrypted, and big enough for image, memory and a little more."""
    plain = replace(IMAGE, root_gb=8)
    sent = built(order(replace(POLICY, idle_action=EndAction.HIBERNATE), instance_type="m5.large"), M5, plain)
    assert sent["HibernationOptions"] == {"Configured": True}
    assert sent["BlockDeviceMappings"][0]["Ebs"]["Encrypted"] is True
    assert sent["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"] == 30
    with pytest.raises(UsageError, match="needs 8 GB and the memory 8 GB"):
        built(order(options={"hibernate": "true", "disk_gb": "10"}, instance_type="m5.large"), M5, plain)


def test_hibernation_of_too_much_memory_is_refused() -> None:
    """EC2's limit is 150 GiB."""
    with pytest.raises(Unsupported, match="150 GiB"):
        built(order(options={"hibernate": "true"}), replace(M5, memory_mib=160 * 1024))


@pytest.mark.parametrize("text", ["64", "0"])
def test_a_disk_smaller_than_the_image_is_refused(text: str) -> None:
    """EC2 would refuse it later, in worse words."""
    with pytest.raises(UsageError, match="the image needs 65 GB"):
        built(order(options={"disk_gb": text}))


@pytest.mark.parametrize("text", ["0", "-1", "nan", "Infinity", "cheap", "1,5"])
def test_a_maximum_price_that_is_none_is_refused(text: str) -> None:
    """With an example."""
    with pytest.raises(UsageError, match="spot_max_price"):
        built(order(Policy(), spot=True, options={"spot_max_price": text}))


@pytest.mark.parametrize(
    "options",
    [{"amy": "ami-1"}, {"shutdown": "halt"}, {"tag.a/b": "x"}, {"user_data": "echo"}, {"user_data_file": "/nowhere"}],
)
def test_wrong_options_are_refused(options: dict[str, str]) -> None:
    """Nothing is passed over in silence."""
    with pytest.raises(UsageError):
        built(order(options=options))


def test_capacity_reservation_and_block() -> None:
    """By id; a block is a market of its own."""
    target = {"CapacityReservationTarget": {"CapacityReservationId": "cr-1"}}
    plain = built(order(options={"capacity_reservation_id": "cr-1"}))
    block = built(order(options={"capacity_reservation_id": "cr-1", "capacity_block": "true"}))
    assert plain["CapacityReservationSpecification"] == block["CapacityReservationSpecification"] == target
    assert "InstanceMarketOptions" not in plain
    assert block["InstanceMarketOptions"] == {"MarketType": "capacity-block"}


def test_hard_deadline_is_handed_to_the_operating_system() -> None:
    """A box whose push fails still powers itself off that day."""
    sent = built(order())
    assert "OnCalendar=2026-03-02 12:00:00 UTC" in sent["UserData"]
    assert "UserData" not in built(order(Policy()))


def test_own_user_data_stands_beside_the_timer(tmp_path: Path) -> None:
    """Both parts are of a kind that cloud-init runs."""
    script = tmp_path / "setup.sh"
    script.write_text("#!/bin/sh\necho naïve\n")
    sent = built(order(options={"user_data_file": str(script)}))
    assert sent["UserData"].count("Content-Type: text/x-shellscript") == 2
    assert built(order(Policy(), {"user_data": "#cloud-config\n"}))["UserData"] == "#cloud-config\n"


def test_user_data_that_is_too_long_is_refused() -> None:
    """EC2 takes 16 KiB."""
    with pytest.raises(UsageError, match="too long"):
        built(order(Policy(), {"user_data": "#!/bin/sh\n" + "x" * 17000}))


@pytest.mark.needs("systemd-analyze")
def test_what_arms_the_hard_deadline_is_taken_by_systemd(tmp_path: Path) -> None:
    """The script is run as cloud-init does; systemd finds nothing wrong in the units it writes, and reads that moment."""
    text = with_hard_deadline(None, NOON)
    assert text is not None
    root = machine_disk(tmp_path / "disk")
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "systemctl").write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/calls\n')
    (tools / "systemctl").chmod(0o755)
    script = text.replace("/etc/systemd/system", str(root / UNITS))
    subprocess.run(["sh", "-eu"], input=script, text=True, check=True, env={"PATH": f"{tools}:/usr/bin:/bin"})
    assert systemd_says(f"--root={root}", "gpudash-hard-deadline.timer", "gpudash-hard-deadline.service") == ""
    (moment,) = re.findall("OnCalendar=(.*)", (root / UNITS / "gpudash-hard-deadline.timer").read_text())
    read = subprocess.run(["systemd-analyze", "calendar", moment], capture_output=True, text=True, check=True).stdout
    assert "Normalized form: 2026-03-01 12:00:00 UTC" in read
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls == ["daemon-reload", "enable --now gpudash-hard-deadline.timer"]
