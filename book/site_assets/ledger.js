(() => {
  "use strict";

  // The claims ledger: boxes that are ticked keep the claims that have one of their values, in each
  // group of boxes that has a tick.
  const form = document.querySelector(".ledger-filter");
  const claims = [...document.querySelectorAll(".ledger-claim")];
  const chapters = [...document.querySelectorAll(".ledger-chapter")];
  const count = document.getElementById("ledger-count");

  function update() {
    const wanted = {};
    for (const { name, value } of form.querySelectorAll("input:checked"))
      (wanted[name] ??= []).push(value);
    const fits = (claim) =>
      Object.entries(wanted).every(([name, values]) =>
        claim.dataset[name].split("|").some((has) => values.includes(has)),
      );
    for (const claim of claims) claim.hidden = !fits(claim);
    const shown = claims.filter((claim) => !claim.hidden);
    for (const chapter of chapters) {
      let next = chapter.nextElementSibling;
      while (next?.hidden) next = next.nextElementSibling;
      chapter.hidden = !next?.matches(".ledger-claim");
    }
    count.textContent = `${shown.length} of ${claims.length} claims`;
  }

  // A link to a claim that is filtered out shows all claims again.
  function arrive() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target?.hidden || !target.matches(".ledger-claim")) return;
    form.reset();
    target.scrollIntoView();
  }

  form.addEventListener("change", update);
  form.addEventListener("reset", () => {
    // which the form does a moment later
    for (const box of form.querySelectorAll("input")) box.checked = false;
    update();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", arrive);
  form.hidden = false;
  update(); // also of boxes that the browser has kept ticked
})();
