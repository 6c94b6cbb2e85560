"""What can go wrong with an instance on EC2, through sessions as dashboard, command and watchdog have them, on moto."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from support.aws_cloud import (
    AwsCloud,
    Http,
    OnLoopback,
    aws_cloud,
    linux_image,
    no_answer,
    raw_client,
    refusal,
    says,
)

from gpudash.clock import ManualClock, iso
from gpudash.config import Config, Defaults
from gpudash.errors import Refused
from gpudash.fleet.session import Session
from gpudash.model.instance import Instance
from gpudash.model.offer import OfferFilter
from gpudash.model.operation import Operation, Stage
from gpudash.model.policy import EndAction

RUN, LIST = "ec2:RunInstances", "ec2:DescribeInstances"
CYCLE_S = 15.0


@pytest.fixture
def cloud() -> Iterator[AwsCloud]:
    with aws_cloud(adapter=OnLoopback) as found:
        yield found


@pytest.fixture
def program(cloud: AwsCloud) -> Iterator[Callable[[], Session]]:
    """Another program on the same machine: a session of its own over the same ledger."""
    opened: list[Session] = []

    def start() -> Session:
        config = Config(Defaults(lease=timedelta(hours=2)), {"aws": cloud.account})
        session = Session.open(
            config, accounts=["aws"], actor="dashboard", clock=cloud.clock, providers={"aws": cloud.again()}
        )
        opened.append(session)
        return session

    yield start
    for session in opened:
        session.close()


@pytest.fixture
def session(program: Callable[[], Session]) -> Session:
    return program()


def look(session: Session, seconds: float = CYCLE_S) -> None:
    session.clock.sleep(seconds)
    session.poll(20)


def launched(session: Session, **options: str) -> Operation:
    """One small machine, asked for through the fleet."""
    (listing,) = session.offers(OfferFilter(instance_type="t3.micro", spot=False), 20)
    order = session.actions.plan_launch(
        listing.items[0], name="box", options={"public_ip": "false", "instance_profile": "none", **options}
    )
    return session.actions.launch(order)


def only(session: Session) -> Instance:
    (record,) = session.store.records.values()
    return record.instance


def now_of(session: Session, operation: Operation) -> Operation:
    found = session.ledger.operation(operation.id)
    assert found is not None
    return found


def tags_of(instance_id: str) -> dict[str, str]:
    found = raw_client("ec2").describe_tags(Filters=[{"Name": "resource-id", "Values": [instance_id]}])["Tags"]
    return {tag["Key"]: tag["Value"] for tag in found}


def running() -> list[str]:
    found = raw_client("ec2").describe_instances(
        Filters=[{"Name": "instance-state-name", "Values": ["pending", "running"]}]
    )["Reservations"]
    return [item["InstanceId"] for reservation in found for item in reservation["Instances"]]


def test_a_lost_answer_with_effect_is_one_instance_that_is_found(cloud: AwsCloud, session: Session) -> None:
    """RunInstances timed out, and it had happened."""
    with cloud.wire.broken(no_answer, RUN, afterwards=True):
        operation = launched(session)
    assert operation.stage is Stage.AMBIGUOUS
    look(session)
    assert now_of(session, operation).stage is Stage.ACCEPTED
    assert now_of(session, operation).key == only(session).key
    assert cloud.wire.count(RUN) == 1
    assert len(running()) == 1


def test_a_lost_answer_without_effect_is_proved_to_be_none(cloud: AwsCloud, session: Session) -> None:
    """RunInstances timed out, and nothing had happened: said after two good lists, never asked again."""
    with cloud.wire.broken(no_answer, RUN):
        operation = launched(session)
    assert operation.stage is Stage.AMBIGUOUS
    for _ in range(8):
        look(session)
    assert now_of(session, operation).stage is Stage.FAILED
    assert "nothing was launched" in now_of(session, operation).detail
    assert cloud.wire.count(RUN) == 1
    assert running() == []


def test_what_ec2_does_not_show_yet_is_not_gone(cloud: AwsCloud, session: Session) -> None:
    """Eventual consistency after a launch: lists without it, ids that are not found."""
    operation = launched(session)
    assert operation.stage is Stage.ACCEPTED
    with cloud.wire.broken(lambda *_: (Http(), {"Reservations": []}), LIST):
        for _ in range(3):
            look(session)
            assert now_of(session, operation).stage is Stage.ACCEPTED
    look(session)
    assert only(session).key == operation.key


def test_two_dashboards_end_the_same_instance(cloud: AwsCloud, program: Callable[[], Session]) -> None:
    """Both get their proof; it is one end."""
    one, other = program(), program()
    launched(one)
    look(one)
    look(other, 0)
    ends = [session.actions.end(only(session).key, EndAction.TERMINATE) for session in (one, other)]
    for session in (one, other):
        look(session)
        look(session)
    assert {now_of(one, end).stage for end in ends} == {Stage.PROVED}
    assert not one.store.records
    assert not other.store.records


def test_an_instance_ended_by_somebody_else_leaves_and_is_cleaned_up_after(cloud: AwsCloud, session: Session) -> None:
    """In AWS's own console, say: told in the diary, and what it left is taken away."""
    launched(session)
    look(session)
    instance_id = only(session).key.id
    ec2 = raw_client("ec2")
    given = {"managed": "true", "parent": instance_id}
    marks = [{"Key": f"gpudash:{name}", "Value": value} for name, value in given.items()]
    spec = [{"ResourceType": "elastic-ip", "Tags": marks}]
    address = ec2.allocate_address(Domain="vpc", TagSpecifications=spec)["AllocationId"]
    ec2.terminate_instances(InstanceIds=[instance_id])
    look(session)
    assert not session.store.records
    assert any(event.kind == "gone" and "box" in event.text for event in session.ledger.events())
    deleted = [name for done in session.tidy(20) for name in done.deleted]
    assert address in deleted
    assert ec2.describe_addresses()["Addresses"] == ec2.describe_volumes()["Volumes"] == []


