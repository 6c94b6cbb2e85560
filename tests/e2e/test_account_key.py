"""A cloud that has no key for one machine: only with the person's consent does a host end itself with the account's."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.memory_cloud import CAPABILITIES, CLOUD, Cloud, ledger_bytes

from gpudash import paths
from gpudash.clock import SystemClock
from gpudash.config import Account, Config
from gpudash.fleet.daemons import client
from gpudash.fleet.session import Session
from gpudash.model.guard import GuardLevel
from gpudash.model.operation import Stage
from gpudash.model.policy import EndAction
from tests.support.end_api import EndApi
from tests.support.processes import arguments
from tests.support.sshd import Sshd, until
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.needs("sshd", "ssh-keygen")

KEY = "test-key-of-the-whole-account"


def pushed(cloud: Cloud, api: EndApi | None, monkeypatch: pytest.MonkeyPatch, check: Any) -> None:
    """Push statusd to the one host of this cloud by a session, and look."""
    spec: dict[str, Any] = {"method": "none"}
    if api is not None:
        step = {"method": "http", "url": f"{api.url}/terminate", "body": {"instance_ids": ["i-box"]}}
        spec = {"method": "chain", "terminate": [{**step, "token_file": "account.key", "ok_json": {"error": None}}]}
    monkeypatch.setattr(cloud, "end_spec", lambda key: spec)
    monkeypatch.setenv("CLOUD_KEY", KEY)
    account = Account(CLOUD, "lambda", api_key_env="CLOUD_KEY", key_on_hosts=api is not None)
    config = Config(accounts={CLOUD: account, "sandbox": Account("sandbox", "sandbox")})
    opened = Session.open(config, accounts=[CLOUD], clock=cloud.clock, actor="cli", providers={CLOUD: cloud})
    with opened as session:
        session.poll(PATIENCE_S)
        (key,) = session.store.records
        operation = session.settle_until(session.actions.push(key).id, PATIENCE_S)
        session.read_hosts(PATIENCE_S, 0)
        check(session, session.record(key), operation)


@pytest.fixture
def sshd(tmp_path: Path) -> Any:
    with Sshd(tmp_path / "s") as server:
        yield server
        current = server.home / ".gpudash/current"
        argv = [sys.executable, str(current), "--home", str(current.parent), "--stop"]
        subprocess.run(argv, check=True, capture_output=True)


@pytest.fixture
def cloud(sshd: Sshd) -> Cloud:
    made = Cloud(SystemClock(), capabilities=replace(CAPABILITIES, can_stop=False, can_hibernate=False))
    made.add("box", ssh=sshd.address, managed=True, gpu_count=0)
    return made


def test_key_that_was_agreed_to_ends_the_host_and_shows_nowhere(
    cloud: Cloud, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands in one private file of the host; not in the configuration, argv, logs or the ledger."""

    def check(session: Session, record: Any, operation: Any) -> None:
        assert operation.stage is Stage.PROVED, operation.detail
        verdict = record.guard(session.clock.now())
        assert verdict.level is GuardLevel.ARMED
        assert "can terminate itself" in verdict.reason
        key_file = sshd.home / ".gpudash/account.key"
        assert (key_file.read_text().strip(), key_file.stat().st_mode & 0o777) == (KEY, 0o600)
        client(session.desk, record, 5).shutdown(EndAction.TERMINATE)
        until(lambda: api.asked)
        assert api.asked[0].headers["authorization"] == f"Bearer {KEY}"
        assert json.loads(api.asked[0].body) == {"instance_ids": ["i-box"]}
        others = b"".join(p.read_bytes() for p in key_file.parent.rglob("*") if p.is_file() and p != key_file)
        assert KEY not in "".join(arguments().values())
        assert KEY.encode() not in others + sshd.log().encode() + ledger_bytes(paths.ledger_file())

    with EndApi([(200, {"data": {"terminated_instances": []}})]) as api:
        pushed(cloud, api, monkeypatch, check)


def test_without_consent_the_row_says_who_has_to_end_it(
    cloud: Cloud, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """statusd measures and reports; the push is done, and the guard is not armed."""

    def check(session: Session, record: Any, operation: Any) -> None:
        assert operation.stage is Stage.PROVED, operation.detail
        assert "the watchdog must" in operation.detail
        verdict = record.guard(session.clock.now())
        assert verdict.level is GuardLevel.DEGRADED
        assert verdict.reason == "cannot end itself: the watchdog must"
        assert not (sshd.home / ".gpudash/account.key").exists()

    pushed(cloud, None, monkeypatch, check)
