// The samplers' and SEGAModelPatch's list of concepts: when each acts, and which ones act while the sampler runs.

import { app } from "/scripts/app.js";

import { addConceptButton } from "./add_concept.js";
import { actsAt, settingsOf, warningsOf, wholeOf } from "./concept_settings.js";
import { inputNamed, isConnected, isSampler, nodesIn } from "./graph.js";
import { addView, make, rootGraph, stepOf } from "./views.js";
import { word } from "./words.js";

const goTo = (node) => {
  if (app.canvas.graph !== node.graph) app.canvas.setGraph(node.graph);
  app.canvas.centerOnNode(node);
  app.canvas.selectNode(node);
};

const conceptIn = (id) => nodesIn(rootGraph()).find((node) => `${node.graph.id}:${node.id}` === id);

const signOf = ({ warnings, isSure, remove }) => {
  if (warnings.length > 0) return "⚠";
  if (!isSure) return "?";
  return remove ? "−" : "+";
};

const rowOf = (concept, whole) => {
  const { id, text, remove, warnings, from, to } = concept;
  const sign = make("span", "sega-sign", {}, signOf(concept));
  const name = make("button", "sega-name", { type: "button" }, text || word("noName"));
  name.addEventListener("click", (event) => {
    // Otherwise the click would also select this node.
    event.stopPropagation();
    goTo(conceptIn(id));
  });
  const active = make("div", "sega-active");
  active.style.left = `${100 * from}%`;
  active.style.width = `${100 * Math.max(to - from, 0)}%`;
  const bar = make("div", "sega-track", {}, active, make("div", "sega-now"));
  bar.style.setProperty("--sega-steps", whole <= 60 ? whole : 1);
  const row = make("li", "sega-row", { "data-direction": remove ? "remove" : "add" }, sign, name, bar);
  row.title = warnings.join("\n");
  row.classList.toggle("sega-off", warnings.length > 0);
  return row;
};

const showStep = (row, isOn, place) => {
  row.classList.toggle("sega-on", isOn);
  row.ariaCurrent = isOn ? "step" : null;
  const now = row.querySelector(".sega-now");
  now.hidden = place === undefined;
  now.style.left = `${100 * (place ?? 0)}%`;
};

const addList = (node) => {
  const list = make("ul", "sega-rows");
  const status = make("span", "sega-span");
  const add = addConceptButton(node);
  const content = make("div", "sega-concepts", {}, make("div", "sega-head", {}, add, status), list);

  const read = (samplers) => {
    const found = samplers.find(({ sampler }) => sampler === node);
    const step = found && stepOf(node);
    const concepts = (found?.concepts ?? []).map((concept) => ({ ...concept, settings: settingsOf(concept.node) }));
    const schedule = found?.schedule;
    return {
      step,
      schedule,
      isWithout: !isConnected(node, inputNamed(node, "concepts")),
      on: concepts.map(({ isSure, settings }) => isSure && step !== undefined && actsAt(settings, step, schedule)),
      rows: concepts.map(({ node, isSure, settings }) => ({
        id: `${node.graph.id}:${node.id}`,
        text: settings.text,
        isSure,
        remove: settings.direction === "remove",
        warnings: warningsOf(settings),
        from: settings.start_percent ?? 0,
        to: settings.end_percent ?? 1,
      })),
    };
  };

  let listed;
  const draw = ({ step, schedule, isWithout, on, rows }) => {
    add.textContent = `+ ${word("concept")}`;
    add.title = word("addConcept");
    const active = on.filter(Boolean).length;
    if (rows.some(({ isSure }) => !isSure)) status.textContent = word("decidedInRun");
    else if (step === undefined) status.textContent = isWithout ? word("noConcepts") : "";
    else status.textContent = word("running", { step: step + 1, steps: schedule.steps, active, count: rows.length });
    const whole = wholeOf(schedule);
    // Keep the rows during a run: one may have the focus or be under a click.
    const found = JSON.stringify([rows, whole]);
    if (found !== listed) list.replaceChildren(...rows.map((row) => rowOf(row, whole)));
    listed = found;
    const place = step === undefined ? undefined : (schedule.skipped + step + 0.5) / whole;
    on.forEach((isOn, row) => showStep(list.children[row], isOn, place));
  };

  addView(node, "concepts", content, { read, draw });
};

app.registerExtension({
  name: "SemanticGuidance.concepts",

  nodeCreated(node) {
    if (isSampler(node)) addList(node);
  },
});
