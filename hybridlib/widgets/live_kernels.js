// The 19 kinds of node of a model's graph. `d` is the memory that holds all numbers; a tensor in it is { at, shape, strides },
// so that views (transposed, sliced, repeated) cost nothing. Results have no gaps; maps have their channels together.
// A maker takes ({ d, ints, multiply }, out, operands, settings, room), works out how to step, and returns `run`; or
// { pack, run }, where `pack` is to be done again after a weight was changed. `room` has the positions that `needs` asks for.

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
  const unrolled = numel(out) * (numel(second) / second.shape[0] / out.shape[1]);
  return { own: numel(second), scratch: isDirect(x, out, second, settings) ? 0 : unrolled };
}

// ---------------------------------------------------------------------------------------------- number by number

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

// x Phi(x), with the error function of Abramowitz and Stegun (1964), 7.1.28: its error stays below 3e-7.
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

// -------------------------------------------------------------------------------------------------------- moving

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
    for (let i = 0; i < count; i++) {
      for (let n = length, to = o[i], from = p[i], at = q[i]; n > 0; n--, to += so, from += sp, at += sq) {
        d[to] = d[from + step * ints[at]];
      }
    }
  };
}

// The same with one index for all.
function makeIndexSelect(memory, out, [x, index], { axis }) {
  const strides = out.shape.map((_, i) => (i === axis ? index.strides[0] : 0));
  return makeGather(memory, out, [x, { ...index, shape: out.shape, strides }], { axis });
}

// ------------------------------------------------------------------------------------------ shares, norms, averages

function makeSoftmax({ d }, out, [x], { axis }) {
  const [length, so, sp] = [x.shape[axis], out.strides[axis], x.strides[axis]];
  const rows = withoutAxis(out, axis);
  const { count, starts: [o, p] } = cells(rows.shape, rows, withoutAxis(x, axis)); // prettier-ignore
  return () => {
    for (let i = 0; i < count; i++) {
      let top = -Infinity;
      for (let n = length, a = p[i]; n > 0; n--, a += sp) if (d[a] > top) top = d[a];
      let sum = 0;
      for (let n = length, a = p[i], b = o[i]; n > 0; n--, a += sp, b += so) sum += d[b] = Math.exp(d[a] - top);
      const share = 1 / sum;
      for (let n = length, b = o[i]; n > 0; n--, b += so) d[b] *= share;
    }
  };
}

function makeLayerNorm({ d }, out, [x, weight, bias], { axes, eps }) {
  const rows = withoutLast(out, axes);
  const { count, starts: [o, p] } = cells(rows.shape, rows, withoutLast(x, axes)); // prettier-ignore
  const [length, step, w, s] = [numel(out) / numel(rows), x.strides.at(-1), weight.at, bias.at];
  return () => {
    for (let i = 0; i < count; i++) {
      let mean = 0;
      for (let n = length, a = p[i]; n > 0; n--, a += step) mean += d[a];
      mean /= length;
      let variance = 0;
      for (let n = length, a = p[i]; n > 0; n--, a += step) variance += (d[a] - mean) ** 2;
      const scale = 1 / Math.sqrt(variance / length + eps);
      for (let n = 0, a = p[i], b = o[i]; n < length; n++, a += step) d[b + n] = (d[a] - mean) * scale * d[w + n] + d[s + n];
    }
  };
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
    for (let i = 0; i < count; i++) {
      for (let n = length, b = o[i], a = p[i], c = q[i]; n > 0; n--, b += so, a += sp, c += sq) {
        d[b] = d[a] * d[c] + d[c + channels];
      }
    }
  };
  return { pack, run };
}

function makeMean({ d }, out, [x]) {
  const { count, length, starts, steps } = lines(x.shape, x, out); // the averaged axes of `out` have length and step 1 and 0
  const [[p, o], [sp, so], kept] = [starts, steps, numel(out)];
  const share = kept / numel(x);
  return () => {
    d.fill(0, out.at, out.at + kept);
    for (let i = 0; i < count; i++) for (let n = length, a = p[i], b = o[i]; n > 0; n--, a += sp, b += so) d[b] += d[a];
    for (let b = out.at; b < out.at + kept; b++) d[b] *= share;
  };
}

// ------------------------------------------------------------------------------------------------------- products

// A matrix whose rows lie together, as it is or copied to `to` on every run: { start, step, copy }.
function rowsTogether({ d }, { at, shape: [rows, columns], strides: [down, along] }, to) {
  if (along === 1 || columns === 1) return { start: at, step: down, copy: null };
  const copy = (from) => {
    for (let i = 0, b = to; i < rows; i++) for (let j = 0; j < columns; j++, b++) d[b] = d[from + i * down + j * along];
  };
  return { start: to, step: columns, copy };
}

function makeMatmul(memory, out, [a, b, bias], _, { scratch }) {
  const [m, k] = a.shape.slice(-2);
  const n = b.shape.at(-1);
  const matrix = ({ at, strides }, shape, steps) => ({ at, shape, strides: steps.map((axis) => strides.at(axis)) });
  const left = rowsTogether(memory, matrix(a, [m, k], [-2, -1]), scratch);
  const right = rowsTogether(memory, matrix(b, [n, k], [-1, -2]), scratch + m * k);
  const products = withoutLast(out, 2);
  const { count, starts: [c, p, q] } = cells(products.shape, products, withoutLast(a, 2), withoutLast(b, 2)); // prettier-ignore
  const added = bias ? bias.at : -1;
  return () => {
    for (let i = 0; i < count; i++) {
      left.copy?.(p[i]);
      right.copy?.(q[i]);
      const [from, by] = [left.copy ? left.start : p[i], right.copy ? right.start : q[i]];
      memory.multiply(m, n, k, from, left.step, by, right.step, c[i], n, added);
    }
  };
}

