// Adds a concept to a sampler and connects it: from a button on the node, its menu, or a key.

import { app } from "/scripts/app.js";

import { conceptsOf, inputNamed, isConnected, isSampler, isStack, linkInto, nodesIn, originOf, positivesOf } from "./graph.js";
import { connectPrompt, promptFor } from "./prompt.js";
import { make, undoableWithSizes } from "./views.js";
import { bottomOf, create, GAP, link, outputOf, withOutput } from "./wiring.js";
import { word } from "./words.js";

// The origin of an input, if it is in the same graph and can be connected.
const here = (node, input) => {
  const origin = input && originOf(node, input);
  return origin && !origin.promoted && origin.node.graph === node.graph ? origin : undefined;
};

// All nodes upstream of a node, nearest first.
const before = (node) => {
  const found = new Set([node]);
  for (const seen of found) for (const input of seen.inputs ?? []) found.add(here(seen, input)?.node ?? node);
  return [...found].slice(1);
};

// The CLIP of the sampler's prompt, or else one that its concepts use, or any in the graph.
const clipFor = (sampler) => {
  const prompts = positivesOf(sampler).map(({ node, input }) => here(node, input)?.node);
  const own = prompts.filter((node) => node?.graph === sampler.graph).flatMap((node) => [node, ...before(node)]);
  const sources = [...own, ...before(sampler)];
  const used = sources.map((node) => here(node, inputNamed(node, "clip"))).find(Boolean);
  if (used) return used;
  const loader = [...sources, ...sampler.graph._nodes].find((node) => outputOf(node, "CLIP") >= 0);
  return loader && withOutput(loader, "CLIP");
};

const freeSlot = (stack) =>
  stack.inputs.find((input, slot) => input.name.startsWith("concepts") && !stack.isInputConnected(slot));

// The output connected to an input in the same graph, including muted and bypassed nodes.
const sourceOf = (node, input) => {
  const found = linkInto(node, input);
  const source = node.graph.getNodeById(found.origin_id);
  return source && { node: source, slot: found.origin_slot };
};

// The stack before a sampler; added if there is none.
const stackOf = (sampler, source) => {
  if (isStack(source.node)) return source.node;
  const below = () => [sampler.pos[0], bottomOf(sampler) + 3 * GAP];
  const stack = create("SEGAConceptStack", sampler.graph, below);
  const { type } = source.node.outputs[source.slot];
  link(source, stack, type === "SEGA_CONCEPT_STACK" ? inputNamed(stack, "stack") : freeSlot(stack));
  link(withOutput(stack, "SEGA_CONCEPT_STACK"), sampler, inputNamed(sampler, "concepts"));
  return stack;
};

const say = (detail) => app.extensionManager.toast.add({ severity: "info", summary: "SEGA", detail, life: 5000 });

const addConcept = (sampler) => {
  const input = inputNamed(sampler, "concepts");
  const connected = isConnected(sampler, input);
  const source = connected ? sourceOf(sampler, input) : undefined;
  if (connected && !source) {
    say(word("addOutside"));
    return;
  }
  undoableWithSizes(sampler.graph, () => {
    const last = conceptsOf(sampler).findLast(({ node }) => node.graph === sampler.graph)?.node;
    const clip = clipFor(sampler);
    const concept = create("SEGAConcept", sampler.graph, ({ size }) =>
      last ? [last.pos[0], bottomOf(last) + 2 * GAP] : [sampler.pos[0] - 2 * GAP - size[0], sampler.pos[1]],
    );
    if (clip) link(clip, concept, inputNamed(concept, "clip"));
    connectPrompt(concept, promptFor(concept, [sampler]));
    const stack = source && stackOf(sampler, source);
    link(withOutput(concept, "SEGA_CONCEPT"), stack ?? sampler, stack ? freeSlot(stack) : input);
    app.canvas.selectNode(concept);
  });
  app.canvas.setDirty(true, true);
};

export const addConceptButton = (sampler) => {
  const button = make("button", "sega-add", { type: "button" });
  button.addEventListener("click", (event) => {
    // Otherwise the click would also select the sampler.
    event.stopPropagation();
    addConcept(sampler);
  });
  return button;
};

// The selected sampler, or the only one.
const chosenSampler = () => {
  const selected = [...app.canvas.selectedItems].filter(isSampler);
  const all = nodesIn(app.canvas.graph).filter((node) => isSampler(node) && node.graph === app.canvas.graph);
  return selected[0] ?? (all.length === 1 ? all[0] : undefined);
};

app.registerExtension({
  name: "SemanticGuidance.addConcept",

  commands: [
    {
      id: "SEGA.AddConcept",
      label: "Add SEGA concept",
      icon: "pi pi-plus",
      function: () => {
        const sampler = chosenSampler();
        if (sampler) addConcept(sampler);
        else say(word("selectSampler"));
      },
    },
  ],

  keybindings: [{ commandId: "SEGA.AddConcept", combo: { key: "c", alt: true, shift: true } }],

  getSelectionToolboxCommands: (item) => (isSampler(item) ? ["SEGA.AddConcept"] : []),

  getNodeMenuItems: (node) =>
    isSampler(node) ? [{ content: word("addConcept"), callback: () => addConcept(node) }] : [],
});
