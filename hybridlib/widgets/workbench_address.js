// The state of the workbench as text for the address, and back. Nothing else is kept there, and
// nothing is sent anywhere.
//
//   #bench&a=convnet:activity-2:0&b=vit:map-3:1&q=class&s=0.-1&o=60&n=7&d=…&t=draw
//
// a, b: system, what is shown of it, head;  q: who asks, a token or row.column in pixels;  s:
// shift;  o: overlay in percent;
// n: sample;  d: ink, e: a picture of another kind, both packed;  c: row.column of the square that
// covers, z: its side and grey;  t: tool;  w: networks open (1) or closed

import { SIDE, blank, isBlank } from "./workbench_ink.js";

const MARK = "bench";
const LONGEST = 255; // empty cells in one run

// Ink in nibbles: a level stands for itself; 0 is followed by two nibbles that say how many empty
// cells there are.
export function packInk(ink) {
  const nibbles = [];
  for (let i = 0; i < ink.length;) {
    if (ink[i]) {
      nibbles.push(ink[i++]);
      continue;
    }
    let run = 1;
    while (run < LONGEST && i + run < ink.length && ink[i + run] === 0) run++;
    nibbles.push(0, run >> 4, run & 15);
    i += run;
  }
  if (nibbles.length % 2) nibbles.push(0);
  let text = "";
  for (let i = 0; i < nibbles.length; i += 2)
    text += String.fromCharCode((nibbles[i] << 4) | nibbles[i + 1]);
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

// null where the text is no drawing.
export function unpackInk(text) {
  let bytes;
  try {
    bytes = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  } catch {
    return null;
  }
  const nibbles = [...bytes].flatMap((letter) => [
    letter.charCodeAt(0) >> 4,
    letter.charCodeAt(0) & 15,
  ]);
  const ink = blank();
  let at = 0;
  for (let i = 0; i < nibbles.length && at < ink.length; i++) {
    if (nibbles[i]) {
      ink[at++] = nibbles[i];
      continue;
    }
    const run = (nibbles[i + 1] << 4) | nibbles[i + 2];
    if (!run) return null;
    at += run;
    i += 2;
  }
  return at === ink.length ? ink : null;
}

export function toAddress({
  systems,
  query,
  shift,
  opacity,
  sample,
  base,
  ink,
  pinned,
  square,
  tool,
  network,
}) {
  const parts = [MARK];
  systems.forEach(({ name, show, head }, i) =>
    parts.push(`${"ab"[i]}=${[name, show, head].map(encodeURIComponent).join(":")}`),
  );
  parts.push(`q=${query.name ? encodeURIComponent(query.name) : `${query.row}.${query.col}`}`);
  if (shift[0] || shift[1]) parts.push(`s=${shift.join(".")}`);
  parts.push(`o=${opacity}`);
  if (sample >= 0) parts.push(`n=${sample}`);
  if (!isBlank(base)) parts.push(`e=${packInk(base)}`);
  if (!isBlank(ink)) parts.push(`d=${packInk(ink)}`);
  if (pinned) parts.push(`c=${pinned.join(".")}`);
  parts.push(`z=${square.size}.${square.grey}`);
  parts.push(`t=${tool}`);
  if (network !== null) parts.push(`w=${Number(network)}`);
  return `#${parts.join("&")}`;
}

// What an address says, as far as it makes sense; null where it is none of ours.
//   known: { names, samples (how many), tools }
export function fromAddress(hash, { names, samples, tools }) {
  const [mark, ...parts] = hash.replace(/^#/, "").split("&");
  if (mark !== MARK) return null;
  const said = Object.fromEntries(parts.map((part) => [part.slice(0, 1), part.slice(2)]));
  const state = {};
  const systems = [said.a, said.b]
    .filter(Boolean)
    .map((text) => {
      const [name, show = "off", head = "0"] = text.split(":").map(plain);
      return { name, show, head: head === "mean" ? head : (whole(head, 0, 63) ?? 0) };
    })
    .filter(({ name }) => names.includes(name));
  if (systems.length) state.systems = systems;
  const take = (key, value) => {
    if (value !== null && value !== undefined) state[key] = value;
  };
  const cell = integers(said.q, 2, 0, SIDE - 1);
  if (cell) state.query = { name: null, row: cell[0], col: cell[1] };
  else if (said.q) state.query = { name: plain(said.q), row: SIDE / 2, col: SIDE / 2 };
  state.shift = integers(said.s, 2, -SIDE, SIDE) ?? [0, 0];
  take("opacity", whole(said.o, 0, 100));
  state.sample = whole(said.n, 0, samples - 1) ?? -1;
  state.base = (said.e && unpackInk(said.e)) || blank();
  state.ink = (said.d && unpackInk(said.d)) || blank();
  state.pinned = integers(said.c, 2, 0, SIDE - 1);
  const square = integers(said.z, 2, 0, 255);
  if (square && square[0] >= 1 && square[0] <= SIDE)
    state.square = { size: square[0], grey: square[1] };
  state.network = { 0: false, 1: true }[said.w] ?? null;
  if (tools.includes(said.t)) state.tool = said.t;
  return state;
}

const plain = (text) => {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
};

function whole(text, low, high) {
  if (!/^-?\d{1,4}$/.test(text ?? "")) return null;
  const value = Number(text);
  return value >= low && value <= high ? value : null;
}

function integers(text, count, low, high) {
  const values = (text ?? "").split(".").map((part) => whole(part, low, high));
  return values.length === count && values.every((value) => value !== null) ? values : null;
}
