"""Lambda Cloud as its published API file (1.10.0) describes it, over real HTTP, with the live service's habits.

Known habits beyond the file: new fields anywhere, `ip` absent until late in boot, `terminated` for a while and then
gone, 500 for a terminate of what is terminating, a sudden 429 as a web page.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gpudash.clock import Clock, iso
from support.http_cloud import HttpCloud, Reply, Request, route

KEY = "test-key-of-the-lambda-account"
"""What the fake takes for its account's key."""
REGIONS = {
    "us-east-1": "Virginia, USA",
    "us-west-1": "California, USA",
    "us-south-1": "Texas, USA",
    "europe-central-1": "Germany",
}
_TYPES: tuple[tuple[str, str, int, int, int, int, int, tuple[str, ...]], ...] = (
    ("gpu_1x_a10", "A10 (24 GB PCIe)", 1, 75, 30, 200, 1400, ("us-east-1", "us-west-1")),
    ("gpu_1x_h100_pcie", "H100 (80 GB PCIe)", 1, 249, 26, 200, 1024, ("us-west-1",)),
    ("gpu_1x_gh200", "GH200 (96 GB)", 1, 149, 64, 432, 4096, ("us-east-1",)),
    ("gpu_1x_h100_sxm5", "H100 (80 GB SXM5)", 1, 329, 26, 225, 2816, ("us-south-1", "us-east-1")),
    ("gpu_8x_h100_sxm5", "H100 (80 GB SXM5)", 8, 2392, 208, 1800, 22528, ()),
    ("gpu_8x_a100_80gb_sxm4", "A100 (80 GB SXM4)", 8, 1432, 240, 1800, 19968, ("us-east-1",)),
    ("cpu_4x_general", "N/A", 0, 8, 4, 16, 512, ("us-east-1", "us-west-1")),
)
"""Name, GPU, GPUs, cents an hour, vCPUs, GiB of memory, GiB of disk, regions with stock."""


@dataclass
class Machine:
    """One instance in the fake's books."""

    id: str
    order: dict[str, Any]
    address: str
    made_at: datetime
    ended_at: datetime | None = None
    name: str | None = None
    tells_private_ip: bool = True
    """The field is optional."""


