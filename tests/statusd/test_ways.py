"""The chain of ways to the end: commands, power-off, a cloud's API; in order, recorded, for ever."""

from __future__ import annotations

import os
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.end_api import EndApi

from .conftest import Host, after, alarm_codes, refuse_power, until

LEASE = {"lease_deadline": after(60)}
DONE = {"success": True}
SECRET = "test-key-of-this-container"
SOMEBODY = 65534


@pytest.fixture
def machine(host: Host, tmp_path: Path) -> Host:
    """A host with a made-up /proc and tools that leave a trace and refuse, so that nothing here can be switched off."""
    (tmp_path / "root/proc/1").mkdir(parents=True)
    return refuse_power(host, tmp_path / "root")


def end_now(host: Host, **end: Any) -> None:
    """Run a host with these ways into the end of its lease."""
    ways = {"method": "chain", "stop": None, "hibernate": None, **end}
    host.start(policy=LEASE, end=ways, ignore_signals=["cpu", "net", "disk", "ssh", "conn"]).settle()
    host.pass_time(61)


def tried(host: Host) -> list[tuple[str, bool]]:
    """The ways that were tried, in order, with whether the other side said yes."""
    ending = host.status()["ending"] or {"tried": []}
    return [(attempt["method"], attempt["error"] is None) for attempt in ending["tried"]]


def http_step(api: EndApi, **more: Any) -> dict[str, Any]:
    return {"method": "http", "verb": "PUT", "url": f"{api.url}/instances/7/", "body": {"state": "stopped"}, **more}


def environ(host: Host, **variables: str) -> None:
    """What the container's first process was started with."""
    text = "".join(f"{name}={value}\0" for name, value in variables.items())
    Path(host.env["GPUDASH_SYSROOT"], "proc/1/environ").write_text(text)


def test_refused_power_off_goes_on_to_the_next_way(machine: Host) -> None:
    """Every tool that switches off is asked, then the next of the chain ends the host; each attempt is told."""
    end_now(machine, terminate=[{"method": "poweroff"}, {"method": "command", "argv": machine.end_command("api")}])
    until(lambda: "api" in machine.ended(), "the second way was taken")
    round_of_tools = ["systemctl-poweroff", "shutdown--h", "now", "poweroff-"]
    assert machine.ended() == [*round_of_tools, "api"]
    until(lambda: len(tried(machine)) == 2, "all is in /status")
    assert tried(machine) == [("poweroff", False), ("command", True)]
    assert "attempt 2: terminate by command: accepted" in machine.status()["events"][-1]["text"]


def test_power_off_is_enough_where_it_works(machine: Host) -> None:
    """The first tool that says yes is the last one asked."""
    machine.script(machine.bin / "systemctl", f'echo "systemctl-$*" >> {machine.ended_path}')
    end_now(machine, terminate=[{"method": "poweroff"}])
    until(lambda: machine.ended() == ["systemctl-poweroff"], "it powers off")
    assert machine.status()["end"]["can"] == ["terminate"]


def test_every_way_failing_is_an_alarm_and_is_tried_for_ever(machine: Host) -> None:
    """All refuse: the alarm is on, and the round begins again."""
    with EndApi([(403, {"error": "not yours"})]) as api:
        environ(machine, CONTAINER_API_KEY=SECRET)
        command = {"method": "command", "argv": machine.end_command("command", 1)}
        end_now(machine, terminate=[http_step(api, token_env="CONTAINER_API_KEY"), command])
        until(lambda: len(tried(machine)) >= 3, "it goes round")
        status = machine.status()
    assert [way for way, _ in tried(machine)][:3] == ["http", "command", "http"]
    assert "end-failing" in alarm_codes(status)
    assert "answers 403" in status["ending"]["tried"][0]["error"]


def test_api_of_the_container_is_asked_with_its_own_key(machine: Host) -> None:
    """The key comes from the first process of the container, goes into one header, and shows nowhere."""
    with EndApi([(200, DONE)]) as api:
        environ(machine, CONTAINER_API_KEY=SECRET, CONTAINER_ID="7")
        step = http_step(api, token_env="CONTAINER_API_KEY", only_if_env={"CONTAINER_ID": "7"}, ok_json=DONE)
        end_now(machine, terminate=[step])
        until(lambda: api.asked, "it was asked")
        (asked,) = api.asked
        until(lambda: tried(machine) == [("http", True)], "it said yes")
    assert (asked.verb, asked.path, asked.body) == ("PUT", "/instances/7/", b'{"state": "stopped"}')
    assert asked.headers["authorization"] == f"Bearer {SECRET}"
    assert_secret_nowhere(machine)


