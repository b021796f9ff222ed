// Finds the prompt of a sampler, and connects a concept to it.

import { inputNamed, isConnected, linkInto, nodesIn, originOf, positivesOf, valueOf, widgetNamed } from "./graph.js";
import { create, GAP, link, withOutput } from "./wiring.js";
import { word } from "./words.js";

// The host's text encoders and their prompt fields.
const ENCODERS = {
  CLIPTextEncode: ["text"],
  CLIPTextEncodeFlux: ["clip_l", "t5xxl"],
  CLIPTextEncodeHunyuanDiT: ["bert", "mt5xl"],
  CLIPTextEncodeSD3: ["clip_l", "clip_g", "t5xxl"],
  CLIPTextEncodeSDXL: ["text_g", "text_l"],
  CLIPTextEncodeSDXLRefiner: ["text"],
};

const STRING = "PrimitiveStringMultiline";

// Syntax that the editor only expands in a prompt's own field: {a|b} and comments.
const DYNAMIC = /[{}]|\\\||\/\/|\/\*/;

export const isDynamic = (text) => DYNAMIC.test(text);

const isConditioning = (input) => input.type === "CONDITIONING";

// The encoder of a conditioning, through nodes that modify it.
const encoderOf = (node, input, seen = new Set()) => {
  const origin = originOf(node, input);
  if (!origin || origin.promoted || seen.has(origin.node)) return undefined;
  if (Object.hasOwn(ENCODERS, origin.node.comfyClass)) return origin.node;
  seen.add(origin.node);
  const inputs = origin.node.inputs?.filter(isConditioning) ?? [];
  const { name } = origin.node.outputs[origin.slot];
  const next = inputs.length === 1 ? inputs[0] : inputs.find((found) => found.name === name);
  return next && encoderOf(origin.node, next, seen);
};

const only = (values) => (values.length > 0 && values.every((value) => value === values[0]) ? values[0] : undefined);

// Fields that a subgraph node promotes must stay fields.
const isShownOutside = (node, name) =>
  nodesIn(node.graph.rootGraph ?? node.graph).some(
    ({ subgraph, properties }) =>
      subgraph === node.graph &&
      properties?.proxyWidgets?.some(([id, shown]) => String(id) === String(node.id) && shown === name),
  );

// The prompt to connect a concept of these samplers to; undefined if there is none, or more than one. It is `typed` into an
// encoder, an output of another node ({node, slot} or {outside}), or cannot be connected for a reason: {why}.
export const promptFor = (concept, samplers) => {
  const prompt = inputNamed(concept, "prompt");
  if (!prompt || isConnected(concept, prompt)) return undefined;
  const encoder = only(samplers.flatMap(positivesOf).map(({ node, input }) => encoderOf(node, input)));
  if (!encoder || encoder.graph !== concept.graph) return undefined;
  const names = ENCODERS[encoder.comfyClass];
  const inputs = names.map((name) => inputNamed(encoder, name));
  if (!inputs.every(Boolean)) return undefined;
  if (inputs.every((input) => !isConnected(encoder, input))) {
    const text = only(names.map((name) => widgetNamed(encoder, name)?.value));
    if (typeof text !== "string" || names.some((name) => isShownOutside(encoder, name))) return undefined;
    return isDynamic(text) ? { why: "dynamic" } : { typed: { encoder, inputs, text } };
  }
  const links = inputs.map((input) => linkInto(encoder, input));
  if (!only(links.map((found) => found && `${found.origin_id}/${found.origin_slot}`))) return undefined;
  const source = sourceOf(encoder.graph, links[0]);
  return source?.outside && isDynamic(String(valueOf(encoder, names[0]))) ? { why: "dynamic" } : source;
};

const sourceOf = (graph, { origin_id: id, origin_slot: slot }) => {
  const node = graph.getNodeById(id);
  // The editor's own Primitive only connects to fields.
  if (node) return node.type === "PrimitiveNode" ? undefined : { node, slot };
  const outside = graph.inputs?.[slot];
  return outside && { outside };
};

// Move a typed prompt into its own node, which then feeds the encoder.
const moved = ({ encoder, inputs, text }) => {
  const node = create(STRING, encoder.graph, ({ size }) => [encoder.pos[0] - 2 * GAP - size[0], encoder.pos[1]]);
  node.title = word("prompt");
  widgetNamed(node, "value").value = text;
  const source = withOutput(node, "STRING");
  for (const input of inputs) link(source, encoder, input);
  return source;
};

// Connect a concept to the prompt that `promptFor` found.
export const connectPrompt = (concept, found) => {
  if (!found || found.why) return;
  const prompt = inputNamed(concept, "prompt");
  if (found.outside) found.outside.connect?.(prompt, concept);
  else link(found.typed ? moved(found.typed) : found, concept, prompt);
};
