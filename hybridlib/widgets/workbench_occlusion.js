// The map of what an answer hangs on: a square is laid over one place after the other, and the loss
// of probability noted.
// It is made in slices, with the page free to answer in between.

import { SIDE, covered } from "./workbench_ink.js";

export const PLACES = 8; // in a row
const SLICE = 10; // ms of work before the page has its turn

// Starts the map; returns a function that stops it.
//   picture: the bytes that the model sees;  share(bytes) -> the probability of the class in
// question
//   onPart(drops, done): after every slice; drops: PLACES x PLACES, NaN where not yet known
export function occlude({ picture, share, size, grey, onPart }) {
  const drops = new Float32Array(PLACES * PLACES).fill(NaN);
  const step = SIDE / PLACES;
  let place = 0;
  let whole = null;
  const channel = new MessageChannel();
  const stop = () => channel.port1.close();
  channel.port1.onmessage = () => {
    const until = performance.now() + SLICE;
    whole ??= share(picture);
    do {
      const [row, col] = [
        (Math.floor(place / PLACES) + 0.5) * step,
        ((place % PLACES) + 0.5) * step,
      ];
      drops[place++] = whole - share(covered(picture, { row, col, size, grey }));
    } while (place < drops.length && performance.now() < until);
    const done = place === drops.length;
    if (done) stop();
    else channel.port2.postMessage(null);
    onPart(drops, done);
  };
  channel.port2.postMessage(null);
  return stop;
}
