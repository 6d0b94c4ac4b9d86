// The parts of the CeiT bench that are built once: steps as a row of pictures, nine products, and
// the table of LCA.

import { fixed, h, ring } from "./common.js";
import { css, inkOn, paint, ramp, twoSided } from "./colours.js";

// A step: its number and name, a picture, its size in words. draw(values, size, signed);
// over(rows, columns, size): a frame around those, each [first, last]
export function step(title) {
  const canvas = h("canvas", { "aria-hidden": "true" });
  const mark = ring();
  mark.hidden = true;
  const stack = h("div", { class: "hx-stack" }, canvas, mark);
  const words = h("p", { class: "hx-note" });
  const node = h("div", { class: "lc-step" }, h("p", { class: "hx-title" }, title), stack, words);
  return {
    node,
    stack,
    mark,
    canvas,
    tell: (text) => {
      words.textContent = text;
    },
    over: ([top, bottom], [left, right], [rows, columns]) => {
      mark.hidden = false;
      Object.assign(mark.style, {
        top: `${(100 * top) / rows}%`,
        height: `${(100 * (bottom - top + 1)) / rows}%`,
        left: `${(100 * left) / columns}%`,
        width: `${(100 * (right - left + 1)) / columns}%`,
      });
    },
    draw: (values, [rows, columns], signed = true) => {
      const limit = values.reduce((a, v) => Math.max(a, Math.abs(v)), 1e-6);
      const colour = signed ? (v) => twoSided(v / limit) : (v) => ramp(v / limit);
      paint(canvas, rows, columns, (r, c) => colour(values[r * columns + c]));
    },
  };
}

// Nine numbers in a square, and what they come to. draw({ products, bias, sum })
export function nineProducts(title) {
  const cells = Array.from({ length: 9 }, () => h("span"));
  const words = h("p", { class: "hx-note" });
  const node = h(
    "div",
    { class: "lc-step" },
    h("p", { class: "hx-title" }, title),
    h("div", { class: "lc-nine" }, cells),
    words,
  );
  return {
    node,
    draw: ({ products, bias, sum }) => {
      const limit = products.reduce((a, v) => Math.max(a, Math.abs(v)), 1e-6);
      products.forEach((value, i) => {
        const colour = twoSided(value / limit);
        Object.assign(cells[i].style, { background: css(colour), color: inkOn(colour) });
        cells[i].textContent = fixed(value, 2);
      });
      words.textContent = `their sum ${fixed(sum - bias, 2)}, bias ${fixed(bias, 2)}: ${fixed(sum, 2)}`;
    },
  };
}

// How much each head of LCA listens to each block's class token, and what could be read off there.
//   draw(shares, answers): shares[head][block] in 0..1; answers[block] = { name, share }
export function layerTable(heads, blocks) {
  const cell = () => h("td");
  const rows = Array.from({ length: heads }, () => Array.from({ length: blocks }, cell));
  const read = Array.from({ length: blocks }, cell);
  const line = (name, cells) => h("tr", {}, h("th", { scope: "row" }, name), cells);
  const node = h(
    "div",
    { class: "lc-scroll" },
    h(
      "table",
      { class: "lc-table" },
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          h("td"),
          read.map((_, i) => h("th", { scope: "col" }, `block ${i + 1}`)),
        ),
      ),
      h(
        "tbody",
        {},
        rows.map((cells, i) => line(`head ${i + 1}`, cells)),
        line("read off there", read),
      ),
    ),
  );
  return {
    node,
    draw: (shares, answers) => {
      rows.forEach((cells, head) =>
        cells.forEach((one, block) => {
          const colour = ramp(shares[head][block]);
          Object.assign(one.style, { background: css(colour), color: inkOn(colour) });
          one.textContent = `${(100 * shares[head][block]).toFixed(0)} %`;
        }),
      );
      read.forEach((one, block) => {
        one.textContent = `${answers[block].name} (${(100 * answers[block].share).toFixed(0)} %)`;
      });
    },
  };
}
