// The part of DeiT's desk that is built once: the answers of the two heads, side by side.

import { h } from "./common.js";

// Bars for each class, one beside the other for each head.  draw(shares): for each head a share of
// each class
export function headAnswers(classes, heads) {
  const columns = classes.map((name) => {
    const bars = heads.map((_, i) => h("span", { class: `lk-bar lk-bar${i}` }));
    const tracks = bars.map((bar) => h("span", { class: "lk-track" }, bar));
    return {
      bars,
      node: h("li", {}, h("span", { class: "lk-tracks" }, tracks), h("span", {}, name)),
    };
  });
  const key = heads.map((head, i) =>
    h("span", { class: "lk-key" }, h("span", { class: `lk-dot lk-bar${i}` }), ` ${head}`),
  );
  const words = h("p", { class: "hx-note lk-words" });
  return {
    node: h(
      "div",
      {},
      h(
        "ul",
        { class: "lk-answers" },
        columns.map(({ node }) => node),
      ),
      h("p", { class: "hx-row" }, key),
      words,
    ),
    draw: (shares) => {
      columns.forEach(({ bars }, c) =>
        bars.forEach((bar, i) => {
          bar.style.height = `${100 * shares[i][c]}%`;
        }),
      );
      words.textContent = shares
        .map((share, i) => {
          const order = Array.from(share, (v, c) => [v, classes[c]])
            .sort(([a], [b]) => b - a)
            .slice(0, 2);
          return `${heads[i]}: ${order.map(([v, name]) => `${name} ${(100 * v).toFixed(0)} %`).join(", ")}`;
        })
        .join("; ");
    },
  };
}
