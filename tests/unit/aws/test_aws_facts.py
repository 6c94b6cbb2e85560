"""Instance types: what travels with the package agrees with what EC2 says."""

from __future__ import annotations

import pytest
from support.aws_cloud import REGION, AwsCloud

from gpudash.providers.aws import facts


def test_shipped_types_are_what_the_api_answers(cloud: AwsCloud) -> None:
    """Every GPU type of the region, to the last field."""
    asked = facts.fetch_gpu_types(cloud.provider.clients.read("ec2", REGION))
    assert asked == {name: known for name, known in facts.shipped().items() if name in asked}
    assert len(asked) > 50


@pytest.mark.parametrize(("mib", "gb"), [(16384, 16), (22888, 24), (45776, 48), (81920, 80), (144384, 141), (2861, 3)])
def test_memory_as_its_maker_states_it(mib: int, gb: int) -> None:
    """Both ways of counting are in use."""
    assert facts.stated_gb(mib) == gb


def test_a_slice_of_a_gpu_counts_as_one() -> None:
    """A count of zero does not mean that there is none."""
    slice_of_l4 = facts.shipped()["g6f.large"]
    assert (slice_of_l4.gpu, slice_of_l4.gpu_count, slice_of_l4.vram_gb, slice_of_l4.is_fractional) == (
        "L4",
        1,
        3,
        True,
    )


def test_no_gpu_type_can_hibernate() -> None:
    """So the idle action must be another."""
    assert not any(known.can_hibernate for known in facts.shipped().values())


def test_an_unknown_name_does_not_spoil_the_rest(cloud: AwsCloud) -> None:
    """Asked by filter."""
    found = facts.fetch(cloud.provider.clients.read("ec2", REGION), ["g5.xlarge", "no-such.type", "t3.micro"])
    assert set(found) == {"g5.xlarge", "t3.micro"}


@pytest.mark.parametrize("known", [facts.shipped()["p5.48xlarge"], facts.shipped()["g6f.large"]], ids=lambda k: k.name)
def test_types_survive_the_disk(known: facts.TypeFacts) -> None:
    """What is written is read back."""
    assert facts.load_type(known.name, facts.dump_type(known)) == known
