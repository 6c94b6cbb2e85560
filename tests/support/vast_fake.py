"""Vast.ai as its published API file and its own client have it, over real HTTP, with the live service's habits.

Habits beyond the file: both forms of a path, with and without a last slash; ``env`` as an object; a refused key is a 404
``auth_error``; the old list is a 410; ``public_ipaddr`` ends with a newline; `ports` is null while it loads; ended
instances vanish at once; calls that come too soon are refused in plain words.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from gpudash.clock import Clock
from support.http_cloud import HttpCloud, Reply, Request, route
from support.vast_market import OPS, Machine, machines, search

KEY = "test-key-of-the-vast-account"
THRESHOLDS = {
    ("GET", r"/api/v1/instances"): 1.0,
    ("PUT", r"/api/v0/instances/\d+"): 1.0,
    ("PUT", r"/api/v0/asks/\d+"): 4.5,
    ("DELETE", r"/api/v0/instances/\d+"): 3.0,
    ("PUT", r"/api/v0/instances/bid_price/\d+"): 5.5,
}


@dataclass
class Contract:
    """One instance in the fake's books."""

    id: int
    machine: Machine
    body: dict[str, Any]
    made_at: datetime
    label: str | None
    bid: float | None
    wanted: str = "running"
    since: datetime | None = None
    """Of the last start or stop."""
    outbid: bool = False
    word: str | None = None
    """A state that a test has set."""
    ended_at: datetime | None = None
    rebooted_at: datetime | None = None
    ssh_port: int | None = None
    proxy: tuple[str, int] | None = None
    """Where a test has a container for it on this machine."""
    own_key: str | None = None
    """The key in that container, good for this instance alone."""


def with_url(request: Request) -> Request:
    """The request as the published file has its paths."""
    return replace(request, path=request.path.rstrip("/"))