// A 1x1 convolution of a map whose channels lie together and whose cells follow each other is a product as it stands.
function isDirect(x, out, weight, { stride, padding, groups }) {
  const [, , rows, columns] = out.shape;
  const step = x.strides[3] * stride[1];
  const even = rows === 1 || columns === 1 || x.strides[2] * stride[0] === step * columns;
  const single = weight.shape[2] * weight.shape[3] === 1 && groups === 1 && x.shape[0] === 1;
  return single && padding[0] + padding[1] === 0 && (x.strides[1] === 1 || x.shape[1] === 1) && even;
}

function makeConv(memory, out, [x, weight, bias], settings, { own, scratch }) {
  const { d, multiply } = memory;
  const [outputs, inputs, ...kernel] = weight.shape; // inputs of one group
  const { groups, stride } = settings;
  const added = bias ? bias.at : -1;
  if (isDirect(x, out, weight, settings)) {
    const step = out.shape[3] > 1 ? x.strides[3] * stride[1] : x.strides[2] * stride[0];
    return () => multiply(numel(out) / outputs, outputs, inputs, x.at, step, weight.at, inputs, out.at, outputs, added);
  }
  const seen = windows(x, out, { ...settings, kernel });
  if (inputs === 1 && outputs === groups) return makeDepthwise(memory, out, x, weight.at, added, seen, own);
  const each = inputs * seen.taps;
  const of = outputs / groups;
  const channel = x.strides[1];
  const pack = () => { // outputs x taps x inputs, as the cells are unrolled below
    for (let o = 0, b = own; o < outputs; o++) {
      for (let tap = 0; tap < seen.taps; tap++) {
        for (let c = 0; c < inputs; c++, b++) d[b] = d[weight.at + (o * inputs + c) * seen.taps + tap];
      }
    }
  }; // prettier-ignore
  const run = () => {
    for (let g = 0; g < groups; g++) {
      let b = scratch;
      for (let i = 0; i < seen.seen.length; i++) {
        let a = seen.seen[i] + g * inputs * channel;
        if (seen.seen[i] < 0) for (let c = 0; c < inputs; c++, b++) d[b] = 0;
        else for (let c = 0; c < inputs; c++, a += channel, b++) d[b] = d[a];
      }
      const bias = added < 0 ? -1 : added + g * of;
      multiply(seen.cells, of, each, scratch, each, own + g * of * each, each, out.at + g * of, outputs, bias);
    }
  };
  return { pack, run };
}

// One kernel for each channel: no matrix product.
function makeDepthwise({ d }, out, x, weight, bias, { taps, cells: count, seen }, own) {
  const [channels, step] = [out.shape[1], x.strides[1]];
  const pack = () => {
    for (let c = 0; c < channels; c++) for (let tap = 0; tap < taps; tap++) d[own + tap * channels + c] = d[weight + c * taps + tap];
  };
  const run = () => {
    for (let cell = 0; cell < count; cell++) {
      const to = out.at + cell * channels;
      for (let c = 0; c < channels; c++) d[to + c] = bias < 0 ? 0 : d[bias + c];
      for (let tap = 0; tap < taps; tap++) {
        const from = seen[cell * taps + tap];
        if (from < 0) continue;
        const w = own + tap * channels;
        for (let c = 0, a = from; c < channels; c++, a += step) d[to + c] += d[a] * d[w + c];
      }
    }
  };
  return { pack, run };
}

// -------------------------------------------------------------------------------------------------------- pooling

function makeMaxPool({ d }, out, [x], settings) {
  const { taps, cells: count, seen } = windows(x, out, settings);
  const [channels, step] = [out.shape[1], x.strides[1]];
  return () => {
    d.fill(-Infinity, out.at, out.at + numel(out));
    for (let i = 0; i < count * taps; i++) {
      if (seen[i] < 0) continue;
      const to = out.at + Math.floor(i / taps) * channels;
      for (let c = 0, a = seen[i]; c < channels; c++, a += step) if (d[a] > d[to + c]) d[to + c] = d[a];
    }
  };
}

function makeAvgPool({ d }, out, [x], settings) {
  const { taps, cells: count, seen } = windows(x, out, settings);
  const [channels, step] = [out.shape[1], x.strides[1]];
  const inside = Array.from({ length: count }, (_, cell) => divisorOf(cell, x, out, settings));
  return () => {
    d.fill(0, out.at, out.at + numel(out));
    for (let i = 0; i < count * taps; i++) {
      if (seen[i] < 0) continue;
      const cell = Math.floor(i / taps);
      const to = out.at + cell * channels;
      for (let c = 0, a = seen[i]; c < channels; c++, a += step) d[to + c] += d[a] / inside[cell];
    }
  };
}

// By what a window's sum is divided: its cells on the map, with the padding if that counts; never what lies beyond.
function divisorOf(cell, x, out, { kernel, stride, padding, count_padding }) {
  const place = [Math.floor(cell / out.shape[3]) % out.shape[2], cell % out.shape[3]];
  return place.reduce((product, i, axis) => {
    const start = i * stride[axis] - padding[axis];
    const [low, high] = count_padding ? [-padding[axis], padding[axis]] : [0, 0];
    return product * (Math.min(start + kernel[axis], x.shape[2 + axis] + high) - Math.max(start, low));
  }, 1);
}
