// What CeiT's three parts make of a picture, step by step, and edits of their weights. No page
// here.
//
// A plane is { channels, size: [rows, columns], values: channels x rows x columns }.

const DEPTHWISE = /^(.+)\.depthwise\.weight$/;
export const STEM = "patch_embedding.conv.0.weight";

// The LeFF layers of a net (live_graph.js), in its order: { name, hidden }.
export function leffLayers({ parameters }) {
  return Object.keys(parameters)
    .filter((name) => DEPTHWISE.test(name))
    .map((key) => ({ name: key.match(DEPTHWISE)[1], hidden: parameters[key][0] }));
}

// What a module made: a map 1 x c x h x w as it is; tokens 1 x n x d as d channels of a square,
// without those before the patches.
export function planeOf({ shape, read }) {
  const made = read();
  if (shape.length === 4) return { channels: shape[1], size: [shape[2], shape[3]], values: made };
  const [, tokens, channels] = shape;
  const side = Math.floor(Math.sqrt(tokens));
  const before = tokens - side ** 2;
  const values = new Float32Array(channels * side ** 2);
  for (let place = 0; place < side ** 2; place++) {
    for (let c = 0; c < channels; c++)
      values[c * side ** 2 + place] = made[(before + place) * channels + c];
  }
  return { channels, size: [side, side], values };
}

export function channelOf({ channels, size: [rows, columns], values }, channel) {
  const places = rows * columns;
  const at = Math.min(channel, channels - 1) * places;
  return values.subarray(at, at + places);
}

// At every place the root mean square over the channels.
export function strengthOf({ channels, size: [rows, columns], values }) {
  const places = rows * columns;
  return Float32Array.from({ length: places }, (_, place) => {
    let sum = 0;
    for (let c = 0; c < channels; c++) sum += values[c * places + place] ** 2;
    return Math.sqrt(sum / channels);
  });
}

// How like the vector of one place the others are: the cosine between them.
export function likenessTo(plane, at) {
  const {
    channels,
    size: [rows, columns],
    values,
  } = plane;
  const places = rows * columns;
  const strength = strengthOf(plane);
  return Float32Array.from({ length: places }, (_, place) => {
    let sum = 0;
    for (let c = 0; c < channels; c++) sum += values[c * places + place] * values[c * places + at];
    return sum / (channels * strength[place] * strength[at] || 1);
  });
}

// The planes of a part, by the names of its steps. `modules` is what `run` of live_graph.js
// returns.
export function stemPlanes(modules) {
  const made = (name) =>
    planeOf(modules.find((module) => module.name === `patch_embedding.${name}`));
  return {
    conv: made("conv.0"),
    norm: made("conv.1"),
    pool: made("pool"),
    patches: made("patches"),
  };
}

export function leffPlanes(modules, layer) {
  const own = modules.filter(({ name }) => name.startsWith(`${layer.name}.`));
  const made = (part, which = 0) =>
    planeOf(own.filter(({ name }) => name === `${layer.name}.${part}`)[which]);
  const before = modules.find(({ name }) => name === layer.name.replace(/[^.]+$/, "norm2"));
  return {
    tokens: planeOf(before),
    wide: made("act"),
    depthwise: made("depthwise"),
    act: made("act", 1),
    out: made("norm3"),
  };
}

// The stem's kernel of a channel, summed over the colours: what it does to grey ink.
export function stemKernel(net, channel) {
  const [, colours, side] = net.parameters[STEM];
  const kernels = net.parameter(STEM);
  return Float32Array.from({ length: side ** 2 }, (_, tap) => {
    let sum = 0;
    for (let c = 0; c < colours; c++) sum += kernels[(channel * colours + c) * side ** 2 + tap];
    return sum;
  });
}

// What a place of the pooled map sees along one axis, first and last, cut at the border: of the map
// before the pooling (3 wide, stride 2, border 1), and of the picture (through the convolution: 7
// wide, stride 2, border 3).
export function seenBy(at, { before, picture }) {
  const within = (from, to, length) => [Math.max(0, from), Math.min(length - 1, to)];
  return {
    pooled: within(2 * at - 1, 2 * at + 1, before),
    pixels: within(4 * at - 5, 4 * at + 5, picture),
  };
}

// One number of a 3 x 3 depthwise convolution with a border of zeros: its nine products, and their
// sum with the bias.
export function productsOf(net, layer, plane, channel, [row, column]) {
  const [rows, columns] = plane.size;
  const x = channelOf(plane, channel);
  const kernel = net
    .parameter(`${layer.name}.depthwise.weight`)
    .subarray(9 * channel, 9 * channel + 9);
  const products = Array.from(kernel, (weight, tap) => {
    const [r, c] = [row + Math.floor(tap / 3) - 1, column + (tap % 3) - 1];
    const inside = r >= 0 && r < rows && c >= 0 && c < columns;
    return inside ? weight * x[r * columns + c] : 0;
  });
  const bias = net.parameter(`${layer.name}.depthwise.bias`)[channel];
  return { kernel, products, bias, sum: products.reduce((a, b) => a + b, bias) };
}

// Which old tap [row, column] stands at a place of a k x k kernel; null for none. `last` is k - 1.
export const KERNEL_EDITS = {
  centre: (row, column, last) => (row === last / 2 && column === last / 2 ? [row, column] : null),
  turn: (row, column, last) => [last - row, last - column],
  swap: (row, column) => [column, row],
};

// All kernels of a convolution laid anew, each by itself. Takes effect with the net's next
// prepare(), as all edits here.
export function editKernels(net, name, how) {
  const kernels = net.parameter(name);
  const side = net.parameters[name].at(-1);
  const old = kernels.slice();
  for (let at = 0; at < kernels.length; at += side ** 2) {
    for (let row = 0; row < side; row++) {
      for (let column = 0; column < side; column++) {
        const from = KERNEL_EDITS[how](row, column, side - 1);
        kernels[at + row * side + column] = from ? old[at + from[0] * side + from[1]] : 0;
      }
    }
  }
}

// even: queries of zero, so that all scores are equal;  deaf: what the heads found is not added;
// nameless: no layer vectors
export const LCA_EDITS = {
  even: (net) =>
    ["weight", "bias"].forEach((part) => {
      const all = net.parameter(`lca.attention.to_qkv.${part}`);
      all.fill(0, 0, all.length / 3);
    }),
  deaf: (net) =>
    ["weight", "bias"].forEach((part) => net.parameter(`lca.attention.out.${part}`).fill(0)),
  nameless: (net) => net.parameter("lca.layers").fill(0),
};
