"""The commands against EC2 on moto, as processes of their own: calls are counted, and one region's trouble is its own."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import moto_server
from support.aws_cloud import linux_image, prepare, raw_client, remove_default_network
from support.aws_front import Front, aws_front

from tests.support.cli import Cli

REGIONS = ("us-east-1", "eu-west-1", "ap-south-1")


@pytest.fixture
def front() -> Iterator[Front]:
    moto_server.server_url()
    moto_server.reset()
    prepare()
    for region in REGIONS:
        moto_server.add_parameter(region, "/test/linux", linux_image())
    with aws_front() as door:
        yield door


@pytest.fixture
def cli(front: Front, tmp_path: Path) -> Cli:
    """A person with one account of three regions."""
    person = Cli(tmp_path / "someone")
    person.config(f'[accounts.work]\nprovider = "aws"\nregions = {list(REGIONS)}\nbase_url = "{front.url}"\n')
    person.env.update(
        AWS_ACCESS_KEY_ID="testing", AWS_SECRET_ACCESS_KEY="testing", AWS_EC2_METADATA_DISABLED="true",
        AWS_CONFIG_FILE="/dev/null", AWS_SHARED_CREDENTIALS_FILE="/dev/null",
    )  # fmt: skip
    ssh = person.home / ".ssh"
    ssh.mkdir(mode=0o700)
    (ssh / "id_ed25519.pub").write_text((Path.home() / ".ssh" / "id_ed25519.pub").read_text())
    return person


def strangers(region: str, count: int = 1) -> list[str]:
    """Instances that somebody else launched."""
    made = [
        raw_client("ec2", region).run_instances(
            ImageId=linux_image(), InstanceType="g5.xlarge", MinCount=1, MaxCount=1
        )["Instances"][0]["InstanceId"]
        for _ in range(count)
    ]
    return [str(identity) for identity in made]


def test_a_cycle_is_one_describe_stream_a_region_and_no_call_an_instance(front: Front, cli: Cli) -> None:
    """Counted where the calls arrive, over the first `ls` and one that finds nothing new."""
    strangers("us-east-1", 5)
    first = cli.ok("ls")
    assert len(first["instances"]) == 5
    assert all(row["price_usd_per_hour"] == 1.006 for row in first["instances"])
    bulk = front.by_region()
    assert max(bulk.values()) <= 2, bulk
    front.calls.clear()
    assert len(cli.ok("ls")["instances"]) == 5
    again = front.by_region()
    assert {name for _, name in again} <= {"DescribeInstances", "DescribeImages"}, again
    assert all(again[region, "DescribeInstances"] == 1 for region in REGIONS)


def test_a_denied_region_is_one_line_of_health_and_exit_5(front: Front, cli: Cli) -> None:
    strangers("us-east-1")
    front.refuse("*", "UnauthorizedOperation", status=403, region="eu-west-1", message="You are not authorized.")
    answer = cli("ls")
    assert answer.code == 5
    assert "i-" in answer.out
    assert [line for line in answer.err.splitlines() if line] == [
        line for line in answer.err.splitlines() if "work (eu-west-1) error" in line and "UnauthorizedOperation" in line
    ], answer.err
    assert answer.err.count("\n") == 1


def test_a_region_that_hangs_delays_no_other(front: Front, cli: Cli) -> None:
    """What the others say is printed when the time is up, with one line on the silent one."""
    known = strangers("us-east-1") + strangers("ap-south-1")
    front.hanging.add("eu-west-1")
    answer = cli("ls", "--timeout", "6s", "--json")
    assert answer.code == 5
    assert {row["id"] for row in answer.doc["instances"]} == set(known)
    assert "work (eu-west-1) error: no answer within 6 s; it never answered." in answer.err
    assert answer.err.count("\n") == 1


def test_what_may_not_be_asked_of_any_region_is_said_once(front: Front, cli: Cli) -> None:
    """One line for all regions, and no fault; one line in the diary, however often somebody looks."""
    strangers("us-east-1")
    strangers("eu-west-1")
    front.refuse("DescribeVolumes", "UnauthorizedOperation", status=403, message="You are not authorized.")
    said = "What disks cost is unknown: ec2:DescribeVolumes is not allowed; `gpudash doctor` prints the least policy to paste."
    for _ in range(2):
        answer = cli("ls")
        assert (answer.code, answer.err) == (0, f"! work: {said}\n")
    told = cli.ok("events")["events"]
    assert [event["text"] for event in told if event["kind"] == "alarm"] == [said]


WITH_ROLE = ("-o", "ami=/test/linux", "-o", "ssh_cidr=203.0.113.7/32", "--idle-action", "stop", "--yes", "--no-wait")
SMALL = ("-o", "instance_profile=none", *WITH_ROLE)


def running(region: str) -> list[dict[str, Any]]:
    """What runs there, as a plain client sees it."""
    found = raw_client("ec2", region).describe_instances()["Reservations"]
    return [item for reservation in found for item in reservation["Instances"]]


def test_truffle_prints_and_gpudash_launches(front: Front, cli: Cli) -> None:
    """One JSON offer on stdin: its zone and spot are kept, flags and options go with it, and EC2 gets it all."""
    told = {
        "instance_type": "t3.micro", "region": "eu-west-1", "availability_zone": "eu-west-1b", "architecture": "x86_64",
        "spot": True, "spot_price": 0.0104,
    }  # fmt: skip
    plan = cli("launch", "--dry-run", "-o", "disk-gb=40", "--json", stdin=json.dumps(told))
    assert plan.code == 0, plan.err
    assert plan.doc["plan"]["options"] == {"availability_zone": "eu-west-1b", "architecture": "x86_64", "disk_gb": "40"}
    assert running("eu-west-1") == []
    words = ("--name", "piped", "-o", "disk-gb=40", "-o", "tag.team=ml", "--lease", "2h", "--max-price", "0.05")
    answer = cli("launch", *SMALL, *words, "--json", stdin=json.dumps(told))
    assert answer.code == 6, answer
    (made,) = running("eu-west-1")
    marks = {tag["Key"]: tag["Value"] for tag in made["Tags"]}
    assert made["InstanceId"] == answer.doc["id"]
    assert (made["Placement"]["AvailabilityZone"], made["InstanceLifecycle"]) == ("eu-west-1b", "spot")
    assert (marks["Name"], marks["team"], marks["gpudash:managed"]) == ("piped", "ml", "true")
    (disk,) = raw_client("ec2", "eu-west-1").describe_volumes()["Volumes"]
    assert (disk["Size"], disk["Encrypted"]) == (40, True)


def test_a_launch_without_the_role_says_once_why(front: Front, cli: Cli) -> None:
    """It is launched all the same, and what it cannot do to itself then stands in the diary as well."""
    front.refuse("CreateRole", "AccessDenied", status=403, message="You may not.")
    answer = cli("launch", "--type", "t3.micro", "--region", "us-east-1", *WITH_ROLE)
    assert answer.code == 6, answer
    assert answer.err.count("It can end itself by power-off alone.") == 1
    assert "iam:CreateRole is not allowed; `gpudash doctor` prints the least policy to paste.)" in answer.err
    told = [event for event in cli.ok("events")["events"] if event["kind"] == "alarm"]
    assert ["iam:CreateRole is not allowed" in event["text"] for event in told] == [True]


def test_the_next_region_takes_it_where_the_first_has_none(front: Front, cli: Cli) -> None:
    """Told on the way, at no more than was agreed; exactly one instance comes of it."""
    told = cli("launch", "--type", "t3.micro", "--dry-run", "--json").doc["plan"]
    first, then = told["region"], [other["region"] for other in told["alternatives"]]
    assert sorted([first, *then]) == sorted(REGIONS)
    front.refuse("RunInstances", "InsufficientInstanceCapacity", status=500, region=first)
    answer = cli("launch", "--type", "t3.micro", *SMALL)
    assert answer.code == 6, answer
    assert f"none free there; t3.micro in {then[0]} instead" in answer.err
    assert [len(running(region)) for region in (first, *then)] == [0, 1, 0]


@pytest.mark.parametrize("answer", ["y", "n"])
def test_who_has_no_key_is_offered_one(front: Front, cli: Cli, answer: str) -> None:
    """At a terminal, after the price; a no makes nothing, and the launch says what is missing."""
    public = cli.home / ".ssh" / "id_ed25519.pub"
    public.unlink()
    ours, theirs = pty.openpty()
    argv = [sys.executable, "-m", "gpudash", "launch", "--type", "t3.micro", "--region", "us-east-1", "--name", "keyed"]
    small = [word for word in SMALL if word != "--yes"]
    environment = {name: value for name, value in cli.env.items() if name != "SSH_AUTH_SOCK"}
    with subprocess.Popen([*argv, *small], stdin=theirs, stderr=theirs, stdout=theirs, env=environment) as program:
        os.close(theirs)
        os.write(ours, f"y\n{answer}\n".encode())
        said = b""
        with contextlib.suppress(OSError):  # Linux ends a terminal whose other side is closed so
            while piece := os.read(ours, 4096):
                said += piece
        os.close(ours)
    assert program.returncode == (6 if answer == "y" else 2), said
    assert b"without a pass phrase?" in said
    assert (public.exists(), len(running("us-east-1"))) == ((True, 1) if answer == "y" else (False, 0)), said
    assert (b"No SSH public key was found" in said) is (answer == "n")


def test_terminate_takes_away_what_the_instance_leaves(front: Front, cli: Cli) -> None:
    """Its children and, with the last one, the group they shared; nothing of ours is left then."""
    cli("launch", "--type", "t3.micro", "--region", "us-east-1", "--name", "gone", *SMALL)
    parent = f"parent={running('us-east-1')[0]['InstanceId']}"
    cli("launch", "--type", "t3.micro", "--region", "us-east-1", "--name", "worker", "-o", parent, *SMALL)
    ec2 = raw_client("ec2", "us-east-1")
    marks = [{"Key": "gpudash:managed", "Value": "true"},
             {"Key": "gpudash:parent", "Value": parent.removeprefix("parent=")}]  # fmt: skip
    spec = [{"ResourceType": "elastic-ip", "Tags": marks}]
    address = ec2.allocate_address(Domain="vpc", TagSpecifications=spec)["AllocationId"]
    answer = cli("terminate", "gone", "--yes", "--timeout", "1m")
    assert answer.code == 0, answer
    assert "terminated worker" in answer.err
    assert f"deleted {address}" in answer.err
    assert {instance["State"]["Name"] for instance in running("us-east-1")} == {"terminated"}
    ends = [e for e in cli.ok("events")["events"] if e["kind"] == "terminate" and e["name"] == "worker"]
    assert [any(word in e["text"] for e in ends) for word in ("asked to terminate", "proved")] == [True, True]
    assert cli.ok("leftovers")["leftovers"] == []
    assert [group["GroupName"] for group in ec2.describe_security_groups()["SecurityGroups"]] == ["default"]


def test_a_denied_end_is_exit_5_and_names_the_permission(front: Front, cli: Cli) -> None:
    """It still bills, and is asked for again."""
    cli("launch", "--type", "t3.micro", "--region", "us-east-1", "--name", "mine", *SMALL)
    for verb, call, billing in (("stop", "StopInstances", True), ("terminate", "TerminateInstances", False)):
        front.refuse(call, "UnauthorizedOperation", status=403, message="You are not authorized.")
        answer = cli(verb, "mine", "--yes", "--timeout", "1s")
        assert answer.code == 5, answer
        assert f"ec2:{call} is not allowed; `gpudash doctor` prints the least policy to paste." in answer.err
        assert "asked again by itself" in answer.err
        assert ("It is still billing $0.010/h." in answer.err) is billing
        raw_client("ec2", "us-east-1").stop_instances(InstanceIds=[running("us-east-1")[0]["InstanceId"]])


def test_a_network_that_could_be_made_by_half_only_is_taken_back_or_a_leftover(front: Front, cli: Cli) -> None:
    """Exit 5 with the permission; what may not be deleted either is listed, in its region, for nothing an hour."""
    ec2 = raw_client("ec2", "us-east-1")
    remove_default_network(ec2)
    words = ("launch", "--type", "t3.micro", "--region", "us-east-1", *SMALL)
    for denied, left in ((("CreateSubnet",), 0), (("CreateSubnet", "DeleteVpc"), 1)):
        for call in denied:
            front.refuse(call, "UnauthorizedOperation", status=403, message="You are not authorized.")
        answer = cli(*words)
        assert answer.code == 5, answer
        assert "ec2:CreateSubnet is not allowed; `gpudash doctor` prints" in answer.err
        networks = [vpc["VpcId"] for vpc in ec2.describe_vpcs()["Vpcs"]]
        told = cli.ok("leftovers")["leftovers"]
        assert len(networks) == left
        assert [(item["id"], item["kind"], item["region"]) for item in told] == [
            (n, "vpc", "us-east-1") for n in networks
        ]
    assert ec2.describe_internet_gateways()["InternetGateways"] == []


def test_ready_on_what_has_ended_says_since_when_why_and_what_next(front: Front, cli: Cli) -> None:
    """Exit 1, not "no such instance": by gpudash, by somebody at AWS, and after EC2 has forgotten it."""
    for name in ("one", "two"):
        cli("launch", "--type", "t3.micro", "--region", "us-east-1", "--name", name, *SMALL)
    cli.ok("terminate", "one", "--yes", "--timeout", "1m")
    ec2 = raw_client("ec2", "us-east-1")
    (two,) = (i["InstanceId"] for i in running("us-east-1") if i["State"]["Name"] == "running")
    ec2.terminate_instances(InstanceIds=[two])
    for name, why in (("one", r"gpudash \(cli\) was asked to terminate it at 20"), (two, r"somebody asked")):
        answer = cli("ready", name, "--timeout", "5s")
        assert answer.code == 1, answer
        assert re.search(rf"is terminated since 20\S+Z: {why}.*Client\.UserInitiatedShutdown", answer.err), answer
        assert "gpudash launch --account work --region us-east-1 --type t3.micro --name" in answer.err
    moto_server.reset()
    cli("ls")
    answer = cli("ready", "one", "--timeout", "5s")
    assert (answer.code, "was asked to terminate it" in answer.err) == (1, True), answer
    assert cli("ready", "never-was", "--timeout", "5s").code == 3


def test_a_price_above_the_one_on_stdin_needs_a_cap(front: Front, cli: Cli) -> None:
    told = {"instance_type": "g5.xlarge", "region": "us-east-1", "on_demand_price": 0.9}
    answer = cli("launch", "--yes", stdin=json.dumps(told))
    assert answer.code == 4
    assert "$1.01/h now; the offer said $0.9/h" in answer.err
    assert front.count("RunInstances") == 0


def test_doctor_says_which_calls_are_allowed_and_what_to_paste(front: Front, cli: Cli) -> None:
    """By reading and dry runs; a denied call is a finding with the way out, and nothing was launched or made."""
    everything = cli("doctor", "--json")
    assert everything.code == 0, everything
    (told,) = everything.doc["permissions"]
    assert (told["account"], told["problem"]) == ("work", None)
    hows = {check["action"]: (check["allowed"], check["how"]) for check in told["checks"]}
    assert hows["ec2:RunInstances"] == (True, "dry run")
    assert hows["ec2:DescribeInstances"] == (True, "asked")
    front.refuse("TerminateInstances", "UnauthorizedOperation", status=403, message="You may not.")
    answer = cli("doctor")
    assert answer.code == 1
    assert "denied     work: ec2:TerminateInstances (dry run): " in answer.out
    assert "account work may not call ec2:TerminateInstances" in answer.out
    assert "gpudash doctor --policy person --account work" in answer.out
    policy = json.loads(cli("doctor", "--policy", "person").out)
    assert policy == told["policies"]["person"]
    assert "ec2:TerminateInstances" in {action for part in policy["Statement"] for action in part["Action"]}
    assert all(running(region) == [] for region in REGIONS)


def test_doctor_without_working_credentials(front: Front, cli: Cli) -> None:
    """One finding, and no question that could only fail as well; offline nothing is asked at all."""
    front.refuse("*", "InvalidClientTokenId", status=403, message="The security token is invalid.")
    front.calls.clear()
    answer = cli("doctor")
    assert answer.code == 1
    assert "account work: " in answer.out
    assert "InvalidClientTokenId" in answer.out
    assert len(front.calls) <= 2
    front.calls.clear()
    assert cli("doctor", "--offline").code == 0
    assert front.calls == []
