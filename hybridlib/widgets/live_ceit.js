// CeiT's three parts step by step, on what the reader draws: image to tokens, LeFF, and LCA.

import { button, choice, fixed, frame, gridCursor, h, place, slider } from "./common.js";
import { counted, deskOf, scopeOf } from "./live_desk.js";
import { softmax } from "./live_ink.js";
import {
  KERNEL_EDITS,
  LCA_EDITS,
  STEM,
  channelOf,
  editKernels,
  leffLayers,
  leffPlanes,
  likenessTo,
  productsOf,
  seenBy,
  stemKernel,
  stemPlanes,
  strengthOf,
} from "./live_ceit_math.js";
import { SIDE } from "./workbench_ink.js";
import { layerTable, nineProducts, step } from "./live_ceit_parts.js";

const LOOKED_AT = {
  i2t: "I2T: image to tokens",
  leff: "LeFF: the feed-forward",
  lca: "LCA: the layers",
};
const KERNEL_WORDS = { centre: "Centre only", turn: "Turn by 180°", swap: "Swap rows and columns" };
const LCA_WORDS = { even: "Listen evenly", deaf: "Listen to nobody", nameless: "No layer vectors" };
const STEM_STEPS = {
  picture: "The picture",
  kernel: "Its kernel",
  conv: "1 Convolution",
  norm: "2 Norm",
  pool: "3 Max pooling",
  patches: "4 Tokens",
};
const LEFF_STEPS = {
  tokens: "1 Back to the plane",
  wide: "2 Expand",
  depthwise: "3 Depthwise",
  act: "4 Norm, GELU",
  out: "5 Reduce",
};
// steps in which a channel keeps its number
const FOLLOWED = ["conv", "norm", "pool", "wide", "depthwise", "act"];

