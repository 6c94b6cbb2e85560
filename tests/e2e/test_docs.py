"""The commands in docs/*.md run as they stand, each page on a sandbox of its own: documentation that lies fails.

A block tagged ``sh runnable`` is run line by line, in order, each page from a fresh home. A line must succeed, unless
it ends in ``# exit code N``. In every other shell block, the verbs and options of ``gpudash …`` must exist.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from gpudash.cli.main import cli as root
from tests.conftest import ROOT
from tests.support.cli import Cli

PAGES = sorted(path for path in (ROOT / "docs").glob("*.md"))
_BLOCK = re.compile(r"^```(\S+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_EXPECTED = re.compile(r"\s+# exit code (\d+)$")


def blocks(page: Path) -> Iterator[tuple[str, bool, list[str]]]:
    """Language, whether it is run, and logical lines of each fenced block."""
    for language, words, body in _BLOCK.findall(page.read_text()):
        joined = body.replace("\\\n", " ")
        yield language, "runnable" in words.split(), [line for line in joined.splitlines() if line.strip()]


def runnable(page: Path) -> list[str]:
    """Every line that is run."""
    return [line for _, is_run, lines in blocks(page) if is_run for line in lines if not line.startswith("#")]


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """A fresh home for a page."""
    program = Cli(tmp_path_factory.mktemp("docs"))
    yield program
    program.clean()


@pytest.mark.parametrize("page", [page for page in PAGES if runnable(page)], ids=lambda page: page.name)
def test_commands_run(page: Path, home: Cli) -> None:
    """Each line ends as the page says."""
    for line in runnable(page):
        expected = _EXPECTED.search(line)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line],
            env=home.env,
            cwd=home.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == int(expected[1] if expected else 0), (line, done.stdout, done.stderr)


def mentioned(page: Path) -> list[str]:
    """Every `gpudash …` command of a shell block, run or not."""
    shells = {"sh", "bash", "console", "shell"}
    found = []
    for language, _, lines in blocks(page):
        if language in shells:
            found += [part for line in lines for part in re.findall(r"gpudash( [^|;&#)]*)?", line.removeprefix("$ "))]
    return [part.strip() for part in found if part.strip() and part.startswith(" ")]


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda page: page.name)
def test_verbs_and_options_exist(page: Path) -> None:
    """A renamed option makes the page fail, also where it is not run."""
    for line in mentioned(page):
        words = shlex.split(line.replace('"', "").replace("'", ""))
        command: click.Command = root
        context = click.Context(root)
        while words and isinstance(command, click.Group) and not words[0].startswith("-"):
            found = command.get_command(context, words[0])
            if found is None and command.name == "tunnel":
                found = command.get_command(context, "open")
            assert found is not None, line
            command, words = found, words[1:]
        flags = {flag for param in command.params for flag in (*param.opts, *param.secondary_opts)}
        flags |= {"--help", "-h", "--json", "--read-only"}
        options = words[: words.index("--")] if "--" in words else words
        unknown = {word.partition("=")[0] for word in options if re.match(r"--?[a-zA-Z]", word)} - flags
        assert not unknown, (line, unknown)
