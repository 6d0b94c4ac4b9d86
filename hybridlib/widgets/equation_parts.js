// The written equation, with the terms that are on in colour, and the controls for what a system
// leaves free.

import { css, inkOn, PARTS } from "./colours.js";
import { choice, h, slider, tidy } from "./common.js";
import { gateOf } from "./equation_math.js";

export const COLOURS = { content: PARTS.attention, offset: PARTS.convolution };

export const JOINS = {
  offset: "offset alone",
  content: "content alone",
  sum: "added before the softmax",
  gate: "gated after the softmax",
};

// Text with _{lower} and ^{raised} parts, as nodes.
export function rich(text) {
  return text
    .split(/([_^]\{[^}]*\})/)
    .filter(Boolean)
    .map((part) =>
      /^[_^]\{/.test(part) ? h(part[0] === "_" ? "sub" : "sup", {}, part.slice(2, -1)) : part,
    );
}

function term(kind, text = kind) {
  const node = h("span", { class: `eq-term eq-${kind}` }, rich(text));
  node.style.setProperty("--eq-fill", css(COLOURS[kind] ?? PARTS.norm));
  node.style.setProperty("--eq-ink", inkOn(COLOURS[kind] ?? PARTS.norm));
  return node;
}

// draw(system, state, dim)
export function writtenEquation() {
  const parts = {
    rest: term("gate", "(1 − s)"),
    how: h("span", {}),
    content: term("content"),
    plus: h("span", {}, " + "),
    offset: term("offset"),
    gated: [
      h("span", {}, " + "),
      term("gate", "s"),
      h("span", {}, " softmax( "),
      term("offset"),
      h("span", {}, " )"),
    ],
  };
  const line = h(
    "p",
    { class: "eq-line", "aria-hidden": "true" },
    h("span", {}, rich("y_{q} = Σ_{h} Σ_{k} A^{h}_{qk} x_{k} W^{h}")),
    h(
      "span",
      {},
      rich("A^{h} = "),
      parts.rest,
      " ",
      parts.how,
      "( ",
      parts.content,
      parts.plus,
      parts.offset,
      " )",
      parts.gated,
    ),
  );
  const told = { content: h("p", {}), offset: h("p", {}), gate: h("p", {}) };
  const node = h(
    "div",
    { class: "eq-written", role: "group" },
    line,
    h("div", { class: "eq-told" }, Object.values(told)),
  );

  function draw(system, state, dim) {
    const { join } = state;
    const on = (list, lit) =>
      [list].flat().forEach((part) => part.classList.toggle("eq-off", !lit));
    on(parts.rest, join === "gate");
    on(parts.content, join !== "offset");
    on(parts.plus, join === "sum");
    on(parts.offset, join === "sum" || join === "offset");
    on(parts.gated, join === "gate");
    parts.how.textContent = system.offset === "shift" ? "one-hot" : "softmax";
    const words = formulas(system, state, dim);
    const lines = {
      content: join !== "offset" && words.content,
      offset: join !== "content" && words.offset,
      gate:
        join === "gate" && `σ(λ) = σ(${tidy(state.gate, 1)}) = ${gateOf(state.gate).toFixed(2)}`,
    };
    for (const [kind, text] of Object.entries(lines)) {
      told[kind].hidden = !text;
      if (text)
        told[kind].replaceChildren(term(kind, kind === "gate" ? "s" : kind), " = ", ...rich(text));
    }
    node.setAttribute(
      "aria-label",
      `The equation: y is the sum over heads and keys of A x W. A is ${spoken(join)}.`,
    );
  }
  return { node, draw };
}

const spoken = (join) =>
  ({
    offset: "made of the offset alone",
    content: "the softmax of the content alone",
    sum: "the softmax of content plus offset",
    gate: "one minus s times the softmax of content, plus s times the softmax of offset",
  })[join];

