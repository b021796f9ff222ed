// Adding a concept to a sampler without wiring: from a button on the node, its menu, or a key.

import { app } from "/scripts/app.js";

import { conceptsOf, inputNamed, isSampler, isStack, nodesIn, originOf } from "./graph.js";
import { word } from "./words.js";

const GAP = 40;
const TITLE = 30;

const outputOf = (node, type) => node.outputs?.findIndex((output) => output.type === type) ?? -1;

const withOutput = (node, type) => ({ node, slot: outputOf(node, type) });

// What an input gets, if that can be connected to a node of the same graph.
const here = (node, input) => {
  const origin = input && originOf(node, input);
  return origin && !origin.promoted && origin.node.graph === node.graph ? origin : undefined;
};

// The nodes from which a node gets what it works on, nearest first.
const before = (node) => {
  const found = new Set([node]);
  for (const seen of found) for (const input of seen.inputs ?? []) found.add(here(seen, input)?.node ?? node);
  return [...found].slice(1);
};

// The text encoder that the sampler's prompts and concepts use, or else any in the graph.
const clipFor = (sampler) => {
  const sources = before(sampler);
  const used = sources.map((node) => here(node, inputNamed(node, "clip"))).find(Boolean);
  if (used) return used;
  const loader = [...sources, ...sampler.graph._nodes].find((node) => outputOf(node, "CLIP") >= 0);
  return loader && withOutput(loader, "CLIP");
};

const overlaps = (node, [x, y], [width, height]) =>
  node.pos[0] < x + width &&
  node.pos[0] + node.size[0] > x &&
  node.pos[1] - TITLE < y + height &&
  node.pos[1] + node.size[1] > y - TITLE;

// Move a new node to the first free place from (x, y) downwards.
const place = (node, x, y) => {
  const others = node.graph._nodes.filter((other) => other !== node);
  for (;;) {
    const inTheWay = others.find((other) => overlaps(other, [x, y], node.size));
    if (!inTheWay) break;
    y = inTheWay.pos[1] + inTheWay.size[1] + GAP + TITLE;
  }
  node.pos = [x, y];
};

const create = (type, sampler) => {
  const node = window.LiteGraph.createNode(type);
  sampler.graph.add(node);
  return node;
};

const freeSlot = (stack) =>
  stack.inputs.find((input) => input.name.startsWith("concepts") && input.link == null);

const link = ({ node, slot }, target, input) => node.connectSlots(node.outputs[slot], target, input);

const stackOf = (sampler) => {
  const concepts = inputNamed(sampler, "concepts");
  const origin = here(sampler, concepts);
  if (origin && isStack(origin.node)) return origin.node;
  const stack = create("SEGAConceptStack", sampler);
  place(stack, sampler.pos[0], sampler.pos[1] + sampler.size[1] + 3 * GAP);
  if (origin) {
    const isStacked = origin.node.outputs[origin.slot].type === "SEGA_CONCEPT_STACK";
    link(origin, stack, isStacked ? inputNamed(stack, "stack") : freeSlot(stack));
  }
  link(withOutput(stack, "SEGA_CONCEPT_STACK"), sampler, concepts);
  return stack;
};

const addConcept = (sampler) => {
  const { graph } = sampler;
  graph.beforeChange();
  const earlier = conceptsOf(sampler).filter((node) => node.graph === graph);
  const concept = create("SEGAConcept", sampler);
  const last = earlier.at(-1);
  if (last) place(concept, last.pos[0], last.pos[1] + last.size[1] + 2 * GAP);
  else place(concept, sampler.pos[0] - 2 * GAP - concept.size[0], sampler.pos[1]);

  const clip = clipFor(sampler);
  if (clip) link(clip, concept, inputNamed(concept, "clip"));
  const input = inputNamed(sampler, "concepts");
  const made = withOutput(concept, "SEGA_CONCEPT");
  if (input.link == null) {
    link(made, sampler, input);
  } else {
    const stack = stackOf(sampler);
    link(made, stack, freeSlot(stack));
  }
  graph.afterChange();
  app.canvas.selectNode(concept);
  app.canvas.setDirty(true, true);
};

export const addConceptButton = (sampler) => {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "sega-add";
  button.addEventListener("click", () => addConcept(sampler));
  return button;
};

// The sampler that is selected, or the only one.
const chosenSampler = () => {
  const selected = Object.values(app.canvas.selected_nodes ?? {}).filter(isSampler);
  const all = nodesIn(app.canvas.graph).filter((node) => isSampler(node) && node.graph === app.canvas.graph);
  return selected[0] ?? (all.length === 1 ? all[0] : undefined);
};

app.registerExtension({
  name: "ComfyUI-SEGA.addConcept",

  commands: [
    {
      id: "SEGA.AddConcept",
      label: "Add SEGA concept",
      icon: "pi pi-plus",
      function: () => {
        const sampler = chosenSampler();
        if (sampler) addConcept(sampler);
        else app.extensionManager.toast.add({ severity: "info", summary: "SEGA", detail: word("selectSampler"), life: 5000 });
      },
    },
  ],

  keybindings: [{ commandId: "SEGA.AddConcept", combo: { key: "c", alt: true, shift: true } }],

  getSelectionToolboxCommands: (item) => (isSampler(item) ? ["SEGA.AddConcept"] : []),

  getNodeMenuItems: (node) =>
    isSampler(node) ? [{ content: word("addConcept"), callback: () => addConcept(node) }] : [],
});
