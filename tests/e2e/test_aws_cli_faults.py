"""What can go wrong at EC2 as the command meets it: over real HTTP, on moto, in the process of the test.

Each tells its exit code, AWS's words and what to do next, and how often RunInstances arrived: an answer that is lost, a
server that fails and a throttled launch are never repeated by anybody.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.aws_cloud import raw_client

from gpudash.providers import sshkeys
from tests.support.aws_person import OTHER, REGION, Person, made, somebody

ZONES = 5
"""Of the six zones of that region those that offer the small type, as moto has it."""


@pytest.fixture
def person(capsys: pytest.CaptureFixture[str]) -> Iterator[Person]:
    with somebody(capsys) as found:
        yield found


@pytest.mark.parametrize(
    ("code", "status", "next_step"),
    [
        ("ExpiredToken", 400, "Log in again"),
        ("AuthFailure", 401, "Log in again"),
        ("RequestLimitExceeded", 503, "RequestLimitExceeded"),
    ],
)
def test_credentials_that_expired_and_throttling_are_exit_5(
    person: Person, code: str, status: int, next_step: str
) -> None:
    person.front.refuse("*", code, status=status, message="it says no")
    answer = person("ls", "--timeout", "1m")
    assert answer.code == 5
    assert code in answer.err
    assert "it says no" in answer.err
    assert next_step in answer.err


def test_without_credentials_one_line_says_what_to_do(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for the account, not once a region."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    answer = person("ls", "--timeout", "1m")
    assert answer.code == 5
    assert answer.err.count("Log in, or name a `profile`") == 1, answer
    assert answer.err.count("Unable to locate credentials") == 1
    assert person.front.calls == []


@pytest.mark.parametrize(
    ("code", "status", "words", "exit_code", "said", "asked"),
    [
        ("ExpiredToken", 400, (), 5, "Log in again", 1),
        ("UnauthorizedOperation", 403, (), 5, "ec2:RunInstances is not allowed; `gpudash doctor`", 1),
        ("RequestLimitExceeded", 503, (), 5, "RequestLimitExceeded", 1),
        ("InsufficientInstanceCapacity", 500, (), 1, "us-east-1a, us-east-1b, us-east-1c, us-east-1d, us-east-1f: Could", ZONES),
        ("Unsupported", 400, (), 1, "Try another zone, region or type", ZONES),
        ("VcpuLimitExceeded", 400, (), 1, "ask Service Quotas for more: L-DB2E81BA", 1),
        ("SpotMaxPriceTooLow", 400, ("--spot",), 1, "Raise the maximum price, or leave it out", ZONES),
        ("MaxSpotInstanceCountExceeded", 400, ("--spot",), 1, "more spot vCPUs, or launch on demand", 1),
        ("InvalidBlockDeviceMapping", 400, (), 1, "The device name or size does not fit the image", 1),
        ("InvalidKeyPair.NotFound", 400, ("-o", "key_name=gone"), 1, "your own public key is used", 1),
        ("InternalError", 500, (), 6, "it may have happened", 1),
        ("Unavailable", 503, (), 6, "it may have happened", 1),
    ],
)  # fmt: skip
def test_a_launch_that_ec2_says_no_to(
    person: Person, code: str, status: int, words: tuple[str, ...], exit_code: int, said: str, asked: int
) -> None:
    """In its own words, with a next step; another zone is asked only after a no that another zone may not give."""
    person.front.refuse("RunInstances", code, status=status, message="in its own words")
    answer = person.launches(*words)
    assert (answer.code, person.front.count("RunInstances")) == (exit_code, asked), answer
    assert code in answer.err
    assert "in its own words" in answer.err
    assert said in answer.err
    assert made() == []
    assert (OTHER, "RunInstances") not in person.front.calls, "one region was chosen"


def key_of_somebody_else() -> None:
    other = sshkeys.make_key(Path.home() / "other")
    raw_client("ec2").import_key_pair(KeyName=sshkeys.find_public_key().name, PublicKeyMaterial=other.text.encode())


GPU = ("--type", "g5.xlarge")


@pytest.mark.parametrize(
    ("before", "words", "code", "said"),
    [
        (None, ("-o", "ami=ami-00000000000000000"), 1, "Image ids differ between regions"),
        (None, ("-o", "ami=gentoo"), 1, "is no image. Use an image id"),
        (key_of_somebody_else, (), 1, "holds another key than"),
        (None, ("-o", "availability_zone=us-east-1e"), 1, "us-east-1e does not offer t3.micro. These do: us-east-1a,"),
        (None, ("-o", "disk_gb=2"), 2, "is too small: the image needs"),
        (None, (*GPU, "--idle-action", "hibernate"), 4, "no type with a GPU can"),
        (None, (*GPU, "-o", "hibernate=true"), 4, "no type with a GPU can"),
        (None, (*GPU, "-o", "architecture=arm64"), 4, "is x86_64"),
        (None, (*GPU, "-o", "amy=ami-1"), 2, "aws knows no option 'amy'"),
        (None, (*GPU, "-o", "spot_type=cheap", "--spot"), 2, "Use one-time or persistent"),
        (None, (*GPU, "-o", "disk_gb=big"), 2, "Write whole GB"),
        (None, (*GPU, "--max-price", "0.5"), 4, "above the cap"),
    ],
)
def test_what_ec2_would_refuse_is_refused_before_it_is_asked(
    person: Person, before: Callable[[], None] | None, words: tuple[str, ...], code: int, said: str
) -> None:
    """By what moto knows of images, zones, keys and types; nothing is asked for, and nothing is left behind."""
    if before is not None:
        before()
    answer = person.launches(*words)
    assert answer.code == code, answer
    assert said in answer.err
    assert person.front.count("RunInstances") == 0
    groups = raw_client("ec2").describe_security_groups()["SecurityGroups"]
    assert [group["GroupName"] for group in groups] == ["default"]


@pytest.mark.parametrize(("image", "device"), [(None, "/dev/xvda"), ("own", "/dev/sda1")])
def test_the_root_disk_has_the_name_that_the_image_gives_it(person: Person, image: str | None, device: str) -> None:
    """Amazon's own and a person's: under another name it would be a second disk, and the image's small one would boot."""
    ec2 = raw_client("ec2")
    if image is not None:
        disk = {"DeviceName": device, "Ebs": {"VolumeSize": 9, "SnapshotId": _snapshot()}}
        image = ec2.register_image(Name=image, RootDeviceName=device, BlockDeviceMappings=[disk])["ImageId"]
    answer = person.launches("-o", f"ami={image or 'al2023'}", "-o", "disk_gb=40")
    assert answer.code == 6, answer
    assert person.front.sent["RunInstances"][0]["BlockDeviceMapping.1.DeviceName"] == device
    (volume,) = ec2.describe_volumes()["Volumes"]
    assert volume["Size"] == 40


