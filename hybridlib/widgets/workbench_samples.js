// Pictures to start from: a strip of samples, and the ways in which a photograph comes in.

import { button, bytes, h } from "./common.js";
import { grey, paint } from "./colours.js";
import { SIDE } from "./workbench_ink.js";
import { inkOfFile } from "./workbench_photo.js";

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

// A button for a file, and dropping and pasting anywhere on `root`. onInk(ink, name),
// onTrouble(sentence).
// The last file given wins, however long each takes. Returns { node, close }.
export function photographs(root, { onInk, onTrouble }) {
  let latest = 0;
  const read = async (file) => {
    const mine = ++latest;
    try {
      const ink = await inkOfFile(file);
      if (mine === latest) onInk(ink, file.name ?? "the picture");
    } catch (error) {
      if (mine === latest) onTrouble(error.message);
    }
  };
  const input = h("input", {
    type: "file",
    accept: "image/*",
    class: "hx-hidden",
    tabindex: "-1",
    "aria-hidden": "true",
    onchange: () => {
      if (input.files[0]) read(input.files[0]);
      input.value = "";
    },
  });
  const pick = button("Photo …", () => input.click(), {
    title: "Choose, drop or paste a picture. It stays on this page.",
  });
  const pictureIn = (items) =>
    [...(items?.files ?? [])].find((file) => file.type.startsWith("image/")) ?? items?.files?.[0];
  const over = (on) => (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    root.classList.toggle("wb-drop", on);
  };
  root.addEventListener("dragover", over(true));
  root.addEventListener("dragleave", over(false));
  root.addEventListener("drop", (event) => {
    over(false)(event);
    const file = pictureIn(event.dataTransfer);
    if (file) read(file);
  });
  const paste = (event) => {
    const file = pictureIn(event.clipboardData);
    const ours = event.target === document.body || root.contains(event.target);
    if (!file || !ours) return;
    event.preventDefault();
    read(file);
  };
  document.addEventListener("paste", paste);
  return {
    node: h("span", {}, input, pick),
    close: () => document.removeEventListener("paste", paste),
    stop: () => {
      latest++;
    },
  };
}
