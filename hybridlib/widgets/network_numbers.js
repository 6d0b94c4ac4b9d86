// The numbers that a part of a network makes of a picture: feature maps as tiles, tokens as a
// matrix, logits as bars.

import { css, legend, paint, ramp, twoSided } from "./colours.js";
import { fixed, h } from "./common.js";

const TILES = 16;

// min, mean and max, in one pass.
export function extremes(numbers) {
  let [least, most, sum] = [Infinity, -Infinity, 0];
  for (const number of numbers) {
    if (number < least) least = number;
    if (number > most) most = number;
    sum += number;
  }
  return { least, most, mean: sum / numbers.length };
}

// How numbers of that shape are shown: { way: "tiles" | "matrix" | "bars", count, shown, rows,
// columns }.
export function wayToShow(shape, kind) {
  const axes = shape[0] === 1 && shape.length > 1 ? shape.slice(1) : shape;
  if (axes.length === 1)
    return {
      way: kind === "head" ? "bars" : "matrix",
      count: 1,
      shown: 1,
      rows: 1,
      columns: axes[0],
    };
  const [rows, columns] = axes.slice(-2);
  if (axes.length === 2) return { way: "matrix", count: 1, shown: 1, rows, columns };
  const count = axes.slice(0, -2).reduce((product, length) => product * length, 1);
  return { way: "tiles", count, shown: Math.min(count, TILES), rows, columns };
}

// Shows numbers in `node`, and says in { words, what } what there is to see: the figures, and what
// of them is shown.
export function showNumbers(node, numbers, { shape, kind }, classes) {
  const { least, most, mean } = extremes(numbers);
  const { way, count, shown, rows, columns } = wayToShow(shape, kind);
  const signed = least < 0;
  const largest = Math.max(Math.abs(least), Math.abs(most)) || 1;
  const colour = (value) => (signed ? twoSided : ramp)(value / largest);
  const scale = signed
    ? legend(twoSided, fixed(-largest, 2), fixed(largest, 2), -1)
    : legend(ramp, "0", fixed(largest, 2));
  const words = `Smallest ${fixed(least, 2)}, mean ${fixed(mean, 2)}, largest ${fixed(most, 2)}.`;
  if (way === "bars") {
    node.replaceChildren(logitBars(numbers, classes, largest));
    return { words, what: "" };
  }
  const canvases = Array.from({ length: shown }, (_, tile) => {
    const canvas = h("canvas", {
      class: way === "matrix" ? "hx-matrix" : "",
      "aria-hidden": "true",
    });
    paint(canvas, rows, columns, (row, column) =>
      colour(numbers[(tile * rows + row) * columns + column]),
    );
    return canvas;
  });
  const what =
    way === "matrix"
      ? rows > 1
        ? `${rows} rows, one a token, of ${columns} numbers`
        : `${columns} numbers`
      : count > shown
        ? `the first ${shown} of ${count} ${planeWord(kind)}`
        : `${count} ${planeWord(kind)}`;
  node.replaceChildren(
    h("div", { class: way === "tiles" ? "hx-tiles" : "" }, canvases),
    h("div", { class: "hx-row" }, h("span", { class: "hx-note" }, what), scale.node),
  );
  return { words, what: ` Shown: ${what}.` };
}

const planeWord = (kind) => (kind === "position" ? "heads" : "channels");

function logitBars(numbers, classes, largest) {
  const best = numbers.indexOf(Math.max(...numbers));
  return h(
    "ul",
    { class: "hx-logits" },
    Array.from(numbers, (value, i) => {
      const share = (50 * Math.abs(value)) / largest;
      const bar = h("span", { class: "hx-bar" });
      Object.assign(bar.style, {
        left: `${value < 0 ? 50 - share : 50}%`,
        width: `${share}%`,
        background: css(twoSided(value < 0 ? -0.8 : 0.8)),
      });
      const name = classes?.[i] ?? String(i);
      return h(
        "li",
        {},
        h("span", {}, i === best ? h("b", {}, name) : name),
        h("span", { class: "hx-track" }, bar),
        h("span", {}, fixed(value, 2)),
      );
    }),
  );
}
