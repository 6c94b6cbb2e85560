"""The launch wizard over EC2 on moto: options by cloud, what speaks against them, price before confirm, the next offer."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from support import moto_server
from support.aws_cloud import HERE, REGION, AwsCloud, OnLoopback, aws_cloud, linux_image, raw_client, says
from textual.widgets import Input

from gpudash.clock import SystemClock
from gpudash.config import Config
from gpudash.fleet.fleet import Fleet
from gpudash.fleet.session import Session
from gpudash.model.operation import Stage
from gpudash.ui.app import GpudashApp, Options
from gpudash.ui.screens.launch import LaunchScreen
from gpudash.ui.screens.launch_options import LaunchOptionsScreen
from tests.ui.test_sandbox import until

REGIONS = (REGION, "us-west-2")


@pytest.fixture
def cloud() -> Iterator[AwsCloud]:
    with aws_cloud(SystemClock(), regions=REGIONS, adapter=OnLoopback) as found:
        for region in REGIONS:
            moto_server.add_parameter(region, "/test/linux", linux_image())
        yield found


@pytest.fixture
def session(cloud: AwsCloud) -> Iterator[Session]:
    config = Config(accounts={"aws": cloud.account})
    with Session.open(config, accounts=["aws"], actor="dashboard", providers={"aws": cloud.provider}) as opened:
        yield opened


@asynccontextmanager
async def wizard(session: Session, spot: str = "no") -> AsyncIterator[tuple[GpudashApp, Any, Fleet, LaunchScreen]]:
    """The launch screen with the cursor on one A10G, on demand or as spot."""
    fleet = Fleet(session)
    app = GpudashApp(fleet, Options())
    async with app.run_test(size=(140, 44)) as pilot:
        await pilot.press("n")
        screen = app.screen
        assert isinstance(screen, LaunchScreen)
        await until(lambda: bool(screen.view.rows))
        await pilot.press(*f"type:g5.xlarge spot:{spot} region:us-east-1")
        await until(lambda: (one := screen.table.record) is not None and one.instance_type == "g5.xlarge")
        yield app, pilot, fleet, screen
        await app.action_quit()


async def fill(app: GpudashApp, pilot: Any, **values: str) -> LaunchOptionsScreen:
    """Open the options and write into fields."""
    await pilot.press("ctrl+o")
    await until(lambda: isinstance(app.screen, LaunchOptionsScreen))
    dialog = app.screen
    assert isinstance(dialog, LaunchOptionsScreen)
    for name, value in values.items():
        dialog.query_one(f"#option-{name}", Input).value = value
    await pilot.pause()
    return dialog


def words(screen: Any, selector: str) -> str:
    """What stands there."""
    widget = screen.query_one(selector)
    return "\n".join("".join(part.text for part in widget.render_line(y)) for y in range(widget.size.height))


async def test_options_go_to_ec2_and_the_price_stands_there_before_anything_is_asked(
    cloud: AwsCloud, session: Session
) -> None:
    async with wizard(session) as (app, pilot, fleet, screen):
        assert "1×A10G in us-east-1 (aws) for 4h costs at most ~$4.09 (~$0.06 disk)" in words(screen, "#summary")
        assert "if none is free: us-west-2" in words(screen, "#summary")
        await fill(
            app, pilot, ami="/test/linux", disk_gb="60", ssh_cidr=f"{HERE}/32", instance_profile="none",
            availability_zone="us-east-1b", more="tag.team=ml",
        )  # fmt: skip
        await pilot.press("enter")
        await until(lambda: app.screen is screen)
        assert "if none is free" not in words(screen, "#summary"), "a zone keeps it in its region"
        assert cloud.wire.count("ec2:RunInstances") == 0
        await pilot.press("enter")
        await until(lambda: any(op.key for op in fleet.store.operations.values()))
    (made,) = [i for r in raw_client("ec2").describe_instances()["Reservations"] for i in r["Instances"]]
    assert made["Placement"]["AvailabilityZone"] == "us-east-1b"
    assert {"Key": "team", "Value": "ml"} in made["Tags"]
    assert [volume["Size"] for volume in raw_client("ec2").describe_volumes()["Volumes"]] == [60]


RESERVED = "cr-0123456789abcdef0"
USER_DATA = "#cloud-config\npackages: [nvtop]\n"


@pytest.mark.parametrize(
    ("spot", "filled", "asked", "spot_options"),
    [
        (
            "no",
            {"capacity_reservation_id": RESERVED},
            {"CapacityReservationSpecification": {"CapacityReservationTarget": {"CapacityReservationId": RESERVED}}},
            {},
        ),
        (
            "yes",
            {"spot_type": "persistent", "spot_max_price": "0.45"},
            {},
            {"SpotInstanceType": "persistent", "InstanceInterruptionBehavior": "stop", "MaxPrice": "0.45"},
        ),
    ],
    ids=["reservation", "persistent spot"],
)
async def test_reservation_spot_and_user_data_reach_the_request(
    cloud: AwsCloud,
    session: Session,
    tmp_path: Path,
    spot: str,
    filled: dict[str, str],
    asked: dict[str, Any],
    spot_options: dict[str, str],
) -> None:
    (tmp_path / "cloud.yaml").write_text(USER_DATA)
    async with wizard(session, spot) as (app, pilot, fleet, screen):
        await fill(
            app, pilot, ami="/test/linux", ssh_cidr=f"{HERE}/32", instance_profile="none",
            user_data_file=str(tmp_path / "cloud.yaml"), **filled,
        )  # fmt: skip
        await pilot.press("enter")
        await until(lambda: app.screen is screen)
        await pilot.press("enter")
        await until(lambda: any(op.key for op in fleet.store.operations.values()))
    (sent,) = cloud.wire.sent["ec2:RunInstances"]
    assert USER_DATA in b64decode(sent["UserData"]).decode()
    assert {name: sent.get(name) for name in asked} == asked
    options = (sent.get("InstanceMarketOptions") or {}).get("SpotOptions") or {}
    assert {name: options.get(name) for name in spot_options} == spot_options
    assert bool(options) == bool(spot_options)


async def test_what_speaks_against_an_option_stands_below_it(cloud: AwsCloud, session: Session) -> None:
    """Hibernation of a GPU type, with the reason; it cannot be taken over, and Esc leaves all as it was."""
    async with wizard(session) as (app, pilot, _, screen):
        dialog = await fill(app, pilot, hibernate="true")
        assert "no type with a GPU can" in words(dialog, "#words")
        await pilot.press("enter")
        assert app.screen is dialog
        dialog.query_one("#option-hibernate", Input).value = ""
        dialog.query_one("#option-max-price", Input).value = "0.5"
        await pilot.pause()
        assert "costs more than that" in words(dialog, "#words")
        await pilot.press("escape")
        await until(lambda: app.screen is screen)
        assert screen.wishes == {}


async def test_the_next_offer_takes_it_where_the_first_has_none(cloud: AwsCloud, session: Session) -> None:
    """By itself, once, and told in the steps."""

    def full(name: str, params: dict[str, Any]) -> Any:
        return says("InsufficientInstanceCapacity", status=500)() if cloud.wire.calls[-1][1] == REGION else None

    async with wizard(session) as (app, pilot, fleet, screen):
        await fill(app, pilot, ami="/test/linux", ssh_cidr=f"{HERE}/32", instance_profile="none")
        await pilot.press("enter")
        await until(lambda: app.screen is screen)
        with cloud.wire.broken(full, "ec2:RunInstances"):
            await pilot.press("enter")
            await until(lambda: any(op.key for op in fleet.store.operations.values()))
        (operation,) = fleet.store.operations.values()
        assert (operation.stage, operation.region) == (Stage.ACCEPTED, "us-west-2")
        await until(lambda: operation.key in fleet.store.records)
    assert raw_client("ec2").describe_instances()["Reservations"] == []
