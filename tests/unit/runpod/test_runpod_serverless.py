"""Serverless endpoints: what they cost, how they are changed, and what is believed of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from support.http_cloud import Fault, Reply, changed
from support.runpod_cloud import RunpodCloud, problem, runpod_cloud
from support.runpod_state import Endpoint as FakeEndpoint
from support.runpod_state import Worker

from gpudash.clock import ManualClock
from gpudash.config import Config
from gpudash.errors import Refused, UsageError
from gpudash.fleet.outcome import exit_code
from gpudash.fleet.session import Session
from gpudash.model.endpoint import Bounds, Endpoint
from gpudash.model.money import Price
from gpudash.model.operation import Operation, Stage

RATE = Decimal("1.1")
"""The published price of a worker in the fake's first pool, an hour."""


@pytest.fixture
def cloud() -> Iterator[RunpodCloud]:
    """The account over real HTTP."""
    with runpod_cloud() as found:
        yield found


@pytest.fixture
def session(cloud: RunpodCloud) -> Iterator[Session]:
    """A session over that account alone."""
    config = Config(accounts={"runpod": cloud.account})
    with Session.open(config, actor="cli", clock=cloud.clock) as opened:
        yield opened


def the_one(session: Session) -> Endpoint:
    """The endpoint in a fresh listing."""
    (listing,) = session.look_at_endpoints(10)
    (endpoint,) = listing.items
    return endpoint


def settled(cloud: RunpodCloud, session: Session, operation: Operation) -> Operation:
    """Carried on until it is over; the clock jumps to whatever is due next."""
    assert isinstance(cloud.clock, ManualClock)
    for _ in range(200):
        if not operation.stage.is_open:
            return operation
        cloud.clock.advance(30)
        operation = session.actions.advance(operation)
    raise AssertionError(f"still open: {operation}")


# -- what it is and costs ---------------------------------------------------------------------------------------------


def test_an_endpoint_with_its_workers_and_jobs(cloud: RunpodCloud, session: Session) -> None:
    """Bounds, workers by state, queue and prices, from one list and the data plane."""
    fake = cloud.fake.add_endpoint(name="chat", low=1, high=2, idle_s=5)
    cloud.provider.endpoints.submit(the_one(session).key, {"prompt": "a"})
    cloud.provider.endpoints.submit(the_one(session).key, {"prompt": "b"})
    cloud.provider.endpoints.submit(the_one(session).key, {"prompt": "c"})
    endpoint = the_one(session)
    assert endpoint.bounds == Bounds(1, 2, 5)
    assert endpoint.counts is not None
    assert endpoint.jobs is not None
    assert (endpoint.counts.running, endpoint.counts.total) == (2, 2)
    assert (endpoint.jobs.in_queue, endpoint.jobs.in_progress) == (1, 2)
    assert endpoint.worker_price == Price(RATE, "catalogue")
    assert endpoint.price_now == Price(RATE * 2, "catalogue")
    assert "test-model" not in repr(endpoint.raw)
    assert fake.low == 1


def test_a_forgotten_minimum_is_a_warning_with_its_price(cloud: RunpodCloud, session: Session) -> None:
    """Workers kept warm bill around the clock; the diary says so once, the leftovers list them."""
    cloud.fake.add_endpoint(name="chat", low=2, high=3)
    assert the_one(session).warning == "keeps 2 workers warm around the clock: $52.80 a day"
    the_one(session)
    alarms = [event.text for event in session.ledger.events() if event.kind == "alarm"]
    assert alarms == ["endpoint chat keeps 2 workers warm around the clock: $52.80 a day"]
    (leftover,) = cloud.provider.list_leftovers().items
    assert (leftover.kind, leftover.price) == ("warm worker", Price(RATE * 2, "catalogue"))


def test_nothing_is_warned_of_without_a_minimum(cloud: RunpodCloud, session: Session) -> None:
    """Scaled to zero costs nothing, and is no leftover."""
    cloud.fake.add_endpoint(low=0)
    endpoint = the_one(session)
    assert (endpoint.warning, endpoint.price_now) == (None, Price(Decimal(0), "catalogue"))
    assert cloud.provider.list_leftovers().items == ()


