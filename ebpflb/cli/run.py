"""``ebpflb run``: flags and a file into what counts, and what ends the verb before an agent runs.

Decides which flags go together. The agent itself is imported when it is certain that it runs, and while a child reads
the credentials for the API server: both take about as long (ADR 30).

    flags, --config --> Loaded --> --write-config-to | --cleanup | run_node.py
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click
import msgspec
import yaml

from ebpflb.cli.config_flags import KubeProxyOption, RunCommand, given_flags, kube_proxy_options, switch_option
from ebpflb.cli.config_load import Loaded, load_config, remarks
from ebpflb.cli.config_own_flags import given_own, own_options
from ebpflb.cli.options import require_root
from ebpflb.core.proxy_config_schema import KubeProxyConfiguration
from ebpflb.errors import UsageError
from ebpflb.kube.vault import read_early
from ebpflb.reconcile import garbage

_TOKEN: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


@click.command(cls=RunCommand)
@own_options
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    cls=KubeProxyOption,
    help="A KubeProxyConfiguration. kube-proxy's other flags do nothing then, but for those of logging; ebpflb's own "
    "come before the file. The agent ends when the file changes, to be started anew.",
)
@click.option(
    "--write-config-to",
    type=click.Path(path_type=Path),
    metavar="FILE",
    cls=KubeProxyOption,
    help="Write the configuration with its defaults to this file, and exit.",
)
@switch_option("--init-only", "Do what needs full privileges: build, load and pin programs and maps, and exit.")
@switch_option("--cleanup", "Remove every pin, filter, program and state file of the instance, and exit.")
@click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path),
    metavar="FILE",
    cls=KubeProxyOption,
    help="Serve what the API server of this kubeconfig says.  [default in a pod: its service account]",
)
@click.option(
    "--master", default="", metavar="URL", cls=KubeProxyOption, help="The API server, instead of the kubeconfig's."
)
@kube_proxy_options
@click.pass_context
def command(
    context: click.Context,
    /,
    *,
    config_path: Path | None,
    write_config_to: Path | None,
    init_only: bool | None,
    cleanup: bool | None,
    kubeconfig: Path | None,
    master: str,
    **own: Any,
) -> None:
    """Run the agent of this node.

    Takes kube-proxy's flags and its configuration file. Ends with SIGTERM or SIGINT; traffic goes on. EBPFLB_DEBUG=1
    logs more.
    """
    if kubeconfig and config_path is None:
        _check_kubeconfig(context, kubeconfig, own["manifests"])
    flags = {**given_flags(context), **({"--kubeconfig": (str(kubeconfig),)} if kubeconfig else {})}
    loaded = load_config(config_path, flags, given_own(context, own))
    if write_config_to is not None:
        _write(loaded, write_config_to)
    elif cleanup:
        _clean_up(context, loaded)
    else:
        _run(context, loaded, master, is_only_init=bool(init_only))


def _run(context: click.Context, loaded: Loaded, master: str, *, is_only_init: bool) -> None:
    if not is_only_init:
        _check_source(context, loaded.config, master)
    require_root("run")
    garbage.tune()  # before the agent's code is loaded, none of which is garbage
    with _early_credentials(loaded.config, master, is_only_init=is_only_init) as abort:
        from ebpflb.cli.run_node import run_node  # noqa: PLC0415 - see above

        if exit_code := run_node(loaded, master, abort, is_only_init=is_only_init):
            context.exit(exit_code)


@contextmanager
def _early_credentials(
    config: KubeProxyConfiguration, master: str, *, is_only_init: bool
) -> Iterator[Callable[[], None]]:
    """Begin to read what the agent will ask for, if anything; yield what ends that."""
    kubeconfig = config.client_connection.kubeconfig
    if is_only_init or config.ebpflb.manifests:
        yield lambda: None
        return
    with read_early(Path(kubeconfig) if kubeconfig else None, master) as abort:
        yield abort


def _check_kubeconfig(context: click.Context, path: Path, manifests: Path | None) -> None:
    """Raise ``UsageError`` for what cannot be used. Beside --config the flag does nothing, whatever it says."""
    if manifests:
        raise click.UsageError("--manifests and --kubeconfig exclude each other", context)
    (parameter,) = (each for each in context.command.params if each.name == "kubeconfig")
    click.Path(exists=True, dir_okay=False).convert(str(path), parameter, context)


def _check_source(context: click.Context, config: KubeProxyConfiguration, master: str) -> None:
    if not (config.ebpflb.manifests or config.client_connection.kubeconfig or master or _TOKEN.exists()):
        raise click.UsageError(
            f"name a source with --manifests or --kubeconfig (this is no pod: there is no {_TOKEN})", context
        )


def _write(loaded: Loaded, path: Path) -> None:
    """Write what counts, and tell what an agent would log of it."""
    for remark in remarks(loaded):
        click.echo(remark.text, err=True)
    text = yaml.safe_dump(msgspec.to_builtins(loaded.config), sort_keys=False, allow_unicode=True)
    try:
        path.write_text(text)
    except OSError as error:
        remedy = "name a file in a folder that can be written to"
        raise UsageError(f"--write-config-to {path} cannot be written: {error.strerror}", remedy=remedy) from error
    click.echo(f"wrote {path}", err=True)


def _clean_up(context: click.Context, loaded: Loaded) -> None:
    from ebpflb.cli.cleanup import command as cleanup_command  # noqa: PLC0415 - an agent needs none of it

    own = loaded.config.ebpflb
    context.invoke(
        cleanup_command, instance=own.instance, every=False, bpffs=Path(own.bpffs), state_dir=Path(own.state_dir)
    )
