"""The model as JSON, and back from what older and newer programs wrote."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_builders import DISK, KEY, NOON, TWO, instance, operation

from gpudash.ledger import codec
from gpudash.model.capability import Verb
from gpudash.model.instance import Instance, InstanceState, SshAddress
from gpudash.model.money import Price
from gpudash.model.offer import LaunchOrder, Offer
from gpudash.model.operation import Operation, Stage, Step
from gpudash.model.policy import EndAction, Policy

LEASE = Policy(NOON, None, timedelta(minutes=30), EndAction.TERMINATE, revision=3)
OFFER = Offer("lab", "lambda", "gpu_1x", "H100", 1, 80, "east", TWO, True, None, NOON)
VALUES = [
    instance(storage_price=DISK, ssh=SshAddress("10.0.0.1", 22, "ubuntu"), tag_policy=LEASE, spot=True, vram_gb=80),
    operation(verb=Verb.LAUNCH, token="t", steps=(Step("asked", "done", "1.2 s", NOON),), key=None),
    LaunchOrder("t", "lab", "east", "gpu_1x", "one", True, LEASE, OFFER, Decimal("2.50"), 8000, options={"image": "x"}),
    Price(Decimal("0.000000000000000001"), "table", True),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_round_trip(value: object) -> None:
    """Nothing is lost on the way, however deep."""
    assert codec.loads(type(value), codec.dumps(value)) == value


def test_dicts_come_back() -> None:
    """`params` and `raw` take no part in comparing, but are kept."""
    kept = operation(params={"deadline": NOON, "hold_s": 5, "order": {"a": [1, None, "x"]}})
    back = codec.loads(Operation, codec.dumps(kept))
    assert back.params == {"deadline": codec.stamp(NOON), "hold_s": 5, "order": {"a": [1, None, "x"]}}


@given(st.builds(Price, st.decimals(allow_nan=False, allow_infinity=False), st.text(), st.booleans()))
def test_money_is_exact(price: Price) -> None:
    """Every decimal is the same decimal afterwards, trailing zeros included."""
    back = codec.loads(Price, codec.dumps(price))
    assert (back, str(back.usd_per_hour)) == (price, str(price.usd_per_hour))


@given(st.datetimes(timezones=st.just(UTC), min_value=datetime(1000, 1, 1)))
def test_times_sort_as_text(moment: datetime) -> None:
    """To the microsecond, and text order is time order."""
    assert codec.moment(codec.stamp(moment)) == moment
    assert (codec.stamp(moment) < codec.stamp(NOON)) == (moment < NOON)


def test_unknown_fields_are_ignored() -> None:
    """A newer program wrote more."""
    plain = codec.pack(instance()) | {"quantum": True, "key": codec.pack(KEY) | {"zone": "b"}}
    assert codec.unpack(Instance, plain) == instance()


def test_missing_optional_fields_have_their_default() -> None:
    """An older program wrote less."""
    plain = codec.pack(instance(vram_gb=80))
    del plain["vram_gb"]
    assert codec.unpack(Instance, plain) == instance()


def test_a_senseless_optional_field_counts_as_missing() -> None:
    """One bad value does not cost the whole instance."""
    plain = codec.pack(instance(gpu_count=1)) | {"gpu_count": "many", "created_at": "yesterday", "ssh": {"host": 1}}
    assert codec.unpack(Instance, plain) == instance(created_at=None)


@pytest.mark.parametrize(
    "wrong", [{}, {"usd_per_hour": "x", "source": "s"}, {"usd_per_hour": "1", "source": 3}, [], None]
)
def test_a_required_field_must_make_sense(wrong: object) -> None:
    """Missing, no number, wrong type, or no mapping at all."""
    with pytest.raises(ValueError, match="Price"):
        codec.unpack(Price, wrong)


def test_a_state_of_tomorrow_is_unknown() -> None:
    """Where an enum has a word for it."""
    plain = codec.pack(instance()) | {"state": "levitating"}
    assert codec.unpack(Instance, plain).state is InstanceState.UNKNOWN


def test_a_stage_of_tomorrow_is_an_error() -> None:
    """Where it has none, guessing would be acting on a guess."""
    with pytest.raises(ValueError, match=r"Operation\.stage"):
        codec.unpack(Operation, codec.pack(operation()) | {"stage": "levitating"})


def test_defaults_are_not_written() -> None:
    """Fifty snapshots load in a moment because they are short."""
    assert set(json.loads(codec.dumps(Policy()))) == set()
    assert json.loads(codec.dumps(operation()))["stage"] == Stage.INTENDED
