// The one equation of the book as a control panel, set to one of the systems that it describes.

import {
  button,
  bytes,
  choice,
  frame,
  fixed,
  gridCursor,
  h,
  onChange,
  oncePerFrame,
  place,
} from "./common.js";
import { legend, ramp, twoSided } from "./colours.js";
import { equation, mapFacts, softmax, together } from "./equation_math.js";
import { JOINS, knobs, writtenEquation } from "./equation_parts.js";
import { CELLS, headStrip, offsetTable, paintMap, paintPicture, tile } from "./equation_tiles.js";
import { stateLinks } from "./state_links.js";

const SLICE_MS = 12; // of computing in one frame
const OWN = "your own picture";
const NOTES = {
  offset: "Offset alone: what a key holds makes no difference.",
  content: "Content alone: where a key stands makes no difference.",
  sum: "Added scores multiply the two maps: a key must please both.",
  gate: "The gate averages the two maps: a key need please only one.",
};
const INSIDE = "Content alone, but the tokens hold their positions: the offset comes in with them.";
const ASKED = "The table is multiplied by the query's own content: a dark query turns it round.";

function render({ model, el }) {
  const { systems, ranges, starts, kernels } = JSON.parse(model.get("setup"));
  const names = Object.keys(starts);
  const stored = readPictures(model.get("pictures"));
  const { root, say } = frame(el, {
    label: "The equation of attention and convolution, as a control panel",
    hint: "move over the picture, and watch whom that cell listens to. Then choose another system.",
  });
  const local = { own: null, hover: null, key: "", made: null, output: null, filled: 0 };
  const state = () => model.get("state");
  const system = () => systems[state().system];
  const query = () => local.hover ?? state().query;
  const pixels = () => local.own ?? stored[names.indexOf(state().picture)];
  const refresh = oncePerFrame(draw);
  const refreshOutput = oncePerFrame(drawOutput);
  const speak = () => {
    refresh();
    requestAnimationFrame(() => requestAnimationFrame(() => say(readout.textContent)));
  };
  const keep = (patch) => {
    model.set("state", { ...state(), ...patch });
    model.save_changes();
    speak();
  };

  // The start of a system, on the picture and the query that are there.
  const startOf = (name) => ({
    system: name,
    picture: state().picture,
    query: state().query,
    head: -1,
    join: systems[name].joins[0],
    ...systems[name].knobs,
  });
  const choose = (name) => {
    model.set("state", startOf(name));
    model.save_changes();
    speak();
  };

  // --- which system, which picture ---
  const tabs = Object.entries(systems).map(([name, { title }]) => ({
    name,
    node: button(title, () => choose(name)),
  }));
  const join = choice({
    label: "They meet",
    value: "",
    options: [],
    onInput: (value) => keep({ join: value }),
  });
  const controls = h("div", { class: "eq-knobs" });
  let turned = null; // the controls of the system on show
  const written = writtenEquation();
  const thumbs = names.map((name) => {
    const canvas = h("canvas", { "aria-hidden": "true" });
    paintPicture(canvas, stored[names.indexOf(name)]);
    return button(
      canvas,
      () => {
        local.own = null;
        keep({ picture: name, query: starts[name] });
      },
      { class: "hx-button eq-thumb", "aria-label": `picture: ${name}`, title: name },
    );
  });
  const file = h("input", {
    type: "file",
    accept: "image/*",
    class: "hx-hidden",
    onchange: () => {
      if (file.files[0]) takeOwn(file.files[0]);
    },
  });
  const message = h("p", { class: "hx-note", hidden: true });

  // --- what is shown ---
  const tiles = Object.fromEntries(
    [
      ["picture", "Picture x and query q"],
      ["map", "Map A"],
      ["output", "Output y"],
      ["content", "Content"],
      ["offset", "Offset"],
    ].map(([name, title]) => [name, tile(name, title)]),
  );
  const heads = headStrip((head) => keep({ head }));
  const table = offsetTable((down, right) => keep({ down, right }));
  const cursor = gridCursor(tiles.picture.stack, {
    label: "Picture: choose the query",
    describe: place,
    size: () => [CELLS, CELLS],
    also: [tiles.map.stack, tiles.output.stack],
    onPick: (cell, settled) => {
      local.hover = settled ? null : cell;
      if (settled) keep({ query: cell });
      else refresh();
    },
    onLeave: () => {
      local.hover = null;
      refresh();
    },
  });
  const scale = legend(ramp, "0", "");
  const signedScale = legend(twoSided, "", "", -1);
  const note = h("p", { class: "eq-note" });
  const readout = h("p", { class: "hx-readout" });

  root.classList.add("eq");
  root.id = model.get("name");
  root.append(
    h(
      "div",
      { class: "hx-row eq-tabs", role: "group", "aria-label": "system" },
      tabs.map(({ node }) => node),
    ),
    written.node,
    controls,
    h(
      "div",
      { class: "eq-tiles" },
      Object.values(tiles).map(({ node }) => node),
      heads.node,
      table.node,
    ),
    h("div", { class: "hx-row" }, h("span", {}, "Map A:"), scale.node, signedScale.node),
    note,
    readout,
    h(
      "div",
      { class: "hx-row eq-pictures", role: "group", "aria-label": "picture" },
      thumbs,
      h("label", { class: "hx-button eq-file" }, "Your own …", file),
    ),
    message,
  );

  function draw() {
    const now = state();
    const [own, at] = [system(), query()];
    if (turned?.system !== now.system) {
      const turn = (key, value) => keep({ [key]: value, ...(key === "heads" ? { head: -1 } : {}) });
      turned = { system: now.system, ...knobs(own, ranges, turn) };
      controls.replaceChildren(...(own.joins.length > 1 ? [join.node] : []), ...turned.nodes);
      join.input.replaceChildren(
        ...own.joins.map((key) => h("option", { value: key }, JOINS[key])),
      );
    }
    turned.draw(now);
    join.set(now.join);
    tabs.forEach(({ name, node }) =>
      node.setAttribute("aria-pressed", String(name === now.system)),
    );
    thumbs.forEach((thumb, i) =>
      thumb.setAttribute("aria-pressed", String(!local.own && names[i] === now.picture)),
    );

    const key = JSON.stringify({ ...now, query: 0, head: 0 });
    if (key !== local.key || local.pixels !== pixels()) {
      Object.assign(local, {
        key,
        pixels: pixels(),
        made: equation(pixels(), CELLS, own, now, kernels),
      });
      Object.assign(local, {
        filled: 0,
        output: local.output?.slice() ?? new Float64Array(3 * CELLS ** 2),
      });
      root.dataset.output = "on its way";
      paintPicture(tiles.picture.canvas, pixels());
      refreshOutput();
    }
    const { made } = local;
    const { content, inside, offsets, maps } = made.at(CELLS * at[0] + at[1]);
    const map = together(maps, made.weights, now.head);
    written.draw(own, now, made.dim);
    const { top, signed } = paintMap(tiles.map.canvas, map, CELLS);
    tiles.map.call(
      made.heads === 1
        ? "Map A"
        : now.head < 0
          ? "Maps A times W, added"
          : `Map A of head ${now.head + 1}`,
    );
    scale.node.hidden = signed;
    signedScale.node.hidden = !signed;
    scale.set("0", top < 0.995 ? `${(100 * top).toPrecision(2)} %` : fixed(top, 2));
    signedScale.set(fixed(-top, 2), fixed(top, 2));
    tiles.content.call(inside ? "Content: patches" : "Content");
    tiles.offset.call(inside ? "Offset, inside z" : "Offset");
    tiles.content.draw(
      content && softmax(inside ? content.map((score, k) => score - inside[k]) : content),
    );
    tiles.offset.draw(
      inside ? softmax(inside) : offsets && together(offsets.map(softmax), made.weights, now.head),
    );
    heads.draw(maps, made.weights, now.head);
    table.draw(
      made.heads === 1 && (offsets || inside)
        ? (down, right) => made.byOffset(CELLS * at[0] + at[1], down, right)
        : null,
      "down" in now ? [now.down, now.right] : null,
    );
    Object.values(tiles).forEach(({ mark }) => mark.put(at, [CELLS, CELLS]));
    cursor.set(at);
    note.textContent =
      inside && now.positions > 0
        ? INSIDE
        : NOTES[now.join] + (own.offset === "axes" && offsets ? ` ${ASKED}` : "");
    tell(map, signed, at);
  }

  // The whole picture takes longer than one map: a few rows of it in every frame, from the top.
  function drawOutput() {
    const { made, output: y } = local;
    const began = performance.now();
    while (local.filled < CELLS && performance.now() - began < SLICE_MS) {
      made.fill(y, CELLS * local.filled, CELLS * (local.filled + 1));
      local.filled++;
    }
    if (!made.weights.some((w) => w < 0)) paintPicture(tiles.output.canvas, y);
    else
      paintMap(
        tiles.output.canvas,
        Float64Array.from({ length: CELLS ** 2 }, (_, q) => meanAt(y, q)),
        CELLS,
      );
    if (local.filled < CELLS) refreshOutput();
    else root.dataset.output = "whole";
  }

  // --- in words ---
  function tell(map, signed, at) {
    const now = state();
    const q = CELLS * at[0] + at[1];
    const { heads: count } = local.made;
    const who =
      count === 1
        ? "One head."
        : now.head < 0
          ? `All ${count} heads together.`
          : `Head ${now.head + 1} of ${count}.`;
    const empty = map.every((v) => v === 0);
    const sum = map.reduce((total, v) => total + v, 0);
    const facts = mapFacts(map, CELLS, at);
    const words = empty
      ? "It looks past the border, where there is nothing."
      : signed || ("kernel" in now && now.head < 0)
        ? `Weights from ${fixed(Math.min(...map), 2)} to ${fixed(Math.max(...map), 2)}, sum ${fixed(sum, 2)}.`
        : `Strongest key: ${place(facts.best)} with ${(100 * facts.share).toFixed(1)} %. The weight is spread as if over ` +
          `${facts.cells.toFixed(1)} cells, ${facts.distance.toFixed(1)} cells away in the mean.`;
    const y = local.made.fill(new Float64Array(3 * CELLS ** 2), q, q + 1);
    const out = ` Output ${fixed(meanAt(y, q), 3)}, where the picture has ${fixed(meanAt(pixels(), q), 3)}.`;
    readout.textContent = `${system().title.replace(/\.$/, "")}. Query: ${place(at)}. ${who} ${words}${out}`;
  }

  // --- a picture of the reader's own: the middle square ---
  async function takeOwn(blob) {
    message.hidden = false;
    try {
      const picture = await createImageBitmap(blob);
      const canvas = h("canvas", { width: CELLS, height: CELLS });
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.imageSmoothingQuality = "high";
      context.fillRect(0, 0, CELLS, CELLS);
      const side = Math.min(picture.width, picture.height);
      const [left, top] = [picture.width, picture.height].map((length) =>
        Math.floor((length - side) / 2),
      );
      context.drawImage(picture, left, top, side, side, 0, 0, CELLS, CELLS);
      const { data } = context.getImageData(0, 0, CELLS, CELLS);
      local.own = Float64Array.from(
        { length: 3 * CELLS ** 2 },
        (_, i) => data[4 * Math.floor(i / 3) + (i % 3)] / 255,
      );
      message.textContent = `Showing ${OWN}, ${CELLS} × ${CELLS} cells of it. It has not left this browser.`;
      refresh();
    } catch {
      message.textContent = `${blob.name ?? OWN} is not a picture that this browser can read: try a PNG or JPEG file.`;
    }
    say(message.textContent);
  }

  // --- links in the text ---
  function follow(said) {
    const next =
      said.system in systems && said.system !== state().system
        ? startOf(said.system)
        : { ...state() };
    const free = systems[next.system];
    for (const [key, text] of Object.entries(said)) {
      const value = Number(text);
      if (key === "picture" && names.includes(text)) {
        Object.assign(next, { picture: text, query: starts[text] });
        local.own = null;
      } else if (key === "join" && free.joins.includes(text)) next.join = text;
      else if (key in free.knobs) {
        const range = ranges[key];
        const listed = range.find((v) => String(v) === text);
        const isList = range.length > 2;
        if (isList && listed !== undefined) next[key] = listed;
        else if (!isList && value >= range[0] && value <= range[1]) next[key] = value;
      }
    }
    const cell = said.query?.split(",").map(Number);
    if (cell?.length === 2 && cell.every((v) => Number.isInteger(v) && v >= 0 && v < CELLS))
      next.query = cell;
    const count = "kernel" in next ? 9 : (next.heads ?? 1);
    const head = Number(said.head ?? next.head);
    next.head = Number.isInteger(head) && head >= -1 && head < count ? head : -1;
    local.hover = null;
    model.set("state", next);
    model.save_changes();
    speak();
  }

  const stops = [onChange(model, ["state"], refresh), stateLinks(model.get("name"), root, follow)];
  draw();
  return () => stops.forEach((stop) => stop());
}

const meanAt = (values, cell) =>
  (values[3 * cell] + values[3 * cell + 1] + values[3 * cell + 2]) / 3;

function readPictures(view) {
  const all = bytes(view);
  const one = 3 * CELLS ** 2;
  return Array.from({ length: all.length / one }, (_, i) =>
    Float64Array.from(all.subarray(i * one, (i + 1) * one), (v) => v / 255),
  );
}

export default { render };
