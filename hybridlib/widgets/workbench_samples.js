// Pictures to start from: a strip of samples.

import { button, bytes, h } from "./common.js";
import { grey, paint } from "./colours.js";
import { SIDE } from "./workbench_ink.js";

// One array of bytes for each sample.
export function readSamples(view) {
  const all = bytes(view);
  return Array.from({ length: all.length / SIDE ** 2 }, (_, i) =>
    all.slice(i * SIDE ** 2, (i + 1) * SIDE ** 2),
  );
}

export function sampleStrip(samples, labels, onTake) {
  const thumbs = samples.map((sample, i) => {
    const canvas = h("canvas", { "aria-hidden": "true" });
    paint(canvas, SIDE, SIDE, (row, col) => grey(sample[row * SIDE + col] / 255));
    return button(canvas, () => onTake(i), {
      class: "hx-button wb-sample",
      "aria-label": `take ${labels[i]}`,
      title: labels[i],
    });
  });
  const node = h(
    "div",
    { class: "wb-samples", role: "group", "aria-label": "Held-out test digits" },
    thumbs,
  );
  return {
    node,
    set: (chosen) =>
      thumbs.forEach((thumb, i) => thumb.setAttribute("aria-pressed", String(i === chosen))),
  };
}
