"""The faults that every cloud behind HTTP is put through, and what is seen of each: one row a fault, three verbs.

A cloud joins with a line in `HTTP_CLOUDS` and its `Words`. What must hold whatever the outcome is checked while a row
runs; the outcomes themselves become the tables of ``docs/faults.md``.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from email.utils import format_datetime
from typing import Any, Protocol

from gpudash.config import Account
from gpudash.errors import Ambiguous, AuthRefused, GpudashError, NoCapacity, RateLimited, Unreachable
from gpudash.model.instance import InstanceKey
from gpudash.providers.base import Provider
from gpudash.providers.http import Timeouts
from support.clouds import Cloud, launched
from support.fault_words import Words
from support.http_cloud import Fault, HttpCloud, Reply, changed, cut_short, page, unanswering
from support.lambda_cloud import LAMBDA_WORDS, lambda_cloud
from support.runpod_cloud import runpod_cloud
from support.runpod_words import RUNPOD_WORDS
from support.vast_cloud import VAST_WORDS, vast_cloud

HASTY = Timeouts(connect=0.3, read=0.3, write=0.3, pool=0.3, total=0.5)
VERBS = ("list", "launch", "end")
READ_ONLY = ("list",)
WRITES = ("launch", "end")


class HttpCloudUnderTest(Cloud, Protocol):
    """What a cloud offers beside the contract."""

    fake: Any
    """An `HttpCloud` with `alive()`, `create_lag_s`, `end_lag_s` and `ignores_ends`."""

    def again(self, *, url: str | None = None, timeouts: Timeouts | None = None) -> Provider:
        """Another adapter."""
        ...


HTTP_CLOUDS: dict[str, tuple[Words, Callable[[], AbstractContextManager[Any]]]] = {
    "lambda": (LAMBDA_WORDS, lambda: lambda_cloud(visible_after_s=60.0)),
    "runpod": (RUNPOD_WORDS, runpod_cloud),
    "vast": (VAST_WORDS, lambda: vast_cloud(visible_after_s=60.0)),
}
"""Every cloud behind HTTP, with the settings that people have."""


def account_of(cloud: Any) -> Account:
    """The account as settings would have it; its key is where the cloud under test has put it."""
    name = cloud.provider.account
    return getattr(cloud, "account", None) or Account(name, cloud.provider.provider, base_url=cloud.fake.url)


@dataclass(frozen=True)
class Row:
    """One fault."""

    name: str
    verbs: tuple[str, ...]
    fault: Callable[[Words, str], Fault | None]
    """None: the cloud has no such thing."""
    around: Callable[[HttpCloud], AbstractContextManager[Any]] = lambda fake: nullcontext()
    """What is changed at the fake while it lasts."""
    hasty: bool = False
    """Something hangs: short time-outs."""
    origin: Callable[[], AbstractContextManager[str | None]] = lambda: nullcontext()
    """Another origin to ask."""
    may_hide: bool = False
    """A complete list may lack the instance: the trap that the layers above must not fall into."""


def run(name: str, row: Row, verb: str) -> str:
    """What is seen of one fault at one cloud by one verb, in a few words; `–` where it does not apply."""
    words, make = HTTP_CLOUDS[name]
    fault = row.fault(words, verb)
    if fault is None or verb not in row.verbs:
        return "–"
    with make() as cloud:
        before = launched(cloud).key
        method, path = words.calls[verb]
        fault = replace(fault, method=fault.method or method, path=fault.path or path)
        with row.origin() as origin:
            adapter = cloud.again(url=origin, timeouts=HASTY if row.hasty else None)
            with row.around(cloud.fake), cloud.fake.fault(fault), warnings_said() as said:
                asked = cloud.fake.count(method, path)
                outcome = {"list": _list, "launch": _launch, "end": _end}[verb](cloud, adapter, before, row, words)
                assert cloud.fake.count(method, path) - asked <= (1 if verb != "list" else 2), "asked again by itself"
        assert words.key not in "".join(said)
        return outcome + (", and the clock is noticed" if any("clock" in line for line in said) else "")


def _list(cloud: Any, adapter: Provider, before: InstanceKey, row: Row, words: Words) -> str:
    try:
        found = adapter.list_instances(cloud.region)
    except GpudashError as exc:
        return told(exc, words, write=False)
    is_there = any(item.key == before for item in found.items)
    if found.complete:
        assert is_there or row.may_hide, "a complete list lacks an instance that runs"
        return "complete" if is_there else "complete and empty: proves nothing alone"
    assert found.problem
    return f"incomplete, {len(found.items)} of {len(cloud.fake.alive())} there"


def _launch(cloud: Any, adapter: Provider, before: InstanceKey, row: Row, words: Words) -> str:
    alive, order = cloud.fake.alive(), cloud.order()
    try:
        key = adapter.launch(order)
    except GpudashError as exc:
        made = cloud.fake.alive() - alive
        if not isinstance(exc, Ambiguous):
            assert not made, "a definite no, and yet it was launched"
            return told(exc, words, write=True)
        tokens = [item.launch_token for item in cloud.again().list_instances(cloud.region).items]
        assert tokens.count(order.token) == len(made) <= 1, "it cannot be found by its token"
        return told(exc, words, write=True) + (": found by its token" if made else ": not there")
    made = cloud.fake.alive() - alive
    assert made == {key.id}
    listed = any(item.key == key for item in adapter.list_instances(cloud.region).items)
    return "launched" + ("" if listed else ", listed later")


def _end(cloud: Any, adapter: Provider, before: InstanceKey, row: Row, words: Words) -> str:
    try:
        adapter.terminate(before)
    except GpudashError as exc:
        if not isinstance(exc, Ambiguous):
            assert before.id in cloud.fake.alive(), "a definite no, and yet it was ended"
        return told(exc, words, write=True)
    return "accepted" if before.id not in cloud.fake.alive() else "accepted, and the list says that it runs"


def told(exc: GpudashError, words: Words, *, write: bool) -> str:
    """The outcome in words; on the way, that nothing secret is in it and that a person is told what failed."""
    assert words.key not in "".join(traceback.format_exception(exc)) + repr(exc) + str(exc)
    match exc:
        case Ambiguous():
            assert write
            return "may have happened"
        case RateLimited():
            again = exc.retry_after_s
            return "too often" + (f", again in {again:g} s" if again is not None else "")
        case AuthRefused():
            return "key refused"
        case NoCapacity():
            return "no capacity"
        case Unreachable():
            return "no answer: nothing happened" if write else "no answer"
        case _:
            return "refused"


@contextmanager
def warnings_said() -> Iterator[list[str]]:
    """All that is logged meanwhile, by anybody."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield said
    finally:
        root.setLevel(level)
        root.removeHandler(handler)


