// Which input pixels an output unit can see, and through how many paths.

import {
  button,
  choice,
  frame,
  gridCursor,
  h,
  onChange,
  oncePerFrame,
  panel,
  place,
  svg,
  toggle,
} from "./common.js";
import { css, legend, paint, ramp } from "./colours.js";
import {
  centralShare,
  field,
  paths,
  positions,
  readsFrom,
  recursion,
  sizes,
} from "./receptive_field_math.js";

const conv = (kernel, stride = 1, name = undefined) => ({
  kernel,
  stride,
  dilation: 1,
  ...(name && { name }),
});
const times = (count, layer) => Array.from({ length: count }, () => ({ ...layer }));
const PRESETS = {
  "One 3 × 3 convolution": [33, [conv(3)]],
  "Five 3 × 3 convolutions": [33, times(5, conv(3))],
  "Five, dilation 1, 1, 2, 2, 3": [
    33,
    [1, 1, 2, 2, 3].map((dilation) => ({ ...conv(3), dilation })),
  ],
  "ViT: 16 × 16 patches": [64, [conv(16, 16)]],
  "Early-convolution stem": [64, [...times(4, conv(3, 2)), conv(1)]],
  "CeiT image-to-tokens": [64, [conv(7, 2), conv(3, 2, "max pool"), conv(4, 4, "patches")]],
  "ResNet-50, all of it": [
    224,
    [
      conv(7, 2),
      conv(3, 2, "max pool"),
      ...times(3, conv(3)),
      ...[4, 6, 3].flatMap((blocks) => [conv(3, 2), ...times(blocks - 1, conv(3))]),
    ],
  ],
  "One attention layer": [33, [{ attention: true }]],
};
const GRIDS = [17, 33, 64, 129, 224];
const MOST_LAYERS = 20;
const MOST_EDGES = 900; // beyond this the side view shows the cone alone

