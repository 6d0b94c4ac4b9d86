// The one equation of the book, y_q = sum over h and k of A^h_qk x_k W^h, on a picture. No drawing
// here.
//
//   const made = equation(pixels, side, system, state, kernels);
//   pixels   Float64Array, side x side x 3, values in 0..1;  system: { content, offset } and state
// as in equation_systems.py
//   made     { heads, weights: W of each head, dim: length of a token, at(q), byOffset(q, down,
// right), fill(out, from, to) }
//   at(q)    -> { content, inside, offsets: [per head], maps: [per head] }: scores (null where they
// have no part) and A, over
//               the keys; inside: the part of the content that positions make
//   byOffset -> the first head's score for an offset, or what positions make of it, in the picture
// or not
//   fill     writes y of the queries from..to into out, side x side x 3, and returns it
//
// equation_numbers.py does the same for the still picture. An offset is key - query; cells are
// numbered row by row.

const POSITIONS = 28; // numbers in a position vector
const SLOWEST = 100;

export function equation(pixels, side, system, state, kernels) {
  const count = side * side;
  const heads = "kernel" in state ? 9 : (state.heads ?? 1);
  const weights = "kernel" in state ? kernels[state.kernel] : Array(heads).fill(1 / heads);
  const token = system.content === "dot" ? tokens(pixels, side, state) : null;
  const content =
    system.content && state.join !== "offset"
      ? contentOf(pixels, side, system, state, token)
      : null;
  const offset =
    ["", "inside"].includes(system.offset) || state.join === "content"
      ? null
      : offsetOf(side, system, state, heads, token);
  const positions =
    system.offset === "inside"
      ? (down, right) => positionScore(state, token.dim, down, right)
      : null;
  const gate = state.join === "gate" ? gateOf(state.gate) : null;

  function at(q) {
    const byContent = content && content(q, new Float64Array(count));
    const offsets =
      offset && weights.map((_, head) => offset.scores(q, head, new Float64Array(count)));
    const inside =
      positions &&
      Float64Array.from({ length: count }, (_, k) =>
        positions(Math.floor(k / side) - Math.floor(q / side), (k % side) - (q % side)),
      );
    const alike = offsets && gate === null ? null : softmax(byContent);
    const maps = weights.map((_, head) =>
      offsets ? mapOf(offsets[head].slice(), byContent, alike) : alike,
    );
    return { content: byContent, inside, offsets, maps };
  }

  // A of one head from its offset scores, in their place. alike: the softmax of the content, for a
  // gate
  function mapOf(scores, byContent, alike) {
    if (gate === null && byContent) for (let k = 0; k < count; k++) scores[k] += byContent[k];
    softmaxOf(scores);
    if (gate !== null)
      for (let k = 0; k < count; k++) scores[k] = (1 - gate) * alike[k] + gate * scores[k];
    return scores;
  }

  const rows = [0, 1].map(() => new Float64Array(count)); // written over by every query
  function fill(out, from, to) {
    for (let q = from; q < to; q++) {
      const known = content && content(q, rows[0]);
      if (known && (gate !== null || !offset)) softmaxOf(known);
      out.fill(0, 3 * q, 3 * q + 3);
      for (let head = 0; head < heads; head++) {
        const map = offset ? mapOf(offset.scores(q, head, rows[1]), known, known) : known;
        for (let k = 0; k < count; k++) {
          const share = weights[head] * map[k];
          for (let c = 0; c < 3; c++) out[3 * q + c] += share * pixels[3 * k + c];
        }
      }
    }
    return out;
  }

  const byOffset = (q, down, right) =>
    positions ? positions(down, right) : offset.byOffset(q, down, right);

  return { heads, weights, dim: token?.dim, at, byOffset, fill };
}

// The map on show: one head's, or (head -1) the sum of all of them times their W.
export function together(maps, weights, head) {
  if (head >= 0) return maps[head];
  return Float64Array.from(maps[0], (_, k) =>
    maps.reduce((sum, map, h) => sum + weights[h] * map[k], 0),
  );
}

export const gateOf = (lambda) => 1 / (1 + Math.exp(-lambda));

// A new array; softmaxOf writes over its own. A row without any key, as a shift has at the border,
// stays empty.
export const softmax = (scores) => softmaxOf(scores.slice());

function softmaxOf(scores) {
  let most = -Infinity;
  for (const score of scores) if (score > most) most = score;
  if (most === -Infinity) return scores.fill(0);
  let sum = 0;
  for (let k = 0; k < scores.length; k++) sum += scores[k] = Math.exp(scores[k] - most);
  for (let k = 0; k < scores.length; k++) scores[k] /= sum;
  return scores;
}

// --- content -------------------------------------------------------------------------------------

// The values around each cell, side x side rows of window x window x 3; beyond the border stands
// the nearest cell.
export function patches(values, side, window) {
  const ring = (window - 1) / 2;
  const within = (v) => Math.max(0, Math.min(side - 1, v));
  const out = new Float64Array(side * side * window * window * 3);
  let at = 0;
  for (let row = 0; row < side; row++)
    for (let col = 0; col < side; col++) {
      for (let r = row - ring; r <= row + ring; r++)
        for (let c = col - ring; c <= col + ring; c++) {
          const from = 3 * (within(r) * side + within(c));
          for (let channel = 0; channel < 3; channel++) out[at++] = values[from + channel];
        }
    }
  return out;
}

