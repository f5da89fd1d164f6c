"use strict";
const form = document.getElementById("filters");
if (form) {
  const cards = [...document.querySelectorAll(".card")];
  const apply = () => {
    const wanted = new FormData(form);
    const text = wanted.get("key").toLowerCase();
    let shown = 0;
    for (const card of cards) {
      const isWanted =
        ["status", "label", "verdict", "kind"].every(
          (name) => !wanted.get(name) || card.dataset[name].split(" ").includes(wanted.get(name)),
        ) &&
        card.querySelector("h3").textContent.toLowerCase().includes(text);
      card.hidden = !isWanted;
      shown += isWanted;
    }
    document.body.classList.toggle("unmarked", !wanted.has("marks"));
    document.getElementById("shown").textContent = `${shown} of ${cards.length} shown`;
  };
  form.hidden = false;
  form.addEventListener("input", apply);
  form.addEventListener("reset", () => setTimeout(apply));
  form.addEventListener("submit", (event) => event.preventDefault());
  apply();
}
