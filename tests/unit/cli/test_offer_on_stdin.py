"""`launch` reads one JSON offer, in our own form or as truffle prints it."""

import json
from decimal import Decimal

import pytest

from gpudash.cli.wanted import Wanted, read_offer, read_options
from gpudash.errors import UsageError

OURS = {"account": "lambda", "instance_type": "gpu_1x_a10", "region": "us-east-1", "spot": False}
TRUFFLE_SPOT = {
    "instance_type": "g5.xlarge",
    "region": "us-west-2",
    "availability_zone": "us-west-2a",
    "spot_price": 0.41,
    "on_demand_price": 1.006,
}


def test_our_own_offer() -> None:
    """One entry of `offers --json` is enough to launch."""
    assert read_offer(json.dumps(OURS)) == Wanted("gpu_1x_a10", "lambda", "us-east-1", False)


def test_document_with_one_offer() -> None:
    """The whole document of `offers --json` works where it has one offer."""
    assert read_offer(json.dumps({"as_of": "x", "offers": [OURS]})).instance_type == "gpu_1x_a10"


def test_truffle_spot_offer_means_spot() -> None:
    """Where it has no flag of its own, a spot price says that spot was looked for; zone and price come along."""
    zone = {"availability_zone": "us-west-2a"}
    wanted = Wanted("g5.xlarge", None, "us-west-2", True, None, Decimal("0.41"), zone)
    assert read_offer(json.dumps([TRUFFLE_SPOT])) == wanted


def test_truffle_offer_on_demand() -> None:
    """Its other form, with the flag and without a spot price."""
    told = {"instance_type": "c7g.xlarge", "region": "us-east-1", "architecture": "arm64", "spot": False}
    wanted = Wanted("c7g.xlarge", None, "us-east-1", False, None, None, {"architecture": "arm64"})
    assert read_offer(json.dumps(told | {"spot_price": 0 or None})) == wanted


def test_our_own_price_is_what_was_agreed_to() -> None:
    """So that a launch without questions does not cost more than was read."""
    assert read_offer(json.dumps(OURS | {"price_usd_per_hour": 1.29})).price == Decimal("1.29")


def test_options_of_the_command_line() -> None:
    """Dashes are as good as underscores, but not in the names of tags; a value may hold anything."""
    assert read_options(["disk-gb=200", "tag.cost-center=a=b"]) == {"disk_gb": "200", "tag.cost-center": "a=b"}


@pytest.mark.parametrize("pairs", [["disk_gb"], ["=3"], ["disk-gb=1", "disk_gb=2"]])
def test_options_that_are_none(pairs: list[str]) -> None:
    with pytest.raises(UsageError, match="--option"):
        read_options(pairs)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("no json", "no JSON offer"),
        ("[]", "0 offers"),
        (json.dumps([OURS, OURS]), "2 offers"),
        ("{}", "no instance_type"),
        ("3", "no instance_type"),
        ('{"instance_type": "x", "region": 3}', "region is not a text"),
        ('{"instance_type": "x", "spot_price": "cheap"}', "spot_price is no price"),
        ('{"instance_type": "x", "price_usd_per_hour": -1}', "price_usd_per_hour is no price"),
    ],
)
def test_what_is_no_offer_is_refused(text: str, words: str) -> None:
    """Nothing is guessed: a launch costs money."""
    with pytest.raises(UsageError, match=words):
        read_offer(text)