def assert_secret_nowhere(host: Host) -> None:
    """In no file of statusd, no answer and no command line."""
    until(lambda: (host.state()["ending"] or {}).get("tried"), "it is on the disk")
    files = b"".join(path.read_bytes() for path in host.home.rglob("*") if path.is_file())
    answers = b"".join(host.get(path).body for path in ("/status", "/log", "/metrics", "/history"))
    process = host.process
    assert process is not None
    argv = Path(f"/proc/{process.pid}/cmdline").read_bytes()
    assert SECRET.encode() not in files + answers + argv


def test_success_is_what_the_cloud_calls_success(machine: Host) -> None:
    """A 200 that says `success: false` is a no, and one that echoes the key is told without it."""
    with EndApi([(200, {"success": False, "msg": SECRET})]) as api:
        environ(machine, CONTAINER_API_KEY=SECRET)
        end_now(machine, terminate=[http_step(api, token_env="CONTAINER_API_KEY", ok_json={"success": True})])
        until(lambda: tried(machine), "it was tried")
        error = machine.status()["ending"]["tried"][0]["error"]
    assert error.endswith("answers 200 and success is false, not true")


def test_answer_that_echoes_the_key_is_told_without_it(machine: Host) -> None:
    """Whatever the other side says, the key stays out of logs and answers."""
    with EndApi([(401, {"msg": f"bad key {SECRET}"})]) as api:
        environ(machine, CONTAINER_API_KEY=SECRET)
        end_now(machine, terminate=[http_step(api, token_env="CONTAINER_API_KEY")])
        until(lambda: tried(machine), "it was tried")
        assert "bad key (token)" in machine.status()["ending"]["tried"][0]["error"]
    assert_secret_nowhere(machine)


def test_null_means_that_the_field_must_be_missing(machine: Host) -> None:
    """GraphQL answers 200 to everything; its `errors` decide."""
    with EndApi([(200, {"errors": [{"message": "no"}]}), (200, {"data": {"podStop": {"id": "7"}}})]) as api:
        end_now(machine, terminate=[http_step(api, ok_json={"errors": None, "data.podStop.id": "7"})])
        until(lambda: len(tried(machine)) == 2, "both answers came")
    assert tried(machine) == [("http", False), ("http", True)]


def test_file_with_the_key_is_read_at_use_and_closed_to_others(machine: Host) -> None:
    """A key in a file of the host; headers may take it elsewhere than in Authorization."""
    key = machine.home / "account.key"
    key.write_text(SECRET + "\n")
    key.chmod(0o644)
    with EndApi([(204, b"")]) as api:
        end_now(machine, terminate=[http_step(api, token_file="account.key", headers={"X-Key": "k={token}"})])
        until(lambda: api.asked, "it was asked")
    assert api.asked[0].headers["x-key"] == f"k={SECRET}"
    assert key.stat().st_mode & 0o777 == 0o600


