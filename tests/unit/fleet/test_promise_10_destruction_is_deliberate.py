"""Promise 10 below the screen: read-only blocks everything, guards touch only what is ours, ids are exact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from support.memory_cloud import CAPABILITIES, CLOUD, Cloud, look, offer, open_session

from gpudash.clock import ManualClock
from gpudash.config import Account, Config
from gpudash.errors import NotFound, Refused, Unsupported
from gpudash.fleet import serverless
from gpudash.fleet.session import Session
from gpudash.model.capability import Verb
from gpudash.model.instance import InstanceKey, InstanceState
from gpudash.model.policy import EndAction, Policy

Try = Callable[[Session, InstanceKey], object]

EVERY_VERB: dict[Verb, Try] = {
    Verb.LAUNCH: lambda s, key: s.actions.launch(s.actions.plan_launch(offer(s.clock))),
    Verb.START: lambda s, key: s.actions.start(key),
    Verb.BID: lambda s, key: s.actions.bid(key, Decimal("0.25")),
    Verb.RENAME: lambda s, key: s.actions.rename(key, "other"),
    Verb.INCREASE: lambda s, key: s.actions.answer_increase(key, accept=True),
    Verb.RESTART: lambda s, key: s.actions.restart(key),
    Verb.STOP: lambda s, key: s.actions.end(key, EndAction.STOP),
    Verb.HIBERNATE: lambda s, key: s.actions.end(key, EndAction.HIBERNATE),
    Verb.TERMINATE: lambda s, key: s.actions.end(key, EndAction.TERMINATE),
    Verb.EXTEND: lambda s, key: s.actions.extend(key, s.clock.now() + timedelta(hours=1)),
    Verb.KEEPALIVE: lambda s, key: s.actions.keep_awake(key, timedelta(minutes=30)),
    Verb.PUSH: lambda s, key: s.actions.push(key),
    Verb.ADOPT: lambda s, key: s.actions.adopt(key, Policy()),
}


def test_promise_10_every_verb_is_covered_here() -> None:
    assert set(EVERY_VERB) == set(Verb) - serverless.VERBS  # those have tests/unit/runpod/test_runpod_serverless.py


@pytest.mark.parametrize("verb", EVERY_VERB)
@pytest.mark.parametrize("how", ["session", "account"])
def test_promise_10_read_only_blocks_below_the_screen(cloud: Cloud, clock: ManualClock, verb: Verb, how: str) -> None:
    key = cloud.add("worker").key
    account = Account(CLOUD, "lambda", read_only=how == "account")
    config = Config(accounts={CLOUD: account, "sandbox": Account("sandbox", "sandbox")})
    with open_session(cloud, clock, config=config, read_only=how == "session") as session:
        look(session)
        calls = list(cloud.calls)
        assert "read-only" in (session.actions.reason_against(verb, session.store.records[key]) or "")
        with pytest.raises(Refused, match="read-only"):
            EVERY_VERB[verb](session, key)
        assert session.ledger.recent_operations() == []
        assert cloud.calls == calls


def test_promise_10_read_only_drives_nothing_that_others_left_open(cloud: Cloud, clock: ManualClock) -> None:
    key = cloud.add("worker").key
    with open_session(cloud, clock) as session:
        look(session)
        held = session.actions.end(key, EndAction.STOP, hold_s=5)
    clock.advance(6)
    with open_session(cloud, clock, read_only=True) as reader:
        look(reader)
        reader.drive(5)
        assert cloud.asked("stop") == 0
        assert reader.ledger.operation(held.id) is not None


@pytest.mark.parametrize("action", list(EndAction))
def test_promise_10_a_guard_ends_only_what_is_managed(cloud: Cloud, clock: ManualClock, action: EndAction) -> None:
    stranger, ours = cloud.add("stranger").key, cloud.add("ours", managed=True).key
    with open_session(cloud, clock, actor="watchdog") as watchdog:
        look(watchdog)
        with pytest.raises(Refused, match="not managed"):
            watchdog.actions.end(stranger, action)
        watchdog.actions.end(ours, action)
    assert cloud.asked(action.value) == 1


def test_promise_10_an_action_follows_the_id_and_not_the_name_or_the_row(session: Session, cloud: Cloud) -> None:
    """Another instance took the name between the key press and the call."""
    old = cloud.add("worker").key
    look(session)
    held = session.actions.end(old, EndAction.TERMINATE, hold_s=5)
    cloud.add("new", name="worker")
    look(session, 5)
    session.actions.advance(held)
    assert set(cloud.instances) == {"i-new"}


def test_promise_10_what_is_not_in_the_fleet_cannot_be_ended(session: Session, cloud: Cloud) -> None:
    with pytest.raises(NotFound):
        session.actions.end(InstanceKey(CLOUD, "here", "i-nobody"), EndAction.TERMINATE)


def test_promise_10_a_verb_the_cloud_lacks_says_what_to_do_instead(cloud: Cloud, clock: ManualClock) -> None:
    why = "Lambda cannot stop instances; terminate instead."
    cloud.capabilities = replace(CAPABILITIES, can_stop=False, why_not={Verb.STOP: why})
    key = cloud.add("worker").key
    with open_session(cloud, clock) as session:
        look(session)
        assert session.actions.reason_against(Verb.STOP, session.store.records[key]) == why
        with pytest.raises(Unsupported, match="terminate instead"):
            session.actions.end(key, EndAction.STOP)


def test_promise_10_an_idle_stop_becomes_a_terminate_where_the_cloud_cannot_stop(
    cloud: Cloud, clock: ManualClock
) -> None:
    cloud.capabilities = replace(CAPABILITIES, can_stop=False, why_not={Verb.STOP: "no"})
    with open_session(cloud, clock) as session:
        assert session.actions.plan_launch(offer(clock)).policy.idle_action is EndAction.TERMINATE
        with pytest.raises(Unsupported):
            session.actions.plan_launch(offer(clock), idle_action=EndAction.STOP)


@pytest.mark.parametrize(
    ("verb", "state", "words"),
    [
        (Verb.START, InstanceState.RUNNING, "only a stopped instance"),
        (Verb.STOP, InstanceState.STOPPED, "stopped already"),
        (Verb.PUSH, InstanceState.STOPPED, "must run"),
        (Verb.KEEPALIVE, InstanceState.RUNNING, "press p"),
    ],
)
def test_promise_10_a_key_that_cannot_act_says_why(
    session: Session, cloud: Cloud, verb: Verb, state: InstanceState, words: str
) -> None:
    key = cloud.add("worker", state).key
    look(session)
    assert words in (session.actions.reason_against(verb, session.store.records[key]) or "")


def test_promise_10_every_intent_and_outcome_stands_in_the_diary_with_its_actor(session: Session, cloud: Cloud) -> None:
    key = cloud.add("worker").key
    look(session)
    session.actions.end(key, EndAction.STOP)
    look(session, 1)
    told = [(event.kind, event.actor) for event in session.ledger.events(key=key) if event.kind == "stop"]
    assert told == [("stop", "test")] * 2
