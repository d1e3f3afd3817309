"""The command line: verbs, flags, tables. Holds no logic of the product.

Decides which module serves a verb, and how an error ends the process: one line on stderr and a code. A verb's module
is imported when the verb is asked for, so ``ebpflb --help`` waits for no library.

    argv -> Verbs -> cli/<module>.py:command -> agent, datapath, host, reconcile -> text on stdout, exit code
"""

from importlib.metadata import version

import click

from ebpflb.cli.verbs import Verb, Verbs

_VERBS = {
    "run": Verb("run", "Run the agent of this node."),
    "dump-maps": Verb("dump", "Show what the BPF maps hold, also while no agent runs."),
    "explain": Verb("explain", "Show why a packet goes where it goes."),
    "config": Verb("config", "Describe the configuration file: every field, and its JSON schema."),
    "status": Verb("status", "Show whether the agent runs and is healthy, and what it refused."),
    "cleanup": Verb("cleanup", "Remove every pin, filter, program and state file of an instance."),
    "doctor": Verb("doctor", "Check this machine: kernel, bcc, bpffs, cgroup v2, other proxies."),
    "bench": Verb("bench", "Measure this machine against iptables, nftables and bare connections."),
    "version": Verb("version", "Show the version."),
}


@click.command(
    name="ebpflb",
    cls=Verbs,
    verbs=_VERBS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 failed or unhealthy, 2 usage, 3 something is missing on this machine "
    "or a target of bench was missed, 4 an agent runs this instance.",
)
@click.version_option(version("ebpflb"), message="ebpflb %(version)s")
def main() -> None:
    """Replace kube-proxy: Services on BPF programs."""
