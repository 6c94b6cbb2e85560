"""Host keys by instance id, in a file of our own."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gpudash.hosts.hostkeys import HostKey, HostKeyUndecided, KnownHosts, alias, alias_of
from gpudash.model.instance import Instance, InstanceKey, InstanceState, SshAddress

NAME = "gpudash-work-i-1"
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
KEY = HostKey("ssh-ed25519", b"first key")
OTHER = HostKey("ssh-ed25519", b"second key")


@pytest.fixture
def known(tmp_path: Path) -> KnownHosts:
    return KnownHosts(tmp_path / "state" / "known_hosts")


def line(name: str, key: HostKey = KEY, marker: str = "") -> str:
    return f"{marker} {name} {key.type} {base64.b64encode(key.blob).decode()}".strip() + "\n"


def write(known: KnownHosts, *lines: str) -> None:
    known.path.parent.mkdir(exist_ok=True)
    known.path.write_text("".join(lines))


def test_first_contact_with_our_own_machine_is_recorded(known: KnownHosts) -> None:
    """A machine we launched is trusted on first contact, and held to it; the file is for its owner only."""
    known.check(NAME, KEY, told=None, vouched=True)
    assert known.held(NAME) == (KEY,)
    assert stat.S_IMODE(os.stat(known.path).st_mode) == 0o600


def test_first_contact_with_a_strange_machine_asks(known: KnownHosts) -> None:
    """Nobody vouches: the fingerprint is shown and nothing is recorded."""
    with pytest.raises(HostKeyUndecided, match=re.escape(KEY.fingerprint)):
        known.check(NAME, KEY, told=None, vouched=False)
    assert known.held(NAME) == ()


def test_told_fingerprint_vouches(known: KnownHosts) -> None:
    """The cloud told this very fingerprint."""
    known.check(NAME, KEY, told=KEY.fingerprint, vouched=False)
    assert known.held(NAME) == (KEY,)


def test_told_fingerprint_is_compared(known: KnownHosts) -> None:
    """Another key than the cloud told is refused even for a machine of ours; both are shown."""
    with pytest.raises(HostKeyUndecided) as caught:
        known.check(NAME, OTHER, told=KEY.fingerprint, vouched=True)
    assert KEY.fingerprint in str(caught.value)
    assert OTHER.fingerprint in str(caught.value)


@pytest.mark.parametrize("told", [None, OTHER.fingerprint])
def test_changed_key_stops_and_shows_both(known: KnownHosts, told: str | None) -> None:
    """A changed key is never taken silently, whoever vouches."""
    known.trust(NAME, KEY)
    with pytest.raises(HostKeyUndecided) as caught:
        known.check(NAME, OTHER, told=told, vouched=True)
    assert (caught.value.offered, caught.value.held) == (OTHER, (KEY,))
    assert KEY.fingerprint in str(caught.value)
    assert OTHER.fingerprint in str(caught.value)
    assert known.held(NAME) == (KEY,)


def test_trust_replaces(known: KnownHosts) -> None:
    """After a person accepted the new key, the old one is no longer good."""
    known.trust(NAME, KEY)
    known.trust(NAME, OTHER)
    assert known.held(NAME) == (OTHER,)


@pytest.mark.parametrize("pattern", [NAME, "gpudash-work-*", "*"])
def test_revoked_key_is_refused(known: KnownHosts, pattern: str) -> None:
    """@revoked wins over trust, with patterns too."""
    write(known, line(NAME), line(pattern, marker="@revoked"))
    with pytest.raises(HostKeyUndecided, match="revoked"):
        known.check(NAME, KEY, told=KEY.fingerprint, vouched=True)


def test_one_odd_line_does_not_lose_the_others(known: KnownHosts) -> None:
    """Certificate authorities, comments and nonsense are stepped over, and kept when the file is rewritten."""
    odd = ["# mine\n", line("*.example", marker="@cert-authority"), "what is this\n", f"{NAME} ssh-rsa %%%\n", "\n"]
    write(known, *odd, line(NAME), line("gpudash-work-i-2", OTHER))
    assert known.held(NAME) == (KEY,)
    known.forget(NAME)
    assert known.path.read_text() == "".join(odd) + line("gpudash-work-i-2", OTHER)


def test_hashed_names_are_found(known: KnownHosts) -> None:
    """ssh with HashKnownHosts wrote the name as a digest."""
    salt = b"s" * 20
    digest = base64.b64encode(hmac.new(salt, NAME.encode(), hashlib.sha1).digest()).decode()
    write(known, line(f"|1|{base64.b64encode(salt).decode()}|{digest}"))
    known.check(NAME, KEY, told=None, vouched=False)
    assert known.held("gpudash-work-i-2") == ()


def test_two_at_once_lose_nothing(known: KnownHosts) -> None:
    """Twenty first contacts at the same moment are twenty lines."""
    threads = [threading.Thread(target=known.trust, args=(f"gpudash-a-{n}", KEY)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(known.path.read_text().splitlines()) == 20


def test_fingerprint_is_openssh_s() -> None:
    """``SHA256:`` and base64 without its tail."""
    digest = base64.b64encode(hashlib.sha256(b"first key").digest()).decode().rstrip("=")
    assert KEY.fingerprint == f"SHA256:{digest}"


def test_aliases_differ_where_instances_do() -> None:
    """Lower-casing and odd letters never make two instances one."""
    ids = ["a", "A", "a_b", "a b", "a*b", "a,b", "ä", "_41"]
    names = {alias(InstanceKey("work", "r", one)) for one in ids}
    assert len(names) == len(ids)
    assert all(name == name.lower() and name.isascii() and not set(name) & set(" ,*?![]|@") for name in names)
    assert alias(InstanceKey("work", "us-1", "i-0c1f")) == "gpudash-work-i-0c1f"


def test_a_disk_that_is_made_anew_is_a_first_contact(known: KnownHosts) -> None:
    """A container that loses its disk shows another key after a start; within one start a changed key stops all."""
    key = InstanceKey("runpod", "all", "p1")
    first, again = (
        alias_of(
            Instance(
                key, "runpod", "train", InstanceState.RUNNING, "", ssh=SshAddress("a", 1, "root", host_key_since=at)
            )
        )
        for at in (NOON, NOON + timedelta(hours=1))
    )
    known.check(first, KEY, told=None, vouched=True)
    known.check(again, OTHER, told=None, vouched=True)
    with pytest.raises(HostKeyUndecided, match="changed"):
        known.check(again, KEY, told=None, vouched=True)
    other = alias(InstanceKey("runpod", "all", "p12"))
    known.trust(other, KEY)
    known.forget(alias(key))
    assert known.held(first) == known.held(again) == ()
    assert known.held(other) == (KEY,)
