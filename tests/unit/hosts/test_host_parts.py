"""Key files, the ssh command line, and what importing the package costs."""

from __future__ import annotations

import socket
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from paramiko.buffered_pipe import BufferedPipe
from paramiko.channel import Channel

from gpudash.errors import LinkDown
from gpudash.hosts.auth import PassphraseWanted, load_key
from gpudash.hosts.direct import GRANT_EVERY, Receipt, hand_over
from gpudash.hosts.push import own_program, program
from gpudash.hosts.sshcmd import ssh_argv
from gpudash.model.instance import Instance, InstanceKey, InstanceState, SshAddress
from tests.support.sshd import make_key, until
from tests.support.waiting import PATIENCE_S


def box(**changes: object) -> Instance:
    facts: dict[str, object] = {
        "managed": True,
        "ssh": SshAddress("203.0.113.9", 2222, "ubuntu", "/keys/id"),
        **changes,
    }
    return Instance(InstanceKey("work", "us", "i-1"), "aws", "box", InstanceState.RUNNING, "running", **facts)  # type: ignore[arg-type]


def options(argv: list[str]) -> dict[str, str]:
    return dict(argv[n + 1].split("=", 1) for n, word in enumerate(argv) if word == "-o")


def test_importing_the_package_loads_no_ssh() -> None:
    """Listing tunnels and building command lines need no paramiko."""
    code = (
        "import sys, gpudash.hosts, gpudash.hosts.client, gpudash.hosts.push, gpudash.hosts.supervisor, "
        "gpudash.hosts.sshcmd; "
        "print([name for name in ('paramiko', 'sshtunnel', 'cryptography') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_ssh_trusts_by_instance_and_not_by_address(tmp_path: Path) -> None:
    """Address, port, user, key; and our names in our file."""
    argv = ssh_argv(box(), state_dir=tmp_path)
    assert argv[:7] == ["ssh", "-p", "2222", "-l", "ubuntu", "-i", "/keys/id"]
    assert argv[-1] == "203.0.113.9"
    assert options(argv)["HostKeyAlias"] == "gpudash-work-i-1"
    assert options(argv)["UserKnownHostsFile"] == str(tmp_path / "known_hosts")


def test_ssh_asks_where_nobody_vouches(tmp_path: Path) -> None:
    """Our own machines are trusted on first contact; others, and told fingerprints that ssh cannot check, are asked."""
    told = SshAddress("203.0.113.9", 22, "ubuntu", host_key_fingerprint="SHA256:x")
    modes = [
        options(ssh_argv(one, state_dir=tmp_path))["StrictHostKeyChecking"]
        for one in (box(), box(managed=False), box(ssh=told))
    ]
    assert modes == ["accept-new", "ask", "ask"]


def test_ssh_command_stands_after_the_host(tmp_path: Path) -> None:
    """Options of the command are not ssh's."""
    assert ssh_argv(box(), command=["ls", "-l"], state_dir=tmp_path)[-4:] == ["203.0.113.9", "--", "ls", "-l"]


def test_no_address_yet(tmp_path: Path) -> None:
    """A machine that is still booting has none."""
    with pytest.raises(LinkDown, match="no SSH address yet"):
        ssh_argv(box(ssh=None), state_dir=tmp_path)


@pytest.mark.needs("ssh-keygen")
@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
def test_locked_key_files(tmp_path: Path, kind: str) -> None:
    """No pass phrase, a wrong one and the right one are told apart."""
    path = make_key(tmp_path / "key", kind, "open sesame")
    with pytest.raises(PassphraseWanted, match="needs its pass phrase"):
        load_key(path, None)
    with pytest.raises(PassphraseWanted, match="does not open"):
        load_key(path, "wrong")
    assert load_key(path, "open sesame").can_sign()


@pytest.mark.needs("ssh-keygen")
def test_open_key_with_a_needless_pass_phrase(tmp_path: Path) -> None:
    """A pass phrase meant for another key does no harm."""
    assert load_key(make_key(tmp_path / "key"), "needless").can_sign()


def test_a_file_that_is_no_key(tmp_path: Path) -> None:
    """Said in one sentence, whatever the library raises."""
    path = tmp_path / "key"
    path.write_text("-----BEGIN NOTHING-----\n")
    for passphrase in (None, "x"):
        with pytest.raises(ValueError, match="no private key"):
            load_key(path, passphrase)


def test_build_is_the_hash_of_the_file() -> None:
    """statusd calls itself by the first 12 digits of its own hash; so do we."""
    ours = own_program()
    assert ours.release == f"statusd-{ours.version}-{ours.sha256[:12]}.py"
    assert program(ours.source + b"\n").build != ours.build


def test_paramiko_keeps_its_buffer_as_we_lean_on_it() -> None:
    """`hosts.direct` extends the buffer of a channel from within; another paramiko may have built it anew."""
    pipe = Channel(0).in_buffer
    assert type(pipe) is BufferedPipe
    assert {"_lock", "_cv", "_buffer", "_closed"} <= vars(pipe).keys()
    assert not hasattr(BufferedPipe, "__slots__")


def test_client_gets_at_once_what_it_can_take() -> None:
    """A megabyte that the client took is granted by a receipt of that length; what came before comes first."""
    pipe, ours, client = handed_over(b"early")
    with ours, client:
        assert pipe.read(99) == b"early"
        granted = ask(pipe)
        while granted.running():
            pipe.feed(b"x" * 1000)
            assert client.recv(1000) == b"x" * 1000
        assert isinstance(granted.result(PATIENCE_S), Receipt)
        assert len(granted.result(PATIENCE_S)) >= GRANT_EVERY


def test_client_that_does_not_read_leaves_the_rest_to_the_reader() -> None:
    """What its socket does not take is given to the reader, who may wait for it."""
    pipe, ours, client = handed_over(b"early")
    with ours, client:
        assert pipe.read(99) == b"early"
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        rest = ask(pipe)
        pipe.feed(b"x" * (GRANT_EVERY - 1))
        taken = len(client.recv(1 << 20))
        assert len(rest.result(PATIENCE_S)) >= GRANT_EVERY - 1 - taken > 0
        assert not isinstance(rest.result(PATIENCE_S), Receipt)


def test_client_that_is_gone_is_told_to_the_reader() -> None:
    """Its error surfaces where it is handled, and not in the thread of the connection."""
    pipe, ours, client = handed_over(b"early")
    pipe.read(99)
    rest = ask(pipe)
    client.close()
    ours.close()
    pipe.feed(b"x")
    with pytest.raises(OSError, match="Bad file descriptor"):
        rest.result(PATIENCE_S)


def handed_over(early: bytes) -> tuple[Any, socket.socket, socket.socket]:
    """The pipe of a channel whose client is the other end of a socket pair; something came before."""
    channel = Channel(0)
    channel.in_buffer.feed(early)
    ours, client = socket.socketpair()
    hand_over(channel, ours)
    return channel.in_buffer, ours, client


def ask(pipe: Any) -> Future[bytes]:
    """Read in a thread; when this returns the reader waits."""
    pool = ThreadPoolExecutor(1)
    asked = pool.submit(pipe.read, 1 << 20)
    pool.shutdown(wait=False)
    until(lambda: not pipe.is_behind)
    return asked
