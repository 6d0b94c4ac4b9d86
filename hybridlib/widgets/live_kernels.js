// The 19 kinds of node of a model's graph. `d` is the memory that holds all numbers; a tensor in it
// is { at, shape, strides }, so that views (transposed, sliced, repeated) cost nothing. Results
// have no gaps; maps have their channels together.
// A maker takes ({ d, ints, multiply }, out, operands, settings, room), works out how to step, and
// returns `run`; or { pack, run }, where `pack` is to be done again after a weight was changed.
// `room` has the positions that `needs` asks for.
// The loops themselves stand in functions that are given everything, positions as whole numbers (|
// 0 after a division):
// engines compile those best.

import { cells, lines, windows, withoutAxis, withoutLast } from "./live_steps.js";

export const MAKERS = {
  add: makeBinary, sub: makeBinary, mul: makeBinary, div: makeBinary,
  copy: makeUnary, relu: makeUnary, sigmoid: makeUnary, gelu: makeUnary,
  cat: makeCat, gather: makeGather, index_select: makeIndexSelect,
  softmax: makeSoftmax, layer_norm: makeLayerNorm, batch_norm: makeBatchNorm, mean: makeMean,
  matmul: makeMatmul, conv: makeConv, max_pool: makeMaxPool, avg_pool: makeAvgPool,
}; // prettier-ignore

const numel = ({ shape }) => shape.reduce((product, length) => product * length, 1);

// How many numbers a node wants beside its result: some of its own, and some that all nodes share.
export function needs(kind, out, [x, second], settings) {
  if (kind === "batch_norm") return { own: 2 * x.shape[1], scratch: 0 };
  if (kind === "matmul") return { own: 0, scratch: numel(x) + numel(second) };
  if (kind !== "conv") return { own: 0, scratch: 0 };
  const unrolled = ((numel(out) / out.shape[1]) | 0) * ((numel(second) / second.shape[0]) | 0);
  return { own: numel(second), scratch: isDirect(x, out, second, settings) ? 0 : unrolled };
}

// ----------------------------------------------------------------------------------------------
// number by number

const BINARY = {
  add: (d, n, o, so, a, sa, b, sb) => { for (; n > 0; n--, o += so, a += sa, b += sb) d[o] = d[a] + d[b]; },
  sub: (d, n, o, so, a, sa, b, sb) => { for (; n > 0; n--, o += so, a += sa, b += sb) d[o] = d[a] - d[b]; },
  mul: (d, n, o, so, a, sa, b, sb) => { for (; n > 0; n--, o += so, a += sa, b += sb) d[o] = d[a] * d[b]; },
  div: (d, n, o, so, a, sa, b, sb) => { for (; n > 0; n--, o += so, a += sa, b += sb) d[o] = d[a] / d[b]; },
}; // prettier-ignore

const UNARY = {
  copy: (d, n, o, so, a, sa) => { for (; n > 0; n--, o += so, a += sa) d[o] = d[a]; },
  relu: (d, n, o, so, a, sa) => { for (; n > 0; n--, o += so, a += sa) d[o] = d[a] > 0 ? d[a] : 0; },
  sigmoid: (d, n, o, so, a, sa) => { for (; n > 0; n--, o += so, a += sa) d[o] = 1 / (1 + Math.exp(-d[a])); },
  gelu: (d, n, o, so, a, sa) => { for (; n > 0; n--, o += so, a += sa) d[o] = exactGelu(d[a]); },
}; // prettier-ignore

// x Phi(x), with the error function of Abramowitz and Stegun (1964), 7.1.28: its error stays below
// 3e-7.
function exactGelu(x) {
  const z = Math.abs(x) * Math.SQRT1_2;
  const low = 0.0092705272 + z * (0.0001520143 + z * (0.0002765672 + z * 0.0000430638));
  let t = 1 + z * (0.0705230784 + z * (0.0422820123 + z * low));
  t *= t;
  t *= t;
  t *= t;
  t *= t;
  return x > 0 ? x - (0.5 * x) / t : (0.5 * x) / t;
}

function makeBinary({ d }, out, [a, b], { kind }) {
  const { count, length, starts, steps } = lines(out.shape, out, a, b);
  const [[o, p, q], [so, sp, sq], step] = [starts, steps, BINARY[kind]];
  return () => {
    for (let i = 0; i < count; i++) step(d, length, o[i], so, p[i], sp, q[i], sq);
  };
}