class FakeLambda(HttpCloud):
    """One account."""

    boot_s, end_s, tombstone_s = 3.0, 2.0, 60.0
    create_lag_s = 0.0
    """How long a new instance is missing from lists."""
    end_lag_s = 0.0
    """How long an instance that is ending looks as it did before."""

    def __init__(self, clock: Clock) -> None:
        self.machines: dict[str, Machine] = {}
        self.keys: list[dict[str, str]] = []
        self.filesystems: list[dict[str, Any]] = []
        self.types = {row[0]: _type(*row[:-1]) for row in _TYPES}
        self.stock: dict[str, tuple[str, ...]] = {row[0]: row[-1] for row in _TYPES}
        """Regions with stock, by type; tests change it."""
        self.ignores_ends = False
        self.exchanges: list[tuple[Request, Reply]] = []
        super().__init__(clock)

    # -- what tests do to it --------------------------------------------------------------------------------------

    def add_filesystem(self, name: str, region: str, bytes_used: int = 250 * 10**9) -> str:
        """A filesystem of the account."""
        identity = secrets.token_hex(16)
        self.filesystems.append(
            {
                "id": identity,
                "name": name,
                "mount_point": f"/lambda/nfs/{name}",
                "created": iso(self.clock.now()),
                "created_by": {"id": "0" * 32, "email": "me@example.com", "status": "active"},
                "region": _region(region),
                "bytes_used": bytes_used,
            }
        )
        return identity

    def add_machine(self, instance_type: str = "gpu_1x_a10", **changes: Any) -> Machine:
        """An instance that somebody else launched."""
        order = {"region_name": "us-east-1", "instance_type_name": instance_type, "ssh_key_names": [], **changes}
        return self._make(order)

    def alive(self) -> set[str]:
        """Ids that really run."""
        with self.lock:
            return {machine.id for machine in self.machines.values() if machine.ended_at is None}

    # -- the API --------------------------------------------------------------------------------------------------

    def refuse(self, request: Request) -> Reply | None:
        told = request.headers.get("authorization", "")
        basic = base64.b64encode(f"{KEY}:".encode()).decode()
        if told in (f"Bearer {KEY}", f"Basic {basic}"):
            return None
        words = "API key was invalid, expired, or deleted." if told else "API key was missing."
        return error(401, "global/invalid-api-key", words, "Check your API key or create a new one, then try again.")

    def not_found(self, request: Request) -> Reply:
        return error(404, "global/not-found", "The requested resource was not found.", "Check the path.")

    def saw(self, request: Request, reply: Reply) -> None:
        self.exchanges.append((request, reply))

    @route("GET", "/api/v1/instances")
    def list_instances(self, request: Request) -> Reply:
        return _data([self._shown(m) for m in self.machines.values() if self._is_listed(m)])

    @route("GET", "/api/v1/instances/(?P<id>[^/]+)")
    def get_instance(self, request: Request, id: str) -> Reply:
        machine = self.machines.get(id)
        if machine is None or not self._is_listed(machine):
            return _gone("Specified instance does not exist.")
        return _data(self._shown(machine))

    @route("POST", "/api/v1/instances/(?P<id>[^/]+)")
    def rename(self, request: Request, id: str) -> Reply:
        machine = self.machines.get(id)
        if machine is None:
            return _gone("Specified instance does not exist.")
        machine.name = request.json["name"]
        return _data(self._shown(machine))

    @route("GET", "/api/v1/instance-types")
    def list_types(self, request: Request) -> Reply:
        return _data(
            {
                name: {
                    "instance_type": told,
                    "regions_with_capacity_available": [_region(r) for r in self.stock[name]],
                }
                for name, told in self.types.items()
            }
        )

    @route("GET", "/api/v1/regions")
    def list_regions(self, request: Request) -> Reply:
        return _data([_region(name) for name in REGIONS])

    @route("POST", "/api/v1/instance-operations/launch")
    def launch(self, request: Request) -> Reply:
        order = request.json
        name, region = order["instance_type_name"], order["region_name"]
        if name not in self.types:
            return _invalid(f"Instance type {name} does not exist")
        if len(order["ssh_key_names"]) != 1:
            return _invalid("Exactly one SSH key must be specified.")
        if not any(key["name"] == order["ssh_key_names"][0] for key in self.keys):
            return error(404, "global/object-does-not-exist", "SSH key was not found.", "Check its name.")
        if region not in self.stock[name]:
            return no_capacity()
        for wanted in order.get("file_system_names", []):
            if not any(f["name"] == wanted and f["region"]["name"] == region for f in self.filesystems):
                code = "instance-operations/launch/file-system-in-wrong-region"
                return error(400, code, f"Filesystem {wanted} is in another region.")
        return _data({"instance_ids": [self._make(order).id]})

    @route("POST", "/api/v1/instance-operations/terminate")
    def terminate(self, request: Request) -> Reply:
        ids = request.json["instance_ids"]
        found = [self.machines.get(identity) for identity in ids]
        if any(machine is None or not self._exists(machine) for machine in found):
            return _gone("Specified instance does not exist.")
        machines = [machine for machine in found if machine is not None]
        if any(machine.ended_at is not None for machine in machines):
            return error(500, "global/internal-error", "An internal server error occurred.", "Try again later.")
        if not self.ignores_ends:
            for machine in machines:
                machine.ended_at = self.clock.now()
                self.on_end(machine)
        return _data({"terminated_instances": [self._shown(machine) for machine in machines]})

    @route("POST", "/api/v1/instance-operations/restart")
    def restart(self, request: Request) -> Reply:
        machine = self.machines.get(request.json["instance_ids"][0])
        if machine is None:
            return _gone("Specified instance does not exist.")
        if self._status(machine) != "active":
            return error(409, "global/conflict", "The request conflicts with the current state of the resource.")
        machine.made_at = self.clock.now()
        return _data({"restarted_instances": [self._shown(machine)]})

    @route("GET", "/api/v1/ssh-keys")
    def list_keys(self, request: Request) -> Reply:
        return _data(self.keys)

    @route("POST", "/api/v1/ssh-keys")
    def add_key(self, request: Request) -> Reply:
        told = request.json
        if any(key["name"] == told["name"] for key in self.keys):
            return _invalid(f"An SSH key named {told['name']} exists.")
        key = {"id": secrets.token_hex(16), "name": told["name"], "public_key": told["public_key"]}
        self.keys.append(key)
        return _data(key)

    @route("DELETE", "/api/v1/ssh-keys/(?P<id>[^/]+)")
    def delete_key(self, request: Request, id: str) -> Reply:
        self.keys = [key for key in self.keys if key["id"] != id]
        return _data({})

    @route("GET", "/api/v1/file-systems")
    def list_filesystems(self, request: Request) -> Reply:
        used = {n for m in self.machines.values() if self._exists(m) for n in m.order.get("file_system_names", [])}
        return _data([{**item, "is_in_use": item["name"] in used} for item in self.filesystems])

    # -- its books ------------------------------------------------------------------------------------------------

    def _make(self, order: dict[str, Any]) -> Machine:
        number = len(self.machines) + 2
        machine = Machine(secrets.token_hex(16), order, f"198.51.100.{number}", self.clock.now())
        machine.name = order.get("name")
        self.machines[machine.id] = machine
        self.on_made(machine)
        return machine

    def _age_s(self, since: datetime | None) -> float:
        return (self.clock.now() - since).total_seconds() if since else -1.0

    def _exists(self, machine: Machine) -> bool:
        return self._age_s(machine.ended_at) < self.end_s + self.tombstone_s

    def _is_listed(self, machine: Machine) -> bool:
        return self._exists(machine) and self._age_s(machine.made_at) >= self.create_lag_s

    def _status(self, machine: Machine) -> str:
        ended_s = self._age_s(machine.ended_at)
        if machine.ended_at is not None and ended_s >= self.end_lag_s:
            return "terminating" if ended_s < self.end_lag_s + self.end_s else "terminated"
        return "booting" if self._age_s(machine.made_at) < self.boot_s else "active"

    def _shown(self, machine: Machine) -> dict[str, Any]:
        status, order = self._status(machine), machine.order
        able = status in ("active", "booting")
        why = {} if able else {"reason_code": "vm-is-terminating", "reason_description": "It is being terminated."}
        can_end = {"available": able, **why}
        can_restart = (
            {"available": True}
            if status == "active"
            else {"available": False, **(why or {"reason_code": "vm-has-not-launched"})}
        )
        shown: dict[str, Any] = {
            "id": machine.id,
            "status": status,
            "ssh_key_names": order["ssh_key_names"],
            "file_system_names": order.get("file_system_names", []),
            "region": _region(order["region_name"]),
            "instance_type": self.types[order["instance_type_name"]],
            "is_reserved": False,
            "actions": {
                "migrate": can_restart, "rebuild": can_restart, "restart": can_restart, "cold_reboot": can_restart,
                "terminate": can_end,
            },
        }  # fmt: skip
        if machine.name is not None:
            shown["name"] = machine.name
        if order.get("tags"):
            shown["tags"] = order["tags"]
        if order.get("hostname"):
            shown["hostname"] = order["hostname"]
        if self._age_s(machine.made_at) >= self.boot_s * 0.6:
            token = hashlib.sha256(machine.id.encode()).hexdigest()[:32]
            shown |= {
                "ip": machine.address,
                "jupyter_token": f"jupyter-token-{token}",
                "jupyter_url": f"https://jupyter.example.com/?token=jupyter-token-{token}",
            }
            if machine.tells_private_ip:
                shown["private_ip"] = machine.address.replace("198.51.100", "10.0.2")
        return shown


