"""The whole road at Vast: launch, push, guard, tunnel and end, over real OpenSSH into a container without systemd."""

from __future__ import annotations

import os
import shutil
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from support.vast_fake import KEY as ACCOUNT_KEY
from support.vast_fake import Contract, FakeVast

from gpudash.cli.listing import details
from gpudash.clock import SystemClock
from gpudash.config import Account, Config
from gpudash.fleet.session import Session
from gpudash.hosts.client import StatusClient
from gpudash.model.guard import GuardLevel
from gpudash.model.offer import OfferFilter
from gpudash.model.operation import Stage
from gpudash.model.policy import EndAction
from gpudash.model.tunnel import TunnelState
from tests.support.container import KEY, Container
from tests.support.sshd import free_port, until
from tests.support.waiting import PATIENCE_S

pytest_plugins = ["tests.support.link_fixtures"]
pytestmark = [
    pytest.mark.needs("sshd", "ssh-keygen"),
    pytest.mark.skipif(os.geteuid() != 0, reason="Vast's containers are entered as root, so the test's server is too"),
]


@pytest.fixture
def vast(tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeVast]:
    """An account whose next instance is a container on this machine, and the person's key that opens it."""
    fake = FakeVast(SystemClock())
    fake.load_s = 0.0
    monkeypatch.setenv("VAST_API_KEY", ACCOUNT_KEY)
    with Container(tmp_path / "container") as container:
        (own_home / ".ssh").mkdir(mode=0o700)
        shutil.copy(container.sshd.user_key, own_home / ".ssh" / "id_ed25519")
        shutil.copy(container.sshd.user_key.with_suffix(".pub"), own_home / ".ssh" / "id_ed25519.pub")

        def enter(contract: Contract) -> None:
            contract.ssh_port, contract.own_key = container.sshd.port, KEY
            told = f"CONTAINER_API_KEY={KEY}\0CONTAINER_ID={contract.id}\0"
            (container.root / "proc/1/environ").write_text(told)

        fake.on_made = enter
        yield fake
    fake.close()


def test_from_the_offer_to_an_end_by_the_host_itself(vast: FakeVast, service: int) -> None:
    """ARMED means that the limits were read back; a dead port is passed by; the host then ends itself by a key that opens nothing else."""
    account = Account("vast", "vast", base_url=vast.url)
    with Session.open(Config(accounts={"vast": account}), accounts=["vast"], actor="test") as session:
        (listing,) = session.offers(OfferFilter(instance_type="1x_RTX_4090", region="US", spot=False), 20.0)
        order = session.actions.plan_launch(listing.items[0], name="train", lease=timedelta(hours=1))
        operation = session.settle_until(session.actions.launch(order).id, 60.0)
        assert operation.stage is Stage.PROVED, operation
        session.poll(20.0)
        session.read_hosts(20.0)
        record = session.resolve("train")
        verdict = record.guard(session.clock.now())
        assert verdict is not None
        assert (verdict.level, record.instance.tag_policy) == (GuardLevel.ARMED, order.policy)
        link = session.hosts.link(record.instance)
        forward = link.forward(service)
        until(lambda: forward.state is TunnelState.UP)
        with urllib.request.urlopen(f"http://127.0.0.1:{forward.local}/", timeout=PATIENCE_S) as page:
            assert page.status == 200
        (contract,) = vast.contracts.values()
        contract.ssh_port, contract.proxy = free_port(), ("127.0.0.1", contract.ssh_port)
        session.poll(20.0)
        session.read_hosts(20.0)
        seen = replace(session.record(record.key), instance=session.as_reached(record.key))
        assert seen.status_problem is None
        assert [line for line in details(seen, session.clock.now()) if line.endswith("(by its cloud's proxy)")]
        StatusClient(link).shutdown(EndAction.TERMINATE)
        until(lambda: vast.alive() == set())
    (ended,) = [request for request in vast.log if request.method == "DELETE"]
    assert ended.headers["authorization"] == f"Bearer {KEY}"
