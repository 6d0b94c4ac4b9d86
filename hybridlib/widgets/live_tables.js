// BoTNet with its row and column tables under the reader's hand, on what the reader draws.

import { button, fixed, frame, h } from "./common.js";
import { legend, twoSided } from "./colours.js";
import { scopeOf } from "./live_desk.js";
import { queryDesk } from "./live_query.js";
import { edit, logitsOf, setLogit, tableLayers } from "./live_tables_math.js";
import { tableChart } from "./live_tables_parts.js";

const KINDS = {
  content: "Content q · k",
  position: "Position q · (r + r)",
  weights: "Softmax of the sum",
};
const BUTTONS = { zero: "Zero", flip: "Flip the sign", shift: "Shift by one", shuffle: "Shuffle" };
const ENDS = [
  ["key above", "key below"],
  ["key to the left", "key to the right"],
];

function render({ model, el }) {
  const { root, say } = frame(el, {
    label: "BoTNet with its row and column tables in your hand",
    hint: "drag a bar of a table, or press a button: the map and the answer follow.",
  });
  root.classList.add("lt");
  let shuffles = 0;
  let query = null; // as last drawn
  const desk = queryDesk({
    model,
    say,
    titles: KINDS,
    layersOf: tableLayers,
    rowOf: logitsOf,
    onRow,
  });

  const logits = legend(twoSided, "", "", -1);
  const charts = ENDS.map((ends, axis) =>
    tableChart({
      name: ["Rows", "Columns"][axis],
      ends,
      onRest: desk.speak,
      onSet: (index, value) => {
        if (!query) return;
        setLogit(desk.net(), desk.layer(), axis, index, query, value);
        desk.edited();
      },
    }),
  );
  const scope = scopeOf("all blocks", "this block");
  const press = (how) => {
    if (!desk.net()) return;
    for (const one of scope.wide() ? desk.layers() : [desk.layer()])
      edit(desk.net(), one, how, shuffles);
    if (how === "shuffle") shuffles += 1;
    desk.edited();
  };
  root.append(
    ...desk.nodes,
    h(
      "div",
      { class: "hx-row", role: "group", "aria-label": "both tables at once" },
      scope.node,
      Object.entries(BUTTONS).map(([how, text]) => button(text, () => press(how))),
      button("As trained", () => desk.net() && desk.restore()),
    ),
    h(
      "div",
      { class: "lt-tables" },
      charts.map(({ node }) => node),
    ),
    h("div", { class: "lt-maps" }, desk.maps),
    h("div", { class: "hx-row" }, "Scores:", logits.node, "Attention:", desk.weights),
    h("p", { class: "hx-title" }, "All heads"),
    desk.choices,
  );
  if (model.get("note")) root.append(h("p", { class: "hx-note" }, model.get("note")));

  function onRow(row, cell) {
    query = row.query;
    const limit = [...row.content, ...row.position].reduce(
      (a, v) => Math.max(a, Math.abs(v)),
      1e-6,
    );
    logits.set(fixed(-limit, 1), fixed(limit, 1));
    const { size } = desk.layer();
    charts.forEach((chart, axis) => chart.draw(row.tables[axis], cell[axis], size[axis]));
    return limit;
  }

  // A link in the text, such as <a
  // href="#tables?edit=flip&in=one&block=2&head=3&digit=1&query=4,5">words</a>, all counted from 1.
  // What it leaves out stays; whatever it edits, it begins with the tables as trained.
  function follow(said) {
    desk.obey(said);
    if (said.in) scope.set(said.in);
    if (said.edit) {
      desk.restore();
      shuffles = 0;
    }
    if (said.edit in BUTTONS) press(said.edit);
    else desk.respond();
  }
  return desk.start(root, follow);
}

export default { render };
