"""What each way of not being answered means to a read and to a write, over real sockets."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from typing import Any

import pytest
from support.http_cloud import Fault, HttpCloud, Reply, Request, cut_short, page, route, unanswering
from support.waiting import eventually

from gpudash.clock import ManualClock
from gpudash.errors import Ambiguous, AuthRefused, NoCapacity, ProviderError, RateLimited, Unreachable
from gpudash.providers.http import Answer, Api, Throttle, Timeouts, Verdict, bearer, segment
from gpudash.providers.http.api import LARGEST_BODY

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
KEY = "test-key-of-nobody"
HASTY = Timeouts(connect=0.3, read=0.3, write=0.3, pool=0.3, total=0.6)
Make = Callable[..., Api]


class Counter(HttpCloud):
    """Holds one number."""

    def __init__(self) -> None:
        super().__init__(ManualClock(NOON))
        self.value = 0

    @route("GET", "/v1/value")
    def read(self, request: Request) -> Reply:
        return Reply(body={"value": self.value, "price": 0.1})

    @route("POST", "/v1/value")
    def write(self, request: Request) -> Reply:
        self.value += 1
        return Reply(body={"value": self.value})

    @route("DELETE", "/v1/value")
    def delete(self, request: Request) -> Reply:
        self.value = 0
        return Reply(204)


@pytest.fixture
def cloud() -> Iterator[Counter]:
    """A counter behind HTTP."""
    counter = Counter()
    yield counter
    counter.close()


@pytest.fixture
def api(cloud: Counter) -> Iterator[Callable[..., Api]]:
    """Makes clients of it, or of another origin."""
    made: list[Api] = []

    def make(url: str = "", **settings: Any) -> Api:
        settings = {"auth": bearer(lambda: KEY), "account": "test", "clock": ManualClock(NOON)} | settings
        made.append(Api("Counter", (url or cloud.url) + "/v1", **settings))
        return made[-1]

    yield make
    for it in made:
        it.close()


def read(it: Api) -> Any:
    return it.read("GET", "/value", "read the value")


def write(it: Api) -> Any:
    return it.write("POST", "/value", "add one", json={"by": 1})


def test_a_read_is_decoded_with_exact_fractions(api: Make, cloud: Counter) -> None:
    """Money never passes through a float; the key and our own name travel in headers."""
    assert read(api()) == {"value": 0, "price": Decimal("0.1")}
    (request,) = cloud.log
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["user-agent"].startswith("gpudash/")
    assert request.query == {}


def test_an_empty_answer_is_fine_where_nothing_is_expected(api: Make, cloud: Counter) -> None:
    """204 to a delete."""
    assert api().write("DELETE", "/value", "reset", expect=None) is None


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, ProviderError), (401, AuthRefused), (402, ProviderError), (403, AuthRefused), (404, ProviderError),
     (409, ProviderError), (422, ProviderError), (429, RateLimited), (301, ProviderError)],
)  # fmt: skip
@pytest.mark.parametrize("act", [read, write])
def test_a_definite_no_is_never_ambiguous(api: Make, cloud: Counter, status: int, kind: type, act: Any) -> None:
    """Whatever the cloud answered with a 4xx did not happen, and its words are kept."""
    no = Fault("no", Reply(status, {"error": {"message": "not today."}}))
    with cloud.fault(no), pytest.raises(kind) as caught:
        act(api())
    assert not isinstance(caught.value, Unreachable)
    assert (caught.value.status, caught.value.code) == (status, str(status))
    assert status == 301 or "(Counter: not today)" in str(caught.value)
    assert cloud.value == 0


LOST = [
    Fault("500", Reply(500, {"error": "oops"})),
    Fault("502 page", page(502)),
    Fault("408", Reply(408)),
    Fault("drop", wire="drop"),
    Fault("hang", wire="hang"),
    Fault("half", wire="half"),
    Fault("cut", wire="cut"),
    Fault("reset", wire="reset"),
    Fault("drip", wire="drip"),
    Fault("cut short", cut_short),
    Fault("page", page(200)),
    Fault("empty", Reply(200)),
    Fault("list", Reply(200, [])),
    Fault("NaN", Reply(200, b'{"value": NaN}')),
]


@pytest.mark.parametrize("fault", LOST, ids=lambda fault: fault.name)
@pytest.mark.parametrize("took_effect", [True, False])
def test_a_lost_answer_is_unreachable_to_a_read_and_ambiguous_to_a_write(
    api: Make, cloud: Counter, fault: Fault, took_effect: bool
) -> None:
    """Whether it happened cannot be told from the answer, so nothing is claimed, and nothing is sent again."""
    broken = Fault(fault.name, fault.answer, took_effect, fault.wire)
    it = api(timeouts=HASTY)
    with cloud.fault(broken):
        with pytest.raises(Unreachable) as caught:
            read(it)
        assert not isinstance(caught.value, Ambiguous)
        with pytest.raises(Ambiguous, match=r"Could not add one \(Counter: .+\); it may have happened\."):
            write(it)
    assert cloud.count("POST") == 1
    assert cloud.value == (1 if took_effect or callable(fault.answer) else 0)


def test_where_no_connection_was_made_nothing_happened(api: Make, cloud: Counter) -> None:
    """A refused connection and one that is never accepted are definite, for a write as well."""
    it = api()
    read(it)
    with cloud.refusing(), pytest.raises(Unreachable, match="no connection") as caught:
        write(it)
    assert not isinstance(caught.value, Ambiguous)
    with unanswering() as url, pytest.raises(Unreachable, match=r"no connection in 0\.3 s") as late:
        write(api(url, timeouts=HASTY))
    assert not isinstance(late.value, Ambiguous)
    assert read(it)["value"] == 0


def test_headers_that_drip_end_too(api: Make, cloud: Counter) -> None:
    """The limit on the whole exchange holds before the body as well: a byte every 50 ms would go on for minutes."""
    drip = Fault("drip", Reply(200, {}, {"X-Long": "x" * 3000}), wire="drip")
    with cloud.fault(drip), pytest.raises(Unreachable, match=r"no answer in 0\.3 s"):
        read(api(timeouts=HASTY))


@pytest.mark.parametrize(
    ("reply", "wait_s"),
    [
        (Reply(429, {"error": "slow down"}, {"Retry-After": "7"}), 7.0),
        (Reply(429, {}, {"Retry-After": format_datetime(NOON + timedelta(seconds=90), usegmt=True)}), 90.0),
        (Reply(429, {}, {"Retry-After": format_datetime(NOON - timedelta(seconds=90), usegmt=True)}), 0.0),
        (Reply(429, {}, {"Retry-After": "soon"}), None),
        (Reply(429, {}, {"Retry-After": "9999999"}), 3600.0),
        (Reply(429), None),
        (page(429), None),
        (page(429, Retry_After="3"), 3.0),
    ],
)
def test_retry_after(api: Make, cloud: Counter, reply: Reply, wait_s: float | None) -> None:
    """Seconds, a moment, nothing, nonsense; and a web page is not mistaken for a broken answer."""
    with cloud.fault(Fault("busy", reply)), pytest.raises(RateLimited) as caught:
        write(api())
    assert caught.value.retry_after_s == wait_s


def test_a_moment_in_retry_after_is_measured_by_the_clouds_clock(api: Make, cloud: Counter) -> None:
    """A skewed clock does not stretch the wait."""
    cloud.skew = timedelta(hours=1)
    told = format_datetime(NOON + timedelta(hours=1, seconds=20), usegmt=True)
    with cloud.fault(Fault("busy", Reply(429, {}, {"Retry-After": told}))), pytest.raises(RateLimited) as caught:
        read(api())
    assert caught.value.retry_after_s == 20.0


def test_the_clouds_own_reading_comes_first(api: Make, cloud: Counter) -> None:
    """A judge may find a no inside a 200, and lack of capacity inside a 400."""

    def judge(answer: Answer) -> Verdict | None:
        if answer.get("success") is False:
            return Verdict(NoCapacity, str(answer.get("msg")), "no_offer", "Try later.")
        return None

    no = Fault("no", Reply(200, {"success": False, "msg": "none left"}))
    with cloud.fault(no), pytest.raises(NoCapacity) as caught:
        write(api(judge=judge))
    assert str(caught.value) == "Could not add one (Counter: none left). Try later."
    assert caught.value.code == "no_offer"


def test_the_key_is_nowhere_even_if_the_cloud_repeats_it(
    api: Make, cloud: Counter, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in the text, the representation, the log, the request line, or what the error came from."""
    caplog.set_level(logging.DEBUG)
    it = api()
    with cloud.fault(Fault("echo", Reply(401, {"error": f"{KEY} is no key"}))), pytest.raises(AuthRefused) as caught:
        read(it)
    assert "[key] is no key" in caught.value.text
    assert caught.value.__cause__ is None
    assert KEY not in f"{caught.value!r}{it!r}{caplog.text}{[(r.path, r.query) for r in cloud.log]}"


