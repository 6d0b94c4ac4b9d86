// BoTNet's row and column tables as a reader edits them, and the logits of one query. No page here.
//
// A layer is { name, size: [H, W], dim, heads }: `${name}.positions.rows` has 2H - 1 vectors of
// `dim` numbers, that at offset + H - 1 for the offset key - query; the columns alike.

import { softmax } from "./live_ink.js";

export const AXES = ["rows", "columns"];
const TABLES = /^(.+)\.positions\.rows$/;
const tableOf = (net, layer, axis) => net.parameter(`${layer.name}.positions.${AXES[axis]}`);

export function tableLayers({ parameters }) {
  return Object.keys(parameters)
    .filter((name) => TABLES.test(name))
    .map((key) => {
      const name = key.match(TABLES)[1];
      const [rows, dim] = parameters[key];
      const [columns] = parameters[`${name}.positions.columns`];
      const heads = parameters[`${name}.to_qkv.weight`][1] / dim;
      return { name, size: [(rows + 1) / 2, (columns + 1) / 2], dim, heads };
    });
}

// What the softmax of one query is made of. `qkv` is what `${layer.name}.to_qkv` made: cells x 3
// (heads x dim).
//   query      the query over sqrt(dim)
//   tables     [by row offset, by column offset]: the query times each vector of the two tables
//   content, position, weights   of every cell of the map; weights = softmax(content + position)
export function logitsOf(net, layer, qkv, head, [row, column]) {
  const {
    size: [height, width],
    dim,
    heads,
  } = layer;
  const wide = 3 * heads * dim;
  const part = (cell, which) =>
    qkv.subarray(
      cell * wide + (which * heads + head) * dim,
      cell * wide + (which * heads + head + 1) * dim,
    );
  const query = part(row * width + column, 0).map((v) => v * dim ** -0.5);
  const tables = AXES.map((_, axis) => {
    const table = tableOf(net, layer, axis);
    return Float32Array.from({ length: table.length / dim }, (_, i) =>
      inner(query, table.subarray(i * dim, (i + 1) * dim)),
    );
  });
  const cells = Array.from({ length: height * width }, (_, cell) => [
    Math.floor(cell / width),
    cell % width,
  ]);
  const content = Float32Array.from(cells, (_, cell) => inner(query, part(cell, 1)));
  const position = Float32Array.from(
    cells,
    ([r, c]) => tables[0][r - row + height - 1] + tables[1][c - column + width - 1],
  );
  return {
    query,
    tables,
    content,
    position,
    weights: Float32Array.from(softmax(content.map((v, i) => v + position[i]))),
  };
}

const inner = (a, b) => a.reduce((sum, v, i) => sum + v * b[i], 0);

// Moves the vector of one offset along the query, no further than it takes for its logit to be
// `value`. Takes effect with the net's next prepare(). A query of zero has no direction: nothing
// moves.
export function setLogit(net, layer, axis, place, query, value) {
  const vector = tableOf(net, layer, axis).subarray(place * layer.dim, (place + 1) * layer.dim);
  const square = inner(query, query);
  if (square < 1e-12) return;
  const by = (value - inner(query, vector)) / square;
  query.forEach((v, i) => {
    vector[i] += by * v;
  });
}

// An order of `count` places, the same for the same seed: Fisher and Yates, with the numbers of
// Park and Miller.
export function order(count, seed) {
  const places = Array.from({ length: count }, (_, i) => i);
  let state = seed + 1;
  for (let i = count - 1; i > 0; i--) {
    state = (state * 48271) % 2147483647;
    const j = state % (i + 1);
    [places[i], places[j]] = [places[j], places[i]];
  }
  return places;
}

// What the buttons do: for `count` offsets, which old one stands at each place; null for none.
export const EDITS = {
  zero: (count) => new Array(count).fill(null),
  flip: (count) => Array.from({ length: count }, (_, i) => count - 1 - i),
  shift: (count) => Array.from({ length: count }, (_, i) => (i + count - 1) % count),
  shuffle: order,
};

// Both tables of a layer, laid anew.
export function edit(net, layer, how, seed = 0) {
  for (const axis of [0, 1]) {
    const table = tableOf(net, layer, axis);
    const old = table.slice();
    const { dim } = layer;
    EDITS[how](table.length / dim, seed).forEach((from, to) => {
      for (let i = 0; i < dim; i++) table[to * dim + i] = from === null ? 0 : old[from * dim + i];
    });
  }
}
