// The pictures of the equation's control panel: what content and offset make alone, the heads, the
// table of offsets.

import { grey, paint, ramp, twoSided } from "./colours.js";
import { button, gridCursor, h, ring, tidy } from "./common.js";
import { COLOURS } from "./equation_parts.js";

export const CELLS = 24; // a side
export const REACH = 8; // offsets in the table, each way

const largest = (values) => values.reduce((most, v) => Math.max(most, Math.abs(v)), 0) || 1;

// Paints numbers on a scale up to the largest, by sign if any is negative; returns { top, signed }.
export function paintMap(canvas, map, side, colour = ramp) {
  const top = largest(map);
  const signed = map.some((v) => v < 0);
  paint(canvas, side, side, (r, c) => (signed ? twoSided : colour)(map[r * side + c] / top));
  return { top, signed };
}

// Values 0..1 of three channels.
export function paintPicture(canvas, values) {
  paint(canvas, CELLS, CELLS, (r, c) =>
    [0, 1, 2].map((channel) => grey(values[3 * (r * CELLS + c) + channel])[0]),
  );
}

const shade = (rgb) => (share) => rgb.map((v) => Math.round(v * share));

// A picture with a ring about the query. Content and offset have their colours, and say so when
// they have no part.
export function tile(name, text) {
  const canvas = h("canvas", { role: "img", "aria-label": text });
  const mark = ring();
  const off = h("p", { class: "eq-none", hidden: true }, `no ${name} here`);
  const stack = h("div", { class: "hx-stack" }, canvas, mark, off);
  const colour = COLOURS[name];
  const title = h("span", {}, text);
  const node = h(
    "div",
    { class: `hx-tile eq-tile eq-tile-${name}` },
    h("b", {}, colour ? h("i", { "aria-hidden": "true" }) : null, title),
    stack,
  );
  if (colour) node.style.setProperty("--eq-fill", `rgb(${colour.join()})`);
  const call = (words) => {
    title.textContent = words;
    canvas.setAttribute("aria-label", words);
  };
  return {
    node,
    stack,
    canvas,
    mark,
    call,
    draw: (map) => {
      off.hidden = map !== null;
      canvas.hidden = mark.hidden = map === null;
      if (map) paintMap(canvas, map, CELLS, shade(colour));
    },
  };
}

// A small map for each head with its W, and a button for all of them. draw(maps, weights, chosen):
// nothing for one head.
export function headStrip(onPick) {
  const row = h("div", { class: "eq-heads", role: "group", "aria-label": "head" });
  const all = button("All together", () => onPick(-1), { class: "hx-button eq-all" });
  const node = h(
    "div",
    { class: "hx-tile eq-tile eq-tile-side" },
    h("b", {}, "Heads and their W"),
    row,
  );
  let cells = [];
  return {
    node,
    draw: (maps, weights, chosen) => {
      node.hidden = maps.length === 1;
      if (cells.length !== maps.length) {
        cells = maps.map((_, head) => {
          const canvas = h("canvas", { "aria-hidden": "true" });
          const words = h("span", {});
          return {
            canvas,
            words,
            node: button([canvas, words], () => onPick(head), { class: "hx-button eq-head" }),
          };
        });
        row.style.setProperty("--eq-columns", Math.sqrt(maps.length));
        row.replaceChildren(...cells.map((cell) => cell.node), all);
      }
      all.setAttribute("aria-pressed", String(chosen < 0));
      cells.forEach(({ canvas, words, node: own }, head) => {
        paintMap(canvas, maps[head], CELLS);
        words.textContent = `W ${tidy(weights[head])}`;
        own.setAttribute("aria-label", `head ${head + 1}, W ${tidy(weights[head])}`);
        own.setAttribute("aria-pressed", String(head === chosen));
      });
    },
  };
}

// The scores of one head by offset, up to REACH cells each way; where a centre is free, a click or
// an arrow key moves it.
// draw(scoreOf, centre): scoreOf(down, right) -> number, or null to hide; centre [down, right], or
// null where it is not free
export function offsetTable(onMove) {
  const side = 2 * REACH + 1;
  const canvas = h("canvas", { "aria-hidden": "true" });
  const here = ring();
  const stack = h("div", { class: "hx-stack" }, canvas, here);
  const note = h("span", {});
  const node = h(
    "div",
    { class: "hx-tile eq-tile eq-tile-side eq-tile-offset" },
    h("b", {}, h("i", { "aria-hidden": "true" }), "Table of offsets"),
    stack,
    note,
  );
  node.style.setProperty("--eq-fill", `rgb(${COLOURS.offset.join()})`);
  let free = true;
  const cursor = gridCursor(stack, {
    label: "Table of offsets: choose its centre",
    size: () => [side, side],
    describe: ([row, col]) => `${row - REACH} down, ${col - REACH} right of the query`,
    onPick: ([row, col], settled) => {
      if (settled && free) onMove(row - REACH, col - REACH);
    },
  });
  return {
    node,
    draw: (scoreOf, centre) => {
      node.hidden = scoreOf === null;
      if (!scoreOf) return;
      const scores = Float64Array.from({ length: side ** 2 }, (_, i) =>
        scoreOf(Math.floor(i / side) - REACH, (i % side) - REACH),
      );
      const [least, most] = [Math.min(...scores), Math.max(...scores)];
      const signed = least < 0 && most > 0;
      // a score that nowhere rewards is shown from its lowest up
      const shown = most <= 0 ? scores.map((v) => v - least) : scores;
      paint(canvas, side, side, (r, c) =>
        (signed ? twoSided : shade(COLOURS.offset))(shown[r * side + c] / largest(shown)),
      );
      free = centre !== null;
      stack.classList.toggle("eq-fixed", !free);
      if (free) stack.setAttribute("tabindex", "0");
      else stack.removeAttribute("tabindex");
      here.put([REACH, REACH], [side, side]);
      cursor.set(free ? centre.map((v) => Math.round(v) + REACH) : [REACH, REACH]);
      note.textContent = `δ from −${REACH} to ${REACH}; scores ${tidy(least, 1)} to ${tidy(most, 1)}`;
    },
  };
}
