"""Promise 9: what goes to a host or into the ledger holds no key of an account."""

from __future__ import annotations

import json

from support.memory_cloud import CLOUD, Cloud, ledger_bytes, look, offer, open_session

from gpudash import paths
from gpudash.clock import ManualClock
from gpudash.config import Account, Config
from gpudash.fleet.guarding import config_of
from gpudash.model.instance import SshAddress

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
