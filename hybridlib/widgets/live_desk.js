// The desk of an explorable whose model the reader edits: a pad to draw on, samples to take, the
// answer beside the one of the model as trained, and a test of all samples once the reader rests.

import { button, bytes, choice, h, onceInSight, oncePerFrame } from "./common.js";
import { grey, paint } from "./colours.js";
import { softmax, toInput } from "./live_ink.js";
import { openModel } from "./live_models.js";
import { stateLinks } from "./state_links.js";
import { SIDE, blank, dot, isBlank, line, seen, shifted } from "./workbench_ink.js";
import { pad } from "./workbench_pad.js";

const PEN = 1.5; // pixels
const SHOWN = 10; // samples in the strip; all are in the test
const PAUSE = 300; // ms without a change before the test begins
const SLICE = 5; // pictures of the test between two looks at what the reader does
const WAITING = "The model is fetched when this comes into sight …";

// model: of the widget, with `model`, `classes`, `samples` and `labels`.  say: of the frame
//   backs                        canvases that show the drawing too
//   onModel(net)                 once, when the model has come
//   onDraw(result, said)         after every run: what the net gave, and a sentence that says its
//                                answer
// Gives { net(), nodes, readout, take(sample), redraw(), speak(), respond(settled), edited(),
// restore(), start(root, follow) }; `respond` follows a change of what is shown, `edited` one of
// weights, `restore` takes all changes back, and `start` returns what stops it. `follow(said)` obeys
// a link of the text (state_links.js); one that comes before the model waits for it.
export function deskOf({ model, say, backs = [], onModel, onDraw }) {
  const name = model.get("model");
  const all = bytes(model.get("samples"));
  const samples = Array.from({ length: all.length / SIDE ** 2 }, (_, i) =>
    all.slice(i * SIDE ** 2, (i + 1) * SIDE ** 2),
  );
  const [labels, classes] = [model.get("labels"), model.get("classes")];
  const state = { sample: samples[0] ?? null, ink: blank() };
  let [net, trained, kept] = [null, null, []];
  let before = null; // the answer as trained to what is drawn now
  let timer = 0;
  let waiting = () => {}; // a link that came before the model
  const redraw = oncePerFrame(draw);
  const speak = () =>
    requestAnimationFrame(() => requestAnimationFrame(() => say(readout.textContent)));
  const respond = (settled = true) => {
    redraw();
    if (settled) speak();
  };
  const change = (patch) => {
    Object.assign(state, patch);
    before = null;
    respond();
  };

  const canvas = h("canvas", { "aria-hidden": "true" });
  const sheet = h(
    "div",
    {
      class: "hx-stack ld-pad",
      tabindex: "0",
      role: "application",
      "aria-roledescription": "drawing pad",
      "aria-label": "Drawing. The arrow keys move it, Delete clears it.",
    },
    canvas,
  );
  const clear = () => change({ sample: null, ink: blank() });
  pad(sheet, {
    tool: () => "draw",
    begin: () => {
      state.ink = state.ink.slice();
    },
    stroke: (from, to) => {
      if (from === to) dot(state.ink, ...to, PEN);
      else line(state.ink, from, to, PEN);
      before = null;
      redraw();
    },
    end: speak,
    key: (step) =>
      change({
        sample: state.sample && shifted(state.sample, step),
        ink: shifted(state.ink, step),
      }),
    remove: clear,
  });
  const thumbs = samples.slice(0, SHOWN).map((sample, i) => {
    const thumb = h("canvas", { "aria-hidden": "true" });
    paint(thumb, SIDE, SIDE, (r, c) => grey(sample[r * SIDE + c] / 255));
    return button(thumb, () => change({ sample, ink: blank() }), {
      class: "hx-button ld-thumb",
      "aria-label": `take the ${labels[i]}`,
    });
  });
  const answer = bars(classes);
  const tally = h("p", { class: "hx-note ld-tally" });
  const readout = h("p", { class: "hx-readout" }, WAITING);
  const again = button(
    "Try again",
    () => {
      again.hidden = true;
      open();
    },
    { hidden: true },
  );
  const nodes = [
    h(
      "div",
      { class: "ld-top" },
      h(
        "div",
        { class: "hx-panel" },
        h("p", { class: "hx-title" }, "Draw here"),
        sheet,
        button("Clear", clear),
      ),
      h(
        "div",
        { class: "hx-panel" },
        h("p", { class: "hx-title" }, "The answer; the line: as trained"),
        answer.node,
        tally,
      ),
    ),
    h("div", { class: "hx-row ld-thumbs", role: "group", "aria-label": "unseen digits" }, thumbs),
    readout,
    again,
  ];

  async function open() {
    try {
      [trained, net] = await Promise.all([
        openModel(model, name),
        openModel(model, name, { own: true }),
      ]);
      kept = Object.keys(net.parameters).map((key) => [key, net.parameter(key).slice()]);
      onModel(net);
      requestAnimationFrame(() => waiting());
      test();
    } catch (error) {
      readout.textContent = error.message;
      [net, again.hidden] = [null, false];
    }
    redraw();
  }

  function draw() {
    const picture = seen({
      sample: state.sample,
      base: blank(),
      ink: state.ink,
      shift: [0, 0],
      cover: null,
    });
    for (const target of [canvas, ...backs])
      paint(target, SIDE, SIDE, (r, c) => grey(picture[r * SIDE + c] / 255));
    if (!net) return;
    const empty = isBlank(state.ink) && !state.sample;
    const pixels = toInput(
      Float32Array.from(picture, (v) => v / 255),
      net,
    );
    before ??= softmax(trained.run(pixels).logits);
    const result = net.run(pixels);
    const shares = softmax(result.logits);
    const best = shares.indexOf(Math.max(...shares));
    answer.draw(empty ? null : shares, before);
    onDraw(
      result,
      empty
        ? "Draw something."
        : `It says ${classes[best]}, with ${(100 * shares[best]).toFixed(0)} %.`,
    );
  }

  // How many of all samples are named right, a few at a time, once the reader rests.
  function test() {
    clearTimeout(timer);
    if (!samples.length || !net) return;
    tally.textContent = `Reading ${samples.length} unseen digits …`;
    let [i, right] = [0, 0];
    const step = () => {
      for (const end = Math.min(i + SLICE, samples.length); i < end; i++) {
        const { logits } = net.run(
          toInput(
            Float32Array.from(samples[i], (v) => v / 255),
            net,
          ),
        );
        right += String(classes[logits.indexOf(Math.max(...logits))]) === labels[i];
      }
      if (i < samples.length) timer = setTimeout(step);
      else tally.textContent = `Of ${samples.length} unseen digits it names ${right} right.`;
    };
    timer = setTimeout(step, PAUSE);
  }

  const edited = () => {
    net.prepare();
    redraw();
    test();
    speak();
  };
  const restore = () => {
    kept.forEach(([key, values]) => net.parameter(key).set(values));
    edited();
  };
  const start = (root, follow) => {
    const stops = [() => clearTimeout(timer)];
    redraw();
    stops.push(onceInSight(root, open));
    const onLink = (said) => {
      if (net) follow(said);
      else waiting = () => follow(said);
    };
    stops.push(stateLinks(model.get("name"), root, onLink));
    return () => stops.forEach((stop) => stop());
  };
  const take = (index) => {
    if (samples[index]) change({ sample: samples[index], ink: blank() });
  };
  return { nodes, readout, take, redraw, speak, respond, edited, restore, start, net: () => net };
}