// Queries and keys of a dot product: patches in standard units, and ViT's positions beside them.
export function tokens(pixels, side, state) {
  const mean = pixels.reduce((sum, v) => sum + v, 0) / pixels.length;
  const std = Math.sqrt(pixels.reduce((sum, v) => sum + (v - mean) ** 2, 0) / pixels.length) || 1;
  const units = patches(
    pixels.map((v) => (v - mean) / std),
    side,
    state.window,
  );
  const wide = units.length / side ** 2;
  if (!("positions" in state)) return { z: units, dim: wide };
  const dim = wide + POSITIONS;
  const z = new Float64Array(side * side * dim);
  for (let cell = 0; cell < side * side; cell++) {
    z.set(units.subarray(cell * wide, (cell + 1) * wide), cell * dim);
    z.set(
      positionOf(Math.floor(cell / side), cell % side).map((v) => state.positions * v),
      cell * dim + wide,
    );
  }
  return { z, dim };
}

// Sine and cosine of the row, then of the column, at seven frequencies each.
function positionOf(row, col) {
  return [row, col].flatMap((place) =>
    [Math.sin, Math.cos].flatMap((wave) => frequencies().map((f) => wave(place * f))),
  );
}

const frequencies = () =>
  Array.from({ length: POSITIONS / 4 }, (_, i) => SLOWEST ** ((-4 * i) / POSITIONS));

// What two position vectors make of each other depends on the offset alone: cos(f (a - b)) is cos
// cos + sin sin.
function positionScore(state, dim, down, right) {
  const sum = frequencies().reduce(
    (total, f) => total + Math.cos(f * down) + Math.cos(f * right),
    0,
  );
  return (state.scale * state.positions ** 2 * sum) / Math.sqrt(dim);
}

// (q, into) -> into, with the score of every key.
function contentOf(pixels, side, system, state, token) {
  const count = side * side;
  if (system.content === "distance") {
    const seen = patches(pixels, side, state.window ?? 1);
    const wide = seen.length / count;
    return (q, into) => {
      for (let k = 0; k < count; k++) {
        let squares = 0;
        for (let i = 0; i < wide; i++) squares += (seen[q * wide + i] - seen[k * wide + i]) ** 2;
        into[k] = -squares / wide / (2 * state.tolerance ** 2);
      }
      return into;
    };
  }
  const { z, dim } = token;
  return (q, into) => {
    for (let k = 0; k < count; k++) {
      let product = 0;
      for (let i = 0; i < dim; i++) product += z[q * dim + i] * z[k * dim + i];
      into[k] = (state.scale * product) / Math.sqrt(dim);
    }
    return into;
  };
}

// --- offsets -------------------------------------------------------------------------------------

// The shift of each head, [down, right]: a square grid about [0, 0], row by row.
export function centres(heads, spacing = 1) {
  const fold = Math.round(Math.sqrt(heads));
  const steps = Array.from({ length: fold }, (_, i) => (i - (fold - 1) / 2) * spacing);
  return steps.flatMap((down) => steps.map((right) => [down, right]));
}

// The score of an offset [dr, dc] for a head; of "axes", what the query's sum of numbers is
// multiplied by.
export function offsetScore(system, state, shift, dr, dc) {
  const { offset } = system;
  if (offset === "shift") return dr === shift[0] && dc === shift[1] ? 0 : -Infinity;
  if (offset === "gauss") return -(dr ** 2 + dc ** 2) / (2 * state.reach ** 2);
  if (offset === "quadratic")
    return -state.alpha * (dr ** 2 + dc ** 2 - 2 * (shift[0] * dr + shift[1] * dc));
  const [down, right] = [dr - state.down, dc - state.right];
  const width = 2 * state.reach ** 2;
  if (offset === "table") return state.strength * Math.exp(-(down ** 2 + right ** 2) / width);
  return (
    state.strength * Math.exp(-(down ** 2) / width) +
    state.strength * Math.exp(-(right ** 2) / width)
  );
}

function offsetOf(side, system, state, heads, token) {
  const reach = 2 * side - 1;
  const shifts = centres(heads, state.spacing);
  const tables = shifts.map((shift) =>
    Float64Array.from({ length: reach ** 2 }, (_, i) =>
      offsetScore(system, state, shift, Math.floor(i / reach) - side + 1, (i % reach) - side + 1),
    ),
  );
  const asked = system.offset === "axes" ? queryFactors(side, state, token) : null;
  function scores(q, head, into) {
    const [row, col, times, table] = [
      Math.floor(q / side),
      q % side,
      asked ? asked[q] : 1,
      tables[head],
    ];
    for (let r = 0, k = 0; r < side; r++) {
      const start = (r - row + side - 1) * reach + side - 1 - col;
      for (let c = 0; c < side; c++, k++) into[k] = times * table[start + c];
    }
    return into;
  }
  const byOffset = (q, down, right) =>
    (asked ? asked[q] : 1) * offsetScore(system, state, shifts[0], down, right);
  return { scores, byOffset };
}

// BoTNet's query asks its tables: t z_q . (r_row + r_column) / sqrt(d), where all d numbers of a
// vector r are alike here.
function queryFactors(side, state, { z, dim }) {
  return Float64Array.from({ length: side * side }, (_, q) => {
    let sum = 0;
    for (let i = 0; i < dim; i++) sum += z[q * dim + i];
    return (state.scale * sum) / Math.sqrt(dim);
  });
}

// --- what a map says -----------------------------------------------------------------------------

// Of a map of shares: its strongest key, how many cells an even map would spread over (perplexity),
// the mean distance.
export function mapFacts(map, side, [row, col]) {
  let [best, entropy, distance] = [0, 0, 0];
  map.forEach((share, k) => {
    if (share > map[best]) best = k;
    if (share > 0) entropy -= share * Math.log(share);
    distance += share * Math.hypot(Math.floor(k / side) - row, (k % side) - col);
  });
  return {
    best: [Math.floor(best / side), best % side],
    share: map[best],
    cells: Math.exp(entropy),
    distance,
  };
}
