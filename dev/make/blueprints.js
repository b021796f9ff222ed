// Makes one node of a template, all but what stays outside; returns what the editor would save.
async ({ template, name, outside, sockets, fields, size }) => {
  await app.loadGraphData(template)
  const graph = app.graph
  const inputs = []
  for (const [name, [id, slot]] of Object.entries(sockets)) {
    const { links, type } = graph.getNodeById(id).outputs[slot]
    const ends = links.map((link) => graph.getLink(link)).map(({ target_id, target_slot }) => [target_id, target_slot])
    inputs.push({ name, type, ends })
  }
  for (const [name, [id, widget, value]] of Object.entries(fields)) {
    const { inputs: slots, widgets } = graph.getNodeById(id)
    const slot = slots.findIndex((input) => input.widget?.name === widget)
    const shown = value ?? widgets.find((each) => each.name === widget).value
    inputs.push({ name, type: slots[slot].type, ends: [[id, slot]], value: shown })
  }
  const left = [...outside.map((id) => graph.getNodeById(id)), ...graph.groups]
  const { subgraph, node } = graph.convertToSubgraph(new Set(graph._nodes.filter((each) => !left.includes(each))))
  for (const each of left) graph.remove(each)
  // The editor's own choice of what is on the outside has another order, and other fields.
  for (const input of [...subgraph.inputs]) subgraph.removeInput(input)
  for (const { name, type, ends, value } of inputs) {
    const input = subgraph.addInput(name, type)
    for (const [id, slot] of ends) input.connect(subgraph.getNodeById(id).inputs[slot], subgraph.getNodeById(id))
    if (value !== undefined) node.widgets.find((each) => each.name === name).value = value
  }
  subgraph.name = node.title = name
  node.pos = [0, 0]
  node.setSize(size)
  return JSON.stringify(graph.serialize())
}
