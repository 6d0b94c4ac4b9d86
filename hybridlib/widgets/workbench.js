// The workbench: one drawing, one or two trained models that look at it in the page, and what they
// see in it.

import { button, choice, frame, h, oncePerFrame, slider } from "./common.js";
import { openModel } from "./live_models.js";
import { pictureFiles } from "./picture_files.js";
import { SIDE, blank, dot, isBlank, levels, line, seen, shifted } from "./workbench_ink.js";
import { fromAddress, toAddress } from "./workbench_address.js";
import { OCCLUSION } from "./workbench_maps.js";
import { TOOLS, pad, toolbar } from "./workbench_pad.js";
import { inkOfFile } from "./workbench_photo.js";
import { readSamples, sampleStrip } from "./workbench_samples.js";
import { systemCard } from "./workbench_system.js";
import { tour } from "./workbench_tour.js";

const HINT = "draw a digit, then move it by a pixel.";
const ANY = "The models know nothing but digits: they name a digit in any picture.";
const KEPT = 40; // steps back
const WIDE = 620; // px, as in the style sheet: systems side by side
const ADDRESS_PAUSE = 400; // ms; browsers allow few changes of the address a second

function render({ model, el }) {
  const models = model.get("models");
  const classes = model.get("classes");
  const samples = readSamples(model.get("samples"));
  const labels = model.get("labels");
  // in a notebook the address is not ours
  const onPage = document.getElementById("hybrid-models") !== null;
  const named = (text) =>
    models.map(([name]) => name).find((name) => name === text || name.startsWith(`${text}_nano_`));
  const { root, say } = frame(el, {
    label: "Workbench: draw, and watch trained models read it",
    hint: HINT,
  });
  root.classList.add("wb");

  const state = {
    // show "": whatever suits the model
    systems: model.get("systems").map((name) => ({ name, show: "", head: 0 })),
    query: { name: "class", row: SIDE / 2, col: SIDE / 2 },
    sample: samples.length ? model.get("start") : -1,
    base: blank(),
    ink: blank(),
    shift: [0, 0],
    tool: "draw",
    pen: 1.5,
    opacity: 60,
    network: null,
    pinned: null,
    hover: null,
    square: { size: 8, grey: 0 },
  };
  const wide = el.clientWidth >= WIDE; // there the networks are open until the reader closes them
  let picture = new Uint8Array(SIDE * SIDE);
  let version = 0;
  let told = ""; // both answers in words
  let where = "";
  const history = [];

  // --- one way in for every change ---
  // settled: the reader has done something, and it may be said; false while a pointer is on its
  // way.
  function set(patch, { settled = true, address = true } = {}) {
    Object.assign(state, patch);
    refresh();
    if (settled) speak();
    if (address) remember();
  }
  const refresh = oncePerFrame(draw);
  const speak = () => requestAnimationFrame(() => requestAnimationFrame(() => say(where + told)));
  const keepForUndo = () => {
    const { sample, base, ink, shift } = state;
    history.push({ sample, base: base.slice(), ink: ink.slice(), shift });
    if (history.length > KEPT) history.shift();
  };
  const begin = (patch) => {
    keepForUndo();
    photos.stop();
    message("");
    set(patch);
  };
  const clear = () =>
    begin({ sample: -1, base: blank(), ink: blank(), shift: [0, 0], pinned: null });
  const take = (sample) => begin({ sample, base: blank(), ink: blank(), shift: [0, 0] });

  // --- the pads ---
  const startOf = { shift: [0, 0] };
  const limit = (v) => Math.max(-SIDE, Math.min(SIDE, v));
  const pads = (card) => ({
    tool: () => state.tool,
    begin: () => {
      if (["draw", "erase", "move"].includes(state.tool)) {
        keepForUndo();
        photos.stop();
      }
      startOf.shift = state.shift;
      const { sample, ink, shift } = state;
      const draws = state.tool === "draw" || state.tool === "erase";
      // What is moved, or erased in, becomes a drawing of its own where it lies.
      if (draws && (shift[0] || shift[1] || (state.tool === "erase" && sample >= 0))) {
        const base = sample >= 0 ? levels(samples[sample]) : state.base;
        set(
          {
            sample: -1,
            base: shifted(base, shift).slice(),
            ink: shifted(ink, shift).slice(),
            shift: [0, 0],
          },
          { settled: false },
        );
      } else if (draws)
        set({ base: state.base.slice(), ink: state.ink.slice() }, { settled: false });
    },
    stroke: (from, to) => {
      const erase = state.tool === "erase";
      if (from === to) dot(state.ink, ...to, state.pen, erase);
      else line(state.ink, from, to, state.pen, erase);
      if (erase) line(state.base, from, to, state.pen, true);
      set({}, { settled: false });
    },
    drag: ([down, right]) =>
      set(
        { shift: [limit(startOf.shift[0] + down), limit(startOf.shift[1] + right)] },
        { settled: false },
      ),
    end: () => set({}),
    at: (cell, pressed) => {
      if (state.tool === "ask")
        return set({ query: { name: null, row: cell[0], col: cell[1] } }, { settled: pressed });
      set(pressed ? { pinned: cell, hover: null } : { hover: cell }, {
        settled: pressed,
        address: pressed,
      });
    },
    key: ([down, right]) => {
      const step = ([row, col], by) =>
        [row + by * down, col + by * right].map((v) => Math.max(0, Math.min(SIDE - 1, v)));
      if (state.tool === "cover")
        set({
          pinned: step(state.pinned ?? [SIDE / 2, SIDE / 2], state.pinned ? 1 : 0),
          hover: null,
        });
      else if (state.tool === "ask") {
        const [row, col] = step([state.query.row, state.query.col], SIDE / card().side());
        set({ query: { name: null, row, col } });
      } else set({ shift: [limit(state.shift[0] + down), limit(state.shift[1] + right)] });
    },
    remove: () => (state.tool === "cover" ? set({ pinned: null, hover: null }) : clear()),
  });

  // --- the systems ---
  const change = (i, patch) =>
    set({ systems: state.systems.map((own, k) => (k === i ? { ...own, ...patch } : own)) });
  const cards = [0, 1].map((i) =>
    systemCard({
      label: i ? "Second system" : "System",
      models,
      classes,
      say,
      open: (name) => openModel(model, name),
      onSystem: (name) => change(i, { name, show: "" }),
      onShow: (show) => change(i, { show }),
      onHead: (head) => change(i, { head }),
      onAsk: (name) => set({ query: { ...state.query, name }, ...(name ? {} : { tool: "ask" }) }),
      onNetwork: (network) => set({ network }, { settled: false }),
      onOpacity: (opacity) => set({ opacity }, { settled: false }),
      onReady: () => {
        refresh();
        if (state.systems[i]?.show !== OCCLUSION) speak();
      },
    }),
  );
  cards.forEach((card) =>
    pad(
      card.pad,
      pads(() => card),
    ),
  );
  const second = choice({
    label: "Look with",
    value: "2",
    options: [
      ["2", "two systems"],
      ["1", "one system"],
    ],
    onInput: (count) => {
      const other = models.find(([name]) => name !== state.systems[0].name) ?? models[0];
      set({
        systems:
          count === "1"
            ? state.systems.slice(0, 1)
            : [state.systems[0], { name: other[0], show: "", head: 0 }],
      });
    },
  });

  // --- tools ---
  const tools = toolbar((tool) => set({ tool, hover: null }, { settled: false }));
  const undo = button("Undo", () => {
    message("");
    set(history.pop() ?? {});
  });
  const wipe = button("Clear", clear);
  const pen = slider({
    label: "Pen",
    min: 0.8,
    max: 3,
    step: 0.1,
    value: state.pen,
    show: (v) => `${(2 * v).toFixed(1)} px`,
    onInput: (value) => set({ pen: value }, { settled: false }),
  });
  const size = slider({
    label: "Square",
    min: 2,
    max: 16,
    step: 1,
    value: state.square.size,
    show: (v) => `${v} px`,
    onInput: (value) => set({ square: { ...state.square, size: value } }),
  });
  const shade = choice({
    label: "Colour",
    value: "0",
    options: [
      ["0", "black"],
      ["128", "grey"],
    ],
    onInput: (value) => set({ square: { ...state.square, grey: Number(value) } }),
  });
  const words = h("p", { class: "hx-note wb-message", hidden: true });
  const message = (text) => {
    words.textContent = text;
    words.hidden = !text;
  };
  const strip = sampleStrip(samples, labels, take);
  const photos = pictureFiles(root, {
    read: inkOfFile,
    over: "wb-drop",
    onPicture: (ink, name) => {
      begin({ sample: -1, base: blank(), ink, shift: [0, 0] });
      message(`${name}, as the models see it. ${ANY}`);
    },
    onTrouble: (sentence) => {
      message(sentence);
      say(sentence);
    },
  });
  const save = button(
    "Save picture",
    () => {
      const link = h("a", {
        download: "digit-32x32.png",
        href: cards[0].pad.querySelector("canvas").toDataURL(),
      });
      link.click();
    },
    { title: "32 x 32 pixels as the models see them, as a PNG" },
  );

  // --- the address ---
  const address = () => location.href.split("#")[0] + toAddress(state);
  const copied = h("input", {
    class: "wb-link",
    readonly: "readonly",
    "aria-label": "Link to this state",
    hidden: true,
  });
  const copy = button(
    "Copy link",
    async () => {
      copied.value = address();
      try {
        await navigator.clipboard.writeText(copied.value);
        message("The link is copied: drawing, systems and maps are in it.");
      } catch {
        // no leave to use the clipboard
        copied.hidden = false;
        copied.select();
        message("Copy the marked link: drawing, systems and maps are in it.");
      }
    },
    { hidden: !onPage },
  );
  let timer = 0;
  function remember() {
    if (!onPage) return;
    clearTimeout(timer);
    timer = setTimeout(() => {
      try {
        history_replace(toAddress(state));
      } catch {
        /* too often: the next change brings it */
      }
    }, ADDRESS_PAUSE);
  }
  const history_replace = (hash) => window.history.replaceState(window.history.state, "", hash);
  function restore() {
    const said =
      onPage &&
      fromAddress(location.hash, {
        names: models.map(([name]) => name),
        samples: samples.length,
        tools: Object.keys(TOOLS),
      });
    clearTimeout(timer);
    if (said) set({ hover: null, ...said }, { settled: false, address: false });
  }

  // --- the tour ---
  const guide = tour({
    root,
    say,
    go: (step) => {
      const patch = { hover: null, pinned: null };
      if (step.tool) patch.tool = step.tool;
      if (step.opacity !== undefined) patch.opacity = step.opacity;
      if (step.systems)
        patch.systems = step.systems.map(([name, show, head = 0]) => ({
          name: named(name) ?? models[0][0],
          show,
          head,
        }));
      if (step.query)
        patch.query = Array.isArray(step.query)
          ? { name: null, row: step.query[0], col: step.query[1] }
          : { name: step.query, row: SIDE / 2, col: SIDE / 2 };
      const drawn = state.sample >= 0 || !isBlank(state.ink) || !isBlank(state.base);
      const wanted = step.sample ?? (drawn ? undefined : step.or);
      const found = wanted === undefined ? -1 : labels.findIndex((text) => text.startsWith(wanted));
      if (step.clear || found >= 0)
        Object.assign(patch, { sample: found, base: blank(), ink: blank(), shift: [0, 0] });
      set(patch, { settled: false });
    },
  });

  // --- drawing, once per frame ---
  function draw() {
    const at = state.hover ?? state.pinned;
    const cover = at && { row: at[0], col: at[1], ...state.square };
    const sample = state.sample >= 0 ? samples[state.sample] : null;
    const bare = seen({ ...state, sample, cover: null });
    const next = cover ? seen({ ...state, sample, cover }) : bare;
    if (next.some((v, i) => v !== picture[i])) [picture, version] = [next, version + 1];
    const empty = isBlank(bare);
    const shown = {
      picture,
      version,
      blank: empty,
      query: state.query,
      opacity: state.opacity,
      cover,
      square: state.square,
      network: state.network ?? wide,
    };
    cards.forEach((card, i) => {
      card.node.hidden = i >= state.systems.length;
      if (i < state.systems.length) card.draw(shown, state.systems[i]);
      else card.stop();
      card.pad.setAttribute(
        "aria-label",
        `Picture, with the pointer: ${TOOLS[state.tool].does}. ${TOOLS[state.tool].keys}`,
      );
    });
    const tops = cards.slice(0, state.systems.length).map((card) => card.top());
    root.classList.toggle(
      "wb-differ",
      tops.length === 2 && tops[0] !== tops[1] && !tops.includes(null),
    );
    field.dataset.systems = state.systems.length;
    root.dataset.tool = state.tool;
    tools.set(state.tool);
    second.set(String(state.systems.length));
    strip.set(state.sample);
    undo.disabled = history.length === 0;
    pen.node.hidden = !["draw", "erase"].includes(state.tool);
    const squares = state.tool === "cover" || state.systems.some((own) => own.show === OCCLUSION);
    size.node.hidden = shade.node.hidden = !squares;
    size.set(state.square.size);
    shade.set(String(state.square.grey));
    const [down, right] = state.shift;
    const moves = [
      [down, "down", "up"],
      [right, "right", "left"],
    ]
      .filter(([by]) => by)
      .map(([by, forth, back]) => `${Math.abs(by)} ${by > 0 ? forth : back}`);
    where = moves.length ? `Moved ${moves.join(", ")}. ` : "";
    const now = empty
      ? "Draw something."
      : cards
          .slice(0, state.systems.length)
          .map((card) => card.says())
          .filter(Boolean)
          .join(" · ");
    if (now !== told) {
      told = now;
      both.textContent = now;
    }
  }

  const field = h(
    "div",
    { class: "wb-cards" },
    cards.map((card) => card.node),
  );
  const both = h("p", { class: "wb-both", "aria-hidden": "true" });
  root.append(
    guide.node,
    h(
      "div",
      { class: "wb-bar-row" },
      tools.node,
      h("div", { class: "wb-actions" }, undo, wipe, photos.node, guide.start),
    ),
    h("div", { class: "wb-settings" }, pen.node, size.node, shade.node),
    strip.node,
    words,
    both,
    field,
    h("div", { class: "wb-bottom" }, second.node, copy, save),
    copied,
  );
  if (model.get("note")) root.append(h("p", { class: "hx-note" }, model.get("note")));

  const onSystems = () =>
    set({ systems: model.get("systems").map((name) => ({ name, show: "", head: 0 })) });
  model.on("change:systems", onSystems);
  addEventListener("hashchange", restore);
  restore();
  draw();
  return () => {
    model.off("change:systems", onSystems);
    removeEventListener("hashchange", restore);
    photos.close();
    cards.forEach((card) => card.close());
    clearTimeout(timer);
  };
}

export default { render };
