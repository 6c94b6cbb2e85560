"""Asks the statusd of one host, over a stream kept open inside the link: no local port, one round trip a question.

Where it listens and its token are read from the host's own files by one command for each connection, and again when the
daemon refuses the token or has moved. The token stays in memory and goes out in one header only.
"""

from __future__ import annotations

import http.client
import io
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from gpudash.clock import iso, parse_iso
from gpudash.errors import NoForwards, NoService, Refused, StatusdError
from gpudash.hosts.bycommand import ask_by_command
from gpudash.hosts.connect import broken
from gpudash.model.history import History, parse_history
from gpudash.model.policy import EndAction

if TYPE_CHECKING:
    from paramiko import Channel

    from gpudash.hosts.link import Link

READ_SETTINGS = (
    "sh -c 'cd ~/.gpudash && cat run.json && echo && echo == && cat token && echo && echo == && echo $SSH_CONNECTION'"
)
"""All that is needed to talk to it. The last line is our own link as the host's kernel sees it."""

LONGEST_ANSWER = 4 << 20
"""Bytes; a status document has some ten thousand."""


@dataclass(frozen=True, slots=True)
class _Settings:
    port: int
    token: str = field(repr=False)
    peer: str
    generation: int


class StatusClient:
    """The statusd of one instance. Safe to use from any thread; questions are asked one after the other."""

    def __init__(self, link: Link, *, timeout: float = 10.0) -> None:
        """Nothing is asked yet.

        Args:
            link: the way there.
            timeout: seconds for one question, connecting included.
        """
        self._link = link
        self._timeout = timeout
        self._lock = threading.Lock()
        self._settings: _Settings | None = None
        self._connection: http.client.HTTPConnection | None = None
        self._forwards_nothing: int | None = None
        """The connection of the link that turned out to forbid forwards."""

    def status(self) -> dict[str, Any]:
        """The ``/status`` document as it came; `model.host.parse_status` reads it.

        Raises:
            StatusdError: it is not there, or its answer makes no sense.
            LinkDown: no connection to the host.
        """
        return self._ask("GET", "/status", None)

    def health(self) -> dict[str, Any]:
        """The ``/health`` document: whether it is well, its version and build."""
        return self._ask("GET", "/health", None, may_be_ill=True)

    def history(self) -> History:
        """Every signal, once a minute for the last hours.

        Raises:
            StatusdError: it is not there, is too old to remember, or its answer makes no sense.
        """
        try:
            return parse_history(self._ask("GET", "/history", None))
        except ValueError as exc:
            raise StatusdError(f"statusd on {self._link.name} has no history: {exc}.") from exc

    def log(self, lines: int = 200) -> tuple[str, ...]:
        """The last lines of its log, oldest first; it keeps 200.

        Raises:
            StatusdError: it is not there, or is too old to tell.
        """
        return tuple(str(line) for line in self._ask("GET", f"/log?lines={lines}", None).get("lines") or ())

    def extend(self, deadline: datetime) -> datetime:
        """Move the lease to `deadline`; the same moment again changes nothing. Answers the deadline in force.

        Raises:
            Refused: beyond the hard deadline, or a shorter lease.
        """
        answer = self._ask("POST", "/extend", {"deadline": iso(deadline)})
        return self._moment(answer, "lease_deadline")

    def activity(self, hold_s: float | None = None) -> datetime | None:
        """Declare activity now; with `hold_s`, hold the host awake that long. Answers until when it is held.

        A hold never reaches past the deadlines, so the answer may be earlier than what was asked for.
        """
        answer = self._ask("POST", "/activity", {} if hold_s is None else {"hold_s": hold_s})
        return None if answer.get("held_until") is None else self._moment(answer, "held_until")

    def shutdown(self, action: EndAction) -> None:
        """Ask the daemon to end its host now. Accepted is not ended: a listing proves it."""
        self._ask("POST", "/shutdown", {"action": action.value})

    def close(self) -> None:
        """Let go of the stream."""
        with self._lock:
            self._hang_up()

    def _ask(
        self, method: str, path: str, body: Mapping[str, Any] | None, *, may_be_ill: bool = False
    ) -> dict[str, Any]:
        with self._lock:
            status, answer = self._send(method, path, body)
            if status == 401:
                self._forget()
                status, answer = self._send(method, path, body)
        if status == 401:
            text = f"What answers on the port of statusd on {self._link.name} is another program: it refuses the token."
            raise StatusdError(text, hint="Press p, or use gpudash push, to start statusd again.")
        if status == 409:
            raise Refused(f"The host refuses: {answer.get('error', 'no reason told')}.", hint=_room(answer))
        if status >= 400 and not (may_be_ill and status == 503):
            raise StatusdError(
                f"statusd on {self._link.name} answers {status}: {answer.get('error', 'no reason told')}."
            )
        return answer

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None) -> tuple[int, dict[str, Any]]:
        """One question; asked again once where a kept stream, or what we knew of the host, turns out to be stale."""
        for last in (False, True):
            fresh = self._settings is None
            kept = self._connection is not None
            try:
                if self._forwards_nothing == self._link.generation:
                    return ask_by_command(self._link, method, path, body, self._timeout)
                return self._exchange(method, path, body)
            except NoForwards:
                self._forwards_nothing = self._link.generation
                if last:
                    return ask_by_command(self._link, method, path, body, self._timeout)
            except NoService as exc:
                self._forget()
                if last or fresh:
                    text = f"statusd on {self._link.name} does not run."
                    raise StatusdError(text, hint="Press p, or use gpudash push, to start it.") from exc
            except (http.client.HTTPException, OSError, EOFError) as exc:
                self._forget()
                if last or not kept:
                    raise StatusdError(f"statusd on {self._link.name} hung up: {exc or type(exc).__name__}.") from exc
        raise AssertionError("the second try answers or raises")

    def _exchange(self, method: str, path: str, body: Mapping[str, Any] | None) -> tuple[int, dict[str, Any]]:
        settings = self._known()
        if self._connection is None:
            self._connection = connection_over(self._link, settings.port, self._timeout)
        connection = self._connection
        headers = {"Authorization": f"Bearer {settings.token}", "X-Gpudash-Link": settings.peer}
        payload = None
        if body is not None:
            payload = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        connection.request(method, path, body=payload, headers=headers)
        response = connection.getresponse()
        content = response.read(LONGEST_ANSWER)
        if response.will_close or not response.isclosed():
            self._hang_up()
        try:
            answer = json.loads(content)
        except ValueError as exc:
            raise StatusdError(f"What answers on port {settings.port} of {self._link.name} is no statusd.") from exc
        return response.status, answer if isinstance(answer, dict) else {}

    def _known(self) -> _Settings:
        if self._settings is not None and self._settings.generation == self._link.generation:
            return self._settings
        self._forget()
        found = self._link.exec(READ_SETTINGS, timeout=self._timeout)
        generation = self._link.generation
        if found.exit_status != 0:
            text = f"There is no running statusd on {self._link.name}."
            raise StatusdError(text, hint="Press p, or use gpudash push, to put it there.")
        try:
            run, token, peer = (part.strip() for part in found.text.split("\n==\n"))
            address, port = peer.split()[:2]
            self._settings = _Settings(int(json.loads(run)["port"]), token, f"{address} {port}", generation)
        except (ValueError, KeyError, TypeError) as exc:
            raise StatusdError(f"The files of statusd on {self._link.name} make no sense.", hint="Push again.") from exc
        return self._settings

    def _forget(self) -> None:
        self._settings = None
        self._hang_up()

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _moment(self, answer: Mapping[str, Any], name: str) -> datetime:
        try:
            return parse_iso(str(answer[name]))
        except (KeyError, ValueError) as exc:
            raise StatusdError(f"statusd on {self._link.name} answered without {name}.") from exc


