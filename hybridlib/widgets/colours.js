// Colour scales, made for these explorables: lightness rises evenly with the number, so order shows
// even in grey.

// OKLCH (lightness 0..1, chroma, hue in degrees) -> sRGB 0..255; chroma shrinks until the colour
// exists.
export function oklch(lightness, chroma, hue) {
  const angle = (hue * Math.PI) / 180;
  for (let c = chroma; ; c -= 0.005) {
    const a = Math.max(c, 0) * Math.cos(angle);
    const b = Math.max(c, 0) * Math.sin(angle);
    const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
    const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
    const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
    const linear = [
      4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
      -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
      -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
    ];
    if (c <= 0 || linear.every((v) => v >= -0.001 && v <= 1.001)) return linear.map(toByte);
  }
}

function toByte(linear) {
  const v = Math.max(0, Math.min(1, linear));
  return Math.round(255 * (v <= 0.0031308 ? 12.92 * v : 1.055 * v ** (1 / 2.4) - 0.055));
}

const LEVELS = 256;
const blend = (a, b, t) => a + (b - a) * t;

// 0 -> 1: night blue, teal, green, pale yellow.
const RAMP = Array.from({ length: LEVELS }, (_, i) => {
  const t = i / (LEVELS - 1);
  return oklch(
    blend(0.2, 0.95, t),
    0.09 + 0.07 * Math.sin(Math.PI * t),
    blend(285, 105, t ** 1.15),
  );
});

// -1 -> 1: blue, pale grey, orange; the two arms are equally dark at equal distance from zero.
const TWO_SIDED = Array.from({ length: 2 * LEVELS - 1 }, (_, i) => {
  const t = i / (LEVELS - 1) - 1;
  return oklch(blend(0.95, 0.45, Math.abs(t)), 0.15 * Math.abs(t), t < 0 ? 255 : 45);
});

const clip = (v, low, high) => Math.max(low, Math.min(high, v || 0));
export const ramp = (t) => RAMP[Math.round(clip(t, 0, 1) * (LEVELS - 1))];
export const twoSided = (t) => TWO_SIDED[Math.round((clip(t, -1, 1) + 1) * (LEVELS - 1))];
export const grey = (t) => {
  const v = Math.round(255 * clip(t, 0, 1));
  return [v, v, v];
};
export const css = ([r, g, b]) => `rgb(${r}, ${g}, ${b})`;

// What a part of a network is: one colour each in every picture of the book, as in
// hybridlib/palette.py. Told apart in normal vision and with any of the three colour deficiencies;
// black or white reads on each at 5 : 1 or more.
export const PARTS = {
  convolution: [71, 148, 215],
  attention: [237, 148, 15],
  "feed-forward": [95, 197, 148],
  norm: [195, 192, 229],
  token: [178, 60, 129],
  pooling: [245, 215, 86],
};

// Black or white, whichever reads better on the colour (relative luminance as WCAG defines it).
export function inkOn(rgb) {
  const [r, g, b] = rgb.map((v) =>
    (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4,
  );
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000" : "#fff";
}

// Paints a grid of numbers, one canvas pixel per cell (the style sheet enlarges it without
// smoothing).
// `colour` gives [r, g, b] or [r, g, b, a], 0..255, or null for a cell left transparent.
export function paint(canvas, rows, cols, colour) {
  // setting it, even to what it is, clears the canvas and costs time
  if (canvas.width !== cols) canvas.width = cols;
  if (canvas.height !== rows) canvas.height = rows;
  const context = canvas.getContext("2d");
  const picture = context.createImageData(cols, rows);
  for (let row = 0, at = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++, at += 4) {
      const rgb = colour(row, col);
      if (rgb) picture.data.set([rgb[0], rgb[1], rgb[2], rgb[3] ?? 255], at);
    }
  }
  context.putImageData(picture, 0, 0);
}

// A legend: the words for both ends, and the scale between them.
export function legend(scale, low, high, from = 0) {
  const stops = Array.from({ length: 17 }, (_, i) => css(scale(blend(from, 1, i / 16)))).join(", ");
  const node = document.createElement("span");
  const bar = document.createElement("span");
  const ends = [document.createElement("span"), document.createElement("span")];
  node.className = "hx-legend";
  bar.className = "hx-legend-bar";
  bar.style.background = `linear-gradient(to right, ${stops})`;
  const set = (a, b) => {
    ends[0].textContent = a;
    ends[1].textContent = b;
  };
  set(low, high);
  node.append(ends[0], bar, ends[1]);
  return { node, set };
}