function makeUnary({ d }, out, [x], { kind }) {
  const { count, length, starts, steps } = lines(out.shape, out, x);
  const [[o, p], [so, sp], step] = [starts, steps, UNARY[kind]];
  return () => {
    for (let i = 0; i < count; i++) step(d, length, o[i], so, p[i], sp);
  };
}

// --------------------------------------------------------------------------------------------------------
// moving

function makeCat(memory, out, parts, { axis }) {
  let offset = 0;
  const runs = parts.map((part) => {
    const place = { ...out, at: out.at + offset * out.strides[axis], shape: part.shape };
    offset += part.shape[axis];
    return makeUnary(memory, place, [part], { kind: "copy" });
  });
  return () => runs.forEach((run) => run());
}

// out[.., i, ..] = x[.., index[.., i, ..], ..] along one axis.
function makeGather({ d, ints }, out, [x, index], { axis }) {
  const first = { ...x, strides: x.strides.map((step, i) => (i === axis ? 0 : step)) };
  const { count, length, starts, steps } = lines(out.shape, out, first, index);
  const [[o, p, q], [so, sp, sq], step] = [starts, steps, x.strides[axis]];
  return () => {
    for (let i = 0; i < count; i++) pick(d, ints, length, o[i], so, p[i], sp, q[i], sq, step);
  };
}

function pick(d, ints, n, o, so, a, sa, at, sat, step) {
  for (; n > 0; n--, o += so, a += sa, at += sat) d[o] = d[a + step * ints[at]];
}

// The same with one index for all.
function makeIndexSelect(memory, out, [x, index], { axis }) {
  const strides = out.shape.map((_, i) => (i === axis ? index.strides[0] : 0));
  return makeGather(memory, out, [x, { ...index, shape: out.shape, strides }], { axis });
}

// ------------------------------------------------------------------------------------------
// shares, norms, averages

// e^x for x <= 0: 2^-i times e^r by its series, |r| <= ln(2) / 2, right to 2e-7 of itself. Three
// times as fast as Math.exp.
// Below e^-69 it is 0, for numbers near the end of single precision cost a processor a hundred
// times the time of others.
function power(x) {
  if (!(x > -69)) return 0;
  const i = (0.5 - x * Math.LOG2E) | 0;
  const r = x + i * Math.LN2;
  return (
    HALVED[i] * (1 + r * (1 + r * (1 / 2 + r * (1 / 6 + r * (1 / 24 + r * (1 / 120 + r / 720))))))
  );
}

const HALVED = Float64Array.from({ length: 101 }, (_, i) => 2 ** -i);

function makeSoftmax({ d }, out, [x], { axis }) {
  const [length, so, sp] = [x.shape[axis], out.strides[axis], x.strides[axis]];
  const rows = withoutAxis(out, axis);
  // prettier-ignore
  const { count, starts: [o, p] } = cells(rows.shape, rows, withoutAxis(x, axis));
  return () => {
    for (let i = 0; i < count; i++) share(d, length, o[i], so, p[i], sp);
  };
}

function share(d, length, o, so, p, sp) {
  let top = d[p];
  for (let n = length, a = p; n > 0; n--, a += sp) if (d[a] > top) top = d[a];
  let sum = 0;
  for (let n = length, a = p, b = o; n > 0; n--, a += sp, b += so) {
    const part = power(d[a] - top);
    d[b] = part;
    sum += part;
  }
  const scale = 1 / sum;
  for (let n = length, b = o; n > 0; n--, b += so) d[b] *= scale;
}

function makeLayerNorm({ d }, out, [x, weight, bias], { axes, eps }) {
  const rows = withoutLast(out, axes);
  // prettier-ignore
  const { count, starts: [o, p] } = cells(rows.shape, rows, withoutLast(x, axes));
  const [length, step] = [(numel(out) / numel(rows)) | 0, x.strides.at(-1)];
  return () => {
    for (let i = 0; i < count; i++)
      standardise(d, length, o[i], p[i], step, weight.at, bias.at, eps);
  };
}

function standardise(d, length, o, p, step, weight, bias, eps) {
  let mean = 0;
  for (let n = length, a = p; n > 0; n--, a += step) mean += d[a];
  mean /= length;
  let variance = 0;
  for (let n = length, a = p; n > 0; n--, a += step) variance += (d[a] - mean) * (d[a] - mean);
  const scale = 1 / Math.sqrt(variance / length + eps);
  for (let n = 0, a = p; n < length; n++, a += step)
    d[o + n] = (d[a] - mean) * scale * d[weight + n] + d[bias + n];
}

