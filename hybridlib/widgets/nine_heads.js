// Nine attention heads become a 3 x 3 convolution as the width alpha grows.

import {
  button,
  fixed,
  frame,
  gridCursor,
  h,
  onChange,
  oncePerFrame,
  panel,
  place,
  ring,
  slider,
  small,
  svg,
  tidy,
  toggle,
} from "./common.js";
import { css, grey, inkOn, legend, paint, ramp, twoSided } from "./colours.js";
import { compare, effectiveKernel, headMap, SHIFTS } from "./nine_heads_math.js";

const KERNELS = {
  Edges: [-1, -1, -1, -1, 8, -1, -1, -1, -1],
  Slope: [-1, 0, 1, -2, 0, 2, -1, 0, 1],
  Blur: [1, 2, 1, 2, 4, 2, 1, 2, 1].map((v) => v / 16),
  Sharpen: [0, -1, 0, -1, 5, -1, 0, -1, 0],
  Shift: [0, 0, 0, 1, 0, 0, 0, 0, 0],
  Random: null,
};
const ALPHA = { least: -1, most: 2 }; // powers of ten
const REACH = 2; // the effective kernel is shown up to two pixels away
const PLANE = 2.5; // half the side of the plane of centres

function render({ model, el }) {
  let image = model.get("image");
  const size = () => [image.length, image[0].length];
  const state = { centres: SHIFTS.map((shift) => [...shift]), query: model.get("query") };
  const { root, say } = frame(el, {
    label: "Nine heads that become a convolution",
    hint: "push α to the right: the nine discs shrink to points, and the difference fades, except at the border.",
  });
  const refresh = oncePerFrame(draw);
  const keep = (trait, value) => {
    model.set(trait, value);
    model.save_changes();
  };

  // --- controls ---
  const alpha = slider({
    label: "Sharpness α",
    min: ALPHA.least,
    max: ALPHA.most,
    step: 0.05,
    value: 0,
    show: (power) => `α = ${(10 ** power).toPrecision(2)}`,
    onInput: (power) => {
      keep("alpha", 10 ** power);
      speak();
    },
  });
  const pad = toggle({
    label: "Ring of zeros around the image",
    value: model.get("pad"),
    onInput: (on) => {
      keep("pad", on);
      speak();
    },
  });
  const back = button("Put heads back", () => {
    state.centres = SHIFTS.map((s) => [...s]);
    refresh();
  });
  const presets = Object.keys(KERNELS).map((name) =>
    button(name, () => {
      keep("kernel", KERNELS[name] ?? SHIFTS.map(() => Math.round(Math.random() * 40 - 20) / 10));
      speak();
    }),
  );
  root.append(h("div", { class: "hx-row hx-sticky" }, alpha.node, pad.node));

  // --- where the heads look: nine discs that can be dragged ---
  const discs = SHIFTS.map((shift, head) => disc(head, state, refresh, say));
  const plane = svg(
    "svg",
    { class: "hx-plane", viewBox: [-PLANE, -PLANE, 2 * PLANE, 2 * PLANE].join(" ") },
    pixelGrid(),
    svg("rect", { class: "hx-self", x: -0.5, y: -0.5, width: 1, height: 1 }),
    discs.map((d) => d.node),
  );
  discs.forEach((d) => d.drag(plane));

  // --- one map per head ---
  const tiles = SHIFTS.map((shift, head) => {
    const canvas = h("canvas", { role: "img" });
    const words = h("span", {});
    const mark = ring();
    const node = h(
      "div",
      { class: "hx-tile" },
      h("div", { class: "hx-stack" }, canvas, mark),
      words,
    );
    node.addEventListener("pointerenter", () => discs[head].node.classList.add("hx-lit"));
    node.addEventListener("pointerleave", () => discs[head].node.classList.remove("hx-lit"));
    return { node, canvas, words, mark };
  });
  const mapScale = legend(ramp, "0", "1");

  // --- the kernel asked for, and the kernel applied ---
  const cells = SHIFTS.map(([row, col], i) =>
    h("input", {
      type: "number",
      step: 0.1,
      inputmode: "decimal",
      "aria-label": `kernel weight, ${place([row + 1, col + 1])}`,
      oninput: (event) => {
        if (event.target.value === "" || !Number.isFinite(event.target.valueAsNumber)) return;
        keep(
          "kernel",
          model.get("kernel").map((old, j) => (j === i ? event.target.valueAsNumber : old)),
        );
        speak();
      },
    }),
  );
  const around = Array.from({ length: 2 * REACH + 1 }, (_, i) => i - REACH);
  const applied = around.map((row) =>
    around.map((col) =>
      h("td", { class: Math.max(Math.abs(row), Math.abs(col)) <= 1 ? "hx-core" : "" }),
    ),
  );

  // --- the pictures ---
  const pictures = ["Image", "Convolution", "Nine heads", "Difference"].map((name) => {
    const canvas = h("canvas", { role: "img", "aria-label": name });
    const mark = ring();
    const words = h("span", {});
    return { name, canvas, mark, words, stack: h("div", { class: "hx-stack" }, canvas, mark) };
  });
  const cursor = gridCursor(pictures[0].stack, {
    label: "Image: choose the query pixel",
    size,
    also: pictures.slice(1).map((picture) => picture.stack),
    describe: place,
    onPick: (cell, settled) => {
      state.query = cell;
      if (settled) {
        keep("query", cell);
        speak();
      } else refresh();
    },
  });
  const scale = legend(twoSided, "", "", -1);
  const chart = errorChart();
  const readout = h("p", { class: "hx-readout" });

  root.append(
    h(
      "div",
      { class: "hx-columns" },
      panel(
        "Where each head looks",
        "Disc: centre D and width. Drag one, or focus it and press arrows.",
        plane,
        back,
      ),
      panel(
        "What each head sees from the query pixel",
        null,
        h(
          "div",
          { class: "hx-grid3" },
          tiles.map((tile) => tile.node),
        ),
        mapScale.node,
      ),
    ),
    h(
      "div",
      { class: "hx-columns hx-four" },
      pictures.map((picture) =>
        h("div", { class: "hx-tile" }, h("b", {}, picture.name), picture.stack, picture.words),
      ),
    ),
    h("div", { class: "hx-row" }, h("span", {}, "Outputs and difference, one scale:"), scale.node),
    readout,
    h(
      "div",
      { class: "hx-columns" },
      panel(
        "Kernel wanted",
        null,
        h("div", { class: "hx-kernel" }, cells),
        h("div", { class: "hx-row" }, presets),
      ),
      panel(
        "Kernel applied at the query pixel",
        null,
        h(
          "table",
          { class: "hx-applied", "aria-label": "kernel applied" },
          h(
            "tbody",
            {},
            applied.map((line) => h("tr", {}, line)),
          ),
        ),
      ),
    ),
    chart.node,
  );

  function speak() {
    refresh();
    requestAnimationFrame(() => say(readout.textContent));
  }

  function draw() {
    const weights = model.get("kernel");
    const [height, width] = size();
    const setting = {
      weights,
      centres: state.centres,
      alpha: model.get("alpha"),
      pad: model.get("pad"),
    };
    const result = compare(image, setting);
    const ringed = setting.pad ? 1 : 0;
    const query = [state.query[0] + ringed, state.query[1] + ringed];
    alpha.set(Math.log10(setting.alpha));
    pad.set(setting.pad);

    discs.forEach((d) => d.move(setting.alpha));
    tiles.forEach((tile, head) => {
      const map = headMap(result.tables[head], query);
      const peak = Math.max(...map.flat());
      paint(tile.canvas, map.length, map[0].length, (r, c) => ramp(map[r][c]));
      tile.mark.put(query, [map.length, map[0].length]);
      tile.words.textContent = `peak ${peak.toFixed(2)}`;
      const [row, col] = state.centres[head];
      tile.canvas.setAttribute(
        "aria-label",
        `head at shift ${tidy(row)}, ${tidy(col)}: its brightest pixel holds ${peak.toFixed(2)}`,
      );
    });

    const kernel = effectiveKernel(result.tables, weights, query);
    const top = Math.max(...weights.map(Math.abs), 1e-9);
    cells.forEach((cell, i) => {
      if (cell !== root.ownerDocument.activeElement)
        cell.value = Math.round(weights[i] * 1e4) / 1e4;
      tint(cell, weights[i] / top);
    });
    around.forEach((row, i) =>
      around.forEach((col, j) => {
        const value = kernel[query[0] + row]?.[query[1] + col];
        applied[i][j].textContent = value === undefined ? "·" : fixed(value, 2);
        tint(applied[i][j], value === undefined ? null : value / top);
      }),
    );

    const outputs = [result.convolution, result.attention, result.difference];
    const largest = Math.max(
      ...outputs.slice(0, 2).flatMap((map) => map.flatMap((line) => [...line].map(Math.abs))),
      1e-9,
    );
    paint(pictures[0].canvas, height, width, (r, c) => grey(image[r][c]));
    outputs.forEach((map, i) =>
      paint(pictures[i + 1].canvas, height, width, (r, c) => twoSided(map[r][c] / largest)),
    );
    pictures.forEach((picture, i) => {
      const value = [image, ...outputs][i][state.query[0]][state.query[1]];
      picture.mark.put(state.query, [height, width]);
      picture.words.textContent = fixed(value, 3);
    });
    scale.set(`−${largest.toPrecision(2)}`, `+${largest.toPrecision(2)}`);
    cursor.set(state.query);
    readout.textContent =
      `α = ${setting.alpha.toPrecision(2)}. Next to its target, a pixel gets exp(−α) = ` +
      `${small(Math.exp(-setting.alpha))} of the target's weight. Largest error inside ${small(result.inside)}, ` +
      `at the border ${small(result.border)}. Query pixel: ${place(state.query)}.`;
    chart.draw(image, setting, result);
  }

  // A new image may be smaller than the old one, and the query that fits it comes with the next
  // change.
  const follow = () => {
    image = model.get("image");
    state.query = model.get("query").map((at, axis) => Math.min(at, size()[axis] - 1));
    refresh();
  };
  const stops = [
    onChange(model, ["alpha", "kernel", "pad"], refresh),
    onChange(model, ["image", "query"], follow),
  ];
  draw();
  return () => stops.forEach((stop) => stop());
}

