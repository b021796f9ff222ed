"""Whether an output of a node is connected; unused outputs are not computed."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any


def is_wired(hidden: Any, output: int) -> bool:
    """Say whether any node uses this output, in the graph as it runs.

    Args:
        hidden: the host's holder of a node's hidden inputs, with `unique_id` and `dynprompt`; None if the node is
            called as a function, whose caller may use every output.
        output: the index of the output.
    """
    if hidden is None or hidden.dynprompt is None:
        return True
    # Outputs in an expanded graph may be used by name, which we cannot see.
    if hidden.dynprompt.get_parent_node_id(hidden.unique_id) is not None:
        return True
    nodes = map(hidden.dynprompt.get_node, hidden.dynprompt.all_node_ids())
    return _takes(nodes, hidden.unique_id, output)


def is_wired_in_queue(node_id: str, output: int) -> bool:
    """Say the same of the workflow ComfyUI's server is running, before its graph is known."""
    server = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    if server is None:
        return False
    running, _ = server.prompt_queue.get_current_queue_volatile()
    return any(_takes(item[2].values(), node_id, output) for item in running)


def _takes(nodes: Iterable[Mapping[str, Any]], node_id: str, output: int) -> bool:
    return any([node_id, output] == value for node in nodes for value in node.get("inputs", {}).values())
