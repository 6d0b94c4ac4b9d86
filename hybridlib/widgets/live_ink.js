// Drawings for the models that run in the page: ink, side x side numbers in 0..1, row by row. No
// elements here.

// A soft round dot of ink; ink never gets darker.
export function stamp(ink, side, x, y, radius) {
  for (let r = 0; r < side; r++) {
    for (let c = 0; c < side; c++) {
      const inside = radius + 0.5 - Math.hypot(c + 0.5 - x, r + 0.5 - y);
      ink[r * side + c] = Math.max(ink[r * side + c], Math.max(0, Math.min(1, inside)));
    }
  }
}

// Softened by a Gaussian of `sigma` pixels. The models know digits enlarged from 8 x 8 pixels,
// which have no sharp edge.
export function blurred(ink, side, sigma) {
  const reach = Math.ceil(3 * sigma);
  const bell = Array.from({ length: 2 * reach + 1 }, (_, i) =>
    Math.exp(-((i - reach) ** 2) / (2 * sigma ** 2)),
  );
  const total = bell.reduce((a, b) => a + b, 0);
  const along = (from, step, across) => {
    const to = new Float32Array(from.length);
    for (let line = 0; line < side; line++) {
      for (let i = 0; i < side; i++) {
        let sum = 0;
        for (let j = Math.max(0, i - reach); j <= Math.min(side - 1, i + reach); j++) {
          sum += bell[j - i + reach] * from[line * across + j * step];
        }
        to[line * across + i * step] = sum / total;
      }
    }
    return to;
  };
  return along(along(ink, 1, side), side, 1);
}

// Two drawings, one over the other.
export const over = (ink, other) => ink.map((value, i) => Math.max(value, other[i]));

// The drawing moved; what leaves on one side is gone.
export function moved(ink, side, down, right) {
  return ink.map((_, i) => {
    const [r, c] = [Math.floor(i / side) - down, (i % side) - right];
    return r >= 0 && r < side && c >= 0 && c < side ? ink[r * side + c] : 0;
  });
}

// The drawing with a square cut from another sample laid over it somewhere.
export function withFragment(ink, other, side, piece, random) {
  const out = ink.slice();
  const full = other.map((v, i) => (v > 0 ? i : -1)).filter((i) => i >= 0);
  // a pixel with ink, so that the fragment is not empty
  const middle = full[Math.floor(random() * full.length)] ?? 0;
  const limit = (v) => Math.max(0, Math.min(side - piece, v));
  const [fromY, fromX] = [
    limit(Math.floor(middle / side) - (piece >> 1)),
    limit((middle % side) - (piece >> 1)),
  ];
  const [toY, toX] = [
    Math.floor(random() * (side - piece + 1)),
    Math.floor(random() * (side - piece + 1)),
  ];
  for (let r = 0; r < piece; r++) {
    for (let c = 0; c < piece; c++) {
      const at = (toY + r) * side + toX + c;
      out[at] = Math.max(out[at], other[(fromY + r) * side + fromX + c]);
    }
  }
  return out;
}

// What a net takes: the ink in each channel, or what has its channels one after the other, minus the
// mean and over the std of its training images.
export function toInput(ink, { input, metadata }) {
  const channels = input[1];
  const numbers = (text, otherwise) =>
    text?.split(" ").map(Number) ?? new Array(channels).fill(otherwise);
  const [mean, std] = [numbers(metadata.mean, 0), numbers(metadata.std, 1)];
  const count = input[2] * input[3];
  return Float32Array.from({ length: channels * count }, (_, i) => {
    const c = Math.floor(i / count);
    return (ink[i % ink.length] - mean[c]) / std[c];
  });
}

// Logits as shares of 1.
export function softmax(values) {
  const top = values.reduce((a, b) => Math.max(a, b), -Infinity);
  const powers = Array.from(values, (v) => Math.exp(v - top));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((v) => v / sum);
}
