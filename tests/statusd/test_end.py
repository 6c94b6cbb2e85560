"""The way to the end: warnings, hook, end command, retry for ever, escalation."""

from __future__ import annotations

from .conftest import Host, after, alarm_codes, until

IDLE = {"lease_deadline": None, "hard_deadline": None, "idle_timeout_s": 1800}


def test_warnings_at_15_5_and_1_minutes(host: Host) -> None:
    """Three warnings before a lease ends: on the page, in /status, in warning.txt."""
    host.start(policy={"lease_deadline": after(3600)}).settle()
    assert host.status()["warnings"] == []
    for left, minutes in ((900, 15), (300, 5), (60, 1)):
        host.pass_time(3600 - left - (host.now - 1893456000.0))
        status = host.wait(lambda s: s["warnings"] and s["warnings"][-1]["minutes"] == minutes, "warned")  # noqa: B023
        assert (status["phase"], len(status["warnings"])) == ("warning", {15: 1, 5: 2, 1: 3}[minutes])
        text = status["warnings"][-1]["text"]
        until(lambda: text in warning_text(host), "it is in the file")  # noqa: B023
    assert "gpudash extend train 1h" in text


def warning_text(host: Host) -> str:
    """What warning.txt says now."""
    path = host.home / "warning.txt"
    return path.read_text() if path.exists() else ""


def test_idle_end_is_warned_of_too(host: Host) -> None:
    """Whatever ends a host, it is said before; a timeout of 30 minutes begins with 15."""
    host.start(policy=IDLE).settle()
    host.pass_time(901)
    status = host.wait(lambda s: s["warnings"], "warned")
    assert (status["warnings"][0]["minutes"], status["ends_why"]) == (15, "idle")


def test_short_idle_timeout_is_not_warned_at_once(host: Host) -> None:
    """A timeout of ten minutes does not begin with the warning for fifteen."""
    host.start(policy={**IDLE, "idle_timeout_s": 600}).settle()
    assert host.status()["phase"] == "watching"
    host.pass_time(301)
    assert host.wait(lambda s: s["warnings"], "warned")["warnings"][0]["minutes"] == 5


def test_extension_takes_the_warning_back(host: Host) -> None:
    """When the deadline moves the warning goes, from the file too."""
    host.start(policy={"lease_deadline": after(600)}).settle()
    until((host.home / "warning.txt").exists, "warned")
    host.post("/extend", {"seconds": 7200, "key": "k"})
    status = host.wait(lambda s: s["phase"] == "watching", "no longer warned")
    assert (status["warnings"], status["events"][-1]["kind"]) == ([], "warning-cancelled")
    until(lambda: not (host.home / "warning.txt").exists(), "the file is gone")


def test_wall_tells_who_is_logged_in(host: Host) -> None:
    """Where there is a `wall`, it says the warning."""
    host.script(host.bin / "wall", f"cat >> {host.bin}/said")
    host.start(wall=True, policy={"lease_deadline": after(240)})
    said = host.bin / "said"
    until(lambda: said.exists() and "will be terminated in 4 min" in said.read_text(), "wall said it")


def test_hook_runs_before_the_end_with_its_reason(host: Host) -> None:
    """pre-stop knows what happens and why, and runs once, before the command."""
    host.script(host.home / "pre-stop", f'echo "hook-$GPUDASH_ACTION-$GPUDASH_REASON" >> {host.ended_path}')
    host.start(policy={"lease_deadline": after(60)}).settle()
    host.pass_time(61)
    until(lambda: len(host.ended()) == 2, "both ran")
    assert host.ended() == ["hook-terminate-lease", "terminate"]


def test_hook_that_hangs_is_killed_with_its_children(host: Host) -> None:
    """A hook has its time and no more; the end comes, with an alarm."""
    host.script(host.home / "pre-stop", f"sleep 300 & echo $! > {host.home}/child; wait")
    host.start(hook_timeout_s=1, policy={"lease_deadline": after(60)}).settle()
    host.pass_time(61)
    until(lambda: host.ended() == ["terminate"], "the end came")
    assert "hook-failed" in alarm_codes(host.status())
    child = (host.home / "child").read_text().strip()
    until(lambda: not is_running(child), "its child is gone")


