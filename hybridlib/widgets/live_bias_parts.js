// A table of biases to paint on: the part of the CoAtNet bench that is built once.

import { fixed, h, ring } from "./common.js";
import { paint, twoSided } from "./colours.js";
import { offsetOf, placeOf } from "./live_bias_math.js";

const STEP = 0.25; // of a bias, by one press of a key
const MOST = 8; // a bias that a key or the pen can set
const LEAST = 1; // the bias that has the full colour, at least

const way = (v, [less, more]) => (v ? `${Math.abs(v)} ${v < 0 ? less : more}` : "");
// An offset in words: "2 up, 1 right".
export const offsetWords = ([down, right]) =>
  [way(down, ["up", "down"]), way(right, ["left", "right"])].filter(Boolean).join(", ") ||
  "the query itself";

// pen(): the bias that a pointer paints;  onSet(place, value);  onPick(place): another offset is
// chosen;  onRest(): it stays draw(layer, table, query, chosen): the seen table, the cell that
// asks, and the place in hand. Gives the bias of full colour.
export function biasSheet({ pen, onSet, onPick, onRest }) {
  const canvas = h("canvas", { "aria-hidden": "true" });
  const view = h("span", { class: "lb-window", "aria-hidden": "true" });
  const mark = ring();
  const node = h(
    "div",
    {
      class: "hx-stack lb-sheet",
      tabindex: "0",
      role: "application",
      "aria-roledescription":
        "table to edit: arrow keys choose an offset, plus and minus change it, Enter paints it, Delete makes it 0",
      "aria-label": "Table of biases",
    },
    canvas,
    view,
    mark,
  );
  let layer = { size: [8, 8] };
  let values = new Float32Array(225);
  let [place, limit, held] = [0, LEAST, false];
  const size = () => layer.size.map((v) => 2 * v - 1);
  const put = (at, value) => {
    values[at] = value;
    onSet(at, value);
  }; // the next key may come before the next drawing
  const under = (event) => {
    const box = node.getBoundingClientRect();
    const [y, x] = [
      (event.clientY - box.top) / box.height,
      (event.clientX - box.left) / box.width,
    ].map((v, axis) => Math.max(0, Math.min(size()[axis] - 1, Math.floor(v * size()[axis]))));
    return y * size()[1] + x;
  };
  const stroke = (event) => {
    place = under(event);
    onPick(place);
    if (values[place] !== pen()) put(place, pen());
  };
  node.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    event.preventDefault();
    node.setPointerCapture(event.pointerId);
    node.focus({ preventScroll: true });
    held = true;
    stroke(event);
  });
  node.addEventListener("pointermove", (event) => {
    if (held) stroke(event);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    node.addEventListener(end, () => {
      if (held) {
        held = false;
        onRest();
      }
    });
  }
  node.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const along = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[
      event.key
    ];
    const by = { "+": STEP, "=": STEP, "-": -STEP, PageUp: 1, PageDown: -1 }[event.key];
    if (along) {
      const to = offsetOf(layer, place).map((v, i) =>
        Math.max(1 - layer.size[i], Math.min(layer.size[i] - 1, v + along[i])),
      );
      place = placeOf(layer, to);
      onPick(place);
    } else if (by) put(place, Math.max(-MOST, Math.min(MOST, values[place] + by)));
    else if (["Delete", "Backspace", "0"].includes(event.key)) put(place, 0);
    else if (event.key === "Enter") put(place, pen());
    else return;
    event.preventDefault();
    onRest();
  });
  return {
    node,
    draw: (now, table, [row, column], chosen) => {
      [layer, values, place] = [now, table, chosen];
      const [rows, columns] = size();
      if (!held)
        limit = Math.min(
          MOST,
          table.reduce((a, v) => Math.max(a, Math.abs(v)), LEAST),
        );
      paint(canvas, rows, columns, (r, c) => twoSided(table[r * columns + c] / limit));
      const [height, width] = layer.size;
      Object.assign(view.style, {
        top: `${(100 * (height - 1 - row)) / rows}%`,
        left: `${(100 * (width - 1 - column)) / columns}%`,
        height: `${(100 * height) / rows}%`,
        width: `${(100 * width) / columns}%`,
      });
      mark.put([Math.floor(place / columns), place % columns], [rows, columns]);
      node.setAttribute(
        "aria-label",
        `Table of biases. ${offsetWords(offsetOf(layer, place))}: ${fixed(table[place], 2)}`,
      );
      return limit;
    },
  };
}