@pytest.fixture
def certified(tmp_path: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate for 127.0.0.1 that nobody knows yet, and a server's side of it."""
    paths = tmp_path / "api.pem", tmp_path / "api.key"
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-out", str(paths[0]), "-keyout", str(paths[1])]
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subprocess.run([*made, *names, *files, "-days", "2"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*paths)
    return paths[0], context


@pytest.mark.needs("openssl")
@pytest.mark.parametrize("is_known", [True, False])
def test_certificates_are_always_checked(machine: Host, certified: tuple[Path, ssl.SSLContext], is_known: bool) -> None:
    """A key goes to the API whose certificate is vouched for, and to nobody else."""
    certificate, context = certified
    if is_known:
        machine.env["SSL_CERT_FILE"] = str(certificate)
    environ(machine, CONTAINER_API_KEY=SECRET)
    with EndApi([(200, DONE)], tls=context) as api:
        end_now(machine, terminate=[http_step(api, token_env="CONTAINER_API_KEY")])
        until(lambda: tried(machine), "it was tried")
    assert tried(machine)[0] == ("http", is_known)
    assert len(api.asked) == is_known
    error = machine.status()["ending"]["tried"][0]["error"]
    assert is_known or "certificate verify failed" in error.lower().replace("_", " ")


def test_other_container_is_left_alone(machine: Host) -> None:
    """A home that moved to another container does not end it."""
    with EndApi([(200, DONE)]) as api:
        environ(machine, CONTAINER_ID="8")
        end_now(machine, terminate=[http_step(api, only_if_env={"CONTAINER_ID": "7"})])
        until(lambda: tried(machine), "it was tried")
        assert machine.status()["ending"]["tried"][0]["error"] == "this is another machine: CONTAINER_ID is not 7"
    assert api.asked == []


def test_what_the_host_may_do_is_stated(machine: Host) -> None:
    """Ways that would not work are told with their reason before they are needed, and the guard does not enforce."""
    machine.start(
        policy=LEASE,
        end={
            "method": "chain", "stop": [{"method": "poweroff"}], "hibernate": None,
            "terminate": [{"method": "http", "url": "https://cloud.example/7", "token_env": "CONTAINER_API_KEY"}],
        },
    )  # fmt: skip
    status = machine.status()
    assert (status["end"]["can"], status["enforcing"], status["end_method"]) == (["stop"], True, "poweroff+http")
    environ(machine, OTHER="x")
    machine.configure(end={"stop": None})
    status = machine.wait(lambda s: not s["enforcing"], "it cannot end itself any more")
    assert status["end"]["ways"] == [
        {"action": "terminate", "method": "http", "problem": "CONTAINER_API_KEY is not set in this container"}
    ]
    assert "CONTAINER_API_KEY is not set" in next(a["text"] for a in status["alarms"] if a["code"] == "no-end")


def test_container_without_an_init_cannot_power_off(machine: Host) -> None:
    """A container's power-off is no end; that is known beforehand."""
    root = Path(machine.env["GPUDASH_SYSROOT"])
    (root / "run/systemd/system").rmdir()
    (root / ".dockerenv").touch()
    machine.start(policy=LEASE, end={"stop": [{"method": "poweroff"}], "terminate": None, "hibernate": None})
    (way,) = machine.status()["end"]["ways"]
    assert way["problem"] == "a container cannot power its machine off"
    assert not machine.status()["enforcing"]


def test_bad_steps_are_refused_with_their_place(host: Host) -> None:
    """Plain http, two tokens, an unknown method: each is named."""
    host.configure(
        end={
            "stop": [{"method": "http", "url": "http://cloud.example/stop", "token_env": "A", "token_file": "b"}],
            "terminate": [{"method": "magic"}],
            "hibernate": [{"method": "http", "url": "http://127.0.0.1.cloud.example/7", "token_env": "A"}],
        }
    )
    said = host.run("--check").stderr
    assert "end.stop[0].url must be an https address" in said
    assert "end.hibernate[0].url must be an https address" in said
    assert "name one place for the token" in said
    assert "end.terminate[0].method must be one of command, poweroff, ec2, http" in said


def test_another_user_may_do_less_and_says_so(machine: Host) -> None:
    """Whether sudo lets the user of statusd, and whether it can read the container's key, is found out beforehand."""
    if os.geteuid() == 0:  # the daemon, and nothing else, runs as somebody
        for path in (machine.home.parent, machine.home, machine.home / "token"):
            os.chown(path, SOMEBODY, SOMEBODY)
        for folder in machine.home.parents[:4]:
            folder.chmod(0o711)
        drop = f"exec setpriv --reuid {SOMEBODY} --regid {SOMEBODY} --clear-groups /usr/bin/python3"
        machine.python = str(machine.script(machine.bin / "python", f'{drop} "$@"'))
    machine.script(machine.bin / "sudo", "exit 1")
    for tool in machine.bin.iterdir():
        tool.chmod(0o755)
    environ(machine, CONTAINER_API_KEY=SECRET)
    Path(machine.env["GPUDASH_SYSROOT"], "proc/1/environ").chmod(0)
    call = {"method": "http", "url": "https://cloud.example/7", "token_env": "CONTAINER_API_KEY"}
    machine.configure(policy=LEASE, end={"stop": [{"method": "poweroff"}], "terminate": [call], "hibernate": None})
    if os.geteuid() == 0:
        os.chown(machine.home / "config.json", SOMEBODY, SOMEBODY)
    machine.start()
    off, call = machine.status()["end"]["ways"]
    assert off["problem"] == "not root, and sudo asks for a password"
    assert call["problem"] == "CONTAINER_API_KEY cannot be read: /proc/1/environ: Permission denied"
