"""`ready` as a library: from any state to a service that answers, once however many ask, and never from what is over."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from support.memory_cloud import Cloud, Daemon, look, open_session
from support.waiting import PATIENCE_S

from gpudash.clock import ManualClock
from gpudash.errors import LinkDown, NoCapacity, ProviderError, Refused
from gpudash.fleet import readiness
from gpudash.fleet.session import Session
from gpudash.model.instance import Instance, InstanceState
from gpudash.model.policy import EndAction, Policy
from tests.conftest import ROOT


@dataclass
class Web:
    """A service on loopback; `answers` are its next status codes, the last one again and again."""

    url: str = ""
    answers: list[int] = field(default_factory=lambda: [200])
    asked: int = 0
    on_ask: Callable[[int], None] = lambda number: None


@pytest.fixture
def web() -> Iterator[Web]:
    service = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            service.asked += 1
            service.on_ask(service.asked)
            self.send_response(service.answers[min(service.asked, len(service.answers)) - 1])
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        service.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield service
        server.shutdown()


@pytest.fixture
def daemon(clock: ManualClock) -> Daemon:
    return Daemon(Policy(datetime(2126, 3, 1, tzinfo=UTC), idle_timeout=timedelta(minutes=30)), clock)


@pytest.fixture
def session(cloud: Cloud, clock: ManualClock, daemon: Daemon) -> Iterator[Session]:
    with open_session(cloud, clock, daemon) as opened:
        yield opened


def listed(session: Session, cloud: Cloud, web: Web, state: InstanceState) -> Instance:
    """One instance whose service can be reached at its own address."""
    made = cloud.add("box", state, service_url=web.url)
    look(session)
    return made


def ready(session: Session, instance: Instance, timeout_s: float = 120) -> str:
    return readiness.ready(session, instance.key, timeout_s=timeout_s)


def then(cloud: Cloud, *states: InstanceState) -> None:
    """The box is seen in these states, one a listing; the last one stays."""
    left = list(states)
    cloud.before["list"] = lambda: cloud.turn("box", left.pop(0) if len(left) > 1 else left[0])


def test_a_running_one_is_handed_over_awake(session: Session, cloud: Cloud, web: Web, daemon: Daemon) -> None:
    """Asked, held awake, asked again: it cannot have gone to sleep between the two."""
    order: list[str] = []
    web.on_ask = lambda number: order.append("http")
    daemon.activity = lambda hold_s=None: order.append(f"held {hold_s:g} s")  # type: ignore[method-assign, assignment]
    assert ready(session, listed(session, cloud, web, InstanceState.RUNNING)) == web.url
    assert order == ["http", "held 300 s", "http"]
    assert cloud.asked("start") == 0


def test_a_stopped_one_is_started_once(session: Session, cloud: Cloud, web: Web) -> None:
    assert ready(session, listed(session, cloud, web, InstanceState.STOPPED)) == web.url
    assert cloud.asked("start") == 1


def test_a_stop_under_way_is_waited_out_and_then_it_is_started(session: Session, cloud: Cloud, web: Web) -> None:
    box = listed(session, cloud, web, InstanceState.STOPPING)
    seen = iter([InstanceState.STOPPING, InstanceState.STOPPED])

    def turn() -> None:
        if (state := next(seen, None)) is not None:
            cloud.turn("box", state)

    cloud.before["list"] = turn
    assert ready(session, box) == web.url
    assert cloud.asked("start") == 1


def test_one_that_comes_up_is_waited_for_and_not_started_again(session: Session, cloud: Cloud, web: Web) -> None:
    box = listed(session, cloud, web, InstanceState.PENDING)
    then(cloud, InstanceState.STARTING, InstanceState.RUNNING)
    assert ready(session, box) == web.url
    assert cloud.asked("start") == 0


@pytest.mark.parametrize("state", [InstanceState.TERMINATING, InstanceState.ERROR])
def test_what_does_not_come_back_is_said_at_once(
    session: Session, cloud: Cloud, web: Web, state: InstanceState
) -> None:
    box = listed(session, cloud, web, state)
    with pytest.raises(ProviderError, match="Launch another one"):
        ready(session, box)
    assert cloud.asked("start") == 0


def test_a_terminate_that_was_asked_for_is_not_raced(session: Session, cloud: Cloud, web: Web) -> None:
    box = listed(session, cloud, web, InstanceState.RUNNING)
    cloud.no_effect = True
    session.actions.end(box.key, EndAction.TERMINATE)
    with pytest.raises(ProviderError, match="does not come back"):
        ready(session, box)


def test_no_capacity_is_told_in_the_clouds_words(session: Session, cloud: Cloud, web: Web) -> None:
    cloud.errors["start"] = NoCapacity("Insufficient capacity in us-east-1a.")
    box = listed(session, cloud, web, InstanceState.STOPPED)
    with pytest.raises(NoCapacity, match="could not be started: Insufficient capacity in us-east-1a"):
        ready(session, box)


def test_a_service_that_is_not_healthy_yet_is_asked_until_the_time_is_up(
    session: Session, cloud: Cloud, web: Web, daemon: Daemon
) -> None:
    box = listed(session, cloud, web, InstanceState.RUNNING)
    web.answers = [503, 503, 200]
    assert ready(session, box) == web.url
    web.answers = [503]
    daemon.error = None
    with pytest.raises(LinkDown, match="not ready"):
        ready(session, box, timeout_s=3)


def test_one_that_goes_down_while_it_is_waited_for_is_started_again(session: Session, cloud: Cloud, web: Web) -> None:
    """Its idle timeout may strike in the very moment."""
    box = listed(session, cloud, web, InstanceState.RUNNING)

    def goes_to_sleep(number: int) -> None:
        if number == 3:
            cloud.turn("box", InstanceState.STOPPED)

    web.on_ask = goes_to_sleep
    web.answers = [503, 503, 503]
    cloud.before["start"] = lambda: web.answers.append(200)
    assert ready(session, box) == web.url
    assert cloud.asked("start") == 1


def test_a_host_that_refuses_to_stay_awake_is_not_handed_over(
    session: Session, cloud: Cloud, web: Web, daemon: Daemon
) -> None:
    """It is on its way down, whatever its service still answers."""
    daemon.error = Refused("It is ending.")
    box = listed(session, cloud, web, InstanceState.RUNNING)
    with pytest.raises(LinkDown, match="It is ending"):
        ready(session, box, timeout_s=3)


def test_many_callers_start_it_once_and_get_one_answer(
    session: Session, cloud: Cloud, clock: ManualClock, web: Web, daemon: Daemon
) -> None:
    """Sessions of several threads over one ledger, as a gateway has them."""
    box = listed(session, cloud, web, InstanceState.STOPPED)
    all_there, answers = threading.Barrier(4), []
    cloud.before["start"] = lambda: all_are_in.wait(PATIENCE_S) and None
    all_are_in = threading.Event()

    def ask() -> None:
        with open_session(cloud, clock, daemon) as mine:
            look(mine)
            all_there.wait(PATIENCE_S)
            answers.append(ready(mine, box))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    all_are_in.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert answers == [web.url] * 4
    assert cloud.asked("start") == 1


OTHER_PROGRAM = """
import sys
from datetime import datetime
from pathlib import Path
from gpudash.clock import ManualClock
from gpudash.fleet.flights import between_programs
from gpudash.model.instance import InstanceKey

