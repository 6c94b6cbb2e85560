"""Carries one change from its intent to its proof, tells the steps on stderr, and answers in text or JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from gpudash.cli import jsonview, words
from gpudash.cli.output import one_line
from gpudash.errors import AuthRefused, ExitCode, NotFound
from gpudash.fleet import tunnels
from gpudash.model.capability import Verb as Change
from gpudash.model.instance import InstanceKey
from gpudash.model.operation import Operation, Stage

if TYPE_CHECKING:
    from gpudash.cli.verb import Run
    from gpudash.fleet.record import Record
    from gpudash.fleet.session import Session

HOST_S = 5.0
"""How long an answer waits for what the host itself says now."""
TIDY_S = 20.0
"""How long a terminate waits for the deletion of what the instance leaves."""
MARKS = {"done": "✓", "now": "●", "todo": "·", "failed": "✗"}
DONE_WORDS = {
    Change.LAUNCH: "is running, and its guard is armed",
    Change.START: "is running",
    Change.RESTART: "runs again",
    Change.BID: "has that bid",
    Change.RENAME: "has that name",
    Change.INCREASE: "has its answer",
    Change.STOP: "is stopped",
    Change.HIBERNATE: "is hibernated",
    Change.TERMINATE: "is gone",
    Change.EXTEND: "is extended",
    Change.KEEPALIVE: "counts as active",
    Change.PUSH: "runs statusd",
    Change.ADOPT: "is managed",
}
"""What is true once a change is proved."""


class Teller:
    """Says each step once, as it is reached."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._told: set[tuple[str, str, str]] = set()

    def __call__(self, operation: Operation) -> None:
        for step in operation.steps:
            line = (step.name, step.state, step.detail if step.state != "now" else "")
            if step.state != "todo" and line not in self._told:
                self._told.add(line)
                self._say(f"{MARKS.get(step.state, '·')} {step.name}{f' ({step.detail})' if step.detail else ''}")
        if operation.stage is Stage.RETRYING:
            line = ("retry", str(operation.attempts), operation.detail)
            if line not in self._told:
                self._told.add(line)
                self._say(f"✗ {one_line(operation.detail)}; asked again by itself")


def through(run: Run, session: Session, operation: Operation, *, timeout_s: float, done: str | None = None) -> int:
    """Follow an operation until it is proved, has failed, or time is up; then answer.

    Args:
        run: who asked.
        session: where it runs.
        operation: as the action returned it.
        timeout_s: how long to wait for the proof; 0 answers at once.
        done: the sentence once proved, where the usual one says too little.
    """
    title = operation.name or (str(operation.key) if operation.key else operation.verb.value)
    run.out.going_on = f"The {operation.verb.value} of {title} was asked for and is settled by the next gpudash."
    tell = Teller(run.out.talk)
    tell(operation)
    if operation.stage.is_open and timeout_s > 0:
        operation = session.settle_until(operation.id, timeout_s, tell)
        tell(operation)
    if operation.verb is Change.TERMINATE and operation.stage is Stage.PROVED:
        end_children(run, session, timeout_s)
        tidy_up(run, session)
    return answer(run, session, operation, done=done)


def end_children(run: Run, session: Session, timeout_s: float) -> None:
    """End the instances that go with it, each proved like any other end, and say so."""
    for operation in session.end_orphans():
        run.out.talk(f"{operation.name} goes with it:")
        ended = session.settle_until(operation.id, timeout_s)
        if ended.stage is Stage.PROVED:
            run.out.talk(f"✓ terminated {operation.name}")
        else:
            said = sentence(one_line(ended.detail or ended.stage.value))
            run.out.talk(f"✗ {operation.name} is not proved gone: {said} The next gpudash that acts goes on.")
    if left := session.orphans():
        names = ", ".join(orphan.name for orphan in left)
        run.out.talk(f"✗ These go with ended instances and are still there: {names}. `gpudash watchdog` ends them.")


