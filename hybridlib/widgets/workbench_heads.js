// A row of small maps, one for each head and their mean: choose one.

import { h } from "./common.js";
import { paint, ramp } from "./colours.js";
import { layerOf } from "./workbench_maps.js";

export function headRow(onHead) {
  const node = h("div", { class: "wb-heads", role: "radiogroup", "aria-label": "head" });
  let cells = [];
  const build = (count) => {
    cells = [...Array(count).keys(), "mean"].map((head) => {
      const canvas = h("canvas", { "aria-hidden": "true" });
      const name = head === "mean" ? "mean of heads" : `head ${head + 1}`;
      return {
        head,
        canvas,
        node: h(
          "button",
          {
            type: "button",
            role: "radio",
            class: "wb-one",
            "aria-label": name,
            title: name,
            onclick: () => onHead(head),
          },
          canvas,
          h("span", { "aria-hidden": "true" }, head === "mean" ? "mean" : `${head + 1}`),
        ),
      };
    });
    node.replaceChildren(...cells.map((cell) => cell.node));
  };
  node.addEventListener("keydown", (event) => {
    const at = cells.findIndex((cell) => cell.node === event.target);
    const to = {
      ArrowRight: at + 1,
      ArrowDown: at + 1,
      ArrowLeft: at - 1,
      ArrowUp: at - 1,
      Home: 0,
      End: cells.length - 1,
    }[event.key];
    if (to === undefined || at < 0) return;
    event.preventDefault();
    const next = cells[Math.max(0, Math.min(cells.length - 1, to))];
    next.node.focus();
    onHead(next.head);
  });
  // map: of the block on show, or null for none
  return {
    node,
    draw: (map, chosen, query) => {
      node.hidden = !map;
      if (!map) return;
      if (cells.length !== map.heads + 1) build(map.heads);
      const there = chosen === "mean" ? "mean" : Math.min(chosen, map.heads - 1);
      for (const { head, canvas, node: cell } of cells) {
        const { values, grid, shares } = layerOf({ map }, head, query);
        // over layers: a line of cells
        const shown = grid[0] ? values : shares.map(({ share }) => share);
        const [rows, cols] = grid[0] ? grid : [1, shares.length];
        const most = shown.reduce((a, b) => Math.max(a, b), 1e-12);
        paint(canvas, rows, cols, (r, c) => ramp(shown[r * cols + c] / most));
        const on = head === there;
        cell.setAttribute("aria-checked", String(on));
        cell.tabIndex = on ? 0 : -1;
      }
    },
  };
}
