// CoAtNet's tables of biases as a reader edits them, and what the softmax of one query is made of.
// No page here.
//
// A layer is { name, size: [H, W], dim, heads }: `${name}.bias.table` has (2H - 1) x (2W - 1)
// numbers for each head. The model's own place of an offset is query - key + H - 1. Here a table is
// *seen* from the query: its place is key - query + H - 1.

import { softmax } from "./live_ink.js";

const BIASES = /^(.+)\.bias\.table$/;
const FAR = -1e4; // the bias of a key that is to get nothing: content scores reach hundreds
const biasTable = (net, { name, size: [height, width] }, head) => {
  const count = (2 * height - 1) * (2 * width - 1);
  return net.parameter(`${name}.bias.table`).subarray(head * count, (head + 1) * count);
};

export function biasLayers({ parameters }) {
  return Object.entries(parameters)
    .filter(([key]) => BIASES.test(key))
    .map(([key, [heads, rows, columns]]) => {
      const name = key.match(BIASES)[1];
      return {
        name,
        heads,
        size: [(rows + 1) / 2, (columns + 1) / 2],
        dim: parameters[`${name}.to_qkv.weight`][0] / (3 * heads),
      };
    });
}

// The table of one head as seen from the query, a copy.
export const seenTable = (net, layer, head) => biasTable(net, layer, head).slice().reverse();

// The bias of one place of the seen table. Takes effect with the net's next prepare().
export function setBias(net, layer, head, place, value) {
  const table = biasTable(net, layer, head);
  table[table.length - 1 - place] = value;
}

// One query's scores and weights over all cells: { content, bias, weights }; weights =
// softmax(content + bias).
// `qkv` is what `${layer.name}.to_qkv` made: cells x 3 (heads x dim).
export function biasedRow(net, layer, qkv, head, [row, column]) {
  const {
    size: [height, width],
    dim,
    heads,
  } = layer;
  const part = (cell, which) => {
    const start = (3 * cell + which) * heads * dim + head * dim;
    return qkv.subarray(start, start + dim);
  };
  const query = part(row * width + column, 0);
  const table = seenTable(net, layer, head);
  const cells = Array.from({ length: height * width }, (_, cell) => cell);
  const content = Float32Array.from(
    cells,
    (cell) => part(cell, 1).reduce((sum, v, i) => sum + v * query[i], 0) * dim ** -0.5,
  );
  const bias = Float32Array.from(
    cells,
    (cell) => table[placeOf(layer, [Math.floor(cell / width) - row, (cell % width) - column])],
  );
  return { content, bias, weights: Float32Array.from(softmax(content.map((v, i) => v + bias[i]))) };
}

// Between an offset, key - query in rows and columns, and its place in the seen table.
export const placeOf = ({ size: [height, width] }, [down, right]) =>
  (down + height - 1) * (2 * width - 1) + right + width - 1;
export const offsetOf = ({ size: [height, width] }, place) => [
  Math.floor(place / (2 * width - 1)) - height + 1,
  (place % (2 * width - 1)) - width + 1,
];

// What the buttons do to a table, in the model's own order.
//   old(i): the entry at that place;  count: of entries;  away: rows or columns from the middle,
// the larger
export const BIAS_EDITS = {
  zero: () => 0,
  flip: ({ old, count }, i) => old[count - 1 - i],
  shift: ({ old, count }, i) => old[(i + count - 1) % count],
  near: ({ old, layer }, i) => (Math.max(...offsetOf(layer, i).map(Math.abs)) > 1 ? FAR : old[i]),
};

export function editBiases(net, layer, head, how) {
  const table = biasTable(net, layer, head);
  const old = table.slice();
  old.forEach((_, i) => {
    table[i] = BIAS_EDITS[how]({ old, count: old.length, layer }, i);
  });
}

// Queries of zero for one head: every content score is 0, and the biases alone decide.
export function dropContent(net, { name, dim }, head) {
  const bias = net.parameter(`${name}.to_qkv.bias`);
  const weight = net.parameter(`${name}.to_qkv.weight`);
  const wide = weight.length / bias.length;
  weight.fill(0, head * dim * wide, (head + 1) * dim * wide);
  bias.fill(0, head * dim, (head + 1) * dim);
}
