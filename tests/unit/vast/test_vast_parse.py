"""One record of Vast becomes one of ours: states, money, address, label. The record is the example of its API file."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from gpudash.model.instance import InstanceState
from gpudash.model.policy import Policy
from gpudash.model.tags import LAUNCH_TOKEN, MANAGED, policy_tags, tagged_policy
from gpudash.providers.vast import label
from gpudash.providers.vast.increases import parse_increases
from gpudash.providers.vast.parse import parse_instance, place_of, read_type, type_name, vram_gb

RECORD: dict[str, Any] = {
    "id": 312, "actual_status": "running", "cur_state": "running", "next_state": "running",
    "intended_status": "running", "label": "ML Training Job 2025", "image_uuid": "nvidia/cuda:11.0.3-devel-ubuntu18.04",
    "image_args": ["bash", "-c", "secret-in-args"], "image_runtype": "ssh ssh_direc ssh_proxy",
    "extra_env": [["DOG", "secret-in-env"], ["-p 70001:70001", "1"]], "onstart": "echo secret-in-script",
    "jupyter_token": "secret-of-jupyter", "status_msg": "success, running nvidia/cuda/ssh",
    "public_ipaddr": "192.0.2.45 \n", "ssh_host": "ssh123.vast.ai", "ssh_idx": "6", "ssh_port": 10600,
    "machine_id": 12, "start_date": 1668804745.1223178, "end_date": 1735689600.0, "uptime_mins": None,
    "gpu_name": "RTX 4090", "gpu_totalram": 24576, "gpu_ram": 24576, "disk_space": 10.08,
    "ports": {"8888/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8888"}],
              "22/tcp": [{"HostIp": "0.0.0.0", "HostPort": "20000"}]},
    "geolocation": "California, United States", "country_code": None, "host_id": 7, "min_bid": 0.296, "is_bid": False,
    "dph_base": 0.8, "dph_total": 0.8021, "num_gpus": 1, "storage_cost": 0.15, "storage_total_cost": 0.0021,
    "search": {"gpuCostPerHour": 0.8, "diskHour": 0.0021, "totalHour": 0.8021, "discountTotalHour": 0,
               "discountedTotalPerHour": 0.8013},
    "instance": {"gpuCostPerHour": 0.8, "diskHour": 0.0013, "totalHour": 0.8021, "discountTotalHour": 0,
                 "discountedTotalPerHour": 0.5034},
    "inet_up_cost": 0.0041, "inet_down_cost": 0.002, "volume_info": [],
}  # fmt: skip


def parsed(**changes: Any) -> Any:
    """The record with some fields changed; None takes one away."""
    record = {name: value for name, value in {**RECORD, **changes}.items() if value is not ...}
    return parse_instance(record, "vast", {"gpudash-k": "/home/me/.ssh/id"})


def test_the_published_example() -> None:
    """Every fact that it tells, in our units."""
    found = parsed()
    assert (found.name, found.state, found.instance_type) == (
        "ML Training Job 2025", InstanceState.RUNNING, "1x_RTX_4090",
    )  # fmt: skip
    assert (found.gpu, found.gpu_count, found.vram_gb, found.disk_gb) == ("RTX 4090", 1, 24, 10)
    assert found.created_at == datetime(2022, 11, 18, 20, 52, 25, 122318, tzinfo=UTC)
    assert (found.started_at, found.managed, found.spot) == (None, False, False)
    assert found.price.usd_per_hour == Decimal("0.7992")
    assert found.storage_price.usd_per_hour == Decimal("0.0013")
    assert found.raw["traffic"] == "$0.0041/GB out, $0.002/GB in"


def test_nothing_secret_is_kept() -> None:
    """A listing carries tokens, variables and scripts; none gets further than the parser."""
    assert "secret" not in json.dumps(asdict(parsed()), default=str)


def test_a_record_with_nothing_but_an_id() -> None:
    """Whatever is missing is unknown, and never zero."""
    found = parse_instance({"id": 9}, "vast", {})
    assert (found.name, found.state, found.price, found.storage_price) == ("9", InstanceState.PENDING, None, None)
    assert (found.gpu, found.gpu_count, found.vram_gb, found.place, found.ssh) == (None, None, None, None, None)


@pytest.mark.parametrize(
    ("actual", "wanted", "contract", "state", "billed"),
    [
        (None, "running", "running", InstanceState.PENDING, False),
        ("created", "running", "running", InstanceState.PENDING, False),
        ("loading", "running", "running", InstanceState.STARTING, False),
        ("rebooting", "running", "running", InstanceState.STARTING, True),
        ("recycling", "running", "running", InstanceState.STARTING, True),
        ("running", "running", "running", InstanceState.RUNNING, True),
        ("running", "stopped", "stopped", InstanceState.STOPPING, True),
        ("stopped", "stopped", "stopped", InstanceState.STOPPED, False),
        ("exited", "stopped", "stopped", InstanceState.STOPPED, False),
        ("exited", "stopped", "running", InstanceState.STOPPING, True),
        (None, "stopped", "stopped", InstanceState.STOPPED, False),
        ("exited", "running", "stopped", InstanceState.PENDING, False),
        (None, "running", "stopped", InstanceState.PENDING, False),
        ("exited", "running", "running", InstanceState.ERROR, True),
        ("frozen", "frozen", "running", InstanceState.RUNNING, True),
        ("offline", "running", "running", InstanceState.ERROR, False),
        ("unknown", "running", "running", InstanceState.UNKNOWN, True),
        ("hovering", "running", "running", InstanceState.UNKNOWN, True),
        ("running", "running", "unloaded", InstanceState.TERMINATING, True),
    ],
)
def test_three_words_are_one_state_and_a_bill(
    actual: str | None, wanted: str, contract: str, state: InstanceState, billed: bool
) -> None:
    """What it does, and whether its GPU is paid for meanwhile; in doubt it is."""
    found = parsed(actual_status=actual, intended_status=wanted, cur_state=contract)
    assert (found.state, found.bills_compute) == (state, billed)


def test_what_is_odd_is_said() -> None:
    """A frozen one bills, a waiting one may wait for ever, one whose host is lost bills nothing, not even its disk."""
    assert "GPU bills on" in parsed(actual_status="frozen").notice
    waiting = parsed(actual_status="exited", cur_state="stopped")
    assert "perhaps for ever" in waiting.notice
    assert waiting.provider_state == "scheduling"
    lost = parsed(actual_status="offline")
    assert lost.storage_price.usd_per_hour == 0
    broken = parsed(actual_status="created", status_msg="OCI runtime create failed:\n no such device")
    assert (broken.state, broken.bills_compute) == (InstanceState.ERROR, False)
    assert broken.notice == "OCI runtime create failed: no such device"


def test_outbid_is_not_a_stop() -> None:
    """They look the same at Vast; the mark that we leave before a stop tells them apart."""
    down = {"actual_status": "exited", "intended_status": "stopped", "cur_state": "stopped", "is_bid": True}
    assert "outbid" in parsed(**down).notice
    ours = label.write("train", {MANAGED: "true", label.ASKED: "stop"})
    assert parsed(**down, label=ours).notice is None
    assert parsed(**{**down, "is_bid": False}).notice is None


@pytest.mark.parametrize(
    ("changes", "address"),
    [
        ({}, ("192.0.2.45", 20000)),
        ({"ports": None}, ("ssh123.vast.ai", 10600)),
        ({"ports": {"8888/tcp": [{"HostPort": "8888"}]}}, ("ssh123.vast.ai", 10600)),
        ({"ports": None, "image_runtype": "jupyter_direc ssh_direc"}, ("ssh123.vast.ai", 10601)),
        ({"public_ipaddr": None}, ("ssh123.vast.ai", 10600)),
        ({"ports": None, "ssh_host": None}, None),
        ({"actual_status": "loading"}, None),
    ],
)
def test_ssh_goes_straight_or_by_the_proxy(changes: dict[str, Any], address: tuple[str, int] | None) -> None:
    """The rule of Vast's own ``ssh-url``; the address without the blanks that the service puts behind it."""
    found = parsed(**changes).ssh
    assert (found and (found.host, found.port)) == address
    assert found is None or found.by_proxy == (found.host == "ssh123.vast.ai")


