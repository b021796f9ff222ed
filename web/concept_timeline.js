// The concept nodes' timeline: a bar with draggable start and end, the texts that are compared, and warnings.

import { app } from "/scripts/app.js";

import { actingSteps, isEmpty, percentAt, settingsOf, stepAt, warningsOf, wholeOf } from "./concept_settings.js";
import { inputNamed, isConcept, isConnected, widgetNamed } from "./graph.js";
import { connectPrompt, promptFor } from "./prompt.js";
import { difference, isAnswered } from "./texts.js";
import { addView, make, stepOf, undoable, undoableWithSizes } from "./views.js";
import { word } from "./words.js";

const isFree = (node, name) => !isConnected(node, inputNamed(node, name));

// Without the field's callback, which rounds numbers to the field's step.
const write = (node, name, value) => {
  const widget = widgetNamed(node, name);
  if (!widget || !isFree(node, name) || widget.value === value) return;
  widget.value = value;
  app.canvas?.setDirty(true, true);
};

const percentOf = (share) => +(100 * share).toFixed(1);

const windowOf = ({ connected, schedule, start, end, settings }) => {
  if (!connected) return word("notConnected");
  const percents = { from: percentOf(start), to: percentOf(end) };
  if (!schedule) return word("actsIn", percents);
  const { steps } = schedule;
  const { first, last } = actingSteps(settings, schedule);
  return first > last ? word("actsNever", { steps, ...percents }) : word("actsInOf", { first, last, steps, ...percents });
};

// Characters shown before, in and after the difference; cut between words if there are spaces.
const SHOWN = [28, 60, 16];
const MORE = "…";

const lastOf = (text, most) => (text.length > most ? MORE + text.slice(-most).replace(/^\S*\s+/, "") : text);

const firstOf = (text, most) => (text.length > most ? text.slice(0, most).replace(/\s+\S*$/, "") + MORE : text);

const shortened = ([before, changed, after]) => [
  lastOf(before, SHOWN[0]),
  firstOf(changed, SHOWN[1]),
  firstOf(after, SHOWN[2]),
];

const comparedRow = (label, text, other) => {
  const [before, changed, after] = shortened(difference(text, other));
  const shown = make("dd", "", {}, before, make("b", "", {}, changed), after);
  shown.title = text;
  return [make("dt", "", {}, label), shown];
};

