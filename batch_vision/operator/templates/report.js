"use strict";
// Cards in the document at a time: thousands of pictures would make every step slow.
const PAGE = 60;
const FACETS = ["status", "label", "verdict", "kind", "model", "folder"];
// How long nothing must change before the view is written into the address: some browsers count how often.
const SETTLED_MS = 250;
// A video and its lanes: a segment leads to its place, and the arrow keys to its neighbours.
for (const film of document.querySelectorAll(".film")) {
  const video = film.querySelector("video");
  const choose = film.querySelector(".choose");
  const least = film.querySelector(".least");
  const lanes = [...film.querySelectorAll(".lanes li")].map((lane) => [lane, [...lane.querySelectorAll("rect")]]);
  const segments = lanes.flatMap(([, rects]) => rects);
  const seek = (segment) => {
    video.currentTime = Number(segment.dataset.start);
  };
  const move = (segment, key) => {
    const lane = segment.parentElement;
    const shown = [...lane.querySelectorAll("rect:not(.under)")];
    const to = shown[shown.indexOf(segment) + (key === "ArrowRight" ? 1 : -1)];
    if (!to) return;
    segment.setAttribute("tabindex", -1);
    to.setAttribute("tabindex", 0);
    to.focus();
  };
  for (const segment of segments) {
    segment.addEventListener("click", () => seek(segment));
    segment.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") seek(segment);
      else if (event.key === "ArrowRight" || event.key === "ArrowLeft") move(segment, event.key);
      else return;
      event.preventDefault();
    });
  }
  video.addEventListener("timeupdate", () => {
    for (const { classList, dataset } of segments)
      classList.toggle("now", Number(dataset.start) <= video.currentTime && video.currentTime < Number(dataset.end));
  });
  if (choose) {
    choose.hidden = false;
    choose.querySelector("input").addEventListener("change", (event) => {
      if (!event.target.files.length) return;
      URL.revokeObjectURL(video.src);
      video.src = URL.createObjectURL(event.target.files[0]);
      video.hidden = false;
    });
  }
  if (least) {
    least.hidden = false;
    least.addEventListener("input", (event) => {
      least.querySelector("output").textContent = `${event.target.value}%`;
      for (const [lane, rects] of lanes) {
        for (const rect of rects)
          rect.classList.toggle("under", Number(rect.dataset.confidence) < event.target.valueAsNumber);
        const shown = rects.filter((rect) => !rect.classList.contains("under"));
        lane.hidden = !shown.length;
        for (const rect of rects) rect.setAttribute("tabindex", rect === shown[0] ? 0 : -1);
      }
    });
  }
}
const form = document.getElementById("filters");
if (form) {
  const list = document.querySelector(".pictures");
  const fields = form.elements;
  const facets = FACETS.filter((name) => fields[name]);
  const names = Object.fromEntries(
    facets.map((name) => [name, [...fields[name].options].map((option) => option.textContent)]),
  );
  const number = (text) => (text ? Number(text) : NaN);
  const cards = [...list.children].map((element) => {
    const data = element.dataset;
    const has = Object.fromEntries(facets.map((name) => [name, data[name].split(" ").filter(Boolean)]));
    const confidences = data.confidences.split(" ").map(number);
    return {
      element,
      has,
      key: element.querySelector("h3").textContent.toLowerCase(),
      confidence: number(data.confidence),
      ofLabel: new Map((has.label ?? []).map((label, at) => [label, confidences[at]])),
      margin: number(data.margin),
      time: data.time,
    };
  });
  let page = 0;
  let timer;

  const confidence = (card) => (fields.label?.value ? card.ofLabel.get(fields.label.value) : card.confidence);
  // What has none comes last.
  const ascending = (value) => (a, b) => {
    const [first, second] = [value(a), value(b)];
    return Number.isNaN(first) || Number.isNaN(second) ? Number.isNaN(first) - Number.isNaN(second) : first - second;
  };
  const ORDERS = {
    oldest: (a, b) => (a.time < b.time ? -1 : a.time > b.time ? 1 : 0),
    newest: (a, b) => (a.time > b.time ? -1 : a.time < b.time ? 1 : 0),
    least: ascending((card) => confidence(card) ?? NaN),
    margin: ascending((card) => card.margin),
  };

  const chosen = () => {
    const text = fields.key.value.toLowerCase();
    const [from, to] = [fields.from.valueAsNumber, fields.to.valueAsNumber];
    const isWide = from === 0 && to === 100;
    // For each card the facets that it does not meet: one that fails a single facet counts in that one.
    const counts = Object.fromEntries(facets.map((name) => [name, new Map()]));
    const found = cards.filter((card) => {
      const said = confidence(card);
      const failed = facets.filter((name) => fields[name].value && !card.has[name].includes(fields[name].value));
      // Where the label itself is not met, the range is that of the best prediction.
      const inRange = (value) => isWide || (value >= from && value <= to);
      if (!card.key.includes(text)) return false;
      if (failed.length > 1) return false;
      const isOtherLabel = failed[0] === "label";
      for (const name of failed.length ? failed : facets) {
        let isCounted = false;
        for (const value of card.has[name]) {
          if (!inRange(name === "label" ? card.ofLabel.get(value) : said)) continue;
          counts[name].set(value, (counts[name].get(value) ?? 0) + 1);
          isCounted = true;
        }
        if (isCounted || inRange(isOtherLabel ? card.confidence : said))
          counts[name].set("", (counts[name].get("") ?? 0) + 1);
      }
      return !failed.length && inRange(said);
    });
    if (fields.order.value) found.sort(ORDERS[fields.order.value]);
    return [found, counts];
  };

  const show = () => {
    const [found, counts] = chosen();
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    page = Math.min(page, pages - 1);
    list.replaceChildren(...found.slice(page * PAGE, (page + 1) * PAGE).map((card) => card.element));
    for (const name of facets)
      for (const [at, option] of [...fields[name].options].entries())
        option.textContent = `${names[name][at]} (${counts[name].get(option.value) ?? 0})`;
    document.body.classList.toggle("unmarked", !fields.marks.checked);
    document.getElementById("range").textContent = `${fields.from.value} to ${fields.to.value}%`;
    document.getElementById("shown").textContent = `${found.length} of ${cards.length} pictures`;
    for (const pager of document.querySelectorAll(".pages")) {
      pager.hidden = pages === 1;
      pager.querySelector("output").textContent = `page ${page + 1} of ${pages}`;
      const [previous, next] = pager.querySelectorAll("button");
      previous.disabled = page === 0;
      next.disabled = page === pages - 1;
    }
  };

  // The view is in the address: names and not numbers, for the next report numbers them otherwise.
  const write = () => {
    const view = new URLSearchParams();
    for (const name of facets) {
      const at = fields[name].selectedIndex;
      if (at > 0) view.set(name, names[name][at]);
    }
    if (fields.key.value) view.set("key", fields.key.value);
    if (fields.from.value !== "0") view.set("from", fields.from.value);
    if (fields.to.value !== "100") view.set("to", fields.to.value);
    if (fields.order.value) view.set("order", fields.order.value);
    if (!fields.marks.checked) view.set("marks", "off");
    if (page) view.set("page", page + 1);
    history.replaceState(null, "", `${location.href.split("#")[0]}${view.size ? `#${view}` : ""}`);
  };
  const percent = (text, otherwise) => (/^\d{1,3}$/.test(text) ? text : otherwise);
  const read = () => {
    const fragment = location.hash.slice(1);
    if (fragment && !fragment.includes("=")) return; // a place on the page
    const view = new URLSearchParams(fragment);
    for (const name of facets) fields[name].selectedIndex = Math.max(0, names[name].indexOf(view.get(name), 1));
    fields.key.value = view.get("key") ?? "";
    fields.from.value = percent(view.get("from"), 0);
    fields.to.value = percent(view.get("to"), 100);
    fields.order.value = view.get("order") ?? "";
    if (fields.order.selectedIndex < 0) fields.order.value = "";
    fields.marks.checked = view.get("marks") !== "off";
    page = Math.max(0, Math.trunc(Number(view.get("page") ?? 1) || 1) - 1);
  };

  const changed = () => {
    show();
    clearTimeout(timer);
    timer = setTimeout(write, SETTLED_MS);
  };
  form.addEventListener("input", (event) => {
    // One end of the range pushes the other.
    if (fields.from.valueAsNumber > fields.to.valueAsNumber)
      (event.target === fields.from ? fields.to : fields.from).value = event.target.value;
    page = 0;
    changed();
  });
  form.addEventListener("reset", () =>
    setTimeout(() => {
      page = 0;
      changed();
    }),
  );
  form.addEventListener("submit", (event) => event.preventDefault());
  for (const button of document.querySelectorAll(".pages button"))
    button.addEventListener("click", () => {
      page += Number(button.dataset.step);
      changed();
      document.getElementById("pictures").scrollIntoView();
    });
  addEventListener("hashchange", () => {
    read();
    show();
  });
  form.hidden = false;
  read();
  show();
}
