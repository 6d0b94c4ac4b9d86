// Pictures that Python sends as PNG or JPEG bytes, one after the other in one buffer.

import { bytes } from "./common.js";

// One Blob for each picture. `lengths` holds the size of each in bytes.
export function pictureBlobs(view, lengths) {
  const all = bytes(view);
  let at = 0;
  return lengths.map((length) => {
    const part = all.slice(at, at + length);
    at += length;
    return new Blob([part], { type: part[0] === 0x89 ? "image/png" : "image/jpeg" });
  });
}
