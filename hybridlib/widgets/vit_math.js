// A Vision Transformer's forward pass in plain JavaScript: hybridlib.models.vit.ViT, line by line. No drawing here.
// Matrices are Float32Arrays, row by row; a linear layer's weight is (outputs, inputs), as in PyTorch.

// IEEE half precision, little endian, to a Float32Array.
export function halfToFloat(view) {
  return Float32Array.from({ length: view.byteLength / 2 }, (_, i) => {
    const bits = view.getUint16(2 * i, true);
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 0x1f;
    const fraction = bits & 0x3ff;
    if (exponent === 0) return sign * fraction * 2 ** -24;
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  });
}

// { name: values } from all weights in one run, in the order of `manifest`: [[name, shape], ...].
export function unpack(view, manifest) {
  const all = halfToFloat(view);
  let at = 0;
  return Object.fromEntries(manifest.map(([name, shape]) => {
    const size = shape.reduce((a, b) => a * b, 1);
    at += size;
    return [name, all.subarray(at - size, at)];
  }));
}

// y = x W^T + b for n rows of x. Four outputs at a time share each read of x: twice as fast as one.
export function linear(x, n, weight, bias) {
  const outputs = bias.length;
  const inputs = weight.length / outputs;
  const y = new Float32Array(n * outputs);
  for (let r = 0; r < n; r++) {
    const row = r * inputs;
    let o = 0;
    for (; o + 4 <= outputs; o += 4) {
      let a = bias[o], b = bias[o + 1], c = bias[o + 2], d = bias[o + 3];
      for (let i = 0, w = o * inputs; i < inputs; i++, w++) {
        const value = x[row + i];
        a += value * weight[w];
        b += value * weight[w + inputs];
        c += value * weight[w + 2 * inputs];
        d += value * weight[w + 3 * inputs];
      }
      const at = r * outputs + o;
      y[at] = a; y[at + 1] = b; y[at + 2] = c; y[at + 3] = d;
    }
    for (; o < outputs; o++) {
      let sum = bias[o];
      for (let i = 0; i < inputs; i++) sum += x[row + i] * weight[o * inputs + i];
      y[r * outputs + o] = sum;
    }
  }
  return y;
}

export function layerNorm(x, n, weight, bias) {
  const dim = weight.length;
  const y = new Float32Array(x.length);
  for (let r = 0; r < n; r++) {
    const row = x.subarray(r * dim, (r + 1) * dim);
    const mean = row.reduce((a, b) => a + b, 0) / dim;
    const variance = row.reduce((a, b) => a + (b - mean) ** 2, 0) / dim;
    const scale = 1 / Math.sqrt(variance + 1e-6); // eps of timm's and our ViT
    for (let i = 0; i < dim; i++) y[r * dim + i] = (row[i] - mean) * scale * weight[i] + bias[i];
  }
  return y;
}

// Abramowitz and Stegun (1964), 7.1.26: the error stays below 1.5e-7.
export function erf(x) {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const tail = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  return Math.sign(x) * (1 - tail * Math.exp(-x * x));
}

export const gelu = (x) => 0.5 * x * (1 + erf(x / Math.SQRT2));

export function softmax(values) {
  const top = Math.max(...values);
  const powers = Array.from(values, (v) => Math.exp(v - top));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((v) => v / sum);
}

// Patches as rows, channel then row then column. `pixels`: side x side numbers in 0..1, the same in all three channels.
export function cutPatches(pixels, { side, patch, mean, std }) {
  const grid = side / patch;
  const x = new Float32Array(3 * side * side);
  let at = 0;
  for (let n = 0; n < grid * grid; n++) {
    const [top, left] = [Math.floor(n / grid) * patch, (n % grid) * patch];
    for (let c = 0; c < 3; c++) {
      for (let i = 0; i < patch * patch; i++, at++) {
        x[at] = (pixels[(top + Math.floor(i / patch)) * side + left + (i % patch)] - mean[c]) / std[c];
      }
    }
  }
  return x;
}

// softmax(Q K^T / sqrt(d)) V for all heads. `qkv`: n rows of q | k | v, each split by head.
// Returns the mixed values (n x dim) and the maps (heads x n x n).
export function attention(qkv, n, dim, heads) {
  const d = dim / heads;
  const scale = 1 / Math.sqrt(d);
  const mixed = new Float32Array(n * dim);
  const maps = new Float32Array(heads * n * n);
  for (let head = 0; head < heads; head++) {
    for (let q = 0; q < n; q++) {
      const weights = maps.subarray((head * n + q) * n, (head * n + q + 1) * n);
      const query = q * 3 * dim + head * d;
      let top = -Infinity;
      for (let k = 0; k < n; k++) {
        const key = k * 3 * dim + dim + head * d;
        let score = 0;
        for (let i = 0; i < d; i++) score += qkv[query + i] * qkv[key + i];
        weights[k] = score * scale;
        top = Math.max(top, weights[k]);
      }
      let sum = 0;
      for (let k = 0; k < n; k++) { weights[k] = Math.exp(weights[k] - top); sum += weights[k]; }
      for (let k = 0; k < n; k++) {
        weights[k] /= sum;
        const value = k * 3 * dim + 2 * dim + head * d;
        for (let i = 0; i < d; i++) mixed[q * dim + head * d + i] += weights[k] * qkv[value + i];
      }
    }
  }
  return { mixed, maps };
}

// The whole pass: logits and the maps of every block.
export function forward(w, config, pixels) {
  const { dim, depth, heads, side, patch } = config;
  const n = (side / patch) ** 2 + 1;
  const x = new Float32Array(n * dim);
  x.set(w.class_token);
  x.set(linear(cutPatches(pixels, config), n - 1, w["patch_embedding.project.weight"], w["patch_embedding.project.bias"]), dim);
  const add = (y) => { for (let i = 0; i < x.length; i++) x[i] += y[i]; };
  add(w["positions.table"]);
  const maps = [];
  for (let i = 0; i < depth; i++) {
    const layer = (name) => [w[`blocks.${i}.${name}.weight`], w[`blocks.${i}.${name}.bias`]];
    const seen = attention(linear(layerNorm(x, n, ...layer("norm1")), n, ...layer("attention.to_qkv")), n, dim, heads);
    add(linear(seen.mixed, n, ...layer("attention.out")));
    add(linear(linear(layerNorm(x, n, ...layer("norm2")), n, ...layer("mlp.0")).map(gelu), n, ...layer("mlp.2")));
    maps.push(seen.maps);
  }
  const classToken = layerNorm(x.subarray(0, dim), 1, w["norm.weight"], w["norm.bias"]);
  return { logits: linear(classToken, 1, w["head.weight"], w["head.bias"]), maps };
}

// Multiply-adds of one pass, as hybridlib.analysis counts them.
export function multiplyAdds(w, { dim, depth, side, patch }) {
  const n = (side / patch) ** 2 + 1;
  const hidden = w["blocks.0.mlp.0.bias"].length;
  return (n - 1) * w["patch_embedding.project.weight"].length
    + depth * (4 * n * dim * dim + 2 * n * n * dim + 2 * n * dim * hidden) + w["head.weight"].length;
}