function render({ model, el }) {
  const state = {
    layers: model.get("layers").map((layer) => ({ ...layer })),
    grid: model.get("grid"),
    unit: null,
  };
  let writing = false; // our own changes need no answer
  const { root, say } = frame(el, {
    label: "Receptive field of a stack of layers",
    hint: "move over the picture, then add a layer: what one output unit sees grows by (k − 1) · j pixels.",
  });
  const refresh = oncePerFrame(draw);

  // --- controls ---
  const preset = choice({
    label: "Example",
    value: exampleOf(model.get("layers")),
    options: [["", "your own"], ...Object.keys(PRESETS).map((n) => [n, n])],
    onInput: (name) => {
      if (!name) return;
      state.grid = PRESETS[name][0];
      rebuild(PRESETS[name][1].map((layer) => ({ ...layer })));
    },
  });
  const grid = choice({
    label: "Picture side",
    value: state.grid,
    options: [...new Set([...GRIDS, state.grid])].sort((a, b) => a - b).map((n) => [n, `${n} px`]),
    onInput: (side) => {
      state.grid = Number(side);
      state.unit = null;
      keep();
      speak();
    },
  });
  const attention = toggle({
    label: "End with an attention layer",
    value: false,
    onInput: (on) => rebuild([...convolutions(), ...(on ? [{ attention: true }] : [])]),
  });
  const add = button("Add a layer", () =>
    rebuild([...convolutions(), conv(3), ...state.layers.filter((layer) => layer.attention)], true),
  );

  // --- pictures ---
  const canvas = h("canvas", {
    role: "img",
    "aria-label": "input pixels, brighter where more paths arrive",
  });
  const area = h("div", { class: "hx-input" }, canvas);
  const box = h("div", { class: "hx-field" });
  const picture = h("div", { class: "hx-stack hx-outside" }, area, box);
  const side = sideView();
  const cursor = gridCursor(picture, {
    label: "Input picture: choose an output unit",
    describe: place,
    size: () => [extent().at(-1), extent().at(-1)],
    locate: (x, y) => {
      const { first, step } = positions(state.layers).at(-1);
      const frameSide = state.grid + 2 * margin();
      return [y, x].map((v) => Math.round((v * frameSide - margin() - 0.5 - first) / step));
    },
    onPick: (cell, settled) => {
      state.unit = cell;
      if (settled) speak();
      else refresh();
    },
  });
  const list = h("ol", { class: "hx-layers" });
  const facts = [
    "Receptive field",
    "Step between units",
    "Output map",
    "Paths in the central half",
  ].map((name) => ({ name, value: h("dd", {}) }));
  const readout = h("p", { class: "hx-readout" });
  root.append(
    h("div", { class: "hx-row" }, preset.node, grid.node),
    h(
      "div",
      { class: "hx-columns" },
      h(
        "div",
        { class: "hx-views" },
        panel("Side view: output above, input below", null, side.node),
        panel(
          "The input, pixel by pixel",
          null,
          picture,
          h("p", {}, legend(ramp, "few paths", "most paths").node),
        ),
      ),
      panel(
        "Layers, from the input up",
        "Shortcuts and inner 1 × 1 convolutions of ResNet-50 are left out: they widen nothing.",
        list,
        h("div", { class: "hx-row" }, add, attention.node),
        h(
          "dl",
          { class: "hx-facts" },
          facts.map(({ name, value }) => h("div", {}, h("dt", {}, name), value)),
        ),
      ),
    ),
    readout,
  );

  const convolutions = () => state.layers.filter((layer) => !layer.attention);
  const extent = () => sizes(state.layers, state.grid);
  const reach = () => recursion(state.layers).at(-1)?.r ?? 1;
  // The frame leaves room for a field that hangs over the edge; attention never does.
  const margin = () =>
    Number.isFinite(reach()) ? Math.ceil(Math.min(reach(), 2 * state.grid) / 2) : 1;

  function keep() {
    writing = true;
    model.set(
      "layers",
      state.layers.map((layer) => ({ ...layer })),
    );
    model.set("grid", state.grid);
    writing = false;
    model.save_changes();
  }

  function speak() {
    refresh();
    requestAnimationFrame(() => say(readout.textContent));
  }

  // Writes the list of layers anew. own: the reader built it, so no example's name fits any more.
  function rebuild(layers, own = false) {
    state.layers = layers;
    state.unit = null;
    if (own) preset.set("");
    list.replaceChildren(...layers.map((layer, i) => layerRow(layer, i)));
    keep();
    speak();
  }

  function layerRow(layer, i) {
    const worked = h("p", { class: "hx-worked" });
    const remove = button(
      "×",
      () => {
        rebuild(
          state.layers.filter((other) => other !== layer),
          true,
        );
        (list.querySelectorAll(".hx-remove")[Math.min(i, state.layers.length - 1)] ?? add).focus();
      },
      { class: "hx-button hx-remove", "aria-label": `remove layer ${i + 1}` },
    );
    const setting = (name, values) =>
      choice({
        label: name,
        value: layer[name],
        options: [...new Set([...values, layer[name]])].map((v) => [v, String(v)]),
        onInput: (value) => {
          layer[name] = Number(value);
          preset.set("");
          state.unit = null;
          keep();
          speak();
        },
      }).node;
    const settings = layer.attention
      ? [h("span", {}, "attention over the whole map")]
      : [
          setting("kernel", [1, 3, 5, 7]),
          setting("stride", [1, 2]),
          setting("dilation", [1, 2, 3]),
        ];
    const row = h("li", {}, h("div", { class: "hx-layer" }, settings, remove), worked);
    row.worked = worked;
    return row;
  }

  function draw() {
    const { layers, grid: side_ } = state;
    const size = extent().at(-1);
    const steps = recursion(layers);
    attention.set(layers.some((layer) => layer.attention));
    attention.input.disabled = layers.length >= MOST_LAYERS && !attention.input.checked;
    add.disabled = layers.length >= MOST_LAYERS;
    grid.set(side_);
    [...list.children].forEach((row, i) => {
      row.worked.textContent = work(layers[i], steps[i], side_);
    });
    if (size < 1) {
      readout.textContent = `A picture of ${side_} pixels is too small for this stack: choose a larger side.`;
      return;
    }
    state.unit = (state.unit ?? [size >> 1, size >> 1]).map((v) => Math.min(v, size - 1));
    cursor.set(state.unit);

    const [rows, cols] = state.unit.map((unit) => paths(layers, side_, unit));
    const [above, across] = state.unit.map((unit) => field(layers, side_, unit));
    const top = Math.max(...rows[0]) * Math.max(...cols[0]);
    paint(canvas, side_, side_, (r, c) =>
      rows[0][r] * cols[0][c] ? ramp((rows[0][r] * cols[0][c]) / top) : null,
    );

    const frameSide = side_ + 2 * margin();
    const percent = (v) => `${(100 * v) / frameSide}%`;
    Object.assign(area.style, {
      inset: percent(margin()),
      backgroundSize: `${100 / side_}% ${100 / side_}%`,
    });
    area.classList.toggle("hx-ruled", side_ <= 40);
    Object.assign(box.style, {
      left: percent(across.from + margin()),
      top: percent(above.from + margin()),
      width: percent(across.to - across.from + 1),
      height: percent(above.to - above.from + 1),
    });
    side.draw(layers, side_, cols, state.unit[1], margin());

    const share = centralShare(rows[0], above) * centralShare(cols[0], across);
    const last = steps.at(-1) ?? { r: 1, j: 1 };
    const whole = !Number.isFinite(last.r);
    [
      whole ? "whole picture" : `${last.r} × ${last.r} px`,
      `${last.j} px`,
      `${size} × ${size}`,
      `${(100 * share).toFixed(0)} %`,
    ].forEach((text, i) => {
      facts[i].value.textContent = text;
    });
    const seen = [...rows[0]].filter(Boolean).length * [...cols[0]].filter(Boolean).length;
    readout.textContent =
      `Output unit ${place(state.unit)} of ${size} × ${size} sees ${seen} of ${side_ * side_} pixels` +
      (whole
        ? ", every one of them, through one layer."
        : `; its field is ${last.r} pixels wide` +
          (last.r > side_ ? ", wider than the picture." : ".")) +
      ` The central half of its side holds ${(100 * share).toFixed(0)} % of the paths (an even spread: 25 %).`;
  }

  const stop = onChange(model, ["layers", "grid"], () => {
    if (writing) return;
    if (!alike(model.get("layers"), state.layers)) {
      rebuild(
        model.get("layers").map((layer) => ({ ...layer })),
        true,
      );
    }
    if (model.get("grid") !== state.grid) {
      state.grid = model.get("grid");
      refresh();
    }
  });
  list.replaceChildren(...state.layers.map((layer, i) => layerRow(layer, i)));
  draw();
  return stop;
}