def test_a_persistent_spot_request_goes_before_its_instance(cloud: AwsCloud, session: Session) -> None:
    """Else it would launch another one."""
    order: list[str] = []

    def note(name: str, _: dict[str, Any]) -> None:
        order.append(name)

    def with_request(name: str, parsed: dict[str, Any]) -> None:
        for reservation in parsed["Reservations"]:
            for item in reservation["Instances"]:
                item["InstanceLifecycle"], item["SpotInstanceRequestId"] = "spot", "sir-12345678"

    launched(session)
    with (
        cloud.wire.broken(with_request, LIST, afterwards=True),
        cloud.wire.broken(note, "ec2:TerminateInstances"),
        cloud.wire.broken(lambda name, _: (order.append(name), refusal("InvalidSpotInstanceRequestID.NotFound"))[1],
                          "ec2:CancelSpotInstanceRequests"),
    ):  # fmt: skip
        look(session)
        session.actions.end(only(session).key, EndAction.TERMINATE)
    assert order == ["ec2:CancelSpotInstanceRequests", "ec2:TerminateInstances"]


def test_an_extend_is_in_the_tags_and_read_back(cloud: AwsCloud, session: Session) -> None:
    """Where EC2 shows them late it is not done yet, and is asked again."""
    operation = launched(session)
    look(session)
    key = only(session).key
    session.actions.desk.save(operation, stage=Stage.FAILED, detail="no host behind it in this test")
    look(session, 0)
    until = session.store.records[key].wanted.lease_deadline + timedelta(hours=1)  # type: ignore[union-attr, operator]
    stale = tags_of(key.id)["gpudash:lease-deadline"]

    def late(name: str, parsed: dict[str, Any]) -> None:
        for reservation in parsed["Reservations"]:
            for item in reservation["Instances"]:
                for tag in item["Tags"]:
                    if tag["Key"] == "gpudash:lease-deadline":
                        tag["Value"] = stale

    with cloud.wire.broken(late, LIST, afterwards=True):
        extend = session.actions.extend(key, until)
        assert extend.stage is Stage.ACCEPTED
        assert "does not show the new tags" in extend.detail
    session.clock.sleep(60)
    extend = session.actions.advance(now_of(session, extend))
    assert extend.stage is Stage.PROVED
    assert tags_of(key.id)["gpudash:lease-deadline"] == iso(until)


