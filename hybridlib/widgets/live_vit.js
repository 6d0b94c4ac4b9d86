// A small Vision Transformer that runs while the reader draws.

import { button, bytes, frame, h, oncePerFrame, slider } from "./common.js";
import { grey, paint } from "./colours.js";
import { attentionView } from "./attention_view.js";
import { forward, multiplyAdds, softmax, unpack } from "./vit_math.js";

const CLUTTER = 0.4; // side of a fragment over side of a sample, as in hybridlib.data

function render({ model, el }) {
  const config = model.get("config");
  const { side } = config;
  const classes = model.get("classes");
  const weights = unpack(model.get("weights"), model.get("manifest"));
  const samples = readSamples(model);
  const { root, say } = frame(el, { label: "A Vision Transformer that runs while you draw",
    hint: "draw a digit: the model answers at every stroke. Then move the drawing with the arrow keys." });
  let ink = new Float32Array(side * side);
  let result = null;
  let radius = 1.8;
  const rerun = oncePerFrame(run);
  const change = (pixels) => { ink = pixels; rerun(); requestAnimationFrame(() => say(readout.textContent)); };

  // --- drawing ---
  const canvas = h("canvas", {});
  const pad = h("div", { class: "hx-stack hx-pad", tabindex: "0", role: "application",
    "aria-roledescription": "drawing pad", "aria-label": "Drawing. The arrow keys move it, Delete clears it." }, canvas);
  drawOn(pad, side, (x, y) => { stamp(ink, side, x, y, radius); rerun(); }, () => say(readout.textContent));
  pad.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step && !["Delete", "Backspace"].includes(event.key)) return;
    event.preventDefault();
    change(step ? moved(ink, side, ...step) : new Float32Array(side * side));
  });
  const pen = slider({ label: "Pen width", min: 1, max: 3, step: 0.2, value: radius, show: (v) => `${(2 * v).toFixed(1)} px`,
    onInput: (value) => { radius = value; } });
  const thumbs = samples.map((sample, i) => {
    const thumb = h("canvas", {});
    paint(thumb, side, side, (r, c) => grey(sample[r * side + c]));
    return button(thumb, () => change(sample.slice()), { class: "hx-button hx-thumb", "aria-label": `sample ${i + 1}` });
  });
  const clutter = button("Add clutter", () => {
    const other = samples[Math.floor(Math.random() * samples.length)];
    change(withFragment(ink, other, side, Math.round(CLUTTER * model.get("sample_side")), Math.random));
  }, { disabled: samples.length === 0 });
  const clear = button("Clear", () => change(new Float32Array(side * side)));

  // --- the answer ---
  const bars = classes.map((name) => ({ name, bar: h("span", { class: "hx-bar" }), value: h("span", { class: "hx-share" }) }));
  const readout = h("p", { class: "hx-readout" });
  const cost = h("p", { class: "hx-note" });

  const base = h("canvas", { class: "hx-base", "aria-hidden": "true" });
  let view = null;
  run();
  view = attentionView({ base, pixels: [side, side], say, layers: () => result.layers, start: { layer: 0, head: 0 } });
  root.append(
    h("div", { class: "hx-columns" },
      h("div", { class: "hx-panel" }, h("p", { class: "hx-title" }, "Draw here"), pad,
        h("div", { class: "hx-row" }, pen.node, clear, clutter)),
      h("div", { class: "hx-panel" }, h("p", { class: "hx-title" }, "The model's answer"),
        h("ul", { class: "hx-bars" }, bars.map(({ name, bar, value }) =>
          h("li", {}, h("span", { class: "hx-name" }, name), h("span", { class: "hx-track" }, bar), value))),
        readout, cost)),
    samples.length ? h("div", { class: "hx-row hx-thumbs", role: "group", "aria-label": "samples" }, "Or take one:", thumbs) : "",
    h("div", { class: "hx-columns" }, view.picture, view.side));
  if (model.get("note")) root.append(h("p", { class: "hx-note" }, model.get("note")));

  function run() {
    const began = performance.now();
    const { logits, maps } = forward(weights, config, ink);
    const spent = performance.now() - began;
    result = { layers: maps.map((map, block) => asLayer(map, block, config)) };
    const shares = softmax(logits);
    const best = shares.indexOf(Math.max(...shares));
    for (const target of [canvas, base]) paint(target, side, side, (r, c) => grey(ink[r * side + c]));
    bars.forEach(({ bar, value }, i) => {
      bar.style.width = `${100 * shares[i]}%`;
      value.textContent = `${(100 * shares[i]).toFixed(0)} %`;
      bar.classList.toggle("hx-best", i === best);
    });
    readout.textContent = `The model says ${classes[best]}, with ${(100 * shares[best]).toFixed(0)} %.`;
    cost.textContent = `${(multiplyAdds(weights, config) / 1e6).toFixed(1)} million multiply-adds in ${Math.max(1, Math.round(spent))} ms, `
      + "in this browser; no drawing leaves it.";
    view?.update(true);
  }
  if (samples.length) change(samples[0].slice());
}