class FakeVast(HttpCloud):
    """One account."""

    load_s, stop_s = 3.0, 1.0
    create_lag_s = 0.0
    end_lag_s = 0.0
    """How long an instance that has ended is still listed as it was."""

    def __init__(self, clock: Clock) -> None:
        self.machines = machines()
        self.contracts: dict[int, Contract] = {}
        self.keys: list[dict[str, Any]] = []
        self.increases: list[dict[str, Any]] = []
        self.answers: list[tuple[str, int]] = []
        """What was said to those, by contract."""
        self.volumes: list[dict[str, Any]] = []
        self.session: str | None = None
        """The key of a two-factor session, without which nothing can be destroyed."""
        self.ignores_ends = False
        self.strict = False
        """Calls that come too soon are refused."""
        self.exchanges: list[tuple[Request, Reply]] = []
        self._called: dict[tuple[str, str], float] = {}
        self._number = 30_000_000
        super().__init__(clock)

    # -- what tests do to it --------------------------------------------------------------------------------------

    def add(self, ask: int = 101, **changes: Any) -> Contract:
        """An instance that somebody else made."""
        body = {"image": "pytorch/pytorch", "disk": 20, "runtype": "ssh_direct", "env": {}, **changes}
        return self._make(next(m for m in self.machines if m.ask == ask), body)

    def alive(self) -> set[str]:
        """Ids that really are there."""
        with self.lock:
            return {str(c.id) for c in self.contracts.values() if c.ended_at is None}

    # -- the API --------------------------------------------------------------------------------------------------

    def answer(self, request: Request) -> Reply:
        return super().answer(with_url(request))

    def refuse(self, request: Request) -> Reply | None:
        if request.path.startswith("/api/v0/gpu_names"):
            return None
        told = request.headers.get("authorization", "")
        if told in (f"Bearer {KEY}", f"Bearer {self.session}"):
            if self.session and told == f"Bearer {KEY}" and request.method == "DELETE":
                return Reply(401, {"success": False, "msg": "This action requires Two Factor Authentication."})
            return self._too_soon(request)
        own = next((c for c in self.contracts.values() if c.own_key and told == f"Bearer {c.own_key}"), None)
        if own is not None and request.path.rstrip("/") == f"/api/v0/instances/{own.id}":
            return None
        if not told:
            return Reply(403, {"success": False, "error": "login_required", "msg": "This action requires login."})
        return bad_key()

    def not_found(self, request: Request) -> Reply:
        return Reply(404, {"success": False, "error": "not_found", "msg": "no such path"})

    def saw(self, request: Request, reply: Reply) -> None:
        self.exchanges.append((with_url(request), reply))

    @route("GET", "/api/v0/gpu_names/unique")
    def gpu_names(self, request: Request) -> Reply:
        return Reply(200, {"gpu_names": sorted({m.gpu_name for m in self.machines})})

    @route("GET", "/api/v0/users/current")
    def user(self, request: Request) -> Reply:
        body = {"id": 4, "email": "me@example.com", "balance": 0.0, "credit": 25.0, "ssh_key": "", "sid": "s"}
        return Reply(200, body)

    @route("GET", "/api/v0/instances")
    def old_list(self, request: Request) -> Reply:
        words = "This endpoint is deprecated. Use /api/v1/instances/ instead."
        return Reply(410, {"success": False, "error": "deprecated_endpoint", "msg": words})

    @route("GET", "/api/v1/instances")
    def list(self, request: Request) -> Reply:
        limit = int(request.one("limit") or 25)
        limit = 5 if limit <= 0 else min(limit, 25)
        filters = json.loads(request.one("select_filters") or "{}")
        shown = [self._shown(c) for c in self.contracts.values() if self._is_listed(c)]
        shown = [item for item in shown if _matches(item, filters)]
        token = request.one("after_token") or "0"
        if not token.isdecimal():
            return Reply(400, {"error": "invalid_token", "msg": "Invalid after_token"})
        after = int(token)
        page = [item for item in shown if item["id"] > after][:limit]
        more = bool(page) and page[-1]["id"] != shown[-1]["id"]
        labels: dict[str, int] = {}
        for item in shown:
            labels[item["label"] or ""] = labels.get(item["label"] or "", 0) + 1
        body = {
            "success": True, "instances_found": len(page), "total_instances": len(shown), "label_counts": labels,
            "next_token": str(page[-1]["id"]) if more else None, "instances": page,
        }  # fmt: skip
        return Reply(200, body)

    @route("GET", r"/api/v0/instances/(?P<id>\d+)")
    def one(self, request: Request, id: str) -> Reply:
        contract = self._of(id)
        return Reply(200, {"instances": self._shown(contract) if contract else None})

    @route("PUT", r"/api/v0/instances/(?P<id>\d+)")
    def manage(self, request: Request, id: str) -> Reply:
        contract, body = self._of(id), request.json
        if contract is None:
            return gone()
        if "label" in body:
            contract.label = body["label"]
        if body.get("state") in ("running", "stopped") and contract.wanted != body["state"]:
            contract.wanted, contract.since, contract.outbid = body["state"], self.clock.now(), False
            if contract.wanted == "stopped":
                self.on_end(contract)
        return Reply(200, {"success": True})

    @route("PUT", r"/api/v0/instances/reboot/(?P<id>\d+)")
    def reboot(self, request: Request, id: str) -> Reply:
        contract = self._of(id)
        if contract is None:
            return gone()
        contract.rebooted_at = self.clock.now()
        return Reply(200, {"success": True})

    @route("DELETE", r"/api/v0/instances/(?P<id>\d+)")
    def destroy(self, request: Request, id: str) -> Reply:
        contract = self._of(id)
        if contract is None:
            return Reply(404, {"success": False, "error": "not_found", "msg": "Instance not found"})
        if not self.ignores_ends:
            contract.ended_at = self.clock.now()
            contract.machine.taken = False
            self.on_end(contract)
        return Reply(200, {"success": True, "msg": "Instance destroyed successfully"})

    @route("PUT", r"/api/v0/instances/bid_price/(?P<id>\d+)")
    def change_bid(self, request: Request, id: str) -> Reply:
        contract, price = self._of(id), request.json["price"]
        if contract is None:
            return gone()
        if price < 0.001 or contract.bid is None:
            return refused("invalid_args", "Please set a bid price >= 0.001.")
        contract.bid = price
        contract.outbid = price < contract.machine.min_bid
        return Reply(200, {"success": True})

    @route("GET", r"/api/v0/instances/pending-price-increases")
    def pending(self, request: Request) -> Reply:
        body = {"success": True, "count": len(self.increases), "truncated": False}
        return Reply(200, {**body, "pending_price_increases": self.increases})

    @route("PUT", r"/api/v0/instances/(?P<word>accept|reject)-price-increase")
    def answered(self, request: Request, word: str) -> Reply:
        body = request.json
        if set(body) != {"pending_price_increase_id"}:
            return Reply(422, {"detail": [{"msg": "extra fields not permitted", "type": "value_error.extra"}]})
        number = body["pending_price_increase_id"]
        row = next((item for item in self.increases if item.get("pending_price_increase_id") == number), None)
        if row is None:
            return Reply(404, {"success": False, "error": "no_pending_price_increase"})
        self.increases.remove(row)
        self.answers.append((word, row["contract_id"]))
        done = {"success": True, "pending_price_increase_id": number, "contract_id": row["contract_id"]}
        return Reply(200, done)

    @route("PUT", r"/api/v0/asks/(?P<ask>\d+)")
    def create(self, request: Request, ask: str) -> Reply:
        machine, body = next((m for m in self.machines if m.ask == int(ask)), None), request.json
        if machine is None or machine.taken:
            return no_ask(int(ask))
        if not body.get("image") and not body.get("template_hash_id"):
            return refused("invalid_args", "error 400/3484: Invalid args: image is required")
        price = body.get("price")
        if price is not None and price < machine.min_bid:
            return refused("invalid_price", f"error 400/3495: bid must be at least {machine.min_bid}", ask_id=int(ask))
        contract = self._make(machine, body)
        machine.taken = True
        return Reply(200, {"success": True, "new_contract": contract.id})

    @route("POST", "/api/v0/bundles")
    def search(self, request: Request) -> Reply:
        return Reply(200, {"offers": search(self.machines, request.json)})

    @route("PUT", "/api/v0/search/asks")
    def search_asks(self, request: Request) -> Reply:
        return Reply(200, {"offers": search(self.machines, request.json["q"])})

    @route("GET", "/api/v0/ssh")
    def list_keys(self, request: Request) -> Reply:
        return Reply(200, self.keys)

    @route("POST", "/api/v0/ssh")
    def add_key(self, request: Request) -> Reply:
        text = (request.json or {}).get("ssh_key")
        if not text:
            return refused("no_ssh_key", "No ssh key provided")
        key = {"id": len(self.keys) + 1, "user_id": 4, "key": text, "created_at": "2026-03-01T12:00:00Z"}
        self.keys.append(key)
        shown = {"id": key["id"], "user_id": 4, "public_key": text, "created_at": key["created_at"]}
        return Reply(200, {"success": True, "key": {**shown, "deleted_at": None}})

    @route("GET", "/api/v0/volumes")
    def list_volumes(self, request: Request) -> Reply:
        return Reply(200, {"volumes": self.volumes})

    # -- its books ------------------------------------------------------------------------------------------------

    def _too_soon(self, request: Request) -> Reply | None:
        if not self.strict:
            return None
        path, now = request.path.rstrip("/"), self.clock.monotonic()
        for (method, pattern), seconds in THRESHOLDS.items():
            if method == request.method and re.fullmatch(pattern, path):
                before = self._called.get((method, pattern))
                self._called[method, pattern] = now
                if before is not None and now - before < seconds - 1e-6:
                    words = f"API requests too frequent: endpoint threshold={seconds:g}"
                    return Reply(429, words.encode(), {"Content-Type": "text/plain"})
        return None

    def _of(self, id: str) -> Contract | None:
        contract = self.contracts.get(int(id))
        return contract if contract and contract.ended_at is None else None

    def _make(self, machine: Machine, body: dict[str, Any]) -> Contract:
        self._number += 7
        contract = Contract(
            self._number, machine, body, self.clock.now(), body.get("label"), body.get("price"), since=self.clock.now()
        )
        self.contracts[contract.id] = contract
        self.on_made(contract)
        return contract

    def _age_s(self, since: datetime | None) -> float:
        return (self.clock.now() - since).total_seconds() if since else -1.0

    def _is_listed(self, contract: Contract) -> bool:
        hidden = self._age_s(contract.made_at) < self.create_lag_s
        ended = contract.ended_at is not None and self._age_s(contract.ended_at) >= self.end_lag_s
        return not hidden and not ended

    def _words(self, contract: Contract) -> tuple[str | None, str, str]:
        """Container, what was asked, contract."""
        if contract.word is not None:
            return contract.word, contract.wanted, "running"
        age = self._age_s(contract.since)
        if contract.outbid:
            return "exited", "stopped", "stopped"
        if contract.wanted == "stopped":
            return ("running" if age < self.stop_s else "exited"), "stopped", "stopped"
        if contract.rebooted_at is not None and self._age_s(contract.rebooted_at) < self.load_s:
            return "rebooting", "running", "running"
        word = None if age < self.load_s / 3 else "loading" if age < self.load_s else "running"
        return word, "running", "running"

    def _shown(self, contract: Contract) -> dict[str, Any]:
        actual, wanted, state = self._words(contract)
        machine, body = contract.machine, contract.body
        disk = float(body.get("disk") or 10)
        base = contract.bid if contract.bid is not None else machine.dph_base
        storage = machine.storage_cost * disk / 720
        on, offset = actual == "running", contract.id % 1000
        env = body.get("env") or {}
        return {
            **{key: value for key, value in machine.priced(disk).items() if key not in _OFFER_ONLY},
            "id": contract.id, "actual_status": actual, "intended_status": wanted, "cur_state": state,
            "next_state": state, "label": contract.label, "template_id": None, "template_hash_id": None,
            "template_name": None, "image_uuid": body.get("image") or "", "image_args": body.get("args") or [],
            "image_runtype": body.get("runtype") or "ssh", "extra_env": [[k, v] for k, v in env.items()],
            "onstart": body.get("onstart") or "", "jupyter_token": "jupyter-token-of-this-instance",
            "status_msg": f"success, running {body.get('image')}" if on else None,
            "public_ipaddr": "127.0.0.1\n" if contract.ssh_port else f"198.51.100.{offset % 200 + 1}\n", "local_ipaddrs": "10.0.0.5 172.17.0.2",
            "ssh_host": contract.proxy[0] if contract.proxy else "ssh4.vast.ai", "ssh_idx": "4",
            "ssh_port": contract.proxy[1] if contract.proxy else 10_000 + offset, "machine_dir_ssh_port": 21000,
            "start_date": contract.made_at.timestamp(), "uptime_mins": None, "cpu_arch": "amd64", "cpu_util": 0.0,
            "mem_limit": 120.0, "mem_usage": 0.4, "vmem_usage": 0.1, "gpu_arch": "nvidia",
            "gpu_totalram": machine.gpu_ram * machine.num_gpus, "gpu_util": 0.0, "gpu_temp": 38.0, "gpu_lanes": 16,
            "gpu_mem_bw": 900.0, "bw_nvlink": 0.0, "disk_name": "NVMe", "disk_space": disk, "disk_util": 0.05,
            "disk_usage": 1.5, "direct_port_start": -1, "direct_port_end": -1,
            "ports": self._ports(contract, contract.ssh_port or 20_000 + offset) if on else None, "min_bid": machine.min_bid,
            "is_bid": contract.bid is not None, "dph_base": base, "dph_total": base + storage,
            "search": _costs(base, storage), "instance": _costs(base if on else 0.0, storage),
            "storage_total_cost": storage, "vram_costperhour": 1e-05, "credit_balance": None, "credit_discount": None,
            "credit_discount_max": 0.4, "client_run_time": 1e6, "host_run_time": 1.0, "external": False,
            "time_remaining": "1 Mon", "time_remaining_isbid": "1 Mon", "country_code": None, "volume_info": [],
            "os_version": "22.04", "mobo_name": "Board", "webpage": None,
        }  # fmt: skip

    def _ports(self, contract: Contract, port: int) -> dict[str, Any] | None:
        if not contract.machine.direct_port_count or "direc" not in str(contract.body.get("runtype")):
            return None
        given = [k.split(":")[1] for k in (contract.body.get("env") or {}) if k.startswith("-p ")]
        inside = ["22/tcp", *(word if "/" in word else f"{word}/tcp" for word in given)]
        return {word: [{"HostIp": "0.0.0.0", "HostPort": str(port + n)}] for n, word in enumerate(inside)}