def spawned(clock: Any, **more: str) -> str:
    """An instance as that tool launches it."""
    marks = {"Name": "theirs", "spawn:managed": "true", "spawn:ttl": "8h0m0s", **more}
    marks["spawn:ttl-deadline"] = str(iso(clock.now() + timedelta(hours=8)))
    marks["spawn:launch-time"] = str(iso(clock.now()))
    found = raw_client("ec2").run_instances(
        ImageId=linux_image(), InstanceType="t3.micro", MinCount=1, MaxCount=1,
        TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in marks.items()]}
        ],
    )  # fmt: skip
    return str(found["Instances"][0]["InstanceId"])


def test_extending_an_instance_of_spawn_rewrites_what_its_agent_obeys(cloud: AwsCloud, session: Session) -> None:
    """Both of its tags; its own cost limit is not overrun in silence."""
    instance_id = spawned(cloud.clock)
    look(session)
    until = (cloud.clock.now() + timedelta(hours=10)).replace(microsecond=0)
    extend = session.actions.extend(only(session).key, until)
    assert extend.stage is Stage.PROVED, extend.detail
    marks = tags_of(instance_id)
    assert marks["spawn:ttl-deadline"] == iso(until)
    assert marks["spawn:ttl"].startswith("10h")
    assert marks["gpudash:lease-deadline"] == iso(until)


def test_an_extend_that_spawns_cost_limit_would_not_keep_is_refused_whole(cloud: AwsCloud, session: Session) -> None:
    """Nothing is believed that its agent will not do."""
    spawned(cloud.clock, **{"spawn:cost-limit": "0.01"})
    look(session)
    key, before = only(session).key, only(session).tag_policy
    extend = session.actions.extend(key, cloud.clock.now() + timedelta(hours=10))
    assert extend.stage is Stage.FAILED
    assert "cost limit of $0.01" in extend.detail
    look(session)
    assert session.store.records[key].policy is not None
    assert before is not None
    assert session.store.records[key].policy.lease_deadline == before.lease_deadline  # type: ignore[union-attr]


def test_adopting_puts_tags_and_limits_on_it(cloud: AwsCloud, session: Session) -> None:
    """From then on a guard may end it; another machine reads it from the tags."""
    instance_id = spawned(cloud.clock)
    look(session)
    assert not only(session).managed
    adopted = session.actions.adopt(only(session).key)
    assert adopted.stage is Stage.PROVED
    assert tags_of(instance_id)["gpudash:managed"] == "true"
    look(session)
    assert only(session).managed
    assert only(session).tag_policy is not None


def test_a_denied_end_is_still_billing_and_asked_again(cloud: AwsCloud, session: Session) -> None:
    """And the words say which permission."""
    launched(session)
    look(session)
    key = only(session).key
    with cloud.wire.broken(says("UnauthorizedOperation", status=403), "ec2:TerminateInstances"):
        end = session.actions.end(key, EndAction.TERMINATE)
        assert end.stage is Stage.RETRYING
        assert "UnauthorizedOperation" in end.detail
        look(session)
        assert session.store.records[key].still_billing_since() is not None
    session.clock.sleep(300)
    session.actions.advance(now_of(session, end))
    look(session)
    assert now_of(session, end).stage is Stage.PROVED


def test_a_hard_deadline_in_the_tags_is_never_passed(cloud: AwsCloud, session: Session) -> None:
    launched(session)
    look(session)
    key = only(session).key
    hard = session.store.records[key].wanted.hard_deadline  # type: ignore[union-attr]
    assert hard is not None
    with pytest.raises(Refused, match="hard deadline"):
        session.actions.extend(key, hard + timedelta(hours=1))
    assert isinstance(session.clock, ManualClock)
