"""Where a person agreed to it, a host of Lambda ends itself: the real daemon, the adapter's own words, real HTTP."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from support.clouds import launched
from support.lambda_cloud import LambdaCloud, lambda_cloud
from support.lambda_server import KEY

from .conftest import Host, after, until


@pytest.fixture
def cloud() -> Iterator[LambdaCloud]:
    """An account at Lambda."""
    with lambda_cloud() as found:
        yield found


def run(host: Host, cloud: LambdaCloud, key: str, address: str = "127.0.0.1", **account: bool) -> str:
    """Put the daemon on a new machine with the way to its end that the adapter names, into the end of its lease."""
    instance = launched(cloud)
    spec = cloud.again(**account).end_spec(instance.key)
    cloud.fake.machines[instance.key.id].address = address
    cloud.fake.machines[instance.key.id].order["hostname"] = socket.gethostname()  # as any machine may be called
    path = host.home / "account.key"
    path.write_text(f"{key}\n")
    path.chmod(0o600)
    host.config["end"] = dict(spec)
    host.start(policy={"lease_deadline": after(60)}, provider="lambda").settle()
    host.pass_time(61)
    return instance.key.id


def test_the_lease_ends_it_with_the_key_that_was_placed(host: Host, cloud: LambdaCloud) -> None:
    """One call, for this machine alone; the key is in no status, log or configuration."""
    other = launched(cloud)
    ours = run(host, cloud, KEY, key_on_hosts=True)
    assert host.status()["end"]["can"] == ["terminate"]
    until(lambda: ours not in cloud.fake.alive(), "it ended itself")
    assert cloud.fake.alive() == {other.key.id}
    told = host.get("/status").body + host.output_path.read_bytes() + (host.home / "config.json").read_bytes()
    assert KEY.encode() not in told


def test_the_settings_of_another_machine_end_nothing(host: Host, cloud: LambdaCloud) -> None:
    """A home folder that was copied, an address that changed hands: the key would end the other, so it is not used."""
    other = run(host, cloud, KEY, address="198.51.100.77", key_on_hosts=True)
    assert host.status()["end"]["can"] == []
    (problem,) = {way["problem"] for way in host.status()["end"]["ways"]}
    assert "another machine" in problem
    assert "10.0.2.77" in problem
    host.pass_time(3600)
    host.settle()
    assert other in cloud.fake.alive()
    assert cloud.fake.count("POST", "/terminate") == 0


def test_a_key_that_lambda_refuses_is_an_alarm_and_it_goes_on_billing(host: Host, cloud: LambdaCloud) -> None:
    """The daemon says so, and tries for ever."""
    ours = run(host, cloud, "another-test-key", key_on_hosts=True)
    failing = host.wait(lambda status: (status["ending"] or {}).get("last_error"), "the first attempt failed")
    assert "401" in failing["ending"]["last_error"]
    assert ours in cloud.fake.alive()


def test_without_consent_it_says_that_the_end_comes_from_outside(host: Host, cloud: LambdaCloud) -> None:
    """Nothing is tried with whatever lies on the disk."""
    ours = run(host, cloud, KEY)
    assert host.status()["end"]["can"] == []
    assert ours in cloud.fake.alive()
    assert cloud.fake.count("POST", "/terminate") == 0