def is_running(pid: str) -> bool:
    """Whether a process lives (a zombie does not)."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_failing_end_is_retried_and_told(host: Host) -> None:
    """A command that fails is tried again, with its words in /status and an alarm."""
    flaky = ["/bin/sh", "-c", f"echo try >> {host.ended_path}; echo no capacity; exit 7"]
    host.start(policy={"lease_deadline": after(60)}, end={"terminate": flaky, "stop": None, "hibernate": None}).settle()
    host.pass_time(61)
    until(lambda: len(host.ended()) == 2, "two attempts")
    status = host.status()
    assert status["ending"]["last_error"] == "/bin/sh: exit code 7: no capacity"
    assert "end-failing" in alarm_codes(status)


def test_deadline_climbs_to_the_stronger_command(host: Host) -> None:
    """When a lease has failed to stop its host for a quarter of an hour it terminates it, not before."""
    host.start(policy={"lease_deadline": after(60), "lease_action": "stop"}, end={"stop": host.end_command("stop", 1)})
    host.settle()
    host.pass_time(61)
    until(lambda: host.ended() == ["stop", "stop"], "it only tries the milder command")
    host.pass_time(900)
    until(lambda: host.ended() == ["stop", "stop", "terminate"], "it climbed")


def test_idleness_never_climbs_to_terminate(host: Host) -> None:
    """An idle host that cannot hibernate is stopped, never destroyed."""
    failing = {"hibernate": host.end_command("hibernate", 1), "stop": host.end_command("stop", 1)}
    host.start(policy={**IDLE, "idle_action": "hibernate"}, end=failing).settle()
    host.pass_time(1801)
    until(lambda: len(host.ended()) == 1, "it tried")
    host.pass_time(86400)
    until(lambda: len(host.ended()) == 3, "it climbed")
    assert host.ended() == ["hibernate", "hibernate", "stop"]


def test_extension_calls_a_failing_end_off(host: Host) -> None:
    """As long as the host lives, more time ends the ending."""
    failing = {verb: host.end_command(verb, 1) for verb in ("stop", "hibernate", "terminate")}
    host.start(policy={"lease_deadline": after(60)}, end=failing).settle()
    host.pass_time(61)
    host.wait(lambda s: s["ending"] and s["ending"]["attempts"] >= 1, "it failed once")
    host.post("/extend", {"seconds": 3600, "key": "k"})
    status = host.wait(lambda s: s["ending"] is None, "called off")
    assert (status["phase"], "end-failing" in alarm_codes(status)) == ("watching", False)


def test_shutdown_runs_hook_and_command(host: Host) -> None:
    """POST /shutdown ends the host at once, by the hook and the command."""
    host.script(host.home / "pre-stop", f"echo hook >> {host.ended_path}")
    host.start()
    answer = host.post("/shutdown", {"action": "stop"})
    assert (answer.status, answer.json) == (202, {"accepted": True, "action": "stop"})
    until(lambda: host.ended() == ["hook", "stop"], "it ran")
    assert host.status()["ending"]["reason"] == "request"


def test_shutdown_without_a_command_is_refused(host: Host) -> None:
    """What this host cannot do is refused, with the field named."""
    host.start(end={"hibernate": None})
    answer = host.post("/shutdown", {"action": "hibernate"})
    assert (answer.status, answer.json["field"]) == (409, "action")


def test_ending_goes_on_after_kill_9(host: Host) -> None:
    """A daemon that dies while it ends its host goes on with it, without running the hook again."""
    host.script(host.home / "pre-stop", f"echo hook >> {host.ended_path}")
    host.start(policy={"lease_deadline": after(60)}).settle()
    host.pass_time(61)
    until(lambda: host.ended() == ["hook", "terminate"], "it ended")
    until(lambda: (host.state()["ending"] or {}).get("attempts") == 1, "that is on the disk")
    host.kill()
    host.start()
    until(lambda: host.ended() == ["hook", "terminate", "terminate"], "it goes on")


def test_lease_takes_over_from_idleness(host: Host) -> None:
    """An idle end that fails becomes a lease end when the lease is over, with its action."""
    failing = {"stop": host.end_command("stop", 1)}
    host.start(policy={**IDLE, "lease_deadline": after(3600)}, end=failing).settle()
    host.pass_time(1801)
    until(lambda: host.ended() == ["stop"], "the idle end failed once")
    host.pass_time(1800)
    until(lambda: "terminate" in host.ended(), "the lease took over")
    assert host.status()["ending"]["reason"] == "lease"


def test_host_that_cannot_end_itself_says_so(host: Host) -> None:
    """Without an end command the guard is not enforcing, and that is an alarm."""
    host.start(end={"method": "none"})
    status = host.status()
    assert (status["enforcing"], status["end_method"], "no-end" in alarm_codes(status)) == (False, "none", True)
