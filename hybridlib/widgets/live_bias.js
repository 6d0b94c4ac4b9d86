// CoAtNet with the biases of every head under the reader's hand, on what the reader draws.

import { button, choice, fixed, frame, gridCursor, h, place, ring, slider } from "./common.js";
import { legend, paint, ramp, twoSided } from "./colours.js";
import { deskOf } from "./live_desk.js";
import { headGrid } from "./live_heads.js";
import {
  BIAS_EDITS,
  biasLayers,
  biasedRow,
  dropContent,
  editBiases,
  offsetOf,
  placeOf,
  seenTable,
  setBias,
} from "./live_bias_math.js";
import { biasSheet, offsetWords } from "./live_bias_parts.js";
import { stateLinks } from "./state_links.js";

const VIEWS = { content: "Content q · k / √d", bias: "+ bias w", weights: "Softmax of the sum" };
const PRESSES = {
  zero: "Zero",
  flip: "Flip the sign",
  shift: "Shift by one",
  near: "Only 3 × 3",
  static: "Bias alone",
};
const PAINT = 4; // what the pen paints at first

function render({ model, el }) {
  const { root, say } = frame(el, {
    label: "CoAtNet with its relative biases in your hand",
    hint: "paint on the table of a head, or press a button: the map and the answer follow.",
  });
  root.classList.add("lb");
  const state = {
    layer: model.get("block"),
    head: model.get("head"),
    at: [0.5, 0.5],
    offset: [0, 0],
    everywhere: true,
    pen: PAINT,
  };
  let layers = [];
  let heads = null;
  const desk = deskOf({ model, say, onModel, onDraw });
  const layer = () => layers[state.layer];
  const within = (size, v) => v.map((one, i) => Math.max(1 - size[i], Math.min(size[i] - 1, one)));
  const cellOf = (size) => state.at.map((v, i) => Math.min(size[i] - 1, Math.floor(v * size[i])));
  const change = (patch) => {
    Object.assign(state, patch);
    desk.redraw();
    desk.speak();
  };

  // --- the table, and what paints it ---
  const sheet = biasSheet({
    pen: () => state.pen,
    onRest: desk.speak,
    onPick: (at) => {
      if (layers.length) {
        state.offset = offsetOf(layer(), at);
        desk.redraw();
      }
    },
    onSet: (at, value) => {
      if (!desk.net()) return;
      setBias(desk.net(), layer(), state.head, at, value);
      desk.edited();
    },
  });
  const pen = slider({
    label: "Pen",
    min: -8,
    max: 8,
    step: 0.25,
    value: PAINT,
    show: (v) => fixed(v, 2),
    onInput: (value) => {
      state.pen = value;
    },
  });
  const chosen = h("span", { class: "hx-note" });
  const shades = legend(twoSided, "", "", -1);

  // --- the three maps of the query ---
  const maps = Object.entries(VIEWS).map(([kind, title]) => {
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
  const weights = legend(ramp, "0 %", "");

  const scope = choice({
    label: "In",
    options: [
      ["all", "all heads"],
      ["one", "this head"],
    ],
    value: "all",
    onInput: (value) => {
      state.everywhere = value === "all";
    },
  });
  const press = (how) => {
    if (!desk.net()) return;
    const all = layers.flatMap((one) =>
      Array.from({ length: one.heads }, (_, head) => [one, head]),
    );
    for (const [one, head] of state.everywhere ? all : [[layer(), state.head]]) {
      if (how in BIAS_EDITS) editBiases(desk.net(), one, head, how);
      else dropContent(desk.net(), one, head);
    }
    desk.edited();
  };
  const choices = h("div", {});
  root.append(
    ...desk.nodes,
    h(
      "div",
      { class: "hx-row", role: "group", "aria-label": "whole tables" },
      scope.node,
      Object.entries(PRESSES).map(([how, text]) => button(text, () => press(how))),
      button("As trained", () => desk.net() && desk.restore()),
    ),
    h(
      "div",
      { class: "lb-columns" },
      h(
        "div",
        { class: "lb-pen" },
        h("p", { class: "hx-title" }, "This head's table: paint"),
        sheet.node,
        chosen,
        pen.node,
        shades.node,
      ),
      h(
        "div",
        {},
        h(
          "div",
          { class: "lb-maps" },
          maps.map(({ node }) => node),
        ),
        h("div", { class: "hx-row" }, "Attention:", weights.node),
        h("p", { class: "hx-title" }, "All heads"),
        choices,
      ),
    ),
  );
  if (model.get("note")) root.append(h("p", { class: "hx-note" }, model.get("note")));

  function onModel(net) {
    layers = biasLayers(net);
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
    const of = (l, head) => biasedRow(desk.net(), layers[l], made[l], head, cellOf(layers[l].size));
    const now = of(state.layer, state.head);
    const { size } = layer();
    const cell = cellOf(size);
    const most = now.weights.reduce((a, b) => Math.max(a, b), 0);
    const table = seenTable(desk.net(), layer(), state.head);
    state.offset = within(size, state.offset);
    const at = placeOf(layer(), state.offset);
    const limit = sheet.draw(layer(), table, cell, at);
    const strong = now.content.reduce((a, v) => Math.max(a, Math.abs(v)), limit);
    for (const { kind, canvas, mark } of maps) {
      const colour = kind === "weights" ? (v) => ramp(v / most) : (v) => twoSided(v / strong);
      paint(canvas, ...size, (r, c) => colour(now[kind][r * size[1] + c]));
      mark.put(cell, size);
    }
    cursor.set(cell);
    shades.set(fixed(-limit, 1), fixed(limit, 1));
    weights.set("0 %", `${(100 * most).toFixed(0)} %`);
    chosen.textContent = `${offsetWords(state.offset)}: w = ${fixed(table[at], 2)}`;
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
      `${place([Math.floor(top / size[1]), top % size[1]])}: content ${fixed(now.content[top], 1)}, bias ${fixed(now.bias[top], 1)}.`;
  }

  // A link in the text, such as <a
  // href="#bias?edit=flip&in=one&block=2&head=3&digit=1&query=4,5">words</a>, all counted from 1.
  // offset=-1,2&value=6 sets the bias of the key one row up and two columns right. What it leaves
  // out stays; whatever it edits, it begins with the tables as trained.
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
    if (said.block) {
      state.layer = number("block", layers.length);
      state.head = Math.min(state.head, layer().heads - 1);
    }
    if (said.head) state.head = number("head", layer().heads);
    if (said.query)
      state.at = said.query.split(",").map((v, i) => (Number(v) - 0.5) / layer().size[i]);
    if (said.digit) desk.take(Number(said.digit) - 1);
    if (said.edit) desk.restore();
    if (said.offset) state.offset = within(layer().size, said.offset.split(",").map(Number));
    if (said.offset && said.value) {
      setBias(desk.net(), layer(), state.head, placeOf(layer(), state.offset), Number(said.value));
      desk.edited();
    } else if (said.edit in PRESSES) press(said.edit);
    else {
      desk.redraw();
      desk.speak();
    }
  }
  const close = [desk.start(root), stateLinks(model.get("name"), root, follow)];
  return () => close.forEach((stop) => stop());
}

export default { render };