def test_a_maximum_of_zero_keeps_nothing_warm(cloud: RunpodCloud, session: Session) -> None:
    """RunPod cuts forgotten endpoints to zero; then the minimum bills nothing."""
    fake = cloud.fake.add_endpoint(low=0, high=0)
    fake.low = 1
    assert the_one(session).warning is None


@pytest.mark.parametrize(
    ("states", "low", "workers", "estimated"),
    [
        (["RUNNING", "RUNNING", "IDLE"], 0, 3, True),
        (["IDLE"], 1, 1, False),
        (["RUNNING", "IDLE"], 2, 2, False),
        (["THROTTLED", "UNHEALTHY"], 0, 0, False),
        (["INITIALIZING"], 0, 1, True),
        (["NAPPING"], 0, 1, True),
        ([], 2, 2, False),
    ],
)
def test_what_bills_now(
    cloud: RunpodCloud, session: Session, states: list[str], low: int, workers: int, estimated: bool
) -> None:
    """Workers at work and those kept warm bill; idle, starting and unknown ones maybe, which makes it an estimate."""
    fake = cloud.fake.add_endpoint(low=low, high=5)
    fake.settle = lambda now: None  # type: ignore[method-assign]
    fake.workers = [Worker(f"w{n}", cloud.clock.now(), status=state) for n, state in enumerate(states)]
    assert the_one(session).price_now == Price(RATE * workers, "catalogue", estimated)


def test_a_price_nobody_knows_is_unknown(cloud: RunpodCloud, session: Session) -> None:
    """An endpoint in a pool without a price says so, in the burn too."""
    cloud.fake.add_endpoint(low=1, pools=("NEW_POOL",))
    endpoint = the_one(session)
    assert (endpoint.worker_price, endpoint.price_now) == (None, None)
    assert endpoint.warning == "keeps 1 worker warm around the clock, at an unknown price"
    assert session.store.totals(cloud.clock.now()).burn.unknown


def test_the_ledger_counts_what_workers_cost(cloud: RunpodCloud, session: Session) -> None:
    """An hour of a warm worker is its price, as an estimate; the burn of the fleet has it too."""
    assert isinstance(cloud.clock, ManualClock)
    cloud.fake.add_endpoint(name="chat", low=1)
    for _ in range(61):
        key = the_one(session).key
        cloud.clock.advance(60)
    spent = session.ledger.accruals()[key].at(cloud.clock.now())
    assert (spent.usd.quantize(Decimal("0.0001")), spent.estimated, spent.unknown) == (
        (RATE * 61 / 60).quantize(Decimal("0.0001")),
        True,
        False,
    )
    assert session.store.totals(cloud.clock.now()).burn.usd == RATE


def test_counts_that_do_not_come_cost_no_endpoint(cloud: RunpodCloud, session: Session) -> None:
    """One endpoint without its counts says why; the others are there, and its meter runs on."""
    cloud.fake.add_endpoint(name="good")
    bad = cloud.fake.add_endpoint(name="bad", low=1)
    with cloud.fake.fault(Fault("down", Reply(500, {"error": "oops"}), path=f"{bad.id}/health")):
        (listing,) = session.look_at_endpoints(10)
    by_name = {endpoint.name: endpoint for endpoint in listing.items}
    assert by_name["good"].counts is not None
    assert by_name["bad"].counts is None
    assert "oops" in (by_name["bad"].problem or "")
    assert session.store.totals(cloud.clock.now()).burn.unknown


def test_failure_is_not_emptiness(cloud: RunpodCloud, session: Session) -> None:
    """An error, a listing without it, keep the endpoint; two complete listings without it do not."""
    fake = cloud.fake.add_endpoint(name="chat")
    the_one(session)
    with cloud.fake.fault(Fault("down", problem(500, "oops"), path="serverless")):
        (listing,) = session.look_at_endpoints(10)
    assert not listing.complete
    assert len(session.store.endpoints.by_key) == 1
    del cloud.fake.endpoints[fake.id]
    session.look_at_endpoints(10)
    assert len(session.store.endpoints.by_key) == 1
    session.look_at_endpoints(10)
    assert session.store.endpoints.by_key == {}


def test_a_load_balancer_has_workers_and_no_queue(cloud: RunpodCloud, session: Session) -> None:
    """Its workers are counted by REST; jobs are refused with the reason."""
    cloud.fake.add_endpoint(name="web", kind="LOAD_BALANCER", low=1)
    endpoint = the_one(session)
    assert endpoint.counts is not None
    assert (endpoint.counts.total, endpoint.jobs, endpoint.has_queue) == (1, None, False)
    with pytest.raises(Refused, match="has no queue"):
        session.actions.purge(endpoint)


