// Keeping what our nodes show in step with the graph, the language and the running workflow.

import { api } from "/scripts/api.js";
import { app } from "/scripts/app.js";

import { firstStepOf, isModelOf, nodeOfRun, samplersIn, scheduleOf } from "./graph.js";
import { language, loadWords } from "./words.js";

const MARGIN = 6;
// The nodes that show something, as weak references: the editor makes a node anew with each step of undo.
const shownNodes = new Set();
const views = new WeakMap();
let running, started;

export const rootGraph = () => app.rootGraph ?? app.graph;

// What a sampler's run is at; undefined where it does not run.
const runOf = (sampler) => {
  if (!running || running.node.graph?.getNodeById(running.node.id) !== running.node) return undefined;
  return running.node === sampler || isModelOf(sampler, running.node) ? running : undefined;
};

// The step that a sampler is in, counted from 0.
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
  // Large graphs without a node of ours are left alone.
  if (nodes.length === 0) return;
  const samplers = samplersIn(root).map((found) => ({ ...found, schedule: scheduleNow(found.sampler) }));
  for (const node of nodes) views.get(node)(samplers);
};

const openWorkflow = () => app.extensionManager?.workflow?.activeWorkflow?.path;

// Other tabs may have nodes of the same numbers.
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

// Nodes 2.0 draws a node again from what it drew before when a workflow is loaded or a step undone, and then goes on
// showing the element of the node that is gone.
const takePlace = (node, element, name) => {
  if (element.isConnected || node.graph !== app.canvas.graph) return;
  document.querySelector(`[data-node-id="${node.id}"] .sega-in-${name}`)?.replaceWith(element);
};

// Change the graph in one step of the editor's undo.
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

// Do the same where nodes grow with what they then show: their sizes belong to the step, or they would be one of their own.
// `isShown` says whether they show it yet.
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

// Put an element below a node's fields. `read(samplers)` returns what it shows, `draw(shown)` shows it when that changed.
// `growing` elements take the room that is left in the node. Returns what brings everything up to date at once.
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
  // Not a part of the saved workflow, which opens without this extension too.
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
  name: "ComfyUI-SEGA.views",

  async init() {
    const href = new URL("./sega.css", import.meta.url).href;
    document.head.append(make("link", "", { rel: "stylesheet", href }));
    await loadWords();
  },

  setup() {
    // The editor has no event for everything that can change a value: fields, links, undo, subgraphs, language.
    setInterval(refresh, 200);
  },
});
