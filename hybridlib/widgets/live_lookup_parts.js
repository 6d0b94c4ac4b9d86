// The part of the look-up that is built once for each model: its answer.

import { h } from "./common.js";

export const percent = (share) => `${(100 * share).toFixed(0)} %`;

// Bars for the ten classes; those in the picture have a frame, the one asked for a mark.
//   draw(shares, classes, asked), or without shares
export function barsOf() {
  const lines = Array.from({ length: 10 }, (_, k) => {
    const name = h("span", {}, String(k));
    const bar = h("span", { class: "lu-bar" });
    const share = h("span", { class: "lu-share" });
    const node = h("li", {}, name, h("span", { class: "lu-track" }, bar), share);
    return { bar, share, node };
  });
  return {
    node: h(
      "ul",
      { class: "lu-bars", "aria-label": "the answer" },
      lines.map(({ node }) => node),
    ),
    draw: (shares, classes, asked) => {
      const best = shares ? shares.indexOf(Math.max(...shares)) : -1;
      lines.forEach(({ bar, share, node }, k) => {
        bar.style.width = `${100 * (shares?.[k] ?? 0)}%`;
        share.textContent = shares ? percent(shares[k]) : "";
        node.classList.toggle("lu-there", classes.includes(k));
        node.classList.toggle("lu-asked", k === classes[asked]);
        node.classList.toggle("lu-best", k === best);
      });
    },
  };
}