// What content and offset are in a system, with the numbers of the moment. dim: length of a token.
export function formulas(system, state, dim) {
  const two = (v) => tidy(v, 2);
  const squared = (v) => `(2 · ${two(v)}^{2})`;
  const content = {
    dot: () =>
      `${two(state.scale)} · z_{q}·z_{k} / √${dim}${"positions" in state ? ", z: patch and position" : ""}`,
    distance: () =>
      `−${state.window > 1 ? "mean " : ""}|x_{q} − x_{k}|^{2} / ${squared(state.tolerance)}`,
  }[system.content];
  const offset = {
    shift: () => "[ k − q = Δ_{h} ]",
    gauss: () => `−|δ|^{2} / ${squared(state.reach)}`,
    quadratic: () => `−${two(state.alpha)} · ( |δ|^{2} − 2 Δ_{h}·δ )`,
    axes: () => `${two(state.scale)} · z_{q}·( r_{row}[δ_{1}] + r_{col}[δ_{2}] ) / √${dim}`,
    table: () => "w_{δ}, not scaled",
  }[system.offset];
  return { content: content?.() ?? "", offset: offset?.() ?? "" };
}

// --- controls ------------------------------------------------------------------------------------

const cells = (v) => `${tidy(v, 2)} ${v === 1 ? "cell" : "cells"}`;
const about = (v) => `${v.toPrecision(2)} cells`;
const raised = (v) => 10 ** v;

// label, step, words; power: the slider turns the power of ten.
const KNOBS = {
  kernel: { label: "Kernel W" },
  window: { label: "Patch", show: (v) => `${v} × ${v} cells` },
  heads: { label: "Heads" },
  scale: { label: "Content scale τ", step: 0.05, show: (v) => `τ = ${tidy(v, 2)}` },
  positions: { label: "Positions in z", step: 0.05, show: (v) => `times ${tidy(v, 2)}` },
  tolerance: { label: "Tolerance", step: 0.02, power: true, show: (v) => v.toPrecision(2) },
  reach: { label: "Reach", step: 0.02, power: true, show: about },
  alpha: { label: "Sharpness α", step: 0.02, power: true, show: (v) => `α = ${v.toPrecision(2)}` },
  spacing: { label: "Spacing of shifts Δ", step: 0.25, show: cells },
  strength: { label: "Strength", step: 0.1, show: (v) => tidy(v, 1) },
  down: { label: "Centre, down", step: 0.5, show: cells },
  right: { label: "Centre, right", step: 0.5, show: cells },
  gate: { label: "Gate λ", step: 0.1, show: (v) => `s = ${gateOf(v).toFixed(2)}` },
};

// Controls for the knobs of a system. ranges: { knob: [low, high] or choices };  onTurn(knob,
// value)
export function knobs(system, ranges, onTurn) {
  const made = Object.keys(system.knobs).map((key) => {
    const { label, step, show = String, power } = KNOBS[key];
    const range = ranges[key];
    if (!step) {
      const list = choice({
        label,
        value: String(range[0]),
        options: range.map((v) => [String(v), show(v)]),
        onInput: (text) =>
          onTurn(
            key,
            range.find((v) => String(v) === text),
          ),
      });
      return { key, node: list.node, set: (v) => list.set(String(v)) };
    }
    const [low, high] = range;
    const to = power ? Math.log10 : Number;
    const from = power ? (v) => Math.min(high, Math.max(low, raised(v))) : Number;
    const turned = slider({
      label,
      min: to(low),
      max: to(high),
      step,
      value: to(system.knobs[key]),
      show: (v) => show(from(v)),
      onInput: (v) => onTurn(key, from(v)),
    });
    return { key, node: turned.node, set: (v) => turned.set(to(v)) };
  });
  return {
    nodes: made.map(({ node }) => node),
    draw: (state) =>
      made.forEach(({ key, node, set }) => {
        set(state[key]);
        node.hidden = key === "gate" && state.join !== "gate";
      }),
  };
}
