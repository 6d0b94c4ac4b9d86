// CoAtNet with the biases of every head under the reader's hand, on what the reader draws.

import { button, fixed, frame, h, slider } from "./common.js";
import { legend, twoSided } from "./colours.js";
import { scopeOf } from "./live_desk.js";
import { queryDesk } from "./live_query.js";
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
  const state = { offset: [0, 0], pen: PAINT };
  const desk = queryDesk({
    model,
    say,
    titles: VIEWS,
    layersOf: biasLayers,
    rowOf: biasedRow,
    onRow,
  });
  const { layer, head } = desk;
  const within = (size, v) => v.map((one, i) => Math.max(1 - size[i], Math.min(size[i] - 1, one)));

  // --- the table, and what paints it ---
  const sheet = biasSheet({
    pen: () => state.pen,
    onRest: desk.speak,
    onPick: (at) => {
      if (desk.net()) {
        state.offset = offsetOf(layer(), at);
        desk.redraw();
      }
    },
    onSet: (at, value) => {
      if (!desk.net()) return;
      setBias(desk.net(), layer(), head(), at, value);
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

  const scope = scopeOf("all heads", "this head");
  const press = (how) => {
    if (!desk.net()) return;
    const all = desk
      .layers()
      .flatMap((one) => Array.from({ length: one.heads }, (_, i) => [one, i]));
    for (const [one, i] of scope.wide() ? all : [[layer(), head()]]) {
      if (how in BIAS_EDITS) editBiases(desk.net(), one, i, how);
      else dropContent(desk.net(), one, i);
    }
    desk.edited();
  };
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
        h("div", { class: "lb-maps" }, desk.maps),
        h("div", { class: "hx-row" }, "Attention:", desk.weights),
        h("p", { class: "hx-title" }, "All heads"),
        desk.choices,
      ),
    ),
  );
  if (model.get("note")) root.append(h("p", { class: "hx-note" }, model.get("note")));

  function onRow({ content }, cell) {
    state.offset = within(layer().size, state.offset);
    const at = placeOf(layer(), state.offset);
    const table = seenTable(desk.net(), layer(), head());
    const limit = sheet.draw(layer(), table, cell, at);
    shades.set(fixed(-limit, 1), fixed(limit, 1));
    chosen.textContent = `${offsetWords(state.offset)}: w = ${fixed(table[at], 2)}`;
    return content.reduce((a, v) => Math.max(a, Math.abs(v)), limit);
  }

  // A link in the text, such as <a
  // href="#bias?edit=flip&in=one&block=2&head=3&digit=1&query=4,5">words</a>, all counted from 1.
  // offset=-1,2&value=6 sets the bias of the key one row up and two columns right. What it leaves
  // out stays; whatever it edits, it begins with the tables as trained.
  function follow(said) {
    desk.obey(said);
    if (said.in) scope.set(said.in);
    if (said.edit) desk.restore();
    if (said.offset) state.offset = within(layer().size, said.offset.split(",").map(Number));
    if (said.offset && said.value) {
      setBias(desk.net(), layer(), head(), placeOf(layer(), state.offset), Number(said.value));
      desk.edited();
    } else if (said.edit in PRESSES) press(said.edit);
    else desk.respond();
  }
  return desk.start(root, follow);
}

export default { render };
