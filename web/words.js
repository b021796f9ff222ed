// The extension's own words, from locales/<language>/main.json, in the editor's language.

import { api } from "/scripts/api.js";
import { app } from "/scripts/app.js";

let languages = {};
let loading;

export const loadWords = () => {
  loading ??= api
    .fetchApi("/i18n")
    .then((answer) => answer.json())
    .then((found) => (languages = found))
    .catch((error) => console.warn("Semantic Guidance: could not load translations", error));
  return loading;
};

export const language = () => app.ui.settings.getSettingValue("Comfy.Locale") ?? "en";

// A sentence in the editor's language, with {name} replaced by values.name.
export const word = (key, values = {}) => {
  const text = languages[language()]?.sega?.[key] ?? languages.en?.sega?.[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
};
