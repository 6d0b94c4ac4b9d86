// DeiT's two extra tokens as a reader changes them, and what the model makes of each. No page here.
//
// The tokens are rows 0 (class) and 1 (distillation) of what enters the first block: a learned
// vector each, plus a row of the position table each.

const VECTORS = ["class_token", "second_token"];

// The two vectors and their two rows of the position table, as they are now: { vectors: [c, d],
// rows: [c, d] }.
export function readTokens(net) {
  const vectors = VECTORS.map((name) => net.parameter(name).slice());
  const [dim] = net.parameters.class_token.slice(-1);
  const table = net.parameter("positions.table");
  return { vectors, rows: [0, 1].map((i) => table.slice(i * dim, (i + 1) * dim)) };
}

// Puts the distillation token `part` of the way from its own vector and position to the class
// token's; swapped, the two change places first. `trained` is what readTokens gave of the model as
// it came. Prepare the net afterwards.
export function writeTokens(net, { vectors, rows }, { part, swapped }) {
  const order = swapped ? [1, 0] : [0, 1];
  const [dim] = net.parameters.class_token.slice(-1);
  const table = net.parameter("positions.table");
  const mixed = (pair) => {
    const [first, second] = order.map((i) => pair[i]);
    return [first, second.map((v, i) => (1 - part) * v + part * first[i])];
  };
  mixed(vectors).forEach((vector, i) => net.parameter(VECTORS[i]).set(vector));
  mixed(rows).forEach((row, i) => table.set(row, i * dim));
}

export function cosine(a, b) {
  let [ab, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    ab += a[i] * b[i];
    aa += a[i] ** 2;
    bb += b[i] ** 2;
  }
  return ab / Math.sqrt(aa * bb);
}

// What one head of one layer gives to the patches, asked by each of the two tokens: { class,
// distillation, apart, grid }.
// apart: half the sum of the absolute differences, 0 for equal maps and 1 for maps that share
// nothing.
export function askedBy({ data, queries, keys, grid, extra }, head) {
  const row = (query) =>
    data.slice((head * queries + query) * keys + extra.length, (head * queries + query + 1) * keys);
  const [first, second] = [row(0), row(1)];
  return {
    class: first,
    distillation: second,
    grid,
    apart: first.reduce((sum, v, i) => sum + Math.abs(v - second[i]), 0) / 2,
  };
}

// Both maps as one of twice the width, for a head's small picture, with how far they are apart as
// its bar.
export function sideBySide({ class: first, distillation: second, grid: [rows, columns], apart }) {
  const weights = Float32Array.from({ length: 2 * rows * columns }, (_, i) => {
    const [row, column] = [Math.floor(i / (2 * columns)), i % (2 * columns)];
    return column < columns ? first[row * columns + column] : second[(row - 1) * columns + column];
  });
  return {
    weights,
    size: [rows, 2 * columns],
    share: apart,
    said: `maps differ by ${(100 * apart).toFixed(0)} %`,
  };
}
