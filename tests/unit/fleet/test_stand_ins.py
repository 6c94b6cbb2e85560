"""Where a cloud has none free, the next offer is asked for: within the cap, one at a time, each only after a definite no."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from support.memory_cloud import Cloud, look, offer, open_session

from gpudash.clock import ManualClock
from gpudash.errors import Ambiguous, NoCapacity, ProviderError
from gpudash.fleet.launch import order_of
from gpudash.fleet.session import Session
from gpudash.model.money import Price
from gpudash.model.offer import Offer
from gpudash.model.operation import Stage
from gpudash.providers import aws


@pytest.fixture
def cloud(clock: ManualClock) -> Cloud:
    return Cloud(clock, regions_=("here", "there", "yonder"))


def elsewhere(session: Session, region: str, usd: str | None = "2.49", **changes: Any) -> Offer:
    price = None if usd is None else Price(Decimal(usd), "catalogue")
    return replace(offer(session.clock, price), region=region, **changes)


def full(*answers: Exception | None) -> Callable[[], None]:
    """What each launch in turn is answered with; None lets it happen."""
    left = list(answers)

    def answer() -> None:
        if (error := left.pop(0)) is not None:
            raise error

    return answer


def test_the_next_region_is_asked_after_a_definite_no(session: Session, cloud: Cloud) -> None:
    """One instance, where there was room, found by the token that was sent there."""
    cloud.before["launch"] = full(NoCapacity("None here."), NoCapacity("None there."), None)
    others = [elsewhere(session, "there"), elsewhere(session, "yonder")]
    first = session.actions.plan_launch(offer(session.clock), others=others)
    operation = session.actions.launch(first)
    assert operation.stage is Stage.ACCEPTED
    assert operation.region == "yonder"
    (made,) = cloud.instances.values()
    assert made.launch_token == operation.token != first.token
    assert made.name == first.name
    diary = [event.text for event in session.ledger.events() if "none free" in event.text]
    assert len(diary) == 2
    assert "trying 1x-a10 in there" in diary[1]


def test_when_none_is_left_all_refusals_are_told(session: Session, cloud: Cloud) -> None:
    cloud.before["launch"] = full(NoCapacity("None here."), NoCapacity("None there."))
    order = session.actions.plan_launch(offer(session.clock), others=[elsewhere(session, "there")])
    operation = session.actions.launch(order)
    assert operation.stage is Stage.FAILED
    assert operation.detail == "None here. None there."
    assert operation.params["error"] == "NoCapacity"


@pytest.mark.parametrize("error", [ProviderError("The image is not there."), Ambiguous("No answer.")])
def test_any_other_answer_ends_the_search(session: Session, cloud: Cloud, error: Exception) -> None:
    """Above all one that leaves open whether it happened."""
    cloud.before["launch"] = full(error)
    order = session.actions.plan_launch(offer(session.clock), others=[elsewhere(session, "there")])
    operation = session.actions.launch(order)
    assert operation.stage is (Stage.AMBIGUOUS if isinstance(error, Ambiguous) else Stage.FAILED)
    assert cloud.asked("launch") == 1


def test_a_lost_answer_of_a_stand_in_is_looked_for_where_it_was_asked(session: Session, cloud: Cloud) -> None:
    """As promise 2 has it, with the second token in the second region."""
    order = session.actions.plan_launch(offer(session.clock), others=[elsewhere(session, "there")])
    cloud.before["launch"] = full(NoCapacity("None here."), None)
    cloud.lost, cloud.lost_error = {"launch"}, Ambiguous("No answer.")
    operation = session.actions.launch(order)
    assert operation.stage is Stage.AMBIGUOUS
    (made,) = cloud.instances.values()
    cloud.instances[made.key.id] = replace(made, key=replace(made.key, region="there"))
    look(session, 1)
    settled = session.ledger.operation(operation.id)
    assert settled is not None
    assert (settled.stage, settled.region) == (Stage.ACCEPTED, "there")
    assert cloud.asked("launch") == 2


def test_a_program_that_dies_between_two_offers_asks_for_nothing_more(
    session: Session, cloud: Cloud, clock: ManualClock
) -> None:
    """What was on disk was an intent; the person decides anew."""
    cloud.before["launch"] = full(NoCapacity("None here."))
    order = session.actions.plan_launch(offer(session.clock), others=[elsewhere(session, "there")])
    operation = session.actions.advance(session.actions.intend_launch(order))
    assert operation.stage is Stage.INTENDED
    assert order_of(operation).region == "there"
    session.close()
    with open_session(cloud, clock) as later:
        left = later.ledger.operation(operation.id)
        assert left is not None
        assert left.stage is Stage.FAILED
        assert "nothing was launched" in left.detail
    assert cloud.asked("launch") == 1


def test_only_what_was_agreed_to_stands_in(session: Session) -> None:
    """The same GPUs at the same account, as cheap at least, and nothing the cloud says it has not."""
    chosen = offer(session.clock)
    fine = [elsewhere(session, "cheap", "2.00"), elsewhere(session, "same")]
    wrong = [
        elsewhere(session, "dear", "2.50"),
        elsewhere(session, "unknown", None),
        elsewhere(session, "full", available=False),
        elsewhere(session, "spot", spot=True),
        elsewhere(session, "two", gpu_count=2),
        elsewhere(session, "other", gpu="H100"),
        elsewhere(session, "account", account="elsewhere"),
        chosen,
    ]
    assert session.actions.plan_launch(chosen, others=[*wrong, *fine]).alternatives == tuple(fine)
    capped = session.actions.plan_launch(chosen, others=[*wrong, *fine], max_price=Decimal("2.50"))
    assert [other.region for other in capped.alternatives] == ["cheap", "same", "dear"]


def test_a_stand_in_whose_price_rose_is_passed_over(session: Session, cloud: Cloud, clock: ManualClock) -> None:
    """What was agreed to holds for each of them."""
    rising = elsewhere(session, "there", "2.00")
    order = session.actions.plan_launch(offer(session.clock), others=[rising, elsewhere(session, "yonder", "2.10")])
    cloud.before["launch"] = full(NoCapacity("None here."), None)
    old = replace(rising, as_of=clock.now().replace(hour=1))
    order = replace(order, alternatives=(old, order.alternatives[1]))
    cloud.before["offers"] = lambda: None
    cloud.list_offers = lambda wanted: replace(  # type: ignore[method-assign]
        session.providers["cloud"].list_leftovers(), items=(elsewhere(session, "there", "9.00"),)
    )
    operation = session.actions.launch(order)
    assert (operation.stage, order_of(operation).region) == (Stage.ACCEPTED, "yonder")
    assert cloud.asked("launch") == 2


@pytest.mark.parametrize(
    ("options", "regions"),
    [
        ({}, ["us-east-2", "us-west-2"]),
        ({"disk_gb": "200", "ami": "al2023"}, ["us-east-2", "us-west-2"]),
        ({"ami": "ami-0123456789abcdef0"}, []),
        ({"availability_zone": "us-east-1a"}, []),
    ],
)
def test_an_option_that_means_one_region_stays_there(
    cloud: Cloud, clock: ManualClock, options: dict[str, str], regions: list[str]
) -> None:
    """An image's id or a zone is nothing elsewhere."""
    cloud.capabilities = aws.CAPABILITIES
    with open_session(cloud, clock) as session:
        chosen, *others = [
            replace(elsewhere(session, region, "1.006"), instance_type="g5.xlarge", gpu="A10G")
            for region in ("us-east-1", "us-east-2", "us-west-2")
        ]
        order = session.actions.plan_launch(chosen, others=others, options=options)
        assert [other.region for other in order.alternatives] == regions


def test_no_worse_host_stands_in(session: Session) -> None:
    """Where hosts differ: as new a CUDA, as well looked at, as reliable to the percent."""
    told = {"cuda": Decimal("12.4"), "reliability": Decimal("0.991"), "verified": True}
    first = elsewhere(session, "here", id="1", **told)
    good = elsewhere(session, "here", id="2", **{**told, "reliability": Decimal("0.990")})
    worse = [
        elsewhere(session, "here", id="3", **{**told, "reliability": Decimal("0.98")}),
        elsewhere(session, "here", id="4", **{**told, "cuda": Decimal("12.2")}),
        elsewhere(session, "here", id="5", **{**told, "verified": False}),
        elsewhere(session, "here", id="6"),
    ]
    order = session.actions.plan_launch(first, others=[*worse, good])
    assert [other.id for other in order.alternatives] == ["2"]
