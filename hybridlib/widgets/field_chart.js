// All systems as one scatter plot: axes and data of the reader's choice, spread, and a point to
// read.

import { choice, frame, h, newId, onChange, oncePerFrame, svg } from "./common.js";
import { PARTS, css } from "./colours.js";
import { fieldScale, frontier, shortNumber, spreadBadges } from "./field_chart_math.js";
import { stateLinks } from "./state_links.js";

const EDGE = { left: 52, right: 14, top: 30, bottom: 46 };
const BADGE = 22;
const FEW_RUNS = 3;
const MOST_HEIGHT = 430;
const WIDE_ENOUGH = 480; // for a name beside a badge; below, the readout has it

function render({ model, el }) {
  const { root, say } = frame(el, {
    label: "All systems as points, with axes of your choice",
    hint: "choose what lies along the axes, then walk through the points with the pointer or the arrow keys.",
  });
  root.classList.add("fc");
  const points = model.get("points");
  const axes = new Map(model.get("axes").map((axis) => [axis.key, axis]));
  const state = { system: null, kept: null };
  let marks = []; // what is drawn: { point, dot, badge }
  const redraw = oncePerFrame(draw);
  const speak = () =>
    requestAnimationFrame(() => requestAnimationFrame(() => say(readout.textContent)));
  const shown = () =>
    points.filter(
      (p) => p.data === model.get("data") && p.values[model.get("x")] && p.values[model.get("y")],
    );

  const put = (trait) => (value) => {
    model.set(trait, value);
    const told = [...axes.keys()].filter((k) =>
      points.some((p) => p.data === model.get("data") && p.values[k]),
    );
    // Data that have neither figure bring their own first two.
    if (told.length > 1 && !told.includes(model.get("x")) && !told.includes(model.get("y"))) {
      model.set("x", told[0]);
      model.set("y", told[1]);
    }
    model.save_changes();
    redraw();
    speak();
  };
  const options = [...axes.values()].map(({ key, label }) => [key, label]);
  const pick = {
    data: choice({
      label: "Data",
      options: [...new Set(points.map((p) => p.data))].map((d) => [d, d]),
      value: model.get("data"),
      onInput: put("data"),
    }),
    y: choice({ label: "Upwards", options, value: model.get("y"), onInput: put("y") }),
    x: choice({ label: "To the right", options, value: model.get("x"), onInput: put("x") }),
  };
  const plot = svg("svg", { class: "fc-plot", "aria-hidden": "true" });
  const stage = h(
    "div",
    {
      class: "fc-stage",
      tabindex: "0",
      role: "application",
      "aria-roledescription": "points to walk through with the arrow keys",
    },
    plot,
  );
  const readout = h("p", { class: "hx-readout" });
  const table = h("div", {
    class: "fc-table",
    tabindex: "0",
    role: "region",
    "aria-label": "the same as a table",
  });
  root.append(
    h("div", { class: "hx-row" }, pick.data.node, pick.y.node, pick.x.node),
    stage,
    readout,
    key(),
    h("details", {}, h("summary", {}, "The same as a table"), table),
  );
  if (model.get("note")) root.append(h("p", { class: "hx-note" }, model.get("note")));
  const half = newId();

  function draw() {
    const [x, y] = [axes.get(model.get("x")), axes.get(model.get("y"))];
    for (const trait of ["data", "x", "y"]) pick[trait].set(model.get(trait));
    const width = Math.max(240, stage.clientWidth || 600);
    const height = Math.round(Math.max(260, Math.min(MOST_HEIGHT, 0.66 * width)));
    const inner = [width - EDGE.left - EDGE.right, height - EDGE.top - EDGE.bottom];
    const there = shown();
    plot.replaceChildren(halves(half));
    plot.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const [across, up] = [x, y].map(
      (axis) =>
        there.length &&
        fieldScale(
          there.map((p) => span(p.values[axis.key])),
          axis.scale,
        ),
    );
    const at = (p, value = {}) => [
      EDGE.left + inner[0] * across.at(value.x ?? p.values[x.key].mean),
      EDGE.top + inner[1] * (1 - up.at(value.y ?? p.values[y.key].mean)),
    ];
    if (there.length) rule(plot, { across, up, x, y, width, height, inner });
    const dots = there.map((p) => at(p));
    const badges = spreadBadges(
      dots.map(([a, b]) => [a - EDGE.left, b - EDGE.top]),
      BADGE,
      inner,
    ).map(([a, b]) => [a + EDGE.left, b + EDGE.top]);
    marks = there.map((point, i) => ({ point, dot: dots[i], badge: badges[i] }));
    const best =
      x === y
        ? []
        : frontier(
            there.map((p) => [p.values[x.key].mean, p.values[y.key].mean]),
            [x.better, y.better],
          );
    if (best.length > 1)
      plot.append(
        svg("polyline", { class: "fc-front", points: best.map((i) => dots[i].join()).join(" ") }),
      );
    if (!marks.some(({ point }) => point.system === state.system))
      state.system = marks[0]?.point.system ?? null;
    for (const mark of marks) plot.append(...spreadBars(mark.point, at, x, y), ...drawMark(mark));
    const one = marks.find(({ point }) => point.system === state.system);
    if (one && width > WIDE_ENOUGH) plot.append(named(one, width));
    readout.textContent = one
      ? words(one.point, x, y, there.length > 1 ? best.map((i) => there[i].system) : [])
      : "No system has both figures for these data.";
    stage.setAttribute(
      "aria-label",
      `Chart of ${y.label} against ${x.label}, ${model.get("data")}. ${readout.textContent}`,
    );
    table.replaceChildren(asTable());
  }

  function drawMark({ point, dot, badge }) {
    const open = [model.get("x"), model.get("y")].some((k) => {
      const { n } = point.values[k];
      return n > 0 && n < FEW_RUNS;
    });
    const fill = point.kind === "both" ? `url(#${half})` : css(PARTS[point.kind]);
    const chosen = point.system === state.system;
    return [
      svg("line", { class: "fc-lead", x1: dot[0], y1: dot[1], x2: badge[0], y2: badge[1] }),
      svg("circle", { class: "fc-dot", cx: dot[0], cy: dot[1], r: 3.5 }),
      svg("circle", {
        class: `fc-badge${open ? " fc-open" : ""}${chosen ? " fc-chosen" : ""}`,
        cx: badge[0],
        cy: badge[1],
        r: BADGE / 2,
        ...(open ? {} : { fill }),
      }),
      svg(
        "text",
        { class: open ? "fc-mark fc-bare" : "fc-mark", x: badge[0], y: badge[1] + 4 },
        point.mark,
      ),
    ];
  }

  // The whole table of these data, so that whoever cannot see the plot, or prints the page, loses
  // nothing.
  function asTable() {
    const rows = points.filter((p) => p.data === model.get("data"));
    const used = [...axes.values()].filter(({ key }) => rows.some((p) => p.values[key]));
    return h(
      "table",
      {},
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          h("td", {}),
          used.map(({ label }) => h("th", { scope: "col" }, label)),
        ),
      ),
      h(
        "tbody",
        {},
        rows.map((p) =>
          h(
            "tr",
            {},
            h("th", { scope: "row" }, p.system),
            used.map((axis) =>
              h("td", {}, p.values[axis.key] ? number(p.values[axis.key], axis) : "–"),
            ),
          ),
        ),
      ),
    );
  }

  function choose(system, settled) {
    state.system = system;
    if (settled) state.kept = system;
    redraw();
    if (settled) speak();
  }
  const nearest = (event) => {
    const box = plot.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const far = ({ dot, badge }) =>
      Math.min(...[dot, badge].map(([a, b]) => Math.hypot(a - x, b - y)));
    return [...marks].sort((a, b) => far(a) - far(b))[0]?.point.system;
  };
  stage.classList.add("hx-pick");
  stage.addEventListener("pointerdown", (event) => marks.length && choose(nearest(event), true));
  stage.addEventListener("pointermove", (event) => {
    if (event.pointerType === "mouse" && marks.length && nearest(event) !== state.system)
      choose(nearest(event), false);
  });
  stage.addEventListener("pointerleave", () => {
    if (state.kept && state.kept !== state.system) choose(state.kept, false);
  });
  stage.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || !marks.length) return;
    const axis = ["ArrowUp", "ArrowDown"].includes(event.key) ? 1 : 0;
    const order = [...marks]
      .sort((a, b) => (axis ? b.dot[1] - a.dot[1] : a.dot[0] - b.dot[0]))
      .map(({ point }) => point.system);
    const now = order.indexOf(state.system);
    const to = {
      ArrowLeft: now - 1,
      ArrowDown: now - 1,
      ArrowRight: now + 1,
      ArrowUp: now + 1,
      Home: 0,
      End: order.length - 1,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    choose(order[Math.max(0, Math.min(order.length - 1, to))], true);
  });

  // A link in the text, such as <a
  // href="#field?x=macs&y=accuracy&data=digits&point=CeiT">words</a>; what it leaves out stays.
  function follow(said) {
    for (const trait of ["x", "y"]) if (axes.has(said[trait])) model.set(trait, said[trait]);
    if (points.some((p) => p.data === said.data)) model.set("data", said.data);
    model.save_changes();
    if (points.some((p) => p.system === said.point))
      [state.system, state.kept] = [said.point, said.point];
    redraw();
    speak();
  }
  const close = [
    onChange(model, ["x", "y", "data"], redraw),
    stateLinks(model.get("name"), root, follow),
  ];
  if (globalThis.ResizeObserver) {
    let last = 0;
    const watch = new ResizeObserver(() => {
      if (stage.clientWidth !== last) {
        last = stage.clientWidth;
        redraw();
      }
    });
    watch.observe(stage);
    close.push(() => watch.disconnect());
  }
  draw();
  return () => close.forEach((stop) => stop());
}

