"""One rented machine as the newest good listing describes it, and the words for its state."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from gpudash.model.money import Price
from gpudash.model.policy import Policy

EVERYWHERE = "all"
"""Region of every key at a cloud that lists all its regions in one answer; where a machine stands is its `place`."""


@dataclass(frozen=True, slots=True, order=True)
class InstanceKey:
    """What identifies a machine everywhere: ids repeat between accounts and regions, this does not."""

    account: str
    region: str
    id: str

    def __str__(self) -> str:
        return f"{self.account}:{self.id}"


class InstanceState(StrEnum):
    """Our word for what a machine is doing; the cloud's own word is kept beside it."""

    PENDING = "pending"
    """Asked for, not usable yet."""
    STARTING = "starting"
    """Coming back from stopped or hibernated."""
    RUNNING = "running"
    """Usable as far as the cloud says."""
    STOPPING = "stopping"
    """On its way down; compute may still bill."""
    STOPPED = "stopped"
    """No compute; the disk is kept and may bill."""
    HIBERNATED = "hibernated"
    """Stopped with its memory on disk."""
    TERMINATING = "terminating"
    """Being deleted; may still bill."""
    TERMINATED = "terminated"
    """Gone for good, said by the cloud."""
    ERROR = "error"
    """The cloud says it failed."""
    UNKNOWN = "unknown"
    """The cloud used a word we do not know."""

    @property
    def is_terminal(self) -> bool:
        """The machine will never come back."""
        return self is InstanceState.TERMINATED

    @property
    def bills_compute(self) -> bool:
        """Compute may be billed in this state; in doubt it is."""
        return self not in _NO_COMPUTE


# A tuple, because looking into a set asks each enum member for its hash, which is slow for ten thousand rows.
_NO_COMPUTE = (InstanceState.STOPPED, InstanceState.HIBERNATED, InstanceState.TERMINATED)


@dataclass(frozen=True, slots=True)
class SshAddress:
    """How to reach a machine by SSH, as its provider tells it."""

    host: str
    port: int
    user: str
    identity_file: str | None = None
    """Private key that fits, where the provider knows it; else agent and usual files are tried."""
    host_key_fingerprint: str | None = None
    """``SHA256:…`` told by the provider out of band; a host that shows another is refused."""
    only_a_shell: str | None = None
    """Where this address lets a person type and carries nothing else: why, and what to do. None where all goes."""
    host_key_since: datetime | None = None
    """Where the host's disk was made anew at that moment, its key with it: keys seen before do not count."""
    given_key: str | None = None
    """Name of the public key that the cloud gave to the machine, where it tells that."""
    proxy_host: str | None = None
    """The cloud's proxy to the same SSH server, taken where `host` cannot be reached."""
    proxy_port: int | None = None
    by_proxy: bool = False
    """This address is the cloud's proxy, not the machine's own."""

    @property
    def ways(self) -> tuple[SshAddress, ...]:
        """Every address that leads to this SSH server, in the order in which they are tried."""
        if self.proxy_host is None or self.proxy_port is None:
            return (self,)
        proxy = replace(
            self, host=self.proxy_host, port=self.proxy_port, proxy_host=None, proxy_port=None, by_proxy=True
        )
        return (self, proxy)


@dataclass(frozen=True, slots=True)
class Instance:
    """One machine in one listing. None means the cloud did not say."""

    key: InstanceKey
    provider: str
    name: str
    state: InstanceState
    provider_state: str
    instance_type: str | None = None
    gpu: str | None = None
    gpu_count: int | None = None
    vram_gb: int | None = None
    """VRAM of one GPU."""
    spot: bool = False
    managed: bool = False
    """Launched by gpudash or adopted; only such instances are ever ended by a guard."""
    created_at: datetime | None = None
    started_at: datetime | None = None
    """Last start, not the first."""
    ended_at: datetime | None = None
    """When it was terminated, where the cloud tells."""
    price: Price | None = None
    """Compute, for the whole machine, while it runs."""
    compute_billed: bool | None = None
    """Whether compute is billed now, where the cloud says otherwise than `state` does; None leaves it to the state."""
    storage_price: Price | None = None
    """What the disk costs, running or stopped."""
    disk_gb: int | None = None
    ssh: SshAddress | None = None
    service_port: int | None = None
    """Remote port of the service that `ready` waits for."""
    service_url: str | None = None
    """Origin at which the provider says that port can be reached from outside; None where only a tunnel leads there."""
    launch_token: str | None = None
    """Our token, read back from a tag, name or label; proves which launch made it."""
    tag_policy: Policy | None = None
    """Lease and idle limits that the cloud's tags carry."""
    place: str | None = None
    """Region, data centre or country, at clouds whose keys have the region `EVERYWHERE`."""
    parent: str | None = None
    lost_on_stop: str | None = None
    """What a stop wipes beside the memory, where it wipes anything: ``50 GB container disk``."""
    stays_after_stop: str | None = None
    """What a stop keeps, where that is not the whole disk."""
    stopped_price: Price | None = None
    """What is kept costs once it is stopped, where that differs from `storage_price`."""
    lost_on_terminate: str | None = None
    """What ends with it, in a few words for the dialog: ``32 GB disk``."""
    stays_after_terminate: str | None = None
    """What goes on billing after it, or None for nothing."""
    notice: str | None = None
    """What the cloud announced about it: a spot interruption, a maintenance."""
    raw: dict[str, object] = field(default_factory=dict, compare=False, hash=False, repr=False)
    """The cloud's record, for the details page; secrets removed."""

    @property
    def region(self) -> str:
        """Where it stands, as people are told."""
        return self.place or self.key.region

    @property
    def bills_compute(self) -> bool:
        """Compute is billed now; in doubt it is."""
        return self.state.bills_compute if self.compute_billed is None else self.compute_billed
