"""An agent, or what prepares a node for one, from a checked configuration until a signal stops it.

Decides in which order log, memory, signals and the agent are set up, and the exit code. What the agent does with its
configuration is the agent's. Traffic goes on when it ends: pins and filters stay.

    Loaded --> AgentConfig --> run_agent | prepare_node --> exit code
"""

import logging
from collections.abc import Callable

from ebpflb.agent.prepare import prepare_node
from ebpflb.agent.restart import RestartError
from ebpflb.agent.run import run_agent
from ebpflb.cli.config_agent import agent_config
from ebpflb.cli.config_load import Loaded, log_remarks
from ebpflb.cli.logs import set_up_logging
from ebpflb.cli.signals import stop_on_signals
from ebpflb.cli.verbs import is_debugging
from ebpflb.host.heap import use_one_heap

log = logging.getLogger(__name__)


def run_node(loaded: Loaded, master: str, abort: Callable[[], None], *, is_only_init: bool) -> int:
    """Run until a signal; return 0, or what tells that the agent is to be started anew. Raises ``EbpflbError``.

    ``abort`` ends what the agent may be waiting for before it serves.
    """
    config, form = agent_config(loaded, master), loaded.config.logging
    set_up_logging(debug=is_debugging(), form=form.format, verbosity=form.verbosity)
    log_remarks(loaded)
    use_one_heap()
    with stop_on_signals(abort) as stop:
        if is_only_init:
            prepare_node(config, stop)
            return 0
        try:
            run_agent(config, stop)
        except RestartError as error:
            log.error("restart reason=%r remedy=%r", error.message, error.remedy)  # noqa: TRY400 - no traceback
            return error.exit_code
    return 0
