// The view of attention maps that several explorables share: a picture to ask from, a matrix of all
// heads, a readout.

import { choice, gridCursor, h, oncePerFrame, place, ring, slider } from "./common.js";
import { legend, paint, ramp } from "./colours.js";
import {
  cellAt,
  evenDistance,
  headDistance,
  queriesOf,
  queryIndex,
  rollout,
  rolloutBarrier,
  rowOf,
  summary,
} from "./attention_math.js";

const percent = (share) => `${(100 * share).toFixed(1)} %`;

// Builds the view. base: the element that shows the picture itself (an img or a canvas);  layers():
// the maps now;
// pixels: the picture's [height, width];  start: { layer, head };  onSelect(layer, head): tells the
// explorable.
// Returns { picture, side, update }: two nodes to place, and update(fresh): redraws; fresh = the
// maps have changed.
export function attentionView({ base, layers, pixels, start, say, onSelect }) {
  const first = layers();
  const state = {
    layer: start.layer,
    head: start.head,
    mode: "raw",
    opacity: 0.65,
    hover: null,
    rolled: null,
    query: { name: first[0].extra[0], x: 0.5, y: 0.5 },
  };
  const refresh = oncePerFrame(draw);
  const speak = () => {
    refresh();
    requestAnimationFrame(() => say(readout.textContent));
  };
  const current = () => layers()[state.layer];
  const query = () => state.hover ?? state.query;

  // --- the picture: what is asked from, and the answer laid over it ---
  const overlay = h("canvas", {
    class: "hx-overlay",
    role: "img",
    "aria-label": "attention, laid over the picture",
  });
  const mark = ring();
  const stack = h("div", { class: "hx-stack hx-picture" }, base, overlay, mark);
  const toPlace = ([row, col]) => ({
    x: (col + 0.5) / gridNow()[1],
    y: (row + 0.5) / gridNow()[0],
  });
  const gridNow = () => (current().grid[0] ? current().grid : first[0].grid);
  const cursor = gridCursor(stack, {
    label: "Picture: choose the patch that asks",
    describe: place,
    size: gridNow,
    onPick: (cell, settled) => {
      if (settled) state.query = toPlace(cell);
      state.hover = settled ? null : toPlace(cell);
      if (settled) speak();
      else refresh();
    },
    onLeave: () => {
      state.hover = null;
      refresh();
    },
  });

  // --- who asks, what is shown ---
  const names = [...new Set(first.flatMap((layer) => queriesOf(layer).names))];
  const askers = names.map((name) =>
    h(
      "button",
      {
        type: "button",
        class: "hx-button",
        onclick: () => {
          state.query = { name, x: 0.5, y: 0.5 };
          state.hover = null;
          speak();
        },
      },
      `${name} token`,
    ),
  );
  const barrier = rolloutBarrier(first);
  const mode = choice({
    label: "Show",
    value: "raw",
    options: [
      ["raw", "the selected head"],
      ["rollout", "rollout up to the selected layer"],
    ],
    onInput: (value) => {
      state.mode = value;
      speak();
    },
  });
  mode.input.disabled = barrier !== "";
  const opacity = slider({
    label: "Overlay",
    min: 0,
    max: 100,
    step: 5,
    value: 65,
    show: (v) => `${v} %`,
    onInput: (value) => {
      state.opacity = value / 100;
      refresh();
    },
  });
  const scale = legend(ramp, "0 %", "");
  const matrix = headMatrix(first, (layer, head) => {
    Object.assign(state, { layer, head });
    onSelect?.(layer, head);
    speak();
  });
  const readout = h("p", { class: "hx-readout" });
  const top = h("ol", { class: "hx-top-patches" });
  const picture = h(
    "div",
    { class: "hx-panel" },
    h("p", { class: "hx-title" }, "Who asks? Point at a patch, or take:"),
    h("div", { class: "hx-row" }, askers),
    stack,
    h("div", { class: "hx-row hx-under" }, scale.node, opacity.node),
  );
  const side = h(
    "div",
    { class: "hx-panel" },
    h("p", { class: "hx-title" }, "All heads, for the token that asks (each on its own scale)"),
    matrix.node,
    h("div", { class: "hx-row" }, mode.node),
    barrier ? h("p", { class: "hx-note" }, barrier) : null,
    readout,
    h("p", { class: "hx-title" }, "Strongest patches"),
    top,
  );

  // The weights on show, and what they belong to.
  function shown() {
    const layer = current();
    const index = queryIndex(layer, query());
    if (state.mode === "raw") return { layer, index, row: rowOf(layer, state.head, index) };
    state.rolled ??= rollout(layers());
    return {
      layer,
      index,
      row: state.rolled[state.layer].subarray(index * layer.keys, (index + 1) * layer.keys),
    };
  }

  function draw() {
    const all = layers();
    const { layer, index, row } = shown();
    const { names: asking, patches } = queriesOf(layer);
    const [rows, cols] = layer.grid;
    const weights = row.slice(layer.extra.length);
    const most = Math.max(...weights, 1e-12);
    if (rows) paint(overlay, rows, cols, (r, c) => ramp(weights[r * cols + c] / most));
    overlay.hidden = rows === 0;
    overlay.style.opacity = state.opacity;
    scale.set("0 %", percent(rows ? most : 0));

    const fromPatch = patches && index >= asking.length;
    const { x, y } = query();
    const cell = rows ? cellAt([rows, cols], x, y) : [0, 0];
    mark.hidden = !fromPatch;
    mark.put(cell, [rows || 1, cols || 1]);
    cursor.set(cell);
    askers.forEach((asker, i) =>
      asker.setAttribute("aria-pressed", String(!fromPatch && asking[index] === names[i])),
    );
    matrix.draw(all, query(), state);

    const who = fromPatch ? `the patch at ${place(cell)}` : `the ${asking[index]} token`;
    const facts = summary(row, layer);
    const head = state.head === "mean" ? "mean of heads" : `head ${state.head + 1}`;
    const kind = layer.kind === "content" ? "" : ` (${layer.kind})`;
    const where =
      state.mode === "raw"
        ? `Block ${layer.block + 1}${kind}, ${head}`
        : `Rollout up to block ${layer.block + 1}`;
    const patchSize = pixels.map((side_, i) => side_ / (layer.grid[i] || 1));
    const distance = state.mode === "raw" ? headDistance(layer, state.head, patchSize) : null;
    readout.textContent = [
      `${where}, asked by ${who}.`,
      ...facts.extra.map(({ name, share }) => `To the ${name} token: ${percent(share)}.`),
      `Spread: ${facts.bits.toFixed(1)} bits, as even attention over ${Math.round(2 ** facts.bits)} tokens.`,
      distance === null
        ? ""
        : `Mean attention distance of this head: ${distance.toFixed(1)} px ` +
          `(even attention: ${evenDistance(layer.grid, patchSize).toFixed(1)} px).`,
    ].join(" ");
    top.replaceChildren(
      ...facts.top.map((item) => h("li", {}, `${place(item.cell)}: ${percent(item.share)}`)),
    );
  }

  return {
    picture,
    side,
    state,
    update: (fresh) => {
      if (fresh) state.rolled = null;
      refresh();
    },
    draw,
  };
}

