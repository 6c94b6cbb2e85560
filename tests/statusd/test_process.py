"""The process: check, start, second start, stop, SIGTERM, and every Python at hand."""

from __future__ import annotations

import ast
import fcntl
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.waiting import PATIENCE_S

from .conftest import STATUSD, Host, after, alarm_codes, interpreters, until


@pytest.mark.parametrize("python", interpreters())
def test_runs_on_every_interpreter(tmp_path: Path, python: str) -> None:
    """Check, daemonize, a full status round trip, an extension and a stop on each Python from 3.8 on."""
    host = Host(tmp_path, python)
    try:
        checked = host.run("--check")
        assert (checked.returncode, "ready" in checked.stdout) == (0, True), checked.stderr
        started = host.run("--daemonize")
        assert started.returncode == 0, started.stderr
        assert host.settle()["policy"]["revision"] == 1
        assert host.post("/extend", {"seconds": 60, "key": "k"}).json["applied"] is True
        assert host.get("/metrics").status == host.get("/", token=None).status == 200
        assert host.run("--stop").returncode == 0
    finally:
        host.close()


def test_source_is_python_3_8() -> None:
    """The syntax is that of 3.8, and nothing beyond the standard library is imported."""
    tree = ast.parse(STATUSD.read_text(), feature_version=(3, 8))
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {name for name in imported if name.startswith("gpudash")}
    assert not imported & {"http.server", "argparse", "shutil", "logging", "requests"}


def test_version_prints_version_and_build(host: Host) -> None:
    """What push compares: the version and the first digits of the file's SHA-256."""
    digest = subprocess.run(["sha256sum", str(STATUSD)], capture_output=True, text=True, check=True).stdout
    assert digest[:12] in host.run("--version").stdout


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"policy": {"idle_timeout_s": "30m"}}, ["policy.idle_timeout_s", "1800", '"30m"']),
        ({"policy": {"lease_deadline": "tomorrow"}}, ["policy.lease_deadline", "2026-01-02T03:04:05Z"]),
        ({"policy": {"lease_deadline": "2030-01-01T00:00:00"}}, ["policy.lease_deadline", "zone"]),
        ({"policy": {"idle_action": "explode"}}, ["policy.idle_action", "stop, hibernate, terminate"]),
        ({"policy": {"idle_timeout_s": True}}, ["policy.idle_timeout_s", "true"]),
        ({"instance": {"id": None}}, ["instance.id", "i-0c1f"]),
        ({"instance": "i-1"}, ["instance must be a JSON object"]),
        ({"schema": 2}, ["schema", "knows no other"]),
        ({"end": {"stop": "poweroff"}}, ["end.stop", "a list of steps"]),
        ({"service_ports": ["http"]}, ["service_ports", "[8000]"]),
        ({"thresholds": {"gpu_pct": -1}}, ["thresholds.gpu_pct", "at least 0"]),
        ({"port": 0}, ["port", "8080"]),
        ({"sample_interval_s": 0}, ["sample_interval_s", "0.05 to 300"]),
        ({"ignore_signals": ["gpus"]}, ["ignore_signals", "gpu_mem"]),
        ({"end": {"method": "command", "stop": None, "hibernate": None, "terminate": None}}, ["end.method"]),
    ],
)
def test_check_refuses_with_field_and_example(host: Host, change: dict[str, object], words: list[str]) -> None:
    """A wrong configuration is refused before anything starts, naming the field, what it is and what it should be."""
    host.configure(**change)
    checked = host.run("--check")
    assert checked.returncode == 1
    assert all(word in checked.stderr for word in words), checked.stderr


def test_check_lists_every_mistake(host: Host) -> None:
    """All mistakes at once, not one a run."""
    host.configure(policy={"idle_timeout_s": "x", "revision": "y"}, port="z")
    assert host.run("--check").stderr.count("config.json:") == 3


@pytest.mark.parametrize("text", ["{", "[]", "7", ""])
def test_check_refuses_what_is_no_configuration(host: Host, text: str) -> None:
    """Not JSON, or not an object: one clear line."""
    host.write_config(text)
    checked = host.run("--check")
    assert (checked.returncode, "Traceback" in checked.stderr) == (1, False)