@contextmanager
def with_values(fake: HttpCloud, **values: Any) -> Iterator[None]:
    """The fake with other settings, for a while."""
    earlier = {name: getattr(fake, name) for name in values}
    for name, value in values.items():
        setattr(fake, name, value)
    try:
        yield
    finally:
        for name, value in earlier.items():
            setattr(fake, name, value)


def _always(fault: Fault) -> Callable[[Words, str], Fault | None]:
    return lambda words, verb: fault


def _status(status: int, **headers: str) -> Callable[[Words, str], Fault | None]:
    told = {name.replace("_", "-"): value for name, value in headers.items()}

    def make(words: Words, verb: str) -> Fault:
        reply = words.refusal(status)
        return Fault(str(status), replace(reply, headers={**reply.headers, **told}))

    return make


def _effect(answer: Reply | None, wire: str = "whole") -> Callable[[Words, str], Fault | None]:
    return _always(Fault("effect", answer, takes_effect=True, wire=wire))


def _edit(which: str) -> Callable[[Words, str], Fault | None]:
    return lambda words, verb: Fault(which, changed(getattr(words, which)))


NONE = Fault("none", times=0)


def _at(words: Words, seconds: float) -> Reply:
    from support.clouds import NOON

    moment = format_datetime(NOON + timedelta(seconds=seconds), usegmt=True)
    told = format_datetime(NOON, usegmt=True)
    return replace(words.refusal(429), headers={"Retry-After": moment, "Date": told})


