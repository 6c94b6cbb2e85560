"""Vast tells three words: what the container does, what was asked for, what the contract is. They become one of ours. Pure.

| actual_status | asked, contract | state | GPU billed |
|---|---|---|---|
| none, ``created`` | running | pending | no |
| ``created``, message of a container that cannot start | | error | no |
| ``loading`` | | starting | no |
| ``rebooting``, ``recycling`` | | starting | yes |
| ``running`` | asked running | running | yes |
| ``running`` | asked stopped | stopping | yes, until it has stopped |
| ``stopped``, ``exited`` | asked stopped, contract running | stopping | yes, until the contract has stopped |
| ``stopped``, ``exited`` | asked stopped | stopped | no |
| none, ``stopped``, ``exited`` | asked running, contract stopped | pending: waits for a GPU | no |
| ``exited`` | asked running, contract running | error | perhaps: counts as yes |
| ``frozen`` | | running, with a notice | yes |
| ``offline`` | | error | no, nor the disk |
| ``unknown``, any other | | unknown | perhaps: counts as yes |
| any | contract ``unloaded`` | terminating | perhaps: counts as yes |

Source of words and charges: Vast's documentation (show-instances, manage-instances, billing).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gpudash.model.instance import InstanceState

SCHEDULING = "scheduling"
"""Asked to run, and there is no GPU for it; Vast has no word of its own in the record."""
_BROKEN = "OCI runtime create failed"
_OUTBID = (
    "outbid, or stopped by statusd or by hand: if outbid, it starts and bills again by itself once its bid wins; "
    "raise the bid, or terminate it"
)
_SCHEDULING = "waits for a GPU of its own machine, perhaps for ever, and its disk bills: a stop ends the wait"
_FROZEN = "frozen: paused with its memory kept, and the GPU bills on: stop or terminate it"
_OFFLINE = "its host is offline; nothing bills until it is back, and it does not come back by itself for sure"
_EXITED = "its container ended by itself; the GPU may still bill: start, stop or terminate it"


@dataclass(frozen=True, slots=True)
class Seen:
    """What an instance does, in our words."""

    state: InstanceState
    word: str
    """Vast's own, the container's first."""
    compute_billed: bool | None = None
    """Where it differs from what `state` means elsewhere."""
    disk_billed: bool = True
    notice: str | None = None


def look(record: Mapping[str, Any], *, asked_to_stop: bool) -> Seen:
    """One record of a listing.

    Args:
        asked_to_stop: gpudash stopped it; else a stopped interruptible instance was outbid, or stopped elsewhere.
    """
    actual, wanted, contract = (_word(record, name) for name in ("actual_status", "intended_status", "cur_state"))
    word = actual or contract or "not told"
    if contract == "unloaded":
        return Seen(InstanceState.TERMINATING, word)
    if actual == "created" and _BROKEN in str(record.get("status_msg") or ""):
        return Seen(InstanceState.ERROR, word, compute_billed=False, notice=_message(record))
    if actual in ("", "created"):
        return _before_the_container(word, wanted, contract)
    if actual in ("stopped", "exited"):
        return _without_container(record, word, wanted, contract, asked_to_stop=asked_to_stop)
    match actual:
        case "running":
            return Seen(InstanceState.STOPPING if wanted == "stopped" else InstanceState.RUNNING, word)
        case "loading":
            return Seen(InstanceState.STARTING, word, compute_billed=False, notice=_message(record))
        case "rebooting" | "recycling":
            return Seen(InstanceState.STARTING, word)
        case "frozen":
            return Seen(InstanceState.RUNNING, word, notice=_FROZEN)
        case "offline":
            return Seen(InstanceState.ERROR, word, compute_billed=False, disk_billed=False, notice=_OFFLINE)
    return Seen(InstanceState.UNKNOWN, word)


def _before_the_container(word: str, wanted: str, contract: str) -> Seen:
    if contract == "stopped" and wanted == "running":
        return Seen(InstanceState.PENDING, SCHEDULING, compute_billed=False, notice=_SCHEDULING)
    if wanted == "stopped":
        return Seen(InstanceState.STOPPED, word)
    return Seen(InstanceState.PENDING, word, compute_billed=False)


def _without_container(
    record: Mapping[str, Any], word: str, wanted: str, contract: str, *, asked_to_stop: bool
) -> Seen:
    if wanted == "running" and contract == "stopped":
        return Seen(InstanceState.PENDING, SCHEDULING, compute_billed=False, notice=_SCHEDULING)
    if wanted == "running":
        return Seen(InstanceState.ERROR, word, notice=_message(record) or _EXITED)
    if contract == "running":
        return Seen(InstanceState.STOPPING, word)
    if record.get("is_bid") is True and not asked_to_stop:
        return Seen(InstanceState.STOPPED, f"{word}, outbid?", notice=_OUTBID)
    return Seen(InstanceState.STOPPED, word)


def _word(record: Mapping[str, Any], name: str) -> str:
    value = record.get(name)
    return value.strip().lower() if isinstance(value, str) else ""


def _message(record: Mapping[str, Any]) -> str | None:
    """Vast's own words on pulling the image or starting the container."""
    said = record.get("status_msg")
    return " ".join(said.split())[:300] or None if isinstance(said, str) else None