def test_one_endpoint_in_full(cloud: RunpodCloud, session: Session) -> None:
    """Each worker, and the price of the GPU it is on."""
    cloud.fake.add_endpoint(low=1, pools=("ADA_24", "AMPERE_80"))
    endpoint = the_one(session)
    assert endpoint.worker_price == Price(Decimal("2.72"), "catalogue", estimated=True)
    whole = cloud.provider.endpoints.one(endpoint.key)
    assert whole.workers is not None
    assert (whole.workers[0].state, whole.workers[0].gpu) == ("idle", "NVIDIA GeForce RTX 4090")
    assert whole.worker_price == Price(RATE, "catalogue")


def test_the_data_plane_has_an_address_of_its_own(cloud: RunpodCloud) -> None:
    """`serverless_url` of the account moves jobs, and nothing else."""
    fake = cloud.fake.add_endpoint()
    with runpod_cloud() as other:
        other.fake.endpoints[fake.id] = FakeEndpoint(fake.id, "chat", cloud.clock.now())
        account = replace(cloud.account, serverless_url=other.fake.url)
        config = Config(accounts={"runpod": account})
        with Session.open(config, actor="cli", clock=cloud.clock) as session:
            endpoint = the_one(session)
            session.actions.submit(endpoint, 1)
    assert len(other.fake.endpoints[fake.id].jobs) == 1
    assert fake.jobs == []
    assert cloud.fake.count("GET", "^/v2/serverless$") == 1


# -- changes ----------------------------------------------------------------------------------------------------------


def test_bounds_are_set_and_read_back(cloud: RunpodCloud, session: Session) -> None:
    """Only what was named is sent, and proved by the endpoint itself."""
    fake = cloud.fake.add_endpoint(low=1, high=3, idle_s=10)
    operation = session.actions.scale(the_one(session), Bounds(low=0, idle_timeout_s=30))
    assert (operation.stage, operation.detail) == (Stage.PROVED, "now min 0, max 3, idle timeout 30 s")
    assert (fake.low, fake.high, fake.idle_s) == (0, 3, 30)
    (sent,) = [request.json for request in cloud.fake.log if request.method == "PATCH"]
    assert sent == {"workers": {"min": 0, "idleTimeout": 30}}


@pytest.mark.parametrize(
    ("bounds", "says"),
    [
        (Bounds(), "Nothing to change"),
        (Bounds(low=5), "contradict"),
        (Bounds(low=3, high=2), "contradict"),
        (Bounds(high=-1), "Fewer than no workers"),
        (Bounds(idle_timeout_s=0), "from 1 s to 1 h"),
        (Bounds(idle_timeout_s=3601), "from 1 s to 1 h"),
    ],
)
def test_bounds_that_cannot_hold_are_refused(cloud: RunpodCloud, session: Session, bounds: Bounds, says: str) -> None:
    """Before anything is asked, with what would hold."""
    cloud.fake.add_endpoint(low=0, high=3)
    with pytest.raises(UsageError, match=says):
        session.actions.scale(the_one(session), bounds)
    assert cloud.fake.count("PATCH") == 0


def test_a_lost_answer_of_a_scale_is_looked_up(cloud: RunpodCloud, session: Session) -> None:
    """It happened, so it is proved without asking twice."""
    cloud.fake.add_endpoint(low=1)
    endpoint = the_one(session)
    with cloud.fake.fault(Fault("lost", takes_effect=True, wire="drop", method="PATCH")):
        operation = session.actions.scale(endpoint, Bounds(low=0))
    assert settled(cloud, session, operation).stage is Stage.PROVED
    assert cloud.fake.count("PATCH") == 1


def test_a_scale_that_was_lost_is_asked_again(cloud: RunpodCloud, session: Session) -> None:
    """The same bounds again change nothing, so they may be asked for twice."""
    fake = cloud.fake.add_endpoint(low=1)
    endpoint = the_one(session)
    with cloud.fake.fault(Fault("lost", problem(502, "bad gateway"), method="PATCH", times=1)):
        operation = settled(cloud, session, session.actions.scale(endpoint, Bounds(low=0)))
    assert (operation.stage, fake.low, cloud.fake.count("PATCH")) == (Stage.PROVED, 0, 2)


