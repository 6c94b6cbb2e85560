"""The lease and the hard deadline: enforced, extended once for each request, never passed, never lost."""

from __future__ import annotations

from pathlib import Path

from .conftest import START, Host, after, alarm_codes, until, utc


def test_lease_end_terminates(host: Host) -> None:
    """When the lease is over the lease action runs, with nobody connected."""
    host.start(policy={"lease_deadline": after(600)}).settle()
    host.pass_time(601)
    until(lambda: host.ended() == ["terminate"], "the terminate command ran")


def test_lease_end_waits_for_its_moment(host: Host) -> None:
    """A second before the deadline nothing has happened yet."""
    host.start(policy={"lease_deadline": after(600)}).settle()
    host.pass_time(599)
    status = host.wait(lambda s: s["lease"]["remaining_s"] == 1, "one second is left")
    assert (status["phase"], host.ended()) == ("warning", [])


def test_busy_host_still_ends_with_its_lease(host: Host) -> None:
    """Activity holds the idle timeout, never the lease."""
    host.start(policy={"lease_deadline": after(600)}).settle()
    host.post("/activity", {"hold_s": 86400})
    host.pass_time(601)
    until(lambda: host.ended() == ["terminate"], "the terminate command ran")


def test_extend_by_seconds_adds_to_the_deadline(host: Host) -> None:
    """Two more hours are two hours after the deadline in force."""
    host.start()
    answer = host.post("/extend", {"seconds": 7200, "key": "k1"}).json
    assert answer == {
        "lease_deadline": after(6 * 3600), "hard_deadline": after(8 * 3600), "applied": True,
        "clamped": False, "saved": True,
    }  # fmt: skip


def test_same_key_extends_once(host: Host) -> None:
    """A repeated request with the same key answers the deadline and moves nothing."""
    host.start()
    host.post("/extend", {"seconds": 3600, "key": "k1"})
    again = host.post("/extend", {"seconds": 3600, "key": "k1"}).json
    assert (again["applied"], again["lease_deadline"]) == (False, after(5 * 3600))


def test_same_key_extends_once_over_kill_9(host: Host) -> None:
    """The key survives the daemon: a retry after a crash does not extend twice."""
    host.start()
    host.post("/extend", {"seconds": 3600, "key": "k1"})
    host.kill()
    host.start()
    again = host.post("/extend", {"seconds": 3600, "key": "k1"}).json
    assert (again["applied"], again["lease_deadline"]) == (False, after(5 * 3600))


def test_key_for_another_extension_is_refused(host: Host) -> None:
    """One key means one extension; using it for another is a mistake that is named."""
    host.start()
    host.post("/extend", {"seconds": 3600, "key": "k1"})
    answer = host.post("/extend", {"seconds": 60, "key": "k1"})
    assert (answer.status, answer.json["field"]) == (409, "key")


def test_absolute_extend_is_idempotent(host: Host) -> None:
    """The same absolute deadline twice is applied once."""
    host.start()
    first = host.post("/extend", {"deadline": after(5 * 3600)}).json
    second = host.post("/extend", {"deadline": after(5 * 3600)}).json
    assert (first["applied"], second["applied"], second["lease_deadline"]) == (True, False, after(5 * 3600))


def test_extend_never_passes_the_hard_deadline(host: Host) -> None:
    """Beyond the hard deadline it is refused, with what may be asked."""
    host.start()
    answer = host.post("/extend", {"seconds": 4 * 3600 + 1, "key": "k"})
    assert answer.status == 409
    assert (answer.json["hard_deadline"], answer.json["max_seconds"]) == (after(8 * 3600), 4 * 3600)
    assert host.status()["lease"]["deadline"] == after(4 * 3600)


def test_extend_to_exactly_the_hard_deadline(host: Host) -> None:
    """The hard deadline itself may be reached."""
    host.start()
    assert host.post("/extend", {"deadline": after(8 * 3600)}).json["applied"] is True


def test_extend_does_not_shorten(host: Host) -> None:
    """An earlier deadline is refused unless it is asked for in so many words."""
    host.start()
    assert host.post("/extend", {"deadline": after(3600)}).status == 409
    answer = host.post("/extend", {"deadline": after(3600), "allow_shorten": True}).json
    assert (answer["applied"], answer["lease_deadline"]) == (True, after(3600))


def test_extend_works_without_a_lease(host: Host) -> None:
    """On a host without a lease an extension counts from now."""
    host.start(policy={"lease_deadline": None, "hard_deadline": None, "idle_timeout_s": 1800})
    assert host.post("/extend", {"seconds": 600, "key": "k"}).json["lease_deadline"] == after(600)


def test_hard_deadline_ends_a_host_without_lease(host: Host) -> None:
    """The hard deadline is enforced by itself."""
    host.start(policy={"lease_deadline": None, "hard_deadline": after(100)}).settle()
    host.pass_time(101)
    status = host.wait(lambda s: s["ending"], "the end began")
    assert status["ending"]["reason"] == "hard"
    until(lambda: host.ended() == ["terminate"], "the terminate command ran")


def test_extended_deadline_survives_kill_9_and_restart(host: Host) -> None:
    """The deadline in force is the extended one, not the one config.json was pushed with."""
    host.start()
    host.post("/extend", {"seconds": 3600, "key": "k"})
    host.kill()
    host.start()
    assert host.status()["lease"]["deadline"] == after(5 * 3600)