def test_where_a_port_is_mapped_the_proxy_stands_behind_it() -> None:
    """A mapped port may be dead; the proxy leads to the same server."""
    assert [(way.host, way.port, way.by_proxy) for way in parsed().ssh.ways] == [
        ("192.0.2.45", 20000, False),
        ("ssh123.vast.ai", 10600, True),
    ]
    assert len(parsed(ssh_host=None).ssh.ways) == 1


def test_the_key_of_the_launch_is_offered() -> None:
    """The label names it, so that links need not try every key of the person."""
    assert parsed(label="a [gpudash key=gpudash-k]").ssh.identity_file == "/home/me/.ssh/id"


def test_prices_without_the_breakdown() -> None:
    """Older answers have sums only; a disk is its monthly price by 720 hours."""
    found = parsed(search=..., instance=..., storage_total_cost=..., disk_space=96)
    assert (found.price.usd_per_hour, found.storage_price.usd_per_hour) == (Decimal("0.8"), Decimal("0.02"))


def test_a_label_holds_name_token_and_limits() -> None:
    """Written and read back whole; what is cleared is gone."""
    policy = Policy(
        lease_deadline=datetime(2026, 3, 1, 16, 0, tzinfo=UTC), idle_timeout=timedelta(minutes=30), revision=3
    )
    marks = {**policy_tags(policy), MANAGED: "true", LAUNCH_TOKEN: "abc-1", "gpudash:owner": "Zoë & Co [lab]"}
    text = label.write("train 1", marks)
    assert len(text) < 400
    name, back = label.read(text)
    assert (name, back) == ("train 1", {key: value for key, value in marks.items() if value})
    assert tagged_policy(back) == policy
    assert label.read("just a name") == ("just a name", {})
    assert label.read(None) == ("", {})


