// Reads the graph: a sampler's concepts and the values of fields, through reroutes, subgraphs and switches.

const SUBGRAPH_INPUT = -10;
const MUTED = 2;
const BYPASSED = 4;
const SAMPLERS = ["SEGASampler", "SEGASamplerCustom", "SEGAModelPatch"];
const CONCEPTS = ["SEGAConcept", "SEGAConceptFromConditioning"];

export const isSampler = (node) => SAMPLERS.includes(node.comfyClass);
export const isConcept = (node) => CONCEPTS.includes(node.comfyClass);
export const isStack = (node) => node.comfyClass === "SEGAConceptStack";

const subgraphsIn = (graph) => graph._nodes.flatMap((node) => (node.subgraph ? [node.subgraph] : []));

// The graph and every subgraph in it, each once.
export const graphsIn = (root) => {
  const seen = new Set([root]);
  for (const graph of seen) for (const inner of subgraphsIn(graph)) seen.add(inner);
  return [...seen];
};

export const nodesIn = (root) => graphsIn(root).flatMap((graph) => graph._nodes);

// The node that contains a subgraph; the first if there are several.
const outside = (graph) => nodesIn(graph.rootGraph ?? graph).find((node) => node.subgraph === graph);

const { LiteGraph } = window;
const { getInputLink } = LiteGraph.LGraphNode.prototype;

// What UseEverywhere will connect to an input when the workflow runs; it keeps its list in the workflow.
const broadcastInto = (node, slot) => {
  const isInto = ({ downstream, downstream_slot }) => String(downstream) === String(node.id) && downstream_slot === slot;
  const found = node.graph?.extra?.ue_links?.find(isInto);
  return found && { origin_id: found.upstream, origin_slot: found.upstream_slot };
};

// The link into an input, by the base class's method: a subgraph node's own is about its inside.
export const linkInto = (node, input) => {
  const slot = node.inputs.indexOf(input);
  return input && (getInputLink.call(node, slot) ?? broadcastInto(node, slot));
};

export const isConnected = (node, input) => Boolean(input && linkInto(node, input));

// `seen` are the links on the way, because graphs may have cycles.
const follow = (graph, link, seen = new Set()) => {
  if (!link || seen.has(link)) return undefined;
  seen.add(link);
  if (Number(link.origin_id) === SUBGRAPH_INPUT) {
    const host = outside(graph);
    const input = host?.inputs[link.origin_slot];
    if (!input) return undefined;
    const given = follow(host.graph, linkInto(host, input), seen);
    return given ?? { node: host, slot: link.origin_slot, promoted: true };
  }
  const node = graph.getNodeById(link.origin_id);
  if (!node || node.mode === MUTED) return undefined;
  if (node.mode === BYPASSED) {
    const { type } = node.outputs[link.origin_slot];
    return follow(graph, linkInto(node, node.inputs?.find((input) => input.type === type)), seen);
  }
  if (node.subgraph) {
    const inner = node.subgraph.outputs[link.origin_slot];
    return follow(node.subgraph, inner?.linkIds.length && node.subgraph.getLink(inner.linkIds[0]), seen);
  }
  // Reroutes, and other packs' editor-only nodes.
  if (node.isVirtualNode && !isPrimitive(node)) return follow(graph, node.getInputLink?.(link.origin_slot), seen);
  return { node, slot: link.origin_slot };
};

const isPrimitive = (node) => node.type.startsWith("Primitive");

// The origin of an input's value: {node, slot} of the node that makes it, or undefined.
// `promoted` marks a field of a subgraph node itself.
export const originOf = (node, input) => follow(node.graph, linkInto(node, input));

export const inputNamed = (node, name) => node.inputs?.find((input) => input.name === name);

export const widgetNamed = (node, name) => node.widgets?.find((widget) => widget.name === name);

// A field's value, even if another node sets it; undefined if only a run can tell.
export const valueOf = (node, name) => {
  const input = inputNamed(node, name);
  if (!isConnected(node, input)) return widgetNamed(node, name)?.value;
  const origin = originOf(node, input);
  if (!origin) return undefined;
  if (origin.promoted) return widgetNamed(origin.node, origin.node.inputs[origin.slot].name)?.value;
  return isPrimitive(origin.node) ? origin.node.widgets?.[0]?.value : undefined;
};

// The value of a node's only field of a type.
const valueOfOnly = (node, type) => {
  const found = node.inputs.filter((input) => input.type === type);
  return found.length === 1 ? valueOf(node, found[0].name) : undefined;
};

