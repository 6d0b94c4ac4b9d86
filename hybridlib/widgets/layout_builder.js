// A CoAtNet built letter by letter: the stack, what it costs, and what was measured of it.

import { button, choice, frame, h, oncePerFrame, onChange } from "./common.js";
import { PATCHES, countLayout, lettersOf, totalOf, verdict } from "./layout_math.js";
import { recordLine, short, stageRow } from "./layout_parts.js";
import { stateLinks } from "./state_links.js";

const PLAIN = "CCTT"; // whose widths a layout takes that has none of its own
const PRESETS = ["CCCC", "CCCT", "CCTT", "CTTT", PATCHES]; // the paper's
const LETTERS = { C: "T", T: "C" }; // what a press makes of each
const dashes = (layout) => (layout === PATCHES ? layout : [...layout].join("-"));

function render({ model, el }) {
  const { root, say } = frame(el, {
    label: "A CoAtNet built letter by letter",
    hint: "press the letter of a stage to exchange convolution and attention; then enlarge the picture.",
  });
  root.classList.add("lay");
  const { sizes, measured } = JSON.parse(model.get("setup"));
  const state = { last: model.get("letters") === PATCHES ? PLAIN : model.get("letters"), at: 0 };
  const sizeOf = () => sizes[model.get("size")];
  const set = (patch) => {
    Object.entries(patch).forEach(([key, value]) => model.set(key, value));
    model.save_changes();
    redraw();
    requestAnimationFrame(() => say(readout.textContent));
  };

  const size = choice({
    label: "Size",
    options: Object.keys(sizes).map((name) => [name, name]),
    value: model.get("size"),
    onInput: (name) =>
      set({
        size: name,
        side: sizes[name].sides[0],
        ...(model.get("letters") === PATCHES &&
          !(PATCHES in sizes[name].layouts) && { letters: PLAIN }),
      }),
  });
  const sides = h("span", {
    class: "hx-row lay-sides",
    role: "group",
    "aria-label": "side of the picture",
  });
  const presets = h("div", { class: "hx-row", role: "group", "aria-label": "the paper's layouts" });
  const toggles = [0, 1, 2, 3].map((i) =>
    button(
      "",
      () => {
        const next = [...model.get("letters")];
        next[i] = LETTERS[next[i]];
        set({ letters: next.join("") });
      },
      { class: "hx-button lay-toggle" },
    ),
  );
  const rows = [null, ...toggles, null].map((toggle, i) =>
    stageRow(toggle ?? h("span", { class: "lay-fixed" }, i ? "head" : "S0")),
  );
  const alone = stageRow(h("span", { class: "lay-fixed" }, "T")); // the one stage of ViT_REL
  const stack = h("ol", { class: "lay-stack" });
  const keys = h(
    "div",
    {
      class: "lay-keys",
      tabindex: "0",
      role: "application",
      onkeydown: (event) => {
        const by = { ArrowUp: -1, ArrowDown: 1 }[event.key];
        const letter = { ArrowLeft: "C", ArrowRight: "T" }[event.key];
        if (event.target !== keys || !(by || letter)) return;
        event.preventDefault();
        if (by) state.at = Math.max(0, Math.min(3, state.at + by));
        // a key may come before the next drawing
        if (model.get("letters") !== PATCHES) state.last = model.get("letters");
        const next = [...state.last];
        if (letter) next[state.at] = letter;
        set({ letters: next.join("") });
      },
      "aria-roledescription":
        "stack to build: up and down choose a stage, left makes it C, right makes it T",
    },
    stack,
  );
  const facts = ["Parameters", "Multiply-adds", "Between pairs", "In bias tables"].map((name) => {
    const value = h("dd", {});
    return { value, node: h("div", {}, h("dt", {}, name), value) };
  });
  const readout = h("p", { class: "hx-readout" });
  const records = measured.map((one) => ({ ...recordLine(one), of: one.size }));
  root.append(
    h("div", { class: "hx-row" }, size.node, sides),
    presets,
    h(
      "div",
      { class: "lay-head", "aria-hidden": "true" },
      h("span", {}, "stage"),
      h("span", {}, "blocks"),
      h("span", {}, "map"),
      h("span", {}, "multiply-adds (pairs: orange)"),
    ),
    keys,
    readout,
    h(
      "dl",
      { class: "hx-facts lay-facts" },
      facts.map(({ node }) => node),
    ),
  );
  if (records.length) {
    root.append(
      h("p", { class: "hx-title" }, "Recorded test accuracy, 0 to 100 %"),
      h(
        "ul",
        { class: "lay-records" },
        records.map(({ node }) => node),
      ),
    );
  }
  if (model.get("note")) root.append(h("p", { class: "hx-note" }, model.get("note")));

  const redraw = oncePerFrame(() => {
    const [name, layout, side] = [model.get("size"), model.get("letters"), model.get("side")];
    const { layouts, classes, sides: offered } = sizeOf();
    if (layout !== PATCHES) state.last = layout;
    const plan = layouts[layout] ?? layouts[PLAIN];
    const made = countLayout(plan, layout, side, classes);
    const known = records.some(({ of }, i) => of === name && layout in measured[i].values);
    const most = made.reduce((a, { macs }) => Math.max(a, macs), 0);
    const drawn = layout === PATCHES ? [rows[0], alone, rows[5]] : rows;
    const held = root.contains(document.activeElement) ? document.activeElement : null;
    if (stack.childElementCount !== drawn.length)
      stack.replaceChildren(...drawn.map(({ node }) => node));
    drawn.forEach((row, i) => row.draw(made[i], most, made[0].side));
    toggles.forEach((toggle, i) => {
      const letter = lettersOf(state.last)[i];
      toggle.textContent = `S${i + 1}: ${letter}`;
      rows[i + 1].node.classList.toggle("lay-at", i === state.at);
      toggle.setAttribute(
        "aria-label",
        `stage ${i + 1} is ${letter === "C" ? "convolution" : "attention"}; press to change it`,
      );
    });
    keep(
      presets,
      PRESETS.filter((one) => one !== PATCHES || one in layouts),
      (one) => button(dashes(one), () => set({ letters: one })),
      layout,
    );
    keep(
      sides,
      offered.map(String),
      (one) => button(`${one} pixels`, () => set({ side: Number(one) })),
      String(side),
    );
    keys.setAttribute(
      "aria-label",
      `Stack. Stage ${state.at + 1} is ${lettersOf(state.last)[state.at]}`,
    );
    held?.focus({ preventScroll: true });
    size.set(name);
    const [parameters, macs, pairs] = ["parameters", "macs", "pairs"].map((key) =>
      totalOf(made, key),
    );
    const tables = lettersOf(layout).reduce(
      (sum, letter, i) =>
        sum +
        (letter === "T"
          ? (plan.depths[i] * plan.widths[i] * (2 * made[i + 1].side - 1) ** 2) / plan.head_dim
          : 0),
      0,
    );
    [
      short(parameters),
      short(macs),
      `${((100 * pairs) / macs).toFixed(1)} %`,
      short(tables),
    ].forEach((text, i) => {
      facts[i].value.textContent = text;
    });
    const borrowed =
      layout in layouts ? "" : ` Counted with the widths and depths of ${dashes(PLAIN)}.`;
    readout.textContent = verdict(layout, known || name !== records[0]?.of) + borrowed;
    records.forEach((record) => record.draw(layout, record.of === name));
  });

  // Buttons for these values, made anew only where they are others.
  function keep(row, values, make, now) {
    if (row.dataset.values !== values.join()) {
      row.replaceChildren(...values.map(make));
      row.dataset.values = values.join();
    }
    [...row.children].forEach((node, i) =>
      node.setAttribute("aria-pressed", String(values[i] === now)),
    );
  }

  // A link in the text, such as <a href="#layout?layout=CTTT&size=nano&side=48">words</a>. What it
  // leaves out stays.
  const follow = ({ layout, size: name, side }) => {
    const next = name in sizes ? name : model.get("size");
    const fits = layout && (layout in sizes[next].layouts || /^[CT]{4}$/.test(layout));
    const kept =
      model.get("letters") === PATCHES && !(PATCHES in sizes[next].layouts)
        ? PLAIN
        : model.get("letters");
    const wanted = Number(
      side ?? (next === model.get("size") ? model.get("side") : sizes[next].sides[0]),
    );
    set({
      size: next,
      letters: fits ? layout : kept,
      side: sizes[next].sides.includes(wanted) ? wanted : sizes[next].sides[0],
    });
  };
  redraw();
  const close = [
    onChange(model, ["size", "letters", "side"], redraw),
    stateLinks(model.get("name"), root, follow),
  ];
  return () => close.forEach((stop) => stop());
}

export default { render };
