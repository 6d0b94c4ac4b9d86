// DeiT's class token and distillation token side by side, on what the reader draws: what they look
// at and what they answer.

import { button, fixed, frame, h, slider } from "./common.js";
import { legend, paint, ramp, twoSided } from "./colours.js";
import { counted, deskOf } from "./live_desk.js";
import { headGrid } from "./live_heads.js";
import { softmax } from "./live_ink.js";
import { askedBy, cosine, readTokens, sideBySide, writeTokens } from "./live_tokens_math.js";
import { headAnswers } from "./live_tokens_parts.js";

const MAPS = {
  class: "Class token",
  distillation: "Distillation token",
  difference: "Class − distillation",
};

function render({ model, el }) {
  const { root, say } = frame(el, {
    label: "DeiT's class token and distillation token side by side",
    hint: "take a digit, choose a head, then slide the distillation token onto the class token.",
  });
  root.classList.add("lk");
  const classes = model.get("classes");
  const state = { layer: model.get("block"), head: model.get("head"), part: 0, swapped: false };
  let trained = null; // the two tokens as they came
  let layers = []; // how many heads each has
  let heads = null;
  const maps = Object.entries(MAPS).map(([kind, title]) => {
    const [base, over] = [
      h("canvas", { "aria-hidden": "true" }),
      h("canvas", { class: "lk-over", "aria-hidden": "true" }),
    ];
    return {
      kind,
      base,
      over,
      node: h(
        "div",
        {},
        h("p", { class: "hx-title" }, title),
        h("div", { class: "hx-stack" }, base, over),
      ),
    };
  });
  const desk = deskOf({ model, say, backs: maps.map(({ base }) => base), onModel, onDraw });
  const put = (patch) => {
    Object.assign(state, patch);
    part.set(state.part);
    swap.setAttribute("aria-pressed", String(state.swapped));
    if (!trained) return;
    writeTokens(desk.net(), trained, state);
    desk.edited();
  };
  const part = slider({
    label: "Move the distillation token onto the class token",
    min: 0,
    max: 1,
    step: 0.05,
    value: 0,
    show: (v) => `${(100 * v).toFixed(0)} %`,
    onInput: (value) => put({ part: value }),
  });
  const swap = button("Swap the two tokens", () => put({ swapped: !state.swapped }), {
    "aria-pressed": "false",
  });
  const answers = headAnswers(classes, ["class head", "distillation head"]);
  const scale = legend(ramp, "0 %", "");
  const sides = legend(twoSided, "distillation", "class", -1);
  const choices = h("div", {});
  root.append(
    ...desk.nodes,
    h(
      "div",
      { class: "hx-row" },
      part.node,
      swap,
      button("As trained", () => put({ part: 0, swapped: false })),
    ),
    h("p", { class: "hx-title" }, "What each head answers"),
    answers.node,
    h(
      "div",
      { class: "lk-maps" },
      maps.map(({ node }) => node),
    ),
    h("div", { class: "hx-row" }, "Attention to a patch:", scale.node, "More from:", sides.node),
    h(
      "p",
      { class: "hx-title" },
      "All heads: left the class token's map, right the distillation token's; the bar: how far they differ",
    ),
    choices,
  );
  if (model.get("note")) root.append(h("p", { class: "hx-note" }, model.get("note")));

  function onModel(net) {
    trained = readTokens(net);
    layers = net.run(new Float32Array(net.input.reduce((a, b) => a * b, 1))).maps;
    heads = headGrid(layers, (layer, head) => {
      Object.assign(state, { layer, head });
      desk.respond();
    });
    heads.node.style.gridTemplateColumns = heads.node.style.gridTemplateColumns.replace(
      "4.2rem",
      "7.5rem",
    ); // a pair is twice as wide
    choices.replaceChildren(heads.node);
  }

  function onDraw({ modules, maps: all }, said) {
    const read = (name) => modules.find((module) => module.name === name).read();
    const shares = ["head", "second_head"].map((name) => softmax(read(name)));
    answers.draw(shares);
    const shown = askedBy(all[state.layer], state.head);
    const most = [...shown.class, ...shown.distillation].reduce((a, b) => Math.max(a, b), 1e-9);
    for (const { kind, over } of maps) {
      const of = (i) =>
        kind === "difference"
          ? twoSided((shown.class[i] - shown.distillation[i]) / most)
          : ramp(shown[kind][i] / most);
      paint(over, ...shown.grid, (r, c) => of(r * shown.grid[1] + c));
    }
    scale.set("0 %", `${(100 * most).toFixed(0)} %`);
    heads.draw((layer, head) => sideBySide(askedBy(all[layer], head)), [state.layer, state.head]);
    const best = (values) => classes[values.indexOf(Math.max(...values))];
    const { vectors } = readTokens(desk.net());
    const last = read("norm");
    const dim = last.length / 2;
    desk.readout.textContent =
      `${said} The class head says ${best(shares[0])}, the distillation head ${best(shares[1])}, ` +
      `the sum of their softmaxes ${best(shares[0].map((v, i) => v + shares[1][i]))}. ` +
      `Cosine of the two tokens: ${fixed(cosine(...vectors), 2)} at the input, ` +
      `${fixed(cosine(last.subarray(0, dim), last.subarray(dim)), 2)} behind the last block. ` +
      `Block ${state.layer + 1}, head ${state.head + 1}: the two maps differ by ${(100 * shown.apart).toFixed(0)} %.`;
  }

  // <a href="#tokens?part=1&swap=yes&block=1&head=2&digit=3">words</a>, counted from 1; part from 0
  // to 1. Without `part` the tokens stay.
  function follow(said) {
    if (said.digit) desk.take(Number(said.digit) - 1);
    if (said.block) state.layer = counted(said.block, layers.length);
    if (said.head) state.head = counted(said.head, layers[state.layer].heads);
    if (said.part)
      put({ part: Math.max(0, Math.min(1, Number(said.part))), swapped: said.swap === "yes" });
    else desk.respond();
  }
  return desk.start(root, follow);
}

export default { render };
