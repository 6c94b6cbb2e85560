"""Somebody at the command line with an account at AWS, in the process of the test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gpudash.cli.main import run
from support import moto_server
from support.aws_cloud import aws_environment, prepare, raw_client
from support.aws_front import Front, aws_front

REGION, OTHER = "us-east-1", "eu-west-1"


@dataclass
class Answer:
    """How one command ended."""

    code: int
    out: str
    err: str


class Person:
    """Somebody with an account at AWS whose every call goes through a door that can be shut."""

    def __init__(self, front: Front, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.front, self._config, self._capsys = front, config, capsys

    def has_accounts(self, **settings: str) -> None:
        """Write the settings: by name of an account its further lines."""
        common = f'provider = "aws"\nregions = ["{REGION}", "{OTHER}"]\nbase_url = "{self.front.url}"\n'
        self._config.write_text("".join(f"[accounts.{name}]\n{common}{more}\n" for name, more in settings.items()))

    def __call__(self, *words: str) -> Answer:
        """Run one command line."""
        self._capsys.readouterr()
        code = run(list(words))
        out, err = self._capsys.readouterr()
        return Answer(code, out, " ".join(err.split()))

    def launches(self, *words: str) -> Answer:
        """Launch something small."""
        small = ("--region", REGION, "-o", "ssh_cidr=203.0.113.7/32", "-o", "public_ip=false", "--idle-action", "stop",
                 "-o", "instance_profile=none", "--name", "box", "--yes", "--no-wait")  # fmt: skip
        return self("launch", "--type", "t3.micro", *small, *words)


@contextmanager
def somebody(capsys: pytest.CaptureFixture[str]) -> Iterator[Person]:
    """A person with the account ``work`` and a home of their own, and nothing at EC2 yet."""
    with aws_environment(), aws_front() as front:
        moto_server.reset()
        prepare()
        folder = Path(os.environ["XDG_CONFIG_HOME"]) / "gpudash"
        folder.mkdir(parents=True, mode=0o700)
        (folder / "config.toml").touch(mode=0o600)
        found = Person(front, folder / "config.toml", capsys)
        found.has_accounts(work="")
        yield found


def made() -> list[dict[str, Any]]:
    """Every instance there is, as a plain client sees it."""
    found = [raw_client("ec2", region).describe_instances()["Reservations"] for region in (REGION, OTHER)]
    return [item for reservations in found for reservation in reservations for item in reservation["Instances"]]