def test_start_without_any_configuration_is_refused(host: Host) -> None:
    """No configuration and no state: it does not start, and says what is missing."""
    started = subprocess.run(
        host.command("--daemonize"), env=host.env, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert (started.returncode, "config.json is missing" in started.stderr) == (1, True)


def test_smallest_configuration_has_defaults(host: Host) -> None:
    """Schema and instance are enough; the rest has documented defaults."""
    host.write_config('{"schema": 1, "instance": {"account": "a", "id": "i"}}')
    host.start()
    policy = host.status()["policy"]
    assert (policy["idle_action"], policy["lease_action"], policy["revision"]) == ("stop", "terminate", 0)


def test_unknown_keys_are_an_alarm_that_names_them(host: Host) -> None:
    """A mistyped key does nothing; that is said."""
    host.start(policy={"idle_timout_s": 5}, colour="red")
    alarms = host.status()["alarms"]
    assert [a["code"] for a in alarms] == ["config-unknown-keys"]
    assert "policy.idle_timout_s" in alarms[0]["text"]
    assert "colour" in alarms[0]["text"]


def test_daemonize_returns_when_it_serves(host: Host) -> None:
    """After exit 0 it answers, in a session of its own, with no descriptor of ours."""
    started = host.run("--daemonize")
    assert (started.returncode, "serves on 127.0.0.1:" in started.stdout) == (0, True)
    pid = host.status()["pid"]
    assert os.getsid(pid) != os.getsid(0)
    assert {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in (0, 1, 2)} == {os.devnull}


def test_run_json_tells_where_it_serves(host: Host) -> None:
    """pid, port, version, build and start stand in run.json."""
    host.start()
    run = json.loads((host.home / "run.json").read_text())
    health = host.get("/health", token=None).json
    assert (run["pid"], run["build"], run["version"]) == (host.process.pid, health["build"], health["version"])  # type: ignore[union-attr]
    assert set(run) >= {"pid", "port", "version", "build", "started_at"}


def test_second_start_names_the_first(host: Host) -> None:
    """While one runs, another exits with 3 and says which pid runs."""
    host.start()
    for verb in ("--foreground", "--daemonize"):
        second = host.run(verb)
        assert second.returncode == 3
        assert f"pid {host.process.pid}" in second.stderr  # type: ignore[union-attr]


def test_a_look_keeps_no_daemon_from_starting(host: Host) -> None:
    """Whoever asks whether one runs holds the lock for a moment; a daemon that starts just then waits and serves."""
    lock = host.home / "lock"
    host.configure()
    with lock.open("w") as looking, host.output_path.open("wb") as output:
        fcntl.flock(looking, fcntl.LOCK_SH)
        host.process = subprocess.Popen(host.command("--foreground"), env=host.env, stdout=output, stderr=output)
        mine = Path(f"/proc/{host.process.pid}/fd")
        until(lambda: str(lock) in {os.readlink(fd) for fd in mine.iterdir() if fd.is_symlink()}, "it wants the lock")
        assert host.run("--stop").stdout == "statusd does not run here\n"
    until(host.is_up, "it serves")


def test_two_hosts_share_the_machine(host: Host, second_host: Host) -> None:
    """The second finds a free port when the configured one is taken."""
    host.start()
    second_host.start(port=host.port)
    assert host.port != second_host.port
    assert second_host.status()["pid"] != host.status()["pid"]


def test_listens_on_loopback_only(host: Host) -> None:
    """No other address answers."""
    host.start()
    table = Path("/proc/net/tcp").read_text().splitlines()[1:]
    listening = [
        row.split()[1] for row in table if row.split()[3] == "0A" and row.split()[1].endswith(f":{host.port:04X}")
    ]
    assert listening == [f"0100007F:{host.port:04X}"]


def test_stop_ends_the_daemon(host: Host) -> None:
    """--stop waits until it is gone; run.json goes, the state stays."""
    host.run("--daemonize")
    stopped = host.run("--stop")
    assert (stopped.returncode, "stopped" in stopped.stdout) == (0, True)
    assert not (host.home / "run.json").exists()
    assert host.state()["policy"]["revision"] == 1


def test_stop_without_a_daemon_is_done(host: Host) -> None:
    """Nothing runs: nothing to do."""
    assert host.run("--stop").returncode == 0


def test_stop_never_kills_by_a_pid_file_alone(host: Host) -> None:
    """A stale run.json with the pid of another process harms nobody."""
    with subprocess.Popen(["sleep", "60"]) as other:
        (host.home / "run.json").write_text(json.dumps({"pid": other.pid, "port": 1}))
        (host.home / "lock").write_text(str(other.pid))
        assert host.run("--stop").returncode == 0
        assert other.poll() is None
        other.kill()


def test_stop_refuses_a_lock_held_by_something_else(host: Host) -> None:
    """A lock that is not provably held by a statusd is left alone."""
    lock = host.home / "lock"
    lock.touch()
    with subprocess.Popen(["flock", str(lock), "sleep", "60"]) as other:
        until(lambda: subprocess.run(["flock", "-n", str(lock), "true"]).returncode != 0, "the lock is held")
        lock.write_text(str(other.pid))
        stopped = host.run("--stop")
        other.kill()
        subprocess.run(["pkill", "-P", str(other.pid)], check=False)
    assert (stopped.returncode, "nothing was stopped" in stopped.stderr) == (1, True)


def test_stop_ends_a_frozen_daemon(host: Host) -> None:
    """A daemon that does not listen to SIGTERM is killed after a while."""
    host.start()
    os.kill(host.process.pid, signal.SIGSTOP)  # type: ignore[union-attr]
    try:
        stop = subprocess.Popen(host.command("--stop"), env=host.env)
        os.waitid(os.P_PID, host.process.pid, os.WEXITED | os.WNOWAIT)  # type: ignore[union-attr]
        host.process.wait()  # type: ignore[union-attr]
        assert stop.wait(timeout=PATIENCE_S) == 0
    finally:
        stop.kill()


def test_sigterm_saves_and_exits_cleanly(host: Host) -> None:
    """SIGTERM ends it with 0 and everything known on the disk."""
    host.start()
    host.post("/activity", {"hold_s": 600})
    assert host.stop() == 0
    assert host.state()["declared"]["hold_until"] is not None


def test_sighup_does_not_end_it(host: Host) -> None:
    """A closed terminal is no reason to stop guarding."""
    host.start()
    os.kill(host.process.pid, signal.SIGHUP)  # type: ignore[union-attr]
    assert host.status()["phase"] == "watching"


def test_usage_errors_exit_2(host: Host) -> None:
    """An unknown word is refused with the usage."""
    asked = host.run("--explode")
    assert (asked.returncode, "usage:" in asked.stderr) == (2, True)


def test_config_readable_by_others_is_closed(host: Host) -> None:
    """A token that others could read is made private."""
    (host.home / "token").chmod(0o644)
    host.start()
    assert (host.home / "token").stat().st_mode & 0o777 == 0o600


def test_config_change_to_another_instance_is_ignored(host: Host) -> None:
    """A configuration for another instance pushed here by mistake changes nothing."""
    host.start()
    host.configure(instance={"id": "i-other"}, policy={"lease_deadline": after(60), "revision": 9})
    status = host.wait(lambda s: "config" in alarm_codes(s), "the alarm is on")
    assert (status["instance"]["id"], status["lease"]["deadline"]) == ("i-1", after(4 * 3600))


def test_resident_memory_is_small(host: Host) -> None:
    """At most 20 MB resident, with its page and its metrics asked for."""
    host.start(gpus=None).settle()
    for path in ("/", "/status", "/metrics"):
        host.get(path)
    status = Path(f"/proc/{host.process.pid}/status").read_text()  # type: ignore[union-attr]
    resident_kb = int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])
    assert resident_kb <= 20_000