// A number of a link, which counts from 1, as one of `count` counted from 0.
export const counted = (text, count) => Math.max(0, Math.min(count, Number(text) || 1) - 1);

// Whether a button edits all that there is or what is chosen. wide() tells; set("all" or "one")
export function scopeOf(all, one) {
  const { node, input, set } = choice({
    label: "In",
    options: [
      ["all", all],
      ["one", one],
    ],
    value: "all",
    onInput: () => {},
  });
  return {
    node,
    wide: () => input.value === "all",
    set: (said) => set(said === "all" ? said : "one"),
  };
}

// Bars with a line where they stood before anything was edited. draw(shares, before), or draw(null)
function bars(classes) {
  const lines = classes.map((name) => {
    const bar = h("span", { class: "ld-bar" });
    const before = h("span", { class: "ld-before" });
    const value = h("span", { class: "ld-share" });
    return {
      bar,
      before,
      value,
      node: h("li", {}, h("span", {}, name), h("span", { class: "ld-track" }, bar, before), value),
    };
  });
  return {
    node: h(
      "ul",
      { class: "ld-bars" },
      lines.map(({ node }) => node),
    ),
    draw: (shares, asTrained) => {
      const best = shares ? shares.indexOf(Math.max(...shares)) : -1;
      lines.forEach(({ bar, before, value, node }, i) => {
        bar.style.width = `${100 * (shares?.[i] ?? 0)}%`;
        before.style.left = `${100 * (asTrained?.[i] ?? 0)}%`;
        before.hidden = !shares;
        value.textContent = shares ? `${(100 * shares[i]).toFixed(0)} %` : "";
        node.classList.toggle("ld-best", i === best);
      });
    },
  };
}
