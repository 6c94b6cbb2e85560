"""The Session and its clients: made late, once, and with explicit retries and time-outs."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace
from typing import Any

import pytest
from support.aws_cloud import REGION, AwsCloud, aws_environment, raw_client

from gpudash.clock import ManualClock
from gpudash.config import Account
from gpudash.providers import registry
from gpudash.providers.aws.clients import Clients
from gpudash.providers.aws.regions import DEFAULT_REGIONS


def test_no_sdk_before_a_region_is_asked() -> None:
    """Capabilities, provider and regions are there without it, so that the first frame is."""
    program = (
        "import sys\n"
        "from gpudash.clock import SystemClock\n"
        "from gpudash.config import Account\n"
        "from gpudash.providers import registry\n"
        "assert registry.capabilities('aws').can_stop\n"
        "provider = registry.create(Account('work', 'aws', regions=('us-east-1',)), SystemClock())\n"
        "assert provider.regions() == ('us-east-1',)\n"
        "provider.close()\n"
        "loaded = {'boto3', 'botocore', 'httpx', 'paramiko', 'email.mime.text'} & set(sys.modules)\n"
        "assert loaded <= {'email.mime.text'}, loaded\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=60)


@pytest.mark.parametrize(("kind", "attempts"), [("read", 2), ("write", 1), ("quick", 1)])
def test_retries_are_explicit(kind: str, attempts: int) -> None:
    """The SDK's default has changed once and may again; nothing that changes the world is repeated by it."""
    with aws_environment():
        client = getattr(Clients(Account("work", "aws")), kind)("ec2", REGION)
        assert client.meta.config.retries == {"mode": "standard", "total_max_attempts": attempts}
        assert client.meta.config.connect_timeout <= 3
        assert client.meta.config.read_timeout <= 20


def test_one_session_whatever_the_number_of_lanes() -> None:
    """Seventeen lanes ask at once; Sessions are not thread-safe, so clients are made one after another."""
    made: list[Any] = []

    def factory(profile: str | None) -> Any:
        from support.aws_cloud import new_session

        made.append(profile)
        return new_session(profile)

    with aws_environment():
        clients = Clients(Account("work", "aws"), factory)
        found: dict[str, Any] = {}
        lanes = [
            threading.Thread(target=lambda r=r: found.update({r: clients.read("ec2", r)})) for r in DEFAULT_REGIONS
        ]
        for lane in lanes:
            lane.start()
        for lane in lanes:
            lane.join()
        assert made == [None]
        assert {region: client.meta.region_name for region, client in found.items()} == {r: r for r in DEFAULT_REGIONS}
        assert clients.read("ec2", REGION) is found[REGION]


def test_endpoint_of_the_account_and_of_the_environment(monkeypatch: pytest.MonkeyPatch, cloud: AwsCloud) -> None:
    """The account's wins; both lead every service there."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert cloud.again().list_instances(REGION).complete
    elsewhere = Clients(Account("work", "aws"))
    assert elsewhere.endpoint == "http://127.0.0.1:1"
    for service in ("ec2", "ssm", "pricing", "iam"):
        assert elsewhere.read(service, REGION).meta.endpoint_url == "http://127.0.0.1:1"


def test_prices_of_a_stand_in_are_not_taken_for_awss(cloud: AwsCloud) -> None:
    """Caches are kept apart by where they came from."""
    real = registry.create(replace(cloud.account, base_url=None), ManualClock(cloud.clock.now()))
    assert real._around.prices._file != cloud.provider._around.prices._file  # type: ignore[attr-defined]


def test_profile_and_its_region(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any number of profiles, one account each."""
    (tmp_path / "config").write_text("[profile work]\nregion = eu-west-3\n[profile home]\nregion = sa-east-1\n")
    with aws_environment():
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        assert Clients(Account("a", "aws", profile="work")).home_region() == "eu-west-3"
        assert Clients(Account("b", "aws", profile="home")).home_region() == "sa-east-1"
        assert Clients(Account("c", "aws")).home_region() == "us-east-1"


def test_an_independent_eye_sees_what_we_launched(cloud: AwsCloud) -> None:
    """The `aws` command on the same server: launched, tagged, extended, stopped, ended, and nothing left behind."""
    pytest.importorskip("awscli", reason="needs the aws command line from the package index")
    key = cloud.provider.launch(cloud.order(name="seen", options={"instance_profile": "none"}))
    what = "Reservations[].Instances[].[InstanceId, State.Name, Tags[?Key=='gpudash:managed'].Value | [0]]"
    assert aws("ec2", "describe-instances", "--query", what, url=cloud.account.base_url) == f"{key.id}\trunning\ttrue"
    cloud.provider.set_tags(key, {"lease-deadline": "2026-03-01T20:00:00Z"})
    tag = "Tags[?Key=='gpudash:lease-deadline'].Value"
    assert aws("ec2", "describe-tags", "--query", tag, url=cloud.account.base_url) == "2026-03-01T20:00:00Z"
    cloud.provider.stop(key)
    cloud.provider.terminate(key)
    cloud.provider.clean_up(REGION)
    assert aws("ec2", "describe-instances", "--query", what, url=cloud.account.base_url).split()[1] == "terminated"
    for left in ("describe-volumes", "describe-addresses"):
        assert aws("ec2", left, url=cloud.account.base_url) == ""
    groups = aws("ec2", "describe-security-groups", "--query", "SecurityGroups[].GroupName", url=cloud.account.base_url)
    assert groups == "default"


def aws(*words: str, url: str | None) -> str:
    """What the aws command prints."""
    argv = [sys.executable, "-m", "awscli", *words, "--endpoint-url", str(url), "--region", REGION, "--output", "text"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_plain_client_sees_the_same(cloud: AwsCloud) -> None:
    """What our adapter lists is what boto3 lists."""
    keys = {cloud.provider.launch(cloud.order()).id for _ in range(3)}
    found = raw_client("ec2").describe_instances()["Reservations"]
    assert {i["InstanceId"] for r in found for i in r["Instances"]} == keys
