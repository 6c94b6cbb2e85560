"""What every test shares: homes of its own, no settings from outside, programs that may be missing."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).parent.parent

SECONDS_OF_RANDOM_KEYS = float(os.environ.get("GPUDASH_RANDOM_KEYS_SECONDS", "30"))
SEED_OF_RANDOM_KEYS = int(os.environ.get("GPUDASH_RANDOM_KEYS_SEED", "0"))

_SETTINGS = ("TEXTUAL", "GPUDASH_", "AWS_", "LAMBDA", "RUNPOD_", "VAST_", "CONTAINER_")
"""Variables that would change what is tested, a developer's own keys of clouds above all."""
for _name in [name for name in os.environ if name.startswith(_SETTINGS) or name == "NO_COLOR"]:
    # The snapshot plugin's own, set before this file is read; and what workers are told by the environment alone.
    if _name != "TEXTUAL_SNAPSHOT_TEMPDIR" and not _name.startswith("GPUDASH_RANDOM_KEYS_"):
        del os.environ[_name]
os.environ["TEXTUAL_ANIMATIONS"] = "none"
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
sys.path[:0] = [] if str(ROOT) in sys.path else [str(ROOT)]

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
"""When tests begin, where nothing else is said."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Pages that tests write are checked, and written anew only when asked for."""
    parser.addoption("--write-faults", action="store_true", help="write the tables of docs/faults.md anew")


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path) -> Iterator[Path]:
    """Each test has its own HOME, settings and state; nothing reads or writes the developer's.

    Afterwards the environment is what it was, whatever the test and its other fixtures did to it in which order.
    """
    before = dict(os.environ)
    home = tmp_path / "person"
    home.mkdir(mode=0o700)
    for variable, folder in (
        ("XDG_CONFIG_HOME", ".config"),
        ("XDG_STATE_HOME", ".state"),
        ("XDG_CACHE_HOME", ".cache"),
    ):
        os.environ[variable] = str(home / folder)
    os.environ["HOME"] = str(home)
    for variable in ("SSH_AUTH_SOCK", "COLUMNS", "LINES", "TMUX"):
        os.environ.pop(variable, None)
    yield home
    for name in [name for name in os.environ if name not in before and not name.startswith("PYTEST_")]:
        del os.environ[name]
    os.environ.update({name: value for name, value in before.items() if not name.startswith("PYTEST_")})


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what this machine lacks a program for; with CI set, such a lack is a failure."""
    for mark in item.iter_markers("needs"):
        missing = [name for name in mark.args if find_program(name) is None]
        if missing:
            _without(", ".join(missing))


@pytest.fixture
def without() -> Callable[[str], NoReturn]:
    """For fixtures that look for a program themselves: call it with what is missing."""
    return _without


def _without(program: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(f"needs {program}, and CI installs it")
    pytest.skip(f"needs {program}")


def find_program(name: str) -> str | None:
    """Where a program is; sshd and the like often sit outside a user's PATH."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/sbin")
