// What every explorable shares: elements, controls, a cursor on a grid, announcements.

// --- elements ------------------------------------------------------------------------------------

// h("p", { class: "hx-note", onclick: f }, "text", node): an element with attributes, listeners and
// children.
export function h(tag, attributes = {}, ...children) {
  return furnish(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return furnish(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function furnish(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (["value", "checked", "disabled", "hidden", "textContent"].includes(key))
      node[key] = value;
    else if (value !== undefined && value !== false) node.setAttribute(key, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

let lastId = 0;
export const newId = () => `hx-${++lastId}`;

// --- words for numbers ---------------------------------------------------------------------------

export const place = ([row, col]) => `row ${row + 1}, column ${col + 1}`;
export const tidy = (v, digits = 2) => String(Number(v.toFixed(digits))).replace("-", "−");
// A fixed number of digits, and no minus before a zero.
export const fixed = (v, digits) =>
  (Math.abs(v) < 0.5 * 10 ** -digits ? 0 : v).toFixed(digits).replace("-", "−");
const RAISED = {
  "-": "⁻",
  0: "⁰",
  1: "¹",
  2: "²",
  3: "³",
  4: "⁴",
  5: "⁵",
  6: "⁶",
  7: "⁷",
  8: "⁸",
  9: "⁹",
};

// Two digits, and a power of ten where the number is small: 3.7 × 10⁻⁵.
export function small(v) {
  if (v === 0) return "0";
  if (Math.abs(v) >= 0.001) return v.toPrecision(2).replace("-", "−");
  const [digits, power] = v.toExponential(1).split("e");
  return `${digits.replace("-", "−")} × 10${[...power].map((sign) => RAISED[sign]).join("")}`;
}

// --- the frame -----------------------------------------------------------------------------------

// Puts an empty explorable into `el`: a labelled group, one line that says what to try, a hidden
// live region.
// say(text) speaks to screen readers half a second after the last call, so that a held arrow key
// stays quiet.
export function frame(el, { label, hint }) {
  const live = h("p", { class: "hx-hidden", role: "status", "aria-live": "polite" });
  const root = h(
    "div",
    { class: "hx", role: "group", "aria-label": label, "data-lm-suppress-shortcuts": "true" },
    h("p", { class: "hx-hint" }, h("b", {}, "Try this: "), hint),
    live,
  );
  // Arrow keys belong to the explorable, not to the page (next chapter) or the notebook (next
  // cell).
  root.addEventListener("keydown", (event) => event.stopPropagation());
  el.replaceChildren(root);
  let timer = 0;
  const say = (text) => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      live.textContent = text;
    }, 500);
  };
  return { root, say };
}

export function panel(title, note, ...content) {
  return h(
    "div",
    { class: "hx-panel" },
    h("p", { class: "hx-title" }, title),
    content,
    note && h("p", { class: "hx-note" }, note),
  );
}

// A frame around one cell of a grid of cells.
export function ring() {
  const node = h("span", { class: "hx-ring", "aria-hidden": "true" });
  node.put = ([row, col], [rows, cols]) => {
    Object.assign(node.style, {
      left: `${(100 * col) / cols}%`,
      top: `${(100 * row) / rows}%`,
      width: `${100 / cols}%`,
      height: `${100 / rows}%`,
    });
  };
  return node;
}

// Runs `draw` at most once per animation frame, however often it is asked.
export function oncePerFrame(draw) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      draw();
    });
  };
}

// Calls `act` when the node comes into sight, once; gives the function that stops waiting for it.
export function onceInSight(node, act) {
  if (!globalThis.IntersectionObserver) {
    act();
    return () => {};
  }
  const observer = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    act();
  });
  observer.observe(node);
  return () => observer.disconnect();
}

// Calls `redraw` when Python (or another view of the same model) changes one of the traits.
export function onChange(model, traits, redraw) {
  for (const trait of traits) model.on(`change:${trait}`, redraw);
  return () => traits.forEach((trait) => model.off(`change:${trait}`, redraw));
}

