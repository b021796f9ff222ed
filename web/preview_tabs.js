// SEGAPreview: one tab for each concept's heat maps and one for the plot, instead of a grid of all pictures.

import { api } from "/scripts/api.js";
import { app } from "/scripts/app.js";

import { addView, make, rootGraph } from "./views.js";
import { word } from "./words.js";

const SIZE = [420, 500];
const HEIGHT = 300;

const outputOf = (node) => {
  const isInSubgraph = node.graph !== rootGraph();
  return app.nodeOutputs[isInSubgraph ? `${node.graph.id}:${node.id}` : String(node.id)];
};

const urlOf = ({ filename, subfolder, type }) =>
  api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type })}`);

// The pictures in the order of the tabs; the plot's tab has no text.
const tabsOf = ({ images, sega_tabs: tabs }) => {
  let first = 0;
  return tabs.map(({ text, direction, count }) => {
    const shown = images.slice(first, first + count);
    first += count;
    return { title: direction ? text : word("strength"), direction, images: shown };
  });
};

const addTabs = (node) => {
  // Hide the editor's own pictures. On the canvas it draws those in `imgs`.
  node.hideOutputImages = true;
  Object.defineProperty(node, "imgs", { get: () => undefined, set: () => {} });

  const list = make("div", "sega-tabs", { role: "tablist" });
  const picture = make("img", "sega-picture", { alt: "", draggable: "false" });
  const place = make("span", "sega-span");
  const back = make("button", "", { type: "button" }, "‹");
  const on = make("button", "", { type: "button" }, "›");
  const pages = make("div", "sega-pages", {}, back, place, on);
  const empty = make("p", "sega-empty");
  const content = make("div", "sega-preview", {}, list, empty, picture, pages);

  let tabs = [];
  let tab = 0;
  let page = 0;

  const show = () => {
    const { images = [], title = "" } = tabs[tab] ?? {};
    page = Math.min(page, Math.max(images.length - 1, 0));
    empty.hidden = tabs.length > 0;
    empty.textContent = word("noPreview");
    picture.hidden = tabs.length === 0;
    pages.hidden = images.length < 2;
    place.textContent = `${page + 1} / ${images.length}`;
    back.title = word("previous");
    on.title = word("next");
    if (images.length === 0) return;
    picture.src = urlOf(images[page]);
    picture.alt = title;
    picture.title = word("openPicture");
    for (const [number, button] of [...list.children].entries()) {
      button.setAttribute("aria-selected", String(number === tab));
      button.tabIndex = number === tab ? 0 : -1;
    }
  };

  const choose = (number) => {
    tab = (number + tabs.length) % tabs.length;
    show();
    list.children[tab].focus();
  };

  const turn = (by) => {
    const { length } = tabs[tab].images;
    page = (page + by + length) % length;
    show();
  };

  back.addEventListener("click", () => turn(-1));
  on.addEventListener("click", () => turn(1));
  picture.addEventListener("dblclick", () => window.open(picture.src, "_blank", "noopener"));
  list.addEventListener("keydown", (event) => {
    const moves = {
      ArrowLeft: () => choose(tab - 1),
      ArrowRight: () => choose(tab + 1),
      ArrowUp: () => turn(-1),
      ArrowDown: () => turn(1),
    };
    if (!moves[event.key]) return;
    event.preventDefault();
    event.stopPropagation();
    moves[event.key]();
  });

  const read = () => {
    const output = outputOf(node);
    return output?.sega_tabs && output.images ? tabsOf(output) : [];
  };

  const draw = (found) => {
    tabs = found;
    tab = Math.min(tab, Math.max(tabs.length - 1, 0));
    list.replaceChildren(
      ...tabs.map(({ title, direction }, number) => {
        const sign = direction ? (direction === "remove" ? "− " : "+ ") : "";
        const button = make("button", "sega-tab", { type: "button", role: "tab" }, sign + title);
        if (direction) button.dataset.direction = direction;
        button.title = title;
        button.addEventListener("click", () => choose(number));
        return button;
      }),
    );
    show();
  };

  addView(node, "preview", content, { read, draw, growing: true, minHeight: HEIGHT });
  node.setSize(SIZE);
};

app.registerExtension({
  name: "SemanticGuidance.preview",

  nodeCreated(node) {
    if (node.comfyClass === "SEGAPreview") addTabs(node);
  },
});