def tidy_up(run: Run, session: Session) -> None:
    """Take away what the instance leaves at its cloud, and say what stays for now."""
    for done in session.tidy(TIDY_S):
        for identity in done.deleted:
            run.out.talk(f"✓ deleted {identity}")
        for _, reason in done.failed:
            run.out.talk(f"✗ {sentence(one_line(reason))} The next gpudash that acts tries again.")


def answer(run: Run, session: Session, operation: Operation, *, done: str | None = None) -> int:
    """Say how an operation stands and turn that into an exit code."""
    from gpudash.fleet.outcome import exit_code

    session.store.apply_policies(session.ledger.policies(), session.ledger.adopted())
    if operation.key is not None and operation.key in session.store.records:
        session.read_hosts(HOST_S, 0.0, [operation.key])
    elif operation.key is not None and operation.verb is Change.TERMINATE and operation.stage is Stage.PROVED:
        tunnels.close_some(session, operation.key)
    record = find(session, operation.key)
    name = (record.instance.name if record else "") or operation.name or str(operation.key or operation.verb.value)
    code = ExitCode.UNREACHABLE if _unheard(operation, session) else exit_code(operation)
    verb, said = operation.verb.value, sentence(operation.detail or operation.stage.value)
    if code is ExitCode.OK:
        detail = f"{name} {done or DONE_WORDS[operation.verb]}."
    elif operation.stage.is_open:
        detail = f"The {verb} of {name} is not proved yet: {said}{_billing(record)}"
    else:
        detail = f"Could not {verb} {name}: {said}"
    return _say(run, session, operation.verb, operation.account, operation.key, code, detail)


def already(run: Run, session: Session, record: Record, change: Change) -> int:
    """Answer that nothing had to be done."""
    detail = f"{record.instance.name or record.key} {DONE_WORDS[change]} already."
    return _say(run, session, change, record.key.account, record.key, ExitCode.OK, detail)


def _say(
    run: Run, session: Session, change: Change, account: str, key: InstanceKey | None, code: ExitCode, detail: str
) -> int:
    session.store.apply_tunnels(tunnels.listed(session.tunnels_dir))
    record, now = find(session, key), session.clock.now()
    if run.out.json:
        run.out.document(
            jsonview.answer(
                change.value,
                account=account,
                id=key.id if key else None,
                ok=code in (ExitCode.OK, ExitCode.UNPROVED),
                proved=code is ExitCode.OK,
                detail=one_line(detail),
                instance=jsonview.instance(record, now, session.store.cadence(account)) if record else None,
            )
        )
    elif code is ExitCode.OK:
        run.out.line(one_line(detail))
    if code is not ExitCode.OK:
        run.out.talk(f"gpudash: {one_line(detail)}")
    return int(code)


def sentence(text: str) -> str:
    """The text with one full stop at its end."""
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _unheard(operation: Operation, session: Session) -> bool:
    """The cloud never took the request: it refused who asks, or does not answer at all."""
    if operation.stage is not Stage.RETRYING:
        return False
    from gpudash.fleet.outcome import kind_of

    if issubclass(kind_of(operation), AuthRefused):
        return True
    health = session.store.health.get((operation.account, operation.region))
    return health is not None and health.error is not None


def _billing(record: Record | None) -> str:
    if record is None or not record.is_ending or not record.instance.bills_compute:
        return ""
    return f" It is still billing ${words.price(record.instance.price)}/h."


def find(session: Session, key: InstanceKey | None) -> Record | None:
    """The record of a key, or None where it is gone or not known yet."""
    return session.store.records.get(key) if key else None


def must_find(session: Session, key: InstanceKey) -> Record:
    """The record of a key.

    Raises:
        NotFound: it went while we looked.
    """
    record = find(session, key)
    if record is None:
        raise NotFound(f"{key} is gone.")
    return record
