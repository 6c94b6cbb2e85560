"""Which regions are polled: those of the settings, else those EC2 tells, else those everybody has."""

from __future__ import annotations

import json
import threading
from datetime import datetime, timedelta
from pathlib import Path

from gpudash.clock import Clock, iso, parse_iso
from gpudash.errors import AuthRefused, GpudashError
from gpudash.providers.aws.clients import Clients
from gpudash.providers.aws.errors import is_denied, translated
from gpudash.providers.aws.prices import write_whole

DEFAULT_REGIONS = (
    "us-east-1", "us-east-2", "us-west-1", "us-west-2", "ca-central-1", "sa-east-1", "eu-central-1", "eu-west-1",
    "eu-west-2", "eu-west-3", "eu-north-1", "ap-south-1", "ap-northeast-1", "ap-northeast-2", "ap-northeast-3",
    "ap-southeast-1", "ap-southeast-2",
)  # fmt: skip
"""Enabled in every account unless someone switched them off."""
GOOD_FOR = timedelta(days=1)


class Regions:
    """The regions of one account. Safe from any thread."""

    def __init__(self, clients: Clients, clock: Clock, chosen: tuple[str, ...], folder: Path) -> None:
        self._clients, self._clock, self._chosen = clients, clock, chosen
        self._file = folder / "regions.json"
        self._lock = threading.Lock()
        self._found: tuple[str, ...] | None = None
        self._asked_at: datetime | None = None
        self._read = False
        self.lacks: tuple[str, ...] = ()
        """What is not known of the regions for want of a permission, with the way out."""

    def known(self) -> tuple[str, ...]:
        """Those of the settings, or what EC2 told within a day; else EC2 is asked once. Silence is no fault.

        Raises:
            AuthRefused: there are no credentials, or they are no good; then no region would answer.
        """
        if self._chosen:
            return self._chosen
        with self._lock:
            self._load()
            now = self._clock.now()
            if self._asked_at is None or now - self._asked_at >= GOOD_FOR:
                self._asked_at = now
                try:
                    self._found, self.lacks = self._ask(), ()
                    write_whole(self._file, json.dumps({"as_of": iso(now), "regions": self._found}))
                except GpudashError as exc:
                    if is_denied(exc):
                        self.lacks = (f"Regions that the account opted into are not looked at: {exc.hint}",)
                    elif isinstance(exc, AuthRefused):
                        self._asked_at = None
                        raise
            return self._found or DEFAULT_REGIONS

    def _ask(self) -> tuple[str, ...]:
        with translated("read which regions are enabled"):
            answer = self._clients.quick("ec2", self._clients.home_region()).describe_regions(
                Filters=[{"Name": "opt-in-status", "Values": ["opt-in-not-required", "opted-in"]}]
            )
        names = {str(region["RegionName"]) for region in answer["Regions"]}
        return (*(name for name in DEFAULT_REGIONS if name in names), *sorted(names - set(DEFAULT_REGIONS)))

    def _load(self) -> None:
        if self._read:
            return
        self._read = True
        try:
            body = json.loads(self._file.read_text())
            self._found = tuple(str(name) for name in body["regions"]) or None
            self._asked_at = parse_iso(body["as_of"])
        except (OSError, ValueError, KeyError, TypeError):
            self._found = None
