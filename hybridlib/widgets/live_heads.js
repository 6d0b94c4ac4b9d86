// All heads of a live model to choose from: a small map for each head of each layer, in one radio
// group.

import { h } from "./common.js";
import { paint, ramp } from "./colours.js";

// layers: each with `heads`, how many.  draw(mapOf, [layer, head] chosen)
//   mapOf(layer, head) -> { weights, size: [rows, columns] }, and with a bar below: share, 0 to 1,
// and said, its words
export function headGrid(layers, onChoose) {
  const cells = layers.map(({ heads }, l) =>
    Array.from({ length: heads }, (_, head) => {
      const canvas = h("canvas", { "aria-hidden": "true" });
      const bar = h("span", { class: "ld-head-bar", "aria-hidden": "true", hidden: true });
      return {
        canvas,
        bar,
        node: h(
          "button",
          { type: "button", role: "radio", class: "ld-head", onclick: () => onChoose(l, head) },
          canvas,
          bar,
        ),
      };
    }),
  );
  const node = h("div", {
    class: "ld-heads",
    role: "radiogroup",
    "aria-label": "block and head",
    onkeydown: (event) => {
      const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[
        event.key
      ];
      const l = cells.findIndex((line) => line.some((cell) => cell.node === event.target));
      if (!step || l < 0) return;
      event.preventDefault();
      const within = (v, length) => Math.max(0, Math.min(length - 1, v));
      const to = within(l + step[0], cells.length);
      const head = within(
        cells[l].findIndex((cell) => cell.node === event.target) + step[1],
        cells[to].length,
      );
      cells[to][head].node.focus();
      onChoose(to, head);
    },
  });
  node.style.gridTemplateColumns = `auto repeat(${Math.max(...layers.map(({ heads }) => heads))}, minmax(28px, 4.2rem))`;
  node.append(
    ...cells.flatMap((line, l) => [
      h("span", { "aria-hidden": "true" }, `block ${l + 1}`),
      ...line.map((cell) => cell.node),
    ]),
  );
  return {
    node,
    draw: (mapOf, [layer, chosen]) =>
      cells.forEach((line, l) =>
        line.forEach((cell, head) => {
          const {
            weights,
            size: [rows, columns],
            share,
            said,
          } = mapOf(l, head);
          const most = weights.reduce((a, b) => Math.max(a, b), 1e-12);
          paint(cell.canvas, rows, columns, (r, c) => ramp(weights[r * columns + c] / most));
          cell.bar.hidden = share === undefined;
          cell.bar.style.setProperty("--share", share ?? 0);
          const on = l === layer && head === chosen;
          cell.node.setAttribute(
            "aria-label",
            [`block ${l + 1}`, `head ${head + 1}`, ...(said ? [said] : [])].join(", "),
          );
          cell.node.setAttribute("aria-checked", String(on));
          cell.node.tabIndex = on ? 0 : -1;
        }),
      ),
  };
}
