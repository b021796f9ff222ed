// Colours of our own link types, as in the plot; sega.css has them for Nodes 2.0.

import { app } from "/scripts/app.js";

const COLOURS = { SEGA_CONCEPT: "#56b4e9", SEGA_CONCEPT_STACK: "#2f7fb5", SEGA_GUIDANCE: "#e0a458" };

// A palette clears the colours of types that it does not know.
const offer = (colours, type) => {
  let chosen = colours[type];
  Object.defineProperty(colours, type, {
    get: () => chosen || COLOURS[type],
    set: (colour) => (chosen = colour),
    configurable: true,
    enumerable: true,
  });
};

app.registerExtension({
  name: "SemanticGuidance.colours",

  setup() {
    for (const type of Object.keys(COLOURS)) {
      offer(app.canvas.default_connection_color_byType, type);
      offer(app.canvas.constructor.link_type_colors, type);
    }
  },
});