def test_a_scale_without_effect_fails_in_the_end(cloud: RunpodCloud, session: Session) -> None:
    """A cloud that lies is seen through, and no person waits for ever."""
    cloud.fake.add_endpoint(low=1)
    endpoint = the_one(session)
    with cloud.trouble("no effect"):
        operation = settled(cloud, session, session.actions.scale(endpoint, Bounds(low=0)))
    assert operation.stage is Stage.FAILED
    assert "still says min 1" in operation.detail


def test_a_scale_that_is_refused_is_over(cloud: RunpodCloud, session: Session) -> None:
    """A definite no, in RunPod's words."""
    cloud.fake.add_endpoint(low=0)
    endpoint = the_one(session)
    refusal = problem(422, "idleTimeout is not applicable to this endpoint")
    with cloud.fake.fault(Fault("no", refusal, method="PATCH")):
        operation = session.actions.scale(endpoint, Bounds(idle_timeout_s=9))
    assert operation.stage is Stage.FAILED
    assert "idleTimeout is not applicable" in operation.detail


def test_a_purge_tells_how_many(cloud: RunpodCloud, session: Session) -> None:
    """Jobs that wait go, those at work stay."""
    fake = cloud.fake.add_endpoint(high=1)
    for number in range(4):
        cloud.provider.endpoints.submit(the_one(session).key, number)
    operation = session.actions.purge(the_one(session))
    assert (operation.stage, operation.detail) == (Stage.PROVED, "3 jobs taken back")
    assert [job.status for job in fake.jobs] == ["IN_PROGRESS"]


@pytest.mark.parametrize(("happens", "stage"), [(True, Stage.PROVED), (False, Stage.FAILED)])
def test_a_lost_answer_of_a_purge(cloud: RunpodCloud, session: Session, happens: bool, stage: Stage) -> None:
    """The queue tells; it is never purged twice, because later jobs would go too."""
    cloud.fake.add_endpoint(high=0)
    endpoint = the_one(session)
    cloud.provider.endpoints.submit(endpoint.key, 1)
    with cloud.fake.fault(Fault("lost", takes_effect=happens, wire="drop", path="purge-queue")):
        operation = settled(cloud, session, session.actions.purge(endpoint))
    assert operation.stage is stage
    assert cloud.fake.count("POST", "purge-queue") == 1


def test_a_job_from_submit_to_its_output(cloud: RunpodCloud, session: Session) -> None:
    """Its id is proved by reading it back; later it is over, with its output and times."""
    assert isinstance(cloud.clock, ManualClock)
    cloud.fake.add_endpoint(job_s=20)
    endpoint = the_one(session)
    operation = session.actions.submit(endpoint, {"prompt": "hello"})
    assert operation.stage is Stage.PROVED
    job_id = str(operation.params["job"])
    cloud.clock.advance(21)
    job = cloud.provider.endpoints.job(endpoint.key, job_id)
    assert (job.state, job.output, job.ran_s, job.is_over) == ("COMPLETED", {"echo": {"prompt": "hello"}}, 20, True)
    assert "input" not in operation.params


def test_a_lost_answer_of_a_submit_is_never_asked_again(cloud: RunpodCloud, session: Session) -> None:
    """One job may wait; a second one would be paid for."""
    fake = cloud.fake.add_endpoint()
    endpoint = the_one(session)
    with cloud.fake.fault(Fault("lost", takes_effect=True, wire="drop", path="/run$")):
        operation = settled(cloud, session, session.actions.submit(endpoint, 1))
    assert operation.stage is Stage.FAILED
    assert "look at the queue" in operation.detail
    assert exit_code(operation) == 6
    assert (len(fake.jobs), cloud.fake.count("POST", "/run$")) == (1, 1)


def test_a_cancel_is_proved_by_the_job(cloud: RunpodCloud, session: Session) -> None:
    """Waiting or at work, it is over afterwards; one that was over before is a failure with its state."""
    assert isinstance(cloud.clock, ManualClock)
    cloud.fake.add_endpoint(job_s=20)
    endpoint = the_one(session)
    first = str(session.actions.submit(endpoint, 1).params["job"])
    assert session.actions.cancel_job(endpoint, first).stage is Stage.PROVED
    second = str(session.actions.submit(endpoint, 2).params["job"])
    cloud.clock.advance(21)
    cloud.provider.endpoints.job(endpoint.key, second)
    late = session.actions.cancel_job(endpoint, second)
    assert (late.stage, late.detail) == (Stage.FAILED, f"job {second} was over before: completed")


