"""Lambda's JSON becomes our words; the sample is the example of Lambda's documentation, with fields of the live service."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpudash.model.instance import EVERYWHERE, InstanceKey, InstanceState
from gpudash.model.money import Price
from gpudash.providers.lambda_cloud.labels import NAME_LIMIT, launch_tags, marked_name, shown_name, token_of
from gpudash.providers.lambda_cloud.parse import leftover_of, parse_filesystem, parse_gpu, parse_instance, parse_types

JUPYTER = "jupyter-token-of-the-sample"
SAMPLE: dict[str, Any] = {
    "id": "0920582c7ff041399e34823a0be62549",
    "name": "My Instance",
    "ip": "198.51.100.2",
    "private_ip": "10.0.2.100",
    "status": "active",
    "ssh_key_names": ["My SSH key"],
    "file_system_names": ["my-filesystem"],
    "file_system_mounts": [{"mount_point": "/lambda/nfs/my-filesystem", "file_system_id": "398578a2336b49079e74043f"}],
    "region": {"name": "us-west-1", "description": "California, USA"},
    "instance_type": {
        "name": "gpu_8x_h100_sxm5",
        "description": "8x H100 (80 GB SXM5)",
        "gpu_description": "H100 (80 GB SXM5)",
        "price_cents_per_hour": 2392,
        "specs": {"vcpus": 208, "memory_gib": 1800, "storage_gib": 22528, "gpus": 8},
    },
    "hostname": "headnode1",
    "jupyter_token": JUPYTER,
    "jupyter_url": f"https://jupyter.example.com/?token={JUPYTER}",
    "is_reserved": False,
    "workspace_id": "new since June 2026",
    "actions": {
        "restart": {"available": False, "reason_code": "vm-action-in-progress"},
        "terminate": {"available": True},
    },
}


def parsed(**changes: Any) -> Any:
    """The sample with changes; a value of ... removes the field."""
    record = {name: value for name, value in {**SAMPLE, **changes}.items() if value is not ...}
    return parse_instance(record, "work", {"My SSH key": "/home/me/.ssh/id_ed25519"})


def test_an_instance_in_our_words() -> None:
    """Cents of the whole machine become dollars, exactly; VRAM is read out of the description."""
    instance = parsed()
    assert instance.key == InstanceKey("work", EVERYWHERE, SAMPLE["id"])
    assert (instance.name, instance.region, instance.instance_type) == ("My Instance", "us-west-1", "gpu_8x_h100_sxm5")
    assert (instance.state, instance.provider_state) == (InstanceState.RUNNING, "active")
    assert instance.price == Price(Decimal("23.92"), "instance")
    assert instance.storage_price == Price(Decimal(0), "included")
    assert (instance.gpu, instance.gpu_count, instance.vram_gb) == ("H100 SXM5", 8, 80)
    assert (instance.ssh.host, instance.ssh.port, instance.ssh.user) == ("198.51.100.2", 22, "ubuntu")
    assert instance.ssh.identity_file == "/home/me/.ssh/id_ed25519"
    assert instance.lost_on_terminate == "22528 GB local disk"
    assert instance.stays_after_terminate == "filesystem my-filesystem"
    assert (instance.managed, instance.launch_token, instance.created_at) == (False, None, None)
    assert instance.raw["refused_actions"] == {"restart": "vm-action-in-progress"}


def test_the_listings_secret_is_not_kept() -> None:
    """JupyterLab's token stands in every listing, in two fields."""
    assert JUPYTER not in repr(parsed()) + repr(parsed().raw)


@pytest.mark.parametrize(
    ("status", "state"),
    [("booting", "pending"), ("active", "running"), ("unhealthy", "error"), ("terminating", "terminating"),
     ("terminated", "terminated"), ("preempted", "terminated"), ("hovering", "unknown"), (..., "unknown"),
     (None, "unknown")],
)  # fmt: skip
def test_states(status: Any, state: str) -> None:
    """A word we do not know is unknown and counts as billing."""
    instance = parsed(status=status)
    assert instance.state == state
    assert instance.state.bills_compute is (state != "terminated")
    assert (instance.notice is None) is (status != "unhealthy")


def test_what_ends_has_no_address_and_what_is_gone_loses_nothing() -> None:
    """Addresses are given to other people's machines soon after."""
    assert parsed(status="terminating").ssh is None
    assert parsed(status="terminated").lost_on_terminate is None
    assert parsed(ip=...).ssh is None


def test_everything_optional_may_be_missing() -> None:
    """Only the id is needed; unknown is None and never zero."""
    instance = parse_instance({"id": "x"}, "work", {})
    assert (instance.name, instance.price, instance.gpu, instance.gpu_count, instance.place) == (
        "x",
        None,
        None,
        None,
        None,
    )
    assert instance.stays_after_terminate is None


@pytest.mark.parametrize(
    ("told", "gpu", "vram"),
    [("H100 (80 GB SXM5)", "H100 SXM5", 80), ("A10 (24 GB PCIe)", "A10 PCIe", 24), ("GH200 (96 GB)", "GH200", 96),
     ("RTX A6000 (48 GB)", "RTX A6000", 48), ("N/A", "N/A", 0), ("", "", 0)],
)  # fmt: skip
def test_gpus(told: str, gpu: str, vram: int) -> None:
    """Name, form and VRAM."""
    assert parse_gpu(told) == (gpu, vram)


def test_types_without_gpu_and_types_that_cannot_be_read() -> None:
    """CPU types have no GPU; a broken entry hides no other."""
    types = parse_types(
        {
            "cpu": {"instance_type": {"gpu_description": "N/A", "specs": {"gpus": 0}}},
            "bad": None,
            "odd": {"instance_type": {"price_cents_per_hour": "75"}, "regions_with_capacity_available": None},
        }
    )
    assert set(types) == {"cpu", "odd"}
    assert (types["cpu"].gpu, types["cpu"].gpu_count) == ("", 0)
    assert (types["odd"].price, types["odd"].regions) == (None, ())


def test_a_filesystem_costs_by_what_is_used() -> None:
    """$0.20 a GB and month, marked as an estimate; an unknown size has no price."""
    record = {"id": "f", "name": "data", "region": {"name": "us-west-1"}, "is_in_use": True, "bytes_used": 365 * 10**9}
    leftover = leftover_of(parse_filesystem(record), "work", "i-1")
    assert leftover.price == Price(Decimal("0.1"), "table 2024-10", estimated=True)
    assert (leftover.size_gb, leftover.region, leftover.instance_id) == (365, "us-west-1", "i-1")
    unknown = leftover_of(parse_filesystem({"id": "f"}), "work", None)
    assert (unknown.price, unknown.size_gb) == (None, None)


@given(st.text(max_size=200), st.from_regex(r"[0-9a-f]{16}", fullmatch=True))
def test_any_name_carries_the_token_and_is_shown_without_it(name: str, token: str) -> None:
    """Within Lambda's 64 letters, whatever the person calls it."""
    marked = marked_name(name, token)
    assert len(marked) <= NAME_LIMIT
    assert token_of({"name": marked}) == token
    assert name.startswith(shown_name(marked))
    assert token_of({"name": "renamed", "tags": launch_tags(token)}) == token


def test_somebody_elses_name_is_left_alone() -> None:
    """Tokens are ours alone."""
    for name in ("train", "train #2", "gpudash", "x gpudash#", None):
        assert token_of({"name": name, "tags": [{"key": "team", "value": "a"}, "?"]}) is None
    assert shown_name("train #2") == "train #2"
