// The drawing of the workbench, and the picture that the models see of it. No page here: arrays in,
// arrays out.
//
// Ink is what was drawn: SIDE x SIDE levels from 0 to FULL, so few that a link can carry them.
// `seen` makes a picture of it.

import { blurred } from "./live_ink.js";

export const SIDE = 32;
export const FULL = 15;
const CELLS = SIDE * SIDE;
// The training digits were scanned, counted in 8 x 8 cells and enlarged about three times without
// steps. A pen's line becomes alike by this blur. Of 90 drawn digits (18 ways x 5 sizes, tilts and
// places; pen of 1.5 px) the eight shipped models read 69 % on average without it, 85 % with it.
const BLUR = 1.5; // standard deviation in pixels
const GAIN = 1.3; // gives a line's middle its white back

export const blank = () => new Uint8Array(CELLS);
export const isBlank = (ink) => ink.every((level) => level === 0);

// A round dot with a soft edge at (x, y), in pixels; with `erase` it takes ink away.
export function dot(ink, x, y, radius, erase = false) {
  const reach = Math.ceil(radius + 1);
  const range = (middle) => [
    Math.max(0, Math.floor(middle - reach)),
    Math.min(SIDE - 1, Math.floor(middle + reach)),
  ];
  const [top, bottom] = range(y);
  const [left, right] = range(x);
  for (let row = top; row <= bottom; row++) {
    for (let col = left; col <= right; col++) {
      const inside = Math.max(
        0,
        Math.min(1, radius + 0.5 - Math.hypot(col + 0.5 - x, row + 0.5 - y)),
      );
      const level = Math.round(FULL * inside);
      const at = row * SIDE + col;
      ink[at] = erase ? Math.min(ink[at], FULL - level) : Math.max(ink[at], level);
    }
  }
}

// Dots close together on the way from one point to the next.
export function line(ink, [fromX, fromY], [x, y], radius, erase) {
  const steps = Math.max(1, Math.ceil(Math.hypot(x - fromX, y - fromY) * 2));
  for (let i = 1; i <= steps; i++) {
    dot(ink, fromX + ((x - fromX) * i) / steps, fromY + ((y - fromY) * i) / steps, radius, erase);
  }
}

// The same picture `down` and `right` by whole pixels; what leaves at one side is gone.
export function shifted(picture, [down, right]) {
  if (!down && !right) return picture;
  const out = new picture.constructor(CELLS);
  for (let row = Math.max(0, down); row < Math.min(SIDE, SIDE + down); row++) {
    for (let col = Math.max(0, right); col < Math.min(SIDE, SIDE + right); col++) {
      out[row * SIDE + col] = picture[(row - down) * SIDE + col - right];
    }
  }
  return out;
}

// Ink as the models know it: lines with soft edges, 0..1.
const soften = (ink) => blurred(ink, SIDE, BLUR).map((v) => Math.min(1, (GAIN * v) / FULL));

// What the models see, as bytes: the sample (bytes, or null), a picture in levels that needs no
// softening, and the ink upon both; all of it moved, with a square laid over it.
//   cover: null, or { row, col, size, grey }: its middle in pixels, its side, 0 for black or 128
// for grey
export function seen({ sample, base, ink, shift, cover }) {
  const picture = new Uint8Array(CELLS);
  if (!isBlank(ink)) picture.set(soften(ink).map((v) => Math.round(255 * v)));
  for (let i = 0; i < CELLS; i++)
    picture[i] = Math.max(picture[i], sample?.[i] ?? 0, bytesOfLevel(base[i]));
  const moved = shifted(picture, shift);
  return cover ? covered(moved, cover) : moved;
}

const bytesOfLevel = (level) => Math.round((255 * level) / FULL);
export const levels = (bytes) => Uint8Array.from(bytes, (v) => Math.round((FULL * v) / 255));

export function covered(picture, { row, col, size, grey }) {
  const out = picture.slice();
  const [top, left] = corner({ row, col, size });
  for (let r = Math.max(0, top); r < Math.min(SIDE, top + size); r++) {
    out.fill(grey, r * SIDE + Math.max(0, left), r * SIDE + Math.min(SIDE, left + size));
  }
  return out;
}

// The upper left pixel of a square around (row, col).
export const corner = ({ row, col, size }) => [
  Math.round(row - size / 2),
  Math.round(col - size / 2),
];
