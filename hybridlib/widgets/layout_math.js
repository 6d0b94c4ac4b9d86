// CoAtNet's layouts counted: parameters, multiply-adds and map of every stage, as PyTorch counts
// them. No page here.
//
// A plan is { stem_width, stem_stride, widths, depths, strides, head_dim }: CoAtNet's arguments,
// hybridlib/models/coatnet.py.

export const PATCHES = "ViT_REL";
export const lettersOf = (layout) => [...(layout === PATCHES ? "T" : layout)];

// The rows of a layout: the stem, each stage, the head.
//   { name, letter, depth, side, width, parameters, macs, pairs }   pairs: the part of macs between
// pairs of positions, 2 N^2 D
export function countLayout(plan, layout, side, classes) {
  const [s, p] = [plan.stem_width, plan.stem_stride];
  let at = Math.ceil(side / p);
  const patches = layout === PATCHES;
  const rows = [
    patches
      ? {
          name: "S0",
          letter: "P",
          depth: 1,
          parameters: 3 * p * p * s + s,
          macs: at * at * 3 * p * p * s,
        }
      : {
          name: "S0",
          letter: "S",
          depth: 2,
          parameters: 27 * s + 2 * s + 9 * s * s,
          macs: at * at * (27 * s + 9 * s * s),
        },
  ];
  Object.assign(rows[0], { side: at, width: s, pairs: 0 });
  let c = s;
  lettersOf(layout).forEach((letter, i) => {
    const row = {
      name: `S${i + 1}`,
      letter,
      depth: plan.depths[i],
      width: plan.widths[i],
      parameters: 0,
      macs: 0,
      pairs: 0,
    };
    for (let block = 0; block < row.depth; block++) {
      if (!block) at = Math.ceil(at / plan.strides[i]);
      const one = (letter === "C" ? countMBConv : countTransformer)(
        c,
        row.width,
        at,
        plan.head_dim,
      );
      row.parameters += one.parameters;
      row.macs += one.macs;
      row.pairs += one.pairs;
      c = row.width;
    }
    rows.push({ ...row, side: at });
  });
  rows.push({
    name: "head",
    letter: "H",
    depth: 1,
    side: 1,
    width: classes,
    parameters: 2 * c + c * classes + classes,
    macs: c * classes,
    pairs: 0,
  });
  return rows;
}

// A 1x1 convolution on the shortcut, where the channels change.
const shortcut = (c, d, n) =>
  c === d ? { parameters: 0, macs: 0 } : { parameters: c * d + d, macs: n * c * d };

// Norm, 1x1 to 4 D, depthwise 3x3, squeeze-and-excitation over D / 4, 1x1 to D; on a map of n =
// side^2 cells.
function countMBConv(c, d, side) {
  const [n, wide, narrow, skip] = [side * side, 4 * d, d / 4, shortcut(c, d, side * side)];
  return {
    parameters:
      2 * c +
      c * wide +
      2 * wide +
      9 * wide +
      2 * wide +
      2 * wide * narrow +
      narrow +
      wide +
      wide * d +
      d +
      skip.parameters,
    macs: n * (c * wide + 9 * wide + wide * d) + 2 * wide * narrow + skip.macs,
    pairs: 0,
  };
}

// Norm, attention with its table of biases, norm, feed-forward to 4 D and back.
function countTransformer(c, d, side, headDim) {
  const [n, skip] = [side * side, shortcut(c, d, side * side)];
  const pairs = 2 * n * n * d;
  return {
    parameters:
      2 * c +
      3 * (c * d + d) +
      d * d +
      d +
      (d / headDim) * (2 * side - 1) ** 2 +
      2 * d +
      8 * d * d +
      5 * d +
      skip.parameters,
    macs: n * (3 * c * d + d * d + 8 * d * d) + pairs + skip.macs,
    pairs,
  };
}

export const totalOf = (rows, key) => rows.reduce((sum, row) => sum + row[key], 0);

// What can be said of a layout without having trained it.
export function verdict(layout, measured) {
  const dashed = layout === PATCHES ? PATCHES : [...layout].join("-");
  if (layout === PATCHES)
    return `${dashed}: attention alone, on patches. No convolution but the cut.`;
  const convolve = [...layout].filter((one) => one === "C").length;
  const said = [
    `${dashed}: ${convolve} stage${convolve === 1 ? "" : "s"} of convolution, ${4 - convolve} of attention.`,
  ];
  if (/TC/.test(layout))
    said.push(
      "It has C after T. It can be built, but the paper rules it out beforehand: local patterns are commoner in early stages, and convolution is better at them.",
    );
  if (layout[0] === "T")
    said.push(
      "It has T in S1, on the largest map, where the pairs cost most; in the paper S1 always convolves.",
    );
  if (!measured) said.push("Nobody has trained it here: there is no accuracy to show.");
  return said.join(" ");
}
