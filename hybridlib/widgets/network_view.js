// The picture of a whole network, with the numbers of the part that is pointed at. For any
// explorable.
//
//   const view = networkView({ modules, flow, input, say });
//   root.append(view.node);
//   view.update();            // after every run: reads the part that is shown, and no other
//
//   modules     of `run` of live_graph.js, or the same without `read`
//   flow, input of the net: how modules follow each other, the picture's shape
//   read(i)     -> the numbers of module i, or null while there are none. Default:
// modules[i].read?.()
//   highlight   what stands out in colour while the rest is grey: kinds, classes, names, or
// beginnings of names up to a dot;
//               empty: everything in its colour
//   known       names of the models that have what is grey, for the legend
//   classes     names of the logits
//   onPoint(i)  tells the explorable which module is shown
//   say         of `frame`, for screen readers
//   alone       false leaves the key to the colours out, where two pictures stand side by side
// Also: view.point(name) shows a module by its name.

import { button, choice, h, newId, oncePerFrame, svg } from "./common.js";
import { css, inkOn, PARTS } from "./colours.js";
import { ROOM, networkLayout, stepTo } from "./network_math.js";
import { showNumbers } from "./network_numbers.js";
import { shapeWords } from "./network_outline.js";

const START_WIDTH = 420; // px, until the width is known

export function networkView({
  modules,
  flow,
  input,
  read = (i) => modules[i].read?.() ?? null,
  highlight = [],
  known = [],
  classes,
  onPoint = () => {},
  say = () => {},
  alone = true,
}) {
  const state = { open: new Set(), key: null, kept: null, member: 0, width: START_WIDTH };
  let drawn = null;

  const picture = svg("svg", { "aria-hidden": "true" });
  const map = h(
    "div",
    {
      class: "hx-network-map",
      tabindex: "0",
      role: "application",
      "aria-roledescription": "picture of a network, to walk through with the arrow keys",
    },
    picture,
  );
  const title = h("p", { class: "hx-title" });
  const about = h("p", { class: "hx-note" });
  const facts = h("p", { class: "hx-readout" });
  const numbers = h("div", { class: "hx-network-numbers" });
  const opener = button("Open", () => {
    toggle();
  });
  const which = choice({
    label: "Which",
    options: [],
    value: "0",
    onInput: (at) => {
      state.member = Number(at);
      show(true);
    },
  });
  const here = h(
    "div",
    { class: "hx-network-here" },
    title,
    about,
    h("div", { class: "hx-row" }, which.node, opener),
    numbers,
    facts,
  );
  const node = h(
    "div",
    { class: "hx-network" },
    alone ? keyToColours(modules, highlight, known) : null,
    h("div", { class: "hx-network-sides" }, map, here),
  );

  const at = () =>
    Math.max(
      0,
      drawn.boxes.findIndex((box) => box.key === state.key),
    );
  const now = () => drawn.boxes[at()];

  function draw() {
    drawn = networkLayout(modules, flow, { width: state.width, open: state.open, input });
    paintNetwork(picture, drawn, modules, highlight);
    mark();
  }

  function mark() {
    const { x, y, w, h: height, role } = now();
    picture.querySelector(".hx-pointed")?.remove();
    picture.append(
      svg("rect", {
        class: "hx-pointed",
        x: x - 1,
        y: y - 1,
        width: w + 2,
        height: (role === "cell" ? ROOM.cell : height) + 2,
        rx: 6,
      }),
    );
  }

  // Shows the box that is pointed at; aloud says it to screen readers.
  function show(aloud) {
    const box = now();
    const part = modules[box.members[Math.min(state.member, box.members.length - 1)]];
    title.textContent =
      box.role === "block" ? box.label : [box.label, box.sub].filter(Boolean).join(", ");
    const age = ageOf(modules, modules.indexOf(part), highlight);
    about.textContent = [part.name, part.class, shapeWords(part), age].filter(Boolean).join(" · ");
    which.node.hidden = box.members.length < 2;
    if (which.input.length !== box.members.length)
      which.input.replaceChildren(
        ...box.members.map((_, i) =>
          h("option", { value: i }, `${i + 1} of ${box.members.length}`),
        ),
      );
    which.set(Math.min(state.member, box.members.length - 1));
    opener.hidden = !box.opens;
    opener.textContent = box.open
      ? "Close"
      : box.role === "block"
        ? `Show all ${box.members.length}`
        : "Open it";
    const found = read(modules.indexOf(part));
    const told = found ? showNumbers(numbers, found, part, classes) : { words: "", what: "" };
    if (!found) numbers.replaceChildren();
    facts.textContent = told.words || "Its numbers come here once the model has run.";
    map.setAttribute(
      "aria-label",
      [
        `Network. ${title.textContent}: ${[shapeWords(part), age].filter(Boolean).join(", ")}.`,
        told.words + told.what,
        box.opens ? `Enter ${box.open ? "closes" : "opens"} it.` : "",
      ]
        .filter(Boolean)
        .join(" "),
    );
    if (aloud) say(map.getAttribute("aria-label"));
    onPoint(modules.indexOf(part));
  }

  function pick(box, { settled = true } = {}) {
    if (!box) return;
    if (settled) state.kept = box.key;
    if (box.key === state.key) return;
    Object.assign(state, { key: box.key, member: 0 });
    mark();
    show(settled);
  }

  function toggle() {
    const box = now();
    if (!box.opens) return;
    if (box.open) state.open.delete(box.opens);
    else state.open.add(box.opens);
    if (box.role === "inner") state.key = box.opens;
    state.kept = state.key;
    draw();
    show(true);
  }

  const under = ({ clientX, clientY }) => {
    const { left, top, width } = picture.getBoundingClientRect();
    const [x, y] = [
      ((clientX - left) * drawn.width) / width,
      ((clientY - top) * drawn.width) / width,
    ];
    return drawn.boxes.findLast(
      (box) => x >= box.x && x <= box.x + box.w && y >= box.y && y <= box.y + box.h,
    );
  };
  map.addEventListener("pointermove", (event) => {
    if (event.pointerType === "mouse") pick(under(event), { settled: false });
  });
  map.addEventListener("pointerleave", () =>
    pick(
      drawn.boxes.find(({ key: name }) => name === state.kept),
      { settled: false },
    ),
  );
  map.addEventListener("click", (event) => pick(under(event)));
  map.addEventListener("dblclick", toggle);
  map.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const next = stepTo(drawn.boxes, at(), event.key);
    if (next < 0 && !["Enter", " "].includes(event.key)) return;
    event.preventDefault();
    if (next < 0) toggle();
    else {
      pick(drawn.boxes[next]);
      keepInSight(now());
    }
  });

  function keepInSight({ y, h: height }) {
    const { top, bottom } = picture.getBoundingClientRect();
    const middle = top + ((y + Math.min(height, ROOM.cell) / 2) * (bottom - top)) / drawn.height;
    if (middle < 0.1 * innerHeight || middle > 0.95 * innerHeight)
      scrollBy({ top: middle - 0.6 * innerHeight });
  }

  const measure = oncePerFrame(() => {
    const width = Math.round(map.clientWidth);
    if (!width || width === state.width) return;
    state.width = width;
    draw();
  });
  new ResizeObserver(measure).observe(map);
  draw();
  Object.assign(state, { key: drawn.boxes[0].key, kept: drawn.boxes[0].key });
  draw();
  show(false);

  return {
    node,
    update: () => show(false),
    point: (name) => {
      const place = modules.findIndex((part) => part.name === name);
      pick(drawn.boxes.find(({ members, role }) => role !== "inner" && members.includes(place)));
    },
  };
}

