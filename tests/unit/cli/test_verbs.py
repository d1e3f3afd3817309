import json
import os
import subprocess
import sys
from importlib import import_module

import click
import pytest
from click.testing import CliRunner, Result

from ebpflb.cli import main
from ebpflb.cli.verbs import Verb, Verbs
from ebpflb.errors import InstanceBusyError, MapError, UsageError


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "ebpflb: Missing command; see `ebpflb --help`"),
        (["dance"], "ebpflb: No such command 'dance'; see `ebpflb --help`"),
        (["--loud"], "ebpflb: No such option '--loud'; see `ebpflb --help`"),
        (["dump-maps", "--loud"], "ebpflb: No such option '--loud'; see `ebpflb dump-maps --help`"),
        (["version", "now"], "ebpflb: Got unexpected extra argument (now); see `ebpflb version --help`"),
    ],
)
def test_a_wrong_command_line_gets_one_line_and_code_2(arguments: list[str], line: str) -> None:
    result = invoke(*arguments)
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"{line}\n")


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_lists_every_verb(flag: str) -> None:
    result = invoke(flag)
    assert result.exit_code == 0
    for verb in ("run", "dump-maps", "status", "cleanup", "doctor", "version"):
        assert f"\n  {verb} " in result.stdout


def test_version() -> None:
    assert invoke("--version").stdout == invoke("version").stdout.splitlines(keepends=True)[0]


def test_the_table_of_verbs_says_what_each_verb_says_of_itself() -> None:
    assert isinstance(main, Verbs)
    for name, verb in main.verbs.items():
        command = import_module(f"ebpflb.cli.{verb.module}").command
        assert (command.help or "").splitlines()[0] == verb.summary, name


def test_help_waits_for_no_library() -> None:
    code = (
        "import sys, json\nfrom ebpflb.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert "click" in loaded
    assert not loaded & {"bcc", "kubernetes", "msgspec", "numpy", "pyroute2", "rich", "yaml"}


def one_verb(outcome: object) -> Verbs:
    """A group whose only verb raises or returns the outcome."""

    @click.command()
    def command() -> object:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    class Single(Verbs):
        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
            return command if cmd_name in self.verbs else None

    return Single(name="ebpflb", verbs={"try": Verb("", "Try.")})


@pytest.mark.parametrize(
    ("outcome", "code", "stderr"),
    [
        (None, 0, ""),
        (MapError("read flows: gone"), 1, "ebpflb: read flows: gone\n"),
        (UsageError("x: no", remedy="do y"), 2, "ebpflb: x: no; do y\n"),
        (InstanceBusyError("busy"), 4, "ebpflb: busy\n"),
        (
            ValueError("odd"),
            70,
            "ebpflb: ValueError: odd; this is a bug; run with EBPFLB_DEBUG=1 for the traceback\n",
        ),
    ],
)
def test_every_end_has_a_code_and_at_most_a_line(
    monkeypatch: pytest.MonkeyPatch, outcome: object, code: int, stderr: str
) -> None:
    monkeypatch.delenv("EBPFLB_DEBUG", raising=False)
    result = CliRunner().invoke(one_verb(outcome), ["try"])
    assert (result.exit_code, result.stderr) == (code, stderr)


def test_an_interrupt_is_130() -> None:
    assert CliRunner().invoke(one_verb(KeyboardInterrupt()), ["try"]).exit_code == 130


def test_debugging_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EBPFLB_DEBUG", "1")
    assert isinstance(CliRunner().invoke(one_verb(ValueError("odd")), ["try"]).exception, ValueError)


def test_a_reader_that_has_gone_is_no_error_to_speak_of() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "ebpflb", "version"], stdout=writer, stderr=subprocess.PIPE, text=True, check=False
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")