// One block's maps as attention_math.js wants them.
function asLayer(map, block, { heads, side, patch }) {
  const grid = side / patch;
  const n = grid * grid + 1;
  return { heads, queries: n, keys: n, grid: [grid, grid], extra: ["class"], block, kind: "content",
    row: (head, query) => map.subarray((head * n + query) * n, (head * n + query + 1) * n) };
}

// Samples in 0..1, each laid in the middle of an empty drawing.
function readSamples(model) {
  const { side } = model.get("config");
  const own = model.get("sample_side");
  const all = bytes(model.get("samples"));
  const start = Math.floor((side - own) / 2);
  return Array.from({ length: own ? all.length / (own * own) : 0 }, (_, s) => {
    const drawing = new Float32Array(side * side);
    for (let i = 0; i < own * own; i++) {
      drawing[(start + Math.floor(i / own)) * side + start + (i % own)] = all[s * own * own + i] / 255;
    }
    return drawing;
  });
}

// Calls stroke(x, y), in pixels of the drawing, along the pointer's way while it is pressed.
function drawOn(node, side, stroke, done) {
  let last = null;
  const point = (event) => {
    const box = node.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * side, ((event.clientY - box.top) / box.height) * side];
  };
  const to = (x, y) => {
    const [fromX, fromY] = last ?? [x, y];
    const steps = Math.max(1, Math.ceil(Math.hypot(x - fromX, y - fromY) * 2));
    for (let i = 1; i <= steps; i++) stroke(fromX + ((x - fromX) * i) / steps, fromY + ((y - fromY) * i) / steps);
    last = [x, y];
  };
  node.addEventListener("pointerdown", (event) => {
    node.setPointerCapture(event.pointerId);
    last = null;
    to(...point(event));
  });
  node.addEventListener("pointermove", (event) => { if (event.buttons && last) to(...point(event)); });
  for (const end of ["pointerup", "pointercancel"]) {
    node.addEventListener(end, () => { if (last) done(); last = null; });
  }
}

// A soft round dot of ink; ink never gets darker.
export function stamp(ink, side, x, y, radius) {
  for (let r = 0; r < side; r++) {
    for (let c = 0; c < side; c++) {
      const inside = radius + 0.5 - Math.hypot(c + 0.5 - x, r + 0.5 - y);
      ink[r * side + c] = Math.max(ink[r * side + c], Math.max(0, Math.min(1, inside)));
    }
  }
}

// The drawing moved; what leaves on one side is gone.
export function moved(ink, side, down, right) {
  return ink.map((_, i) => {
    const [r, c] = [Math.floor(i / side) - down, (i % side) - right];
    return r >= 0 && r < side && c >= 0 && c < side ? ink[r * side + c] : 0;
  });
}

// The drawing with a square cut from another sample laid over it somewhere.
export function withFragment(ink, other, side, piece, random) {
  const out = ink.slice();
  const full = other.map((v, i) => (v > 0 ? i : -1)).filter((i) => i >= 0);
  const middle = full[Math.floor(random() * full.length)] ?? 0; // a pixel with ink, so that the fragment is not empty
  const limit = (v) => Math.max(0, Math.min(side - piece, v));
  const [fromY, fromX] = [limit(Math.floor(middle / side) - (piece >> 1)), limit((middle % side) - (piece >> 1))];
  const [toY, toX] = [Math.floor(random() * (side - piece + 1)), Math.floor(random() * (side - piece + 1))];
  for (let r = 0; r < piece; r++) {
    for (let c = 0; c < piece; c++) {
      const at = (toY + r) * side + toX + c;
      out[at] = Math.max(out[at], other[(fromY + r) * side + fromX + c]);
    }
  }
  return out;
}

export default { render };
