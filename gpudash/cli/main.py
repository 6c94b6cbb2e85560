"""The table of commands and the frame around each: parse, run, and turn every ending into an exit code.

A command's module is imported when the command is called, so that no verb pays for another.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import cast

import click

from gpudash.cli.output import INTERRUPTED, Output, one_line, quiet_pipe, report_crash, speak_any_encoding, wants_json
from gpudash.cli.verb import READ_ONLY, Run
from gpudash.errors import ExitCode, GpudashError

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("dashboard:demo", "The dashboard on the sandbox alone; no cloud, no money."),
    "ls": ("listing:ls", "List instances: cost, what keeps them awake, what ends them and when."),
    "show": ("listing:show", "Everything known of one instance."),
    "offers": ("offers:offers", "What can be launched now, cheapest first."),
    "fit": ("fitting:fit", "How much VRAM a model needs, and the cheapest offers that have it."),
    "models": ("modelling:models", "Models that `fit` knows; `models add` takes your own."),
    "leftovers": ("listing:leftovers", "What bills without a running instance."),
    "events": ("listing:events", "What happened, newest first."),
    "costs": ("costs:costs", "What was spent, by day, account and instance."),
    "doctor": ("doctor:doctor", "Check settings, credentials, permissions, paths and programs."),
    "launch": ("launching:launch", "Launch an instance and wait until its guard is armed."),
    "extend": ("acting:extend", "Give an instance more time, up to its hard deadline."),
    "keepalive": ("acting:keepalive", "Count an instance as active for a while."),
    "start": ("acting:start", "Start a stopped instance."),
    "bid": ("acting:bid", "Offer another price for a spot instance, where its cloud takes bids."),
    "rename": ("acting:rename", "Give an instance another name."),
    "increase": ("ending:increase", "Accept or reject the higher price that a host asks for."),
    "restart": ("ending:restart", "Restart a running instance in place, where its cloud can."),
    "stop": ("ending:stop", "Stop an instance; its disk stays and may bill."),
    "hibernate": ("ending:hibernate", "Stop an instance and keep its memory."),
    "terminate": ("ending:terminate", "End an instance for good."),
    "adopt": ("acting:adopt", "Let guards end an instance that gpudash did not launch."),
    "ready": ("ready:ready", "Start an instance if needed, wait for its service, print its URL."),
    "ssh": ("shell:ssh", "Open a shell, or run a command, with the real ssh."),
    "push": ("acting:push", "Push statusd to an instance and arm it."),
    "tunnel": ("tunnels:tunnel", "Forward local ports to an instance; `tunnel ls`, `tunnel close`."),
    "serverless": ("serverless:serverless", "Serverless endpoints: workers, queues, jobs and what they cost."),
    "watchdog": ("watching:watchdog", "End what is past its deadline, from outside the host."),
    "sandbox": ("sandbox:sandbox", "Hosts on this machine that behave like a cloud's: up, down, reset, fault."),
    "configure": (
        "configuring:configure",
        "Find credentials, check them at their clouds, write them down as accounts.",
    ),
    "completion": ("completion:completion", "Print the completion script of bash, zsh or fish."),
}
"""Every command: where it lives, and its one line."""

MORE_COMMANDS = {
    "models show": "Every figure of one model, with its source.",
    "models add": "Add a model of your own.",
    "models remove": "Forget a model of your own.",
    "serverless ls": "Endpoints: workers by state, queue, bounds and cost.",
    "serverless show": "Everything known of one endpoint, each of its workers too.",
    "serverless set": "Change worker bounds or the idle timeout.",
    "serverless purge": "Take back all jobs that wait.",
    "serverless submit": "Queue one job, once.",
    "serverless watch": "Wait until a job is over, print its output.",
    "serverless cancel": "Take one job back.",
    "tunnel ls": "Every forward of every gpudash process.",
    "tunnel close": "Close forwards, whoever holds them.",
    "sandbox up": "Start N hosts.",
    "sandbox down": "Stop all hosts; their disks stay.",
    "sandbox reset": "Remove every host, process, port and file.",
    "sandbox fault": "List faults, or switch one on or off.",
}


class Root(click.Group):
    """The commands, imported one at a time."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        return cast("click.Command", getattr(import_module(f"gpudash.cli.{module}"), attribute))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        run = ctx.find_object(Run)
        if run and args:
            run.out.command = args[0]
        return super().resolve_command(ctx, args)


def _version(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        from gpudash import __version__

        click.echo(f"gpudash {__version__}")
        context.exit()


@click.group(
    cls=Root,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.option("--version", "-V", is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Print it.")
@click.option("--json", "json_", is_flag=True, hidden=True)
@click.pass_context
def cli(context: click.Context, json_: bool) -> int | None:
    """Every rented GPU in one place, so that none can burn money unseen.

    Without a command the dashboard opens. ID is ACCOUNT:ID, a name, or the beginning of an id, as long as only one
    instance fits. Durations: 90s 30m 4h 1h30m 2d.
    """
    if context.invoked_subcommand is None:
        from gpudash.cli.dashboard import open_dashboard

        return open_dashboard(context.ensure_object(Run))
    return None


cli.params.append(READ_ONLY)


def run(argv: Sequence[str]) -> int:
    """Run one command line. Returns the exit code; raises nothing but `SystemExit` of a closed pipe."""
    speak_any_encoding()
    out = Output(json_wanted=wants_json(argv))
    return _answering(argv, out, lambda: _run(list(argv), Run(out)))


def ended_by(exc: BaseException, argv: Sequence[str]) -> int:
    """What `run` answers where that was raised inside."""

    def again() -> int:
        raise exc

    return _answering(argv, Output(json_wanted=False), again)


def _answering(argv: Sequence[str], out: Output, action: Callable[[], int]) -> int:
    with quiet_pipe():
        try:
            return action()
        except GpudashError as exc:
            return out.failure(exc)
        except click.UsageError as exc:
            return _usage(exc, out)
        except click.ClickException as exc:
            out.talk(f"gpudash: {one_line(exc.format_message())}")
            out.answer_failure(exc.format_message())
            return int(ExitCode.FAILED)
        except (KeyboardInterrupt, click.Abort):
            out.talk(f"\ngpudash: interrupted. {out.going_on or 'Nothing goes on.'}")
            out.answer_failure("interrupted")
            return INTERRUPTED
        except BrokenPipeError:
            raise
        except Exception as exc:  # the last line of defence: a person gets a sentence, a developer gets a file
            report = report_crash(exc, argv)
            where = f"A report is in {report}." if report else "No report could be written."
            what = one_line(f"{type(exc).__name__} {exc}")[:200]
            out.talk(f"gpudash: an error that nobody expected: {what}. {where}")
            out.answer_failure(f"unexpected error: {type(exc).__name__}")
            return int(ExitCode.FAILED)


def _run(argv: list[str], state: Run) -> int:
    if "_GPUDASH_COMPLETE" in os.environ:
        from click.shell_completion import shell_complete

        return shell_complete(cli, {}, "gpudash", "_GPUDASH_COMPLETE", os.environ["_GPUDASH_COMPLETE"])
    try:
        with cli.make_context("gpudash", argv, obj=state) as context:
            return int(cli.invoke(context) or 0)
    except click.exceptions.Exit as done:
        return done.exit_code


def _usage(exc: click.UsageError, out: Output) -> int:
    path = exc.ctx.command_path if exc.ctx else "gpudash"
    text = one_line(exc.format_message())
    out.talk(f"gpudash: {text} Try '{path} --help'.")
    out.answer_failure(text)
    sys.stderr.flush()
    return int(ExitCode.USAGE)