// A thumbnail for each layer and head, and the mean of heads: one radio group, moved in by arrow
// keys.
function headMatrix(layers, onSelect) {
  const most = Math.max(...layers.map((layer) => layer.heads));
  const heads = (layer) => [...Array(layer.heads).keys(), "mean"];
  const cells = layers.map((layer, l) =>
    heads(layer).map((head) => {
      const canvas = h("canvas", { "aria-hidden": "true" });
      const name = head === "mean" ? "mean of heads" : `head ${head + 1}`;
      const node = h(
        "button",
        {
          type: "button",
          role: "radio",
          class: "hx-head",
          onclick: () => onSelect(l, head),
          "aria-label": `block ${layer.block + 1}${layer.kind === "content" ? "" : ` ${layer.kind}`}, ${name}`,
        },
        canvas,
      );
      return { node, canvas, head };
    }),
  );
  const step = {
    ArrowUp: [-1, 0],
    ArrowDown: [1, 0],
    ArrowLeft: [0, -1],
    ArrowRight: [0, 1],
    Home: [0, -99],
    End: [0, 99],
  };
  const node = h("div", {
    class: "hx-heads",
    role: "radiogroup",
    "aria-label": "layer and head",
    onkeydown: (event) => {
      const move = step[event.key];
      const l = cells.findIndex((line) => line.some((cell) => cell.node === event.target));
      if (!move || l < 0) return;
      event.preventDefault();
      const at = cells[l].findIndex((cell) => cell.node === event.target);
      const line = cells[Math.max(0, Math.min(cells.length - 1, l + move[0]))];
      const next = line[Math.max(0, Math.min(line.length - 1, at + move[1]))];
      next.node.focus();
      onSelect(cells.indexOf(line), next.head);
    },
  });
  node.style.gridTemplateColumns = `auto repeat(${most + 1}, minmax(28px, 4rem))`;
  node.append(
    h("span", {}),
    ...Array.from({ length: most }, (_, i) => h("span", { "aria-hidden": "true" }, `${i + 1}`)),
    h("span", { "aria-hidden": "true" }, "mean"),
  );
  layers.forEach((layer, l) => {
    node.append(
      h("span", { "aria-hidden": "true" }, `block ${layer.block + 1}`),
      ...cells[l].map((cell) => cell.node),
      ...Array.from({ length: most - layer.heads }, () => h("span", {})),
    );
  });
  return {
    node,
    draw: (now, query, state) =>
      now.forEach((layer, l) =>
        cells[l].forEach(({ node: cell, canvas, head }) => {
          const row = rowOf(layer, head, queryIndex(layer, query)).slice(layer.extra.length);
          const [rows, cols] = layer.grid;
          const top = Math.max(...row, 1e-12);
          if (rows) paint(canvas, rows, cols, (r, c) => ramp(row[r * cols + c] / top));
          const chosen =
            l === state.layer && head === (state.mode === "rollout" ? "mean" : state.head);
          cell.setAttribute("aria-checked", String(chosen));
          cell.tabIndex = l === state.layer && head === state.head ? 0 : -1;
        }),
      ),
  };
}
