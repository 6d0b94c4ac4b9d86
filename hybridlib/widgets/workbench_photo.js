// From a photograph to ink: grey, bright on black, trimmed, and as large as the digits that the
// models know.

import { nameOf, pixelsOf } from "./picture_files.js";
import { FULL, SIDE } from "./workbench_ink.js";

const LARGEST = 384; // pixels of the longer side that are looked at
const BLOCKS = 12; // in which the paper's brightness is measured
const FAINT = 0.25; // of the darkest ink: what is fainter is taken for paper
const DIGIT = 24; // pixels: training digits are 20 to 30

// Ink of a picture file. Fails with a sentence for the reader. The file is read here and goes
// nowhere.
export async function inkOfFile(file) {
  const { data, width, height } = await pixelsOf(file, LARGEST);
  const grey = Float32Array.from(
    { length: width * height },
    (_, i) => (0.299 * data[4 * i] + 0.587 * data[4 * i + 1] + 0.114 * data[4 * i + 2]) / 255,
  );
  const ink = inkOfGrey(grey, width, height);
  if (!ink) throw new Error(`${nameOf(file)} has no lines on it: it is of one colour.`);
  return ink;
}

// Levels of ink from brightness 0..1, `height x width`; null where the picture is of one
// brightness.
export function inkOfGrey(grey, width, height) {
  const dark = edgeMean(grey, width, height) < 0.5; // white on black already
  const light = dark ? grey.map((v) => 1 - v) : grey;
  const strength = darknessOnPaper(light, width, height);
  const most = quantile(strength, 0.995);
  if (most < 0.08) return null;
  const lines = strength.map((v) => Math.max(0, Math.min(1, (v / most - FAINT) / (1 - FAINT))));
  return placed(lines, width, boundsOf(lines, width, height));
}

function edgeMean(grey, width, height) {
  let [sum, count] = [0, 0];
  for (let y = 0; y < height; y++) {
    const whole = y === 0 || y === height - 1;
    for (let x = 0; x < width; x += whole ? 1 : Math.max(1, width - 1)) {
      sum += grey[y * width + x];
      count++;
    }
  }
  return sum / count;
}

// How much darker each pixel is than the paper around it: the bright end of its block, and smooth
// between blocks.
function darknessOnPaper(light, width, height) {
  const [rows, cols] = [Math.min(BLOCKS, height), Math.min(BLOCKS, width)];
  const paper = Array.from({ length: rows * cols }, (_, b) => {
    const [top, bottom] = [Math.floor(b / cols), Math.floor(b / cols) + 1].map((i) =>
      Math.floor((i * height) / rows),
    );
    const [left, right] = [b % cols, (b % cols) + 1].map((i) => Math.floor((i * width) / cols));
    const block = [];
    for (let y = top; y < bottom; y++)
      for (let x = left; x < right; x++) block.push(light[y * width + x]);
    return quantile(block, 0.8);
  });
  const lit = widened(paper, rows, cols);
  return light.map((v, i) => {
    const at = (position, length, count) =>
      Math.max(0, Math.min(count - 1, ((position + 0.5) * count) / length - 0.5));
    const [y, x] = [at(Math.floor(i / width), height, rows), at(i % width, width, cols)];
    const [r, c] = [Math.min(rows - 1, Math.floor(y)), Math.min(cols - 1, Math.floor(x))];
    const [below, beside] = [Math.min(rows - 1, r + 1), Math.min(cols - 1, c + 1)];
    const row = (k) => lit[k * cols + c] * (1 - x + c) + lit[k * cols + beside] * (x - c);
    return row(r) * (1 - y + r) + row(below) * (y - r) - v;
  });
}

// Each block takes the brightest of its neighbours: a block that a stroke fills is no dark paper.
function widened(paper, rows, cols) {
  return paper.map((_, b) => {
    let most = 0;
    for (let r = Math.floor(b / cols) - 1; r <= Math.floor(b / cols) + 1; r++) {
      for (let c = (b % cols) - 1; c <= (b % cols) + 1; c++) {
        if (r >= 0 && r < rows && c >= 0 && c < cols) most = Math.max(most, paper[r * cols + c]);
      }
    }
    return most;
  });
}

function quantile(values, share) {
  const sorted = Float32Array.from(values).sort();
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
}

// The box around the lines, without stray dots: rows and columns that hold at least a fiftieth of
// the fullest one's ink.
function boundsOf(lines, width, height) {
  const downwards = new Float32Array(height);
  const across = new Float32Array(width);
  lines.forEach((v, i) => {
    downwards[Math.floor(i / width)] += v;
    across[i % width] += v;
  });
  return [downwards, across].flatMap((sums) => {
    const least = sums.reduce((a, b) => Math.max(a, b), 0) / 50;
    const held = (v) => v > least;
    return [sums.findIndex(held), sums.length - 1 - sums.slice().reverse().findIndex(held)];
  });
}

// The box in the middle of the sheet, its longer side DIGIT pixels, each pixel the mean of what it
// covers, and full ink where the lines are fullest.
function placed(lines, width, [top, bottom, left, right]) {
  const [tall, wide] = [bottom - top + 1, right - left + 1];
  const scale = DIGIT / Math.max(tall, wide);
  const [rows, cols] = [tall, wide].map((side) => Math.max(1, Math.round(side * scale)));
  const small = new Float32Array(rows * cols);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < cols; c++) {
      const down = overlaps(r, rows, tall);
      const across = overlaps(c, cols, wide);
      for (const [y, wy] of down)
        for (const [x, wx] of across)
          small[r * cols + c] += wy * wx * lines[(top + y) * width + left + x];
    }
  }
  const most = small.reduce((a, b) => Math.max(a, b), 0) || 1;
  const ink = new Uint8Array(SIDE * SIDE);
  const [y, x] = [(SIDE - rows) >> 1, (SIDE - cols) >> 1];
  small.forEach((v, i) => {
    ink[(y + Math.floor(i / cols)) * SIDE + x + (i % cols)] = Math.round((FULL * v) / most);
  });
  return ink;
}

// Which of `fine` cells lie under cell `i` of `coarse`, and their shares of it.
function overlaps(i, coarse, fine) {
  const [from, to] = [(i * fine) / coarse, ((i + 1) * fine) / coarse];
  const found = [];
  for (let k = Math.floor(from); k < Math.min(fine, Math.ceil(to)); k++) {
    const share = Math.min(to, k + 1) - Math.max(from, k);
    if (share > 1e-9) found.push([k, share / (to - from)]);
  }
  return found;
}