def no_capacity() -> Reply:
    """There is none of that type."""
    code = "instance-operations/launch/insufficient-capacity"
    return error(400, code, "Not enough capacity to fulfill launch request.")


def _data(data: Any) -> Reply:
    return Reply(200, {"data": data})


def error(status: int, code: str, message: str, suggestion: str | None = None) -> Reply:
    """An answer in Lambda's error envelope."""
    told = {"code": code, "message": message} | ({"suggestion": suggestion} if suggestion else {})
    return Reply(status, {"error": told})


def _gone(words: str) -> Reply:
    return error(404, "global/object-does-not-exist", words, "Check the id.")


def _invalid(words: str) -> Reply:
    return error(400, "global/invalid-parameters", words)


def _region(name: str) -> dict[str, str]:
    return {"name": name, "description": REGIONS.get(name, name)}


def _type(name: str, gpu: str, gpus: int, cents: int, vcpus: int, memory: int, disk: int) -> dict[str, Any]:
    specs = {"vcpus": vcpus, "memory_gib": memory, "storage_gib": disk, "gpus": gpus}
    described = f"{gpus}x {gpu}" if gpus else f"{vcpus} CPU cores"
    return {
        "name": name,
        "description": described,
        "gpu_description": gpu,
        "price_cents_per_hour": cents,
        "specs": specs,
    }
