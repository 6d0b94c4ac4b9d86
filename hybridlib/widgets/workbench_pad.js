// The picture as a pad: pointer and keys, whatever tool is in hand. Every system's picture is one;
// they share the drawing.

import { h } from "./common.js";
import { SIDE } from "./workbench_ink.js";

export const TOOLS = {
  draw: { text: "Draw", does: "draws", keys: "The arrow keys move the drawing, Delete clears it." },
  erase: {
    text: "Erase",
    does: "erases",
    keys: "The arrow keys move the drawing, Delete clears it.",
  },
  move: {
    text: "Move",
    does: "moves the drawing",
    keys: "The arrow keys move the drawing, Delete clears it.",
  },
  cover: {
    text: "Cover",
    does: "covers a part",
    keys: "The arrow keys move the square that covers, Delete takes it away.",
  },
  ask: {
    text: "Ask",
    does: "chooses the place that asks",
    keys: "The arrow keys choose the place that asks.",
  },
};
const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

// Makes `node` a pad. The bench says what happens:
//   tool() -> one of TOOLS;  begin(), stroke(from, to), end(): drawing and erasing, [x, y] in
// pixels
//   drag([down, right]): the drawing moved by so much since `begin`;  at([row, col] or null,
// pressed): cover and ask
//   key([down, right]), remove(): the keyboard
export function pad(node, bench) {
  let from = null; // where the pressed pointer was last, in pixels
  let start = null;
  // where the picture is; it stays there while the pointer is pressed, and asking for it costs a
  // layout
  let box = null;
  const where = (event) => {
    if (!from) box = node.getBoundingClientRect();
    return [
      ((event.clientX - box.left) / box.width) * SIDE,
      ((event.clientY - box.top) / box.height) * SIDE,
    ];
  };
  const inside = ([x, y]) => [y, x].map((v) => Math.max(0, Math.min(SIDE - 1, Math.floor(v))));
  const draws = () => ["draw", "erase"].includes(bench.tool());

  node.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    node.setPointerCapture(event.pointerId);
    node.focus({ preventScroll: true });
    event.preventDefault();
    [from, start] = [where(event), where(event)];
    bench.begin();
    if (draws()) bench.stroke(from, from);
    else if (bench.tool() !== "move") bench.at(inside(from), true);
  });
  node.addEventListener("pointermove", (event) => {
    const to = where(event);
    if (!from) {
      if (event.pointerType === "mouse" && bench.tool() === "cover") bench.at(inside(to), false);
      return;
    }
    if (draws()) {
      // all that the pointer passed since the last frame, so that quick strokes stay round
      const passed = event.getCoalescedEvents?.() ?? [];
      for (const point of [...passed.map(where), to]) {
        bench.stroke(from, point);
        from = point;
      }
    } else if (bench.tool() === "move") {
      bench.drag([to[1] - start[1], to[0] - start[0]].map(Math.round));
    } else bench.at(inside(to), true);
  });
  for (const name of ["pointerup", "pointercancel"]) {
    node.addEventListener(name, () => {
      if (from) {
        from = null;
        bench.end();
      }
    });
  }
  node.addEventListener("pointerleave", () => {
    if (!from && bench.tool() === "cover") bench.at(null, false);
  });
  node.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key in ARROWS) bench.key(ARROWS[event.key]);
    else if (["Delete", "Backspace"].includes(event.key)) bench.remove();
    else return;
    event.preventDefault();
  });
}

// The tools as one group of radio buttons.
export function toolbar(onPick) {
  const names = Object.keys(TOOLS);
  const buttons = names.map((name) =>
    h(
      "button",
      {
        type: "button",
        role: "radio",
        class: "hx-button wb-tool",
        "data-tool": name,
        title: `The pointer ${TOOLS[name].does}.`,
        onclick: () => onPick(name),
      },
      TOOLS[name].text,
    ),
  );
  const node = h(
    "div",
    {
      class: "wb-tools",
      role: "radiogroup",
      "aria-label": "What the pointer does",
      onkeydown: (event) => {
        const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
        const at = buttons.indexOf(event.target);
        if (!by || at < 0) return;
        event.preventDefault();
        const next = (at + by + buttons.length) % buttons.length;
        buttons[next].focus();
        onPick(names[next]);
      },
    },
    buttons,
  );
  return {
    node,
    set: (tool) =>
      buttons.forEach((button) => {
        const on = button.dataset.tool === tool;
        button.setAttribute("aria-checked", String(on));
        button.tabIndex = on ? 0 : -1;
      }),
  };
}
