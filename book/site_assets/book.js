// A box that scrolls sideways must be reachable by keyboard: give it a tab stop while it scrolls.
(() => {
  "use strict";
  const BOXES = ".bd-article :is(mjx-container[display], table, .cell_output, .output, pre)";

  function update() {
    for (const box of document.querySelectorAll(BOXES)) {
      const scrolls =
        box.scrollWidth > box.clientWidth + 1 && getComputedStyle(box).overflowX !== "visible";
      if (scrolls && !box.hasAttribute("tabindex")) {
        box.tabIndex = 0;
        box.dataset.scrolls = "";
      } else if (!scrolls && "scrolls" in box.dataset) {
        box.removeAttribute("tabindex");
        delete box.dataset.scrolls;
      }
    }
  }

  addEventListener("resize", update);
  addEventListener("load", () => {
    update();
    window.MathJax?.startup?.promise?.then(update); // formulas get their width late
  });
})();
