"""When a connection counts as dead."""

from __future__ import annotations

from gpudash.hosts.pulse import Beat, Pulse
from gpudash.hosts.states import Backoff, Limits

LIMITS = Limits()


def test_answers_keep_it_alive() -> None:
    """A peer that answers every five seconds stays alive for ever."""
    pulse = Pulse(LIMITS, mono=0, wall=1000)
    beats = set()
    for second in range(600):
        if second % 5 == 0:
            pulse.answered(second)
        beats.add(pulse.look(second, 1000 + second))
    assert beats == {Beat.ALIVE}


def test_silence_is_death_after_fifteen_seconds() -> None:
    """A silent peer is looked at once a second, and the last look comes right when its time is over: 15 at most."""
    pulse = Pulse(LIMITS, mono=0, wall=1000)
    now, beats = 0.0, []
    while not beats or beats[-1] is Beat.ALIVE:
        now += pulse.next_look(now)
        beats.append(pulse.look(now, 1000 + now))
    assert beats == [Beat.ALIVE] * 14 + [Beat.DEAD]
    assert now == LIMITS.dead_after_s < 15


def test_sleep_is_told_once_and_then_an_answer_is_due() -> None:
    """After a sleep the peer has three seconds, not fifteen."""
    pulse = Pulse(LIMITS, mono=0, wall=1000)
    assert pulse.look(1, 1001 + 3600) is Beat.WOKE
    beats = [pulse.look(second, 4601 + second) for second in (2, 3, 4)]
    assert beats == [Beat.ALIVE, Beat.ALIVE, Beat.DEAD]


def test_answer_after_sleep_clears_it() -> None:
    """A link that survived the sleep goes on."""
    pulse = Pulse(LIMITS, mono=0, wall=1000)
    pulse.look(1, 5000)
    pulse.answered(2)
    assert [pulse.look(second, 4999 + second) for second in (2, 4, 8)] == [Beat.ALIVE] * 3


def test_wall_clock_set_back_is_no_sleep() -> None:
    """Only running ahead means sleep."""
    pulse = Pulse(LIMITS, mono=0, wall=1000)
    assert pulse.look(1, 0) is Beat.ALIVE


def test_backoff_doubles_to_its_most() -> None:
    """Waits of 1, 2, 4, 8, 16, 30, 30 s, each within 30 %."""
    backoff = Backoff(1, 30)
    for wait in (1, 2, 4, 8, 16, 30, 30):
        assert 0.7 * wait <= backoff.next() <= 1.3 * wait


def test_backoff_does_not_let_people_wait() -> None:
    """While a request is held the wait stays at its first; after a success it starts again."""
    backoff = Backoff(1, 30)
    for _ in range(5):
        assert backoff.next(someone_waits=True) <= 1.3
    backoff.reset()
    assert backoff.next() <= 1.3