// --- drawing -------------------------------------------------------------------------------------

function paintNetwork(picture, { width, height, boxes, lines, signs, words }, modules, highlight) {
  picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const bright = (box) =>
    !highlight.length || box.members.some((place) => isNew(modules, place, highlight));
  const holds = ({ x, y, w, h: tall }, box) =>
    box.x >= x && box.y > y && box.x < x + w && box.y < y + tall;
  const blockIsBright = (block) =>
    bright(block) || boxes.some((box) => box.role === "cell" && holds(block, box) && bright(box));
  const head = newId();
  const path = ({ d, kind, arrow }) =>
    svg("path", { class: `hx-line hx-${kind}`, d, "marker-end": arrow && `url(#${head})` });
  picture.replaceChildren(
    svg(
      "defs",
      {},
      svg(
        "marker",
        {
          id: head,
          viewBox: "0 0 6 6",
          refX: 5,
          refY: 3,
          markerWidth: 6,
          markerHeight: 6,
          orient: "auto",
          markerUnits: "userSpaceOnUse",
        },
        svg("path", { class: "hx-head", d: "M0 0 L6 3 L0 6 z" }),
      ),
    ),
    ...boxes.filter(({ role }) => role !== "cell").map((box) => frameOf(box, blockIsBright(box))),
    ...lines.map(path),
    ...boxes
      .filter(({ role }) => role === "cell")
      .map((box) => drawCell(box, bright(box), highlight.length > 0)),
    ...signs.flatMap(({ x, y, text }) => [
      svg("circle", { class: "hx-sign", cx: x, cy: y, r: 7 }),
      svg("text", { class: "hx-sign-text", x, y: y + 4 }, text),
    ]),
    ...words.map(({ x, y, text }) => svg("text", { class: "hx-shape", x, y }, text)),
  );
}

