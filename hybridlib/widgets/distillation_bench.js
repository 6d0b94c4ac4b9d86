// DeiT's distillation losses on a bench: logits of teacher and student under the reader's hand.

import { button, choice, fixed, frame, h, oncePerFrame, slider } from "./common.js";
import { FORMS, compared, descended, largest, losses } from "./distillation_math.js";
import { MOST, logitChart, pullTable, shareBars } from "./distillation_parts.js";
import { stateLinks } from "./state_links.js";

const WORDS = {
  hinton: "KL(teacher ‖ student)",
  printed: "KL(student ‖ teacher), as printed",
  coded: "KL(teacher ‖ student) / classes, as coded",
};
const LIKE = { soft: 0.1, hard: 0.5 }; // the paper's weights
const WALKS = [1, 200]; // steps downhill

function render({ model, el }) {
  const classes = model.get("classes");
  const { root, say } = frame(el, {
    label: "A bench for DeiT's distillation losses",
    hint: "drag the teacher's bars, turn the temperature, then press 200 steps: where does the student end?",
  });
  root.classList.add("db");
  const begin = () => ({
    kind: model.get("kind"),
    tau: model.get("temperature"),
    weight: model.get("weight"),
    form: FORMS[0],
    label: model.get("label"),
    two: model.get("heads") === 2,
    teacher: [...model.get("teacher")],
    first: [...model.get("student")],
    second: [...model.get("student")],
  });
  const state = begin();
  const bench = () => ({ ...state, second: state.two ? state.second : null });
  const refresh = oncePerFrame(draw);
  const speak = () =>
    requestAnimationFrame(() => requestAnimationFrame(() => say(readout.textContent)));
  const change = (patch) => {
    Object.assign(state, patch);
    refresh();
    speak();
  };

  const kind = choice({
    label: "Loss",
    options: [
      ["soft", "soft"],
      ["hard", "hard"],
    ],
    value: state.kind,
    onInput: (value) => change({ kind: value, weight: LIKE[value] }),
  });
  const heads = choice({
    label: "Student",
    options: [
      ["1", "one head"],
      ["2", "two heads"],
    ],
    value: state.two ? "2" : "1",
    onInput: (value) => change({ two: value === "2" }),
  });
  const label = choice({
    label: "True label",
    options: classes.map((name, i) => [String(i), name]),
    value: String(state.label),
    onInput: (value) => change({ label: Number(value) }),
  });
  const tau = slider({
    label: "Temperature τ",
    min: 0.5,
    max: 10,
    step: 0.1,
    value: state.tau,
    show: (v) => fixed(v, 1),
    onInput: (value) => change({ tau: value }),
  });
  const weight = slider({
    label: "Teacher's share λ",
    min: 0,
    max: 1,
    step: 0.05,
    value: state.weight,
    show: (v) => fixed(v, 2),
    onInput: (value) => change({ weight: value }),
  });
  const form = choice({
    label: "Soft term",
    options: FORMS.map((key) => [key, WORDS[key]]),
    value: state.form,
    onInput: (value) => change({ form: value }),
  });
  const titled = (text) => h("p", { class: "hx-title" }, text);
  const names = {
    teacher: titled("Teacher's logits"),
    first: titled(""),
    second: titled("Student: distillation head"),
  };
  const charts = Object.fromEntries(
    Object.entries(names).map(([key, title]) => [
      key,
      logitChart({
        title,
        classes,
        kind: key === "teacher" ? "teacher" : "student",
        onRest: speak,
        onChoose: say,
        onSet: (i, value) => {
          state[key] = state[key].map((v, c) => (c === i ? value : v));
          refresh();
        },
      }),
    ]),
  );
  const shares = shareBars(classes);
  const pulls = pullTable(classes);
  const sharesTitle = titled("");
  const readout = h("p", { class: "hx-readout" });
  const walk = (steps) => {
    const { first, second } = descended(bench(), steps);
    const kept = (z) => z.map((v) => Math.max(-MOST, Math.min(MOST, v)));
    change({ first: kept(first), second: second ? kept(second) : state.second });
  };
  root.append(
    h(
      "div",
      { class: "hx-row" },
      kind.node,
      heads.node,
      label.node,
      weight.node,
      tau.node,
      form.node,
    ),
    h(
      "div",
      { class: "db-charts" },
      Object.values(charts).map(({ node }) => node),
    ),
    h(
      "div",
      { class: "hx-row", role: "group", "aria-label": "train the student" },
      WALKS.map((steps) =>
        button(steps === 1 ? "1 step downhill" : `${steps} steps`, () => walk(steps)),
      ),
      button("Student as at first", () => change({ first: begin().first, second: begin().second })),
      button("Everything as at first", () => change(begin())),
    ),
    readout,
    h(
      "div",
      { class: "db-bottom" },
      h(
        "div",
        { class: "hx-panel" },
        sharesTitle,
        shares.node,
        h(
          "p",
          { class: "hx-note" },
          ["teacher", "student"].flatMap((who) => [
            h("span", { class: `db-key db-${who}` }),
            ` ${who} `,
          ]),
        ),
      ),
      h(
        "div",
        { class: "hx-panel" },
        titled("What a step adds to each logit (× step size)"),
        pulls.node,
      ),
    ),
  );

  function draw() {
    const now = bench();
    const soft = state.kind === "soft";
    kind.set(state.kind);
    heads.set(state.two ? "2" : "1");
    label.set(String(state.label));
    form.set(state.form);
    tau.set(state.tau);
    weight.set(state.weight);
    [tau.input, form.input].forEach((input) => {
      input.disabled = !soft;
    });
    names.first.textContent = state.two ? "Student: class head" : "Student's logits";
    charts.second.node.hidden = !state.two;
    Object.entries(charts).forEach(([key, chart]) => chart.draw(state[key]));
    const { target, given } = compared(now);
    shares.draw(target, given);
    sharesTitle.textContent = soft
      ? `Compared: softmax of logits / ${fixed(state.tau, 1)}`
      : "Compared: the teacher's choice, and the student's softmax";
    const found = losses(now);
    const {
      pulls: { label: byLabel, teacher: byTeacher },
    } = found;
    pulls.draw([
      { head: `by the label${state.two ? ", on the class head" : ""}`, values: byLabel },
      { head: `by the teacher${state.two ? ", on the distillation head" : ""}`, values: byTeacher },
      state.two ? null : { head: "together", values: byLabel.map((v, i) => v + byTeacher[i]) },
    ]);
    readout.textContent = sentence(now, found);
  }

  function sentence({ weight: share, label: truth, teacher, first, second, tau: t }, found) {
    const scale = state.kind === "soft" ? ` · ${fixed(t, 1)}²` : "";
    const chosen = classes[largest(teacher)];
    const mean = second ? first.map((v, i) => (v + second[i]) / 2) : first;
    return (
      `Loss = ${fixed(1 - share, 2)} · ${fixed(found.truth, 4)} + ${fixed(share, 2)}${scale} · ${fixed(found.imitation, 4)} = ` +
      `${fixed(found.total, 4)}. The label says ${classes[truth]}, the teacher ${chosen}; the student answers ${classes[largest(mean)]}.`
    );
  }

  // <a
  // href="#bench?kind=hard&heads=2&label=1&teacher=1,4,0&student=2,2,0&tau=3&weight=0.5&steps=200">words</a>
  // What a link leaves out is as at first; form is one of FORMS.
  function follow(said) {
    const numbers = (text) => text.split(",").map(Number);
    const next = begin();
    if (said.kind in LIKE) Object.assign(next, { kind: said.kind, weight: LIKE[said.kind] });
    if (said.heads) next.two = said.heads === "2";
    if (said.label) next.label = Math.max(0, Math.min(classes.length, Number(said.label)) - 1);
    if (said.tau) next.tau = Number(said.tau);
    if (said.weight) next.weight = Number(said.weight);
    if (FORMS.includes(said.form)) next.form = said.form;
    if (said.teacher) next.teacher = numbers(said.teacher);
    if (said.student) [next.first, next.second] = [numbers(said.student), numbers(said.student)];
    Object.assign(state, next);
    if (said.steps) walk(Number(said.steps));
    else change({});
  }
  draw();
  return stateLinks(model.get("name"), root, follow);
}

export default { render };
