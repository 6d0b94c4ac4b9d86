// Bars that a pointer paints and keys move: the hands of a chart of logits, which draws itself.

const STEP = 0.25; // of a logit, by one press of an arrow key

// Listens on node, a box that takes focus. value(i) and limit() are read anew each time.
//   count(): bars;  limit(): from the middle line to the edge;  value(i): height of a bar
//   set(i, value): a bar is moved;  onChoose(): the keys' bar changed;  onRest(): a bar was moved
// and stays there The answer: hands.at, the bar that the keys move, and hands.held, whether a
// pointer holds one.
export function paintedBars(node, { count, limit, value, set, onChoose, onRest }) {
  const hands = { at: 0, held: false };
  const within = (i) => Math.max(0, Math.min(count() - 1, i));
  const paint = (event) => {
    const box = node.getBoundingClientRect();
    hands.at = within(Math.floor(((event.clientX - box.left) / box.width) * count()));
    const up = limit() * (1 - (2 * (event.clientY - box.top)) / box.height);
    set(hands.at, Math.max(-limit(), Math.min(limit(), up)));
  };
  node.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    event.preventDefault();
    node.setPointerCapture(event.pointerId);
    node.focus({ preventScroll: true });
    hands.held = true;
    paint(event);
  });
  node.addEventListener("pointermove", (event) => {
    if (hands.held) paint(event);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    node.addEventListener(end, () => {
      if (hands.held) {
        hands.held = false;
        onRest();
      }
    });
  }
  node.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const along = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    const by = { ArrowUp: STEP, ArrowDown: -STEP, PageUp: 1, PageDown: -1 }[event.key];
    if (along) {
      hands.at = within(hands.at + along);
      onChoose();
    } else if (by) set(hands.at, value(hands.at) + by);
    else if (["Delete", "Backspace", "0"].includes(event.key)) set(hands.at, 0);
    else return;
    event.preventDefault();
    if (!along) onRest();
  });
  return hands;
}
