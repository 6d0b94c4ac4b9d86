// Two heat maps of accuracy, optimiser by learning rate, and the curves of the cell under the
// pointer.

import { choice, fixed, frame, gridCursor, h, oncePerFrame, ring, slider } from "./common.js";
import { PARTS, css, inkOn, legend, ramp } from "./colours.js";
import { rateChart } from "./rate_maps_chart.js";
import { distinct, nearBest, rateRows } from "./rate_maps_math.js";
import { stateLinks } from "./state_links.js";

const OPTIMISERS = { adamw: "AdamW", sgd: "SGD" };
const LOWEST = 0.1; // accuracy of the darkest colour: chance among ten classes
const STEM_COLOURS = [PARTS.token, PARTS.convolution];
const CURVES = { loss: "training loss", tests: "test accuracy" };

function render({ model, el }) {
  const runs = JSON.parse(model.get("runs"));
  const [stems, sources] = [model.get("stems"), model.get("sources")]; // [key, title] each
  const { root, say } = frame(el, {
    label: "Accuracy by learning rate and optimiser, for both stems",
    hint: "point at a cell, or move with the arrow keys: below are the curves of its runs, with either stem.",
  });
  root.classList.add("rm");
  const state = { data: sources[0][0], cell: [0, 2], curve: "loss", within: model.get("within") };
  let rows = []; // of each stem, for the data in hand
  const redraw = oncePerFrame(draw);
  const change = (patch) => {
    Object.assign(state, patch);
    redraw();
    requestAnimationFrame(() => requestAnimationFrame(() => say(readout.textContent)));
  };

  const optimisers = distinct(runs, "optimizer");
  const columns = Math.max(
    ...optimisers.map(
      (optimizer) =>
        distinct(
          runs.filter((run) => run.optimizer === optimizer),
          "lr",
        ).length,
    ),
  );
  const maps = stems.map(([, title], i) => {
    const cells = optimisers.map(() =>
      Array.from({ length: columns }, () => h("div", { class: "rm-cell" })),
    );
    const mark = ring();
    const field = h("div", { class: "rm-field" }, cells.flat(), mark);
    field.style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
    const tally = h("p", { class: "hx-note" });
    const swatch = h("span", { class: "rm-swatch", "aria-hidden": "true" });
    swatch.style.background = css(STEM_COLOURS[i]);
    return {
      cells,
      mark,
      field,
      tally,
      node: h(
        "div",
        { class: "hx-panel" },
        h("p", { class: "hx-title" }, swatch, title),
        h(
          "div",
          { class: "rm-map" },
          h(
            "div",
            { class: "rm-names" },
            optimisers.map((key) => h("span", {}, OPTIMISERS[key] ?? key)),
          ),
          field,
        ),
        tally,
      ),
    };
  });
  const nameOfCell = ([row, col]) =>
    `${OPTIMISERS[optimisers[row]] ?? optimisers[row]}, rate ${rows[0]?.[row].cells[col]?.lr}`;
  const cursor = gridCursor(maps[0].field, {
    label: "Heat maps: choose optimiser and rate",
    describe: nameOfCell,
    size: () => [optimisers.length, columns],
    also: maps.slice(1).map(({ field }) => field),
    onPick: (cell, settled) => {
      if (settled) change({ cell });
      else {
        state.cell = cell;
        redraw();
      }
    },
  });
  const source = choice({
    label: "Pictures",
    options: sources,
    value: state.data,
    onInput: (data) => change({ data }),
  });
  const curve = choice({
    label: "Curves",
    options: Object.entries(CURVES),
    value: state.curve,
    onInput: (value) => change({ curve: value }),
  });
  const within = slider({
    label: "Count runs within",
    min: 0,
    max: 20,
    step: 1,
    value: state.within,
    show: (v) => `${v} points`,
    onInput: (value) => {
      state.within = value;
      redraw();
    },
  });
  const scale = legend((t) => ramp(t), `${100 * LOWEST} %`, "100 %");
  const chart = rateChart(STEM_COLOURS.map(css));
  const chartTitle = h("p", { class: "hx-title" });
  const readout = h("p", { class: "hx-readout" });
  root.append(
    h("div", { class: "hx-row" }, source.node, within.node, scale.node),
    h(
      "div",
      { class: "rm-maps" },
      maps.map(({ node }) => node),
    ),
    readout,
    h("div", { class: "hx-row rm-above" }, chartTitle, curve.node),
    chart.node,
  );
  if (model.get("note")) root.append(h("p", { class: "hx-note" }, model.get("note")));

  function draw() {
    rows = stems.map(([stem]) => rateRows(runs, state.data, stem));
    maps.forEach(({ cells, mark, tally }, i) => {
      const told = rows[i].map((row, r) => {
        const near = nearBest(row, state.within);
        cells[r].forEach((node, c) => drawRate(node, row.cells[c], near[c]));
        const [some, all] = [near, row.cells.map((cell) => cell.runs.length)].map((counts) =>
          counts.reduce((a, b) => a + b, 0),
        );
        return `${OPTIMISERS[row.optimizer] ?? row.optimizer} ${some} of ${all}`;
      });
      tally.textContent = `${told.join(", ")} runs within ${state.within} points of the best of their row.`;
      mark.put(state.cell, [optimisers.length, columns]);
    });
    const [row, col] = state.cell;
    const shown = rows.map((all) => all[row].cells[col]);
    cursor.set(state.cell);
    chartTitle.textContent = `${nameOfCell(state.cell)}: ${CURVES[state.curve]}`;
    chart.draw(
      shown.map(({ runs: of }) => of.map((run) => run[state.curve])),
      { percent: state.curve === "tests" },
    );
    const [, where] = sources.find(([key]) => key === state.data);
    readout.textContent =
      `${where}, ${nameOfCell(state.cell)}. ` +
      shown.map((cell, i) => `${stems[i][1]}: ${inPercent(cell)}${divergedIn(cell)}`).join("; ") +
      ".";
  }

  // A link in the text: <a
  // href="#rates?data=digits&optimizer=sgd&rate=0.1&curve=tests&within=4">words</a>. What it leaves
  // out stays.
  function follow(said) {
    if (sources.some(([key]) => key === said.data)) state.data = said.data;
    const row = optimisers.indexOf(said.optimizer ?? optimisers[state.cell[0]]);
    const rates =
      row < 0 ? [] : rateRows(runs, state.data, stems[0][0])[row].cells.map(({ lr }) => lr);
    const col = said.rate ? rates.indexOf(Number(said.rate)) : state.cell[1];
    if (row >= 0 && col >= 0) state.cell = [row, col];
    if (said.curve in CURVES) state.curve = said.curve;
    if (said.within) state.within = Math.max(0, Math.min(20, Number(said.within) || 0));
    source.set(state.data);
    curve.set(state.curve);
    within.set(state.within);
    change({});
  }
  draw();
  return stateLinks(model.get("name"), root, follow);
}

const inPercent = ({ mean, sd }) =>
  `${fixed(100 * mean, 1)}${sd === null ? "" : ` ± ${fixed(100 * sd, 1)}`} %`;

function divergedIn({ runs }) {
  const lost = runs.filter(({ diverged }) => diverged).length;
  return lost ? `, ${lost} of ${runs.length} diverged` : "";
}

function drawRate(node, cell, near) {
  node.hidden = !cell;
  if (!cell) return;
  const colour = ramp((cell.mean - LOWEST) / (1 - LOWEST));
  Object.assign(node.style, { background: css(colour), color: inkOn(colour) });
  const lost = cell.runs.filter(({ diverged }) => diverged).length;
  const dots = "●".repeat(near) + "○".repeat(cell.runs.length - near - lost) + "×".repeat(lost);
  node.replaceChildren(
    h("span", { class: "rm-rate" }, String(cell.lr)),
    h("b", {}, fixed(100 * cell.mean, 1)),
    h("span", { class: "rm-dots" }, dots),
  );
}

export default { render };
