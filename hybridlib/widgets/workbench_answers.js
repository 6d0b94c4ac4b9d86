// What a system says: a bar for every class, and a ladder of what it would have said after every
// block.

import { h, newId } from "./common.js";
import { softmax } from "./live_ink.js";
import { blockName } from "./workbench_maps.js";

export const percent = (share) =>
  `${(100 * share).toFixed(share < 0.0995 && share > 0.0005 ? 1 : 0)} %`;
export const best = (values) =>
  values.reduce((top, value, i) => (value > values[top] ? i : top), 0);

const write = (node, text) => {
  if (node.textContent !== text) node.textContent = text;
};
const stretch = (bar, share) => {
  const length = share.toFixed(4);
  if (bar.length !== length) bar.style.transform = `scaleX(${length})`;
  bar.length = length; // what stands there
};

// Bars with their numbers as text. draw(probabilities, or null for no answer).
export function bars(classes) {
  const lines = classes.map((name) => {
    const bar = h("span", { class: "wb-bar" });
    const value = h("span", { class: "wb-share" });
    return {
      bar,
      value,
      node: h(
        "li",
        {},
        h("span", { class: "wb-class" }, name),
        h("span", { class: "wb-track" }, bar),
        value,
      ),
    };
  });
  const title = newId();
  const node = h(
    "div",
    { class: "wb-part" },
    h("p", { class: "hx-title", id: title }, "The answer"),
    h(
      "ul",
      { class: "wb-bars", "aria-labelledby": title },
      lines.map(({ node: line }) => line),
    ),
  );
  return {
    node,
    draw: (probabilities) =>
      lines.forEach(({ bar, value, node: line }, i) => {
        const share = probabilities?.[i] ?? 0;
        stretch(bar, share);
        write(value, probabilities ? percent(share) : "–");
        line.classList.toggle("wb-best", Boolean(probabilities) && i === best(probabilities));
        if (probabilities) line.dataset.share = share.toPrecision(8);
        else delete line.dataset.share;
      }),
  };
}

// One line for each block: the class that leads there and its probability. draw(result, or null for
// no answer).
export function ladder(classes) {
  const title = newId();
  const list = h("ol", { class: "wb-ladder", "aria-labelledby": title });
  const note = h("p", { class: "hx-note" });
  const node = h(
    "div",
    { class: "wb-part wb-knows" },
    h("p", { class: "hx-title", id: title }, "What each layer already knows"),
    list,
    note,
  );
  let lines = [];
  let built = null;
  // Its lines are the model's blocks, so that they are made anew for another model.
  const build = (result) => {
    built = result.layers.map(({ block }) => block).join();
    lines = result.layers.map((layer, i) => {
      const bar = h("span", { class: "wb-bar" });
      const says = h("span", { class: "wb-share" });
      const line = h(
        "li",
        { title: layer.block },
        h("span", { class: "wb-class" }, blockName(result, i)),
        h("span", { class: "wb-track" }, bar),
        says,
      );
      return { bar, says, line };
    });
    list.replaceChildren(...lines.map(({ line }) => line));
    const unread = result.layers.filter(({ logits }) => !logits).length;
    node.hidden = !lines.length;
    write(note, unread ? "A dash: the maps are not yet as wide as the head." : "");
    note.hidden = !unread;
  };
  return {
    node,
    draw: (result) => {
      if (result && built !== result.layers.map(({ block }) => block).join()) build(result);
      const last = result ? best(result.logits) : -1;
      lines.forEach(({ bar, says, line }, i) => {
        const logits = result?.layers[i].logits;
        const probabilities = logits ? softmax(logits) : null;
        const top = probabilities ? best(probabilities) : -1;
        stretch(bar, probabilities ? probabilities[top] : 0);
        write(says, probabilities ? `${classes[top]} · ${percent(probabilities[top])}` : "–");
        line.classList.toggle("wb-best", top >= 0 && top === last);
      });
    },
  };
}
