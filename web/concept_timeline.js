// SEGAConcept: when the concept acts, as a bar over the sampler's steps whose ends are its warm-up and cool-down.

import { app } from "/scripts/app.js";

import { settingsOf, UNKNOWN_STEPS, warningsOf } from "./concept_settings.js";
import { inputNamed, isConcept, widgetNamed } from "./graph.js";
import { addView, make, stepOf, undoable } from "./views.js";
import { word } from "./words.js";

const isFree = (node, name) => inputNamed(node, name)?.link == null;

const write = (node, name, value) => {
  const widget = widgetNamed(node, name);
  if (!widget || !isFree(node, name) || widget.value === value) return;
  widget.value = value;
  widget.callback?.(value);
  app.canvas?.setDirty(true, true);
};

const addTimeline = (node) => {
  const direction = make("button", "sega-direction", { type: "button" });
  const span = make("span", "sega-span");
  const active = make("div", "sega-active");
  const now = make("div", "sega-now");
  const start = make("div", "sega-handle", { role: "slider", tabindex: "0", "data-end": "start" });
  const end = make("div", "sega-handle", { role: "slider", tabindex: "0", "data-end": "end" });
  const track = make("div", "sega-track", {}, active, now, start, end);
  const warnings = make("ul", "sega-warnings", { role: "status" });
  const content = make("div", "sega-timeline", {}, make("div", "sega-head", {}, direction, span), track, warnings);

  let shown;

  const setStart = (step) => write(node, "warmup_steps", Math.min(Math.max(step, 0), (shown.end ?? shown.scale) - 1));
  const setEnd = (step) => {
    const last = Math.max(step, shown.start + 1);
    write(node, "cooldown_steps", last >= shown.scale ? 0 : last);
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
      move(Math.round(((event.clientX - box.left) / box.width) * shown.scale));
      show();
    });
  };

  const keys = (handle, at, move) => {
    handle.addEventListener("keydown", (event) => {
      const tenth = Math.max(1, Math.round(shown.scale / 10));
      const by = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -tenth, PageUp: tenth }[event.key];
      const to = { Home: 0, End: shown.scale }[event.key] ?? (by === undefined ? undefined : at() + by);
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
  keys(end, () => shown.end ?? shown.scale, setEnd);
  direction.addEventListener("click", () => {
    undoable(() => write(node, "direction", shown.remove ? "add" : "remove"));
    show();
  });

  const read = (samplers) => {
    const found = samplers.find(({ concepts }) => concepts.includes(node));
    const settings = settingsOf(node);
    const first = settings.warmup_steps ?? 0;
    const last = settings.cooldown_steps || undefined;
    const scale = found?.steps ?? Math.max(UNKNOWN_STEPS, first + 1, last ?? 0);
    return {
      // What leads through other packs' nodes may not be found.
      connected: found !== undefined || node.outputs[0].links?.length > 0,
      steps: found?.steps,
      step: found && stepOf(found.sampler),
      scale,
      start: first,
      end: last,
      remove: settings.direction === "remove",
      warnings: warningsOf(settings, found?.steps),
      free: ["direction", "warmup_steps", "cooldown_steps"].map((name) => isFree(node, name)),
    };
  };

  const spanOf = ({ connected, steps, start, end }) => {
    const first = start + 1;
    if (!connected) return word("notConnected");
    if (steps === undefined) return end ? word("actsIn", { first, last: end }) : word("actsFrom", { first });
    const last = Math.min(end ?? steps, steps);
    return first > last ? word("actsNever") : word("actsInOf", { first, last, steps });
  };

  const slide = (handle, label, value, text, isOpen) => {
    handle.style.left = `${(100 * Math.min(value, shown.scale)) / shown.scale}%`;
    handle.ariaLabel = handle.title = label;
    handle.ariaValueMin = "0";
    handle.ariaValueMax = String(shown.scale);
    handle.ariaValueNow = String(value);
    handle.ariaValueText = text;
    handle.ariaDisabled = String(!isOpen);
  };

  const draw = (found) => {
    shown = found;
    const { scale, start: first, end: last = scale, remove, step, free } = found;
    content.dataset.direction = remove ? "remove" : "add";
    content.classList.toggle("sega-off", found.warnings.length > 0);
    direction.textContent = remove ? `− ${word("remove")}` : `+ ${word("add")}`;
    direction.title = word("directionHint");
    direction.disabled = !free[0];
    span.textContent = spanOf(found);
    const from = Math.min(first, scale);
    active.style.left = `${(100 * from) / scale}%`;
    active.style.width = `${(100 * Math.max(Math.min(last, scale) - from, 0)) / scale}%`;
    track.style.setProperty("--sega-steps", scale <= 60 ? scale : 1);
    now.hidden = step === undefined;
    now.style.left = `${(100 * ((step ?? 0) + 0.5)) / scale}%`;
    slide(start, word("warmupHint"), first, word("startsAt", { first: first + 1 }), free[1]);
    slide(end, word("cooldownHint"), last, last >= scale ? word("endsNever") : word("endsAfter", { last }), free[2]);
    warnings.replaceChildren(...found.warnings.map((text) => make("li", "", {}, `⚠ ${text}`)));
  };

  const show = addView(node, "timeline", content, { read, draw });
};

app.registerExtension({
  name: "ComfyUI-SEGA.timeline",

  nodeCreated(node) {
    if (isConcept(node)) addTimeline(node);
  },
});
