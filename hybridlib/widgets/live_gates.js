// ConViT with its gates, strengths and shifts under the reader's hand, on what the reader draws.

import { button, fixed, frame, gridCursor, h, place, ring, slider } from "./common.js";
import { legend, paint, ramp } from "./colours.js";
import { deskOf } from "./live_desk.js";
import { headGrid } from "./live_heads.js";
import { gatedLayers, readHead, rowsOf, writeHead } from "./live_gates_math.js";
import { centrePlane } from "./live_gates_parts.js";

const KINDS = { content: "Content", position: "+ position", gated: "= mixture" };
const STRENGTH = { least: -1, most: 1.5 }; // powers of ten of alpha

function render({ model, el }) {
  const { root, say } = frame(el, {
    label: "ConViT with its gates and shifts in your hand",
    hint: "take a digit, then turn the gate of one head, or of all.",
  });
  root.classList.add("lg");
  const state = { layer: model.get("block"), head: model.get("head"), query: [3, 3] };
  let layers = [];
  let heads = null;
  let planes = []; // of each layer's shifts
  let grid = [8, 8]; // of the maps, as last drawn

  // --- one head: its three maps ---
  const maps = Object.entries(KINDS).map(([kind, title]) => {
    const [base, over] = [
      h("canvas", { "aria-hidden": "true" }),
      h("canvas", { class: "lg-over", "aria-hidden": "true" }),
    ];
    const [mark, share] = [ring(), h("span", { class: "lg-weight" })];
    const stack = h("div", { class: "hx-stack" }, base, over, mark);
    return {
      kind,
      base,
      over,
      mark,
      share,
      stack,
      node: h("div", { class: "lg-map" }, h("p", { class: "hx-title" }, title, " ", share), stack),
    };
  });
  const desk = deskOf({ model, say, backs: maps.map(({ base }) => base), onModel, onDraw });
  const change = (patch) => {
    Object.assign(state, patch);
    desk.respond();
  };
  const scale = legend(ramp, "0 %", "");
  const cursor = gridCursor(maps[0].stack, {
    label: "Map: choose the patch that asks",
    describe: place,
    size: () => grid,
    also: maps.slice(1).map(({ stack }) => stack),
    onPick: (cell, settled) => {
      state.query = cell;
      desk.respond(settled);
    },
  });

  // --- one head: what is turned ---
  const headOf = (l, head) => readHead(desk.net(), layers[l].name, head);
  const write = (l, head, patch) =>
    writeHead(desk.net(), layers[l].name, head, { ...headOf(l, head), ...patch });
  const everyHead = () =>
    layers.flatMap(({ heads: count }, l) => Array.from({ length: count }, (_, head) => [l, head]));
  const turn = (patch, which = [[state.layer, state.head]]) => {
    if (!desk.net()) return;
    for (const [l, head] of which) write(l, head, patch);
    desk.edited();
  };
  const flip = () => {
    if (!desk.net()) return;
    for (const [l, head] of everyHead())
      write(l, head, { centre: headOf(l, head).centre.map((v) => -v) });
    desk.edited();
  };
  const gate = slider({
    label: "Gate s",
    min: 0,
    max: 1,
    step: 0.01,
    value: 0.73,
    show: (v) => fixed(v, 2),
    onInput: (value) => turn({ gate: value }),
  });
  const strength = slider({
    label: "Strength α",
    min: STRENGTH.least,
    max: STRENGTH.most,
    step: 0.02,
    value: 0,
    show: (v) => (10 ** v).toPrecision(2),
    onInput: (value) => turn({ alpha: 10 ** value }),
  });
  const gateForItsBlock = () => {
    if (desk.net())
      turn(
        { gate: headOf(state.layer, state.head).gate },
        everyHead().filter(([l]) => l === state.layer),
      );
  };
  const choices = h("div", {});
  const plane = h("div", {});
  root.append(
    ...desk.nodes,
    h(
      "div",
      { class: "hx-row", role: "group", "aria-label": "all heads at once" },
      button("This gate for its block", gateForItsBlock),
      button("All content (s = 0)", () => turn({ gate: 0 }, everyHead())),
      button("All position (s = 1)", () => turn({ gate: 1 }, everyHead())),
      button("Flip all shifts", flip),
      button("As trained", () => desk.net() && desk.restore()),
    ),
    h(
      "div",
      { class: "lg-maps" },
      maps.map(({ node }) => node),
    ),
    h("div", { class: "hx-row" }, scale.node, gate.node, strength.node),
    h(
      "div",
      { class: "lg-bottom" },
      h(
        "div",
        { class: "hx-panel" },
        h("p", { class: "hx-title" }, "All heads: mixture, and gate as a bar"),
        choices,
      ),
      h(
        "div",
        { class: "hx-panel" },
        h("p", { class: "hx-title" }, "Shifts of this block: drag a head"),
        plane,
      ),
    ),
  );
  if (model.get("note")) root.append(h("p", { class: "hx-note" }, model.get("note")));

  function onModel(net) {
    layers = gatedLayers(net);
    heads = headGrid(layers, (layer, head) => change({ layer, head }));
    planes = layers.map(({ heads: count }, l) =>
      centrePlane(count, {
        onPick: (head) => {
          if (state.head !== head || state.layer !== l) change({ layer: l, head });
        },
        onMove: (head, centre) => {
          state.head = head;
          turn({ centre }, [[l, head]]);
        },
      }),
    );
    choices.replaceChildren(heads.node);
  }

  function onDraw({ maps: all }, said) {
    const { name, heads: count } = layers[state.layer];
    const head = headOf(state.layer, state.head);
    grid = all.find(({ module }) => module === name).grid;
    const [rows, cols] = grid;
    const query = state.query[0] * cols + state.query[1];
    const weights = rowsOf(all, name, state.head, query);
    const most = Math.max(
      ...Object.values(weights).map((row) => row.reduce((a, b) => Math.max(a, b), 0)),
    );
    const words = {
      content: `× ${fixed(1 - head.gate, 2)}`,
      position: `× ${fixed(head.gate, 2)}`,
      gated: "",
    };
    for (const { kind, over, mark, share } of maps) {
      paint(over, rows, cols, (r, c) => ramp(weights[kind][r * cols + c] / most));
      mark.put(state.query, grid);
      share.textContent = words[kind];
    }
    scale.set("0 %", `${(100 * most).toFixed(0)} %`);
    cursor.set(state.query);
    gate.set(head.gate);
    strength.set(Math.log10(Math.max(head.alpha, 1e-3)));
    heads.draw(
      (l, i) => {
        const share = headOf(l, i).gate;
        return {
          weights: rowsOf(all, layers[l].name, i, query).gated,
          size: grid,
          share,
          said: `gate ${fixed(share, 2)}`,
        };
      },
      [state.layer, state.head],
    );
    const shown = planes[state.layer];
    if (plane.firstChild !== shown.node) plane.replaceChildren(shown.node);
    shown.draw(
      Array.from({ length: count }, (_, i) => headOf(state.layer, i)),
      state.head,
    );
    desk.readout.textContent =
      `${said} Block ${state.layer + 1}, head ${state.head + 1}: gate ${fixed(head.gate, 2)}, ` +
      `strength ${fixed(head.alpha, 2)}, looks ${fixed(head.centre[0], 2)} patches down and ${fixed(head.centre[1], 2)} right. ` +
      `Asked by the patch at ${place(state.query)}.`;
  }

  // A link sets everything anew: gate=0.2 or alpha=4 for all heads, or for that of block=1&head=3;
  // shifts=flip.
  function follow(said) {
    const { gate: share, alpha, block, head, shifts } = said;
    desk.restore();
    const one = block && head ? [Number(block) - 1, Number(head) - 1] : null;
    if (one) [state.layer, state.head] = one;
    if (shifts === "flip") flip();
    turn(
      { ...(share && { gate: Number(share) }), ...(alpha && { alpha: Number(alpha) }) },
      one ? [one] : everyHead(),
    );
  }
  return desk.start(root, follow);
}

export default { render };
