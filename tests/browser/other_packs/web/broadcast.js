// UseEverywhere's way: a record in the workflow of what goes where, and links that exist only while a prompt is made.

import { app } from "/scripts/app.js";

const sent = (graph) => {
  const found = [];
  for (const sender of graph._nodes.filter(({ comfyClass }) => comfyClass === "TestBroadcast")) {
    const link = sender.getInputLink(0);
    if (!link) continue;
    const { type } = graph.getNodeById(link.origin_id).outputs[link.origin_slot];
    for (const node of graph._nodes.filter((node) => node !== sender && node.id !== link.origin_id)) {
      node.inputs.forEach((input, slot) => {
        if (input.type !== type || input.widget || node.isInputConnected(slot)) return;
        const upstream = String(link.origin_id);
        found.push({ downstream: String(node.id), downstream_slot: slot, upstream, upstream_slot: link.origin_slot });
      });
    }
  }
  return found;
};

app.registerExtension({
  name: "Test.broadcast",

  setup() {
    setInterval(() => {
      app.graph.extra.ue_links = sent(app.graph);
    }, 50);
    const graphToPrompt = app.graphToPrompt;
    app.graphToPrompt = async function (...given) {
      const links = sent(app.graph).map(({ downstream, downstream_slot, upstream, upstream_slot }) =>
        app.graph.getNodeById(upstream).connect(upstream_slot, app.graph.getNodeById(downstream), downstream_slot),
      );
      try {
        return await graphToPrompt.apply(this, given);
      } finally {
        for (const { id } of links) app.graph.removeLink(id);
      }
    };
  },
});