function alike(a, b) {
  const plain = (layers) =>
    JSON.stringify(
      layers.map(({ kernel, stride, dilation, attention, name }) => [
        kernel,
        stride,
        dilation,
        attention,
        name,
      ]),
    );
  return plain(a) === plain(b);
}

// The example that consists of these layers, or "".
function exampleOf(layers) {
  return Object.keys(PRESETS).find((name) => alike(PRESETS[name][1], layers)) ?? "";
}

// The recursion with this layer's numbers.
function work({ kernel, stride, dilation, attention, name }, { before, r, j }, side) {
  if (attention) return `r = whole picture (${side}), j = ${j}`;
  if (!Number.isFinite(before.r))
    return `r = whole picture (${side}), j = ${before.j} · ${stride} = ${j}`;
  const spread = dilation === 1 ? "" : `${dilation} · `;
  return `${name ? `${name}: ` : ""}r = ${before.r} + ${spread}(${kernel} − 1) · ${before.j} = ${r},  j = ${before.j} · ${stride} = ${j}`;
}

// One row of the picture, seen from the side: every level a line of units, the paths between them,
// in the picture's scale.
function sideView() {
  const picture = svg("svg", {
    preserveAspectRatio: "none",
    role: "img",
    "aria-label": "side view: the units of each layer that feed the chosen output unit",
  });
  const draw = (layers, input, counts, unit, margin) => {
    const where = positions(layers);
    const levels = counts.length;
    const x = (level, i) => where[level].first + where[level].step * i + 0.5 + margin;
    const y = (level) => (levels - 1 - level) * 10 + 5;
    const width = input + 2 * margin;
    const lit = counts.map((level) => [...level.keys()].filter((i) => level[i] > 0));
    const links = layers.flatMap((layer, level) =>
      lit[level + 1].flatMap((o) =>
        readsFrom(layer, o, counts[level].length).map((i) => [level, o, i]),
      ),
    );
    const cone = (ends) => lit.map((units, level) => [x(level, units.at(ends)), y(level)]);
    const outline = [...cone(0), ...cone(-1).reverse()].map((point) => point.join(" ")).join("L");
    const dot = (level, i) => `M${x(level, i)} ${y(level)}h0`;
    const weight = (level) => Math.max(1.5, Math.min(7, (230 * where[level].step) / width));
    picture.setAttribute("viewBox", `0 0 ${width} ${levels * 10}`);
    picture.style.height = `${Math.min(14, 1 + 1.6 * levels)}rem`;
    picture.replaceChildren(
      svg("path", { class: "hx-cone", d: `M${outline}Z` }),
      ...(links.length > MOST_EDGES
        ? []
        : [
            svg("path", {
              class: "hx-links",
              d: links
                .map(
                  ([level, o, i]) =>
                    `M${x(level + 1, o)} ${y(level + 1)}L${x(level, i)} ${y(level)}`,
                )
                .join(""),
            }),
          ]),
      ...counts.map((level, l) =>
        svg("path", {
          class: "hx-units",
          "stroke-width": weight(l),
          d: Array.from(level, (_, i) => dot(l, i)).join(""),
        }),
      ),
      ...counts.map((_, l) =>
        svg("path", {
          class: "hx-rim",
          "stroke-width": weight(l) + 1.5,
          d: lit[l].map((i) => dot(l, i)).join(""),
        }),
      ),
      ...counts.flatMap((level, l) =>
        lit[l].map((i) =>
          svg("path", {
            class: "hx-unit",
            d: dot(l, i),
            "stroke-width": weight(l),
            stroke: css(ramp(level[i] / Math.max(...level))),
          }),
        ),
      ),
    );
  };
  return { node: h("div", { class: "hx-side" }, picture), draw };
}

export default { render };
