// A photograph that the reader changes, and all trained models side by side: whose answer survives?
// Beside each answer stands how many of many photographs, changed alike, that model still names.

import {
  button,
  bytes,
  choice,
  frame,
  h,
  onceInSight,
  oncePerFrame,
  place,
  ring,
  slider,
} from "./common.js";
import { paint } from "./colours.js";
import { softmax, toInput } from "./live_ink.js";
import {
  PATCH,
  SIDE,
  covered,
  noisy,
  paled,
  seeded,
  shuffledOrder,
  slid,
  softened,
  squareOf,
  withTiles,
} from "./live_photographs_math.js";
import { answerTable } from "./live_photographs_parts.js";
import { openModel } from "./live_models.js";
import { pictureFiles, pixelsOf } from "./picture_files.js";
import { stateLinks } from "./state_links.js";

const WAYS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
const PATCHES = SIDE / PATCH;
const FREE_GRID = 4; // tiles along a side while nothing is shuffled yet
const LARGEST = 512; // pixels of the longer side of a photograph that are looked at

function render({ model, el }) {
  const { root, say } = frame(el, {
    label: "A photograph, changed, and what trained models say",
    hint: "shuffle the tiles of the photograph. Whose answer survives?",
  });
  root.classList.add("lf");
  const classes = model.get("classes");
  const labels = model.get("labels");
  const all = bytes(model.get("photographs"));
  const size = 3 * SIDE * SIDE;
  const photographs = labels.map((_, i) => all.subarray(size * i, size * (i + 1)));
  const kinds = model.get("kinds"); // [key, title, [levels]]
  const state = { own: null, index: 0, kind: kinds[0][0], level: 0, seed: 1, free: null };
  let [cursor, taken] = [[0, 0], null];
  let turn = 0; // of the models: an old one stops when a new one has begun

  const levelsOf = (kind = state.kind) => kinds.find(([key]) => key === kind)[2];
  const level = () => (state.level ? levelsOf()[state.level - 1] : 0);
  const grid = () => (state.kind === "hide" ? PATCHES : level() || FREE_GRID);
  const right = () => (state.own ? null : classes[labels[state.index]]);
  const name = () => state.own?.name ?? `Photograph ${state.index + 1}, ${right()}`;

  // --- what is done to the picture ---
  // order, hidden or way: as drawn by lot, or as the reader has made it
  function lot() {
    if (state.free) return state.free;
    const random = seeded(state.seed);
    if (state.kind === "shuffle")
      return level() ? shuffledOrder(level() ** 2, random) : [...Array(FREE_GRID ** 2).keys()];
    if (state.kind === "hide")
      return new Set(
        shuffledOrder(PATCHES ** 2, random).slice(0, Math.round(level() * PATCHES ** 2)),
      );
    if (state.kind === "move") return Object.values(WAYS)[state.seed % 4].map((v) => v * level());
    return random;
  }
  const changes = {
    shuffle: (picture) => withTiles(picture, grid(), lot()),
    hide: (picture) => covered(picture, lot(), model.get("fill")),
    move: (picture) => slid(picture, lot()),
    noise: (picture) => noisy(picture, level(), lot()),
    blur: (picture) => softened(picture, level()),
    grey: (picture) => paled(picture, level()),
  };
  const changed = () => {
    const picture = state.own?.picture ?? photographs[state.index];
    return state.free || level() ? changes[state.kind](picture) : picture;
  };
  const words = () => {
    if (state.free) return "changed by hand";
    if (!level()) return "as it is";
    return {
      shuffle: `${level()} × ${level()} tiles shuffled`,
      hide: `${Math.round(100 * level())} % of the patches hidden`,
      move: `moved by ${level()} pixels`,
      noise: `noise of ${level()}`,
      blur: `blurred by ${level()} ${level() === 1 ? "pixel" : "pixels"}`,
      grey: level() === 1 ? "without colour" : `${Math.round(100 * level())} % of the colour gone`,
    }[state.kind];
  };
  const amount = () => {
    if (state.free) return "by hand";
    if (!level()) return "none";
    return {
      shuffle: `${level()} × ${level()}`,
      hide: `${Math.round(100 * level())} %`,
      move: `${level()} pixels`,
      noise: `${level()}`,
      blur: `${level()} px`,
      grey: `${Math.round(100 * level())} %`,
    }[state.kind];
  };

  // --- the picture and its controls ---
  const canvas = h("canvas", { "aria-hidden": "true" });
  const [spot, grip] = [ring(), ring()];
  grip.classList.add("lf-grip");
  const board = h(
    "div",
    {
      class: "hx-stack lf-board",
      tabindex: "0",
      role: "application",
      "aria-roledescription": "photograph to change",
      onkeydown: (event) => {
        if (event.altKey || event.ctrlKey || event.metaKey) return;
        if (event.key in WAYS) press(WAYS[event.key]);
        else if (["Enter", " "].includes(event.key)) act(cursor);
        else return;
        event.preventDefault();
      },
    },
    canvas,
    spot,
    grip,
  );
  const thumbs = photographs.map((photograph, i) => {
    const thumb = h("canvas", { "aria-hidden": "true" });
    paint(thumb, SIDE, SIDE, colourOf(photograph));
    return button(thumb, () => begin({ own: null, index: i }), {
      class: "hx-button lf-thumb",
      title: classes[labels[i]],
      "aria-label": `take photograph ${i + 1}, ${classes[labels[i]]}`,
    });
  });
  const kind = choice({
    label: "Change",
    options: kinds.map(([key, title]) => [key, title]),
    value: state.kind,
    onInput: (value) => put({ kind: value, level: Math.min(state.level, levelsOf(value).length) }),
  });
  const strength = slider({
    label: "how much",
    min: 0,
    max: levelsOf().length,
    step: 1,
    value: 0,
    show: () => amount(),
    onInput: (value) => put({ level: value }),
  });
  const again = button("Another draw", () => put({ seed: state.seed + 1 }));
  const back = button("As it was", () => put({ level: 0 }));
  const message = h("p", { class: "hx-note lf-message" });
  const files = pictureFiles(root, {
    read: photographOf,
    over: "lf-drop",
    onPicture: (picture, file) => begin({ own: { picture, name: file } }),
    onTrouble: (sentence) => {
      message.textContent = sentence;
      say(sentence);
    },
  });
  const table = answerTable(model.get("models"), model.get("count"), (card) => open(card));
  const readout = h("p", { class: "hx-readout" });
  root.append(
    h("div", { class: "hx-row" }, kind.node, strength.node, again, back),
    h(
      "div",
      { class: "lf-top" },
      h(
        "div",
        { class: "hx-panel" },
        h("p", { class: "hx-title" }, "What the models get"),
        board,
        h("div", { class: "lf-thumbs", role: "group", "aria-label": "test photographs" }, thumbs),
        h("div", { class: "hx-row" }, files.node),
        message,
      ),
      h("div", { class: "hx-panel" }, table.node),
    ),
    readout,
  );
  if (model.get("note")) root.append(h("p", { class: "hx-note" }, model.get("note")));

  // --- by hand ---
  // a tile or a patch: the first that is touched changes places with the second, or is hidden
  function act(cell) {
    const at = cell[0] * grid() + cell[1];
    if (state.kind === "hide") {
      const hidden = new Set(lot());
      if (!hidden.delete(at)) hidden.add(at);
      put({ free: hidden });
    } else if (state.kind === "shuffle") {
      if (taken === null) taken = at;
      else {
        const order = [...lot()];
        [order[taken], order[at]] = [order[at], order[taken]];
        const moved = taken !== at;
        taken = null;
        if (moved) return put({ free: order });
      }
      redraw();
    }
  }
  function press([down, across]) {
    if (state.kind === "move") {
      const [y, x] = state.free ?? (level() ? lot() : [0, 0]);
      const within = (v) => Math.max(1 - SIDE, Math.min(SIDE - 1, v));
      put({ free: [within(y + down), within(x + across)] });
    } else if (["shuffle", "hide"].includes(state.kind)) {
      cursor = [cursor[0] + down, cursor[1] + across].map((v) =>
        Math.max(0, Math.min(grid() - 1, v)),
      );
      redraw();
      say(cellWords());
    } else put({ level: Math.max(0, Math.min(levelsOf().length, state.level + across - down)) });
  }
  let drag = null; // { at, cell, way, paints } since the pointer was pressed
  const under = (event) => {
    const box = board.getBoundingClientRect();
    return [(event.clientY - box.top) / box.height, (event.clientX - box.left) / box.width];
  };
  const cellAt = (at) => at.map((v) => Math.max(0, Math.min(grid() - 1, Math.floor(v * grid()))));
  board.addEventListener("pointerdown", (event) => {
    if (event.button || !["shuffle", "hide", "move"].includes(state.kind)) return;
    board.setPointerCapture(event.pointerId);
    const at = under(event);
    drag = { at, cell: cellAt(at), way: state.free ?? (level() ? lot() : [0, 0]) };
    if (state.kind === "move") return;
    cursor = drag.cell;
    drag.fresh = taken === null; // this press takes a tile, and letting go elsewhere puts it down
    act(cursor);
  });
  board.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const at = under(event);
    if (state.kind === "move") {
      const way = at.map((v, i) => Math.round((v - drag.at[i]) * SIDE) + drag.way[i]);
      put({ free: way.map((v) => Math.max(1 - SIDE, Math.min(SIDE - 1, v))) });
      return;
    }
    const cell = cellAt(at);
    if (cell.join() === cursor.join()) return;
    cursor = cell;
    if (state.kind === "hide") act(cell);
    else redraw();
  });
  for (const end of ["pointerup", "pointercancel"])
    board.addEventListener(end, () => {
      const elsewhere = drag && drag.cell.join() !== cursor.join();
      if (state.kind === "shuffle" && drag?.fresh && elsewhere && taken !== null) act(cursor);
      drag = null;
    });

  // --- what follows from it ---
  const redraw = oncePerFrame(draw);
  function put(patch) {
    if (!("free" in patch)) taken = null;
    Object.assign(state, { free: null }, patch);
    strength.input.max = levelsOf().length; // at once: the next input may come before the next frame
    redraw();
  }
  function begin(patch) {
    message.textContent = "";
    files.stop();
    put({ ...patch, free: state.kind === "move" ? null : state.free });
  }

  function draw() {
    const picture = changed();
    paint(canvas, SIDE, SIDE, colourOf(picture));
    const tiled = ["shuffle", "hide"].includes(state.kind);
    const [rows, columns] = [grid(), grid()];
    cursor = cursor.map((v) => Math.min(v, rows - 1));
    spot.hidden = !tiled;
    grip.hidden = !(tiled && taken !== null);
    spot.put(cursor, [rows, columns]);
    grip.put([Math.floor((taken ?? 0) / columns), (taken ?? 0) % columns], [rows, columns]);
    board.style.setProperty("--lf-grid", tiled ? rows : 1);
    board.classList.toggle("lf-tiled", tiled);
    board.classList.toggle("lf-movable", state.kind === "move");
    board.setAttribute("aria-label", `${name()}, ${words()}. ${keysOf()}`);
    thumbs.forEach((thumb, i) =>
      thumb.setAttribute("aria-pressed", String(!state.own && i === state.index)),
    );
    kind.set(state.kind);
    strength.set(state.level);
    again.disabled = !level() || ["blur", "grey"].includes(state.kind);
    back.disabled = !level() && !state.free;
    answer(picture);
  }
  const cellWords = () => `${state.kind === "hide" ? "patch" : "tile"} in ${place(cursor)}`;
  const keysOf = () =>
    ({
      shuffle: `Arrow keys choose a tile, Enter takes it and puts it down. Now the ${cellWords()}.`,
      hide: `Arrow keys choose a patch, Enter hides it or shows it. Now the ${cellWords()}.`,
      move: "Arrow keys move it.",
    })[state.kind] ?? "Arrow keys up and right make the change stronger, down and left weaker.";

  // All models, one after the other, so that the page never stands still for long.
  async function answer(picture) {
    const mine = ++turn;
    table.node.setAttribute("aria-busy", "true");
    table.measure(state.free ? null : state.kind, level(), words());
    for (const card of table.cards) {
      await new Promise((resume) => setTimeout(resume));
      if (mine !== turn) return;
      if (!card.net) continue;
      const pixels = toInput(
        Float32Array.from(picture, (v) => v / 255),
        card.net,
      );
      const shares = softmax(card.net.run(pixels).logits);
      const best = shares.indexOf(Math.max(...shares));
      card.draw(classes[best], shares[best], right());
    }
    table.node.setAttribute("aria-busy", "false");
    const before = readout.textContent;
    readout.textContent = sentence();
    if (readout.textContent !== before) say(readout.textContent);
  }
  function sentence() {
    const answers = table.cards.map((card) => card.answer).filter(Boolean);
    if (!answers.length) return "The models are on their way …";
    const start = `${name()}, ${words()}.`;
    if (right() === null) {
      const most = [...new Set(answers)].map((one) => [
        one,
        answers.filter((other) => other === one).length,
      ]);
      return `${start} ${most.map(([one, n]) => `${n} of ${answers.length} say ${one}`).join(", ")}.`;
    }
    const hits = answers.filter((one) => one === right()).length;
    return `${start} ${hits} of ${answers.length} models say ${right()}. ${table.words()}`.trim();
  }

  async function open(card) {
    card.wait();
    try {
      const net = await openModel(model, card.name);
      if (net.input.join() !== `1,3,${SIDE},${SIDE}`)
        throw new Error(`${card.name} does not read 32 x 32 pictures of three channels.`);
      card.net = net;
    } catch (error) {
      card.fail(error.message);
    }
    redraw();
  }

  // <a href="#photographs?change=shuffle&level=8&picture=3&draw=2">words</a>; the picture from 1.
  function follow(said) {
    const to = kinds.some(([key]) => key === said.change) ? said.change : state.kind;
    const wanted =
      said.level === undefined ? state.level : levelsOf(to).indexOf(Number(said.level)) + 1;
    const index = Number(said.picture ?? state.index + 1) - 1;
    if (photographs[index] && said.picture) Object.assign(state, { own: null, index });
    put({ kind: to, level: wanted, seed: Number(said.draw) || state.seed });
  }

  const stops = [stateLinks(model.get("name"), root, follow), files.close];
  redraw();
  stops.push(
    onceInSight(root, async () => {
      for (const card of table.cards) await open(card); // in turn: the first answers come soon
    }),
  );
  return () => stops.forEach((stop) => stop());
}

const colourOf = (picture) => (r, c) =>
  [0, 1, 2].map((channel) => picture[(channel * SIDE + r) * SIDE + c]);

async function photographOf(file) {
  const { data, width, height } = await pixelsOf(file, LARGEST);
  return squareOf(data, width, height);
}

export default { render };
