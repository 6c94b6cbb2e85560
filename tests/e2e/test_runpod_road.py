"""The whole road at RunPod: launch, push, guard, tunnel and end, over real OpenSSH into a container without systemd."""

from __future__ import annotations

import os
import shutil
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from support.runpod_cloud import POD_KEY, RunpodCloud, runpod_cloud
from support.runpod_state import Pod

from gpudash.clock import SystemClock
from gpudash.config import Config
from gpudash.fleet.session import Session
from gpudash.hosts.client import StatusClient
from gpudash.model.guard import GuardLevel
from gpudash.model.offer import OfferFilter
from gpudash.model.operation import Stage
from gpudash.model.policy import EndAction
from gpudash.model.tunnel import TunnelState
from tests.support.container import Container
from tests.support.sshd import until
from tests.support.waiting import PATIENCE_S

pytest_plugins = ["tests.support.link_fixtures"]
pytestmark = [
    pytest.mark.needs("sshd", "ssh-keygen"),
    pytest.mark.skipif(os.geteuid() != 0, reason="pods are entered as root, so the test's server is too"),
]


@pytest.fixture
def cloud(tmp_path: Path, own_home: Path) -> Iterator[RunpodCloud]:
    """An account whose next pod is a container on this machine, and the person's key that opens it."""
    with runpod_cloud(SystemClock()) as cloud, Container(tmp_path / "container") as container:
        for path in (container.sshd.user_key, container.sshd.user_key.with_suffix(".pub")):
            shutil.copy(path, own_home / ".ssh" / f"id_ed25519{path.suffix}")

        def enter(pod: Pod) -> None:
            pod.host, pod.port = "127.0.0.1", container.sshd.port
            told = f"RUNPOD_API_KEY={POD_KEY}\0RUNPOD_POD_ID={pod.id}\0"
            (container.root / "proc/1/environ").write_text(told)

        cloud.fake.on_made = enter
        yield cloud


@pytest.mark.parametrize("action", [EndAction.STOP, EndAction.TERMINATE])
def test_from_the_offer_to_an_end_by_the_pod_itself(cloud: RunpodCloud, service: int, action: EndAction) -> None:
    """Direct SSH through a mapped port; ARMED means read back; the pod ends itself by a key that opens only itself."""
    fake = cloud.fake
    stranger = cloud.fake.add_pod()
    config = Config(accounts={"runpod": cloud.account})
    with Session.open(config, accounts=["runpod"], actor="test") as session:
        (listing,) = session.offers(OfferFilter(instance_type="1x-rtx-4090"), 20.0)
        order = session.actions.plan_launch(listing.items[0], name="train", lease=timedelta(hours=1))
        operation = session.settle_until(session.actions.launch(order).id, 60.0)
        assert operation.stage is Stage.PROVED, operation
        session.poll(20.0)
        session.read_hosts(20.0)
        record = session.resolve("train")
        verdict = record.guard(session.clock.now())
        assert verdict is not None
        assert (verdict.level, record.policy) == (GuardLevel.ARMED, order.policy)
        link = session.hosts.link(record.instance)
        forward = link.forward(service)
        until(lambda: forward.state is TunnelState.UP)
        with urllib.request.urlopen(f"http://127.0.0.1:{forward.local}/", timeout=PATIENCE_S) as page:
            assert page.status == 200
        StatusClient(link).shutdown(action)
        mine = record.key.id
        until(lambda: mine not in fake.pods if action is EndAction.TERMINATE else not fake.pods[mine].is_up)
    assert stranger.is_up
    ends = [request for request in fake.log if request.headers["authorization"] == f"Bearer {POD_KEY}"]
    assert [request.path for request in ends] == ["/graphql"]
