// Links in the text that set an explorable: <a href="#panel?system=convit&gate=-2">words</a>, for
// the one named "panel".

import { calm } from "./common.js";

// apply(said): said maps each key to its text. Also applied at the start, if the page's address is
// such a link.
// Returns a function that stops listening.
export function stateLinks(name, root, apply) {
  const read = (hash) => {
    const [start, rest] = hash.split("?");
    return start === `#${name}` ? Object.fromEntries(new URLSearchParams(rest ?? "")) : null;
  };
  const onClick = (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button > 0) return;
    const said = read(event.target.closest?.("a[href^='#']")?.getAttribute("href") ?? "");
    if (!said) return;
    event.preventDefault();
    event.stopPropagation(); // a notebook would look for a heading of that name
    apply(said);
    show(root);
  };
  const onHash = () => {
    const said = read(location.hash);
    if (said) {
      apply(said);
      show(root);
    }
  };
  document.addEventListener("click", onClick, true);
  addEventListener("hashchange", onHash);
  const first = read(location.hash);
  if (first)
    requestAnimationFrame(() => {
      apply(first);
      show(root);
    });
  return () => {
    document.removeEventListener("click", onClick, true);
    removeEventListener("hashchange", onHash);
  };
}

// Scrolls to what the link has set, unless most of it is in sight; without a glide where the reader
// wants no motion.
function show(root) {
  const { top, bottom, height } = root.getBoundingClientRect();
  const seen = Math.min(bottom, innerHeight) - Math.max(top, 0);
  if (seen > 0.7 * Math.min(height, innerHeight)) return;
  root.scrollIntoView({
    block: height > innerHeight ? "start" : "nearest",
    behavior: calm() ? "auto" : "smooth",
  });
}
