"""Runs one command over a live transport."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpudash.clock import Clock
from gpudash.errors import HostError
from gpudash.hosts.connect import broken

if TYPE_CHECKING:
    from paramiko import Channel, Transport

MOST_OUTPUT = 8 << 20
"""Bytes kept of each stream; the rest is read and dropped, so that the command can end."""


@dataclass(frozen=True, slots=True)
class ExecResult:
    """How a command ended."""

    exit_status: int
    """-1 where the host told none (killed by a signal)."""
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """stdout as text."""
        return self.stdout.decode(errors="replace")

    @property
    def complaint(self) -> str:
        """The last line of stderr, else the exit status: what to show a person."""
        lines = self.stderr.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit status {self.exit_status}"


def run(transport: Transport, command: str, stdin: bytes, deadline: float, clock: Clock) -> ExecResult:
    """Run `command`, feed it, read both streams to their ends.

    Raises:
        HostError: it did not end by `deadline`, or the host gave no session for it.
        LinkDown: the connection broke.
    """
    import paramiko

    try:
        channel = transport.open_session(timeout=max(0.1, deadline - clock.monotonic()))
    except paramiko.ChannelException as exc:
        raise HostError(f"The host opens no more sessions ({exc.text}).") from exc
    except (paramiko.SSHException, OSError, EOFError) as exc:
        raise broken(exc, "starting a command") from exc
    try:
        return _converse(channel, command, stdin, deadline, clock)
    except TimeoutError as exc:
        raise HostError(f"The command did not end in time: {command[:60]}") from exc
    except (paramiko.SSHException, OSError, EOFError) as exc:
        raise broken(exc, "a command was running") from exc
    finally:
        channel.close()


def _converse(channel: Channel, command: str, stdin: bytes, deadline: float, clock: Clock) -> ExecResult:
    channel.settimeout(max(0.1, deadline - clock.monotonic()))
    channel.exec_command(command)
    errors = bytearray()
    listener = threading.Thread(target=_drain_stderr, args=(channel, errors), daemon=True)
    listener.start()
    channel.sendall(stdin)
    channel.shutdown_write()
    output = bytearray()
    while True:
        left = deadline - clock.monotonic()
        if left <= 0:
            raise TimeoutError
        channel.settimeout(left)
        part = channel.recv(1 << 16)
        if not part:
            break
        if len(output) < MOST_OUTPUT:
            output += part
    if not channel.status_event.wait(max(0.1, deadline - clock.monotonic())):
        raise TimeoutError
    if not channel.get_transport().is_active() and channel.exit_status == -1:
        raise EOFError("the connection is gone")
    listener.join(max(0.1, deadline - clock.monotonic()))
    return ExecResult(channel.exit_status, bytes(output), bytes(errors))


def _drain_stderr(channel: Channel, into: bytearray) -> None:
    try:
        while part := channel.recv_stderr(1 << 16):
            if len(into) < MOST_OUTPUT:
                into += part
    except OSError:
        return
