// Adds nodes to a graph and connects them.

export const GAP = 40;
export const TITLE = 30;

export const outputOf = (node, type) => node.outputs?.findIndex((output) => output.type === type) ?? -1;

export const withOutput = (node, type) => ({ node, slot: outputOf(node, type) });

export const link = ({ node, slot }, target, input) => node.connectSlots(node.outputs[slot], target, input);

// A node's height below its title; Nodes 2.0 draws it taller than `size` says.
const heightOf = (node) => {
  const drawn = document.querySelector(`[data-node-id="${node.id}"]`)?.offsetHeight ?? 0;
  return Math.max(node.size[1], drawn - TITLE);
};

export const bottomOf = (node) => node.pos[1] + heightOf(node);

const overlaps = (node, [x, y], [width, height]) =>
  node.pos[0] < x + width &&
  node.pos[0] + node.size[0] > x &&
  node.pos[1] - TITLE < y + height &&
  bottomOf(node) > y - TITLE;

// Add a node at the first free place from `at(node)` downwards. It is only drawn in the next frame, so assume it is as tall
// as others of its type; in older editors, Nodes 2.0 does not let it move later.
export const create = (type, graph, at) => {
  const node = window.LiteGraph.createNode(type);
  const ofItsKind = graph._nodes.filter((other) => other.type === type);
  const size = [node.size[0], Math.max(node.size[1], ...ofItsKind.map(heightOf))];
  let [x, y] = at(node);
  for (;;) {
    const inTheWay = graph._nodes.find((other) => overlaps(other, [x, y], size));
    if (!inTheWay) break;
    y = bottomOf(inTheWay) + GAP + TITLE;
  }
  node.pos = [x, y];
  graph.add(node);
  return node;
};