const addTimeline = (node) => {
  const direction = make("button", "sega-direction", { type: "button" });
  const span = make("span", "sega-span");
  const skipped = make("div", "sega-skipped");
  const active = make("div", "sega-active");
  const now = make("div", "sega-now");
  const start = make("div", "sega-handle", { role: "slider", tabindex: "0", "data-end": "start" });
  const end = make("div", "sega-handle", { role: "slider", tabindex: "0", "data-end": "end" });
  const track = make("div", "sega-track", {}, skipped, active, now, start, end);
  const texts = make("dl", "sega-texts");
  const connect = make("button", "", { type: "button" });
  const hint = make("span", "sega-quiet");
  const prompt = make("div", "sega-prompt", {}, hint, connect);
  const warnings = make("ul", "sega-warnings", { role: "status" });
  const head = make("div", "sega-head", {}, direction, span);
  const content = make("div", "sega-timeline", {}, head, track, texts, prompt, warnings);

  let shown, connectable;

  const setStart = (step) => {
    const last = stepAt(shown.end, shown.whole) - 1;
    write(node, "start_percent", percentAt(Math.max(Math.min(step, last), 0), shown.whole));
  };
  const setEnd = (step) => {
    const first = stepAt(shown.start, shown.whole) + 1;
    write(node, "end_percent", percentAt(Math.min(Math.max(step, first), shown.whole), shown.whole));
  };

  const drag = (handle, move) => {
    handle.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || handle.ariaDisabled === "true") return;
      event.stopPropagation();
      handle.focus();
      handle.setPointerCapture(event.pointerId);
    });
    handle.addEventListener("pointermove", (event) => {
      if (!handle.hasPointerCapture(event.pointerId)) return;
      const box = track.getBoundingClientRect();
      move(Math.round(((event.clientX - box.left) / box.width) * shown.whole));
      show();
    });
  };

  const keys = (handle, at, move) => {
    handle.addEventListener("keydown", (event) => {
      const { whole } = shown;
      const tenth = Math.max(1, Math.round(whole / 10));
      const by = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -tenth, PageUp: tenth }[event.key];
      const to = { Home: 0, End: whole }[event.key] ?? (by === undefined ? undefined : stepAt(at(), whole) + by);
      if (to === undefined || handle.ariaDisabled === "true") return;
      event.preventDefault();
      event.stopPropagation();
      undoable(() => move(to));
      show();
    });
  };

  drag(start, setStart);
  drag(end, setEnd);
  keys(start, () => shown.start, setStart);
  keys(end, () => shown.end, setEnd);
  direction.addEventListener("click", () => {
    undoable(() => write(node, "direction", shown.remove ? "add" : "remove"));
    show();
  });
  connect.addEventListener("click", () => {
    undoableWithSizes(node.graph, () => connectPrompt(node, connectable), () => isAnswered(node));
    app.canvas?.setDirty(true, true);
    show();
  });

  const read = (samplers) => {
    const users = samplers.filter(({ concepts }) => concepts.some((concept) => concept.node === node));
    const used = users.find(({ sampler }) => stepOf(sampler) !== undefined) ?? users[0];
    const settings = settingsOf(node);
    connectable = promptFor(node, users.map(({ sampler }) => sampler));
    return {
      // Links through other packs' nodes may not be found.
      connected: users.length > 0 || node.isOutputConnected(0),
      schedule: used?.schedule,
      step: used && stepOf(used.sampler),
      whole: wholeOf(used?.schedule),
      settings,
      start: settings.start_percent ?? 0,
      end: settings.end_percent ?? 1,
      remove: settings.direction === "remove",
      prompt: connectable && (connectable.why ?? "open"),
      warnings: warningsOf(settings),
      free: ["direction", "start_percent", "end_percent"].map((name) => isFree(node, name)),
    };
  };

  const saying = (key, percent) => {
    const step = shown.schedule && stepAt(percent, shown.whole) - shown.schedule.skipped + (key === "starts" ? 1 : 0);
    const values = { percent: percentOf(percent), step };
    if (key === "starts") return step > 0 ? word("startsAtStep", values) : word("startsAt", values);
    if (percent >= 1) return word("endsNever");
    return step > 0 ? word("endsAfterStep", values) : word("endsAt", values);
  };

  const slide = (handle, label, percent, text, isOpen) => {
    handle.style.left = `${100 * percent}%`;
    handle.ariaLabel = handle.title = label;
    handle.ariaValueMin = "0";
    handle.ariaValueMax = "100";
    handle.ariaValueNow = String(percentOf(percent));
    handle.ariaValueText = text;
    handle.ariaDisabled = String(!isOpen);
  };

  const draw = (found) => {
    shown = found;
    const { whole, schedule, start: from, end: to, remove, step, free, settings } = found;
    content.dataset.direction = remove ? "remove" : "add";
    content.classList.toggle("sega-off", found.warnings.length > 0);
    direction.textContent = remove ? `− ${word("remove")}` : `+ ${word("add")}`;
    direction.title = word("directionHint");
    direction.disabled = !free[0];
    span.textContent = span.title = windowOf(found);
    active.style.left = `${100 * from}%`;
    active.style.width = `${100 * Math.max(to - from, 0)}%`;
    track.style.setProperty("--sega-steps", whole <= 60 ? whole : 1);
    const before = schedule?.skipped ?? 0;
    skipped.hidden = before === 0;
    skipped.title = word("skipped");
    skipped.style.width = `${(100 * before) / whole}%`;
    now.hidden = step === undefined;
    now.style.left = `${(100 * (before + (step ?? 0) + 0.5)) / whole}%`;
    slide(start, word("startHint"), from, saying("starts", from), free[1]);
    slide(end, word("endHint"), to, saying("ends", to), free[2]);
    const { text, instead_of } = settings.compared ?? {};
    texts.replaceChildren(
      ...(typeof instead_of === "string" && !isEmpty(settings)
        ? [...comparedRow(word("with"), text, instead_of), ...comparedRow(word("without"), instead_of, text)]
        : []),
    );
    prompt.hidden = !found.prompt;
    hint.textContent = found.prompt === "dynamic" ? word("promptDynamic", { choice: "{a|b}" }) : word("promptOpen");
    connect.textContent = word("connectPrompt");
    connect.title = word("connectHint");
    connect.hidden = found.prompt === "dynamic";
    warnings.replaceChildren(...found.warnings.map((text) => make("li", "", {}, `⚠ ${text}`)));
  };

  // Room for the texts, which come and go as the user types.
  const minHeight = node.comfyClass === "SEGAConcept" ? 90 : 0;
  const show = addView(node, "timeline", content, { read, draw, minHeight });
};

app.registerExtension({
  name: "SemanticGuidance.timeline",

  nodeCreated(node) {
    if (isConcept(node)) addTimeline(node);
  },
});
