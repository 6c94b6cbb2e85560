"""All clouds behind HTTP in one fleet: one list an account and cycle, and a hung cloud holds up none of the others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from support.clouds import launched
from support.http_cloud import Fault
from support.http_faults import HTTP_CLOUDS, account_of

from gpudash.config import Config
from gpudash.fleet.session import Session

PATIENCE_S = 3.0


@pytest.fixture
def clouds() -> Iterator[dict[str, Any]]:
    """Each with one running instance."""
    with ExitStack() as stack:
        made = {name: stack.enter_context(make()) for name, (_, make) in HTTP_CLOUDS.items()}
        for cloud in made.values():
            launched(cloud)
        yield made


@pytest.fixture
def session(clouds: dict[str, Any]) -> Iterator[Session]:
    """A session over all of them, with adapters as the registry makes them."""
    accounts = {cloud.provider.account: account_of(cloud) for cloud in clouds.values()}
    with Session.open(Config(accounts=accounts), accounts=list(accounts), actor="test") as opened:
        yield opened


def lists(clouds: dict[str, Any], name: str) -> int:
    """How often that cloud was asked for its list."""
    words, _ = HTTP_CLOUDS[name]
    return int(clouds[name].fake.count(*words.calls["list"]))


def test_a_cycle_is_one_list_an_account(clouds: dict[str, Any], session: Session) -> None:
    """Whatever else a row shows comes with it, or is remembered."""
    before = {name: lists(clouds, name) for name in clouds}
    for cycle in (1, 2):
        session.poll(30.0)
        assert {name: lists(clouds, name) - before[name] for name in clouds} == dict.fromkeys(clouds, cycle)
    assert len(session.store.records) == len(clouds)


@pytest.mark.parametrize("hung", HTTP_CLOUDS)
def test_a_hung_cloud_holds_up_no_other(clouds: dict[str, Any], session: Session, hung: str) -> None:
    """The others answer while it is waited for; its own row stays, with its age."""
    session.poll(30.0)
    method, path = HTTP_CLOUDS[hung][0].calls["list"]
    began = session.clock.now()
    with clouds[hung].fake.fault(Fault("hang", wire="hang", method=method, path=path)):
        session.poll(PATIENCE_S)
    health = {account: told for (account, region), told in session.store.health.items() if region}
    late = health.pop(clouds[hung].provider.account)
    assert late.as_of is None or late.as_of < began
    assert f"no answer within {PATIENCE_S:g} s" in str(late.error)
    for account, told in health.items():
        assert told.as_of is not None
        assert 0 <= (told.as_of - began).total_seconds() < PATIENCE_S, account
    assert len(session.store.records) == len(clouds)
