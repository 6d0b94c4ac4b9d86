// Receptive fields of a stack of layers, in one dimension: rows and columns of a square kernel
// behave alike, and the number of paths to a pixel is the product of both. A layer is { kernel,
// stride, dilation } or { attention: true }.

// r_l = r_{l-1} + d (k - 1) j_{l-1},  j_l = j_{l-1} s: side of the receptive field and step, both
// in input pixels.
export function recursion(layers) {
  let [r, j] = [1, 1];
  return layers.map(({ kernel, stride, dilation, attention }) => {
    const before = { r, j };
    if (attention) r = Infinity;
    else {
      r += dilation * (kernel - 1) * j;
      j *= stride;
    }
    return { before, r, j };
  });
}

// Odd kernels are padded to keep the size at stride 1; even ones cut the picture into patches and
// need no padding.
export const padding = ({ kernel, dilation }) => (kernel % 2 ? (dilation * (kernel - 1)) / 2 : 0);

// Units along one side at every level, the input first.
export function sizes(layers, input) {
  return layers.reduce(
    (all, layer) => {
      const below = all[all.length - 1];
      const reach = layer.attention ? 0 : layer.dilation * (layer.kernel - 1);
      const size = layer.attention
        ? below
        : Math.floor((below + 2 * padding(layer) - reach - 1) / layer.stride) + 1;
      return [...all, Math.max(0, size)];
    },
    [input],
  );
}

// Where unit 0 of every level sits, in input pixels, and the step to the next unit.
export function positions(layers) {
  return layers.reduce(
    (all, layer) => {
      const { first, step } = all[all.length - 1];
      if (layer.attention) return [...all, { first, step }];
      const shift = (layer.dilation * (layer.kernel - 1)) / 2 - padding(layer);
      return [...all, { first: first + step * shift, step: step * layer.stride }];
    },
    [{ first: 0, step: 1 }],
  );
}

// The units of the level below that unit `o` reads. `size` is the size of the level below; padding
// is left out.
export function readsFrom(layer, o, size) {
  if (layer.attention) return Array.from({ length: size }, (_, i) => i);
  return Array.from(
    { length: layer.kernel },
    (_, t) => o * layer.stride + t * layer.dilation - padding(layer),
  ).filter((i) => i >= 0 && i < size);
}

// Paths from one output unit down to every unit of every level: counts[0] belongs to the input.
export function paths(layers, input, unit) {
  const extent = sizes(layers, input);
  const counts = extent.map((size) => new Float64Array(size));
  counts[layers.length][unit] = 1;
  for (let level = layers.length; level > 0; level--) {
    counts[level].forEach((count, o) => {
      if (count)
        for (const i of readsFrom(layers[level - 1], o, extent[level - 1]))
          counts[level - 1][i] += count;
    });
  }
  return counts;
}

// First and last pixel of the theoretical field, padding included.
export function field(layers, input, unit) {
  if (layers.some((layer) => layer.attention)) return { from: 0, to: input - 1 };
  const { first, step } = positions(layers)[layers.length];
  const reach = ((recursion(layers).at(-1)?.r ?? 1) - 1) / 2;
  return { from: first + unit * step - reach, to: first + unit * step + reach };
}

// Share of the paths inside the central half of the field's side; a pixel cut by the line counts in
// part.
export function centralShare(counts, { from, to }) {
  const [centre, quarter] = [(from + to) / 2, (to - from + 1) / 4];
  let [inside, total] = [0, 0];
  counts.forEach((count, i) => {
    const overlap = Math.min(i + 0.5, centre + quarter) - Math.max(i - 0.5, centre - quarter);
    inside += count * Math.max(0, Math.min(1, overlap));
    total += count;
  });
  return inside / total;
}
