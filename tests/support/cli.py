"""The real command line as a process of its own, with a home of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import ROOT
from tests.support.waiting import PATIENCE_S


@dataclass(frozen=True)
class Answer:
    """How one command ended."""

    code: int
    out: str
    err: str

    @property
    def doc(self) -> dict[str, Any]:
        """The one JSON document on stdout."""
        body = json.loads(self.out)
        assert isinstance(body, dict)
        return body


class Cli:
    """Runs ``gpudash …`` in one home. Call it with the words of a command.

    Homes beside each other share compiled modules, as they would once installed.
    """

    def __init__(self, home: Path) -> None:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.home = home
        self.state = home / "state" / "gpudash"
        self.config_file = home / "config" / "gpudash" / "config.toml"
        bin_folder = home / "bin"
        bin_folder.mkdir(exist_ok=True)
        program = bin_folder / "gpudash"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gpudash "$@"\n')
        program.chmod(0o755)
        self.env = {
            **os.environ,
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_STATE_HOME": str(home / "state"),
            "XDG_CACHE_HOME": str(home / "cache"),
            "PYTHONPATH": str(ROOT),
            "PYTHONPYCACHEPREFIX": str(home.parent / "bytecode"),
            "PATH": f"{bin_folder}:{os.environ['PATH']}",
            "TZ": "UTC",
        }
        self.env.pop("PYTHONDONTWRITEBYTECODE", None)

    def __call__(
        self, *words: str, stdin: str = "", timeout: float = 2 * PATIENCE_S, env: Mapping[str, str] | None = None
    ) -> Answer:
        # Beside many other tests a cloud on loopback may take longer than a person would wait for a list.
        patient = ("--timeout", "1m") if words[:1] == ("ls",) and not {"--timeout", "--help"} & set(words) else ()
        done = subprocess.run(
            [sys.executable, "-m", "gpudash", *words, *patient],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**self.env, **(env or {})},
            cwd=self.home,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Answer(done.returncode, done.stdout, done.stderr)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Begin a command that stays in the foreground."""
        return subprocess.Popen(
            [sys.executable, "-m", "gpudash", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.env,
            cwd=self.home,
        )

    def ok(self, *words: str, timeout: float = 2 * PATIENCE_S) -> dict[str, Any]:
        """Run with ``--json``, expect success, answer the document."""
        answer = self(*words, "--json", timeout=timeout)
        assert answer.code == 0, (words, answer)
        return answer.doc

    def config(self, text: str, mode: int = 0o600) -> None:
        """Write ``config.toml``."""
        self.config_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.config_file.write_text(text)
        self.config_file.chmod(mode)

    def records(self) -> dict[str, str]:
        """Every sandbox host's record as it is on disk."""
        return {path.parent.name: path.read_text() for path in self.state.glob("sandbox/hosts/*/record.json")}

    def clean(self) -> None:
        """Leave no process behind."""
        self("sandbox", "reset", "--yes")
