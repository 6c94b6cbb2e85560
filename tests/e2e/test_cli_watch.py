"""`gpudash ls --watch` as a process: sentences when something changes, silence when nothing does, and clean ways out."""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.support.cli import Cli
from tests.support.waiting import PATIENCE_S


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """A home with one armed instance called ``box``."""
    program = Cli(tmp_path_factory.mktemp("watch"))
    program.ok("launch", "--type", "1x-t4", "--name", "box", "--lease", "20h", "--yes")
    yield program
    program.clean()


class Lines:
    """What a process prints, as it comes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.all: list[str] = []
        self._queue: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._queue.put(line.rstrip("\n"))

    def until(self, fits: Callable[[str], bool]) -> str:
        """The next line that fits; those before it are kept in `all`."""
        while True:
            line = self._queue.get(timeout=PATIENCE_S)
            self.all.append(line)
            if fits(line):
                return line


@contextmanager
def watching(cli: Cli, *words: str) -> Iterator[Lines]:
    process = cli.start("ls", "--watch", "--interval", "1s", *words)
    try:
        yield Lines(process)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_being_told_to_stop_is_a_success(cli: Cli, number: signal.Signals) -> None:
    with watching(cli) as lines:
        lines.until(lambda line: "box on sandbox: running" in line)
        lines.process.send_signal(number)
        assert lines.process.wait(PATIENCE_S) == 0
        assert lines.process.stderr is not None
        assert "Traceback" not in lines.process.stderr.read()
        assert not any("\x1b" in line or "\r" in line for line in lines.all)


def test_a_reader_that_leaves_ends_it_though_nothing_changes(cli: Cli) -> None:
    process = cli.start("ls", "--watch", "--interval", "10m")
    try:
        assert process.stdout is not None
        assert "1 instance, burning" in process.stdout.readline()
        assert "box on sandbox" in process.stdout.readline()
        process.stdout.close()
        assert process.wait(PATIENCE_S) == 141
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def test_a_stop_by_another_process_is_told_with_a_document_a_line(cli: Cli) -> None:
    with watching(cli, "--json") as lines:
        first = json.loads(lines.until(lambda line: True))
        assert first["kind"] == "summary"
        assert first["totals"]["instances"] == 1
        seen = json.loads(lines.until(lambda line: True))
        assert (seen["kind"], seen["name"], seen["instance"]["state"]) == ("seen", "box", "running")
        assert cli("stop", "box", "--yes").code == 0
        told = json.loads(lines.until(lambda line: '"stopped' in line or ": stopped" in line))
        assert (told["kind"], told["account"], told["instance"]["state"]) == ("state", "sandbox", "stopped")
        assert cli("terminate", "box", "--yes").code == 0
        gone = json.loads(lines.until(lambda line: '"ended"' in line))
        assert gone["text"].startswith("box on sandbox: ended, and is gone; it cost ")
        assert gone["instance"] is None
        lines.process.send_signal(signal.SIGINT)
        assert lines.process.wait(PATIENCE_S) == 0


def test_an_interval_without_a_watch_is_a_mistake(cli: Cli) -> None:
    assert cli("ls", "--interval", "1s").code == 2