ROWS: list[Row] = [
    Row("nobody listens", VERBS, _always(NONE), around=lambda fake: fake.refusing()),
    Row("no connection in time", VERBS, _always(NONE), hasty=True, origin=unanswering),
    Row("closed before a byte", VERBS, _always(Fault("drop", wire="drop"))),
    Row("no answer in time", VERBS, _always(Fault("hang", wire="hang")), hasty=True),
    Row("no answer in time, and it happened", WRITES, _effect(None, "hang"), hasty=True),
    Row("silence in mid-answer, and it happened", VERBS, _effect(None, "half"), hasty=True),
    Row("connection ends in mid-answer, and it happened", VERBS, _effect(None, "cut")),
    Row("connection is reset in mid-answer, and it happened", VERBS, _effect(None, "reset")),
    Row("a byte now and then", VERBS, _effect(None, "drip"), hasty=True),
    Row("401", VERBS, _status(401)),
    *(Row(f"{status}", VERBS, _status(status)) for status in (402, 403, 404, 409, 422)),
    Row("429 with seconds", VERBS, _status(429, Retry_After="7")),
    Row("429 with a moment", VERBS, lambda words, verb: Fault("429", _at(words, 30))),
    Row("429 without a word on when", VERBS, _status(429)),
    Row("429 as a web page", VERBS, _always(Fault("429", page(429, Retry_After="20")))),
    Row("500", VERBS, _status(500)),
    Row("500, and it happened", WRITES, _effect(Reply(500, {"error": "oops"}))),
    Row("502 as a web page", VERBS, _always(Fault("502", page(502)))),
    Row("503, and it happened", WRITES, _effect(page(503))),
    Row("half of the data", VERBS, _always(Fault("cut short", cut_short))),
    Row("data of another form", VERBS, _effect(Reply(200, ["?"]))),
    Row("a web page instead of data", VERBS, _effect(page(200))),
    Row("new fields and a new state", READ_ONLY, _edit("newer")),
    Row("optional fields missing", READ_ONLY, _edit("sparse")),
    Row("a record that cannot be read", READ_ONLY, _edit("garbled")),
    Row("a later page fails", READ_ONLY, lambda words, verb: words.partial),
    Row("sudden empty list", READ_ONLY, lambda words, verb: Fault("empty", words.empty), may_hide=True),
    Row("accepted and not done", ("end",), _always(NONE), around=lambda fake: with_values(fake, ignores_ends=True)),
    Row(
        "the list lags after a launch",
        ("launch",),
        _always(NONE),
        around=lambda fake: with_values(fake, create_lag_s=20.0),
    ),
    Row("the list lags after an end", ("end",), _always(NONE), around=lambda fake: with_values(fake, end_lag_s=20.0)),
    Row(
        "clocks ten minutes apart",
        VERBS,
        _always(NONE),
        around=lambda fake: with_values(fake, skew=timedelta(minutes=10)),
    ),
]
"""What is the same at every cloud."""


def rows_of(name: str) -> list[Row]:
    """All rows of a cloud: the common ones, then its own words."""
    words, _ = HTTP_CLOUDS[name]
    odd = [
        Row(f"refused key: {told}", VERBS, _always(Fault(told, reply))) for told, reply in words.refused_keys.items()
    ]
    full = [Row(f"no capacity: {told}", ("launch",), _always(Fault(told, r))) for told, r in words.no_capacity.items()]
    own = [Row(told, (verb,), _always(fault)) for told, (verb, fault) in words.own.items()]
    return [*ROWS, *odd, *full, *own]
