// Keeps our nodes' views up to date with the graph, the language and the running workflow.

import { api } from "/scripts/api.js";
import { app } from "/scripts/app.js";

import { firstStepOf, isModelOf, nodeOfRun, samplersIn, scheduleOf } from "./graph.js";
import { language, loadWords } from "./words.js";

const MARGIN = 6;
// The nodes with views, as weak references: undo makes new nodes.
const shownNodes = new Set();
const views = new WeakMap();
let running, started;

export const rootGraph = () => app.rootGraph ?? app.graph;

// The progress of a sampler's run; undefined if it is not running.
const runOf = (sampler) => {
  if (!running || running.node.graph?.getNodeById(running.node.id) !== running.node) return undefined;
  return running.node === sampler || isModelOf(sampler, running.node) ? running : undefined;
};

// A sampler's current step, counted from 0.
export const stepOf = (sampler) => runOf(sampler)?.step;

const scheduleNow = (sampler) => scheduleOf(sampler) ?? runOf(sampler)?.schedule;

const nodesShown = () => {
  const nodes = [];
  for (const reference of shownNodes) {
    const node = reference.deref();
    if (!node) shownNodes.delete(reference);
    else if (node.graph?.getNodeById(node.id) === node) nodes.push(node);
  }
  return nodes;
};

const refresh = () => {
  const root = rootGraph();
  if (!root || document.hidden) return;
  const nodes = nodesShown();
  // Do nothing in large graphs without our nodes.
  if (nodes.length === 0) return;
  const samplers = samplersIn(root).map((found) => ({ ...found, schedule: scheduleNow(found.sampler) }));
  for (const node of nodes) views.get(node)(samplers);
};

const openWorkflow = () => app.extensionManager?.workflow?.activeWorkflow?.path;

// Other tabs may have nodes with the same ids.
api.addEventListener("execution_start", ({ detail }) => {
  started = { prompt: detail.prompt_id, workflow: openWorkflow() };
});

api.addEventListener("progress", ({ detail }) => {
  const isHere = started?.prompt !== detail.prompt_id || started.workflow === openWorkflow();
  const node = isHere ? nodeOfRun(rootGraph(), detail.node) : undefined;
  const { value, max } = detail;
  const isOn = node && value < max;
  running = isOn ? { node, step: firstStepOf(node) + value, schedule: { steps: max, skipped: 0 } } : undefined;
  refresh();
});

const ENDS = ["executing", "execution_start", "execution_success", "execution_error", "execution_interrupted"];

for (const end of [...ENDS, "reconnecting"]) {
  api.addEventListener(end, () => {
    running = undefined;
    refresh();
  });
}

// When a workflow is loaded or a step undone, Nodes 2.0 keeps showing the old node's element: replace it.
const takePlace = (node, element, name) => {
  if (element.isConnected || node.graph !== app.canvas.graph) return;
  document.querySelector(`[data-node-id="${node.id}"] .sega-in-${name}`)?.replaceWith(element);
};

// Change the graph in a single undo step.
export const undoable = (change) => {
  app.canvas.emitBeforeChange();
  try {
    change();
  } finally {
    app.canvas.emitAfterChange();
  }
};

const STEADY_FRAMES = 3;
const MOST_FRAMES = 120;

const nextFrame = () => new Promise((resolve) => requestAnimationFrame(resolve));

const sizesIn = (graph) => graph._nodes.map(({ id, size }) => [id, ...size]).join();

// The same for changes that make nodes grow: waits for their new sizes, which would otherwise be another undo step.
// `isShown` says whether the nodes show the change yet.
export const undoableWithSizes = async (graph, change, isShown = () => true) => {
  app.canvas.emitBeforeChange();
  try {
    change();
    let sizes;
    for (let steady = 0, frame = 0; steady < STEADY_FRAMES && frame < MOST_FRAMES; frame += 1) {
      await nextFrame();
      refresh();
      const now = sizesIn(graph);
      steady = isShown() && now === sizes ? steady + 1 : 0;
      sizes = now;
    }
  } finally {
    app.canvas.emitAfterChange();
  }
};

// Add a view below a node's fields. `read(samplers)` returns its state, `draw(state)` is called when that has changed.
// `growing` views fill the rest of the node. Returns a function that updates all views at once.
export const addView = (node, name, content, { read, draw, growing = false, minHeight = 0 }) => {
  const element = document.createElement("div");
  element.className = `sega sega-in-${name}`;
  element.append(content);
  const height = () => Math.max(minHeight, growing ? 0 : content.offsetHeight) + 2 * MARGIN;
  const widget = node.addDOMWidget(`sega_${name}`, `sega_${name}`, element, {
    serialize: false,
    margin: MARGIN,
    hideOnZoom: false,
    getMinHeight: height,
    ...(growing ? {} : { getMaxHeight: height }),
  });
  // Not saved, so that the workflow also opens without this extension.
  widget.serialize = false;
  let shown, tall;
  shownNodes.add(new WeakRef(node));
  views.set(node, (samplers) => {
    takePlace(node, element, name);
    const found = read(samplers);
    const state = JSON.stringify([found, language()]);
    if (state !== shown) {
      draw(found);
      shown = state;
    }
    if (height() !== tall) {
      tall = height();
      const [width, needed] = node.computeSize();
      if (node.size[1] < needed) node.setSize([Math.max(width, node.size[0]), needed]);
      app.canvas?.setDirty(true, true);
    }
  });
  return refresh;
};

export const make = (tag, className, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  element.className = className;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
};

app.registerExtension({
  name: "SemanticGuidance.views",

  async init() {
    const href = new URL("./sega.css", import.meta.url).href;
    document.head.append(make("link", "", { rel: "stylesheet", href }));
    await loadWords();
  },

  setup() {
    // The editor has no events for some changes: fields, links, undo, subgraphs, language.
    setInterval(refresh, 200);
  },
});
