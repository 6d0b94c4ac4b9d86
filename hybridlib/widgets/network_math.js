// Where everything in the picture of a network stands. Pure: from the rows of network_outline.js to
// boxes, lines and words.
//
//   networkLayout(modules, flow, { width, open, input }) -> { width, height, boxes, lines, signs,
// words }
//     open    Set of keys of boxes that the reader has opened: a block that stands for several, or
// a part with parts in it
//     boxes   { key, place, members, role: "block" | "cell" | "inner", x, y, w, h, kind, label,
// sub, repeat, inner, open }
//             in reading order; `members` are the equal parts that a box stands for, `place` the
// first
//     lines   { d, kind: "flow" | "skip" | "tap" }: paths of SVG;  signs: { x, y, text } where
// branches meet
//     words   { x, y, text }: the shapes between the rows

import { networkOutline, partsOf, shapeWords } from "./network_outline.js";

// px. sign: radius; between: from row to row, with the shape in it; margin: at the right, for what
// a later step reads
export const ROOM = { cell: 34, gap: 8, sign: 7, title: 22, pad: 8, between: 22, margin: 16 };

const MEETINGS = { add: "+", mul: "×", cat: "&", matmul: "·", sub: "−", div: "÷" };

const textWidth = (text, each) => each * text.length;
const cellWidth = ({ label, sub, inner }) =>
  Math.ceil(Math.max(34, textWidth(label, 6.3) + (inner ? 17 : 12), textWidth(sub, 5.3) + 12));

export function networkLayout(modules, flow, { width, open = new Set(), input = [] }) {
  const picture = { width, boxes: [], lines: [], signs: [], words: [], open, modules };
  const rows = unfold(networkOutline(modules, flow), modules, open);
  const reads = modules
    .map(({ takes = [] }, place) => ({ place, from: takes.filter((from) => modules[from]?.name) }))
    .filter(({ from }) => from.length > 1);
  picture.right = width - (reads.length ? ROOM.margin : 0);
  let y = 2;
  picture.words.push({
    x: 24,
    y: y + 11,
    text: input.length ? `picture ${input[2]}×${input[3]}×${input[1]}` : "picture",
  });
  y += 18;
  for (const [i, row] of rows.entries()) {
    picture.lines.push({
      kind: "flow",
      d: `M12 ${y - (i ? ROOM.between - 3 : 14)} V${y - 1}`,
      arrow: true,
    });
    y = row.members.length ? placeBlock(picture, row, y) : placeLoose(picture, row, y);
    picture.words.push({ x: 24, y: y + 15, text: shapeWords(modules[lastOf(row)]) });
    y += ROOM.between;
  }
  for (const { place, from } of reads) drawTap(picture, place, from);
  const { boxes, lines, signs, words } = picture;
  return { width, height: y, boxes, lines, signs, words };
}

// A block that stands for several, one by one where the reader has opened it.
function unfold(rows, modules, open) {
  return rows.flatMap((row) =>
    row.members.length > 1 && open.has(keyOf("fold", row.members[0]))
      ? row.members.map((place) => ({
          ...row,
          members: [place],
          path: modules[place].name,
          strip: movedStrip(row, place),
          fold: row,
        }))
      : [row],
  );
}

// The strip of an equal block: the same places, further on.
function movedStrip(row, place) {
  const by = place - row.members[0];
  const move = (strip) =>
    strip.map((item) =>
      "join" in item
        ? { ...item, main: move(item.main), side: move(item.side) }
        : { ...item, place: item.place + by },
    );
  return move(row.strip);
}

const keyOf = (role, place) => `${role}:${place}`;

// The part that leaves a row last.
function lastOf(row) {
  if (row.members.length) return row.members.at(-1);
  const last = (strip) => ("join" in strip.at(-1) ? last(strip.at(-1).main) : strip.at(-1).place);
  return last(row.strip);
}