// A cell's background says the weight; its text stays readable on it.
function tint(node, value) {
  node.style.background = value === null ? "" : css(twoSided(value));
  node.style.color = value === null ? "" : inkOn(twoSided(value));
}

function pixelGrid() {
  const lines = Array.from({ length: 6 }, (_, i) => i - PLANE);
  return svg("path", {
    class: "hx-lines",
    d: lines.map((v) => `M${v} ${-PLANE}V${PLANE}M${-PLANE} ${v}H${PLANE}`).join(""),
  });
}

// One head's centre, to be dragged or moved by arrow keys in steps of 0.1 pixel.
function disc(head, state, refresh, say) {
  const halo = svg("circle", { class: "hx-halo" });
  const node = svg(
    "g",
    { class: "hx-disc", tabindex: "0", role: "button", "aria-roledescription": "head to move" },
    halo,
    svg("circle", { class: "hx-hit", r: 0.36 }),
    svg("circle", { class: "hx-dot", r: 0.09 }),
  );
  const to = ([row, col]) => {
    const limit = (v) => Math.max(-2, Math.min(2, Math.round(v * 20) / 20));
    state.centres[head] = [limit(row), limit(col)];
    refresh();
  };
  node.addEventListener("keydown", (event) => {
    const step = {
      ArrowUp: [-0.1, 0],
      ArrowDown: [0.1, 0],
      ArrowLeft: [0, -0.1],
      ArrowRight: [0, 0.1],
    }[event.key];
    if (!step && event.key !== "Home") return;
    event.preventDefault();
    const [row, col] = state.centres[head];
    to(step ? [row + step[0], col + step[1]] : SHIFTS[head]);
    say(`head ${head + 1} at ${state.centres[head].map(tidy).join(", ")}`);
  });
  return {
    node,
    drag: (plane) => {
      const point = (event) => {
        const box = plane.getBoundingClientRect();
        return [
          ((event.clientY - box.top) / box.height) * 2 * PLANE - PLANE,
          ((event.clientX - box.left) / box.width) * 2 * PLANE - PLANE,
        ];
      };
      node.addEventListener("pointerdown", (event) => node.setPointerCapture(event.pointerId));
      node.addEventListener("pointermove", (event) => {
        if (node.hasPointerCapture(event.pointerId)) to(point(event));
      });
    },
    move: (alpha) => {
      const [row, col] = state.centres[head];
      node.setAttribute("transform", `translate(${col} ${row})`);
      node.setAttribute(
        "aria-label",
        `head ${head + 1}, centre ${tidy(row)}, ${tidy(col)}; arrow keys move it`,
      );
      halo.setAttribute("r", Math.min(3, 1 / Math.sqrt(2 * alpha)));
    },
  };
}

