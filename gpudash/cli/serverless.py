"""`serverless`: endpoints with workers that come and go, and the jobs in their queues."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gpudash.cli import words
from gpudash.cli.carry import Teller, sentence
from gpudash.cli.endpointview import endpoint_json, endpoint_table, job_json, job_line, shown
from gpudash.cli.listing import POLL_S, say_problems
from gpudash.cli.output import can_ask, one_line
from gpudash.cli.verb import DURATION, READ_ONLY, Run, Verb, pass_run
from gpudash.clock import iso
from gpudash.errors import ExitCode, NotFound, Refused, UsageError
from gpudash.model.capability import Verb as Change
from gpudash.model.endpoint import DAY, Bounds, Endpoint, times

if TYPE_CHECKING:
    from gpudash.fleet.session import Session
    from gpudash.model.operation import Operation

LOOK_S = 2.0
"""How often a job is looked at while it is watched."""
PATIENCE_S = 0.25
YES = click.option("--yes", is_flag=True, help="Do not ask. Needed where there is no terminal to ask on.")
TIMEOUT = click.option("--timeout", type=DURATION, default="60s", show_default=True, help="How long to wait.")
NAME = click.argument("target", metavar="ENDPOINT")
JOB = click.argument("job_id", metavar="JOB")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def serverless() -> None:
    """Serverless endpoints: workers, queues, jobs and what they cost.

    ENDPOINT is ACCOUNT:ID, a name, or the beginning of an id, as long as only one endpoint fits.
    """


serverless.params.append(READ_ONLY)


@serverless.command("ls", cls=Verb)
@pass_run
def ls(run: Run) -> int:
    """List endpoints: workers by state, queue, bounds and cost."""
    with run.session() as session:
        listings = session.look_at_endpoints(POLL_S)
        found = [endpoint for listing in listings for endpoint in listing.items]
        spent = session.ledger.accruals()
        now = session.clock.now()
        if run.out.json:
            body = [endpoint_json(endpoint, spent, now) for endpoint in found]
            run.out.document({"as_of": iso(now), "endpoints": body})
        elif found:
            for line in endpoint_table(found, spent, now):
                run.out.line(line)
        else:
            run.out.talk("No serverless endpoint." if listings else "No account has serverless endpoints; RunPod has.")
        for endpoint in found:
            if endpoint.warning is not None:
                run.out.talk(f"! {endpoint.name} {endpoint.warning}")
        return say_problems(run.out, listings)


@serverless.command("show", cls=Verb)
@NAME
@pass_run
def show(run: Run, target: str) -> int:
    """Everything known of one endpoint, each of its workers too."""
    with run.session() as session:
        endpoint = _whole(session, _find(run, session, target))
        spent, now = session.ledger.accruals(), session.clock.now()
        if run.out.json:
            run.out.document({"as_of": iso(now)} | endpoint_json(endpoint, spent, now))
        else:
            for line in shown(endpoint, spent, now):
                run.out.line(line)
        return int(ExitCode.OK)


@serverless.command("set", cls=Verb)
@NAME
@click.option("--min", "low", type=click.IntRange(0), metavar="N", help="Workers kept without a job; they bill.")
@click.option("--max", "high", type=click.IntRange(0), metavar="N", help="Most workers; 0 takes no more jobs.")
@click.option("--idle", type=DURATION, help="How long a worker without a job stays.")
@YES
@TIMEOUT
@pass_run
def set_bounds(
    run: Run, target: str, low: int | None, high: int | None, idle: timedelta | None, yes: bool, timeout: timedelta
) -> int:
    """Change worker bounds or the idle timeout."""
    bounds = Bounds(low, high, None if idle is None else round(idle.total_seconds()))
    if bounds == Bounds():
        raise UsageError("Nothing to change was named.", hint="Name --min, --max or --idle.")
    with run.session() as session:
        endpoint = _find(run, session, target)
        if not yes:
            _confirm(run, f"Set {bounds} of {endpoint.name}?", _consequences(endpoint, bounds))
        return _through(run, session, endpoint, session.actions.scale(endpoint, bounds), timeout)


@serverless.command("purge", cls=Verb)
@NAME
@YES
@TIMEOUT
@pass_run
def purge(run: Run, target: str, yes: bool, timeout: timedelta) -> int:
    """Take back all jobs that wait; those at work go on."""
    with run.session() as session:
        endpoint = _find(run, session, target)
        if not yes:
            waiting = "an unknown number of jobs" if endpoint.jobs is None else f"{endpoint.jobs.in_queue} jobs"
            _confirm(run, f"Purge the queue of {endpoint.name}?", [f"lost     {waiting} that wait"])
        return _through(run, session, endpoint, session.actions.purge(endpoint), timeout)


@serverless.command("submit", cls=Verb)
@NAME
@click.option("--input", "given", metavar="JSON", help="The job's input.")
@click.option("--input-file", type=click.Path(path_type=Path, allow_dash=True), help="A file with it; - is stdin.")
@click.option("--watch", is_flag=True, help="Wait until it is over; print its output.")
@TIMEOUT
@pass_run
def submit(run: Run, target: str, given: str | None, input_file: Path | None, watch: bool, timeout: timedelta) -> int:
    """Queue one job, once: a lost answer is never asked again."""
    job_input = _input(given, input_file)
    with run.session() as session:
        endpoint = _find(run, session, target)
        operation = _settle(run, session, session.actions.submit(endpoint, job_input), timeout)
        job_id = operation.params.get("job")
        if not watch or not isinstance(job_id, str) or operation.stage.value != "proved":
            return _answer(run, session, endpoint, operation)
        run.out.talk(f"job {job_id}")
        return _watch(run, session, endpoint, job_id, timeout)


@serverless.command("watch", cls=Verb)
@NAME
@JOB
@TIMEOUT
@pass_run
def watch(run: Run, target: str, job_id: str, timeout: timedelta) -> int:
    """Wait until a job is over and print its output. 1 where it failed, 6 where it is still under way."""
    with run.session() as session:
        return _watch(run, session, _find(run, session, target), job_id, timeout)


@serverless.command("cancel", cls=Verb)
@NAME
@JOB
@YES
@TIMEOUT
@pass_run
def cancel(run: Run, target: str, job_id: str, yes: bool, timeout: timedelta) -> int:
    """Take one job back, waiting or at work."""
    with run.session() as session:
        endpoint = _find(run, session, target)
        if not yes:
            _confirm(run, f"Cancel job {job_id} of {endpoint.name}?", ["lost     what it has done so far"])
        return _through(run, session, endpoint, session.actions.cancel_job(endpoint, job_id), timeout)


def _find(run: Run, session: Session, target: str) -> Endpoint:
    """The one endpoint that a person means.

    Raises:
        NotFound: none, or several.
    """
    run.out.subject = target
    listings = session.look_at_endpoints(POLL_S)
    found = [endpoint for listing in listings for endpoint in listing.items]
    exact = [endpoint for endpoint in found if target in (str(endpoint.key), endpoint.name, endpoint.key.id)]
    fitting = exact or [endpoint for endpoint in found if target and endpoint.key.id.startswith(target)]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting and say_problems(run.out, listings):
        raise NotFound(f"No endpoint {target!r} in what was answered.", hint="Try again when the cloud answers.")
    names = ", ".join(f"{endpoint.name} ({endpoint.key})" for endpoint in (fitting or found)) or "none"
    several = "Several endpoints fit" if fitting else "There is no endpoint"
    raise NotFound(f"{several} {target!r}.", hint=f"There is: {names}.")


def _whole(session: Session, endpoint: Endpoint) -> Endpoint:
    from gpudash.fleet import serverless as actions

    return actions.of(session.desk, endpoint.key.account).one(endpoint.key)


def _consequences(endpoint: Endpoint, bounds: Bounds) -> list[str]:
    lines = [f"now      {endpoint.bounds}"]
    low = endpoint.bounds.low if bounds.low is None else bounds.low
    price = times(endpoint.worker_price, low or 0)
    if bounds.low is not None:
        a_day = words.UNKNOWN if price is None else f"${price.usd_per_hour * DAY:.2f}"
        lines.append(f"bills on {a_day} a day for {low} workers, jobs or not")
    if bounds.high == 0:
        lines.append("lost     jobs at work; jobs that wait stay in the queue and are not begun")
    return lines


def _confirm(run: Run, question: str, lines: Sequence[str]) -> None:
    """Ask a person.

    Raises:
        Refused: nobody can be asked, or the answer was not a yes.
    """
    reason = run.forbids()
    if reason is not None:
        raise Refused(f"{question.rstrip('?')}: {reason}.")
    for line in (question, *(f"  {line}" for line in lines)):
        run.out.talk(words.printable(line))
    if not can_ask():
        raise Refused("It was not confirmed.", hint="Without a terminal, add --yes.")
    if run.out.ask("Go on? [y/N] ").casefold() not in {"y", "yes"}:
        raise Refused("It was not confirmed; nothing was changed.")


def _through(run: Run, session: Session, endpoint: Endpoint, operation: Operation, timeout: timedelta) -> int:
    return _answer(run, session, endpoint, _settle(run, session, operation, timeout))


def _settle(run: Run, session: Session, operation: Operation, timeout: timedelta) -> Operation:
    """Carry it on until it is over or the time is up."""
    tell = Teller(run.out.talk)
    tell(operation)
    give_up = session.clock.monotonic() + timeout.total_seconds()
    while operation.stage.is_open and session.clock.monotonic() < give_up:
        session.clock.sleep(PATIENCE_S)
        operation = session.actions.advance(operation)
        tell(operation)
    return operation


def _answer(run: Run, session: Session, endpoint: Endpoint, operation: Operation) -> int:
    from gpudash.fleet.outcome import exit_code

    code, verb = exit_code(operation), operation.verb.value
    said = sentence(operation.detail or operation.stage.value)
    if code is ExitCode.OK:
        detail = f"{endpoint.name}: {said}"
    elif operation.stage.is_open:
        detail = f"The {verb} of {endpoint.name} is not proved yet: {said}"
    else:
        detail = f"Could not {verb} {endpoint.name}: {said}"
    if run.out.json:
        run.out.document(
            {
                "action": verb,
                "account": endpoint.key.account,
                "id": endpoint.key.id,
                "ok": code in (ExitCode.OK, ExitCode.UNPROVED),
                "proved": code is ExitCode.OK,
                "detail": one_line(detail),
                "instance": None,
                "job": operation.params.get("job") if operation.verb in (Change.SUBMIT, Change.CANCEL) else None,
                "removed": operation.params.get("removed"),
            }
        )
    elif code is ExitCode.OK:
        run.out.line(one_line(detail))
    if code is not ExitCode.OK:
        run.out.talk(f"gpudash: {one_line(detail)}")
    return int(code)


def _watch(run: Run, session: Session, endpoint: Endpoint, job_id: str, timeout: timedelta) -> int:
    from gpudash.fleet import serverless as actions

    side = actions.of(session.desk, endpoint.key.account)
    give_up = session.clock.monotonic() + timeout.total_seconds()
    run.out.going_on = f"Job {job_id} goes on."
    told = ""
    while True:
        job = side.job(endpoint.key, job_id)
        if (line := job_line(job)) != told:
            told = line
            run.out.talk(line)
        if job.is_over or session.clock.monotonic() >= give_up:
            break
        session.clock.sleep(LOOK_S)
    if run.out.json:
        run.out.document(job_json(endpoint, job))
    elif job.output is not None:
        run.out.line(
            job.output if isinstance(job.output, str) else json.dumps(job.output, ensure_ascii=False, default=str)
        )
    if not job.is_over:
        run.out.talk(f"gpudash: job {job.id} is not over yet.")
        return int(ExitCode.UNPROVED)
    return int(ExitCode.OK if job.state == "COMPLETED" else ExitCode.FAILED)


def _input(given: str | None, path: Path | None) -> Any:
    """The job's input as data.

    Raises:
        UsageError: none or two were named, or it is no JSON.
    """
    if (given is None) == (path is None):
        raise UsageError("A job needs one input.", hint="""Write --input '{"prompt": "hello"}', or --input-file F.""")
    try:
        if path is not None:
            given = sys.stdin.read() if str(path) == "-" else path.read_text()
        return json.loads(given or "")
    except (OSError, ValueError) as exc:
        raise UsageError(f"The input is no JSON: {exc}.", hint="""Write it like '{"prompt": "hello"}'.""") from None
