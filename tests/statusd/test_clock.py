"""Promise 6: no clock jump, restart or reboot loses or stretches a deadline."""

from __future__ import annotations

import json

import pytest

from .conftest import Host, after, alarm_codes, until

DAY = 86400.0


@pytest.mark.parametrize("jump", [DAY, -DAY])
def test_wall_jump_of_a_day_changes_no_deadline(host: Host, jump: float) -> None:
    """The wall clock jumps a day; time goes on as before, with an alarm."""
    host.start(policy={"idle_timeout_s": 1800}).settle()
    host.jump_wall(jump)
    status = host.wait(lambda s: "clock-jump" in alarm_codes(s), "the alarm is on")
    assert (status["lease"]["remaining_s"], status["idle"]["idle_s"], host.ended()) == (4 * 3600, 0, [])


def test_alarm_goes_when_the_wall_clock_returns(host: Host) -> None:
    """A wall clock that is put right ends the alarm."""
    host.start().settle()
    host.jump_wall(DAY)
    host.wait(lambda s: "clock-jump" in alarm_codes(s), "the alarm is on")
    host.jump_wall(-DAY)
    host.wait(lambda s: "clock-jump" not in alarm_codes(s), "the alarm is off")


def test_lease_ends_on_time_after_a_jump_back(host: Host) -> None:
    """Setting the wall clock a day back wins no day."""
    host.start(policy={"lease_deadline": after(600)}).settle()
    host.jump_wall(-DAY)
    host.pass_time(601)
    until(lambda: host.ended() == ["terminate"], "it ended on time")


@pytest.mark.parametrize("jump", [DAY, -DAY])
def test_wall_jump_while_the_daemon_is_down(host: Host, jump: float) -> None:
    """A restart within one boot goes on by the boot clock, not by the wall clock it finds."""
    host.synced = True
    host.set_clock()
    host.start().settle()
    host.stop()
    host.jump_wall(jump)
    host.start().settle()
    status = host.wait(lambda s: "clock-jump" in alarm_codes(s), "the alarm is on")
    assert (status["now"], status["lease"]["remaining_s"]) == (after(0), 4 * 3600)


def test_small_steps_are_followed(host: Host) -> None:
    """A correction of seconds is no jump."""
    host.speed = 1.0
    host.set_clock()
    host.start().settle()
    host.wall_offset = 10.0
    host.set_clock()
    status = host.wait(lambda s: s["now"] >= after(10), "the step was followed")
    assert alarm_codes(status) == set()


def test_many_small_steps_are_a_jump(host: Host) -> None:
    """Steps that add up to more than half a minute within an hour are not followed any further."""
    host.start().settle()
    for _ in range(4):
        host.jump_wall(10)
        host.settle()
    status = host.wait(lambda s: "clock-jump" in alarm_codes(s), "the alarm is on")
    assert status["lease"]["remaining_s"] == 4 * 3600


@pytest.mark.parametrize("wrong", [DAY, -DAY])
def test_clock_wrong_at_boot_follows_ntp(host: Host, wrong: float) -> None:
    """A host that booted with a bad RTC takes the right time once the kernel says that NTP has set it."""
    host.synced, host.speed, host.wall_offset = False, 1.0, wrong
    host.set_clock()
    host.start().settle()
    host.synced, host.wall_offset = True, 0.0
    host.set_clock()
    status = host.wait(lambda s: any(e["kind"] == "clock" for e in s["events"]), "the clock was set")
    assert (after(0) <= status["now"] <= after(300), alarm_codes(status)) == (True, set())


def test_boot_with_a_clock_in_the_past_goes_on_from_the_last_moment(host: Host) -> None:
    """After a reboot with a dead RTC the time is at least the last one seen: no deadline is stretched."""
    host.speed = 1.0
    host.set_clock()
    host.start().settle()
    host.stop()
    state = host.state()
    state["clock"]["boot_id"] = "an-earlier-boot"
    (host.home / "state.json").write_text(json.dumps(state))
    host.jump_wall(-DAY)
    host.start()
    status = host.wait(lambda s: "clock-jump" in alarm_codes(s), "the alarm is on")
    assert status["now"] >= after(-60)  # the last moment seen, a little before the clock file was written again


def test_half_written_clock_file_is_survived(host: Host) -> None:
    """A clock file caught in the middle of a write keeps the last mapping."""
    host.start().settle()
    host.clock_path.write_text('{"real0": 1')
    assert host.wait(lambda s: s["signals"], "it goes on")["now"] == after(0)