function placeBlock(picture, row, y) {
  const { open } = picture;
  const [first] = row.members;
  const fold = row.fold ?? (row.members.length > 1 ? row : null);
  const box = {
    key: keyOf("fold", first),
    place: first,
    members: row.members,
    role: "block",
    x: 1,
    y,
    w: picture.right - 2,
    h: 0,
    kind: row.kind,
    label: row.title,
    sub: pathWords(row, picture.modules),
    repeat: row.members.length,
    inner: Boolean(fold),
    opens: fold && keyOf("fold", fold.members[0]),
  };
  box.open = Boolean(box.opens) && open.has(box.opens);
  picture.boxes.push(box);
  const bottom = placeParts(
    picture,
    row.strip,
    row.members,
    14,
    y + ROOM.title,
    picture.right - 14 - ROOM.pad,
    0,
  );
  box.h = bottom + ROOM.pad - y;
  return y + box.h;
}

function pathWords({ members }, modules) {
  const [first, last] = [modules[members[0]].name, modules[members.at(-1)].name];
  return first === last ? first : `${first} to ${last.split(".").at(-1)}`;
}

function placeLoose(picture, row, y) {
  return placeParts(picture, row.strip, null, 1, y, picture.right - 2, 0);
}

// A strip, and below it what the reader has opened in it. Returns the bottom.
function placeParts(picture, strip, members, x, y, width, depth) {
  const before = picture.boxes.length;
  let { bottom } = placeStrip(picture, strip, members, x, y, width, depth);
  for (const cell of picture.boxes.slice(before).filter((box) => box.open && box.role === "cell")) {
    const top = bottom + ROOM.gap;
    const frame = {
      ...cell,
      key: `in:${cell.place}`,
      role: "inner",
      x,
      y: top,
      w: width,
      h: 0,
      open: true,
      opens: cell.key,
    };
    picture.boxes.push(frame);
    picture.lines.push({ kind: "opens", d: `M${cell.x + cell.w / 2} ${cell.y + cell.h} V${top}` });
    bottom =
      placeParts(
        picture,
        partsOf(picture.modules, cell.place),
        cell.members,
        x + ROOM.pad,
        top + ROOM.title,
        width - 2 * ROOM.pad,
        depth + 1,
      ) + ROOM.pad;
    frame.h = bottom - top;
  }
  return bottom;
}

// Cells and joins in lines, as many in each as fit. Returns where the last line ends: { right,
// middle, bottom }.
function placeStrip(picture, strip, members, x, y, width, depth) {
  let at = { x, top: y, bottom: y };
  let previous = null; // right end and middle of what came last
  for (const item of strip) {
    const needs = Math.min(widthOf(item), width);
    if (at.x > x && at.x + needs > x + width + 0.5)
      at = { x, top: at.bottom + ROOM.gap + 2, bottom: at.bottom + ROOM.gap + 2 };
    const middle = at.top + ROOM.cell / 2;
    if (previous) drawStep(picture, previous, { x: at.x, middle }, at.top - ROOM.gap / 2 - 1);
    const placed =
      "join" in item
        ? placeJoin(picture, item, members, at.x, at.top, Math.min(needs, x + width - at.x), depth)
        : placeCell(picture, item, members, at.x, at.top, needs, depth);
    previous = { x: placed.right, middle: placed.middle };
    at = {
      x: placed.right + ROOM.gap,
      top: placed.middle - ROOM.cell / 2,
      bottom: Math.max(at.bottom, placed.bottom),
    };
  }
  return { right: at.x - ROOM.gap, middle: at.top + ROOM.cell / 2, bottom: at.bottom };
}

const widthOf = (item) =>
  "join" in item
    ? Math.max(stripWidth(item.main), stripWidth(item.side)) + 2 * ROOM.sign + 2 * ROOM.gap
    : cellWidth(item);
const stripWidth = (strip) =>
  strip.reduce((sum, item) => sum + widthOf(item) + ROOM.gap, -ROOM.gap);

function placeCell(picture, cell, members, x, y, w, depth) {
  const own = members ? members.map((member) => member - members[0] + cell.place) : [cell.place];
  const key = keyOf("cell", cell.place);
  picture.boxes.push({
    key,
    place: cell.place,
    members: own,
    role: "cell",
    x,
    y,
    w,
    h: ROOM.cell,
    kind: cell.kind,
    label: cell.label,
    sub: cell.sub,
    repeat: own.length,
    inner: cell.inner,
    opens: cell.inner ? key : null,
    open: picture.open.has(key),
    depth,
  });
  return { right: x + w, middle: y + ROOM.cell / 2, bottom: y + ROOM.cell };
}

