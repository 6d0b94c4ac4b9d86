// The parts of the distillation bench that are built once: logits to drag, shares side by side, and
// the pulls on each logit.

import { fixed, h, svg } from "./common.js";
import { css, inkOn, twoSided } from "./colours.js";
import { paintedBars } from "./painted_bars.js";

export const MOST = 8; // logits from the middle line to the edge

const percent = (share) => `${(100 * share).toFixed(1)} %`;

// Logits as bars that a pointer paints and keys move.  draw(values)
//   title: a paragraph that names the chart;  onSet(class, value): a bar was moved;  onRest(): it
// stays there;  onChoose(words): by keys
export function logitChart({ title, classes, kind, onSet, onRest, onChoose }) {
  let values = classes.map(() => 0);
  const plot = svg("svg", { class: "db-plot", preserveAspectRatio: "none", "aria-hidden": "true" });
  const node = h(
    "div",
    {
      class: `db-chart db-${kind}`,
      tabindex: "0",
      role: "application",
      "aria-roledescription":
        "logits to edit: left and right choose a class, up and down change it, Delete makes it 0",
    },
    plot,
  );
  const numbers = classes.map(() => h("span", {}));
  const written = () => `${title.textContent}. ${classes[hands.at]}: ${fixed(values[hands.at], 2)}`;
  const within = (v) => Math.max(-MOST, Math.min(MOST, Math.round(v / 0.05) * 0.05));
  const put = (i, value) => {
    values[i] = within(value);
    onSet(i, values[i]);
  };
  const hands = paintedBars(node, {
    count: () => classes.length,
    limit: () => MOST,
    value: (i) => values[i],
    set: put,
    onChoose: () => {
      render();
      onChoose(written());
    },
    onRest,
  });
  function render() {
    const count = classes.length;
    plot.setAttribute("viewBox", `0 ${-MOST} ${count} ${2 * MOST}`);
    plot.replaceChildren(
      ...values.map((v, i) => {
        const high = Math.min(MOST, Math.abs(v));
        return svg("rect", {
          class: `db-bar${i === hands.at ? " db-chosen" : ""}`,
          x: i + 0.15,
          width: 0.7,
          y: v > 0 ? -high : 0,
          height: high,
        });
      }),
      svg("line", { class: "db-zero", x1: 0, x2: count, y1: 0, y2: 0 }),
    );
    numbers.forEach((number, i) => {
      number.textContent = fixed(values[i], 2);
    });
    node.setAttribute("aria-label", written());
  }
  return {
    node: h(
      "div",
      {},
      title,
      node,
      h(
        "div",
        { class: "db-names" },
        classes.map((name, i) => h("span", {}, name, h("br"), numbers[i])),
      ),
    ),
    draw: (now) => {
      values = [...now];
      render();
    },
  };
}

// For each class the teacher's share above the student's.  draw(teacher, student)
export function shareBars(classes) {
  const lines = classes.map((name) => {
    const parts = ["teacher", "student"].map((who) => ({
      bar: h("span", { class: `db-share db-${who}` }),
      words: h("span", { class: "db-words" }),
    }));
    const rows = parts.map(({ bar, words }) =>
      h("span", { class: "db-line" }, h("span", { class: "db-track" }, bar), words),
    );
    return { parts, node: h("li", {}, h("span", {}, name), h("span", {}, rows)) };
  });
  return {
    node: h(
      "ul",
      { class: "db-shares" },
      lines.map(({ node }) => node),
    ),
    draw: (...both) =>
      lines.forEach(({ parts }, i) =>
        parts.forEach(({ bar, words }, who) => {
          bar.style.width = `${100 * both[who][i]}%`;
          words.textContent = percent(both[who][i]);
        }),
      ),
  };
}

// A table: what a step downhill adds to each logit, by the label, by the teacher, and together.
//   draw(columns): [{ head, values }], the same number each time but the last may be null
export function pullTable(classes) {
  const heads = Array.from({ length: 3 }, () => h("th", { scope: "col" }));
  const rows = classes.map((name) => ({
    name,
    cells: Array.from({ length: 3 }, () => h("td", {})),
  }));
  const node = h(
    "table",
    { class: "db-pulls" },
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "class"), heads)),
    h(
      "tbody",
      {},
      rows.map(({ name, cells }) => h("tr", {}, h("th", { scope: "row" }, name), cells)),
    ),
  );
  return {
    node,
    draw: (columns) => {
      const most = Math.max(
        0.05,
        ...columns.flatMap((column) => column?.values.map(Math.abs) ?? []),
      );
      columns.forEach((column, c) => {
        heads[c].hidden = !column;
        heads[c].textContent = column?.head ?? "";
        rows.forEach(({ cells }, r) => {
          cells[c].hidden = !column;
          if (!column) return;
          const colour = twoSided(column.values[r] / most);
          cells[c].textContent = `${column.values[r] > 0 ? "+" : ""}${fixed(column.values[r], 3)}`;
          Object.assign(cells[c].style, { background: css(colour), color: inkOn(colour) });
        });
      });
    },
  };
}
