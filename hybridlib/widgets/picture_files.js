// Pictures of the reader's own: the ways in which one comes in. It is read here and goes nowhere.

import { button, h } from "./common.js";

const WITHOUT_SIZE = 384; // pixels of the side, for an SVG that has none

// A button for a file, and dropping and pasting anywhere on `root`.
//   read(file) -> what is made of it;  onPicture(that, name);  onTrouble(sentence)
//   over: a class for `root` while a file hangs over it
// The last file given wins, however long each takes. Returns { node, close, stop }: close() stops
// listening, stop() forgets what is still being read.
export function pictureFiles(root, { read, onPicture, onTrouble, over }) {
  let latest = 0;
  const take = async (file) => {
    const mine = ++latest;
    try {
      const picture = await read(file);
      if (mine === latest) onPicture(picture, file.name ?? "the picture");
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
      if (input.files[0]) take(input.files[0]);
      input.value = "";
    },
  });
  const pick = button("Photo …", () => input.click(), {
    title: "Choose, drop or paste a picture. It stays on this page.",
  });
  const pictureIn = (items) =>
    [...(items?.files ?? [])].find((file) => file.type.startsWith("image/")) ?? items?.files?.[0];
  const hangs = (on) => (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    root.classList.toggle(over, on);
  };
  root.addEventListener("dragover", hangs(true));
  root.addEventListener("dragleave", hangs(false));
  root.addEventListener("drop", (event) => {
    hangs(false)(event);
    const file = pictureIn(event.dataTransfer);
    if (file) take(file);
  });
  const paste = (event) => {
    const file = pictureIn(event.clipboardData);
    const ours = root.contains(event.target) || (event.target === document.body && inSight(root));
    if (!file || !ours || event.defaultPrevented) return;
    event.preventDefault();
    take(file);
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

function inSight(node) {
  const { top, bottom } = node.getBoundingClientRect();
  return bottom > 0 && top < innerHeight;
}

export const nameOf = (file) => file.name ?? "This picture";

// The pixels of a picture file, its longer side reduced to `largest` at most, on white where it is
// transparent: { data: red, green, blue and alpha of each, width, height }. Fails with a sentence for
// the reader.
export async function pixelsOf(file, largest) {
  const picture = await decoded(file);
  const scale = Math.min(1, largest / Math.max(picture.width, picture.height));
  const [width, height] = [picture.width, picture.height].map((side) =>
    Math.max(1, Math.round(side * scale)),
  );
  const sheet = document.createElement("canvas");
  Object.assign(sheet, { width, height });
  const context = sheet.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.drawImage(picture, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}

async function decoded(file) {
  try {
    return await createImageBitmap(file);
  } catch {
    // SVG, and old browsers
    const url = URL.createObjectURL(file);
    const image = new Image();
    try {
      image.src = url;
      await image.decode();
      if (!image.width) image.width = image.height = WITHOUT_SIZE;
      return image;
    } catch {
      throw new Error(
        `${nameOf(file)} is not a picture that this browser can read; try a PNG or JPEG.`,
      );
    } finally {
      setTimeout(() => URL.revokeObjectURL(url), 1000);
    }
  }
}
