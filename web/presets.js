// SEGAConcept: picking a preset writes its values into the node's other fields.

import { app } from "/scripts/app.js";

import { isConnected } from "./graph.js";

let presets = {};

const readPresets = (definitions) => {
  presets = definitions.SEGAConcept?.input?.optional?.preset?.[1]?.sega_presets ?? {};
};

// Without the fields' callbacks, which round numbers to the field's step.
const fill = (node, values) => {
  for (const [name, value] of Object.entries(values)) {
    const widget = node.widgets.find((widget) => widget.name === name);
    if (widget) widget.value = value;
  }
  app.canvas?.setDirty(true, true);
};

app.registerExtension({
  name: "SemanticGuidance.presets",

  addCustomNodeDefs: readPresets,

  // The user may have edited the file.
  refreshComboInNodes: readPresets,

  nodeCreated(node) {
    if (node.comfyClass !== "SEGAConcept") return;
    const widget = node.widgets?.find((widget) => widget.name === "preset");
    if (!widget) return;
    const callback = widget.callback;
    // Called when the user picks one, and by a connected primitive; not on loading a workflow or on undo.
    widget.callback = function (value, ...rest) {
      const result = callback?.call(this, value, ...rest);
      const connected = node.inputs?.some((input) => input.widget?.name === "preset" && isConnected(node, input));
      if (!connected && Object.hasOwn(presets, value)) fill(node, presets[value]);
      return result;
    };
  },
});
