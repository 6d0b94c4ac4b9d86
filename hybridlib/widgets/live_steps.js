// How kernels go through tensors: lines of numbers side by side, cells of them, and windows of a
// map. Worked out once, at load.
// A tensor is { at, shape, strides }: the position of its first number in memory, and the step of
// each axis.

// Tensors of one shape as `count` lines of `length` numbers: tensor t begins line i at starts[t][i]
// and steps by steps[t].
// The axis that steps least in the first tensor is innermost; axes that lie together in all tensors
// become one.
export function lines(shape, ...tensors) {
  const axes = shape.map((length, axis) => ({
    length,
    steps: tensors.map(({ strides }) => strides[axis]),
  }));
  const merged = [];
  for (const axis of axes
    .filter(({ length }) => length > 1)
    .sort((a, b) => b.steps[0] - a.steps[0])) {
    const last = merged.at(-1);
    if (last?.steps.every((step, t) => step === axis.steps[t] * axis.length)) {
      merged[merged.length - 1] = { length: last.length * axis.length, steps: axis.steps };
    } else {
      merged.push(axis);
    }
  }
  const inner = merged.pop() ?? { length: 1, steps: tensors.map(() => 0) };
  const starts = tensors.map(({ at }, t) => startsOf(at, merged, t));
  return { count: starts[0].length, length: inner.length, starts, steps: inner.steps };
}

// As `lines`, with every number a line of its own: { count, starts }.
export function cells(shape, ...tensors) {
  const axes = shape.map((length, axis) => ({
    length,
    steps: tensors.map(({ strides }) => strides[axis]),
  }));
  const starts = tensors.map(({ at }, t) => startsOf(at, axes, t));
  return { count: starts[0].length, starts };
}

function startsOf(at, axes, t) {
  let starts = Int32Array.of(at);
  for (const { length, steps } of axes) {
    const next = new Int32Array(starts.length * length);
    for (let i = 0; i < next.length; i++)
      next[i] = starts[Math.floor(i / length)] + (i % length) * steps[t];
    starts = next;
  }
  return starts;
}

// The same tensor without its last axes.
export function withoutLast(tensor, axes) {
  return {
    at: tensor.at,
    shape: tensor.shape.slice(0, -axes),
    strides: tensor.strides.slice(0, -axes),
  };
}

// The same tensor without one axis.
export function withoutAxis({ at, shape, strides }, axis) {
  return {
    at,
    shape: shape.filter((_, i) => i !== axis),
    strides: strides.filter((_, i) => i !== axis),
  };
}

// What the cells of a map `b c h w` see of the map x: `taps` places each, row by row of the kernel,
// as the position of x's first channel there, or -1 outside. Cells go image by image and row by
// row, as their numbers lie in `out`.
export function windows(x, out, { kernel, stride, padding, dilation = [1, 1] }) {
  const [images, , rows, columns] = out.shape;
  const [down, along] = kernel;
  const seen = new Int32Array(images * rows * columns * down * along);
  let i = 0;
  for (let image = 0; image < images; image++) {
    for (let cell = 0; cell < rows * columns; cell++) {
      const top = Math.floor(cell / columns) * stride[0] - padding[0];
      const left = (cell % columns) * stride[1] - padding[1];
      for (let tap = 0; tap < down * along; tap++, i++) {
        const row = top + Math.floor(tap / along) * dilation[0];
        const column = left + (tap % along) * dilation[1];
        const inside = row >= 0 && row < x.shape[2] && column >= 0 && column < x.shape[3];
        seen[i] = inside
          ? x.at + image * x.strides[0] + row * x.strides[2] + column * x.strides[3]
          : -1;
      }
    }
  }
  return { taps: down * along, count: images * rows * columns, seen };
}