// In evaluation: each channel times a number plus a number, which `pack` makes from the four.
function makeBatchNorm({ d }, out, [x, weight, bias, mean, variance], { eps }, { own }) {
  const channels = x.shape[1];
  const strides = x.shape.map((length, axis) => (axis === 1 && length > 1 ? 1 : 0));
  const { count, length, starts, steps } = lines(out.shape, out, x, { at: own, strides });
  const [[o, p, q], [so, sp, sq]] = [starts, steps];
  const pack = () => {
    for (let c = 0; c < channels; c++) {
      d[own + c] = d[weight.at + c] / Math.sqrt(d[variance.at + c] + eps);
      d[own + channels + c] = d[bias.at + c] - d[mean.at + c] * d[own + c];
    }
  };
  const run = () => {
    for (let i = 0; i < count; i++) rescale(d, length, o[i], so, p[i], sp, q[i], sq, channels);
  };
  return { pack, run };
}

function rescale(d, n, o, so, a, sa, c, sc, channels) {
  for (; n > 0; n--, o += so, a += sa, c += sc) d[o] = d[a] * d[c] + d[c + channels];
}

function makeMean({ d }, out, [x]) {
  // the averaged axes of `out` have length 1 and step 0
  const { count, length, starts, steps } = lines(x.shape, x, out);
  const [[p, o], [sp, so], kept] = [starts, steps, numel(out)];
  const part = kept / numel(x);
  return () => {
    d.fill(0, out.at, out.at + kept);
    for (let i = 0; i < count; i++) BINARY.add(d, length, o[i], so, o[i], so, p[i], sp);
    for (let b = out.at; b < out.at + kept; b++) d[b] *= part;
  };
}

// -------------------------------------------------------------------------------------------------------
// products

function makeMatmul({ d, multiply }, out, [a, b, bias], _, { scratch }) {
  const [m, k] = a.shape.slice(-2);
  const n = b.shape.at(-1);
  const products = withoutLast(out, 2);
  // prettier-ignore
  const { count, starts: [c, p, q] } = cells(products.shape, products, withoutLast(a, 2), withoutLast(b, 2));
  const left = rowsOfProduct(d, m, k, a.strides.at(-2), a.strides.at(-1), scratch);
  const right = rowsOfProduct(d, n, k, b.strides.at(-1), b.strides.at(-2), scratch + m * k);
  const added = bias ? bias.at : -1;
  return () => {
    for (let i = 0; i < count; i++)
      multiply(m, n, k, left.at(p[i]), left.step, right.at(q[i]), right.step, c[i], n, added);
  };
}

// A matrix whose rows lie together: where it is, or copied to `to` first. { step, at(its first
// number) }.
function rowsOfProduct(d, rows, columns, down, along, to) {
  if (along === 1 || columns === 1) return { step: down, at: (from) => from };
  const at = (from) => {
    for (let i = 0; i < rows; i++)
      UNARY.copy(d, columns, to + i * columns, 1, from + i * down, along);
    return to;
  };
  return { step: columns, at };
}

// A 1x1 convolution of a map whose channels lie together and whose cells follow each other is a
// product as it stands.
function isDirect(x, out, weight, { stride, padding, groups }) {
  const [, , rows, columns] = out.shape;
  const even =
    rows === 1 || columns === 1 || x.strides[2] * stride[0] === x.strides[3] * stride[1] * columns;
  const single = weight.shape[2] * weight.shape[3] === 1 && groups === 1 && x.shape[0] === 1;
  return (
    single && padding[0] + padding[1] === 0 && (x.strides[1] === 1 || x.shape[1] === 1) && even
  );
}