@pytest.mark.parametrize(("happens", "stage", "code"), [(True, Stage.PROVED, 0), (False, Stage.FAILED, 6)])
def test_a_lost_answer_of_a_cancel(
    cloud: RunpodCloud, session: Session, happens: bool, stage: Stage, code: int
) -> None:
    """The job tells; it is never cancelled twice by itself, and one that goes on is no success."""
    cloud.fake.add_endpoint(high=0)
    endpoint = the_one(session)
    job = cloud.provider.endpoints.submit(endpoint.key, 1)
    with cloud.fake.fault(Fault("lost", takes_effect=happens, wire="drop", path="/cancel/")):
        operation = settled(cloud, session, session.actions.cancel_job(endpoint, job.id))
    assert (operation.stage, exit_code(operation)) == (stage, code)
    assert cloud.fake.count("POST", "/cancel/") == 1


@pytest.mark.parametrize("verb", ["scale", "purge", "submit", "cancel_job"])
def test_read_only_forbids_all_of_it(cloud: RunpodCloud, verb: str) -> None:
    """Below the screens, and nothing is written down."""
    cloud.fake.add_endpoint()
    config = Config(accounts={"runpod": cloud.account})
    with Session.open(config, actor="cli", clock=cloud.clock, read_only=True) as session:
        endpoint = the_one(session)
        extra = {"scale": [Bounds(low=1)], "purge": [], "submit": [1], "cancel_job": ["j"]}[verb]
        with pytest.raises(Refused, match="read-only"):
            getattr(session.actions, verb)(endpoint, *extra)
        assert session.ledger.recent_operations() == []
    assert cloud.fake.count("POST") == cloud.fake.count("PATCH") == 0


def test_an_intent_that_was_never_sent_is_not_sent_later(cloud: RunpodCloud, session: Session) -> None:
    """What the person wanted then may not hold now."""
    fake = cloud.fake.add_endpoint(low=1)
    intent = session.actions.intend_scale(the_one(session), Bounds(low=0))
    session.desk.fresh.clear()
    session.desk.liveness.close()
    with Session.open(session.config, actor="cli", clock=cloud.clock) as other:
        operation = settled(cloud, other, other.ledger.operation(intent.id) or intent)
    assert (operation.stage, fake.low) == (Stage.FAILED, 1)
    assert "nothing was changed" in operation.detail


Edit = Callable[[object], object]


@pytest.mark.parametrize(
    "edit",
    [
        lambda body: {"jobs": {"newWord": 3}, "workers": {"napping": 2}},
        lambda body: {"jobs": {}, "workers": {"ready": 1}},
        lambda body: {"jobs": {"inProgress": 1}, "workers": {"ready": 1}},
        lambda body: [],
        lambda body: {"workers": []},
    ],
)
def test_health_of_another_form(cloud: RunpodCloud, session: Session, edit: Edit) -> None:
    """New words are no crash; another form is unknown, not zero."""
    cloud.fake.add_endpoint(low=0)
    with cloud.fake.fault(Fault("odd", changed(edit), path="/health$")):
        endpoint = the_one(session)
    assert (endpoint.counts, endpoint.jobs) == (None, None)
    assert endpoint.problem
    assert endpoint.burn.unknown


def test_timeouts_are_as_told(cloud: RunpodCloud, session: Session) -> None:
    """Idle workers go after the idle timeout, and the price with them."""
    assert isinstance(cloud.clock, ManualClock)
    cloud.fake.add_endpoint(job_s=5, idle_s=10)
    endpoint = the_one(session)
    session.actions.submit(endpoint, 1)
    assert the_one(session).price_now == Price(RATE, "catalogue")
    cloud.clock.advance(6)
    assert the_one(session).price_now == Price(RATE, "catalogue", estimated=True)
    cloud.clock.advance(timedelta(seconds=11).total_seconds())
    assert the_one(session).price_now == Price(Decimal(0), "catalogue")