_OFFER_ONLY = {"ask_contract_id", "gpu_total_ram", "cuda_max_good", "reliability", "rented", "hosting_type",
               "compute_cap", "driver_version", "inet_up", "inet_down"}  # fmt: skip


def _matches(item: dict[str, Any], filters: dict[str, Any]) -> bool:
    return all(OPS[op](item.get(name), value) for name, tests in filters.items() for op, value in tests.items())


def _costs(gpu: float, disk: float) -> dict[str, float]:
    total = gpu + disk
    return {
        "gpuCostPerHour": gpu, "diskHour": disk, "totalHour": total, "discountTotalHour": 0.0,
        "discountedTotalPerHour": total,
    }  # fmt: skip


def bad_key() -> Reply:
    """A refused key, as the live service says it."""
    return Reply(404, {"success": False, "error": "auth_error", "msg": "Invalid user key"})


def gone() -> Reply:
    """No such instance."""
    return Reply(404, {"success": False, "error": "no_such_instance", "msg": "Instance with that ID does not exist."})


def no_ask(ask: int) -> Reply:
    """The offer has gone."""
    words = f"error 410/3907: no_such_ask Instance type {ask} is no longer available."
    return Reply(410, {"success": False, "error": "no_such_ask", "msg": words, "ask_id": ask})


def refused(code: str, words: str, **more: Any) -> Reply:
    """A definite no."""
    return Reply(400, {"success": False, "error": code, "msg": words, **more})
