"""The SSH server of one sandbox host: public key only, 127.0.0.1 only; exec, shell, pty, SFTP and port forwarding."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import paramiko  # noqa: TID253  the host's process only; the dashboard never imports this module
from paramiko.common import (  # noqa: TID253  as above
    AUTH_FAILED,
    AUTH_SUCCESSFUL,
    MSG_CHANNEL_REQUEST,
    OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED,
    OPEN_FAILED_CONNECT_FAILED,
    OPEN_FAILED_UNKNOWN_CHANNEL_TYPE,
    OPEN_SUCCEEDED,
)

from gpudash.providers.sandbox.children import Children
from gpudash.providers.sandbox.sessions import Session, Terminal, relay
from gpudash.providers.sandbox.sftp import HostFiles, SftpSession

BACKLOG = 128
SOCKET_PAUSE_S = 1.0
"""paramiko wakes each connection ten times a second for nothing; once is enough."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a session needs to know of its host."""

    home: Path
    shell: str
    environment: Mapping[str, str]
    children: Children
    ports: Callable[[], Mapping[int, int]]
    """Ports as seen on the host → real ports on 127.0.0.1."""


class SshServer:
    """Listens, and keeps every connection until it ends or is cut."""

    def __init__(self, listener: socket.socket, host_key: Path, client_public_key: Path, place: Place) -> None:
        self._listener = listener
        self._host_key = paramiko.Ed25519Key(filename=str(host_key))
        self._client_public_key = client_public_key
        self._place = place
        self._lock = threading.Lock()
        self._live: set[socket.socket] = set()
        self.is_cut: Callable[[], bool] = lambda: False
        """Asked at each connection; True refuses it."""

    def serve(self) -> None:
        """Accept until the listener is closed."""
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            if self.is_cut():
                connection.close()
                continue
            threading.Thread(target=self._serve_one, args=(connection,), name="ssh", daemon=True).start()

    def peers(self) -> list[tuple[int, int]]:
        """(local port, remote port) of every live connection."""
        with self._lock:
            live = list(self._live)
        found = []
        for connection in live:
            with contextlib.suppress(OSError):
                found.append((int(connection.getsockname()[1]), int(connection.getpeername()[1])))
        return found

    def cut(self) -> None:
        """Drop every connection there is."""
        with self._lock:
            live = list(self._live)
        for connection in live:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _serve_one(self, connection: socket.socket) -> None:
        with self._lock:
            self._live.add(connection)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            address = (*connection.getpeername()[:2], *connection.getsockname()[:2])
            transport = _Transport(connection)
            connection.settimeout(SOCKET_PAUSE_S)
            transport.local_version = "SSH-2.0-gpudash_sandbox"
            transport.add_server_key(self._host_key)
            gate = _Gate(self._allowed_key(), self._place, address)
            transport.set_subsystem_handler("sftp", SftpSession, HostFiles, self._place.home)
            transport.start_server(event=threading.Event(), server=gate)
            while transport.is_alive():
                channel = transport.accept(30)
                if channel is not None:
                    gate.opened(channel)
        except (OSError, EOFError, paramiko.SSHException):
            pass  # a peer that goes away in the middle concerns nobody else
        finally:
            with self._lock:
                self._live.discard(connection)
            connection.close()

    def _allowed_key(self) -> str:
        return self._client_public_key.read_text().split()[1]


def _answer_then_start(channel: Any, message: Any) -> None:
    channel._handle_request(message)
    start = channel.__dict__.pop("start_after_reply", None)
    if start is not None:
        start()


class _Transport(paramiko.Transport):  # type: ignore[misc]  # paramiko has no types
    """Starts a session only once its request is answered, or output could overtake the answer."""

    _channel_handler_table: ClassVar[Mapping[int, Any]] = {
        **paramiko.Transport._channel_handler_table,
        MSG_CHANNEL_REQUEST: _answer_then_start,
    }


class _Gate(paramiko.ServerInterface):  # type: ignore[misc]  # paramiko has no types
    """Says what one connection may do."""

    def __init__(self, allowed_key: str, place: Place, address: tuple[str, int, str, int]) -> None:
        self._allowed_key = allowed_key
        self._place = place
        self._address = address
        self._environments: dict[int, dict[str, str]] = {}
        self._terminals: dict[int, Terminal] = {}
        self._targets: dict[int, socket.socket] = {}

    def opened(self, channel: Any) -> None:
        """A channel is there; if it is a forward, let it flow."""
        target = self._targets.pop(channel.get_id(), None)
        if target is not None:
            relay(channel, target)

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: Any) -> int:
        return int(AUTH_SUCCESSFUL if key.get_base64() == self._allowed_key else AUTH_FAILED)

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return int(OPEN_SUCCEEDED if kind == "session" else OPEN_FAILED_UNKNOWN_CHANNEL_TYPE)

    def check_channel_env_request(self, channel: Any, name: bytes, value: bytes) -> bool:
        key = name.decode(errors="replace")
        if key != "LANG" and not key.startswith("LC_"):
            return False
        self._environments.setdefault(channel.get_id(), {})[key] = value.decode(errors="replace")
        return True

    def check_channel_pty_request(
        self, channel: Any, term: bytes, width: int, height: int, pixelwidth: int, pixelheight: int, modes: bytes
    ) -> bool:
        self._terminals[channel.get_id()] = Terminal(term.decode(errors="replace"), width, height)
        return True

    def check_channel_window_change_request(
        self, channel: Any, width: int, height: int, pixelwidth: int, pixelheight: int
    ) -> bool:
        terminal = self._terminals.get(channel.get_id())
        if terminal is not None:
            terminal.resize(width, height)
        return terminal is not None

    def check_channel_shell_request(self, channel: Any) -> bool:
        return self._begin(channel, [self._place.shell])

    def check_channel_exec_request(self, channel: Any, command: bytes) -> bool:
        return self._begin(channel, [self._place.shell, "-c", command.decode(errors="surrogateescape")])

    def check_channel_direct_tcpip_request(
        self, chanid: int, origin: tuple[str, int], destination: tuple[str, int]
    ) -> int:
        name, port = destination
        if not _is_loopback(name):
            return int(OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED)
        try:
            target = socket.create_connection(("127.0.0.1", self._place.ports().get(port, port)), timeout=5)
        except OSError:
            return int(OPEN_FAILED_CONNECT_FAILED)
        target.settimeout(None)
        target.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._targets[chanid] = target
        return int(OPEN_SUCCEEDED)

    def _begin(self, channel: Any, argv: list[str]) -> bool:
        client, client_port, server, server_port = self._address
        chanid = channel.get_id()
        terminal = self._terminals.pop(chanid, None)
        environment = {
            **self._place.environment,
            **self._environments.pop(chanid, {}),
            "SSH_CONNECTION": f"{client} {client_port} {server} {server_port}",
            "SSH_CLIENT": f"{client} {client_port} {server_port}",
        }
        session = Session(channel, argv, environment, self._place.home, self._place.children, terminal)
        if terminal is not None:
            self._terminals[chanid] = terminal
        channel.start_after_reply = session.start
        return True


def _is_loopback(name: str) -> bool:
    if name in ("localhost", ""):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