def _room(answer: Mapping[str, Any]) -> str | None:
    seconds = answer.get("max_seconds")
    return f"At most {seconds} s more is allowed." if isinstance(seconds, int) else None


def ask_health(link: Link, port: int, timeout: float) -> dict[str, Any]:
    """One ``GET /health`` to a port of the host, without a token.

    Raises:
        NoService: nothing listens there.
        StatusdError: something else than a statusd answers.
        LinkDown: no connection.
    """
    try:
        connection = connection_over(link, port, timeout)
    except NoForwards:
        return ask_by_command(link, "GET", "/health", None, timeout, port)[1]
    try:
        connection.request("GET", "/health")
        answer = json.loads(connection.getresponse().read(LONGEST_ANSWER))
    except (http.client.HTTPException, OSError, EOFError, ValueError) as exc:
        raise StatusdError(f"Port {port} of {link.name} does not answer as statusd does.") from exc
    finally:
        connection.close()
    return answer if isinstance(answer, dict) else {}


def connection_over(link: Link, port: int, timeout: float) -> http.client.HTTPConnection:
    """HTTP to a port of the host, as a stream inside the link.

    Raises:
        NoService: nothing listens there.
        LinkDown: no connection.
    """
    import paramiko

    try:
        channel = link.open_channel("127.0.0.1", port, timeout)
    except (paramiko.SSHException, OSError, EOFError) as exc:
        raise broken(exc, "asking statusd") from exc
    channel.settimeout(timeout)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    connection.auto_open = 0
    connection.sock = _ChannelSocket(channel)
    return connection


class _ChannelSocket:
    """The part of a socket that http.client uses, over a channel."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def sendall(self, data: bytes) -> None:
        self._channel.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_ChannelReader(self._channel))

    def close(self) -> None:
        self._channel.close()


class _ChannelReader(io.RawIOBase):
    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = self._channel.recv(len(buffer))
        buffer[: len(part)] = part
        return len(part)