def test_a_long_name_gives_way_to_the_marks() -> None:
    """The token must fit into what Vast takes."""
    text = label.write("n" * 2000, {LAUNCH_TOKEN: "abc-1"})
    assert len(text) == label.LIMIT
    assert label.read(text)[1] == {LAUNCH_TOKEN: "abc-1"}


def test_the_token_survives_a_new_label() -> None:
    """Somebody wrote over it in the console; the environment still tells."""
    env = [[label.VARIABLE, "abc-1"], ["A", "b"]]
    found = parsed(label="renamed", extra_env=env)
    assert (found.launch_token, found.managed, found.name) == ("abc-1", True, "renamed")


def test_types_places_and_sizes() -> None:
    """A type reads back to what Vast calls it; a country is its code; drivers keep a little VRAM."""
    assert read_type(type_name(8, "H100 SXM")) == (8, "H100 SXM")
    assert [read_type(text) for text in ("no-such-type", "x_RTX", "0x_RTX_4090", "1x_")] == [None] * 4
    assert [place_of({"geolocation": g}) for g in ("Washington, US", "Sweden, SE", "Mars", None)] == [
        "US", "SE", "Mars", None,
    ]  # fmt: skip
    assert place_of({"geolocation": "x, YY", "country_code": "NL"}) == "NL"
    assert [vram_gb(mb) for mb in (24564, 81559, 16376, 0, None)] == [24, 80, 16, None, None]


def test_what_a_host_asks_for_is_said_in_hours() -> None:
    """Vast tells it by the second."""
    row = {
        "contract_id": 312, "old_gpu_costpersec": 0.0001, "new_gpu_costpersec": 0.00015,
        "old_disk_ram_costpersec": None, "new_disk_ram_costpersec": None, "contract_end_date": 1735689600.0,
    }  # fmt: skip
    (words,) = parse_increases({"pending_price_increases": [row, {"contract_id": None}, "?"]}).values()
    when = "from 2025-01-01 00:00 UTC, the old price until then"
    answer = "answer: gpudash increase 312 accept|reject"
    assert words == f"its host asks for more: GPU $0.3600 → $0.5400/h {when}; {answer}"