function render({ model, el }) {
  const { root, say } = frame(el, {
    label: "CeiT step by step",
    hint: "draw a digit, choose a part, and follow one channel from step to step.",
  });
  root.classList.add("lc");
  const state = { part: model.get("part"), block: 0, channel: model.get("channel"), at: [3, 3] };
  let layers = [];
  let table = null;
  const change = (patch) => {
    Object.assign(state, patch);
    arrange(Number(channel.input.max));
    desk.respond();
  };
  const pick = (cell, settled) => {
    state.at = cell;
    desk.respond(settled);
  };
  const PLACES = { describe: place, size: () => [8, 8], onPick: pick };

  const named = (words) =>
    Object.fromEntries(Object.entries(words).map(([key, title]) => [key, step(title)]));
  const [stem, leff] = [named(STEM_STEPS), named(LEFF_STEPS)];
  const desk = deskOf({ model, say, onModel, onDraw, backs: [stem.picture.canvas] });
  const kernel = step("Its kernel");
  const nine = nineProducts("Nine products");
  const pooled = gridCursor(stem.pool.stack, {
    ...PLACES,
    label: "Max pooling: choose a place",
    also: [stem.patches.stack],
  });
  const cursor = gridCursor(leff.depthwise.stack, {
    ...PLACES,
    label: "Depthwise: choose a place",
    also: [leff.tokens.stack, leff.wide.stack, leff.act.stack],
  });

  const part = choice({
    label: "Look at",
    options: Object.entries(LOOKED_AT),
    value: state.part,
    onInput: (value) => change({ part: value }),
  });
  const block = choice({
    label: "Block",
    options: [[0, "1"]],
    value: 0,
    onInput: (value) => change({ block: Number(value) }),
  });
  const channel = slider({
    label: "Channel",
    min: 1,
    max: 16,
    step: 1,
    value: 1,
    onInput: (value) => change({ channel: value - 1 }),
  });
  const scope = scopeOf("all blocks", "this block");
  const press = (how) => {
    if (!desk.net()) return;
    if (how in LCA_EDITS) LCA_EDITS[how](desk.net());
    else if (state.part === "i2t") editKernels(desk.net(), STEM, how);
    else
      for (const { name } of scope.wide() ? layers : [layers[state.block]])
        editKernels(desk.net(), `${name}.depthwise.weight`, how);
    desk.edited();
  };
  const pressers = (words) =>
    Object.entries(words).map(([how, text]) => button(text, () => press(how)));
  const back = () => button("As trained", () => desk.net() && desk.restore());

  const tableHere = h("div");
  const sections = {
    i2t: h(
      "div",
      {},
      h(
        "div",
        { class: "hx-row", role: "group", "aria-label": "the stem's kernels" },
        pressers(KERNEL_WORDS),
        back(),
      ),
      h(
        "div",
        { class: "lc-steps lc-stem" },
        Object.values(stem).map(({ node }) => node),
      ),
    ),
    leff: h(
      "div",
      {},
      h(
        "div",
        { class: "hx-row", role: "group", "aria-label": "kernels" },
        scope.node,
        pressers(KERNEL_WORDS),
        back(),
      ),
      h(
        "div",
        { class: "lc-steps" },
        leff.tokens.node,
        leff.wide.node,
        kernel.node,
        nine.node,
        leff.depthwise.node,
        leff.act.node,
        leff.out.node,
      ),
    ),
    lca: h(
      "div",
      {},
      h(
        "div",
        { class: "hx-row", role: "group", "aria-label": "layer-wise attention" },
        pressers(LCA_WORDS),
        back(),
      ),
      tableHere,
    ),
  };
  root.append(
    ...desk.nodes,
    h("div", { class: "hx-row" }, part.node, block.node, channel.node),
    ...Object.values(sections),
  );
  if (model.get("note")) root.append(h("p", { class: "hx-note" }, model.get("note")));
  arrange(state.channel + 1);

  function onModel(net) {
    layers = leffLayers(net);
    block.input.replaceChildren(...layers.map((_, i) => h("option", { value: i }, String(i + 1))));
  }

  // What belongs to the part in hand is shown. `channels` are those that can be followed in it.
  function arrange(channels) {
    for (const [key, node] of Object.entries(sections)) node.hidden = key !== state.part;
    block.node.hidden = state.part !== "leff";
    channel.node.hidden = state.part === "lca";
    channel.input.max = channels;
    state.channel = Math.min(state.channel, channels - 1);
    channel.set(state.channel + 1);
  }

  function onDraw(result, said) {
    const words = { i2t: drawStem, leff: drawLeff, lca: drawLayers }[state.part](result);
    desk.readout.textContent = `${said} ${words}`;
  }

  // A followed channel shows its own numbers, other steps the strength over all.
  function drawPlanes(steps, planes) {
    for (const [key, plane] of Object.entries(planes)) {
      const own = FOLLOWED.includes(key);
      steps[key].draw(own ? channelOf(plane, state.channel) : strengthOf(plane), plane.size, own);
      steps[key].tell(
        `${plane.size.join(" × ")} places, ${own ? `channel ${state.channel + 1} of` : "strength over"} ${plane.channels}`,
      );
    }
  }

  function drawStem({ modules }) {
    const planes = stemPlanes(modules);
    arrange(planes.conv.channels);
    drawPlanes(stem, planes);
    const [of, side] = [planes.norm.size, desk.net().parameters[STEM].at(-1)];
    const taps = stemKernel(desk.net(), state.channel);
    stem.kernel.draw(taps, [side, side]);
    stem.kernel.tell(`of channel ${state.channel + 1}, summed over the colours`);
    stem.picture.tell(`${SIDE} × ${SIDE} pixels`);
    const [down, across] = state.at.map((at, axis) =>
      seenBy(at, { before: of[axis], picture: SIDE }),
    );
    stem.picture.over(down.pixels, across.pixels, [SIDE, SIDE]);
    for (const one of [stem.conv, stem.norm]) one.over(down.pooled, across.pooled, of);
    for (const one of [stem.pool, stem.patches])
      one.over([state.at[0], state.at[0]], [state.at[1], state.at[1]], planes.pool.size);
    pooled.set(state.at);
    const largest = channelOf(planes.pool, state.channel)[
      state.at[0] * planes.pool.size[1] + state.at[1]
    ];
    const count = (down.pooled[1] - down.pooled[0] + 1) * (across.pooled[1] - across.pooled[0] + 1);
    return (
      `Channel ${state.channel + 1}, ${place(state.at)} after the pooling: the largest of ${count} numbers, ${fixed(largest, 2)}. ` +
      `It sees pixel rows ${down.pixels.map((v) => v + 1).join(" to ")} and columns ${across.pixels.map((v) => v + 1).join(" to ")}.`
    );
  }

  function drawLeff({ modules }) {
    const layer = layers[state.block];
    const planes = leffPlanes(modules, layer);
    arrange(layer.hidden);
    drawPlanes(leff, planes);
    const { size } = planes.tokens;
    const at = state.at[0] * size[1] + state.at[1];
    leff.tokens.draw(likenessTo(planes.tokens, at), size);
    leff.tokens.tell(`token ${at + 1} of ${size[0] * size[1]}, and how like it the others are`);
    const found = productsOf(desk.net(), layer, planes.wide, state.channel, state.at);
    kernel.draw(found.kernel, [3, 3]);
    kernel.tell(
      `of channel ${state.channel + 1}, from ${fixed(Math.min(...found.kernel), 2)} to ${fixed(Math.max(...found.kernel), 2)}`,
    );
    nine.draw(found);
    leff.wide.over(
      ...state.at.map((v, axis) => [Math.max(0, v - 1), Math.min(size[axis] - 1, v + 1)]),
      size,
    );
    for (const one of [leff.tokens, leff.depthwise, leff.act])
      one.over(...state.at.map((v) => [v, v]), size);
    cursor.set(state.at);
    return `Block ${state.block + 1}, channel ${state.channel + 1}, ${place(state.at)}: nine products and the bias make ${fixed(found.sum, 2)}.`;
  }

  function drawLayers({ maps, layers: readings }) {
    arrange(1);
    const { data, heads, keys } = maps.find(({ kind }) => kind === "class-over-layers");
    if (!table) {
      table = layerTable(heads, keys);
      tableHere.replaceChildren(table.node);
    }
    const shares = Array.from({ length: heads }, (_, head) =>
      Array.from(data.subarray(head * keys, (head + 1) * keys)),
    );
    const classes = model.get("classes");
    table.draw(
      shares,
      readings.slice(0, keys).map(({ logits }) => {
        const chances = softmax(logits);
        const best = chances.indexOf(Math.max(...chances));
        return { name: classes[best], share: chances[best] };
      }),
    );
    const mean = (b) => shares.reduce((sum, row) => sum + row[b], 0) / heads;
    return `Mean of the heads: ${shares[0].map((_, b) => `block ${b + 1} ${(100 * mean(b)).toFixed(0)} %`).join(", ")}.`;
  }

  // A link in the text, such as <a
  // href="#steps?part=leff&block=1&channel=9&cell=3,4&edit=swap&in=all&digit=1">words</a>, all
  // counted from 1. What it leaves out stays; whatever it edits, it begins with the weights as
  // trained.
  function follow(said) {
    if (said.part in LOOKED_AT) {
      state.part = said.part;
      part.set(said.part);
    }
    if (said.in) scope.set(said.in);
    if (said.block) {
      state.block = counted(said.block, layers.length);
      block.set(state.block);
    }
    if (said.channel) state.channel = counted(said.channel, layers[state.block].hidden);
    if (said.cell)
      state.at = said.cell.split(",").map((v) => Math.max(0, Math.min(7, Number(v) - 1)));
    if (said.digit) desk.take(Number(said.digit) - 1);
    if (said.edit) desk.restore();
    if (said.edit in KERNEL_EDITS || said.edit in LCA_EDITS) press(said.edit);
    else desk.respond();
  }
  return desk.start(root, follow);
}

export default { render };
