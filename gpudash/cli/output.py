"""The one owner of what leaves the process: stdout is data, stderr is talk, and every exit code is decided here.

Commands hand over documents and lines; errors come in as exceptions and leave as one line, a JSON answer where one
was asked for, and a number from `ExitCode`.
"""

from __future__ import annotations

import io
import json
import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from gpudash.errors import ExitCode, GpudashError

INTERRUPTED = 130
"""Ctrl-C, as shells count it."""
LONG_LIST = 100
"""From so many items on a list has a line an item."""
PIPE_CLOSED = 141
"""Whoever read our stdout has left, as shells count it."""

SENTENCES = {
    ExitCode.OK: "done, and proved",
    ExitCode.FAILED: "failed; no capacity too",
    ExitCode.USAGE: "the command line or the configuration is wrong",
    ExitCode.NOT_FOUND: "no such instance, or the name is ambiguous",
    ExitCode.REFUSED: "refused: read-only, hard deadline, price cap, no confirmation, a verb that cloud does not have",
    ExitCode.UNREACHABLE: "a provider cannot be reached or refused the credentials; `ls` still prints what it has",
    ExitCode.UNPROVED: "accepted, but not proved in time",
}
"""Each exit code for people; README's table is made of it."""


class Output:
    """Where one run of the command line speaks. `json` decides between a document and text."""

    def __init__(self, *, json_wanted: bool) -> None:
        self.json = json_wanted
        self.command = "gpudash"
        """The verb that runs, for the JSON answer of an error."""
        self.subject: str | None = None
        """The instance as the person named it."""
        self.answered = False
        """The one document is out; nothing else may follow it."""
        self.going_on: str | None = None
        """What goes on without us after a Ctrl-C."""

    def line(self, text: str = "") -> None:
        """A line of data."""
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def talk(self, text: str) -> None:
        """A line for the person, not for the pipe. A terminal that has gone is no failure."""
        try:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()
        except OSError:
            return

    def document(self, body: Mapping[str, Any]) -> None:
        """The one JSON document of this run."""
        self.answered = True
        self.line(dumps(body))

    def ask(self, question: str) -> str:
        """A question on stderr, its answer from stdin; an ended input is an empty answer."""
        sys.stderr.write(question)
        sys.stderr.flush()
        return sys.stdin.readline().strip()

    def failure(self, exc: GpudashError) -> int:
        """Say what failed, in one line and as a JSON answer where asked for. Returns the exit code."""
        self.talk(f"gpudash: {one_line(str(exc))}")
        self.answer_failure(exc.text)
        return int(exc.exit_code)

    def answer_failure(self, detail: str) -> None:
        """The JSON answer of something that did not happen; silent without ``--json`` or after another document."""
        if not self.json or self.answered:
            return
        account, _, name = (self.subject or "").rpartition(":")
        self.document(
            {
                "action": self.command,
                "account": account or None,
                "id": name or None,
                "ok": False,
                "proved": False,
                "detail": one_line(detail),
                "instance": None,
            }
        )


def wants_json(argv: Sequence[str]) -> bool:
    """Whether ``--json`` stands before any ``--``; known before parsing, so that a usage error can answer in JSON."""
    words = list(argv)
    return "--json" in (words[: words.index("--")] if "--" in words else words)


def can_ask() -> bool:
    """Somebody is there to answer a question."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def dumps(body: Mapping[str, Any]) -> str:
    """JSON as gpudash prints it: indented, characters as they are, money as numbers.

    A long list has a line an item: indenting thousands of them would take longer than asking for them.
    """
    parts = []
    for name, value in body.items():
        if isinstance(value, list) and len(value) >= LONG_LIST:
            text = "[\n    " + ",\n    ".join(_json(item) for item in value) + "\n  ]"
        else:
            text = _json(value, indent=2).replace("\n", "\n  ")
        parts.append(f"  {_json(name)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}" if parts else "{}"


def _json(value: object, indent: int | None = None) -> str:
    return json.dumps(value, indent=indent, ensure_ascii=False, default=_plain, allow_nan=False)


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return float(value)
    return str(value)


def one_line(text: str) -> str:
    """The text without line ends, for a message that must stay one line."""
    return " ".join(text.split())


def speak_any_encoding() -> None:
    """A terminal that lacks ``–`` or ``×`` gets a question mark, not an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


@contextmanager
def quiet_pipe() -> Iterator[None]:
    """Leave without a word when the reader of stdout has gone, and keep Python's own flush at exit quiet too.

    Raises:
        SystemExit: with 141, where the pipe was closed.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(PIPE_CLOSED) from None


def report_crash(exc: BaseException, argv: Sequence[str]) -> Path | None:
    """Write what a developer needs about an error nobody expected. None where even that fails."""
    from gpudash import __version__, paths
    from gpudash.clock import SystemClock

    stamp = SystemClock().now().strftime("%Y%m%dT%H%M%SZ")
    body = "".join(traceback.format_exception(exc))
    try:
        folder = paths.state_dir() / "reports"
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / f"error-{stamp}-{os.getpid()}.txt"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as report:
            report.write(f"gpudash {__version__}\npython {sys.version}\narguments {list(argv)}\n\n{body}")
    except OSError:
        return None
    return path


def log_to_file() -> None:
    """Send the program's own log to its file; the terminal is for people."""
    import logging
    import threading

    from gpudash import paths

    log = logging.getLogger("gpudash")
    if log.handlers:
        return
    handler = logging.FileHandler(paths.log_file(), delay=True, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(process)d %(name)s %(message)s"))
    log.addHandler(handler)
    log.propagate = False
    logging.getLogger().addHandler(logging.NullHandler())

    def note(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None:
            log.error("thread %s ended", args.thread.name if args.thread else "?", exc_info=args.exc_value)

    threading.excepthook = note
