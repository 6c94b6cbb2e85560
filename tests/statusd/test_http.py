"""The HTTP face: who may, what is refused and how, and clients that misbehave."""

from __future__ import annotations

import json
import re
import socket
from typing import Any

import pytest

from .conftest import TOKEN, Host, after, until


def raw(host: Host, content: bytes, patience: float = 5.0) -> bytes:
    """What comes back for these bytes."""
    with socket.create_connection(("127.0.0.1", host.port), timeout=patience) as link:
        link.sendall(content)
        link.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: link.recv(65536), b""))


def test_health_is_open_and_says_little(host: Host) -> None:
    """/health needs no token and tells version and build, nothing else."""
    host.start()
    answer = host.get("/health", token=None)
    assert (answer.status, sorted(answer.json)) == (200, ["build", "ok", "version"])


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/status"), ("GET", "/metrics"), ("POST", "/activity"), ("POST", "/extend"), ("POST", "/shutdown")],
)
@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN + "x", TOKEN[:-1], "\u00e9"])
def test_everything_else_needs_the_token(shared: Host, method: str, path: str, token: str | None) -> None:
    """Without the whole token nothing is told and nothing is done."""
    answer = shared.request(method, path, {"action": "stop"} if method == "POST" else None, token=token)
    assert (answer.status, answer.json["field"]) == (401, "authorization")
    assert shared.ended() == []


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One running host for the tests that only ask."""
    made = Host(tmp_path_factory.mktemp("shared"))
    yield made.start()
    made.close()


def test_token_in_the_url_is_no_token(shared: Host) -> None:
    """A secret in a URL ends in logs; it is not accepted there."""
    assert shared.get(f"/status?token={TOKEN}", token=None).status == 401


@pytest.mark.parametrize(
    ("path", "body", "status", "field"),
    [
        ("/extend", b"{", 400, "body"),
        ("/extend", b"[1]", 400, "body"),
        ("/extend", b"\xff\xfe", 400, "body"),
        ("/extend", {}, 400, "deadline"),
        ("/extend", {"deadline": "tomorrow"}, 400, "deadline"),
        ("/extend", {"deadline": "2030-01-01T01:00:00"}, 400, "deadline"),
        ("/extend", {"deadline": 5}, 400, "deadline"),
        ("/extend", {"deadline": after(-5), "allow_shorten": True}, 400, "deadline"),
        ("/extend", {"deadline": after(5), "seconds": 5, "key": "k"}, 400, "deadline"),
        ("/extend", {"seconds": 5}, 400, "key"),
        ("/extend", {"seconds": 5, "key": ""}, 400, "key"),
        ("/extend", {"seconds": -5, "key": "k"}, 400, "seconds"),
        ("/extend", {"seconds": True, "key": "k"}, 400, "seconds"),
        ("/extend", {"seconds": "2h", "key": "k"}, 400, "seconds"),
        ("/extend", {"seconds": 5, "key": "k", "speed": 1}, 400, "speed"),
        ("/extend", {"deadline": after(5), "allow_shorten": "yes"}, 400, "allow_shorten"),
        ("/activity", {"hold_s": "long"}, 400, "hold_s"),
        ("/activity", {"hold": 5}, 400, "hold"),
        ("/shutdown", {}, 400, "action"),
        ("/shutdown", {"action": "explode"}, 400, "action"),
        ("/shutdown", {"action": ["stop"]}, 400, "action"),
    ],
)
def test_bad_request_names_the_field(shared: Host, path: str, body: Any, status: int, field: str) -> None:
    """A wrong request changes nothing and says which field is wrong."""
    answer = shared.post(path, body)
    assert (answer.status, answer.json["field"], shared.ended()) == (status, field, [])


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("DELETE", "/status", 405), ("GET", "/extend", 405), ("PUT", "/", 405)],
)
def test_wrong_path_or_method(shared: Host, method: str, path: str, status: int) -> None:
    """Both are answered in JSON with what would be right."""
    answer = shared.request(method, path)
    assert (answer.status, "error" in answer.json) == (status, True)
    assert status == 404 or answer.headers["allow"]


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"rubbish\r\n\r\n", 400),
        (b"GET /health HTTP/2.0\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"POST /extend HTTP/1.1\r\nContent-Length: ten\r\n\r\n", 400),
        (b"POST /extend HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /extend HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST /extend HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", 413),
        (b"POST /extend HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        (b"GET /health HTTP/1.1\r\nX: " + b"a" * 70000 + b"\r\n\r\n", 431),
    ],
    ids=["rubbish", "version", "header", "length", "negative", "twice", "oversized", "chunked", "head"],
)
def test_malformed_http_is_refused_and_closed(shared: Host, content: bytes, status: int) -> None:
    """Whatever comes over the wire gets a 4xx in JSON, and the connection ends."""
    answer = raw(shared, content)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert "error" in json.loads(answer.partition(b"\r\n\r\n")[2])


def test_one_connection_serves_many_requests(shared: Host) -> None:
    """Keep-alive works, also for requests sent without waiting."""
    ask = f"GET /status HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
    answer = raw(shared, ask * 3 + b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200 OK") == 4


def test_expect_continue_is_answered(shared: Host) -> None:
    """Clients that ask before they send a body (curl) are told to go on."""
    with socket.create_connection(("127.0.0.1", shared.port), timeout=5) as link:
        lines = [f"Authorization: Bearer {TOKEN}", "Content-Length: 2", "Expect: 100-continue", "", ""]
        link.sendall("\r\n".join(["POST /activity HTTP/1.1", *lines]).encode())
        assert link.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        link.sendall(b"{}")
        assert link.recv(100).startswith(b"HTTP/1.1 200 OK")


def test_slow_clients_hold_up_nobody(shared: Host) -> None:
    """Many clients that say half a request and wait leave the others their answers."""
    slow = [socket.create_connection(("127.0.0.1", shared.port)) for _ in range(40)]
    try:
        for link in slow:
            link.sendall(b"GET /status HT")
        assert shared.get("/status").status == 200
        for link in slow:
            link.setblocking(False)
            with pytest.raises(BlockingIOError):  # neither answered nor given up: they were not waited for
                link.recv(1)
    finally:
        for link in slow:
            link.close()


def test_activity_body_may_be_empty(shared: Host) -> None:
    """A bare POST declares activity."""
    assert shared.post("/activity").json["ok"] is True


def test_bad_link_header_is_named(shared: Host) -> None:
    """A client that states its link wrongly hears it."""
    answer = shared.get("/status", headers={"X-Gpudash-Link": "nonsense"})
    assert (answer.status, answer.json["field"]) == (400, "x-gpudash-link")


def test_status_has_the_documented_fields(shared: Host) -> None:
    """The document others script against."""
    assert set(shared.status()) == {
        "schema", "version", "build", "pid", "now", "started_at", "boot_id", "instance", "policy", "lease", "idle",
        "parked", "awake_because", "signals", "gpus", "alarms", "warnings", "phase", "ending", "enforcing",
        "end_method", "end", "metadata", "ends_at", "ends_why", "load_1m", "cpu_pct", "memory", "disk", "events",
    }  # fmt: skip


def test_new_token_is_taken_without_a_restart(host: Host) -> None:
    """A push that changes the token needs no restart."""
    host.start()
    fresh = host.home / "token.new"
    fresh.write_text("another-token\n")
    fresh.replace(host.home / "token")
    until(lambda: host.get("/status", token="another-token").status == 200, "the new token is in force")
    assert host.get("/status").status == 401


def test_missing_token_is_made(host: Host) -> None:
    """Without a token one is made up, private and long."""
    (host.home / "token").unlink()
    host.start()
    token = (host.home / "token").read_text().strip()
    assert len(token) == 64
    assert (host.home / "token").stat().st_mode & 0o777 == 0o600
    assert host.get("/status", token=token).status == 200


SAMPLE = re.compile(r'^[a-z_][a-z0-9_]*(\{([a-z_]+="(\\.|[^"\\\n])*",?)+\})? (-?\d+(\.\d+)?(e[+-]?\d+)?)$')


def test_metrics_are_valid_prometheus_text(host: Host) -> None:
    """Every line parses, every family has HELP and TYPE once and before its samples, labels are escaped."""
    host.start(instance={"id": 'odd"id\\x'}).settle()
    answer = host.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    declared: list[str] = []
    for line in answer.body.decode().splitlines():
        if line.startswith("# TYPE "):
            declared.append(line.split()[2])
        elif not line.startswith("# HELP "):
            assert SAMPLE.match(line), line
            assert re.split(r"[{ ]", line)[0] == declared[-1]
    assert len(declared) == len(set(declared))
    assert "gpudash_lease_remaining_seconds 14400.0" in answer.body.decode()
    assert r'id="odd\"id\\x"' in answer.body.decode()


def test_metrics_leave_out_what_is_unknown(host: Host) -> None:
    """Unknown is absent, not zero."""
    host.start(gpus=None, policy={"idle_timeout_s": 60}).settle()
    host.wait(lambda s: "gpu" in s["idle"]["unknown"], "the GPU is unknown")
    text = host.get("/metrics").body.decode()
    assert "gpudash_idle_seconds" not in text
    assert 'gpudash_signal_unknown{signal="gpu"} 1.0' in text
    assert 'gpudash_signal_active{signal="gpu"}' not in text
