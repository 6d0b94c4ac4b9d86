// Curves of several runs on one pair of axes, a colour for each group.

import { h, svg } from "./common.js";

const [CHART_WIDTH, CHART_HEIGHT] = [640, 300];
const EDGES = { left: 74, right: 12, top: 12, bottom: 40 };
const TOP_LOSS = 2.5; // above chance among ten classes, 2.3; what is higher is drawn at the edge

// colours: of each group.  draw(groups, { percent }): groups[g][run] = [[step, value], …]; percent:
// values are shares of 1
export function rateChart(colours) {
  const node = svg("svg", {
    class: "rm-chart",
    viewBox: `0 0 ${CHART_WIDTH} ${CHART_HEIGHT}`,
    role: "img",
  });
  const draw = (groups, { percent }) => {
    const [last, top] = [Math.max(...groups.flat(2).map(([step]) => step)), percent ? 1 : TOP_LOSS];
    const x = (step) => EDGES.left + (step / last) * (CHART_WIDTH - EDGES.left - EDGES.right);
    const y = (value) =>
      CHART_HEIGHT -
      EDGES.bottom -
      (Math.min(value, top) / top) * (CHART_HEIGHT - EDGES.top - EDGES.bottom);
    const line = (points) =>
      points
        .map(([step, value], i) => `${i ? "L" : "M"}${x(step).toFixed(1)} ${y(value).toFixed(1)}`)
        .join("");
    const marks = percent ? [0, 0.25, 0.5, 0.75, 1] : [0, 0.5, 1, 1.5, 2, 2.5];
    const steps = Array.from({ length: 5 }, (_, i) => Math.round((last * i) / 4));
    node.replaceChildren(
      svg("path", {
        class: "rm-grid",
        d: marks.map((v) => `M${EDGES.left} ${y(v)}H${CHART_WIDTH - EDGES.right}`).join(""),
      }),
      ...marks.map((v) =>
        svg(
          "text",
          { x: EDGES.left - 8, y: y(v) + 6, class: "rm-left" },
          percent ? `${100 * v} %` : String(v),
        ),
      ),
      ...steps.map((v) =>
        svg(
          "text",
          { x: x(v), y: CHART_HEIGHT - EDGES.bottom + 26, class: "rm-below" },
          v === last ? `step ${v}` : String(v),
        ),
      ),
      ...groups.flatMap((runs, g) => [
        ...runs.map((points) =>
          svg("path", { class: "rm-run", d: line(points), stroke: colours[g] }),
        ),
        svg("path", { class: "rm-mean", d: line(meanLine(runs)), stroke: colours[g] }),
      ]),
    );
    node.setAttribute(
      "aria-label",
      groups
        .map((runs, g) => {
          const end = meanLine(runs).at(-1)?.[1];
          const side = ["left", "right"][g];
          if (end === undefined) return `${side} map: diverged at once`;
          return `${side} map: mean at the end ${percent ? `${(100 * end).toFixed(0)} %` : end.toFixed(2)}`;
        })
        .join("; "),
    );
  };
  return { node: h("div", {}, node), draw };
}

// The mean of runs at the steps that all of them have; one that diverged ends early.
function meanLine(runs) {
  const [first, ...others] = runs.map((points) => new Map(points));
  return [...first]
    .filter(([step]) => others.every((points) => points.has(step)))
    .map(([step, value]) => [
      step,
      others.reduce((sum, points) => sum + points.get(step), value) / runs.length,
    ]);
}
