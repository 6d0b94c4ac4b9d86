// Nine self-attention heads with the quadratic encoding of Cordonnier et al. (2020), eq. 9. No
// drawing here.
//
// Head h scores key k for query q by -alpha (|d|^2 - 2 D_h . d), d = k - q, and softmax runs over
// the pixels of the image. The score is a sum of a row part and a column part, so each map is a
// product of two short tables.

// The nine shifts of a 3 x 3 kernel, row by row: where head h is meant to look.
export const SHIFTS = [-1, 0, 1].flatMap((row) => [-1, 0, 1].map((col) => [row, col]));

// table[q][k]: softmax over k = 0..length-1 of -alpha (d^2 - 2 shift d), d = k - q.
export function shiftTable(length, shift, alpha) {
  return Array.from({ length }, (_, q) => {
    const scores = Float64Array.from(
      { length },
      (_, k) => -alpha * ((k - q) ** 2 - 2 * shift * (k - q)),
    );
    const top = Math.max(...scores);
    const weights = scores.map((score) => Math.exp(score - top));
    const sum = weights.reduce((a, b) => a + b, 0);
    return weights.map((weight) => weight / sum);
  });
}

// One row table and one column table per head.
export function headTables(height, width, centres, alpha) {
  return centres.map(([row, col]) => ({
    rows: shiftTable(height, row, alpha),
    cols: shiftTable(width, col, alpha),
  }));
}

// What one head looks at from `query`: height x width weights that sum to 1.
export function headMap({ rows, cols }, [row, col]) {
  return Array.from(rows[row], (a) => Array.from(cols[col], (b) => a * b));
}

// All heads together, each with its kernel weight: the kernel that this query pixel really applies
// to the image.
export function effectiveKernel(tables, weights, query) {
  const maps = tables.map((table) => headMap(table, query));
  return maps[0].map((line, r) =>
    line.map((_, c) => maps.reduce((sum, map, head) => sum + weights[head] * map[r][c], 0)),
  );
}

// Output of the nine heads for every query pixel: sum over heads of weight x (row table . image .
// column table^T).
export function attend(image, tables, weights) {
  const [height, width] = [image.length, image[0].length];
  const out = image.map(() => new Float64Array(width));
  tables.forEach(({ rows, cols }, head) => {
    const mixed = image.map((line) =>
      cols.map((w) => w.reduce((sum, weight, k) => sum + weight * line[k], 0)),
    );
    for (let q = 0; q < height; q++) {
      for (let c = 0; c < width; c++) {
        let sum = 0;
        for (let k = 0; k < height; k++) sum += rows[q][k] * mixed[k][c];
        out[q][c] += weights[head] * sum;
      }
    }
  });
  return out;
}

// The 3 x 3 convolution itself (cross-correlation, as in deep learning), with zeros around the
// image.
export function convolve(image, weights) {
  return image.map((line, row) =>
    Float64Array.from(line, (_, col) =>
      SHIFTS.reduce((sum, [dr, dc], i) => sum + weights[i] * (image[row + dr]?.[col + dc] ?? 0), 0),
    ),
  );
}

export function padded(image) {
  const blank = Array(image[0].length + 2).fill(0);
  return [blank, ...image.map((line) => [0, ...line, 0]), blank];
}

export const cropped = (map) => map.slice(1, -1).map((line) => line.slice(1, -1));

// The whole comparison. pad: give attention a ring of zeros to look at, as the convolution has.
export function compare(image, { weights, centres, alpha, pad }) {
  const input = pad ? padded(image) : image;
  const tables = headTables(input.length, input[0].length, centres, alpha);
  const attended = attend(input, tables, weights);
  const attention = pad ? cropped(attended) : attended;
  const convolution = convolve(image, weights);
  const difference = attention.map((line, r) => line.map((value, c) => value - convolution[r][c]));
  return { tables, attention, convolution, difference, ...largestErrors(difference) };
}

// Largest absolute error inside, and on the outermost ring of pixels.
export function largestErrors(difference) {
  let inside = 0;
  let border = 0;
  const [bottom, right] = [difference.length - 1, difference[0].length - 1];
  difference.forEach((line, r) =>
    line.forEach((value, c) => {
      if (r === 0 || c === 0 || r === bottom || c === right)
        border = Math.max(border, Math.abs(value));
      else inside = Math.max(inside, Math.abs(value));
    }),
  );
  return { inside, border };
}
