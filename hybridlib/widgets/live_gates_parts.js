// The parts of the ConViT bench that are built once: all heads to choose from, the plane of their centres, the answer's bars.

import { fixed, h, svg } from "./common.js";
import { paint, ramp } from "./colours.js";

export const REACH = 3.5; // patches from the middle of the plane to its edge
const STEP = 0.1; // patches, by one press of an arrow key

// A small map for each head of each layer, with its gate as a bar below: one radio group.
// draw(mapOf, gateOf, chosen, grid): mapOf(layer, head) -> weights, gateOf(layer, head) -> 0..1, chosen [layer, head]
export function headChoice(layers, onChoose) {
  const cells = layers.map(([, heads], l) => Array.from({ length: heads }, (_, head) => {
    const canvas = h("canvas", { "aria-hidden": "true" });
    const bar = h("span", { class: "lg-gate", "aria-hidden": "true" });
    const node = h("button", { type: "button", role: "radio", class: "lg-one", onclick: () => onChoose(l, head) }, canvas, bar);
    return { node, canvas, bar };
  }));
  const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  const node = h("div", { class: "lg-heads", role: "radiogroup", "aria-label": "layer and head", onkeydown: (event) => {
    const step = STEPS[event.key];
    const l = cells.findIndex((line) => line.some((cell) => cell.node === event.target));
    if (!step || l < 0) return;
    event.preventDefault();
    const within = (v, length) => Math.max(0, Math.min(length - 1, v));
    const to = within(l + step[0], cells.length);
    const head = within(cells[l].findIndex((cell) => cell.node === event.target) + step[1], cells[to].length);
    cells[to][head].node.focus();
    onChoose(to, head);
  } });
  node.style.gridTemplateColumns = `auto repeat(${Math.max(...layers.map(([, heads]) => heads))}, minmax(28px, 4.2rem))`;
  node.append(...cells.flatMap((line, l) => [h("span", { "aria-hidden": "true" }, `block ${l + 1}`), ...line.map((cell) => cell.node)]));
  return { node, draw: (mapOf, gateOf, [layer, chosen], [rows, cols]) => cells.forEach((line, l) => line.forEach((cell, head) => {
    const weights = mapOf(l, head);
    const most = weights.reduce((a, b) => Math.max(a, b), 1e-12);
    paint(cell.canvas, rows, cols, (r, c) => ramp(weights[r * cols + c] / most));
    const gate = gateOf(l, head);
    cell.bar.style.setProperty("--gate", gate.toFixed(4));
    const on = l === layer && head === chosen;
    cell.node.setAttribute("aria-label", `block ${l + 1}, head ${head + 1}, gate ${fixed(gate, 2)}`);
    cell.node.setAttribute("aria-checked", String(on));
    cell.node.tabIndex = on ? 0 : -1;
  })) };
}

// Where the heads of a layer look from a patch at (0, 0): discs to drag, or to move by arrow keys.
// onPick(head), onMove(head, [row, column], settled).  draw(heads, chosen): heads as in live_gates_math.js
export function centrePlane(count, { onPick, onMove }) {
  const at = (v) => Math.max(-REACH, Math.min(REACH, Math.round(v / 0.05) * 0.05));
  let heads = [];
  const discs = Array.from({ length: count }, (_, head) => {
    const halo = svg("circle", { class: "lg-halo" });
    const node = svg("g", { class: "lg-disc", tabindex: "0", role: "button", "aria-roledescription": "head to move",
      onfocus: () => onPick(head), onkeydown: (event) => {
        const step = { ArrowUp: [-STEP, 0], ArrowDown: [STEP, 0], ArrowLeft: [0, -STEP], ArrowRight: [0, STEP] }[event.key];
        if (!step) return;
        event.preventDefault();
        onMove(head, heads[head].centre.map((v, i) => at(v + step[i])), true);
      } },
    halo, svg("circle", { class: "lg-dot", r: 0.2 }), svg("text", { y: 0.1, "aria-hidden": "true" }, `${head + 1}`));
    return { node, halo };
  });
  const lines = Array.from({ length: 2 * REACH - 1 }, (_, i) => i + 1 - REACH);
  const node = svg("svg", { class: "lg-plane", viewBox: `${-REACH} ${-REACH} ${2 * REACH} ${2 * REACH}`, role: "group",
    "aria-label": "Where each head of this block looks, in patches from the one that asks" },
  svg("path", { class: "lg-lines", d: lines.map((v) => `M${v} ${-REACH}V${REACH}M${-REACH} ${v}H${REACH}`).join("") }),
  svg("rect", { class: "lg-self", x: -0.5, y: -0.5, width: 1, height: 1 }), discs.map((disc) => disc.node));
  let held = -1;
  const point = (event) => {
    const box = node.getBoundingClientRect();
    return [(event.clientY - box.top) / box.height, (event.clientX - box.left) / box.width].map((v) => 2 * REACH * v - REACH);
  };
  const away = ([row, col]) => heads.map(({ centre }) => Math.hypot(centre[0] - row, centre[1] - col));
  node.addEventListener("pointerdown", (event) => {
    const distances = away(point(event));
    held = distances.indexOf(Math.min(...distances));
    if (distances[held] > 1) held = -1;
    if (held < 0) return;
    event.preventDefault();
    node.setPointerCapture(event.pointerId);
    discs[held].node.focus({ preventScroll: true });
  });
  node.addEventListener("pointermove", (event) => { if (held >= 0) onMove(held, point(event).map(at), false); });
  for (const end of ["pointerup", "pointercancel"]) {
    node.addEventListener(end, () => { if (held >= 0) onMove(held, heads[held].centre, true); held = -1; });
  }
  return { node, draw: (now, chosen) => {
    heads = now;
    discs.forEach(({ node: disc, halo }, head) => {
      const { centre: [row, col], alpha } = heads[head];
      disc.setAttribute("transform", `translate(${col} ${row})`);
      disc.setAttribute("aria-label", `head ${head + 1}: ${fixed(row, 2)} down, ${fixed(col, 2)} right; arrow keys move it`);
      disc.classList.toggle("lg-lit", head === chosen);
      halo.setAttribute("r", Math.min(REACH, 1 / Math.sqrt(2 * Math.max(alpha, 1e-3))));
    });
  } };
}

// Bars with a line where they stood before anything was turned. draw(shares, before), or draw(null)
export function answerBars(classes) {
  const lines = classes.map((name) => {
    const bar = h("span", { class: "lg-bar" });
    const before = h("span", { class: "lg-before" });
    const value = h("span", { class: "lg-share" });
    return { bar, before, value, node: h("li", {}, h("span", {}, name), h("span", { class: "lg-track" }, bar, before), value) };
  });
  return { node: h("ul", { class: "lg-bars" }, lines.map(({ node }) => node)), draw: (shares, asTrained) => {
    const best = shares ? shares.indexOf(Math.max(...shares)) : -1;
    lines.forEach(({ bar, before, value, node }, i) => {
      bar.style.width = `${100 * (shares?.[i] ?? 0)}%`;
      before.style.left = `${100 * (asTrained?.[i] ?? 0)}%`;
      before.hidden = !shares;
      value.textContent = shares ? `${(100 * shares[i]).toFixed(0)} %` : "";
      node.classList.toggle("lg-best", i === best);
    });
  } };
}
