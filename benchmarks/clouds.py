"""`gpudash ls` over clouds of a hundred instances each, beside what others take for less, in one run.

python benchmarks/clouds.py [INSTANCES] [ROUNDS]

| figure | what is timed |
|---|---|
| answer alone | the list, without anything around it; Vast pages it, and a page a second is what it allows |
| vastai show instances | the vendor's own client, where it is installed; it does not keep to that second |
| bare httpx | a script that fetches one cloud's list and counts it: start of Python, import, one call |
| lai ls | another client's list of the Lambda account, where it is installed |
| gpudash ls | all clouds, rows with prices, states and sums |
| hung cloud | how much later the others' answers are in the store while one cloud hangs |

Rounds alternate, so that a busy machine is busy for all; the best of each is shown, wall clock and processor time of the
process. Nothing is judged.
"""

from __future__ import annotations

import logging
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
FETCH = """
import httpx, os
reply = httpx.get(os.environ["WHERE"], headers={"Authorization": "Bearer " + os.environ["KEY"]})
print(reply.status_code, len(reply.content))
"""
HUNG_S = 3.0


def main(count: int, rounds: int) -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as home, ExitStack() as stack:
        os.environ.update(HOME=home, XDG_STATE_HOME=f"{home}/state", XDG_CONFIG_HOME=f"{home}/config")
        from support.http_faults import HTTP_CLOUDS

        from gpudash.clock import SystemClock

        logging.getLogger("gpudash").setLevel(logging.ERROR)  # the fakes begin at a noon of their own
        clouds = {name: (words, stack.enter_context(make())) for name, (words, make) in HTTP_CLOUDS.items()}
        for name, (_, cloud) in clouds.items():
            cloud.fake.clock = SystemClock()
            add = {"lambda": "add_machine", "runpod": "add_pod", "vast": "add"}[name]
            for _ in range(count):
                getattr(cloud.fake, add)()
        write_settings(home, clouds)
        commands(clouds, count, rounds)
        hung(clouds)


def write_settings(home: str, clouds: dict[str, Any]) -> None:
    """The accounts, as a person has them."""
    from support.http_faults import account_of

    from gpudash.config import save_account

    for _, cloud in clouds.values():
        save_account(Path(home, "config", "gpudash", "config.toml"), account_of(cloud))


def commands(clouds: dict[str, Any], count: int, rounds: int) -> None:
    """Whole processes, from their start to their end."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": f"{os.environ['HOME']}/bytecode"}
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # modules are compiled once, as they are where gpudash is installed
    runs: dict[str, Callable[[], float]] = {}
    for name, (words, cloud) in clouds.items():
        where = cloud.fake.url + first_list(cloud, words)
        runs[f"bare httpx, {name}"] = process([sys.executable, "-c", FETCH], env | {"WHERE": where, "KEY": words.key})
        runs[f"answer alone, {name}"] = call(where, words.key, page_s=1.0 if name == "vast" else 0.0)
    lai = Path(sys.executable).with_name("lai")
    if "lambda" in clouds and lai.exists():
        words, cloud = clouds["lambda"]
        told = {"LAMBDA_CLOUD_BASE_URL": cloud.fake.url, "LAMBDA_CLOUD_API_TOKEN": words.key}
        runs["lai ls, lambda alone"] = process([str(lai), "ls"], env | told)
    vastai = vendor("vastai")
    if "vast" in clouds and vastai:
        words, cloud = clouds["vast"]
        told = {"VAST_URL": cloud.fake.url, "VAST_API_KEY": words.key, "TMPDIR": os.environ["HOME"]}
        runs["vastai show instances, alone"] = process([vastai, "show", "instances", "--raw"], env | told)
    runs[f"gpudash ls, {len(clouds)} clouds"] = process([sys.executable, "-m", "gpudash", "ls"], env)
    for run in runs.values():
        run()
    best = dict.fromkeys(runs, float("inf"))
    work = dict.fromkeys(runs, float("inf"))
    for _ in range(rounds):
        for title, run in runs.items():
            before = processor()
            best[title] = min(best[title], run())
            work[title] = min(work[title], processor() - before)
    ours = best[f"gpudash ls, {len(clouds)} clouds"]
    slowest = max(seconds for title, seconds in best.items() if title.startswith("answer"))
    print(f"{count} instances a cloud, best of {rounds}:")
    for title, seconds in best.items():
        told = f"{work[title] * 1000:5.0f} ms of processor" if work[title] else ""
        print(f"  {title:<28} {seconds * 1000:6.0f} ms  gpudash ls / this: {ours / seconds:<7.2f} {told}")
    print(f"  gpudash ls beyond the slowest answer: {(ours - slowest) * 1000:.0f} ms")


def vendor(name: str) -> str | None:
    """A vendor's client that the tests have installed into an environment of its own; None where they have not."""
    found = sorted((ROOT / ".vendor-clients").glob(f"{name}-*/bin/{name}"))
    return str(found[-1]) if found else None


