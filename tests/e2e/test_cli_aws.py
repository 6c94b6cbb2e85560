"""The commands against EC2 on moto, as processes of their own: calls are counted, and one region's trouble is its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support import moto_server
from support.aws_cloud import linux_image, prepare, raw_client
from support.aws_front import Front, aws_front

from tests.support.cli import Cli

REGIONS = ("us-east-1", "eu-west-1", "ap-south-1")

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def front() -> Iterator[Front]:
    moto_server.server_url()
    moto_server.reset()
    prepare()
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


@pytest.mark.parametrize(
    ("code", "status"), [("ExpiredToken", 400), ("AuthFailure", 401), ("RequestLimitExceeded", 503)]
)
def test_credentials_that_expired_and_throttling_are_exit_5(front: Front, cli: Cli, code: str, status: int) -> None:
    front.refuse("*", code, status=status, message="it says no")
    answer = cli("ls")
    assert answer.code == 5
    assert code in answer.err
    assert "it says no" in answer.err


def test_without_credentials_one_line_says_what_to_do(cli: Cli) -> None:
    del cli.env["AWS_ACCESS_KEY_ID"], cli.env["AWS_SECRET_ACCESS_KEY"]
    answer = cli("ls")
    assert answer.code == 5
    assert "Log in, or name a `profile`" in answer.err
    assert answer.err.count("\n") == 1
