// A concept's settings, when it acts, and warnings about settings without effect.

import { valueOf } from "./graph.js";
import { comparedOf } from "./texts.js";
import { word } from "./words.js";

const FIELDS = ["direction", "strength", "threshold", "attention_threshold", "start_percent", "end_percent", "weight", "instead_of"];

// The fields by name; undefined if only a run can tell.
export const settingsOf = (node) => ({
  ...Object.fromEntries(FIELDS.map((name) => [name, valueOf(node, name)])),
  text: nameOf(node),
  compared: comparedOf(node),
});

const nameOf = (node) => {
  if (node.comfyClass !== "SEGAConcept") return node.title;
  const text = valueOf(node, "text");
  return text == null ? node.title : String(text).trim();
};

// Assumed when the number of steps is not known, so percents go in steps of 5%.
const UNKNOWN_STEPS = 20;
const TINY = 1e-6;

// The number of steps in a schedule, including skipped ones.
export const wholeOf = (schedule) => (schedule ? schedule.skipped + schedule.steps : UNKNOWN_STEPS);

// The first step that is not before a share of the sampling.
export const stepAt = (percent, whole) => Math.ceil(percent * whole - TINY);

// The share of the sampling at which a step starts. Fields keep three digits; rounding up would land after the step.
export const percentAt = (step, whole) => Math.floor((1000 * step) / whole + TINY) / 1000;

// The steps in which the concept acts, as the sampler counts them: {first, last}; first > last is never.
export const actingSteps = ({ start_percent, end_percent }, schedule) => {
  const { steps, skipped } = schedule;
  const whole = wholeOf(schedule);
  const first = Math.max(stepAt(start_percent ?? 0, whole) - skipped, 0) + 1;
  return { first, last: end_percent < 1 ? stepAt(end_percent, whole) - skipped : steps };
};

const TINY_SHARE = 0.005;

// Whether there is no text.
export const isEmpty = ({ text, instead_of }) => text === "" && instead_of === "";

// Reasons why the concept has no visible effect, as sentences.
export const warningsOf = (settings) => {
  const { strength, weight, threshold, attention_threshold, start_percent, end_percent, text, instead_of, compared } = settings;
  const found = [];
  if (isEmpty(settings)) found.push(word("noText"));
  else if (compared && compared.text === compared.instead_of) found.push(word("sameTexts"));
  if (strength === 0) found.push(word("noStrength"));
  if (weight === 0) found.push(word("noWeight"));
  if (end_percent <= start_percent) found.push(word("endsFirst", { start_percent, end_percent }));
  const share = 1 - Math.max(threshold ?? 0, attention_threshold ?? 0);
  if (share <= TINY_SHARE + 1e-9) found.push(word("tinyShare", { percent: +(100 * share).toFixed(2) }));
  return found;
};

// Whether the concept acts at a step, counted from 0.
export const actsAt = (settings, step, schedule) => {
  const { first, last } = actingSteps(settings, schedule);
  return settings.strength !== 0 && settings.weight !== 0 && step + 1 >= first && step + 1 <= last;
};
