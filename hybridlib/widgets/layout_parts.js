// The drawings of the layout builder: a stage as bars, and recorded accuracies on a line.

import { h } from "./common.js";
import { PARTS, css } from "./colours.js";
import { spreadOf } from "./spread.js";

const PART_OF = {
  S: "convolution",
  C: "convolution",
  P: "convolution",
  T: "attention",
  H: "pooling",
};
const KIND_OF = {
  S: "two 3 × 3 convolutions",
  P: "one convolution on patches",
  C: "MBConv",
  T: "relative attention",
  H: "mean and linear layer",
};

// 14.7 M and the like, three digits.
export function short(v) {
  const [by, unit] =
    v >= 1e9 ? [1e9, " G"] : v >= 1e6 ? [1e6, " M"] : v >= 1e3 ? [1e3, " k"] : [1, ""];
  return `${unit ? Number((v / by).toPrecision(3)) : v}${unit}`;
}

// One row of the stack: as many bars as blocks, as wide as the map (its square root), in the colour
// of its kind.
export function stageRow(control) {
  const bars = h("div", { class: "lay-bars", "aria-hidden": "true" });
  const map = h("span", { class: "lay-map" });
  const share = h("span", { class: "lay-fill" });
  const pairs = h("span", { class: "lay-fill lay-pairs" });
  const cost = h("span", { class: "lay-number" });
  const node = h(
    "li",
    { class: "lay-row" },
    h("span", { class: "lay-letter" }, control),
    bars,
    map,
    h(
      "span",
      { class: "lay-cost" },
      h("span", { class: "lay-track", "aria-hidden": "true" }, share, pairs),
      cost,
    ),
  );
  return {
    node,
    draw: (row, most, widest, kind = KIND_OF[row.letter]) => {
      bars.replaceChildren(
        ...Array.from({ length: row.depth }, () => {
          const bar = h("span", { class: "lay-bar" });
          bar.style.width = `${100 * Math.sqrt(row.side / widest)}%`;
          bar.style.background = css(PARTS[PART_OF[row.letter]]);
          return bar;
        }),
      );
      map.textContent =
        row.letter === "H" ? `${row.width} classes` : `${row.side} × ${row.side} × ${row.width}`;
      share.style.width = `${(100 * row.macs) / most}%`;
      pairs.style.width = `${(100 * row.pairs) / most}%`;
      cost.textContent = short(row.macs);
      bars.title = kind;
    },
  };
}

// The accuracies of one study: a dot for each layout, the chosen one in colour with its spread.
//   measure: { title, values: { layout: [%, ...] } }
export function recordLine(measure) {
  const strip = h("span", { class: "lay-strip", "aria-hidden": "true" });
  const words = h("span", { class: "lay-number" });
  const found = Object.entries(measure.values).map(([layout, values]) => [
    layout,
    spreadOf(values),
    values.length,
  ]);
  return {
    node: h("li", { class: "lay-record" }, h("span", {}, measure.title), strip, words),
    draw: (layout, shown) => {
      const mine = shown && found.find(([name]) => name === layout);
      strip.replaceChildren(
        ...found.filter(([name]) => name !== mine?.[0]).map(([, { mean }]) => dot("lay-dot", mean)),
        ...(mine ? [line(mine[1]), dot("lay-dot lay-mine", mine[1].mean)] : []),
      );
      words.textContent = mine
        ? `${mine[1].mean.toFixed(1)}${mine[1].sd === null ? "" : ` ± ${mine[1].sd.toFixed(1)}`} %`
        : "not measured";
    },
  };
}

function dot(name, at) {
  const node = h("span", { class: name });
  node.style.left = `${at}%`;
  return node;
}

function line({ mean, sd }) {
  const node = h("span", { class: "lay-sd" });
  node.style.left = `${mean - (sd ?? 0)}%`;
  node.style.width = `${2 * (sd ?? 0)}%`;
  return node;
}