const span = ({ mean, sd }) => [mean - sd > 0 || mean <= 0 ? mean - sd : mean, mean + sd];

function number({ mean, sd, n }, { digits }) {
  const write = (v) =>
    Math.abs(v) >= 1e6
      ? shortNumber(v)
      : v
          .toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits })
          .replace("-", "−");
  const runs = n > 0 && n < FEW_RUNS ? ` (${n === 1 ? "one run" : `${n} runs`})` : "";
  return n > 1 ? `${write(mean)} ± ${write(sd)}${runs}` : `${write(mean)}${runs}`;
}

function words({ system, values }, x, y, best) {
  const told = [y, x]
    .filter((axis, i, all) => all.indexOf(axis) === i)
    .map((axis) => `${axis.label}: ${number(values[axis.key], axis)}`);
  const front = best.length && best.includes(system) ? " No system here beats it on both." : "";
  return `${system}. ${told.join("; ")}.${front}`;
}

// Lines, ticks and the names of both axes.
function rule(plot, { across, up, x, y, width, height, inner }) {
  const [left, floor] = [EDGE.left, EDGE.top + inner[1]];
  const wide = Math.max(2, Math.floor(inner[0] / 60));
  const every = Math.ceil(across.ticks.length / wide);
  across.ticks
    .filter((_, i) => i % every === 0)
    .forEach((tick) => {
      const at = left + inner[0] * across.at(tick);
      plot.append(
        svg("line", { class: "fc-grid", x1: at, x2: at, y1: EDGE.top, y2: floor }),
        svg(
          "text",
          { class: "fc-tick", x: at, y: floor + 16, "text-anchor": "middle" },
          shortNumber(tick),
        ),
      );
    });
  up.ticks.forEach((tick) => {
    const at = EDGE.top + inner[1] * (1 - up.at(tick));
    plot.append(
      svg("line", { class: "fc-grid", x1: left, x2: left + inner[0], y1: at, y2: at }),
      svg(
        "text",
        { class: "fc-tick", x: left - 6, y: at + 4, "text-anchor": "end" },
        shortNumber(tick),
      ),
    );
  });
  plot.append(
    svg("path", { class: "fc-axis", d: `M${left} ${EDGE.top}V${floor}H${left + inner[0]}` }),
    svg("text", { class: "fc-name", x: 4, y: 14 }, `↑ ${y.label}`),
    svg(
      "text",
      { class: "fc-name", x: width - EDGE.right, y: height - 8, "text-anchor": "end" },
      `${x.label} →`,
    ),
  );
}