def processor() -> float:
    """Processor seconds of all processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def first_list(cloud: Any, words: Any) -> str:
    """Path and query of the list that our adapter asks for."""
    from urllib.parse import urlencode

    method, pattern = words.calls["list"]
    cloud.fake.log.clear()
    cloud.provider.list_instances(cloud.region)
    asked = [request for request in cloud.fake.log if request.method == method and pattern_fits(pattern, request.path)]
    query = urlencode(asked[0].query, doseq=True)
    return asked[0].path + (f"?{query}" if query else "")


def pattern_fits(pattern: str, path: str) -> bool:
    """As the fake looks for it."""
    import re

    return re.search(pattern, path) is not None


def process(argv: list[str], env: dict[str, str]) -> Callable[[], float]:
    """Times a whole process."""

    def run() -> float:
        begun = time.perf_counter()
        done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return time.perf_counter() - begun

    return run


def call(where: str, key: str, page_s: float) -> Callable[[], float]:
    """Times one list on a connection that is open; where it comes in pages, one every `page_s` seconds."""
    import httpx

    client = httpx.Client(headers={"Authorization": f"Bearer {key}"})

    def run() -> float:
        begun = time.perf_counter()
        body = client.get(where).json()
        while isinstance(body, dict) and body.get("next_token"):
            time.sleep(page_s)
            page = httpx.URL(where).copy_merge_params({"after_token": body["next_token"]})
            body = client.get(page).json()
        return time.perf_counter() - begun

    return run


def hung(clouds: dict[str, Any]) -> None:
    """The others' answers with and without one that hangs."""
    from support.http_cloud import Fault
    from support.http_faults import account_of

    from gpudash.config import Config
    from gpudash.fleet.session import Session

    if len(clouds) < 2:
        return
    accounts = {cloud.provider.account: account_of(cloud) for _, cloud in clouds.values()}
    name, (words, cloud) = next(iter(clouds.items()))
    method, path = words.calls["list"]
    with Session.open(Config(accounts=accounts), accounts=list(accounts), actor="benchmark") as session:
        session.poll(30.0)
        free = last_answer(session, cloud.provider.account)
        with cloud.fake.fault(Fault("hang", wire="hang", method=method, path=path)):
            slowed = last_answer(session, cloud.provider.account)
    print(f"  the others' answers while {name} hangs: {(slowed - free) * 1000:+.0f} ms")


def last_answer(session: Any, but: str) -> float:
    """Seconds until the last of the other accounts is in the store."""
    begun = session.clock.now()
    session.poll(HUNG_S)
    told = [health.as_of for (account, region), health in session.store.health.items() if region and account != but]
    return max((moment - begun).total_seconds() for moment in told)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100, int(sys.argv[2]) if len(sys.argv) > 2 else 5)
