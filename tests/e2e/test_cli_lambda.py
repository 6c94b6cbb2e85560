"""The real command line against an account at Lambda, over real HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.http_cloud import Fault
from support.lambda_cloud import KEY_VARIABLE
from support.lambda_server import KEY, FakeLambda, no_capacity
from support.waiting import eventually

from gpudash.clock import SystemClock, parse_iso
from tests.support.cli import Answer, Cli

PUBLIC = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMOfU8pzgjWZ3BYJ9mLNDqlS7qlBsNhZf4yHDMYiOeWX somebody@somewhere\n"


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeLambda]:
    """The cloud, with machines that boot and end at once."""
    cloud = FakeLambda(SystemClock())
    cloud.boot_s = cloud.end_s = 0.2
    yield cloud
    cloud.close()


@pytest.fixture(scope="module")
def cli(fake: FakeLambda, tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A home with an API key in the usual variable and an SSH key."""
    program = Cli(tmp_path_factory.mktemp("lambda"))
    program.env[KEY_VARIABLE] = KEY
    program.config(f'[defaults]\nrefresh = "1s"\n[accounts.lambda]\nbase_url = "{fake.url}"\n')
    (program.home / ".ssh").mkdir(mode=0o700)
    (program.home / ".ssh" / "id_ed25519.pub").write_text(PUBLIC)
    return program


def launch(cli: Cli, *words: str) -> Answer:
    """One launch, without waiting for its guard."""
    return cli("launch", "--account", "lambda", "--region", "us-west-1", "--no-wait", "--yes", "--json", *words)


def test_launch_list_and_end(cli: Cli, fake: FakeLambda) -> None:
    """Launched once, shown with its price, region and the launch time from our own ledger, ended and proved."""
    before = SystemClock().now().replace(microsecond=0)
    answer = launch(cli, "--type", "gpu_1x_a10", "--name", "train")
    assert answer.code in (0, 6), answer
    asked = fake.count()
    (row,) = cli.ok("ls")["instances"]
    assert (fake.count(), fake.log[-1].path) == (asked + 1, "/api/v1/instances")
    assert (row["name"], row["region"], row["price_usd_per_hour"], row["managed"]) == ("train", "us-west-1", 0.75, True)
    assert before <= parse_iso(row["created_at"]) <= SystemClock().now()
    assert row["guard"] == "none"
    ended = cli("terminate", "train", "--yes", "--json")
    assert (ended.code, ended.doc["proved"]) == (0, True)
    assert fake.alive() == set()
    assert len(fake.machines) == 1


def test_what_lambda_cannot_do_is_refused_with_the_way_out(cli: Cli, fake: FakeLambda) -> None:
    """Stop is exit 4; no stock is exit 1 and names what comes closest; a refused key is exit 5 and says where to get one."""
    fake.add_machine(name="hers")
    assert cli("ls").code == 0
    stop = cli("stop", "hers", "--yes")
    assert (stop.code, "Lambda has no stop: a machine that is shut down goes on billing." in stop.err) == (4, True)
    with fake.fault(Fault("full", no_capacity(), path="/launch$")):
        full = launch(cli, "--type", "gpu_1x_a10")
    assert full.code == 1
    assert "Closest: gpu_1x_a10 in us-east-1 ($0.75/h)" in full.out + full.err
    refused = cli("ls", env={KEY_VARIABLE: "another-test-key"})
    assert refused.code == 5
    assert "hers" in refused.out
    assert "another-test-key" not in refused.out + refused.err


def test_restart_is_proved_by_the_list(cli: Cli, fake: FakeLambda) -> None:
    """Asked for once, after a yes; it went down and is active again."""
    refused = cli("restart", "hers")
    assert (refused.code, "was not confirmed" in refused.err) == (4, True)
    fake.boot_s = 1.5
    answer = cli("restart", "hers", "--yes", "--json")
    fake.boot_s = 0.2
    assert (answer.code, answer.doc["proved"], answer.doc["detail"]) == (0, True, "hers runs again.")
    assert fake.count("POST", "/restart$") == 1


def test_the_watchdog_ends_what_cannot_end_itself(cli: Cli, fake: FakeLambda) -> None:
    """Ours is past its lease and goes; somebody else's stays."""
    hers = fake.alive()
    assert launch(cli, "--type", "gpu_1x_a10", "--lease", "1s", "--name", "short").code == 6
    (ours,) = fake.alive() - hers
    eventually(lambda: cli("watchdog", "--once", "--enforce", "--grace", "1s") and ours not in fake.alive(), "it ended")
    assert fake.alive() == hers
