// A small Vision Transformer that runs while the reader draws.

import { button, bytes, frame, h, oncePerFrame, slider } from "./common.js";
import { grey, paint } from "./colours.js";
import { liveLayer } from "./attention_math.js";
import { attentionView } from "./attention_view.js";
import { blurred, moved, over, softmax, stamp, toInput, withFragment } from "./live_ink.js";
import { openModel } from "./live_models.js";

const CLUTTER = 0.4; // side of a fragment over side of a sample, as in hybridlib.data
// Pixels. Of strokes made up for the ten digits the model names most right with this pen and this
// blur.
const PEN = 1.4;
const BLUR = 1.2;

function render({ model, el }) {
  const side = model.get("side");
  const classes = model.get("classes");
  const samples = readSamples(model);
  const { root, say } = frame(el, {
    label: "A Vision Transformer that runs while you draw",
    hint: "draw a digit: the model answers at every stroke. Then move the drawing with the arrow keys.",
  });
  const nothing = () => new Float32Array(side * side);
  let laid = nothing(); // samples, as they are
  let strokes = nothing(); // what the reader's pen drew, softened before anybody sees it
  let radius = PEN;
  let net = null;
  let layers = null;
  let view = null;
  const rerun = oncePerFrame(run);
  const speak = () => say(readout.textContent);
  const change = (sample, drawn) => {
    [laid, strokes] = [sample, drawn];
    rerun();
    requestAnimationFrame(speak);
  };

  // --- drawing ---
  const canvas = h("canvas", {});
  const pad = h(
    "div",
    {
      class: "hx-stack hx-pad",
      tabindex: "0",
      role: "application",
      "aria-roledescription": "drawing pad",
      "aria-label": "Drawing. The arrow keys move it, Delete clears it.",
    },
    canvas,
  );
  drawOn(
    pad,
    side,
    (x, y) => {
      stamp(strokes, side, x, y, radius);
      rerun();
    },
    speak,
  );
  pad.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[
      event.key
    ];
    if (!step && !["Delete", "Backspace"].includes(event.key)) return;
    event.preventDefault();
    if (step) change(moved(laid, side, ...step), moved(strokes, side, ...step));
    else change(nothing(), nothing());
  });
  const pen = slider({
    label: "Pen width",
    min: 1,
    max: 3,
    step: 0.2,
    value: radius,
    show: (v) => `${(2 * v).toFixed(1)} px`,
    onInput: (value) => {
      radius = value;
    },
  });
  const thumbs = samples.map((sample, i) => {
    const thumb = h("canvas", {});
    paint(thumb, side, side, (r, c) => grey(sample[r * side + c]));
    return button(thumb, () => change(sample, nothing()), {
      class: "hx-button hx-thumb",
      "aria-label": `sample ${i + 1}`,
    });
  });
  const clutter = button(
    "Add clutter",
    () => {
      const other = samples[Math.floor(Math.random() * samples.length)];
      change(
        withFragment(
          laid,
          other,
          side,
          Math.round(CLUTTER * model.get("sample_side")),
          Math.random,
        ),
        strokes,
      );
    },
    { disabled: samples.length === 0 },
  );
  const clear = button("Clear", () => change(nothing(), nothing()));

  // --- the answer ---
  const bars = classes.map((name) => ({
    name,
    bar: h("span", { class: "hx-bar" }),
    value: h("span", { class: "hx-share" }),
  }));
  const readout = h("p", { class: "hx-readout" });
  const cost = h("p", { class: "hx-note" });
  const again = button(
    "Try again",
    () => {
      failure = "";
      rerun();
    },
    { hidden: true },
  );
  const base = h("canvas", { class: "hx-base", "aria-hidden": "true" });
  const maps = h("div", { class: "hx-columns" });
  root.append(
    h(
      "div",
      { class: "hx-columns" },
      h(
        "div",
        { class: "hx-panel" },
        h("p", { class: "hx-title" }, "Draw here"),
        pad,
        h("div", { class: "hx-row" }, pen.node, clear, clutter),
      ),
      h(
        "div",
        { class: "hx-panel" },
        h("p", { class: "hx-title" }, "The model's answer"),
        h(
          "ul",
          { class: "hx-bars" },
          bars.map(({ name, bar, value }) =>
            h(
              "li",
              {},
              h("span", { class: "hx-name" }, name),
              h("span", { class: "hx-track" }, bar),
              value,
            ),
          ),
        ),
        readout,
        again,
        cost,
      ),
    ),
    samples.length
      ? h(
          "div",
          { class: "hx-row hx-thumbs", role: "group", "aria-label": "samples" },
          "Or take one:",
          thumbs,
        )
      : "",
    maps,
  );
  if (model.get("note")) root.append(h("p", { class: "hx-note" }, model.get("note")));

  let opening = false;
  let failure = "";

  // Fetches the model, once; a failure is told, and may be followed by another try.
  async function open() {
    if (opening) return;
    opening = true;
    try {
      net = await openModel(model, model.get("model"));
    } catch (error) {
      failure = error.message;
    }
    opening = false;
    rerun();
    requestAnimationFrame(speak);
  }

  function run() {
    const ink = over(laid, blurred(strokes, side, BLUR));
    for (const target of [canvas, base])
      paint(target, side, side, (r, c) => grey(ink[r * side + c]));
    const empty = !ink.some((value) => value > 0);
    if (empty || !net) {
      if (!empty && !failure) open();
      noAnswer(empty ? "Draw something." : failure || "The model is on its way …");
      if (empty && !net) cost.textContent = "The model is fetched when you first draw.";
    } else {
      answer(ink);
    }
  }

  function noAnswer(words) {
    again.hidden = words !== failure;
    readout.textContent = words;
    cost.textContent = "";
    maps.style.visibility = "hidden"; // keeps its place
    bars.forEach(({ bar, value }) => {
      bar.style.width = "0";
      value.textContent = "";
      bar.classList.remove("hx-best");
    });
  }

  function answer(ink) {
    const began = performance.now();
    const result = net.run(toInput(ink, net));
    const spent = performance.now() - began;
    layers = result.maps.map(liveLayer);
    const shares = softmax(result.logits);
    const best = shares.indexOf(Math.max(...shares));
    bars.forEach(({ bar, value }, i) => {
      bar.style.width = `${100 * shares[i]}%`;
      value.textContent = `${(100 * shares[i]).toFixed(0)} %`;
      bar.classList.toggle("hx-best", i === best);
    });
    again.hidden = true;
    readout.textContent = `The model says ${classes[best]}, with ${(100 * shares[best]).toFixed(0)} %.`;
    cost.textContent = `Answered in ${Math.max(1, Math.round(spent))} ms, in this browser; no drawing leaves it.`;
    if (!view) {
      view = attentionView({
        base,
        pixels: [side, side],
        say,
        layers: () => layers,
        start: { layer: 0, head: 0 },
      });
      maps.append(view.picture, view.side);
    }
    maps.style.visibility = "";
    view.update(true);
  }

  run();
}

