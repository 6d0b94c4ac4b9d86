// A desk at which one query is looked at: its scores and its weights in three maps, for the head
// that is chosen among all.

import { fixed, gridCursor, h, place, ring } from "./common.js";
import { legend, paint, ramp, twoSided } from "./colours.js";
import { counted, deskOf } from "./live_desk.js";
import { headGrid } from "./live_heads.js";

// titles                              of the maps: two parts of the scores, and last `weights`
// layersOf(net)                       each { name, heads, size: [rows, columns] }
// rowOf(net, layer, qkv, head, cell)  of the query at that cell: numbers for each of the titles
// onRow(row, cell)                    after every run; gives the score that has the full colour
// Gives the desk, and { layer(), layers(), head(), maps, weights, choices, obey(said) }: what is
// chosen, nodes, and what takes from a link what every such desk knows: block, head, query, digit.
export function queryDesk({ model, say, titles, layersOf, rowOf, onRow }) {
  // at: the cell that asks, in parts of the map, as layers differ in size
  const state = { layer: model.get("block"), head: model.get("head"), at: [0.5, 0.5] };
  let layers = [];
  let heads = null;
  const desk = deskOf({ model, say, onModel, onDraw });
  const layer = () => layers[state.layer];
  const cellOf = (size) => state.at.map((v, i) => Math.min(size[i] - 1, Math.floor(v * size[i])));

  const maps = Object.entries(titles).map(([kind, title]) => {
    const canvas = h("canvas", { "aria-hidden": "true" });
    const mark = ring();
    const stack = h("div", { class: "hx-stack" }, canvas, mark);
    const node = h("div", {}, h("p", { class: "hx-title" }, title), stack);
    return { kind, canvas, mark, stack, node };
  });
  const cursor = gridCursor(maps[2].stack, {
    label: "Map: choose the cell that asks",
    describe: place,
    size: () => layer()?.size ?? [8, 8],
    also: maps.slice(0, 2).map(({ stack }) => stack),
    onPick: (cell, settled) => {
      if (!layers.length) return;
      state.at = cell.map((v, i) => (v + 0.5) / layer().size[i]);
      desk.respond(settled);
    },
  });
  const weights = legend(ramp, "0 %", "");
  const choices = h("div", {});

  function onModel(net) {
    layers = layersOf(net);
    heads = headGrid(layers, (l, head) => {
      Object.assign(state, { layer: l, head });
      desk.respond();
    });
    choices.replaceChildren(heads.node);
  }

  function onDraw({ modules }, said) {
    const made = layers.map(({ name }) =>
      modules.find((module) => module.name === `${name}.to_qkv`).read(),
    );
    const of = (l, head) => rowOf(desk.net(), layers[l], made[l], head, cellOf(layers[l].size));
    const row = of(state.layer, state.head);
    const { size } = layer();
    const cell = cellOf(size);
    const strong = onRow(row, cell);
    const most = row.weights.reduce((a, b) => Math.max(a, b), 0);
    for (const { kind, canvas, mark } of maps) {
      const colour = kind === "weights" ? (v) => ramp(v / most) : (v) => twoSided(v / strong);
      paint(canvas, ...size, (r, c) => colour(row[kind][r * size[1] + c]));
      mark.put(cell, size);
    }
    cursor.set(cell);
    weights.set("0 %", `${(100 * most).toFixed(0)} %`);
    heads.draw(
      (l, head) => ({
        weights: l === state.layer && head === state.head ? row.weights : of(l, head).weights,
        size: layers[l].size,
      }),
      [state.layer, state.head],
    );
    const top = row.weights.indexOf(most);
    const parts = maps.slice(0, 2).map(({ kind }) => `${kind} ${fixed(row[kind][top], 1)}`);
    desk.readout.textContent =
      `${said} Block ${state.layer + 1}, head ${state.head + 1}: the cell at ${place(cell)} listens most to ` +
      `${place([Math.floor(top / size[1]), top % size[1]])}: ${parts.join(", ")}.`;
  }

  const obey = ({ block, head, query, digit }) => {
    if (block) {
      state.layer = counted(block, layers.length);
      state.head = Math.min(state.head, layer().heads - 1);
    }
    if (head) state.head = counted(head, layer().heads);
    if (query) state.at = query.split(",").map((v, i) => (Number(v) - 0.5) / layer().size[i]);
    if (digit) desk.take(Number(digit) - 1);
  };
  return {
    ...desk,
    layer,
    layers: () => layers,
    head: () => state.head,
    maps: maps.map(({ node }) => node),
    weights: weights.node,
    choices,
    obey,
  };
}