def _snapshot() -> str:
    ec2 = raw_client("ec2")
    volume = ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=9)["VolumeId"]
    snapshot = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    ec2.delete_volume(VolumeId=volume)
    return str(snapshot)


@pytest.mark.parametrize("happened", [True, False])
def test_an_answer_that_is_lost(person: Person, happened: bool) -> None:
    """The connection ends without one: looked for by its token, by the next command too, and never asked again."""
    person.front.lost["RunInstances"] = happened
    answer = person.launches()
    assert (answer.code, "it may have happened. It is looked for" in answer.err) == (6, True), answer
    listed = person("ls", "--timeout", "1m", "--json")
    assert person.front.count("RunInstances") == 1
    rows = json.loads(listed.out)["instances"]
    assert [(row["name"], row["managed"]) for row in rows] == ([("box", True)] if happened else [])
    assert len(made()) == len(rows)


def test_a_question_that_is_throttled_once_is_asked_again(person: Person) -> None:
    """Nobody takes notice; a launch that is throttled is not repeated."""
    person.front.refuse("DescribeInstances", "RequestLimitExceeded", status=503, region=REGION, times=1)
    answer = person("ls", "--timeout", "1m")
    assert answer.code == 0, answer
    asked = person.front.by_region()
    assert (asked[REGION, "DescribeInstances"], asked[OTHER, "DescribeInstances"]) == (2, 1)
