// The parts of DeiT's bench that are built once: the answers of two heads, and the maps of all heads in pairs.

import { h } from "./common.js";
import { paint, ramp } from "./colours.js";

// Bars for each class, one below the other for each head.  draw(shares): for each head a share of each class
export function headAnswers(classes, heads) {
  const columns = classes.map((name) => {
    const bars = heads.map((_, i) => h("span", { class: `lk-bar lk-bar${i}` }));
    const tracks = bars.map((bar) => h("span", { class: "lk-track" }, bar));
    return { bars, node: h("li", {}, h("span", { class: "lk-tracks" }, tracks), h("span", {}, name)) };
  });
  const key = heads.map((head, i) => h("span", { class: "lk-key" }, h("span", { class: `lk-dot lk-bar${i}` }), ` ${head}`));
  const words = h("p", { class: "hx-note lk-words" });
  return { node: h("div", {}, h("ul", { class: "lk-answers" }, columns.map(({ node }) => node)), h("p", { class: "hx-row" }, key), words),
    draw: (shares) => {
      columns.forEach(({ bars }, c) => bars.forEach((bar, i) => { bar.style.height = `${100 * shares[i][c]}%`; }));
      words.textContent = shares.map((share, i) => {
        const order = Array.from(share, (v, c) => [v, classes[c]]).sort(([a], [b]) => b - a).slice(0, 2);
        return `${heads[i]}: ${order.map(([v, name]) => `${name} ${(100 * v).toFixed(0)} %`).join(", ")}`;
      }).join("; ");
    } };
}

// A button for each head of each layer, with the map of the class token left and the distillation token's right: one radio group.
// draw(pairOf, chosen): pairOf(layer, head) -> { class, distillation, grid }, chosen [layer, head]
export function pairGrid(heads, onChoose) {
  const cells = heads.map((count, l) => Array.from({ length: count }, (_, head) => {
    const both = [0, 1].map(() => h("canvas", { "aria-hidden": "true" }));
    const node = h("button", { type: "button", role: "radio", class: "lk-one", "aria-label": `block ${l + 1}, head ${head + 1}`,
      onclick: () => onChoose(l, head) }, both);
    return { node, both };
  }));
  const MOVES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  const node = h("div", { class: "lk-heads", role: "radiogroup", "aria-label": "block and head", onkeydown: (event) => {
    const move = MOVES[event.key];
    const l = cells.findIndex((line) => line.some((cell) => cell.node === event.target));
    if (!move || l < 0) return;
    event.preventDefault();
    const within = (v, length) => Math.max(0, Math.min(length - 1, v));
    const to = within(l + move[0], cells.length);
    const head = within(cells[l].findIndex((cell) => cell.node === event.target) + move[1], cells[to].length);
    cells[to][head].node.focus();
    onChoose(to, head);
  } });
  node.style.gridTemplateColumns = `auto repeat(${Math.max(...heads)}, minmax(44px, 7rem))`;
  node.append(...cells.flatMap((line, l) => [h("span", { "aria-hidden": "true" }, `${l + 1}`), ...line.map((cell) => cell.node)]));
  return { node, heads, draw: (pairOf, [layer, chosen]) => cells.forEach((line, l) => line.forEach((cell, head) => {
    const pair = pairOf(l, head);
    const [rows, columns] = pair.grid;
    const most = [...pair.class, ...pair.distillation].reduce((a, b) => Math.max(a, b), 1e-9);
    [pair.class, pair.distillation].forEach((map, i) => paint(cell.both[i], rows, columns, (r, c) => ramp(map[r * columns + c] / most)));
    const on = l === layer && head === chosen;
    cell.node.setAttribute("aria-checked", String(on));
    cell.node.tabIndex = on ? 0 : -1;
  })) };
}
