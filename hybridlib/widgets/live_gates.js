// ConViT with its gates, strengths and shifts under the reader's hand, on what the reader draws.

import { button, bytes, fixed, frame, gridCursor, h, oncePerFrame, place, ring, slider } from "./common.js";
import { grey, legend, paint, ramp } from "./colours.js";
import { softmax, toInput } from "./live_ink.js";
import { openModel } from "./live_models.js";
import { gatedLayers, keepWeights, readHead, restore, rowsOf, writeHead } from "./live_gates_math.js";
import { answerBars, centrePlane, headChoice } from "./live_gates_parts.js";
import { SIDE, blank, dot, isBlank, line, seen, shifted } from "./workbench_ink.js";
import { stateLinks } from "./state_links.js";
import { pad } from "./workbench_pad.js";

const PEN = 1.5; // pixels
const SHOWN = 10; // samples in the strip; all are in the test
const PAUSE = 300; // ms without a change before the test begins
const SLICE = 5; // pictures of the test between two looks at what the reader does
const WAITING = "The model is fetched when this comes into sight …";
const KINDS = { content: "Content", position: "+ position", gated: "= mixture" };
const STRENGTH = { least: -1, most: 1.5 }; // powers of ten of alpha

function render({ model, el }) {
  const name = model.get("model");
  const samples = readSamples(bytes(model.get("samples")));
  const labels = model.get("labels");
  const classes = model.get("classes");
  const { root, say } = frame(el, { label: "ConViT with its gates and shifts in your hand",
    hint: "take a digit, then turn the gate of one head, or of all." });
  root.classList.add("lg");
  const state = { sample: samples[0] ?? null, ink: blank(), layer: model.get("block"), head: model.get("head"), query: [3, 3] };
  let net = null; // the one that is turned
  let trained = null; // the same as it came
  let layers = [];
  let kept = [];
  let trouble = "";
  let parts = null; // what needs the net to be built
  let before = null; // the answer as trained to what is drawn now
  let opened = null; // promise of both
  let timer = 0;
  const refresh = oncePerFrame(draw);
  const speak = () => requestAnimationFrame(() => requestAnimationFrame(() => say(readout.textContent)));
  const change = (patch) => { Object.assign(state, patch); before = null; refresh(); speak(); };

  // --- the drawing ---
  const canvas = h("canvas", { "aria-hidden": "true" });
  const sheet = h("div", { class: "hx-stack lg-pad", tabindex: "0", role: "application", "aria-roledescription": "drawing pad",
    "aria-label": "Drawing. The arrow keys move it, Delete clears it." }, canvas);
  const clear = () => change({ sample: null, ink: blank() });
  pad(sheet, {
    tool: () => "draw",
    begin: () => { state.ink = state.ink.slice(); },
    stroke: (from, to) => {
      if (from === to) dot(state.ink, ...to, PEN);
      else line(state.ink, from, to, PEN);
      before = null;
      refresh();
    },
    end: speak,
    key: (step) => change({ sample: state.sample && shifted(state.sample, step), ink: shifted(state.ink, step) }),
    remove: clear,
  });
  const thumbs = samples.slice(0, SHOWN).map((sample, i) => {
    const thumb = h("canvas", { "aria-hidden": "true" });
    paint(thumb, SIDE, SIDE, (r, c) => grey(sample[r * SIDE + c] / 255));
    return button(thumb, () => change({ sample, ink: blank() }), { class: "hx-button lg-thumb", "aria-label": `take the ${labels[i]}` });
  });

  // --- the answer ---
  const answer = answerBars(classes);
  const readout = h("p", { class: "hx-readout" }, WAITING);
  const tally = h("p", { class: "hx-note lg-tally" });
  const again = button("Try again", () => { trouble = ""; again.hidden = true; opened = open(); }, { hidden: true });

  // --- one head: its three maps ---
  const maps = Object.entries(KINDS).map(([kind, title]) => {
    const parts_ = { kind, base: h("canvas", { "aria-hidden": "true" }), over: h("canvas", { class: "lg-over", "aria-hidden": "true" }),
      mark: ring(), share: h("span", { class: "lg-weight" }) };
    parts_.stack = h("div", { class: "hx-stack" }, parts_.base, parts_.over, parts_.mark);
    parts_.node = h("div", { class: "lg-map" }, h("p", { class: "hx-title" }, title, " ", parts_.share), parts_.stack);
    return parts_;
  });
  const scale = legend(ramp, "0 %", "");
  const grid = () => parts?.grid ?? [8, 8];
  const cursor = gridCursor(maps[0].stack, { label: "Map: choose the patch that asks", describe: place, size: grid,
    also: maps.slice(1).map(({ stack }) => stack),
    onPick: (cell, settled) => { state.query = cell; refresh(); if (settled) speak(); } });

  // --- one head: what is turned ---
  const turn = (patch, heads = [[state.layer, state.head]]) => {
    if (!net) return;
    for (const [l, head] of heads) writeHead(net, layers[l][0], head, { ...readHead(net, layers[l][0], head), ...patch });
    net.prepare();
    refresh();
    speak();
  };
  const everyHead = () => layers.flatMap(([, count], l) => Array.from({ length: count }, (_, head) => [l, head]));
  const gate = slider({ label: "Gate s", min: 0, max: 1, step: 0.01, value: 0.73, show: (v) => fixed(v, 2),
    onInput: (value) => turn({ gate: value }) });
  const strength = slider({ label: "Strength α", min: STRENGTH.least, max: STRENGTH.most, step: 0.02, value: 0,
    show: (v) => (10 ** v).toPrecision(2), onInput: (value) => turn({ alpha: 10 ** value }) });
  const gateOf = () => readHead(net, layers[state.layer][0], state.head).gate;
  const presets = h("div", { class: "hx-row", role: "group", "aria-label": "all heads at once" },
    button("This gate for its block", () => net && turn({ gate: gateOf() }, everyHead().filter(([l]) => l === state.layer))),
    button("All content (s = 0)", () => turn({ gate: 0 }, everyHead())),
    button("All position (s = 1)", () => turn({ gate: 1 }, everyHead())),
    button("Flip all shifts", () => flip()),
    button("As trained", () => asTrained()));
  const flip = () => {
    for (const [l, head] of net ? everyHead() : []) {
      const now = readHead(net, layers[l][0], head);
      writeHead(net, layers[l][0], head, { ...now, centre: now.centre.map((v) => -v) });
    }
    turn({}, []);
  };
  const asTrained = () => {
    if (net) restore(net, kept);
    turn({}, []);
  };
  const choices = h("div", {});
  const plane = h("div", {});
  root.append(
    h("div", { class: "lg-top" },
      h("div", { class: "hx-panel" }, h("p", { class: "hx-title" }, "Draw here"), sheet, button("Clear", clear)),
      h("div", { class: "hx-panel" }, h("p", { class: "hx-title" }, "The answer; the line: as trained"), answer.node, tally)),
    h("div", { class: "hx-row lg-thumbs", role: "group", "aria-label": "unseen digits" }, thumbs),
    readout, again, presets,
    h("div", { class: "lg-maps" }, maps.map(({ node }) => node)),
    h("div", { class: "hx-row" }, scale.node, gate.node, strength.node),
    h("div", { class: "lg-bottom" },
      h("div", { class: "hx-panel" }, h("p", { class: "hx-title" }, "All heads: mixture, and gate as a bar"), choices),
      h("div", { class: "hx-panel" }, h("p", { class: "hx-title" }, "Shifts of this block: drag a head"), plane)));
  if (model.get("note")) root.append(h("p", { class: "hx-note" }, model.get("note")));

  async function open() {
    try {
      [trained, net] = await Promise.all([openModel(model, name), openModel(model, name, { own: true })]);
      layers = gatedLayers(net);
      kept = keepWeights(net);
      build();
    } catch (error) {
      [trouble, net] = [error.message, null];
      again.hidden = false;
    }
    refresh();
  }

  function build() {
    const first = net.run(toInput(new Float32Array(SIDE * SIDE), net)).maps.find(({ module }) => module === layers[0][0]);
    parts = { grid: first.grid, heads: headChoice(layers, (layer, head) => change({ layer, head })),
      planes: layers.map(([, count], l) => centrePlane(count, {
        onPick: (head) => { if (state.head !== head || state.layer !== l) change({ layer: l, head }); },
        onMove: (head, centre, settled) => { state.head = head; turn({ centre }, [[l, head]]); if (settled) speak(); } })) };
    choices.replaceChildren(parts.heads.node);
  }

  function draw() {
    const picture = seen({ sample: state.sample, base: blank(), ink: state.ink, shift: [0, 0], cover: null });
    for (const target of [canvas, ...maps.map(({ base }) => base)]) paint(target, SIDE, SIDE, (r, c) => grey(picture[r * SIDE + c] / 255));
    const empty = isBlank(state.ink) && !state.sample;
    if (!net || !parts) {
      readout.textContent = trouble || WAITING;
      return;
    }
    const pixels = toInput(Float32Array.from(picture, (v) => v / 255), net);
    before ??= softmax(trained.run(pixels).logits);
    const result = net.run(pixels);
    const shares = softmax(result.logits);
    answer.draw(empty ? null : shares, before);
    drawHead(result, empty ? null : shares);
    test();
  }

  function drawHead({ maps: all }, shares) {
    const [layer] = layers[state.layer];
    const head = readHead(net, layer, state.head);
    const [rows, cols] = parts.grid;
    const query = state.query[0] * cols + state.query[1];
    const weights = rowsOf(all, layer, state.head, query);
    const most = Math.max(...Object.values(weights).map((row) => row.reduce((a, b) => Math.max(a, b), 0)));
    const share = { content: `× ${fixed(1 - head.gate, 2)}`, position: `× ${fixed(head.gate, 2)}`, gated: "" };
    for (const { kind, over, mark, share: words } of maps) {
      paint(over, rows, cols, (r, c) => ramp(weights[kind][r * cols + c] / most));
      mark.put(state.query, parts.grid);
      words.textContent = share[kind];
    }
    scale.set("0 %", `${(100 * most).toFixed(0)} %`);
    cursor.set(state.query);
    gate.set(head.gate);
    strength.set(Math.log10(Math.max(head.alpha, 1e-3)));
    parts.heads.draw((l, i) => rowsOf(all, layers[l][0], i, query).gated, (l, i) => readHead(net, layers[l][0], i).gate,
      [state.layer, state.head], parts.grid);
    const shown = parts.planes[state.layer];
    if (plane.firstChild !== shown.node) plane.replaceChildren(shown.node);
    shown.draw(Array.from({ length: layers[state.layer][1] }, (_, i) => readHead(net, layer, i)), state.head);
    const best = shares ? shares.indexOf(Math.max(...shares)) : -1;
    readout.textContent = (shares ? `It says ${classes[best]}, with ${(100 * shares[best]).toFixed(0)} %. ` : "Draw something. ")
      + `Block ${state.layer + 1}, head ${state.head + 1}: gate ${fixed(head.gate, 2)}, strength ${fixed(head.alpha, 2)}, `
      + `looks ${fixed(head.centre[0], 2)} patches down and ${fixed(head.centre[1], 2)} right. Asked by the patch at ${place(state.query)}.`;
  }

  // How many of all samples are named right, a few at a time, once the reader rests.
  function test() {
    clearTimeout(timer);
    if (!samples.length) return;
    tally.textContent = `Reading ${samples.length} unseen digits …`;
    let [i, right] = [0, 0];
    const step = () => {
      for (const end = Math.min(i + SLICE, samples.length); i < end; i++) {
        const { logits } = net.run(toInput(Float32Array.from(samples[i], (v) => v / 255), net));
        right += String(classes[logits.indexOf(Math.max(...logits))]) === labels[i];
      }
      if (i < samples.length) timer = setTimeout(step);
      else tally.textContent = `Of ${samples.length} unseen digits it names ${right} right.`;
    };
    timer = setTimeout(step, PAUSE);
  }

  // A link sets everything anew: gate=0.2 or alpha=4 for all heads, or for that of block=1&head=3; shifts=flip.
  async function follow({ gate: share, alpha, block, head, shifts }) {
    await (opened ??= open());
    if (!net) return;
    restore(net, kept);
    const one = block && head ? [Number(block) - 1, Number(head) - 1] : null;
    if (one) [state.layer, state.head] = one;
    const patch = { ...(share && { gate: Number(share) }), ...(alpha && { alpha: Number(alpha) }) };
    if (shifts === "flip") flip();
    turn(patch, one ? [one] : everyHead());
  }

  refresh();
  const unlink = stateLinks("gates", root, follow);
  const near = new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting)) { near.disconnect(); opened ??= open(); }
  });
  near.observe(root);
  return () => { unlink(); near.disconnect(); clearTimeout(timer); };
}

function readSamples(all) {
  return Array.from({ length: all.length / SIDE ** 2 }, (_, i) => all.slice(i * SIDE ** 2, (i + 1) * SIDE ** 2));
}

export default { render };
