// Gives the graph the layout; returns what the editor would save.
async ({ twin, name, columns, note, files, pack, look }) => {
  await app.loadApiJson(twin, name)
  const { system } = await window.comfyAPI.api.api.getSystemStats()
  const host = { cnr_id: 'comfy-core', ver: system.comfyui_version }
  const { widths, heights, noteWidth, title, gap, columnGap, groupRoom, groupTitle } = look
  const graph = app.graph
  const nodeOf = (id) => graph.getNodeById(Number(id))
  const concepts = Object.values(twin).filter(({ class_type }) => class_type === 'SEGAConcept').length
  for (const node of graph._nodes) {
    const type = node.comfyClass
    const [width, height] = node.computeSize()
    const hasList = ['SEGASampler', 'SEGASamplerCustom', 'SEGAModelPatch'].includes(type)
    const list = hasList ? look.list + look.listRow * concepts : 0
    const badge = type.startsWith('SEGA') ? look.badge : 0
    const room = Math.max(heights[type] ?? 0, height + list + badge)
    node.setSize([Math.max(widths[type] ?? 280, type in widths ? 0 : width), Math.ceil(room / 10) * 10])
    for (const widget of node.widgets ?? []) if (widget.name === 'control_after_generate') widget.value = 'fixed'
    const values = node.widgets?.map(({ value }) => value) ?? []
    const models = files.filter(({ name }) => values.includes(name))
    if (models.length) node.properties.models = models
    // Where a node is from, as the Manager notes it.
    const ours = node.constructor.nodeData.python_module.startsWith('custom_nodes.')
    Object.assign(node.properties, ours ? pack : host)
  }
  const words = LiteGraph.createNode('MarkdownNote')
  words.id = Math.max(...Object.keys(twin).map(Number)) + 1
  graph.add(words)
  words.title = note.title
  words.widgets[0].value = note.text
  words.setSize([noteWidth, note.height])
  let x = 0
  columns.forEach((groups, place) => {
    const nodes = groups.flatMap(({ ids }) => ids.map(nodeOf))
    const width = Math.max(...nodes.map((node) => node.size[0]), place === 0 ? noteWidth : 0)
    let y = 0
    for (const { group, ids } of groups) {
      const top = y
      for (const node of ids.map(nodeOf)) {
        node.pos = [x, y]
        node.setSize([width, node.size[1]])
        y += node.size[1] + title + gap
      }
      const frame = new LiteGraph.LGraphGroup(group)
      frame.pos = [x - groupRoom, top - title - groupRoom - groupTitle]
      frame.size = [width + 2 * groupRoom, y - gap - top + 2 * groupRoom + groupTitle]
      frame.color = group.includes('oncept') ? look.conceptColor : look.color
      graph.add(frame)
      y += gap + groupTitle + 2 * groupRoom
    }
    if (place === 0) words.pos = [x, y - groupTitle]
    x += width + columnGap
  })
  return JSON.stringify(graph.serialize())
}