@pytest.mark.parametrize("key", ["sp\u00e4t", "two\nlines"])
def test_a_key_that_cannot_be_sent_is_refused_without_showing_it(api: Make, cloud: Counter, key: str) -> None:
    """Neither a stack trace of the HTTP library nor an ambiguous write."""
    with pytest.raises(AuthRefused, match="its key holds letters that no key has") as caught:
        write(api(auth=bearer(lambda: key)))
    assert key not in str(caught.value)
    assert cloud.count() == 0


def test_clock_skew_is_noticed_once(api: Make, cloud: Counter, caplog: pytest.LogCaptureFixture) -> None:
    """Signatures and deadlines suffer from a wrong clock, so it is said; within a minute it is not."""
    it = api()
    read(it)
    assert it.skew is not None
    assert abs(it.skew) < timedelta(seconds=2)
    assert it.clock_warning() is None
    cloud.skew = timedelta(minutes=10)
    read(it)
    read(it)
    assert it.clock_warning() == "This machine's clock is 600 s behind Counter's; set it right."
    assert caplog.text.count("600 s behind") == 1


def test_redirects_are_not_followed(api: Make, cloud: Counter) -> None:
    """The key goes to the origin that was configured and nowhere else."""
    other = Counter()
    moved = Reply(307, b"", {"Location": f"{other.url}/v1/value?x=1"})
    with cloud.fault(Fault("moved", moved)), pytest.raises(ProviderError, match="it moved to") as caught:
        write(api())
    assert "base_url" in str(caught.value)
    assert other.log == []
    other.close()