// In words: whether a part is new, or something in it, or nothing; empty where nothing is marked.
function ageOf(modules, place, highlight) {
  if (!highlight.length) return "";
  if (isNew(modules, place, highlight)) return "new";
  const inside = (other) => other.name.startsWith(`${modules[place].name}.`);
  return modules.some((other, i) => inside(other) && isNew(modules, i, highlight))
    ? "with new parts"
    : "known before";
}

const isNew = (modules, place, highlight) =>
  highlight.some((wanted) => matches(modules, place, wanted));

// Whether a part is meant, or something that it is in: by kind, class, name, or the beginning of
// the name.
export function matches(modules, place, wanted) {
  const { name } = modules[place];
  if (name === wanted || name.startsWith(`${wanted}.`)) return true;
  return modules.some(
    (part) =>
      (part.kind === wanted || part.class === wanted) &&
      (part === modules[place] || (part.name && name.startsWith(`${part.name}.`))),
  );
}

function fillOf(kind, bright) {
  const rgb = bright ? PARTS[kind] : null;
  return rgb ? { fill: css(rgb), ink: inkOn(rgb) } : { fill: null, ink: null };
}

function frameOf({ x, y, w, h: tall, kind, label, sub, role, repeat }, bright) {
  const inner = role === "inner";
  const { fill } = fillOf(kind, bright);
  const title = `${inner ? [label, sub].filter(Boolean).join(", ") : label}${repeat > 1 && !inner ? ` × ${repeat}` : ""}`;
  const room = w - 24 - 6.8 * title.length;
  return svg(
    "g",
    {},
    svg("rect", {
      class: inner ? "hx-inner-frame" : "hx-frame",
      x,
      y,
      width: w,
      height: tall,
      rx: 6,
    }),
    inner
      ? null
      : svg("rect", {
          class: fill ? "" : "hx-known-band",
          x: x + 1,
          y: y + 1,
          width: 6,
          height: tall - 2,
          rx: 3,
          style: fill && `fill: ${fill}`,
        }),
    repeat > 1 && !inner
      ? svg("path", { class: "hx-line", d: `M${x + 6} ${y + tall + 3} H${x + w + 3} V${y + 6}` })
      : null,
    svg("text", { class: "hx-block-title", x: x + (inner ? 8 : 14), y: y + 15 }, title),
    inner || room < 5.5 * sub.length
      ? null
      : svg("text", { class: "hx-path", x: x + w - 8, y: y + 15 }, sub),
  );
}

// marked: what is new stands out, with a thick edge if it is of a kind that has no colour.
function drawCell({ x, y, w, h: tall, kind, label, sub, inner, open }, bright, marked) {
  const { fill, ink } = fillOf(kind, bright);
  const style = ink ? `fill: ${ink}; ` : "";
  return svg(
    "g",
    {},
    svg("rect", {
      class: fill ? "hx-part" : marked && bright ? "hx-plain hx-new" : "hx-plain",
      x,
      y,
      width: w,
      height: tall,
      rx: 4,
      style: fill && `fill: ${fill}`,
    }),
    svg(
      "text",
      { x: x + w / 2, y: y + (sub ? 14 : 21), style: `${style}text-anchor: middle` },
      label,
    ),
    sub
      ? svg(
          "text",
          { class: "hx-sub", x: x + w / 2, y: y + 27, style: `${style}text-anchor: middle` },
          sub,
        )
      : null,
    inner
      ? svg("path", {
          d: `M${x + w - 9} ${y + tall - (open ? 3 : 7)} l3 ${open ? -4 : 4} l3 ${open ? 4 : -4} z`,
          style: ink ? `fill: ${ink}` : "fill: var(--hx-text)",
        })
      : null,
  );
}

// The colours in the picture; where some parts are new, those of the new ones, and what grey means.
function keyToColours(modules, highlight, known) {
  const fresh = modules.filter((_, place) => !highlight.length || isNew(modules, place, highlight));
  const item = (words, className, colour) => {
    const swatch = h("span", { class: `hx-swatch ${className}`, "aria-hidden": "true" });
    if (colour) swatch.style.background = css(colour);
    return h("li", {}, swatch, words);
  };
  const kinds = Object.keys(PARTS).filter((kind) => fresh.some((part) => part.kind === kind));
  const items = kinds.map((kind) => item(kind, "", PARTS[kind]));
  if (!highlight.length) return h("ul", { class: "hx-key", "aria-label": "colours" }, items);
  const other = fresh.some((part) => ["position", "linear", "head", "other"].includes(part.kind));
  return h(
    "ul",
    { class: "hx-key", "aria-label": "what is new" },
    h("li", {}, h("b", {}, "New:")),
    items,
    other ? item("other parts", "hx-swatch-new") : null,
    item(known.length ? `known from ${known.join(", ")}` : "known before", "hx-swatch-known"),
  );
}
