// The two texts that a concept compares. The server works them out, as it does in a run.

import { api } from "/scripts/api.js";

import { inputNamed, isConnected, valueOf } from "./graph.js";
import { isDynamic } from "./prompt.js";

// Wait until the fields have not changed for this long before asking the server, in milliseconds.
const STILL = 300;
const MOST = 200;

// Answers by question: undefined until it comes, null if there is none.
const answers = new Map();
// By node: the last question, since when, and the last answer.
const looks = new WeakMap();

// The question about a concept's texts; undefined if only a run can tell.
const questionOf = (node) => {
  if (node.comfyClass !== "SEGAConcept") return undefined;
  const text = valueOf(node, "text");
  const prompt = isConnected(node, inputNamed(node, "prompt")) ? valueOf(node, "prompt") : null;
  const instead_of = valueOf(node, "instead_of");
  if (typeof text !== "string" || typeof instead_of !== "string" || prompt === undefined || isDynamic(text)) return undefined;
  if (prompt === null && instead_of.trim() === "") return undefined;
  return JSON.stringify({ text, prompt, instead_of });
};

const ask = async (question) => {
  if (answers.size >= MOST) answers.clear();
  answers.set(question, undefined);
  try {
    const headers = { "Content-Type": "application/json" };
    const answer = await api.fetchApi("/sega/texts", { method: "POST", headers, body: question });
    answers.set(question, answer.ok ? await answer.json() : null);
  } catch {
    answers.set(question, null);
  }
};

api.addEventListener("reconnected", () => answers.clear());

// The {text, instead_of} that a concept compares; undefined if not known, or if there is only the text.
export const comparedOf = (node) => {
  const question = questionOf(node);
  if (!question) {
    looks.delete(node);
    return undefined;
  }
  const look = looks.get(node) ?? {};
  if (look.question !== question) Object.assign(look, { question, since: performance.now() });
  looks.set(node, look);
  if (answers.has(question)) {
    if (answers.get(question) !== undefined) look.answer = answers.get(question);
  } else if (performance.now() - look.since >= STILL) ask(question);
  // Keep the last answer until the next one comes.
  return look.answer ?? undefined;
};

// Whether the server has answered for the concept's current fields.
export const isAnswered = (node) => {
  const question = questionOf(node);
  return !question || answers.get(question) !== undefined;
};

const startOf = (one, other, most) => {
  let count = 0;
  while (count < most && one[count] === other[count]) count += 1;
  return count;
};

const WORD = /[\p{L}\p{N}]+|\s+|[^\p{L}\p{N}\s]/gu;

// The difference of one text from another, word by word: [text before, difference, text after].
export const difference = (text, other) => {
  const [one, two] = [text, other].map((found) => found.match(WORD) ?? []);
  const most = Math.min(one.length, two.length);
  const before = startOf(one, two, most);
  const after = startOf(one.toReversed(), two.toReversed(), most - before);
  const last = one.length - after;
  return [one.slice(0, before), one.slice(before, last), one.slice(last)].map((words) => words.join(""));
};
