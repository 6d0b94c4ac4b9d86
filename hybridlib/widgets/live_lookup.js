// A look-up that the reader changes: three digits on coloured tiles, and a cue. Two trained models
// answer, and show where they look.

import { button, bytes, choice, frame, h, onceInSight, oncePerFrame, place } from "./common.js";
import { css, legend, paint, ramp } from "./colours.js";
import { softmax, toInput } from "./live_ink.js";
import {
  BOARD,
  CUE,
  SIDE,
  anotherScene,
  drawScene,
  exchanged,
  firstScene,
  givenBy,
  lookersOf,
  mixingMaps,
  withTileOn,
  onTiles,
} from "./live_lookup_math.js";
import { barsOf, percent } from "./live_lookup_parts.js";
import { openModel } from "./live_models.js";
import { stateLinks } from "./state_links.js";

const WHO = [
  ["class", "the class token"],
  ["asked", "the tile asked for"],
  ["cue", "the cue"],
];
const WAYS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

function render({ model, el }) {
  const { root, say } = frame(el, {
    label: "A look-up: which digit has the cue's colour?",
    hint: "give the cue another colour, and drag the tiles about. Which model follows the cue?",
  });
  root.classList.add("lu");
  const all = bytes(model.get("digits"));
  const labels = model.get("labels");
  const inks = labels.map((_, i) => all.subarray(64 * i, 64 * i + 64));
  const names = model.get("colours").map(([name]) => name);
  const palette = model.get("colours").map(([, ...rgb]) => rgb);
  let scene = firstScene(labels);
  let chosen = 0; // the digit's tile that was touched last
  const redraw = oncePerFrame(draw);
  const speak = () => requestAnimationFrame(() => say(readout.textContent));
  const tileWords = []; // what lies where
  const put = (next, tile) => {
    scene = next;
    redraw();
    requestAnimationFrame(() => say(`${tileWords[tile] ?? ""} ${readout.textContent}`.trim()));
  };

  // --- the picture ---
  const canvas = h("canvas", { "aria-hidden": "true" });
  const tiles = [0, 1, 2, CUE].map((tile) => tileOf(tile));
  const board = h(
    "div",
    { class: "hx-stack lu-board", role: "group", "aria-label": "board of 4 by 4 cells" },
    canvas,
    tiles,
  );
  const askers = [0, 1, 2].map((i) => {
    const swatch = h("span", { class: "lu-swatch", "aria-hidden": "true" });
    const words = h("span", {});
    const node = h(
      "button",
      {
        type: "button",
        class: "hx-button",
        role: "radio",
        onclick: () => put({ ...scene, asked: i }),
      },
      swatch,
      words,
    );
    return { node, swatch, words };
  });
  const asking = h(
    "div",
    {
      class: "hx-row lu-asks",
      role: "radiogroup",
      "aria-label": "colour of the cue",
      onkeydown: (event) => {
        const step = WAYS[event.key];
        if (!step) return;
        event.preventDefault();
        put({ ...scene, asked: (scene.asked + (step[0] + step[1]) + 3) % 3 });
        askers[scene.asked].node.focus();
      },
    },
    askers.map(({ node }) => node),
  );
  const other = button("Other digit", () => put(exchanged(scene, chosen, labels)));
  const another = button("Another picture", () =>
    put(anotherScene(labels, palette.length, Math.random)),
  );

  // --- what the models say of all three cues ---
  const cards = model.get("systems").map((name, i) => cardOf(name, i));
  const heads = cards.map(() => h("th", { scope: "col" }));
  const lines = [0, 1, 2].map(() => {
    const cue = h("th", { scope: "row" });
    const right = h("td", {});
    const cells = cards.map(() => h("td", {}));
    return { cue, right, cells, node: h("tr", {}, cue, right, cells) };
  });
  const table = h(
    "table",
    { class: "lu-table" },
    h(
      "thead",
      {},
      h("tr", {}, h("th", { scope: "col" }, "cue"), h("th", { scope: "col" }, "right"), heads),
    ),
    h(
      "tbody",
      {},
      lines.map(({ node }) => node),
    ),
  );
  const readout = h("p", { class: "hx-readout" });

  // --- where they look ---
  const look = { who: "class", block: 1 };
  const who = choice({
    label: "Who looks",
    options: WHO,
    value: look.who,
    onInput: (value) => {
      look.who = value;
      redraw();
    },
  });
  const block = choice({
    label: "in block",
    options: [["1", "1"]],
    value: "1",
    onInput: (value) => {
      look.block = Number(value) - 1;
      redraw();
    },
  });
  const scale = legend(ramp, "0 %", "");
  root.append(
    h(
      "div",
      { class: "lu-top" },
      h(
        "div",
        { class: "hx-panel" },
        h("p", { class: "hx-title" }, "The picture, and the cue's colour"),
        board,
        asking,
        h("div", { class: "hx-row" }, other, another),
      ),
      h(
        "div",
        { class: "hx-panel" },
        h("p", { class: "hx-title" }, "The same picture with each cue"),
        table,
        readout,
      ),
    ),
    h("div", { class: "hx-row" }, who.node, block.node, scale.node),
    h(
      "div",
      { class: "lu-cards" },
      cards.map(({ node }) => node),
    ),
  );
  if (model.get("note")) root.append(h("p", { class: "hx-note" }, model.get("note")));

  // A tile of the board: dragged, or moved by the arrow keys; Enter lays another digit on it.
  function tileOf(tile) {
    const node = h("div", {
      class: "lu-tile",
      tabindex: "0",
      role: "application",
      "aria-roledescription": "tile",
      onfocus: () => {
        if (tile !== CUE) chosen = tile;
        redraw();
      },
      onkeydown: (event) => {
        const step = WAYS[event.key];
        if (step) {
          event.preventDefault();
          const [row, column] = placeOf(scene.cells[tile]).map((v, i) =>
            Math.max(0, Math.min(BOARD - 1, v + step[i])),
          );
          put(withTileOn(scene, tile, row * BOARD + column), tile);
        } else if (["Enter", " "].includes(event.key)) {
          event.preventDefault();
          put(
            tile === CUE
              ? { ...scene, asked: (scene.asked + 1) % 3 }
              : exchanged(scene, tile, labels),
          );
        }
      },
    });
    let held = null; // the scene as it was when the tile was taken: what it passes over stays
    node.addEventListener("pointerdown", (event) => {
      node.setPointerCapture(event.pointerId);
      held = scene;
    });
    node.addEventListener("pointermove", (event) => {
      if (!held) return;
      const box = board.getBoundingClientRect();
      const [row, column] = [
        (event.clientY - box.top) / box.height,
        (event.clientX - box.left) / box.width,
      ].map((v) => Math.max(0, Math.min(BOARD - 1, Math.floor(BOARD * v))));
      const cell = row * BOARD + column;
      if (cell !== scene.cells[tile]) put(withTileOn(held, tile, cell), tile);
    });
    for (const end of ["pointerup", "pointercancel"])
      node.addEventListener(end, () => {
        held = null;
      });
    return node;
  }

  // A model: which, its answer to the picture that lies there, and where it looks.
  function cardOf(name, i) {
    const card = { name, net: null, failure: "" };
    card.system = choice({
      label: `model ${i + 1}`,
      options: model.get("models"),
      value: name,
      onInput: (value) => card.choose(value),
    });
    card.bars = barsOf();
    card.base = h("canvas", { "aria-hidden": "true" });
    card.over = h("canvas", { class: "lu-over", "aria-hidden": "true" });
    card.stack = h("div", { class: "hx-stack lu-map" }, card.base, card.over);
    card.words = h("p", { class: "hx-note lu-words" });
    card.again = button(
      "Try again",
      () => {
        card.failure = "";
        card.open();
      },
      { hidden: true },
    );
    card.choose = (value) => {
      card.system.set(value);
      Object.assign(card, { name: value, net: null, failure: "" });
      card.open();
    };
    card.title = () => model.get("models").find(([key]) => key === card.name)[1];
    card.open = async () => {
      const wanted = card.name;
      redraw();
      try {
        const net = await openModel(model, wanted);
        if (net.input.join() !== `1,3,${SIDE},${SIDE}`)
          throw new Error(`${wanted} does not read 32 x 32 pictures of three channels.`);
        if (wanted === card.name) card.net = net;
      } catch (error) {
        if (wanted === card.name) card.failure = error.message;
      }
      redraw();
      speak();
    };
    card.node = h(
      "div",
      { class: "lu-card" },
      card.system.node,
      h("div", { class: "lu-card-body" }, card.bars.node, card.stack),
      card.words,
      card.again,
    );
    return card;
  }

  // --- drawing ---
  function draw() {
    const picture = drawScene(scene, inks, palette);
    const rgb = (r, c) => [0, 1, 2].map((k) => picture[(k * SIDE + r) * SIDE + c]);
    for (const target of [canvas, ...cards.map(({ base }) => base)]) paint(target, SIDE, SIDE, rgb);
    const classes = scene.digits.map((digit) => labels[digit]);
    tiles.forEach((node, tile) => drawTile(node, tile, classes));
    askers.forEach(({ node, swatch, words }, i) => {
      swatch.style.background = css(palette[scene.colours[i]]);
      words.textContent = names[scene.colours[i]];
      node.setAttribute("aria-checked", String(i === scene.asked));
      node.tabIndex = i === scene.asked ? 0 : -1;
    });
    other.textContent = `Other digit for the ${classes[chosen]}`;
    const follows = cards.map((card, i) => answerAll(card, i, classes));
    const asked = `The cue is ${names[scene.colours[scene.asked]]}: the ${classes[scene.asked]} is asked for.`;
    readout.textContent = [
      asked,
      ...cards.map((card, i) =>
        follows[i] === null ? "" : `${card.title()} follows the cue in ${follows[i]} of 3.`,
      ),
    ].join(" ");
    drawLooks();
  }

  function drawTile(node, tile, classes) {
    const [row, column] = placeOf(scene.cells[tile]);
    Object.assign(node.style, {
      left: `${(100 * column) / BOARD}%`,
      top: `${(100 * row) / BOARD}%`,
    });
    const colour = names[scene.colours[tile === CUE ? scene.asked : tile]];
    const what = tile === CUE ? `the cue, ${colour}` : `a ${classes[tile]} on ${colour}`;
    const enter = tile === CUE ? "its colour" : "the digit";
    tileWords[tile] = `${what}, ${place([row, column])}.`;
    node.setAttribute(
      "aria-label",
      `${tileWords[tile]} Arrow keys move it, Enter changes ${enter}.`,
    );
    node.classList.toggle("lu-chosen", tile === chosen);
    node.classList.toggle("lu-cue", tile === CUE);
  }

  // The answers of a model with each cue; how many are right, or null without a model.
  function answerAll(card, i, classes) {
    heads[i].textContent = card.title();
    card.again.hidden = !card.failure;
    const answers = [0, 1, 2].map((asked) => {
      if (!card.net) return null;
      const picture = drawScene({ ...scene, asked }, inks, palette);
      const result = card.net.run(
        toInput(
          Float32Array.from(picture, (v) => v / 255),
          card.net,
        ),
      );
      const shares = softmax(result.logits);
      if (asked === scene.asked) {
        card.bars.draw(shares, classes, scene.asked);
        card.layers = mixingMaps(result.maps).map((map) => ({ ...map, data: map.data.slice() }));
      }
      return shares.indexOf(Math.max(...shares));
    });
    if (!card.net) card.bars.draw(null, classes, scene.asked);
    lines.forEach(({ node, cue, right, cells }, asked) => {
      cue.textContent = names[scene.colours[asked]];
      right.textContent = classes[asked];
      node.classList.toggle("lu-now", asked === scene.asked);
      const isRight = answers[asked] === classes[asked];
      cells[i].textContent =
        answers[asked] === null ? "…" : `${answers[asked]} ${isRight ? "✓" : "✗"}`;
      cells[i].classList.toggle("lu-right", isRight);
    });
    return card.net ? answers.filter((answer, asked) => answer === classes[asked]).length : null;
  }

  function drawLooks() {
    const deepest = Math.max(1, ...cards.map(({ net, layers }) => (net ? layers.length : 1)));
    if (block.input.options.length !== deepest)
      block.input.replaceChildren(
        ...Array.from({ length: deepest }, (_, i) =>
          h("option", { value: `${i + 1}` }, `${i + 1}`),
        ),
      );
    if (cards.every(({ net }) => net)) look.block = Math.min(look.block, deepest - 1);
    block.set(`${look.block + 1}`);
    const looks = cards.map((card) => lookOf(card));
    const most = Math.max(1e-9, ...looks.flatMap((one) => (one ? [...one.given] : [])));
    scale.set("0 %", looks.some(Boolean) ? `${(100 * most).toFixed(0)} % of the attention` : "");
    cards.forEach((card, i) => {
      card.over.hidden = !looks[i];
      if (!looks[i]) return;
      const { given, grid, onto } = looks[i];
      paint(card.over, ...grid, (r, c) => ramp(given[r * grid[1] + c] / most));
      const others = (onto[0] + onto[1] + onto[2] - onto[scene.asked]) / 2;
      card.words.textContent =
        `Of its attention ${percent(onto[scene.asked])} falls on the tile asked for, ` +
        `${percent(others)} on each other digit, ${percent(onto[CUE])} on the cue.`;
    });
  }

  // What is shown of a model's attention, or null and a sentence that says why there is nothing.
  function lookOf(card) {
    if (!card.net) {
      card.words.textContent = card.failure || "The model is on its way …";
      return null;
    }
    const layer = card.layers[look.block];
    const lookers = layer ? lookersOf(layer, look.who, scene) : [];
    if (lookers.length) {
      const given = givenBy(layer, lookers);
      return { given, grid: layer.grid, onto: onTiles(given, layer.grid, scene) };
    }
    if (!card.layers.length) card.words.textContent = "It has no attention: it convolves alone.";
    else if (!layer) card.words.textContent = `It attends in ${card.layers.length} blocks only.`;
    else card.words.textContent = "No class token is there: choose who looks.";
    return null;
  }

  // <a href="#lookup?a=convnet&b=vit&asks=2&looks=class&block=2">words</a>, counted from 1.
  function follow(said) {
    ["a", "b"].forEach((key, i) => {
      const found = model
        .get("models")
        .find(([name]) => name === said[key] || name.split("_nano_")[0] === said[key]);
      if (found && found[0] !== cards[i].name) cards[i].choose(found[0]);
    });
    if (said.looks && WHO.some(([key]) => key === said.looks)) {
      look.who = said.looks;
      who.set(said.looks);
    }
    if (said.block) look.block = Math.max(0, (Number(said.block) || 1) - 1);
    const asked = Math.max(0, Math.min(2, (Number(said.asks) || scene.asked + 1) - 1));
    put({ ...scene, asked });
  }

  const stops = [stateLinks(model.get("name"), root, follow)];
  const open = () => cards.forEach((card) => card.open());
  redraw();
  stops.push(onceInSight(root, open));
  return () => stops.forEach((stop) => stop());
}

const placeOf = (cell) => [Math.floor(cell / BOARD), cell % BOARD];

export default { render };
