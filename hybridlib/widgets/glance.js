// A glance at what the book is about: one drawing, and two trained models that name it, in the
// page.

import { button, bytes, frame, h, oncePerFrame } from "./common.js";
import { grey, paint } from "./colours.js";
import { softmax, toInput } from "./live_ink.js";
import { openModel } from "./live_models.js";
import { toAddress } from "./workbench_address.js";
import { SIDE, blank, isBlank, line, dot, seen } from "./workbench_ink.js";
import { pad } from "./workbench_pad.js";

const PEN = 1.5; // px, as on the workbench
const limit = (v) => Math.max(-SIDE, Math.min(SIDE, v));

function render({ model, el }) {
  const classes = model.get("classes");
  const first = bytes(model.get("picture"));
  const { root, say } = frame(el, {
    label: "Draw a digit, and two trained models name it",
    hint: "draw a digit, or move this one by a pixel.",
  });
  root.classList.add("gl");

  const state = { sample: first, ink: blank(), shift: [0, 0] };
  const untouched = () =>
    state.sample === first && isBlank(state.ink) && !state.shift[0] && !state.shift[1];
  const nets = model.get("systems").map(() => null);
  let failure = "";
  let opening = false;
  const refresh = oncePerFrame(draw);
  const speak = () =>
    requestAnimationFrame(() =>
      requestAnimationFrame(() => {
        if (told()) say(told());
      }),
    );
  const change = (patch) => {
    Object.assign(state, patch);
    refresh();
    speak();
  };
  const move = (down, right) =>
    change({ shift: [limit(state.shift[0] + down), limit(state.shift[1] + right)] });
  const clear = () => change({ sample: null, ink: blank(), shift: [0, 0] });

  // --- the picture ---
  const canvas = h("canvas", {});
  const empty = h("span", { class: "gl-empty", "aria-hidden": "true" }, "Draw here.");
  const node = h(
    "div",
    {
      class: "hx-stack gl-pad",
      tabindex: "0",
      role: "application",
      "aria-roledescription": "drawing pad",
      "aria-label": "Drawing. The arrow keys move it, Delete clears it.",
    },
    canvas,
    empty,
  );
  pad(node, {
    tool: () => "draw",
    // A first stroke takes the place of what lay there.
    begin: () => {
      if (state.sample || state.shift[0] || state.shift[1])
        Object.assign(state, { sample: null, ink: blank(), shift: [0, 0] });
    },
    stroke: (from, to) => {
      if (from === to) dot(state.ink, ...to, PEN);
      else line(state.ink, from, to, PEN);
      refresh();
    },
    end: speak,
    key: ([down, right]) => move(down, right),
    remove: clear,
    drag: () => {},
    at: () => {},
  });

  // --- the answers ---
  const cards = model.get("systems").map(([, title]) => {
    const digit = h("span", { class: "gl-digit" });
    const share = h("span", { class: "gl-share" });
    const bars = classes.map((name) => ({ name, bar: h("span", { class: "gl-bar" }) }));
    return {
      title,
      digit,
      share,
      bars,
      node: h(
        "div",
        { class: "gl-card" },
        h(
          "p",
          { class: "gl-says" },
          h("span", { class: "gl-title" }, `${title} says `),
          digit,
          " ",
          share,
        ),
        h(
          "div",
          { class: "gl-bars", "aria-hidden": "true" },
          bars.map(({ name, bar }) =>
            h("span", { class: "gl-class" }, h("span", { class: "gl-track" }, bar), name),
          ),
        ),
      ),
    };
  });
  const trouble = h("p", { class: "hx-note", hidden: true });
  const again = button(
    "Try again",
    () => {
      failure = "";
      refresh();
    },
    { hidden: true },
  );
  // The state joins the address when it is asked for: the theme reads every fragment on the page as
  // a selector.
  const carry = () => {
    link.href = model.get("workbench") + address();
  };
  const link = h(
    "a",
    {
      class: "gl-link",
      href: model.get("workbench"),
      hidden: !model.get("workbench"),
      onpointerdown: carry,
      onfocus: carry,
      onclick: carry,
    },
    "Look inside on the workbench",
  );
  root.append(
    h(
      "div",
      { class: "gl-row" },
      h("div", { class: "gl-left" }, node),
      h(
        "div",
        { class: "gl-right" },
        cards.map((card) => card.node),
        h(
          "div",
          { class: "gl-actions" },
          button("1 px down", () => move(1, 0), { "aria-label": "move it down by a pixel" }),
          button("1 px up", () => move(-1, 0), { "aria-label": "move it up by a pixel" }),
          button("Clear", clear),
        ),
        trouble,
        again,
        link,
      ),
    ),
  );

  // Both answers in words; nothing while one is on its way.
  const told = () => {
    if (failure || !empty.hidden) return failure || empty.textContent;
    if (cards.some(({ share }) => !share.textContent)) return "";
    return cards
      .map(({ title, digit, share }) => `${title} says ${digit.textContent}, ${share.textContent}`)
      .join(" · ");
  };

  // Fetches both models, once; a failure is told, and may be followed by another try.
  async function open() {
    if (opening) return;
    opening = true;
    try {
      await Promise.all(
        model.get("systems").map(async ([name], i) => {
          nets[i] ??= await openModel(model, name);
        }),
      );
    } catch (error) {
      failure = error.message;
    }
    opening = false;
    refresh();
    speak();
  }

  function draw() {
    const picture = seen({ ...state, base: blank(), cover: null });
    paint(canvas, SIDE, SIDE, (row, col) => grey(picture[row * SIDE + col] / 255));
    const nothing = isBlank(picture);
    empty.hidden = !nothing;
    const asks = !nothing && !untouched();
    if (asks && nets.includes(null) && !failure) open();
    const ink = Float32Array.from(picture, (v) => v / 255);
    cards.forEach((card, i) => {
      if (untouched()) show(card, model.get("shares")[i]);
      else
        show(
          card,
          asks && nets[i] ? softmax(nets[i].run(toInput(ink, nets[i])).logits) : null,
          nothing || failure ? "" : "…",
        );
    });
    root.classList.toggle(
      "gl-differ",
      new Set(cards.map(({ digit }) => digit.textContent)).size > 1,
    );
    trouble.textContent = failure;
    trouble.hidden = again.hidden = !failure;
  }

  function show({ digit, share, bars }, shares, waiting) {
    const best = shares ? shares.indexOf(Math.max(...shares)) : -1;
    digit.textContent = shares ? classes[best] : waiting || "–";
    share.textContent = shares ? `${(100 * shares[best]).toFixed(0)} %` : "";
    bars.forEach(({ bar }, k) => {
      bar.style.transform = `scaleY(${shares ? shares[k] : 0})`;
      bar.classList.toggle("gl-best", k === best);
    });
  }

  // What lies here, as the workbench reads it from its address.
  const address = () =>
    toAddress({
      systems: model.get("systems").map(([name]) => ({ name, show: "", head: 0 })),
      query: { name: "class" },
      shift: state.shift,
      opacity: 60,
      sample: state.sample ? model.get("sample") : -1,
      base: blank(),
      ink: state.ink,
      pinned: null,
      square: { size: 8, grey: 0 },
      tool: state.sample ? "move" : "draw",
      network: null,
    });

  draw();
}

export default { render };