// Samples in 0..1, each laid in the middle of an empty drawing.
function readSamples(model) {
  const side = model.get("side");
  const own = model.get("sample_side");
  const all = bytes(model.get("samples"));
  const start = Math.floor((side - own) / 2);
  return Array.from({ length: own ? all.length / (own * own) : 0 }, (_, s) => {
    const drawing = new Float32Array(side * side);
    for (let i = 0; i < own * own; i++) {
      drawing[(start + Math.floor(i / own)) * side + start + (i % own)] =
        all[s * own * own + i] / 255;
    }
    return drawing;
  });
}

// Calls stroke(x, y), in pixels of the drawing, along the pointer's way while it is pressed.
function drawOn(node, side, stroke, done) {
  let last = null;
  const point = (event) => {
    const box = node.getBoundingClientRect();
    return [
      ((event.clientX - box.left) / box.width) * side,
      ((event.clientY - box.top) / box.height) * side,
    ];
  };
  const to = (x, y) => {
    const [fromX, fromY] = last ?? [x, y];
    const steps = Math.max(1, Math.ceil(Math.hypot(x - fromX, y - fromY) * 2));
    for (let i = 1; i <= steps; i++)
      stroke(fromX + ((x - fromX) * i) / steps, fromY + ((y - fromY) * i) / steps);
    last = [x, y];
  };
  node.addEventListener("pointerdown", (event) => {
    node.setPointerCapture(event.pointerId);
    last = null;
    to(...point(event));
  });
  node.addEventListener("pointermove", (event) => {
    if (event.buttons && last) to(...point(event));
  });
  for (const end of ["pointerup", "pointercancel"]) {
    node.addEventListener(end, () => {
      if (last) done();
      last = null;
    });
  }
}

export default { render };
