// The table of answers: a row for each model, what it says of the picture at hand, and how many of
// the test photographs it names when they are changed alike.

import { button, h } from "./common.js";

const percent = (share) => `${(100 * share).toFixed(0)} %`;

// models: [name, title, measured], measured: { kind: { level: share } } or null;  count: of the test
// photographs;  onAgain(card): the reader asks once more for a model that did not come
// Gives { node, cards, measure(kind, level, words), words() }.
export function answerTable(models, count, onAgain) {
  const cards = models.map(([name, title, measured]) => cardOf(name, title, measured, onAgain));
  const anyMeasured = cards.some(({ measured }) => measured);
  const head = h("th", { scope: "col" }, "");
  const node = h(
    "table",
    { class: "lf-table" },
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        h("th", { scope: "col" }, "model"),
        h("th", { scope: "col" }, "says"),
        anyMeasured ? head : null,
      ),
    ),
    h(
      "tbody",
      {},
      cards.map((card) => {
        if (!anyMeasured) card.shareCell.remove();
        return card.node;
      }),
    ),
  );
  let said = "";
  return {
    node,
    cards,
    measure: (kind, level, words) => {
      const known = cards.map(({ measured }) => (kind && measured?.[kind]?.[level]) ?? null);
      cards.forEach((card, i) => card.share(known[i]));
      head.textContent = `of ${count.toLocaleString("en")}, ${words}`;
      said = spread(cards, known, count);
    },
    words: () => said,
  };
}

// The most and the least that are right, in words.
function spread(cards, known, count) {
  const some = known.map((share, i) => [share, cards[i].title]).filter(([share]) => share !== null);
  if (some.length < 2) return "";
  some.sort(([a], [b]) => b - a);
  const [[most, first], [least, last]] = [some[0], some[some.length - 1]];
  return (
    `Of ${count.toLocaleString("en")} photographs changed like this, ${first} names ` +
    `${percent(most)}, ${last} ${percent(least)}.`
  );
}

function cardOf(name, title, measured, onAgain) {
  const [answer, share] = [h("span", { class: "lf-answer" }), h("span", { class: "lf-sure" })];
  const mark = h("span", { class: "lf-mark" });
  const [bar, number] = [h("span", { class: "lf-bar" }), h("span", { class: "lf-number" })];
  const retry = button("Try again", () => onAgain(card), { hidden: true });
  const shareCell = h(
    "td",
    {},
    h("span", { class: "lf-track", "aria-hidden": "true" }, bar),
    number,
  );
  const card = {
    name,
    title,
    measured,
    net: null,
    answer: null,
    shareCell,
    node: h(
      "tr",
      {},
      h("th", { scope: "row" }, title),
      h("td", {}, mark, answer, share, retry),
      shareCell,
    ),
    wait: () => {
      [answer.textContent, retry.hidden] = ["…", true];
    },
    fail: (sentence) => {
      [answer.textContent, retry.hidden] = [sentence, false];
    },
    draw: (text, sure, right) => {
      card.answer = text;
      answer.textContent = text;
      share.textContent = percent(sure);
      mark.textContent = right === null ? "" : text === right ? "✓" : "✗";
      card.node.classList.toggle("lf-right", text === right);
    },
    share: (value) => {
      bar.style.width = `${100 * (value ?? 0)}%`;
      number.textContent = value === null ? "–" : percent(value);
    },
  };
  return card;
}