// Two branches: the main one in line, the other on the way around it, and the sign where they meet.
function placeJoin(picture, { join, main, side }, members, x, y, width, depth) {
  const inner = x + ROOM.gap;
  const middle = y + ROOM.cell / 2;
  const space = width - 2 * ROOM.gap - 2 * ROOM.sign;
  const end = main.length
    ? placeStrip(picture, main, members, inner, y, space, depth)
    : { right: inner, middle, bottom: y + ROOM.cell };
  let { bottom } = end;
  let around = bottom + 5;
  let [from, right] = [x, end.right];
  if (side.length) {
    const shift = Math.max(0, (Math.min(end.right - inner, space) - stripWidth(side)) / 2);
    const way = placeStrip(
      picture,
      side,
      members,
      inner + shift,
      bottom + ROOM.gap,
      space - shift,
      depth,
    );
    picture.lines.push({
      kind: "skip",
      d: `M${x} ${middle} V${bottom + ROOM.gap + ROOM.cell / 2} H${inner + shift}`,
    });
    [around, bottom, right, from] = [
      way.middle,
      way.bottom,
      Math.max(end.right, way.right),
      way.right,
    ];
  }
  const sign = { x: right + ROOM.gap + ROOM.sign, y: end.middle, text: MEETINGS[join] ?? join };
  drawStep(
    picture,
    { x: end.right, middle: end.middle },
    { x: sign.x - ROOM.sign, middle: end.middle },
  );
  picture.lines.push({ kind: "flow", d: `M${x - 1} ${middle} H${inner}` });
  const start = side.length ? `M${from} ${around}` : `M${x} ${middle} V${around}`;
  picture.lines.push({
    kind: "skip",
    d: `${start} H${sign.x} V${sign.y + ROOM.sign}`,
    arrow: true,
  });
  picture.signs.push(sign);
  return {
    right: sign.x + ROOM.sign,
    middle: end.middle,
    bottom: side.length ? bottom : around + 1,
  };
}

// A short line to what follows, or a step down to the start of the next line.
function drawStep(picture, from, to, low = 0) {
  picture.lines.push({
    kind: "flow",
    d:
      Math.abs(from.middle - to.middle) < 1
        ? `M${from.x} ${from.middle} H${to.x}`
        : `M${from.x} ${from.middle} h4 V${low} H${to.x - 4} V${to.middle} H${to.x}`,
  });
}

// What a step reads from earlier blocks, along the right margin.
function drawTap(picture, place, from) {
  const box = (wanted) =>
    picture.boxes.find(({ members, role }) => role !== "inner" && members.includes(wanted));
  const goal = box(place);
  const x = picture.right + ROOM.margin - 5;
  const sources = new Set(from.map(box).filter(Boolean));
  for (const { x: left, y, w } of sources) {
    picture.lines.push({
      kind: "tap",
      d: `M${left + w} ${y + ROOM.title / 2} H${x} V${goal.y + goal.h / 2} H${goal.x + goal.w}`,
      arrow: true,
    });
  }
}

// --- moving through it by keys -------------------------------------------------------------------

// The place in `boxes` that a key leads to, or -1 for another key.
export function stepTo(boxes, at, key) {
  const last = boxes.length - 1;
  if (key === "ArrowRight") return Math.min(last, at + 1);
  if (key === "ArrowLeft") return Math.max(0, at - 1);
  if (key === "Home") return 0;
  if (key === "End") return last;
  const way = { ArrowDown: 1, ArrowUp: -1 }[key];
  if (!way) return -1;
  const { x, y, w } = boxes[at];
  const rows = [...new Set(boxes.map((box) => box.y))].sort((a, b) => a - b);
  const next = rows[rows.indexOf(y) + way];
  if (next === undefined) return at;
  const away = (box) => Math.abs(box.x + box.w / 2 - x - w / 2);
  const near = boxes
    .filter((box) => box.y === next)
    .reduce((best, box) => (away(box) < away(best) ? box : best));
  return boxes.indexOf(near);
}
