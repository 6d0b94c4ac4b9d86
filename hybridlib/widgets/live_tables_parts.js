// A table of logits to drag, the part of the BoTNet bench that is built once for each axis.

import { fixed, h, svg } from "./common.js";
import { paintedBars } from "./painted_bars.js";

const LEAST = 4; // logits from the middle line to the edge, at least

// The logits of one query for all offsets of an axis, as bars that a pointer paints and keys move.
//   name, ends: words for the axis and its two directions;  onSet(place, value): a bar was moved;
// onRest(): it stays there draw(values, at, size): at is the query's own row or column; the `size`
// offsets that it can use are in colour
export function tableChart({ name, ends, onSet, onRest }) {
  let [values, at, size, limit] = [[0], 0, 1, LEAST];
  const plot = svg("svg", { class: "lt-plot", preserveAspectRatio: "none", "aria-hidden": "true" });
  const node = h(
    "div",
    {
      class: "lt-chart",
      tabindex: "0",
      role: "slider",
      "aria-orientation": "vertical",
      "aria-label": `${name} table`,
      "aria-valuenow": "0",
      "aria-valuemin": "-1",
      "aria-valuemax": "1",
      "aria-roledescription":
        "table to edit: left and right choose an offset, up and down change it, Delete makes it 0",
    },
    plot,
  );
  const words = h("span", { class: "lt-weight" });
  const offset = (i) => i - (values.length - 1) / 2;
  const usable = (i) => at + offset(i) >= 0 && at + offset(i) < size;
  const written = (i) =>
    `offset ${offset(i) > 0 ? "+" : ""}${fixed(offset(i), 0)}: ${fixed(values[i], 2)}${usable(i) ? "" : ", off the map"}`;
  const tell = () => {
    const text = written(hands.at);
    words.textContent = text;
    for (const [key, value] of [
      ["min", -limit],
      ["max", limit],
      ["now", values[hands.at].toFixed(3)],
      ["text", text],
    ]) {
      node.setAttribute(`aria-value${key}`, value);
    }
  };
  // The next key may come before the next drawing, so the value is kept here too.
  const hands = paintedBars(node, {
    count: () => values.length,
    limit: () => limit,
    value: (i) => values[i],
    set: (i, value) => {
      values[i] = value;
      onSet(i, value);
    },
    onChoose: () => render(),
    onRest,
  });
  function render() {
    const count = values.length;
    plot.setAttribute("viewBox", `0 ${-limit} ${count} ${2 * limit}`);
    plot.replaceChildren(
      svg("rect", {
        class: "lt-window",
        x: (count - 1) / 2 - at,
        y: -limit,
        width: size,
        height: 2 * limit,
      }),
      svg("rect", { class: "lt-self", x: (count - 1) / 2, y: -limit, width: 1, height: 2 * limit }),
      ...Array.from(values, (v, i) => {
        const high = Math.min(limit, Math.abs(v));
        const kind = `lt-bar${usable(i) ? " lt-used" : ""}${i === hands.at ? " lt-chosen" : ""}`;
        return svg("rect", {
          class: kind,
          x: i + 0.12,
          width: 0.76,
          y: v > 0 ? -high : 0,
          height: high,
        });
      }),
      svg("line", { class: "lt-zero", x1: 0, x2: count, y1: 0, y2: 0 }),
    );
    tell();
  }
  return {
    node: h(
      "div",
      { class: "lt-table" },
      h("p", { class: "hx-title" }, `${name} `, words),
      node,
      h(
        "p",
        { class: "hx-note lt-ends" },
        h("span", {}, ends[0]),
        h("span", {}, "0"),
        h("span", {}, ends[1]),
      ),
    ),
    draw: (now, own, length) => {
      if (now.length !== values.length) hands.at = (now.length - 1) / 2;
      [values, at, size] = [now, own, length];
      if (!hands.held)
        limit = Math.max(LEAST, Math.ceil(now.reduce((a, v) => Math.max(a, Math.abs(v)), 0)));
      render();
    },
  };
}
