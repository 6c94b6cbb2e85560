"""Verbs and money on EC2 as a person sees them at the command line, over real HTTP, on moto."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import moto_server
from support.aws_cloud import linux_image, raw_client

from tests.support.aws_person import OTHER, REGION, Person, somebody

PLAIN = {"MinCount": 1, "MaxCount": 1}


@pytest.fixture
def person(capsys: pytest.CaptureFixture[str]) -> Iterator[Person]:
    with somebody(capsys) as found:
        yield found


def theirs(region: str = REGION, kind: str = "g5.xlarge", **more: Any) -> str:
    """An instance that somebody else launched."""
    found = raw_client("ec2", region).run_instances(ImageId=linux_image(), InstanceType=kind, **PLAIN, **more)
    return str(found["Instances"][0]["InstanceId"])


def document(person: Person, *words: str) -> dict[str, Any]:
    """What a reading command prints for scripts."""
    answer = person(*words, "--json")
    assert answer.code == 0, answer
    found: dict[str, Any] = json.loads(answer.out)
    return found


def rows(person: Person) -> dict[str, dict[str, Any]]:
    """The instances, by id."""
    return {row["id"]: row for row in document(person, "ls", "--timeout", "1m")["instances"]}


@pytest.mark.parametrize(
    ("reason", "state", "code", "said"),
    [
        ("Client.UserInitiatedHibernate", "hibernated", 0, "box is hibernated."),
        ("Client.UserInitiatedShutdown", "stopped", 1, "its cloud stopped it without keeping its memory"),
    ],
)
def test_a_hibernation_is_proved_by_the_reason_that_ec2_gives(
    person: Person, reason: str, state: str, code: int, said: str
) -> None:
    """One that could not be carried out is an ordinary stop to EC2, and is not called hibernated here."""
    person.launches("--type", "m5.large", "-o", "hibernate=true")
    with moto_server.stops_with(reason):
        answer = person("hibernate", "box", "--yes", "--timeout", "1m")
    assert answer.code == code, answer
    assert said in answer.out + answer.err
    assert [row["state"] for row in rows(person).values()] == [state]
    assert person.front.sent["StopInstances"][0]["Hibernate"] == "true"


def test_ready_without_capacity_to_start_says_so_once(person: Person) -> None:
    """In EC2's words, with exit code 1; it stays stopped and is not asked for again and again."""
    person.launches()
    assert person("stop", "box", "--yes", "--timeout", "1m").code == 0
    person.front.refuse("StartInstances", "InsufficientInstanceCapacity", status=500, message="none in us-east-1a")
    answer = person("ready", "box", "--timeout", "20s")
    assert (answer.code, person.front.count("StartInstances")) == (1, 1), answer
    assert "box could not be started" in answer.err
    assert "none in us-east-1a" in answer.err
    assert [row["state"] for row in rows(person).values()] == ["stopped"]


def test_everything_that_bills_is_shown_with_what_it_costs(person: Person) -> None:
    """Whoever made it, running or not, and what is left without one; every figure by hand from what AWS told."""
    ec2 = raw_client("ec2")
    disk, address = 0.10 * 8 / 730, 0.005
    runs, rests, stopped, over = theirs(), theirs(kind="m5.large"), theirs(OTHER), theirs()
    ec2.stop_instances(InstanceIds=[rests])
    raw_client("ec2", OTHER).stop_instances(InstanceIds=[stopped])
    ec2.terminate_instances(InstanceIds=[over])
    moto_server.set_state(REGION, rests, "stopped", "Client.UserInitiatedHibernate")
    listing = document(person, "ls", "--timeout", "1m")
    told = {
        row["id"]: (row["managed"], row["state"], row["price_usd_per_hour"], row["storage_usd_per_hour"])
        for row in listing["instances"]
    }
    assert told == {
        runs: (False, "running", 1.006, pytest.approx(disk + address)),
        rests: (False, "hibernated", 0.096, pytest.approx(disk)),
        stopped: (False, "stopped", 1.006, pytest.approx(disk)),
    }
    assert listing["totals"]["burn_usd_per_hour"] == pytest.approx(1.006 + address + 3 * disk, abs=1e-6)
    free = ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=100, VolumeType="gp3")["VolumeId"]
    idle = ec2.allocate_address(Domain="vpc")["AllocationId"]
    marks = [{"Key": "gpudash:managed", "Value": "true"}, {"Key": "gpudash:parent", "Value": over}]
    card = ec2.create_network_interface(
        SubnetId=ec2.describe_subnets()["Subnets"][0]["SubnetId"],
        TagSpecifications=[{"ResourceType": "network-interface", "Tags": marks}],
    )["NetworkInterface"]["NetworkInterfaceId"]
    left = document(person, "leftovers")["leftovers"]
    assert sorted((item["kind"], item["region"]) for item in left if item["kind"] == "disk") == [
        ("disk", OTHER), ("disk", REGION)
    ]  # fmt: skip
    assert {item["id"]: (item["kind"], item["price_usd_per_hour"]) for item in left if item["kind"] != "disk"} == {
        free: ("volume", pytest.approx(0.08 * 100 / 730)),
        idle: ("address", address),
        card: ("network-interface", 0),
    }


def test_a_price_that_nobody_told_is_a_question_mark(person: Person) -> None:
    """Where the Pricing API is denied the shipped table answers for its own region, as an estimate; no other is made up."""
    person.front.refuse("GetProducts", "AccessDeniedException", status=400)
    known, unknown = theirs(), theirs(OTHER)
    told = rows(person)
    assert (told[known]["price_usd_per_hour"], told[unknown]["price_usd_per_hour"]) == (1.006, None)
    text = person("ls", "--timeout", "1m").out.splitlines()
    (of_known,) = (line for line in text if known in line)
    (of_unknown,) = (line for line in text if unknown in line)
    assert "~1.01" in of_known
    assert " ? " in of_unknown
    assert person.front.count("GetProducts") == 2, "left alone for an hour, by the next command too"


def test_accounts_with_profiles_of_their_own(person: Person, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each is asked with its own credentials, not with those of the environment; one that is refused costs only itself."""
    keys = tmp_path / "credentials"
    keys.write_text("".join(
        f"[{name}]\naws_access_key_id = {name}-key\naws_secret_access_key = testing\n" for name in ("work", "play")
    ))  # fmt: skip
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(keys))
    person.has_accounts(work='profile = "work"', play='profile = "play"')
    instance = theirs()
    person.front.keys.clear()
    assert {row["account"] for row in document(person, "ls", "--timeout", "1m")["instances"]} == {"work", "play"}
    assert person.front.keys == {"work-key", "play-key"}
    person.front.bad_keys = {"play-key"}
    answer = person("ls", "--timeout", "1m", "--json")
    assert answer.code == 5
    old_values_stay = [(row["account"], row["id"]) for row in json.loads(answer.out)["instances"]]
    assert sorted(old_values_stay) == [("play", instance), ("work", instance)]
    health = {one["account"]: one["state"] for one in json.loads(answer.out)["providers"]}
    assert health == {"work": "ok", "play": "stale"}, "old values, and it could not be asked"
