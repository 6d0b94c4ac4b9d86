// The guided tour: each step puts the bench into a state and says what to watch. Whatever the
// reader does between steps stays possible.

import { button, calm, h } from "./common.js";

// state: what the bench is set to, as in the address; `digit` stands for the sample of that class,
// `or`: only where nothing is drawn. lit: the part of the bench to look at.
export const TOUR = [
  {
    title: "Draw a 7",
    lit: ".wb-pad",
    text: "Two systems look at one drawing: a convolutional network and a Vision Transformer. Draw a 7 on either picture; both answer at every stroke. No hand free? Go on: a sample is waiting.",
    state: {
      clear: true,
      systems: [
        ["convnet", "off"],
        ["vit", "off"],
      ],
      tool: "draw",
    },
  },
  {
    title: "Move it by one pixel",
    lit: ".wb-bars",
    text: "Press an arrow key, or drag the drawing. Nothing about the 7 changes but its place. Watch both columns of percentages: which of the two minds more?",
    state: { or: "7", tool: "move" },
  },
  {
    title: "Where does it look?",
    lit: ".wb-heads",
    text: "Over the ViT's picture lies one head's attention: how much the class token takes from each patch. Try the other heads. Over the convnet's lies what a convolution has instead: how active each place is.",
    state: {
      or: "7",
      systems: [
        ["convnet", "activity-2"],
        ["vit", "map-0", 0],
      ],
      query: "class",
      tool: "move",
      opacity: 65,
    },
  },
  {
    title: "Let a patch ask",
    lit: ".wb-pad",
    text: "Every patch has a row of attention too. Point at one on a stroke, then at an empty one. Patches on the stroke and patches of the background look for different things.",
    state: {
      or: "7",
      systems: [
        ["convnet", "activity-2"],
        ["vit", "map-0", "mean"],
      ],
      query: [10, 16],
      tool: "ask",
      opacity: 65,
    },
  },
  {
    title: "What each layer already knows",
    lit: ".wb-knows",
    text: "The same head that gives the answer, held to the class token after every block. The early answers are what it makes of something it never saw in training. Move the drawing: at which block does the ViT make up its mind?",
    state: {
      or: "7",
      tool: "move",
      systems: [
        ["early_conv", "off"],
        ["vit", "off"],
      ],
    },
  },
  {
    title: "Hide a part",
    lit: ".wb-pad",
    text: "Move over a picture: a black square goes with the pointer (or the arrow keys), and both answer to what is left. Which stroke makes it a 7?",
    state: {
      or: "7",
      tool: "cover",
      systems: [
        ["convnet", "off"],
        ["vit", "off"],
      ],
    },
  },
  {
    title: "What the answer hangs on",
    lit: ".wb-pad",
    text: "The page now does that at 64 places and draws how much probability each costs: orange places carry the answer. Compare with the attention of step 3: where a model looks is not the same as what it needs.",
    state: {
      or: "7",
      tool: "move",
      systems: [
        ["convnet", "occlusion"],
        ["vit", "occlusion"],
      ],
      opacity: 75,
    },
  },
  {
    title: "One pixel, another answer",
    lit: ".wb-says",
    text: "A 9, picked because it is hard. Move it down by one pixel, then on: the convnet goes on reading a 9, the ViT takes it for an 8 here, a 7 there and a 9 further on. That is a picked case: over 250 test digits a pixel changes the probability of the right class by 0.3 points in the convnet and by 1.4 in the ViT. From here on the bench is yours.",
    state: {
      sample: "a 9",
      tool: "move",
      systems: [
        ["convnet", "activity-0"],
        ["vit", "map-0", "mean"],
      ],
      query: "class",
      opacity: 60,
    },
  },
];

// go(step): sets the bench;  say: speaks;  root: where lit parts are. Returns { node, start, open
// }.
export function tour({ root, go, say }) {
  let at = -1;
  const count = h("span", { class: "wb-count" });
  const title = h("b", {});
  const text = h("p", {});
  const back = button("Back", () => move(at - 1));
  const next = button("Next", () => move(at + 1));
  const close = button("Close the tour", () => move(-1));
  const node = h(
    "section",
    { class: "wb-tour", "aria-label": "Guided tour", hidden: true },
    h("p", {}, count, " ", title),
    text,
    h("div", { class: "hx-row" }, back, next, close),
  );
  const start = button(
    "Tour",
    () => {
      move(0);
      next.focus({ preventScroll: true });
    },
    { class: "hx-button wb-start", title: "A guided tour in eight steps" },
  );

  function move(to) {
    root.querySelectorAll(".wb-lit").forEach((part) => part.classList.remove("wb-lit"));
    const opened = to >= 0 && to < TOUR.length;
    const wasOpen = at >= 0;
    at = opened ? to : -1;
    node.hidden = !opened;
    start.hidden = opened;
    if (!opened) {
      if (wasOpen) start.focus();
      return;
    }
    const step = TOUR[at];
    count.textContent = `${at + 1} of ${TOUR.length}`;
    title.textContent = step.title;
    text.textContent = step.text;
    back.disabled = at === 0;
    next.textContent = at === TOUR.length - 1 ? "Play freely" : "Next";
    go(step.state);
    const lit = [...root.querySelectorAll(step.lit)];
    lit.forEach((part) => part.classList.add("wb-lit"));
    lit[0]?.scrollIntoView({ block: "nearest", behavior: calm() ? "auto" : "smooth" });
    say(`Step ${count.textContent}: ${step.title}. ${step.text}`);
  }
  return { node, start };
}
