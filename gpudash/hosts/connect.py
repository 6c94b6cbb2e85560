"""One attempt to reach one host: TCP, key exchange, host key, authentication. Used by `Link`, which repeats it.

`paramiko.Transport((host, port))` is never used: on a host that drops SYNs it hung for 134 s.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gpudash.errors import HostError, LinkDown
from gpudash.hosts.auth import authenticate
from gpudash.hosts.hostkeys import HostKey, KnownHosts
from gpudash.hosts.jump import through, way_to
from gpudash.hosts.readahead import ReadAheadSocket
from gpudash.hosts.states import Limits
from gpudash.model.instance import SshAddress

if TYPE_CHECKING:
    from paramiko import Transport

FAST_CIPHER = "aes128-gcm@openssh.com"
"""65 % more throughput than paramiko's own first choice."""

# A logger without any handler prints warnings on stderr, over the screen.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


class Refused(LinkDown):
    """Nobody listens at the SSH port: cheap to try again, and no server counts it against us."""


def connect(
    address: SshAddress,
    name: str,
    known: KnownHosts,
    *,
    vouched: bool,
    passphrase: str | None,
    limits: Limits,
    seen: Callable[[HostKey], None],
    reached: Callable[[SshAddress], None] = lambda way: None,
) -> Transport:
    """A transport that is authenticated, to a host whose key is trusted.

    Args:
        address: where and as whom.
        name: the instance's name in `known`.
        known: our host keys.
        vouched: a first contact may be recorded without asking.
        passphrase: for locked key files.
        limits: time-outs.
        seen: told the key the host shows, before it is judged.
        reached: told which of the address' ways answered.

    Raises:
        NeedsUser: host key or authentication; a retry would change nothing.
        LinkDown: everything that may be better a moment later.
    """
    import paramiko

    address, sock = _reach(address, limits.connect_s, Path.home())
    where = f"{address.host}:{address.port}"
    reached(address)
    try:
        transport = paramiko.Transport(sock)
    except BaseException:
        sock.close()
        raise
    try:
        transport.logger.setLevel(logging.ERROR)
        transport.banner_timeout = transport.handshake_timeout = transport.auth_timeout = limits.connect_s
        _prefer(transport, known.held(name))
        transport.start_client(timeout=limits.connect_s)
        offered = _offered(transport)
        seen(offered)
        known.check(name, offered, told=address.host_key_fingerprint, vouched=vouched)
        authenticate(transport, address, passphrase, home=Path.home())
    except (paramiko.SSHException, OSError, EOFError) as exc:
        transport.close()
        raise LinkDown(f"{where} answers, but not as an SSH server should: {exc or type(exc).__name__}.") from exc
    except BaseException:
        transport.close()
        raise
    return transport


def open_way(address: SshAddress, timeout: float) -> SshAddress:
    """The first of its ways that takes a connection; the first of all where none does. Asks only where there are two.

    Args:
        address: as the provider tells it.
        timeout: seconds for each way.
    """
    if len(address.ways) > 1:
        try:
            address, sock = _reach(address, timeout, Path.home())
        except LinkDown:
            return address
        sock.close()
    return address


def _reach(address: SshAddress, timeout: float, home: Path) -> tuple[SshAddress, socket.socket]:
    """The first way that takes a connection: straight to the host, then by the cloud's proxy."""
    met: list[LinkDown] = []
    for way in address.ways:
        try:
            return way, _dial(way, timeout, home)
        except LinkDown as exc:
            met.append(exc)
    if len(met) == 1:
        raise met[0]
    kind = Refused if all(isinstance(exc, Refused) for exc in met) else LinkDown
    raise kind(" Nor by the proxy: ".join(exc.text for exc in met)) from met[-1]


def _dial(address: SshAddress, timeout: float, home: Path) -> socket.socket:
    where = f"{address.host}:{address.port}"
    way = way_to(address, home)
    if way is not None:
        return ReadAheadSocket(through(way))
    try:
        sock = socket.create_connection((address.host, address.port), timeout=timeout)
    except ConnectionRefusedError as exc:
        raise Refused(f"Nothing listens at {where}.") from exc
    except TimeoutError as exc:
        raise LinkDown(f"{where} did not answer within {timeout:g} s.") from exc
    except OSError as exc:
        raise LinkDown(f"{where} cannot be reached: {exc.strerror or exc}.") from exc
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return ReadAheadSocket(sock)


def _prefer(transport: Transport, held: tuple[HostKey, ...]) -> None:
    """The fast cipher first; and the key types we hold first, or a host with several keys looks changed."""
    options = transport.get_security_options()
    if FAST_CIPHER in options.ciphers:
        options.ciphers = (FAST_CIPHER, *(name for name in options.ciphers if name != FAST_CIPHER))
    types = [key.type for key in held]
    if "ssh-rsa" in types:
        types += ["rsa-sha2-512", "rsa-sha2-256"]
    first = [name for name in options.key_types if name in types]
    options.key_types = (*first, *(name for name in options.key_types if name not in first))


def _offered(transport: Transport) -> HostKey:
    key = transport.get_remote_server_key()
    return HostKey(key.get_name(), key.asbytes())


def broken(exc: Exception, doing: str) -> HostError:
    """An exception of paramiko in our words."""
    return LinkDown(f"The connection broke while {doing}: {exc or type(exc).__name__}.")
