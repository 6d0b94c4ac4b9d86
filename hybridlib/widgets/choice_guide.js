// A guide to a choice: the reader answers questions, the reasons for and against each system add
// up.

import { choice, frame, gridCursor, h, onChange, oncePerFrame } from "./common.js";
import { stateLinks } from "./state_links.js";

const SIGNED = (v) => (v > 0 ? `+${v}` : String(v).replace("-", "−"));

function render({ model, el }) {
  const { root, say } = frame(el, {
    label: "A guide to the choice of a system",
    hint: "answer the questions for your own case, then point at a system to read the reasons.",
  });
  root.classList.add("cg");
  const [systems, questions, reasons] = ["systems", "questions", "reasons"].map((trait) =>
    model.get(trait),
  );
  const state = { system: null };
  let order = [];
  const redraw = oncePerFrame(draw);
  const speak = () =>
    requestAnimationFrame(() => requestAnimationFrame(() => say(readout.textContent)));
  const answer = (at, value) => {
    model.set(
      "answers",
      model.get("answers").map((old, i) => (i === at ? value : old)),
    );
    model.save_changes();
    state.system = null;
    redraw();
    speak();
  };

  const picks = questions.map(([question, answers], at) =>
    choice({
      label: question,
      value: model.get("answers")[at],
      options: answers.map((text, i) => [i, text]),
      onInput: (value) => answer(at, Number(value)),
    }),
  );
  const list = h("div", { class: "cg-list" });
  const cursor = gridCursor(list, {
    label: "Ranking: choose a system",
    size: () => [systems.length, 1],
    describe: ([row]) => (order[row] ? `${order[row].name}, ${SIGNED(order[row].points)}` : ""),
    onPick: ([row], settled) => {
      state.system = order[row]?.name ?? null;
      redraw();
      if (settled) speak();
    },
  });
  list.setAttribute("aria-roledescription", "list to walk through with the arrow keys");
  const readout = h("p", { class: "hx-readout" });
  const told = h("ul", { class: "cg-reasons" });
  root.append(
    h(
      "div",
      { class: "cg-questions" },
      picks.map(({ node }) => node),
    ),
    h(
      "div",
      { class: "hx-columns" },
      h("div", {}, h("p", { class: "hx-title" }, "Points, the most first"), list),
      h("div", {}, readout, told),
    ),
  );
  if (model.get("note")) root.append(h("p", { class: "hx-note" }, model.get("note")));

  function draw() {
    const answers = model.get("answers");
    picks.forEach((pick, i) => pick.set(answers[i]));
    const given = questions.map(([question, texts], i) => [question, texts[answers[i]]]);
    const counts = (r) =>
      given.some(([question, text]) => r.question === question && r.answer === text);
    order = systems
      .map(([name, mark]) => {
        const own = reasons.filter((r) => r.system === name && counts(r));
        return { name, mark, own, points: own.reduce((sum, r) => sum + r.points, 0) };
      })
      .sort((a, b) => b.points - a.points);
    state.system ??= order[0].name;
    const row = order.findIndex(({ name }) => name === state.system);
    const most = Math.max(1, ...order.map(({ points }) => Math.abs(points)));
    list.replaceChildren(
      ...order.map(({ name, mark, points }, i) =>
        h(
          "div",
          { class: `cg-row${i === row ? " cg-chosen" : ""}` },
          h("span", { class: "cg-mark" }, mark),
          h("span", { class: "cg-name" }, name),
          h(
            "span",
            { class: "cg-track" },
            h("span", {
              class: `cg-bar${points < 0 ? " cg-against" : ""}`,
              style: `width: ${(50 * Math.abs(points)) / most}%; ${points < 0 ? "right" : "left"}: 50%`,
            }),
          ),
          h("span", { class: "cg-points" }, SIGNED(points)),
        ),
      ),
    );
    cursor.set([row, 0]);
    const { name, own, points } = order[row];
    const first = order.filter((o) => o.points === order[0].points).map((o) => o.name);
    readout.textContent =
      `${name}: ${SIGNED(points)}. ` +
      (points === order[0].points
        ? first.length > 1
          ? `Level with ${first.filter((n) => n !== name).join(", ")}.`
          : "First under these answers."
        : `Behind ${first.join(", ")}.`);
    told.replaceChildren(
      ...(own.length
        ? [...own]
            .sort((a, b) => b.points - a.points)
            .map((r) =>
              h(
                "li",
                {},
                h("b", {}, SIGNED(r.points)),
                ` ${r.text} `,
                h("span", { class: "cg-source" }, r.source),
              ),
            )
        : [h("li", {}, "Nothing that we measured speaks for or against it.")]),
    );
  }

  // A link in the text, such as <a href="#guide?1=2&3=4">words</a>: answers by number, from 1. What
  // it leaves out goes to the first.
  const follow = (said) => {
    model.set(
      "answers",
      questions.map(([, texts], i) =>
        Math.max(0, Math.min(texts.length, Number(said[i + 1]) || 1) - 1),
      ),
    );
    model.save_changes();
    state.system = null;
    redraw();
    speak();
  };
  const close = [onChange(model, ["answers"], redraw), stateLinks(model.get("name"), root, follow)];
  draw();
  return () => close.forEach((stop) => stop());
}

export default { render };
