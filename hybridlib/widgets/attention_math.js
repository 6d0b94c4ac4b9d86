// Attention maps turned into numbers. No drawing here.
//
// A layer is { heads, queries, keys, grid: [rows, cols], extra: [names], block, kind, row(head,
// query) }. Its keys are the extra tokens, then the patches row by row. Its queries are the same
// tokens, or only the extra ones, or only the patches.

const sum = (values) => values.reduce((a, b) => a + b, 0);

// The names of the queries that are not patches, and whether patches ask too.
export function queriesOf({ queries, keys, grid, extra }) {
  const patches = grid[0] * grid[1];
  if (queries === keys) return { names: extra, patches: patches > 0 };
  if (queries === extra.length) return { names: extra, patches: false };
  if (queries === patches) return { names: [], patches: true };
  return { names: Array.from({ length: queries }, (_, i) => `query ${i + 1}`), patches: false };
}

// The query's index in this layer. The reader's choice is { name } or a place { x, y } on the
// picture, both in 0..1, because grids change from layer to layer. A layer without that token gives
// the patch at the place, or its first query.
export function queryIndex(layer, { name, x, y }) {
  const { names, patches } = queriesOf(layer);
  const named = names.indexOf(name);
  if (named >= 0) return named;
  return patches ? names.length + cellIndex(layer.grid, x, y) : 0;
}

export function cellAt([rows, cols], x, y) {
  return [Math.min(rows - 1, Math.floor(y * rows)), Math.min(cols - 1, Math.floor(x * cols))];
}

function cellIndex(grid, x, y) {
  const [row, col] = cellAt(grid, x, y);
  return row * grid[1] + col;
}

// Where one query looks: a head's row, or the mean of all heads.
export function rowOf(layer, head, query) {
  if (head !== "mean") return layer.row(head, query);
  const rows = Array.from({ length: layer.heads }, (_, i) => layer.row(i, query));
  return Float64Array.from(rows[0], (_, k) => sum(rows.map((row) => row[k])) / layer.heads);
}

// Why rollout cannot be computed for these layers, or "".
export function rolloutBarrier(layers) {
  const odd = layers.find((layer) => layer.queries !== layer.keys || layer.keys !== layers[0].keys);
  if (!odd) return "";
  return (
    `rollout needs the same tokens in every layer; block ${odd.block + 1} has ${odd.queries} queries and ` +
    `${odd.keys} keys, block ${layers[0].block + 1} has ${layers[0].keys}`
  );
}

// Attention rollout (Abnar & Zuidema, 2020) up to and including every layer: R_l = (A_l / 2 + I /
// 2) R_{l-1}, with A_l the mean over heads; rows are divided by their sum, which decoding has left
// a little off 1.
export function rollout(layers) {
  const n = layers[0].keys;
  const all = [];
  for (const layer of layers) {
    const below = all.at(-1);
    const joint = new Float64Array(n * n);
    for (let q = 0; q < n; q++) {
      const row = rowOf(layer, "mean", q).map((v) => v / 2);
      row[q] += 0.5;
      const total = sum(row);
      for (let k = 0; k < n; k++) {
        const weight = row[k] / total;
        if (!below) joint[q * n + k] = weight;
        else if (weight) for (let j = 0; j < n; j++) joint[q * n + j] += weight * below[k * n + j];
      }
    }
    all.push(joint);
  }
  return all;
}

// What a row of weights says: the weight on each extra token, the strongest patches, and the spread
// in bits.
export function summary(row, { grid, extra }, count = 5) {
  const total = sum(row) || 1;
  const patches = Array.from(row.slice(extra.length), (share, i) => ({
    share,
    cell: [Math.floor(i / grid[1]), i % grid[1]],
  }));
  return {
    extra: extra.map((name, i) => ({ name, share: row[i] })),
    top: patches.sort((a, b) => b.share - a.share).slice(0, count),
    bits: -sum(
      Array.from(row, (weight) => (weight > 0 ? (weight / total) * Math.log2(weight / total) : 0)),
    ),
  };
}

// Mean distance in pixels from a patch to the patches it attends to, over all patch queries (ViT
// paper, figure 7):
// weight on extra tokens is left out and the rest divided by its sum. null where patches do not
// attend to patches.
export function headDistance(layer, head, pixels) {
  const { names, patches } = queriesOf(layer);
  if (!patches) return null;
  return meanDistance(layer.grid, pixels, (q) =>
    rowOf(layer, head, names.length + q).slice(layer.extra.length),
  );
}

// The same for attention that is even over all patches: the yardstick.
export function evenDistance(grid, pixels) {
  return meanDistance(grid, pixels, () => new Float64Array(grid[0] * grid[1]).fill(1));
}

function meanDistance([rows, cols], [down, across], weightsOf) {
  const cells = Array.from({ length: rows * cols }, (_, i) => [
    Math.floor(i / cols) * down,
    (i % cols) * across,
  ]);
  return (
    sum(
      cells.map(([y, x], q) => {
        const weights = weightsOf(q);
        return (
          sum(weights.map((w, k) => w * Math.hypot(cells[k][0] - y, cells[k][1] - x))) /
          (sum(weights) || 1)
        );
      }),
    ) / cells.length
  );
}

// Maps from their stored form: a byte per weight, and for each row the value of byte 255. `start`
// and `firstRow` say where this layer of this picture begins.
export function storedLayer(meta, codes, scales, start, firstRow) {
  return {
    ...meta,
    row: (head, query) => {
      const r = head * meta.queries + query;
      const scale = scales.getFloat32(4 * (firstRow + r), true) / 255;
      return Float64Array.from(
        codes.subarray(start + r * meta.keys, start + (r + 1) * meta.keys),
        (code) => code * scale,
      );
    },
  };
}

// A map as a model that runs in the page gives it (live_graph.js), copied: the next run writes over
// the model's own.
export function liveLayer({ data, ...meta }) {
  const kept = data.slice();
  return {
    ...meta,
    row: (head, query) => {
      const start = (head * meta.queries + query) * meta.keys;
      return kept.subarray(start, start + meta.keys);
    },
  };
}
