// A convolution stem at work on what the reader draws, beside the patches of a ViT.

import { button, fixed, frame, gridCursor, h, place, ring } from "./common.js";
import { legend, paint, ramp, twoSided } from "./colours.js";
import { counted, deskOf } from "./live_desk.js";
import { toInput } from "./live_ink.js";
import { openModel } from "./live_models.js";
import { muteChannel, patchStep, stemMaps, stemSteps } from "./live_stem_math.js";
import { SIDE } from "./workbench_ink.js";

const ACROSS = 8; // channels in a row

function render({ model, el }) {
  const { root, say } = frame(el, {
    label: "A convolution stem at work, beside patches",
    hint: "choose a step, then a channel. Point at its map: the frame in the drawing is all that the cell reads.",
  });
  root.classList.add("ls");
  const state = { step: 1, channel: 0, cell: [3, 3], muted: new Set() }; // muted: "step channel"
  let steps = []; // patches first, then the stem's
  let patches = null; // the net that cuts them
  let [size, rows] = [[8, 8], 8]; // of the map in hand, and of its channels

  const picture = h("canvas", { "aria-hidden": "true" });
  const reads = h("span", { class: "hx-ring", "aria-hidden": "true" });
  const [one, all] = [
    h("canvas", { "aria-hidden": "true" }),
    h("canvas", { "aria-hidden": "true" }),
  ];
  const [oneMark, allMark] = [ring(), ring()];
  const oneStack = h("div", { class: "hx-stack" }, one, oneMark);
  const allStack = h("div", { class: "hx-stack ls-all" }, all, allMark);
  const desk = deskOf({ model, say, backs: [picture], onModel, onDraw });
  const change = (patch, settled) => {
    Object.assign(state, patch);
    desk.respond(settled);
  };
  const cellCursor = gridCursor(oneStack, {
    label: "Map: choose a cell",
    describe: place,
    size: () => size,
    onPick: (cell, settled) => change({ cell }, settled),
  });
  const channelCursor = gridCursor(allStack, {
    label: "Channels",
    describe: ([r, c]) => `channel ${r * ACROSS + c + 1}`,
    size: () => [rows, ACROSS],
    onPick: ([r, c], settled) => change({ channel: r * ACROSS + c }, settled),
  });
  const scale = legend(ramp, "0", "");
  const signed = legend(twoSided, "", "", -1);
  const choices = h("div", {
    class: "hx-row",
    role: "radiogroup",
    "aria-label": "step of the stem",
  });
  const mute = button("Switch this channel off", () => off([state.channel]));
  const rowOff = button("Switch its row off", () => {
    const first = state.channel - (state.channel % ACROSS);
    off(Array.from({ length: ACROSS }, (_, i) => first + i));
  });
  const off = (channels) => {
    if (!desk.net() || !state.step) return;
    for (const channel of channels) {
      muteChannel(desk.net(), steps[state.step], channel);
      state.muted.add(`${state.step} ${channel}`);
    }
    desk.edited();
  };
  const restore = () => {
    state.muted.clear();
    if (desk.net()) desk.restore();
  };
  const oneTitle = h("p", { class: "hx-title" });
  root.append(
    ...desk.nodes,
    choices,
    h(
      "div",
      { class: "ls-maps" },
      h(
        "div",
        {},
        h("p", { class: "hx-title" }, "What the cell reads"),
        h("div", { class: "hx-stack ls-picture" }, picture, reads),
      ),
      h("div", {}, oneTitle, oneStack),
      h("div", {}, h("p", { class: "hx-title" }, "All channels"), allStack),
    ),
    h(
      "div",
      { class: "hx-row" },
      scale.node,
      signed.node,
      mute,
      rowOff,
      button("As trained", restore),
    ),
  );
  if (model.get("note")) root.append(h("p", { class: "hx-note" }, model.get("note")));

  async function onModel(net) {
    try {
      patches = await openModel(model, model.get("beside"));
    } catch (error) {
      desk.readout.textContent = error.message;
      return;
    }
    const result = (any) => any.run(new Float32Array(3 * SIDE ** 2));
    steps = [patchStep(result(patches), { side: SIDE }), ...stemSteps(result(net), { side: SIDE })];
    const radios = steps.map(({ title }, step) =>
      button(title, () => change({ step, channel: 0 }), { role: "radio" }),
    );
    radios.forEach((radio, i) =>
      radio.addEventListener("keydown", (event) => {
        const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
        if (!by) return;
        event.preventDefault();
        const to = Math.max(0, Math.min(radios.length - 1, i + by));
        radios[to].focus();
        change({ step: to, channel: 0 });
      }),
    );
    choices.replaceChildren(...radios);
    desk.redraw();
    requestAnimationFrame(() => {
      if (linked) follow(linked);
    });
  }

  function onDraw(result, said) {
    if (!steps.length) return;
    const step = steps[state.step];
    const made = stemMaps(state.step ? result : patches.run(seenBy(patches)), step);
    [size, rows] = [made.size, Math.ceil(made.channels / ACROSS)];
    state.channel = Math.min(state.channel, made.channels - 1);
    state.cell = state.cell.map((v, i) => Math.min(v, size[i] - 1));
    let most = 1e-6;
    for (let k = 0; k < made.channels; k++) {
      for (let r = 0; r < size[0]; r++)
        for (let c = 0; c < size[1]; c++) most = Math.max(most, Math.abs(made.at(k, r, c)));
    }
    const colour = step.convolution ? (v) => ramp(v / most) : (v) => twoSided(v / most);
    paint(one, ...size, (r, c) => colour(made.at(state.channel, r, c)));
    const [tall, wide] = size.map((v) => v + 1); // a clear line between channels
    paint(all, rows * tall, ACROSS * wide, (r, c) => {
      const channel = Math.floor(r / tall) * ACROSS + Math.floor(c / wide);
      return r % tall === size[0] || c % wide === size[1] || channel >= made.channels
        ? null
        : colour(made.at(channel, r % tall, c % wide));
    });
    oneMark.put(state.cell, size);
    allMark.put([Math.floor(state.channel / ACROSS), state.channel % ACROSS], [rows, ACROSS]);
    cellCursor.set(state.cell);
    channelCursor.set([Math.floor(state.channel / ACROSS), state.channel % ACROSS]);
    const corner = state.cell.map((v) => step.start + step.jump * v);
    const [from, to] = [
      corner.map((v) => Math.max(0, v)),
      corner.map((v) => Math.min(SIDE, v + step.window)),
    ];
    Object.assign(reads.style, {
      top: `${(100 * from[0]) / SIDE}%`,
      left: `${(100 * from[1]) / SIDE}%`,
      height: `${(100 * (to[0] - from[0])) / SIDE}%`,
      width: `${(100 * (to[1] - from[1])) / SIDE}%`,
    });
    scale.node.hidden = !step.convolution;
    signed.node.hidden = step.convolution;
    scale.set("0", fixed(most, 1));
    signed.set(fixed(-most, 1), fixed(most, 1));
    oneTitle.textContent = `Channel ${state.channel + 1} of ${made.channels}`;
    rowOff.disabled = state.step === 0;
    mute.disabled = rowOff.disabled || state.muted.has(`${state.step} ${state.channel}`);
    [...choices.children].forEach((radio, i) => {
      radio.setAttribute("aria-checked", String(i === state.step));
      radio.tabIndex = i === state.step ? 0 : -1;
    });
    const gone = state.muted.size ? ` ${state.muted.size} switched off.` : "";
    desk.readout.textContent =
      `${said}${gone} ${step.said}, channel ${state.channel + 1}, ${place(state.cell)}: ` +
      `${fixed(made.at(state.channel, ...state.cell), 2)}. It reads ${step.window} × ${step.window} pixels; its neighbour's window starts ${step.jump} pixels further.`;
  }

  // What the desk has drawn, as that net takes it.
  function seenBy(net) {
    const { data } = picture.getContext("2d").getImageData(0, 0, SIDE, SIDE);
    return toInput(
      Float32Array.from({ length: SIDE ** 2 }, (_, i) => data[4 * i] / 255),
      net,
    );
  }

  // A link in the text, such as <a href="#stem?step=3&channel=5&cell=4,4&digit=2&off=5">words</a>:
  // steps from 1, patches, on;
  // all counted from 1. `off` lists channels of the step; whatever it switches off, it begins as
  // trained.
  let linked = null; // a link that came before the models
  function follow(said) {
    if (!steps.length) {
      linked = said;
      return;
    }
    if (said.digit) desk.take(Number(said.digit) - 1);
    if (said.step) Object.assign(state, { step: counted(said.step, steps.length), channel: 0 });
    if (said.channel) state.channel = counted(said.channel, 64);
    if (said.cell) state.cell = said.cell.split(",").map((v) => counted(v, SIDE));
    restore();
    if (said.off) off(said.off.split(",").map((v) => counted(v, 64)));
    else desk.respond();
  }
  return desk.start(root, follow);
}

export default { render };
