// Links and slots of our own types, in the colours of the plot.

import { app } from "/scripts/app.js";

const COLOURS = { SEGA_CONCEPT: "#56b4e9", SEGA_CONCEPT_STACK: "#2f7fb5", SEGA_GUIDANCE: "#e0a458" };

app.registerExtension({
  name: "ComfyUI-SEGA.colours",

  setup() {
    Object.assign(app.canvas.default_connection_color_byType, COLOURS);
    Object.assign(app.canvas.constructor.link_type_colors, COLOURS);
    for (const [type, colour] of Object.entries(COLOURS)) {
      document.documentElement.style.setProperty(`--color-datatype-${type}`, colour);
    }
  },
});