// Largest error against alpha, both on log scales: inside the image it falls like e^-alpha, at the
// border it stays.
function errorChart() {
  const [low, high] = [-8, 2]; // powers of ten of the error
  const inside = svg("path", { class: "hx-line" });
  const border = svg("path", { class: "hx-line hx-dashed" });
  const now = svg("path", { class: "hx-now" });
  const picture = svg(
    "svg",
    { viewBox: "0 0 100 100", preserveAspectRatio: "none", role: "img" },
    inside,
    border,
    now,
  );
  const x = (power) => (100 * (power - ALPHA.least)) / (ALPHA.most - ALPHA.least);
  const y = (error) =>
    100 - (100 * (Math.max(Math.log10(error || 1e-99), low) - low)) / (high - low);
  const node = h(
    "div",
    { class: "hx-panel" },
    h("p", { class: "hx-title" }, "Largest error against α (log scales)"),
    h(
      "div",
      { class: "hx-chart" },
      h("span", { class: "hx-top" }, "100"),
      h("span", { class: "hx-bottom" }, "10⁻⁸"),
      picture,
      h("span", { class: "hx-from" }, "α = 0.1"),
      h("span", { class: "hx-to" }, "α = 100"),
    ),
    h(
      "p",
      { class: "hx-note" },
      "Solid: inside. Dashed: border, where softmax has no zeros to look at.",
    ),
  );
  let known = "";
  return {
    node,
    draw: (image, setting, result) => {
      const key = JSON.stringify([image, setting.weights, setting.centres, setting.pad]);
      if (key !== known) {
        const powers = Array.from({ length: 31 }, (_, i) => ALPHA.least + i / 10);
        const errors = powers.map((power) => compare(image, { ...setting, alpha: 10 ** power }));
        const line = (pick) =>
          powers.map((power, i) => `${i ? "L" : "M"}${x(power)} ${y(pick(errors[i]))}`).join("");
        inside.setAttribute(
          "d",
          line((error) => error.inside),
        );
        border.setAttribute(
          "d",
          line((error) => error.border),
        );
        known = key;
      }
      now.setAttribute("d", `M${x(Math.log10(setting.alpha))} 0V100`);
      picture.setAttribute(
        "aria-label",
        `Largest error against alpha. At the chosen alpha: inside ${small(result.inside)}, ` +
          `border ${small(result.border)}.`,
      );
    },
  };
}

export default { render };
