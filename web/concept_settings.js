// What a concept's fields say, and what in them can have no effect.

import { valueOf } from "./graph.js";
import { word } from "./words.js";

const numbers = ["guidance_scale", "threshold", "attention_threshold", "warmup_steps", "cooldown_steps", "weight"];

// The fields by name; undefined where only a run could tell.
export const settingsOf = (node) => ({
  ...Object.fromEntries(numbers.map((name) => [name, valueOf(node, name)])),
  direction: valueOf(node, "direction"),
  text: nameOf(node),
});

const nameOf = (node) => {
  if (node.comfyClass !== "SEGAConcept") return node.title;
  const text = valueOf(node, "text");
  return text == null ? node.title : String(text).trim();
};

// How long a timeline is where the number of steps is not known.
export const UNKNOWN_STEPS = 20;

const TINY_SHARE = 0.005;

// Why the concept cannot be seen in the picture, as sentences; `steps` may be unknown.
export const warningsOf = (settings, steps) => {
  const { guidance_scale, weight, threshold, attention_threshold, warmup_steps, cooldown_steps, text } = settings;
  const found = [];
  if (text === "") found.push(word("noText"));
  if (guidance_scale === 0) found.push(word("noScale"));
  if (weight === 0) found.push(word("noWeight"));
  if (cooldown_steps > 0 && cooldown_steps <= warmup_steps) found.push(word("endsFirst", { warmup_steps, cooldown_steps }));
  else if (steps !== undefined && warmup_steps >= steps) found.push(word("startsLate", { warmup_steps, steps }));
  const share = 1 - Math.max(threshold ?? 0, attention_threshold ?? 0);
  if (share <= TINY_SHARE + 1e-9) found.push(word("tinyShare", { percent: +(100 * share).toFixed(2) }));
  return found;
};

// Whether the concept changes the picture at this step.
export const actsAt = (settings, step) =>
  settings.guidance_scale !== 0 &&
  settings.weight !== 0 &&
  step >= settings.warmup_steps &&
  (settings.cooldown_steps === 0 || step < settings.cooldown_steps);
