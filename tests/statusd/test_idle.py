"""The idle timeout and the parked condition: what counts, what holds, what calls an end off."""

from __future__ import annotations

import os

from .conftest import Host, after, alarm_codes, signal_of, until, utc

IDLE = {"lease_deadline": None, "hard_deadline": None, "idle_timeout_s": 1800}


def test_idle_host_is_stopped(host: Host) -> None:
    """A host without activity runs its idle action after the timeout."""
    host.start(policy=IDLE).settle()
    host.pass_time(1801)
    status = host.wait(lambda s: s["ending"], "the end began")
    assert (status["ending"]["reason"], status["ending"]["action"]) == ("idle", "stop")
    until(lambda: host.ended() == ["stop"], "the stop command ran")


def test_idle_action_is_what_the_policy_says(host: Host) -> None:
    """Hibernate hibernates."""
    host.start(policy={**IDLE, "idle_action": "hibernate"}).settle()
    host.pass_time(1801)
    until(lambda: host.ended() == ["hibernate"], "the hibernate command ran")


def test_idle_clock_counts_policy_time(host: Host) -> None:
    """Idle seconds are seconds of the policy's clock, whatever its speed."""
    host.start(policy=IDLE).settle()
    host.pass_time(600)
    status = host.wait(lambda s: s["idle"]["idle_s"] == 600, "ten minutes have passed")
    assert (status["idle"]["remaining_s"], status["ends_at"], status["ends_why"]) == (1200, after(1800), "idle")


def test_idle_clock_runs_at_the_speed_of_the_clock(host: Host) -> None:
    """At 3600 times the speed half an hour of idleness takes half a second."""
    host.speed = 3600.0
    host.set_clock()
    host.start(policy={**IDLE, "idle_timeout_s": 1800})
    until(lambda: host.ended() == ["stop"], "the stop command ran")


def test_changing_the_speed_is_no_jump(host: Host) -> None:
    """A clock file rewritten to go on from the same moment at another speed raises nothing and loses no idle time."""
    host.start(policy=IDLE).settle()
    host.pass_time(600)
    host.wait(lambda s: s["idle"]["idle_s"] == 600, "ten minutes have passed")
    host.speed = 0.001
    host.set_clock()
    status = host.wait(lambda s: s["now"] >= after(600), "the clock was read")
    assert (status["idle"]["idle_s"], alarm_codes(status)) == (600, set())


def test_declared_activity_starts_the_clock_anew(host: Host) -> None:
    """POST /activity is activity, at once."""
    host.start(policy=IDLE).settle()
    host.pass_time(1000)
    host.wait(lambda s: s["idle"]["idle_s"] == 1000, "time has passed")
    assert host.post("/activity").status == 200
    status = host.wait(lambda s: s["idle"]["idle_s"] == 0, "the clock started anew")
    assert signal_of(status, "declared")["last_active_at"] == after(1000)


def test_hold_keeps_awake_until_its_end(host: Host) -> None:
    """A declared hold keeps the host awake that long and the idle clock starts after it."""
    host.start(policy=IDLE).settle()
    assert host.post("/activity", {"hold_s": 7200}).json["held_until"] == after(7200)
    host.pass_time(7100)
    status = host.wait(lambda s: s["now"] == after(7100) and s["idle"]["held_by"], "the hold holds")
    assert (status["idle"]["held_by"], status["awake_because"]) == (["declared"], f"declared until {after(7200)}")
    host.pass_time(200)
    host.wait(lambda s: s["idle"]["held_by"] == [] and s["idle"]["idle_s"] is not None, "the hold is over")
    assert host.ended() == []


def test_hold_survives_a_restart(host: Host) -> None:
    """What was promised to a user is kept over kill -9."""
    host.start(policy=IDLE).settle()
    host.post("/activity", {"hold_s": 7200})
    until(lambda: host.state()["declared"]["hold_until"], "the hold is on the disk")
    host.kill()
    host.start().settle()
    assert host.status()["idle"]["held_by"] == ["declared"]


def test_hold_is_bounded_by_the_lease(host: Host) -> None:
    """Nobody can hold a host beyond its lease."""
    host.start(policy={"lease_deadline": after(600), "hard_deadline": None, "idle_timeout_s": 1800})
    answer = host.post("/activity", {"hold_s": 7200}).json
    assert (answer["held_until"], answer["clamped"]) == (after(600), True)