def test_equal_revision_never_overwrites_an_extension(host: Host) -> None:
    """Pushing the same configuration again does not take an extension back."""
    host.start()
    host.post("/extend", {"seconds": 3600, "key": "k"})
    host.configure(policy={"idle_timeout_s": 1234})
    status = host.wait(lambda s: s["policy"]["idle_timeout_s"] == 1234, "the configuration was read")
    assert (status["lease"]["deadline"], alarm_codes(status)) == (after(5 * 3600), set())


def test_higher_revision_replaces_the_lease(host: Host) -> None:
    """A configuration with a higher revision is a new decision."""
    host.start()
    host.post("/extend", {"seconds": 3600, "key": "k"})
    host.configure(policy={"lease_deadline": after(7 * 3600), "revision": 2})
    host.wait(lambda s: s["lease"]["deadline"] == after(7 * 3600), "the new lease is in force")


def test_lower_revision_is_ignored_with_an_alarm(host: Host) -> None:
    """An old configuration that comes back changes nothing and says so."""
    host.start(policy={"revision": 5})
    host.configure(policy={"revision": 4, "lease_deadline": after(60)})
    status = host.wait(lambda s: "config-old" in alarm_codes(s), "the alarm is on")
    assert status["lease"]["deadline"] == after(4 * 3600)


def test_deadline_edited_without_revision_raises_an_alarm(host: Host) -> None:
    """Someone who edits the deadline by hand hears that it did nothing."""
    host.start()
    host.configure(policy={"lease_deadline": after(60)})
    status = host.wait(lambda s: "config-revision" in alarm_codes(s), "the alarm is on")
    assert status["lease"]["deadline"] == after(4 * 3600)


def test_hard_deadline_never_moves_later(host: Host) -> None:
    """Not even a higher revision moves the hard deadline, and it says so."""
    host.start()
    host.configure(policy={"hard_deadline": after(90 * 3600), "revision": 2})
    status = host.wait(lambda s: "hard-deadline" in alarm_codes(s), "the alarm is on")
    assert status["lease"]["hard_deadline"] == after(8 * 3600)


def test_hard_deadline_cannot_be_removed(host: Host) -> None:
    """A configuration without it leaves it in force."""
    host.start()
    host.configure(policy={"hard_deadline": None, "revision": 2})
    status = host.wait(lambda s: s["policy"]["revision"] == 2, "the configuration was read")
    assert status["lease"]["hard_deadline"] == after(8 * 3600)


def test_lease_beyond_the_hard_deadline_is_clamped(host: Host) -> None:
    """A configuration that contradicts itself ends at the hard deadline."""
    host.start(policy={"lease_deadline": after(20 * 3600)})
    status = host.status()
    assert (status["lease"]["deadline"], alarm_codes(status)) == (after(8 * 3600), {"lease-clamped"})


def test_extension_during_the_hook_calls_the_end_off(host: Host) -> None:
    """Whoever extends while pre-stop runs keeps the host."""
    host.script(host.home / "pre-stop", f"touch {host.home}/hooked; while [ ! -e {host.home}/go ]; do sleep 0.05; done")
    host.start(policy={"lease_deadline": after(600)}).settle()
    host.pass_time(601)
    until((host.home / "hooked").exists, "the hook runs")
    assert host.status()["phase"] == "hook"
    assert host.post("/extend", {"seconds": 3600, "key": "k"}).json["lease_deadline"] == after(601 + 3600)
    (host.home / "go").touch()
    host.wait(lambda s: s["phase"] == "watching" and s["ending"] is None, "the end was called off")
    assert host.ended() == []


def test_state_of_another_instance_is_set_aside(host: Host) -> None:
    """A disk cloned to a new instance brings no old deadline along."""
    host.start(policy={"lease_deadline": after(600)})
    host.stop()
    host.pass_time(1200)
    host.start(instance={"id": "i-2"}, policy={"lease_deadline": after(7200), "hard_deadline": None}).settle()
    assert (host.status()["lease"]["deadline"], host.ended()) == (after(7200), [])
    assert (host.home / "state.json.other-1").exists()


def test_lease_that_ran_out_while_off_leaves_minutes_to_extend(host: Host) -> None:
    """A host started after its lease can be extended; without that it ends five minutes later, and only once."""
    host.start(policy={"lease_deadline": after(600)}).settle()
    host.stop()
    host.pass_time(7200)
    host.env["GPUDASH_BOOT_ID"] = "second-boot"
    host.start().settle()
    assert (host.status()["ends_at"], host.ended()) == (utc(host.now + 300), [])
    host.pass_time(301)
    until(lambda: host.ended() == ["terminate"], "it ended after the grace")


def test_daemon_restart_gives_no_grace(host: Host) -> None:
    """Restarting the daemon within one boot never adds a minute."""
    host.start(policy={"lease_deadline": after(600)}).settle()
    host.stop()
    host.pass_time(700)
    host.start()
    until(lambda: host.ended() == ["terminate"], "it ended at once")


def test_deadline_already_past_at_first_start(host: Host, tmp_path: Path) -> None:
    """A policy that is already over when it is pushed is enforced."""
    host.start(policy={"lease_deadline": utc(START - 60)})
    until(lambda: host.ended() == ["terminate"], "it ended")
