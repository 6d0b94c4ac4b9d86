(() => {
  "use strict";

  // A page opened as a file may not fetch the text of its search results: show their titles only.
  if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

  // A box that scrolls sideways must be reachable by keyboard: a tab stop for as long as it
  // scrolls.
  // The theme marks some boxes too, with 0 or -1, but up to 0.3 s after a change, and not for every
  // one.
  const BOXES = ".bd-article :is(mjx-container[display], table, .cell_output, .output, pre)";

  function update() {
    for (const box of document.querySelectorAll(BOXES)) {
      const scrolls =
        box.scrollWidth > box.clientWidth + 1 && getComputedStyle(box).overflowX !== "visible";
      if (scrolls && box.tabIndex < 0) {
        box.tabIndex = 0;
        box.dataset.scrolls = "";
      } else if (!scrolls && "scrolls" in box.dataset) {
        box.removeAttribute("tabindex");
        delete box.dataset.scrolls;
      }
    }
  }

  // The article changes its size with the window, with late formulas and with opened solutions.
  addEventListener("DOMContentLoaded", () => {
    const sizes = new ResizeObserver(update);
    const marks = new MutationObserver(update);
    for (const article of document.querySelectorAll(".bd-article")) {
      sizes.observe(article);
      marks.observe(article, { subtree: true, attributeFilter: ["tabindex"] });
    }
  });
})();