function makeConv({ d, multiply }, out, [x, weight, bias], settings, { own, scratch }) {
  const [outputs, inputs, ...kernel] = weight.shape; // inputs of one group
  const { groups, stride } = settings;
  const added = bias ? bias.at : -1;
  if (isDirect(x, out, weight, settings)) {
    const step = out.shape[3] > 1 ? x.strides[3] * stride[1] : x.strides[2] * stride[0];
    const rows = (numel(out) / outputs) | 0;
    return () =>
      multiply(rows, outputs, inputs, x.at, step, weight.at, inputs, out.at, outputs, added);
  }
  const { taps, count, seen } = windows(x, out, { ...settings, kernel });
  if (inputs === 1 && outputs === groups) {
    const pack = () => {
      for (let tap = 0; tap < taps; tap++)
        UNARY.copy(d, outputs, own + tap * outputs, 1, weight.at + tap, taps);
    };
    return {
      pack,
      run: () => channelByChannel(d, count, outputs, out.at, seen, taps, x.strides[1], own, added),
    };
  }
  const [width, of] = [inputs * taps, (outputs / groups) | 0];
  const pack = () => {
    for (let o = 0; o < outputs; o++) { // taps x inputs, as `unroll` lays them
      for (let tap = 0; tap < taps; tap++) {
        UNARY.copy(d, inputs, own + o * width + tap * inputs, 1, weight.at + o * width + tap, taps);
      }
    }
  }; // prettier-ignore
  const run = () => {
    for (let g = 0; g < groups; g++) {
      unroll(d, seen, inputs, g * inputs * x.strides[1], x.strides[1], scratch);
      const bias = added < 0 ? -1 : added + g * of;
      multiply(
        count,
        of,
        width,
        scratch,
        width,
        own + g * of * width,
        width,
        out.at + g * of,
        outputs,
        bias,
      );
    }
  };
  return { pack, run };
}

// What each cell's window sees, as a row of a matrix.
function unroll(d, seen, channels, first, step, to) {
  for (let i = 0; i < seen.length; i++) {
    const from = seen[i];
    if (from < 0) for (let c = 0; c < channels; c++) d[to + c] = 0;
    else for (let c = 0, a = from + first; c < channels; c++, a += step) d[to + c] = d[a];
    to += channels;
  }
}

// A convolution with one kernel for each channel is no matrix product.
function channelByChannel(d, count, channels, out, seen, taps, step, weight, bias) {
  for (let cell = 0; cell < count; cell++, out += channels) {
    for (let c = 0; c < channels; c++) d[out + c] = bias < 0 ? 0 : d[bias + c];
    for (let tap = 0; tap < taps; tap++) {
      const from = seen[cell * taps + tap];
      const w = weight + tap * channels;
      if (from >= 0)
        for (let c = 0, a = from; c < channels; c++, a += step) d[out + c] += d[a] * d[w + c];
    }
  }
}

// --------------------------------------------------------------------------------------------------------
// pooling

function makeMaxPool({ d }, out, [x], settings) {
  const { taps, seen } = windows(x, out, settings);
  return () => {
    d.fill(-Infinity, out.at, out.at + numel(out));
    largest(d, out.shape[1], out.at, seen, taps, x.strides[1]);
  };
}

function largest(d, channels, out, seen, taps, step) {
  for (let i = 0; i < seen.length; i++) {
    const to = out + Math.floor(i / taps) * channels;
    if (seen[i] >= 0)
      for (let c = 0, a = seen[i]; c < channels; c++, a += step)
        if (d[a] > d[to + c]) d[to + c] = d[a];
  }
}

function makeAvgPool({ d }, out, [x], settings) {
  const { taps, count, seen } = windows(x, out, settings);
  const parts = Float64Array.from(
    { length: count },
    (_, cell) => 1 / divisorOf(cell, x, out, settings),
  );
  return () => {
    d.fill(0, out.at, out.at + numel(out));
    average(d, out.shape[1], out.at, seen, taps, x.strides[1], parts);
  };
}

function average(d, channels, out, seen, taps, step, parts) {
  for (let i = 0; i < seen.length; i++) {
    const cell = Math.floor(i / taps);
    const to = out + cell * channels;
    if (seen[i] >= 0)
      for (let c = 0, a = seen[i]; c < channels; c++, a += step) d[to + c] += d[a] * parts[cell];
  }
}

// By what a window's sum is divided: its cells on the map, with the padding if that counts; never
// what lies beyond.
function divisorOf(cell, x, out, { kernel, stride, padding, count_padding }) {
  const place = [Math.floor(cell / out.shape[3]) % out.shape[2], cell % out.shape[3]];
  return place.reduce((product, i, axis) => {
    const start = i * stride[axis] - padding[axis];
    const [low, high] = count_padding ? [-padding[axis], padding[axis]] : [0, 0];
    return (
      product * (Math.min(start + kernel[axis], x.shape[2 + axis] + high) - Math.max(start, low))
    );
  }, 1);
}
