// BoTNet with its row and column tables under the reader's hand, on what the reader draws.

import { button, choice, fixed, frame, gridCursor, h, place, ring } from "./common.js";
import { legend, paint, ramp, twoSided } from "./colours.js";
import { deskOf } from "./live_desk.js";
import { headGrid } from "./live_heads.js";
import { edit, logitsOf, setLogit, tableLayers } from "./live_tables_math.js";
import { tableChart } from "./live_tables_parts.js";
import { stateLinks } from "./state_links.js";

const KINDS = {
  content: "Content q · k",
  position: "Position q · (r + r)",
  weights: "Softmax of the sum",
};
const BUTTONS = { zero: "Zero", flip: "Flip the sign", shift: "Shift by one", shuffle: "Shuffle" };
const ENDS = [
  ["key above", "key below"],
  ["key to the left", "key to the right"],
];

function render({ model, el }) {
  const { root, say } = frame(el, {
    label: "BoTNet with its row and column tables in your hand",
    hint: "drag a bar of a table, or press a button: the map and the answer follow.",
  });
  root.classList.add("lt");
  const state = {
    layer: model.get("block"),
    head: model.get("head"),
    at: [0.5, 0.5],
    everywhere: true,
    shuffles: 0,
  };
  let layers = [];
  let heads = null;
  let now = null; // the logits of the query, as last drawn
  const desk = deskOf({ model, say, onModel, onDraw });
  const layer = () => layers[state.layer];
  const cellOf = (size) => state.at.map((v, i) => Math.min(size[i] - 1, Math.floor(v * size[i])));
  const change = (patch) => {
    Object.assign(state, patch);
    desk.redraw();
    desk.speak();
  };

  const maps = Object.entries(KINDS).map(([kind, title]) => {
    const canvas = h("canvas", { "aria-hidden": "true" });
    const mark = ring();
    const stack = h("div", { class: "hx-stack" }, canvas, mark);
    return {
      kind,
      canvas,
      mark,
      stack,
      node: h("div", {}, h("p", { class: "hx-title" }, title), stack),
    };
  });
  const cursor = gridCursor(maps[2].stack, {
    label: "Map: choose the cell that asks",
    describe: place,
    size: () => layer()?.size ?? [8, 8],
    also: maps.slice(0, 2).map(({ stack }) => stack),
    onPick: (cell, settled) => {
      if (!layers.length) return;
      state.at = cell.map((v, i) => (v + 0.5) / layer().size[i]);
      desk.redraw();
      if (settled) desk.speak();
    },
  });
  const logits = legend(twoSided, "", "", -1);
  const weights = legend(ramp, "0 %", "");
  const charts = ENDS.map((ends, axis) =>
    tableChart({
      name: ["Rows", "Columns"][axis],
      ends,
      onRest: desk.speak,
      onSet: (index, value) => {
        if (!now) return;
        setLogit(desk.net(), layer(), axis, index, now.query, value);
        desk.edited();
      },
    }),
  );
  const scope = choice({
    label: "In",
    options: [
      ["all", "all blocks"],
      ["one", "this block"],
    ],
    value: "all",
    onInput: (value) => {
      state.everywhere = value === "all";
    },
  });
  const press = (how) => {
    if (!desk.net()) return;
    for (const one of state.everywhere ? layers : [layer()])
      edit(desk.net(), one, how, state.shuffles);
    if (how === "shuffle") state.shuffles += 1;
    desk.edited();
  };
  const choices = h("div", {});
  root.append(
    ...desk.nodes,
    h(
      "div",
      { class: "hx-row", role: "group", "aria-label": "both tables at once" },
      scope.node,
      Object.entries(BUTTONS).map(([how, text]) => button(text, () => press(how))),
      button("As trained", () => desk.net() && desk.restore()),
    ),
    h(
      "div",
      { class: "lt-tables" },
      charts.map(({ node }) => node),
    ),
    h(
      "div",
      { class: "lt-maps" },
      maps.map(({ node }) => node),
    ),
    h("div", { class: "hx-row" }, "Scores:", logits.node, "Attention:", weights.node),
    h("p", { class: "hx-title" }, "All heads"),
    choices,
  );
  if (model.get("note")) root.append(h("p", { class: "hx-note" }, model.get("note")));

  function onModel(net) {
    layers = tableLayers(net);
    heads = headGrid(layers, (l, head) => change({ layer: l, head }));
    choices.replaceChildren(heads.node);
    requestAnimationFrame(() => {
      if (linked) follow(linked);
    });
  }

  function onDraw({ modules }, said) {
    const made = layers.map(({ name }) =>
      modules.find((module) => module.name === `${name}.to_qkv`).read(),
    );
    const of = (l, head) => logitsOf(desk.net(), layers[l], made[l], head, cellOf(layers[l].size));
    now = of(state.layer, state.head);
    const { size } = layer();
    const cell = cellOf(size);
    const limit = [...now.content, ...now.position].reduce(
      (a, v) => Math.max(a, Math.abs(v)),
      1e-6,
    );
    const most = now.weights.reduce((a, b) => Math.max(a, b), 0);
    for (const { kind, canvas, mark } of maps) {
      const colour = kind === "weights" ? (v) => ramp(v / most) : (v) => twoSided(v / limit);
      paint(canvas, ...size, (r, c) => colour(now[kind][r * size[1] + c]));
      mark.put(cell, size);
    }
    cursor.set(cell);
    logits.set(fixed(-limit, 1), fixed(limit, 1));
    weights.set("0 %", `${(100 * most).toFixed(0)} %`);
    charts.forEach((chart, axis) => chart.draw(now.tables[axis], cell[axis], size[axis]));
    heads.draw(
      (l, head) => ({
        weights: l === state.layer && head === state.head ? now.weights : of(l, head).weights,
        size: layers[l].size,
      }),
      [state.layer, state.head],
    );
    const top = now.weights.indexOf(most);
    desk.readout.textContent =
      `${said} Block ${state.layer + 1}, head ${state.head + 1}: the cell at ${place(cell)} listens most to ` +
      `${place([Math.floor(top / size[1]), top % size[1]])}: content ${fixed(now.content[top], 1)}, position ${fixed(now.position[top], 1)}.`;
  }

  // A link in the text, such as <a
  // href="#tables?edit=flip&in=one&block=2&head=3&digit=1&query=4,5">words</a>, all counted from 1.
  // What it leaves out stays; whatever it edits, it begins with the tables as trained.
  let linked = null; // a link that came before the model
  function follow(said) {
    if (!desk.net()) {
      linked = said;
      return;
    }
    const number = (key, most) => Math.max(0, Math.min(most, Number(said[key]) || 1) - 1);
    if (said.in) {
      state.everywhere = said.in === "all";
      scope.set(state.everywhere ? "all" : "one");
    }
    if (said.block) state.layer = number("block", layers.length);
    if (said.head) state.head = number("head", layer().heads);
    if (said.query)
      state.at = said.query.split(",").map((v, i) => (Number(v) - 0.5) / layer().size[i]);
    if (said.digit) desk.take(Number(said.digit) - 1);
    if (said.edit) {
      desk.restore();
      state.shuffles = 0;
    }
    if (said.edit in BUTTONS) press(said.edit);
    else {
      desk.redraw();
      desk.speak();
    }
  }
  const close = [desk.start(root), stateLinks(model.get("name"), root, follow)];
  return () => close.forEach((stop) => stop());
}

export default { render };