def work():
    print("at it", flush=True)
    sys.stdin.read()
    return "http://127.0.0.1:1"

folder, port, now, *key = sys.argv[1:]
between_programs(Path(folder), (InstanceKey(*key), int(port)), ManualClock(datetime.fromisoformat(now)), 60, print, work)
"""


def test_another_program_that_is_at_it_is_waited_for_and_believed(
    session: Session, cloud: Cloud, clock: ManualClock, web: Web
) -> None:
    """A stopped box is started by whoever came first; the second one takes over the answer and starts nothing."""
    box = listed(session, cloud, web, InstanceState.STOPPED)
    port = str(session.config.defaults.service_port)
    argv = [sys.executable, "-c", OTHER_PROGRAM, str(session.state_dir / "ready"), port, clock.now().isoformat()]
    other = subprocess.Popen(
        [*argv, box.key.account, box.key.region, box.key.id],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    with other:
        assert other.stdout is not None
        assert other.stdout.readline() == "at it\n"
        told: list[str] = []

        def tell(text: str) -> None:
            told.append(text)
            other.communicate(timeout=PATIENCE_S)

        found = readiness.ready(session, box.key, timeout_s=120, on_step=tell)
    assert (found, cloud.asked("start")) == ("http://127.0.0.1:1", 0)
    assert told == ["another gpudash is bringing box up"]
