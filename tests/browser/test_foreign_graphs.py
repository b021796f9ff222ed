"""Graphs of other people: the extension leaves them alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from support.renderers import NODES2_FIRST

# How often our scripts ask the graph for its nodes in a second and a half, with or without one of ours in it.
WALKS = """async (ours) => {
  const graph = app.graph
  for (const kind of ["KSampler", "SaveImage", ...(ours ? ["SEGASampler"] : [])]) graph.add(LiteGraph.createNode(kind))
  const nodes = graph._nodes
  let walks = 0
  Object.defineProperty(graph, "_nodes", {
    configurable: true,
    get() {
      if (new Error().stack.includes("ComfyUI-SEGA")) walks += 1
      return nodes
    },
  })
  await new Promise((resolve) => setTimeout(resolve, 1500))
  Object.defineProperty(graph, "_nodes", { configurable: true, writable: true, value: nodes })
  graph.clear()
  return walks
}"""


@NODES2_FIRST
def test_a_graph_without_our_nodes_is_not_walked(opened: Callable[..., Any], renderer: str) -> None:
    # A page of its own: in one that was used before, an undo that is still under way may bring nodes of ours back.
    editor = opened(renderer, own=True)
    assert editor.evaluate(WALKS, True) > 0
    assert editor.evaluate(WALKS, False) == 0