def test_reads_share_connections_and_writes_have_their_own(api: Make, cloud: Counter) -> None:
    """A poll a few seconds later needs no new connection; a write never meets one that was just closed."""
    it = api()
    for _ in range(3):
        read(it)
    with cloud.lock:
        assert len(cloud._connections) == 1
    write(it)
    it.close()
    assert read(it)["value"] == 1


def test_parallel_calls_each_have_their_own_limit(api: Make, cloud: Counter) -> None:
    """One hanging call neither holds up nor shortens another in the same `Api`."""
    it = api(timeouts=HASTY)
    with cloud.fault(Fault("hang", wire="hang", times=1)), ThreadPoolExecutor(1) as other:
        hung = other.submit(read, it)
        eventually(cloud.count, "the first call is there", every_s=0.005)
        assert read(it)["value"] == 0
        assert isinstance(hung.exception(), Unreachable)


def test_an_endless_answer_is_given_up(api: Make, cloud: Counter) -> None:
    """Memory is not the cloud's to fill."""
    big = Reply(200, b'"' + b"x" * (LARGEST_BODY + 10) + b'"')
    with cloud.fault(Fault("big", big)), pytest.raises(Unreachable, match="more than 64 MB"):
        read(api())


def test_throttle_waits_by_its_clock_and_refuses_beyond_its_patience(api: Make, cloud: Counter) -> None:
    """Five calls at one a second take four seconds of the clock; where the wait is long the call is not sent."""
    clock = ManualClock(NOON)
    it = api(clock=clock, throttle=Throttle(clock, (1, 1.0)))
    for _ in range(5):
        read(it)
    assert 4.0 <= clock.monotonic() <= 4.5
    rare = Throttle(clock, (1, 12.0), (5, 60.0), patience_s=5.0)
    it.write("POST", "/value", "add one", throttle=rare)
    with pytest.raises(RateLimited) as caught:
        it.write("POST", "/value", "add one", throttle=rare)
    assert caught.value.retry_after_s == pytest.approx(11.0, abs=1.1)
    assert cloud.value == 1


def test_a_refused_key_is_fetched_anew_later(api: Make, cloud: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that was replaced in its file works without a restart; its place is not asked at every poll."""
    asked: list[str] = []

    def headers() -> Mapping[str, str]:
        asked.append("key")
        return {"Authorization": f"Bearer {KEY}"}

    it = api(auth=headers)
    with cloud.fault(Fault("no", Reply(401))):
        for _ in range(2):
            with pytest.raises(AuthRefused):
                read(it)
        assert len(asked) == 1
        monkeypatch.setattr("gpudash.providers.http.api.NEW_KEY_AFTER_S", 0.0)
        with pytest.raises(AuthRefused):
            read(it)
    read(it)
    assert len(asked) == 2


def test_a_segment_of_a_path_cannot_leave_it() -> None:
    """Ids come from clouds and from people."""
    assert segment("a/../b?c#d") == "a%2F..%2Fb%3Fc%23d"
