// The plane of a layer's shifts, built once.

import { fixed, svg } from "./common.js";

const REACH = 3.5; // patches from the middle of the plane to its edge
const STEP = 0.1; // patches, by one press of an arrow key

// Where the heads of a layer look from a patch at (0, 0): discs to drag, or to move by arrow keys.
// onPick(head), onMove(head, [row, column]).  draw(heads, chosen): heads as in live_gates_math.js
export function centrePlane(count, { onPick, onMove }) {
  const at = (v) => Math.max(-REACH, Math.min(REACH, Math.round(v / 0.05) * 0.05));
  let heads = [];
  const move = (head, centre) => {
    // kept at once: a second key may come before the next drawing
    heads[head] = { ...heads[head], centre };
    onMove(head, centre);
  };
  const discs = Array.from({ length: count }, (_, head) => {
    const halo = svg("circle", { class: "lg-halo" });
    const node = svg(
      "g",
      {
        class: "lg-disc",
        tabindex: "0",
        role: "button",
        "aria-roledescription": "head to move",
        onfocus: () => onPick(head),
        onkeydown: (event) => {
          const step = {
            ArrowUp: [-STEP, 0],
            ArrowDown: [STEP, 0],
            ArrowLeft: [0, -STEP],
            ArrowRight: [0, STEP],
          }[event.key];
          if (!step) return;
          event.preventDefault();
          move(
            head,
            heads[head].centre.map((v, i) => at(v + step[i])),
          );
        },
      },
      halo,
      svg("circle", { class: "lg-dot", r: 0.2 }),
      svg("text", { y: 0.1, "aria-hidden": "true" }, `${head + 1}`),
    );
    return { node, halo };
  });
  const lines = Array.from({ length: 2 * REACH - 1 }, (_, i) => i + 1 - REACH);
  const node = svg(
    "svg",
    {
      class: "lg-plane",
      viewBox: `${-REACH} ${-REACH} ${2 * REACH} ${2 * REACH}`,
      role: "group",
      "aria-label": "Where each head of this block looks, in patches from the one that asks",
    },
    svg("path", {
      class: "lg-lines",
      d: lines.map((v) => `M${v} ${-REACH}V${REACH}M${-REACH} ${v}H${REACH}`).join(""),
    }),
    svg("rect", { class: "lg-self", x: -0.5, y: -0.5, width: 1, height: 1 }),
    discs.map((disc) => disc.node),
  );
  let held = -1;
  const point = (event) => {
    const box = node.getBoundingClientRect();
    return [(event.clientY - box.top) / box.height, (event.clientX - box.left) / box.width].map(
      (v) => 2 * REACH * v - REACH,
    );
  };
  const away = ([row, col]) =>
    heads.map(({ centre }) => Math.hypot(centre[0] - row, centre[1] - col));
  node.addEventListener("pointerdown", (event) => {
    const distances = away(point(event));
    held = distances.indexOf(Math.min(...distances));
    if (distances[held] > 1) held = -1;
    if (held < 0) return;
    event.preventDefault();
    node.setPointerCapture(event.pointerId);
    discs[held].node.focus({ preventScroll: true });
  });
  node.addEventListener("pointermove", (event) => {
    if (held >= 0) move(held, point(event).map(at));
  });
  for (const end of ["pointerup", "pointercancel"]) {
    node.addEventListener(end, () => {
      held = -1;
    });
  }
  return {
    node,
    draw: (now, chosen) => {
      heads = now;
      discs.forEach(({ node: disc, halo }, head) => {
        const {
          centre: [row, col],
          alpha,
        } = heads[head];
        disc.setAttribute("transform", `translate(${col} ${row})`);
        disc.setAttribute(
          "aria-label",
          `head ${head + 1}: ${fixed(row, 2)} down, ${fixed(col, 2)} right; arrow keys move it`,
        );
        disc.classList.toggle("lg-lit", head === chosen);
        halo.setAttribute("r", Math.min(REACH, 1 / Math.sqrt(2 * Math.max(alpha, 1e-3))));
      });
    },
  };
}