// Bulk data arrives as a DataView into a larger buffer: its offset counts.
export function bytes(view) {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

// --- controls ------------------------------------------------------------------------------------

export function button(text, onclick, attributes = {}) {
  return h("button", { type: "button", class: "hx-button", onclick, ...attributes }, text);
}

// A labelled slider. `show` turns the slider's number into words.
export function slider({ label, min, max, step, value, show = String, onInput }) {
  const words = h("span", { class: "hx-value" });
  const input = h("input", { type: "range", min, max, step });
  const set = (next) => {
    input.value = next;
    const text = show(Number(input.value));
    words.textContent = text;
    input.setAttribute("aria-valuetext", text);
  };
  input.addEventListener("input", () => {
    set(input.value);
    onInput(Number(input.value));
  });
  set(value);
  return {
    node: h("label", { class: "hx-control" }, h("span", {}, label), input, words),
    set,
    input,
  };
}

// A labelled choice from a list of [value, text] pairs.
export function choice({ label, options, value, onInput }) {
  const list = h(
    "select",
    { onchange: () => onInput(list.value) },
    options.map(([key, text]) => h("option", { value: key }, text)),
  );
  list.value = value;
  return {
    node: h("label", { class: "hx-control" }, h("span", {}, label), list),
    input: list,
    set: (next) => {
      list.value = next;
    },
  };
}

export function toggle({ label, value, onInput }) {
  const box = h("input", {
    type: "checkbox",
    checked: value,
    onchange: () => onInput(box.checked),
  });
  return {
    node: h("label", { class: "hx-control hx-toggle" }, box, h("span", {}, label)),
    input: box,
    set: (next) => {
      box.checked = next;
    },
  };
}

// --- a cursor on a grid of cells -----------------------------------------------------------------

const STEPS = {
  ArrowUp: [-1, 0],
  ArrowDown: [1, 0],
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
  Home: [0, -Infinity],
  End: [0, Infinity],
  PageUp: [-Infinity, 0],
  PageDown: [Infinity, 0],
};

// Makes `node` a grid of cells in which the reader picks one: a mouse picks what it hovers over
// and, on leaving, gives back the cell last clicked; a finger picks what it touches; arrows, Home,
// End, PageUp and PageDown move the pick.
//   size() -> [rows, cols];  locate(x, y) with x, y in 0..1 -> [row, col] (default: equal cells)
//   onPick([row, col], settled): settled is false while the mouse only hovers
//   onLeave(): what leaving does instead;  also: more pictures of the same grid, for the pointer
export function gridCursor(node, { label, size, locate, onPick, onLeave, describe, also = [] }) {
  let kept = [0, 0];
  let now = [0, 0];
  const clamp = ([row, col]) => {
    const [rows, cols] = size();
    return [Math.max(0, Math.min(rows - 1, row)), Math.max(0, Math.min(cols - 1, col))];
  };
  const show = (cell) => {
    now = clamp(cell);
    node.setAttribute("aria-label", `${label}. ${describe(now)}`);
    return now;
  };
  const pick = (cell, settled) => {
    show(cell);
    if (settled) kept = now;
    onPick(now, settled);
  };
  const under = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    if (locate) return locate(x, y);
    const [rows, cols] = size();
    return [Math.floor(y * rows), Math.floor(x * cols)];
  };
  node.setAttribute("tabindex", "0");
  node.setAttribute("role", "application");
  node.setAttribute("aria-roledescription", "grid to pick from with the arrow keys");
  for (const target of [node, ...also]) {
    target.classList.add("hx-pick");
    target.addEventListener("pointerdown", (event) => pick(under(event), true));
    target.addEventListener("pointermove", (event) => {
      const pressed = event.buttons > 0;
      if (event.pointerType === "mouse" || pressed) pick(under(event), pressed);
    });
    target.addEventListener(
      "pointerleave",
      onLeave ??
        (() => {
          if (now.join() !== kept.join()) pick(kept, false);
        }),
    );
  }
  node.addEventListener("keydown", (event) => {
    const step = STEPS[event.key];
    if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    pick([now[0] + step[0], now[1] + step[1]], true);
  });
  // set: moves the pick from outside; the cell under a hovering mouse is no reason to forget the
  // one last clicked.
  return {
    set: (cell) => {
      const moved = clamp(cell).join() !== now.join();
      show(cell);
      if (moved) kept = now;
    },
  };
}
