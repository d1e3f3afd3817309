"""The configuration of a command line: its file and its flags, or one error with all that is wrong with them.

Decides how problems and remarks are worded and logged. What is valid is ``core``'s.

    --config, flags --> load_config --> Loaded(config, file)        Loaded --remarks, log_remarks--> lines of the log
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ebpflb.cli.sizes import size_problem
from ebpflb.core.proxy_config import Configured, configure
from ebpflb.core.proxy_config_decode import Problem
from ebpflb.core.proxy_config_flags import Given
from ebpflb.core.proxy_config_gates import unknown_gates
from ebpflb.core.proxy_config_schema import KubeProxyConfiguration
from ebpflb.errors import UsageError
from ebpflb.files.config_file import ConfigFile, read_config_file

log = logging.getLogger(__name__)


class Loaded(NamedTuple):
    """A configuration without problems, and where it comes from."""

    configured: Configured
    file: ConfigFile | None

    @property
    def config(self) -> KubeProxyConfiguration:
        """What counts."""
        return self.configured.config


class Remark(NamedTuple):
    """Something that is not as a user of kube-proxy would expect."""

    level: int
    template: str
    arguments: tuple[object, ...]

    @property
    def text(self) -> str:
        """The whole of it."""
        return self.template % self.arguments


def load_config(path: Path | None, flags: Given | None = None, own: Mapping[str, Any] | None = None) -> Loaded:
    """Return what a file and flags say. Raises ``UsageError``, which names every field that cannot be used."""
    file = None if path is None else read_config_file(path)
    configured = configure(None if file is None else file.document, flags or {}, own or {})
    problems = [*configured.problems, *_check_sizes(configured.config)]
    if problems:
        # What a field was misspelt for is missing, which may be the problem.
        unknown = [f"{name} is not known; correct or remove it" for name in configured.unknown]
        raise UsageError(_in_words([*map(str, problems), *unknown], path))
    return Loaded(configured, file)


def log_remarks(loaded: Loaded) -> None:
    """Log what is not as a user of kube-proxy would expect."""
    for level, template, arguments in remarks(loaded):
        log.log(level, template, *arguments)


def remarks(loaded: Loaded) -> Iterator[Remark]:
    """Yield what is not as a user of kube-proxy would expect."""
    configured, file = loaded
    if file is not None:
        yield from _leniency(configured, file)
    for flag in configured.ignored:
        yield _warning("flag_ignored flag=%s reason='the file of --config counts'", flag)
    for flag, instead in configured.deprecated:
        yield _warning("flag_deprecated flag=%s instead=%s", flag, instead)
    for gate in unknown_gates(configured.config.feature_gates):
        yield _warning("feature_gate_unknown name=%r", gate)
    for note in configured.notes:
        template = "config_field field=%s value=%s use=%s reason=%r"
        yield Remark(logging.INFO, template, (note.path, note.value, note.use, note.why))


def _leniency(configured: Configured, file: ConfigFile) -> Iterator[Remark]:
    if configured.unknown or file.duplicates:
        yield _warning(
            "config_lenient file=%r unknown=%r duplicate=%r reason='unknown do nothing, of duplicates the last counts'",
            str(file.path),
            ", ".join(configured.unknown),
            ", ".join(file.duplicates),
        )
    if file.more_documents:
        yield _warning(
            "config_documents file=%r ignored=%d reason='the first one counts'", str(file.path), file.more_documents
        )


def _warning(template: str, *arguments: object) -> Remark:
    return Remark(logging.WARNING, template, arguments)


def _check_sizes(config: KubeProxyConfiguration) -> list[Problem]:
    found = ((name, size_problem(name, entries)) for name, entries in config.ebpflb.map_sizes.items())
    return [Problem(f"ebpflb.mapSizes.{name}", *problem) for name, problem in found if problem is not None]


def _in_words(problems: Sequence[str], path: Path | None) -> str:
    where = f"--config {path}: " if path is not None else ""
    if len(problems) == 1:
        return f"{where}{problems[0]}"
    lines = "".join(f"\n  {problem}" for problem in problems)
    return f"{where}{len(problems)} fields cannot be used as they are:{lines}"