function spreadBars(point, at, x, y) {
  const [a, b] = [point.values[x.key], point.values[y.key]];
  const line = (from, to) =>
    svg("line", { class: "fc-bar", x1: from[0], y1: from[1], x2: to[0], y2: to[1] });
  return [
    ...(a.sd ? [line(at(point, { x: span(a)[0] }), at(point, { x: span(a)[1] }))] : []),
    ...(b.sd ? [line(at(point, { y: span(b)[0] }), at(point, { y: span(b)[1] }))] : []),
  ];
}

// The chosen system's name, on the side of its badge where there is more room.
function named({ point, badge }, width) {
  const toLeft = badge[0] > 0.6 * width;
  return svg(
    "text",
    {
      class: "fc-said",
      x: badge[0] + (toLeft ? -1 : 1) * (BADGE / 2 + 5),
      y: badge[1] + 4,
      "text-anchor": toLeft ? "end" : "start",
    },
    point.system,
  );
}

const halves = (id) =>
  svg(
    "defs",
    {},
    svg(
      "linearGradient",
      { id },
      [
        ["0", "convolution"],
        ["0.5", "convolution"],
        ["0.5", "attention"],
        ["1", "attention"],
      ].map(([offset, kind]) => svg("stop", { offset, "stop-color": css(PARTS[kind]) })),
    ),
  );

function key() {
  const swatch = (background, text) =>
    h(
      "span",
      { class: "fc-key" },
      h("span", { class: "fc-swatch", style: `background: ${background}` }),
      text,
    );
  const [c, a] = [css(PARTS.convolution), css(PARTS.attention)];
  return h(
    "p",
    { class: "hx-note fc-keys" },
    swatch(c, "convolution"),
    swatch(a, "attention"),
    swatch(`linear-gradient(to right, ${c} 50%, ${a} 50%)`, "both"),
    h("span", {}, "Bars: one standard deviation over runs. Open: fewer than three runs."),
  );
}

export default { render };
