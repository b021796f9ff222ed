// SEGASampler and SEGAModelPatch: the connected concepts, when each acts, and which act while the sampler runs.

import { app } from "/scripts/app.js";

import { addConceptButton } from "./add_concept.js";
import { actsAt, settingsOf, UNKNOWN_STEPS, warningsOf } from "./concept_settings.js";
import { inputNamed, isSampler, nodesIn } from "./graph.js";
import { addView, make, rootGraph, stepOf } from "./views.js";
import { word } from "./words.js";

const goTo = (node) => {
  if (app.canvas.graph !== node.graph) app.canvas.setGraph(node.graph);
  app.canvas.centerOnNode(node);
  app.canvas.selectNode(node);
};

const conceptIn = (id) => nodesIn(rootGraph()).find((node) => `${node.graph.id}:${node.id}` === id);

const rowOf = ({ id, text, remove, warnings, from, to }, scale) => {
  const sign = make("span", "sega-sign", {}, warnings.length ? "⚠" : remove ? "−" : "+");
  const name = make("button", "sega-name", { type: "button" }, text || word("noName"));
  name.addEventListener("click", (event) => {
    // On its way up the click would select this node.
    event.stopPropagation();
    goTo(conceptIn(id));
  });
  const active = make("div", "sega-active");
  active.style.left = `${(100 * from) / scale}%`;
  active.style.width = `${(100 * (to - from)) / scale}%`;
  const bar = make("div", "sega-track", {}, active, make("div", "sega-now"));
  const row = make("li", "sega-row", { "data-direction": remove ? "remove" : "add" }, sign, name, bar);
  row.title = warnings.join("\n");
  row.classList.toggle("sega-off", warnings.length > 0);
  return row;
};

const showStep = (row, isOn, step, scale) => {
  row.classList.toggle("sega-on", isOn);
  row.ariaCurrent = isOn ? "step" : null;
  const now = row.querySelector(".sega-now");
  now.hidden = step === undefined;
  now.style.left = `${(100 * ((step ?? 0) + 0.5)) / scale}%`;
};

const addList = (node) => {
  const list = make("ul", "sega-rows");
  const status = make("span", "sega-span");
  const add = addConceptButton(node);
  const content = make("div", "sega-concepts", {}, make("div", "sega-head", {}, add, status), list);

  const read = (samplers) => {
    const found = samplers.find(({ sampler }) => sampler === node);
    const step = found && stepOf(node);
    const concepts = (found?.concepts ?? []).map((concept) => ({ concept, settings: settingsOf(concept) }));
    const ends = concepts.flatMap(({ settings }) => [settings.warmup_steps + 1 || 1, settings.cooldown_steps ?? 0]);
    const scale = found?.steps ?? Math.max(UNKNOWN_STEPS, ...ends);
    return {
      step,
      scale,
      isWithout: inputNamed(node, "concepts").link == null,
      on: concepts.map(({ settings }) => step !== undefined && actsAt(settings, step)),
      rows: concepts.map(({ concept, settings }) => {
        const from = Math.min(settings.warmup_steps ?? 0, scale);
        return {
          id: `${concept.graph.id}:${concept.id}`,
          text: settings.text,
          remove: settings.direction === "remove",
          warnings: warningsOf(settings, found.steps),
          from,
          to: Math.max(from, Math.min(settings.cooldown_steps || scale, scale)),
        };
      }),
    };
  };

  let listed;
  const draw = ({ step, scale, isWithout, on, rows }) => {
    add.textContent = `+ ${word("concept")}`;
    add.title = word("addConcept");
    const active = on.filter(Boolean).length;
    if (step !== undefined) status.textContent = word("running", { step: step + 1, scale, active, count: rows.length });
    else status.textContent = isWithout ? word("noConcepts") : "";
    // Rows stay while the steps go on: they may have the focus, or be under a click.
    const found = JSON.stringify([rows, scale]);
    if (found !== listed) list.replaceChildren(...rows.map((row) => rowOf(row, scale)));
    listed = found;
    on.forEach((isOn, place) => showStep(list.children[place], isOn, step, scale));
  };

  addView(node, "concepts", content, { read, draw });
};

app.registerExtension({
  name: "ComfyUI-SEGA.concepts",

  nodeCreated(node) {
    if (isSampler(node)) addList(node);
  },
});
