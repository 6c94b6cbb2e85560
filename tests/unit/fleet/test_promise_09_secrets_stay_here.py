"""Promise 9: what goes to a host or into the ledger holds no key of an account."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from support.memory_cloud import CLOUD, Cloud, Daemon, ledger_bytes, look, offer, open_session

from gpudash import paths
from gpudash.clock import ManualClock
from gpudash.config import Account, Config
from gpudash.fleet.guarding import config_of
from gpudash.model.instance import SshAddress
from gpudash.model.operation import Stage
from gpudash.model.policy import Policy

SECRET = "sk-not-for-hosts"


def test_promise_09_the_hosts_configuration_holds_what_it_needs_and_no_credential(
    cloud: Cloud, clock: ManualClock, monkeypatch: object
) -> None:
    account = Account(CLOUD, "lambda", api_key_env="CLOUD_KEY")
    config = Config(accounts={CLOUD: account, "sandbox": Account("sandbox", "sandbox")})
    monkeypatch.setenv("CLOUD_KEY", SECRET)  # type: ignore[attr-defined]
    worker = cloud.add("worker", ssh=SshAddress("192.0.2.1", 22, "ubuntu", "/home/me/.ssh/id_ed25519"))
    with open_session(cloud, clock, config=config) as session:
        look(session)
        body = config_of(session.desk, session.record(worker.key))
    assert set(body) == {"schema", "instance", "provider", "end", "service_ports", "gpus"}
    assert SECRET not in json.dumps(body)
    assert "id_ed25519" not in json.dumps(body)


def test_promise_09_the_ledger_holds_no_credential_and_is_private(
    cloud: Cloud, clock: ManualClock, monkeypatch: object
) -> None:
    account = Account(CLOUD, "lambda", api_key_env="CLOUD_KEY")
    config = Config(accounts={CLOUD: account, "sandbox": Account("sandbox", "sandbox")})
    monkeypatch.setenv("CLOUD_KEY", SECRET)  # type: ignore[attr-defined]
    with open_session(cloud, clock, config=config) as session:
        session.actions.launch(session.actions.plan_launch(offer(clock)))
        look(session, 1)
        assert SECRET.encode() not in ledger_bytes(paths.ledger_file())
        for path in [*paths.state_dir().glob("ledger.db*"), *(paths.state_dir() / "sessions").iterdir()]:
            assert path.stat().st_mode & 0o077 == 0, path


def test_promise_09_an_account_wide_key_needs_the_persons_sentence(
    cloud: Cloud, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where only such a key would end the host, a push without the consent is refused and says what to do."""
    monkeypatch.setenv("CLOUD_KEY", SECRET)
    step = {"method": "http", "url": "https://cloud.example/end", "token_file": "account.key"}
    monkeypatch.setattr(cloud, "end_spec", lambda key: {"method": "chain", "terminate": [step]})
    account = Account(CLOUD, "lambda", api_key_env="CLOUD_KEY")
    config = Config(accounts={CLOUD: account, "sandbox": Account("sandbox", "sandbox")})
    worker = cloud.add("worker", managed=True)
    daemon = Daemon(Policy(clock.now() + timedelta(hours=4)), clock)
    with open_session(cloud, clock, daemon, config=config) as session:
        look(session)
        operation = session.actions.advance(session.actions.push(worker.key))
    assert operation.stage is Stage.FAILED
    assert "Nobody agreed that the key" in operation.detail
    assert "key_on_hosts" in operation.detail
