// The place for a system's whole network: closed it is a button; open, the picture of
// network_view.js, whose numbers are those of the drawing on the bench.

import { h, newId } from "./common.js";
import { networkView } from "./network_view.js";

// rerun() -> what the model's `run` gives for the bench's picture now, or null;  onOpen(yes)
export function networkPlace({ classes, say, rerun, onOpen }) {
  const id = newId();
  const open = h("button", {
    type: "button",
    class: "hx-button",
    "aria-controls": id,
    onclick: () => onOpen(open.getAttribute("aria-expanded") !== "true"),
  });
  const holder = h("div", { id });
  const node = h("div", { class: "wb-network", hidden: true }, open, holder);
  let view = null;
  let net = null; // whose picture the view is
  let inSight = false;
  let current = null; // the result of a run, for as long as no other model has run
  let stale = true;

  const read = (i) => (current ?? rerun())?.modules[i].read() ?? null;
  const update = () => {
    view.update();
    stale = false;
  };
  const observer = new IntersectionObserver(([entry]) => {
    inSight = entry.isIntersecting;
    if (inSight && stale && view) update();
  });
  observer.observe(holder);

  // After every run, in its own turn: `model` is the net, `result` what it gave (null: nothing to
  // show, or nothing new).
  return {
    node,
    close: () => observer.disconnect(),
    draw: ({ model, first, result, wanted, blank }) => {
      node.hidden = !model;
      open.setAttribute("aria-expanded", String(wanted));
      open.textContent = wanted ? "Hide the network" : "Show the whole network";
      holder.hidden = !wanted;
      if (!model || !wanted) return;
      current = result;
      if (net !== model) {
        net = model;
        view = networkView({
          modules: first.modules,
          flow: model.flow,
          input: model.input,
          read,
          classes,
          say,
          alone: false,
        });
        holder.replaceChildren(view.node);
        stale = true;
      }
      if (result || blank !== view.blank) stale = true;
      view.blank = blank;
      if (stale && inSight) update();
      current = null;
    },
  };
}
