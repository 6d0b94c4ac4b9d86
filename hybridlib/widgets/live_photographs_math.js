// Photographs changed on purpose, as hybridlib.data.corruptions changes them. No page here.
//
// A picture: 3 x SIDE x SIDE levels 0..255, all red ones first, then green, then blue.

export const SIDE = 32; // pixels
export const PATCH = 4; // pixels, of what is hidden at once
const AREA = SIDE * SIDE;
const LUMA = [0.2989, 0.587, 0.114]; // torchvision's

// Numbers in 0..1, the same for the same seed (mulberry32).
export function seeded(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

// 0..count - 1 in a random order.
export function shuffledOrder(count, random) {
  const order = Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

// `order[i]` is the tile that lies on place i, of grid x grid in reading order.
export function withTiles(picture, grid, order) {
  const tile = SIDE / grid;
  return mapped(picture, (r, c) => {
    const from = order[Math.floor(r / tile) * grid + Math.floor(c / tile)];
    return [Math.floor(from / grid) * tile + (r % tile), (from % grid) * tile + (c % tile)];
  });
}

// The picture moved; what comes in mirrors the edge.
export function slid(picture, [down, right]) {
  return mapped(picture, (r, c) => [mirror(r - down), mirror(c - right)]);
}

// Patches that have the colour `fill`; `hidden` holds their numbers in reading order.
export function covered(picture, hidden, fill) {
  return toBytes(picture, (value, i, channel, r, c) =>
    hidden.has(Math.floor(r / PATCH) * (SIDE / PATCH) + Math.floor(c / PATCH))
      ? fill[channel]
      : value,
  );
}

// Normal noise with this standard deviation, where white is 1.
export function noisy(picture, deviation, random) {
  const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  return toBytes(picture, (value) => value + 255 * deviation * normal());
}

// Without this share of the colour.
export function paled(picture, share) {
  const lights = Float32Array.from({ length: AREA }, (_, i) =>
    LUMA.reduce((sum, weight, channel) => sum + weight * picture[channel * AREA + i], 0),
  );
  return toBytes(picture, (value, i) => value + share * (lights[i % AREA] - value));
}

// Softened by a Gaussian of `sigma` pixels, three of them to each side; the edges are mirrored.
export function softened(picture, sigma) {
  const reach = Math.ceil(3 * sigma);
  const bell = Array.from({ length: 2 * reach + 1 }, (_, i) =>
    Math.exp(-((i - reach) ** 2) / (2 * sigma ** 2)),
  );
  const total = bell.reduce((a, b) => a + b, 0);
  const along = (from, across) =>
    from.map((_, i) => {
      const [channel, r, c] = [Math.floor(i / AREA), Math.floor((i % AREA) / SIDE), i % SIDE];
      return bell.reduce((sum, weight, j) => {
        const [y, x] = across ? [r, mirror(c + j - reach)] : [mirror(r + j - reach), c];
        return sum + (weight / total) * from[channel * AREA + y * SIDE + x];
      }, 0);
    });
  const soft = along(along(Float32Array.from(picture), true), false);
  return toBytes(soft, (value) => value);
}

// --- a photograph of the reader's ----------------------------------------------------------------

// Means of the square in the middle, SIDE x SIDE of them, as a picture. rgba: as a canvas gives it
export function squareOf(rgba, width, height) {
  const side = Math.min(width, height);
  const [top, left] = [(height - side) / 2, (width - side) / 2];
  const edge = (from, i) => Math.floor(from + (i * side) / SIDE);
  const picture = new Uint8Array(3 * AREA);
  for (let r = 0; r < SIDE; r++)
    for (let c = 0; c < SIDE; c++) {
      const [y0, x0] = [edge(top, r), edge(left, c)];
      const [y1, x1] = [Math.max(y0 + 1, edge(top, r + 1)), Math.max(x0 + 1, edge(left, c + 1))];
      for (let channel = 0; channel < 3; channel++) {
        let sum = 0;
        for (let y = y0; y < y1; y++)
          for (let x = x0; x < x1; x++)
            sum += rgba[4 * (Math.min(y, height - 1) * width + Math.min(x, width - 1)) + channel];
        picture[channel * AREA + r * SIDE + c] = Math.round(sum / ((y1 - y0) * (x1 - x0)));
      }
    }
  return picture;
}

// The place inside that stands for one beyond an edge.
const mirror = (at) => SIDE - 1 - Math.abs(SIDE - 1 - Math.abs(at));

// Each pixel from another place.
function mapped(picture, source) {
  return toBytes(picture, (_, i, channel, r, c) => {
    const [y, x] = source(r, c);
    return picture[channel * AREA + y * SIDE + x];
  });
}

function toBytes(picture, value) {
  return Uint8ClampedArray.from(picture, (own, i) =>
    value(own, i, Math.floor(i / AREA), Math.floor((i % AREA) / SIDE), i % SIDE),
  ); // rounds halves to even, as torch does
}