def test_touched_activity_file_is_activity(host: Host) -> None:
    """A service that touches ~/.gpudash/activity keeps its host."""
    (host.home / "activity").touch()
    host.start(policy=IDLE).settle()
    host.pass_time(1000)
    host.wait(lambda s: s["idle"]["idle_s"] == 1000, "time has passed")
    os.utime(host.home / "activity", (1, 1))
    host.wait(lambda s: s["idle"]["idle_s"] == 0, "the touch was seen")


def test_idle_clock_goes_on_over_a_daemon_restart(host: Host) -> None:
    """A daemon that crashes again and again does not keep a host alive."""
    host.start(policy=IDLE).settle()
    host.pass_time(1000)
    host.wait(lambda s: s["idle"]["idle_s"] == 1000, "time has passed")
    host.stop()
    host.start().settle()
    assert host.wait(lambda s: s["idle"]["idle_s"] is not None, "known")["idle"]["idle_s"] == 1000


def test_idle_clock_starts_anew_after_a_boot(host: Host) -> None:
    """A host that was stopped for a day is not idle for a day."""
    host.start(policy=IDLE).settle()
    host.stop()
    host.pass_time(86400)
    host.env["GPUDASH_BOOT_ID"] = "second-boot"
    host.start().settle()
    assert (host.status()["idle"]["idle_s"], host.ended()) == (0, [])


def test_stopped_host_does_not_stop_again_after_a_start(host: Host) -> None:
    """The ending that stopped the host is over once it has booted again."""
    host.start(policy=IDLE).settle()
    host.pass_time(1801)
    until(lambda: host.ended() == ["stop"], "the stop command ran")
    host.kill()
    host.env["GPUDASH_BOOT_ID"] = "second-boot"
    host.start().settle()
    assert (host.status()["ending"], host.ended()) == (None, ["stop"])


def test_clock_alone_never_ends_a_busy_host(host: Host) -> None:
    """Time that jumps forward between two samples is not idleness: the next sample says active."""
    host.start(policy=IDLE, ignore_signals=["cpu", "net", "disk", "ssh"], watch_paths=[])
    host.settle()
    host.post("/activity", {"hold_s": 86400})
    host.pass_time(80000)
    status = host.wait(lambda s: s["now"] == after(80000), "the clock was read")
    assert (status["idle"]["idle_s"], host.ended()) == (0, [])


def test_activity_during_the_hook_calls_an_idle_end_off(host: Host) -> None:
    """Someone who comes back while pre-stop runs keeps the host."""
    host.script(host.home / "pre-stop", f"touch {host.home}/hooked; while [ ! -e {host.home}/go ]; do sleep 0.05; done")
    host.start(policy=IDLE).settle()
    host.pass_time(1801)
    until((host.home / "hooked").exists, "the hook runs")
    host.post("/activity")
    (host.home / "go").touch()
    status = host.wait(lambda s: s["phase"] == "watching" and not s["ending"], "the end was called off")
    assert (host.ended(), status["events"][-1]["kind"]) == ([], "cancel")


def test_ignored_signal_is_shown_but_does_not_hold(host: Host) -> None:
    """What the configuration ignores is still reported, marked as not counting."""
    host.start(policy=IDLE, ignore_signals=["cpu", "net", "disk", "ssh", "declared"]).settle()
    host.post("/activity", {"hold_s": 3600})
    status = host.wait(lambda s: signal_of(s, "declared")["verdict"] == "active", "it is seen")
    assert (status["idle"]["held_by"], signal_of(status, "declared")["counts"]) == ([], False)


def test_no_limits_at_all_is_an_alarm(host: Host) -> None:
    """A host that nothing would end says so."""
    host.start(policy={"lease_deadline": None, "hard_deadline": None})
    status = host.status()
    assert ("no-deadline" in alarm_codes(status), status["ends_at"]) == (True, None)


def test_idle_since_is_reported(host: Host) -> None:
    """The moment idleness began is told as an absolute time."""
    host.start(policy=IDLE).settle()
    assert host.status()["idle"]["since"] == utc(host.now)