// The input that a switch of another pack passes on, if its fields say so: a boolean means `on_true` or `on_false`, a number
// the input whose name ends with it.
const chosenInput = (node) => {
  const [flag, number] = ["BOOLEAN", "INT"].map((type) => valueOfOnly(node, type));
  if (flag !== undefined && inputNamed(node, "on_true")) return inputNamed(node, flag ? "on_true" : "on_false");
  return number === undefined ? undefined : node.inputs.find(({ name }) => new RegExp(`\\D0*${number}$`).test(name));
};

const takesConcepts = ({ type }) => LiteGraph.isValidConnection("SEGA_CONCEPT,SEGA_CONCEPT_STACK", type);

// {node, isSure} for each concept; not sure where only a run decides between them.
const conceptsFrom = (origin, seen = []) => {
  if (!origin || origin.promoted || seen.includes(origin.node)) return [];
  const { node, slot } = origin;
  if (isConcept(node)) return [{ node, isSure: true }];
  const from = (input) => conceptsFrom(originOf(node, input), [...seen, node]);
  const inputs = node.inputs.filter(takesConcepts);
  if (isStack(node)) {
    const extended = inputNamed(node, "stack");
    return [extended, ...inputs.filter((input) => input !== extended)].flatMap(from);
  }
  const chosen = chosenInput(node);
  if (chosen) return from(chosen);
  const found = inputs.map(from).filter(({ length }) => length > 0);
  // Switches without fields pass on the first that is there; a list is every one in turn.
  const isFirst = !node.widgets?.length && node.outputs[slot].shape !== LiteGraph.GRID_SHAPE;
  if (found.length < 2 || isFirst) return found[0] ?? [];
  return [...new Set(found.flat().map(({ node }) => node))].map((node) => ({ node, isSure: false }));
};

// A sampler's concepts, in its order: {node, isSure}.
export const conceptsOf = (sampler) => conceptsFrom(originOf(sampler, inputNamed(sampler, "concepts")));

const runs = (node) => node.mode !== MUTED && node.mode !== BYPASSED;

// The samplers of a graph, each with its concepts.
export const samplersIn = (root) =>
  nodesIn(root)
    .filter((node) => isSampler(node) && runs(node))
    .map((sampler) => ({ sampler, concepts: conceptsOf(sampler) }));

// Whether a node's model, guider or schedule comes from another node.
export const isModelOf = (source, node, seen = new Set()) => {
  if (seen.has(node)) return false;
  seen.add(node);
  return (node.inputs ?? [])
    .filter((input) => ["MODEL", "GUIDER"].includes(input.type))
    .some((input) => {
      const origin = originOf(node, input)?.node;
      return origin !== undefined && (origin === source || isModelOf(source, origin, seen));
    });
};

// A sampling's `steps` as its node counts them, and the `skipped` steps before them: `denoise` below 1 is the end of a
// longer schedule. Undefined if only a run can tell.
const scheduleFrom = (node) => {
  const steps = valueOf(node, "steps");
  const denoise = widgetNamed(node, "denoise") ? valueOf(node, "denoise") : 1;
  if (!Number.isInteger(steps) || steps < 1 || !(denoise > 0)) return undefined;
  return { steps, skipped: denoise > 0.9999 ? 0 : Math.trunc(steps / denoise) - steps };
};

const samples = (node) => runs(node) && node.outputs?.some((output) => output.type === "LATENT");

// The sampler itself, or the nodes that use the model it patches.
const ends = (sampler, isEnd) => {
  if (isEnd(sampler)) return [sampler];
  return nodesIn(sampler.graph.rootGraph ?? sampler.graph).filter((node) => isEnd(node) && isModelOf(sampler, node));
};

// The schedule of a sampler, or of the node that samples with the model it patches.
export const scheduleOf = (sampler) =>
  ends(sampler, samples)
    .map((node) => (widgetNamed(node, "steps") ? node : originOf(node, inputNamed(node, "sigmas"))?.node))
    .map((node) => node && widgetNamed(node, "steps") && scheduleFrom(node))
    .find(Boolean);

// The first step of a sampler that runs part of a schedule, such as KSampler (Advanced).
export const firstStepOf = (node) => (widgetNamed(node, "start_at_step") && valueOf(node, "start_at_step")) || 0;

const POSITIVE = ["positive", "conditioning", "cond1"];

const positiveOf = (node) =>
  POSITIVE.map((name) => inputNamed(node, name)).find((input) => input?.type === "CONDITIONING");

// The positive inputs of a sampler, or of the nodes that use the model it patches: {node, input}.
export const positivesOf = (sampler) =>
  ends(sampler, (node) => runs(node) && positiveOf(node)).map((node) => ({ node, input: positiveOf(node) }));

// The node of an execution id: "7", or "12:5" for node 5 in the subgraph node 12.
export const nodeOfRun = (root, id) =>
  String(id)
    .split(":")
    .reduce((found, part) => found?.subgraph?._nodes.find(({ id }) => String(id) === part), { subgraph: root });
