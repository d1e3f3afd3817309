"""How verbs are found and how they end: the one place that turns errors into a line and an exit code.

Decides exit codes for what ``errors.py`` does not know: usage (2), a bug (70), Ctrl-C (130). Must not know any verb.

    argv -> Verbs.main -> Verbs.get_command -> a module's ``command`` -> exit code
"""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, NoReturn

import click

from ebpflb.errors import EbpflbError
from ebpflb.reconcile.garbage import paused

DEBUG_VARIABLE: Final = "EBPFLB_DEBUG"
_EXIT_FAILED: Final = 1
_EXIT_BUG: Final = 70
"""EX_SOFTWARE of sysexits.h."""
_EXIT_INTERRUPTED: Final = 130
"""128 and SIGINT, as a shell reports it."""


@dataclass(frozen=True, slots=True)
class Verb:
    """Where a verb is and what it does."""

    module: str
    """Under ``ebpflb.cli``; its ``command`` is the click command."""
    summary: str
    """For the list of verbs, which is shown without importing them."""


class Verbs(click.Group):
    """A group whose commands are imported when they are asked for."""

    def __init__(self, *, verbs: Mapping[str, Verb], **settings: Any) -> None:
        super().__init__(no_args_is_help=False, **settings)
        self.verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs, in the order of their table."""
        del ctx
        return list(self.verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a verb. Nothing of what that makes is garbage, and to look for some takes as long as a tenth of it."""
        del ctx
        if cmd_name not in self.verbs:
            return None
        with paused():
            command: click.Command = import_module(f"ebpflb.cli.{self.verbs[cmd_name].module}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of verbs."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, verb.summary) for name, verb in self.verbs.items()])

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> NoReturn:
        """Run a verb and end the process with its exit code. Nothing that goes wrong shows a traceback."""
        del standalone_mode
        sys.exit(self._exit_code(list(sys.argv[1:] if args is None else args), prog_name, complete_var, extra))

    def _exit_code(
        self, args: list[str], prog_name: str | None, complete_var: str | None, extra: Mapping[str, Any]
    ) -> int:
        try:
            result = super().main(args, prog_name or "ebpflb", complete_var, standalone_mode=False, **extra)
            sys.stdout.flush()
        except BrokenPipeError:
            # The reader has gone (`| head`); what is still buffered must not be tried again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return _EXIT_FAILED
        except click.Abort:
            return _EXIT_INTERRUPTED
        except Exception as error:
            if is_debugging() and not isinstance(error, click.ClickException):
                raise
            text, code = _describe(error)
            click.echo(f"ebpflb: {text}", err=True)
            return code
        return result if isinstance(result, int) else 0


def is_debugging() -> bool:
    """Return whether the user asked for tracebacks and debug logs."""
    return os.environ.get(DEBUG_VARIABLE, "") not in {"", "0"}


def _describe(error: Exception) -> tuple[str, int]:
    """Return an error's line and exit code. What a compiler or the verifier said follows on lines of its own."""
    match error:
        case click.UsageError(ctx=click.Context() as context):
            return f"{error.format_message().rstrip('.')}; see `{context.command_path} --help`", error.exit_code
        case click.ClickException():
            return error.format_message(), error.exit_code
        case EbpflbError():
            return str(error), error.exit_code
    remedy = f"this is a bug; run with {DEBUG_VARIABLE}=1 for the traceback"
    return f"{type(error).__name__}: {error}; {remedy}", _EXIT_BUG
