// A square picture cut into patches, and what the cut costs. No drawing here.

export const SIDE = 224;
export const SIZES = [8, 14, 16, 28, 32, 56]; // the divisors of 224 that are worth a look

// Tokens, vector length and attention matrix for patches of that side.
export function numbers(patch, side = SIDE) {
  const grid = side / patch;
  const tokens = grid * grid;
  return {
    grid,
    tokens,
    vector: 3 * patch * patch,
    sequence: tokens + 1,
    entries: (tokens + 1) ** 2,
  };
}

// The patch at [row, col] as the vector that ViT's first layer reads, in the order of
// rearrange(x, "b c (h p1) (w p2) -> b (h w) (c p1 p2)"): channel, then row, then column; values
// 0..1.
// `rgba` holds the picture as a canvas gives it: four bytes a pixel, row by row.
export function patchVector(rgba, patch, [row, col], side = SIDE) {
  const out = new Float64Array(3 * patch * patch);
  for (let c = 0, i = 0; c < 3; c++) {
    for (let y = row * patch; y < (row + 1) * patch; y++) {
      for (let x = col * patch; x < (col + 1) * patch; x++, i++)
        out[i] = rgba[4 * (y * side + x) + c] / 255;
    }
  }
  return out;
}

// A random order of 0..count-1 (Fisher and Yates). `random` gives numbers in 0..1.
export function shuffled(count, random = Math.random) {
  const order = Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

// The square in the middle of a picture: [left, top, side].
export function middleSquare(width, height) {
  const side = Math.min(width, height);
  return [Math.floor((width - side) / 2), Math.floor((height - side) / 2), side];
}
