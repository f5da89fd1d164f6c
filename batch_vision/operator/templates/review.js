"use strict";
// A row as the server sends it.
const KEY = 0, PREDICTED = 1, SAID = 2, CONFIDENCE = 3, FINISHED = 4, MODEL = 5, SAMPLE = 6, JUDGED = 7, MARGIN = 8;
const VERDICT = 0, LABELS = 1, BOXES = 2, BY = 3; // of a judgement
const PAGE = 60, FIRST_ROWS = 600, ROWS_AT_ONCE = 10000, CARDS_AT_ONCE = 6, MOST_CARDS_KEPT = 1200;
const MOST_SHOWN = 40; // values of a facet
const SIGNS = { right: "✓", wrong: "✗", unsure: "?" };
const NO_LABEL = "no label";

const $ = (id) => document.getElementById(id);
const visible = (text) =>
  text.replace(/[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/gu, (one) => `\\u{${one.codePointAt(0).toString(16)}}`);
const make = (tag, name = "", text = null) => {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text !== null) element.textContent = text;
  return element;
};
const shape = (tag, attributes) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
};
const many = (number) => number.toLocaleString("en-US");
const isSaid = (one, other) => JSON.stringify(one) === JSON.stringify(other);
const isSame = (one, other) => one.length === other.length && one.every((name) => other.includes(name));

// What the address says: the token, and the view.

const read = () => new URLSearchParams(location.hash.slice(1));
const token = read().get("token") || "";
const FACETS = ["judged", "label", "source", "model", "folder", "day"];
// null is no condition; the label "" is to have none.
const fresh = () => ({ judged: null, label: null, source: null, model: null, folder: null, day: null, min: 0, max: 100, key: "", order: "least", page: 0 });
let view = fresh();

function restore() {
  const told = read();
  view = fresh();
  for (const name of FACETS) view[name] = told.get(name);
  view.key = told.get("key") || "";
  for (const name of ["min", "max", "page"]) if (told.has(name)) view[name] = Math.max(0, Number(told.get(name)) || 0);
  if (["least", "margin", "most", "newest"].includes(told.get("order"))) view.order = told.get("order");
}

function remember() {
  const told = new URLSearchParams({ token });
  const usual = fresh();
  for (const [name, value] of Object.entries(view)) if (value !== usual[name]) told.set(name, value);
  history.replaceState(null, "", `#${told}`);
}

async function ask(path, options = {}) {
  const answer = await fetch(`/api/${path}`, { ...options, headers: { Authorization: `Bearer ${token}`, ...options.headers } });
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => ({}));
  throw Object.assign(new Error(told.problem || `${answer.status} ${answer.statusText}`), { status: answer.status });
}

// The rows, and what is looked for in them: numbers instead of texts, so that 100,000 are looked through at once.

let about = null;
const rows = [];
let labels = [], labelNumbers = new Map();
const folders = [], folderNumbers = new Map(), days = [], dayNumbers = new Map();
let columns = null;
let shown = new Int32Array(0); // the rows that are wanted, in order
let counts = {};

const numberOf = (names, numbers, name) => {
  if (!numbers.has(name)) numbers.set(name, names.push(name) - 1);
  return numbers.get(name);
};

function add(row) {
  const at = rows.push(row) - 1;
  const slash = row[KEY].indexOf("/");
  columns.folder[at] = numberOf(folders, folderNumbers, slash < 0 ? "" : row[KEY].slice(0, slash + 1));
  columns.day[at] = numberOf(days, dayNumbers, row[FINISHED].slice(0, 10));
  columns.confidence[at] = row[CONFIDENCE] ?? 0;
  columns.margin[at] = row[MARGIN] ?? 100;
}

// Of the label, where the row has it; else of the best prediction.
function confidenceOf(at, label) {
  const said = rows[at][SAID];
  for (let place = 0; place < said.length; place += 2) if (said[place] === label) return said[place + 1];
  return columns.confidence[at];
}

const judgement = (row) => (rows[row][JUDGED] ? rows[row][JUDGED][VERDICT] : "not judged");
const predicted = (row) => rows[row][PREDICTED].map((number) => labels[number]);
const labelsNow = (row) => (rows[row][JUDGED] && rows[row][JUDGED][VERDICT] !== "unsure" ? rows[row][JUDGED][LABELS] : predicted(row));

// Each facet counts the rows that all other conditions leave, so one that fails two conditions is counted nowhere.
function look() {
  const wanted = {
    label: view.label === null ? -2 : view.label === "" ? -1 : labelNumbers.get(view.label) ?? -3,
    model: view.model === null ? -2 : about.models.indexOf(view.model),
    folder: view.folder === null ? -2 : folderNumbers.get(view.folder === "/" ? "" : view.folder) ?? -3,
    day: view.day === null ? -2 : dayNumbers.get(view.day) ?? -3,
  };
  const text = view.key.toLowerCase();
  const found = [];
  const of = { judged: {}, label: new Map(), source: [0, 0], model: new Map(), folder: new Map(), day: new Map() };
  const isWithin = (at, label) => { const confidence = confidenceOf(at, label); return confidence >= view.min && confidence <= view.max; };
  const up = (map, key) => map.set(key, (map.get(key) || 0) + 1);
  for (let at = 0; at < rows.length; at++) {
    const row = rows[at];
    if (text && !row[KEY].toLowerCase().includes(text)) continue;
    const verdict = judgement(at);
    let failed = "", fails = 0;
    if (view.judged && view.judged !== verdict) { failed = "judged"; fails++; }
    // The range is of the chosen label's confidence, so another label has another one.
    if ((wanted.label !== -2 && !(wanted.label === -1 ? !row[PREDICTED].length : row[PREDICTED].includes(wanted.label))) || !isWithin(at, wanted.label)) { failed = "label"; fails++; }
    if (view.source && (view.source === "sample") !== Boolean(row[SAMPLE])) { failed = "source"; fails++; }
    if (wanted.model !== -2 && wanted.model !== row[MODEL]) { failed = "model"; fails++; }
    if (wanted.folder !== -2 && wanted.folder !== columns.folder[at]) { failed = "folder"; fails++; }
    if (wanted.day !== -2 && wanted.day !== columns.day[at]) { failed = "day"; fails++; }
    if (fails > 1) continue;
    if (!fails) found.push(at);
    if (!fails || failed === "judged") of.judged[verdict] = (of.judged[verdict] || 0) + 1;
    if (!fails || failed === "label") for (const label of row[PREDICTED].length ? row[PREDICTED] : [-1]) if (isWithin(at, label)) up(of.label, label);
    if (!fails || failed === "source") of.source[row[SAMPLE]]++;
    if (!fails || failed === "model") up(of.model, row[MODEL]);
    if (!fails || failed === "folder") up(of.folder, columns.folder[at]);
    if (!fails || failed === "day") up(of.day, columns.day[at]);
  }
  return { found, of };
}

function renew({ keepsPage = false } = {}) {
  const { found, of } = look();
  shown = Int32Array.from(found);
  const label = labelNumbers.get(view.label) ?? -1, { margin } = columns;
  const confidence = columns.confidence.slice();
  for (const at of shown) confidence[at] = confidenceOf(at, label);
  if (view.order === "least") shown.sort((a, b) => confidence[a] - confidence[b] || a - b);
  if (view.order === "margin") shown.sort((a, b) => margin[a] - margin[b] || a - b);
  if (view.order === "most") shown.sort((a, b) => confidence[b] - confidence[a] || a - b);
  if (view.order === "newest") shown.sort((a, b) => (rows[a][FINISHED] < rows[b][FINISHED] ? 1 : rows[a][FINISHED] > rows[b][FINISHED] ? -1 : a - b));
  counts = of;
  if (!keepsPage) view.page = 0;
  view.page = Math.max(0, Math.min(view.page, pages() - 1));
  remember();
  showFacets();
  showPage();
}

const pages = () => Math.ceil(shown.length / PAGE);
const rowAt = (position) => shown[view.page * PAGE + position];
const onPage = () => Math.max(0, Math.min(PAGE, shown.length - view.page * PAGE));

let countingSoon = 0;
function countSoon() {
  clearTimeout(countingSoon);
  countingSoon = setTimeout(() => { counts = look().of; showFacets(); }, 150);
}

// The facets.

function showFacets() {
  const facets = $("facets");
  const scrolled = facets.scrollTop, focused = document.activeElement?.dataset?.value;
  const isInside = facets.contains(document.activeElement), name = document.activeElement?.dataset?.facet;
  facets.replaceChildren();
  const some = (map, names) => [...map].map(([number, count]) => [number < 0 ? "" : names[number], count]);
  const byCount = (a, b) => b[1] - a[1];
  const models = some(counts.model, about.models).map(([model, count]) => [model || "not told", count]);
  facet("Judged", "judged", ["not judged", "right", "wrong", "unsure"].map((verdict) => [verdict, counts.judged[verdict] || 0]));
  facet("Label", "label", some(counts.label, labels).sort(byCount), (label) => palette().indexOf(label) + 1);
  if (about.hasSample) facet("Why it is here", "source", [["doubtful", counts.source[0]], ["sample", counts.source[1]]]);
  if (about.models.length > 1) facet("Model", "model", models.sort(byCount));
  if (folders.length > 1) facet("Folder", "folder", some(counts.folder, folders.map((folder) => folder || "/")).sort(byCount));
  if (days.length > 1) facet("Day", "day", some(counts.day, days).sort((a, b) => (a[0] < b[0] ? 1 : -1)));
  facets.scrollTop = scrolled;
  if (isInside) [...facets.querySelectorAll("button")].find((one) => one.dataset.value === focused && one.dataset.facet === name)?.focus();
}

function facet(title, name, values, digitOf = () => 0) {
  const chosen = view[name];
  let few = values.slice(0, MOST_SHOWN);
  if (chosen !== null && !few.some(([value]) => value === chosen)) few = [[chosen, values.find(([value]) => value === chosen)?.[1] || 0], ...few];
  const list = make("ul");
  for (const [value, count] of few) {
    const button = make("button", count ? "" : "none");
    button.type = "button";
    button.dataset.facet = name;
    button.dataset.value = value;
    button.setAttribute("aria-pressed", String(value === chosen));
    const digit = digitOf(value);
    const words = value === "" ? NO_LABEL : visible(value);
    button.append(make("span", "name", name === "model" ? words.replace(/^arn:.*:(project|model)\//, "") : words));
    button.title = words;
    if (digit > 0 && digit < 10) button.append(make("kbd", "", String(digit)));
    button.append(make("span", "count", many(count)));
    const item = make("li");
    item.append(button);
    list.append(item);
  }
  $("facets").append(make("h2", "", values.length > few.length ? `${title} (${few.length} of ${values.length})` : title), list);
}

// The labels by number: those of the model, as often as it says them, then others that a person gave.
const palette = () => labels;

// The pictures: those of the page first, then those of the next one.

const cards = new Map();
let wishes = [], underWay = 0;

function wish() {
  const from = view.page * PAGE;
  wishes = [...shown.subarray(from, from + 2 * PAGE)].filter((row) => !cards.has(row));
  load();
}

function load() {
  while (underWay < CARDS_AT_ONCE && wishes.length) {
    const row = wishes.shift();
    underWay++;
    cards.set(row, null);
    ask(`card/${row}`)
      .then((answer) => answer.json())
      .catch((error) => ({ missing: error.message, boxes: [], isBroken: true }))
      .then((card) => {
        underWay--;
        if (card.isBroken) cards.delete(row); else cards.set(row, card);
        if (cards.size > MOST_CARDS_KEPT) cards.delete(cards.keys().next().value);
        const position = [...shown.subarray(view.page * PAGE, view.page * PAGE + PAGE)].indexOf(row);
        if (position >= 0) showPicture(nodes[position], row, card);
        if (large === row) showLarge();
        load();
      });
  }
}

// The grid: 60 cards that are used again for each page.

const nodes = [];
let cursor = 0;

function makeGrid() {
  for (let position = 0; position < PAGE; position++) {
    const card = make("li", "card");
    card.setAttribute("role", "option");
    card.tabIndex = -1;
    const frame = make("div", "frame"), picture = make("div", "picture");
    const image = make("img"), mask = make("img", "mask"), boxes = shape("svg", { class: "boxes", viewBox: "0 0 1 1", preserveAspectRatio: "none", "aria-hidden": "true" });
    image.alt = mask.alt = "";
    image.decoding = "async";
    picture.append(image, mask, boxes);
    const missing = make("p", "missing"), sign = make("span", "sign"), open = make("button", "open", "⤢");
    open.type = "button";
    open.tabIndex = -1;
    open.title = "Large picture (Space)";
    frame.append(picture, missing);
    const said = make("p", "said"), file = make("p", "file");
    card.append(frame, sign, open, said, file);
    card.addEventListener("click", (event) => {
      move(position, { scrolls: false });
      if (event.target === open) openLarge();
      else toggleWrong(rowAt(position));
    });
    nodes.push({ card, picture, image, mask, boxes, missing, sign, said, file, row: -1 });
    $("grid").append(card);
  }
}

function showPage() {
  const number = onPage();
  nodes.forEach((node, position) => {
    node.card.hidden = position >= number;
    if (position >= number) { node.row = -1; return; }
    showCard(node, rowAt(position));
  });
  cursor = Math.max(0, Math.min(cursor, number - 1));
  nodes.forEach((node, position) => {
    node.card.setAttribute("aria-selected", String(position === cursor));
    node.card.tabIndex = position === cursor ? 0 : -1;
  });
  $("nothing").hidden = number > 0;
  $("nothing").textContent = rows.length ? "No image matches these filters. Change them, or show all." : "There is no image to judge.";
  showWhere();
  wish();
}

function showWhere() {
  const from = view.page * PAGE, number = onPage();
  const left = number ? nodes.slice(0, number).filter((node) => !rows[node.row][JUDGED]).length : 0;
  $("where").textContent = number ? `${many(from + 1)}–${many(from + number)} of ${many(shown.length)} · page ${many(view.page + 1)} of ${many(pages())} · ${left} to judge` : "";
  $("previous").disabled = view.page === 0;
  $("next").disabled = view.page + 1 >= pages();
  $("accept").disabled = !number;
}

function showCard(node, row) {
  node.row = row;
  showVerdict(node);
  node.card.title = visible(rows[row][KEY]);
  showPicture(node, row, cards.get(row));
}

function showVerdict(node) {
  const row = node.row, judged = rows[row][JUDGED], verdict = judged ? judged[VERDICT] : "";
  node.card.className = `card ${verdict}`;
  node.sign.textContent = SIGNS[verdict] || "";
  node.sign.hidden = !verdict;
  const before = predicted(row), now = labelsNow(row);
  const words = before.map((name) => `${visible(name)} ${shownConfidence(row, name)}`).join(", ") || NO_LABEL;
  node.said.textContent = words;
  // In the place of the name, so that no card grows when it is judged.
  const name = rows[row][KEY];
  node.file.textContent = verdict === "wrong" ? `→ ${now.map(visible).join(", ") || NO_LABEL}` : visible(name.slice(name.lastIndexOf("/") + 1) || name);
  node.card.setAttribute("aria-label", `${visible(rows[row][KEY])}: ${words}${verdict ? `, judged ${verdict}` : ""}${verdict === "wrong" ? `: ${now.join(", ") || NO_LABEL}` : ""}`);
}

function shownConfidence(row, name) {
  const said = rows[row][SAID], number = labelNumbers.get(name);
  for (let at = 0; at < said.length; at += 2) if (said[at] === number) return `${said[at + 1].toFixed(0)}%`;
  return rows[row][CONFIDENCE] === null ? "" : `${rows[row][CONFIDENCE].toFixed(0)}%`;
}

function showPicture(node, row, card) {
  if (node.row !== row) return;
  node.picture.hidden = !card?.thumbnail;
  if (card?.thumbnail) node.image.src = card.thumbnail; else node.image.removeAttribute("src");
  node.mask.hidden = !card?.mask;
  if (card?.mask) node.mask.src = card.mask; else node.mask.removeAttribute("src");
  node.missing.textContent = card ? card.missing : "…";
  node.missing.hidden = Boolean(card && !card.missing);
  drawBoxes(node.boxes, card ? boxesNow(row, card) : []);
}

const boxesNow = (row, card) => rows[row][JUDGED]?.[BOXES] ?? card.boxes;
const colourOf = (name) => `c${(labelNumbers.get(name) ?? 0) % 8}`;

function drawBoxes(svg, boxes) {
  svg.replaceChildren();
  for (const box of boxes) {
    const place = { x: box.left, y: box.top, width: box.width, height: box.height };
    svg.append(shape("rect", { class: "halo", ...place }), shape("rect", { class: colourOf(box.name), ...place }));
  }
}

function move(position, { scrolls = true } = {}) {
  if (position < 0 || position >= onPage()) return;
  nodes[cursor].card.setAttribute("aria-selected", "false");
  nodes[cursor].card.tabIndex = -1;
  cursor = position;
  const card = nodes[cursor].card;
  card.setAttribute("aria-selected", "true");
  card.tabIndex = 0;
  card.focus({ preventScroll: true });
  if (scrolls) card.scrollIntoView({ block: "nearest" });
}

function turn(page, position = 0) {
  if (page < 0 || page >= pages()) return false;
  view.page = page;
  cursor = position;
  remember();
  showPage();
  scrollTo({ top: 0 });
  nodes[cursor].card.focus({ preventScroll: true });
  return true;
}

function step(by) {
  if (cursor + by >= 0 && cursor + by < onPage()) move(cursor + by);
  else if (by === 1) turn(view.page + 1);
  else if (by === -1) turn(view.page - 1, PAGE - 1);
}

function toJudge() {
  const after = view.page * PAGE;
  for (let at = 0; at < shown.length; at++) {
    const place = (after + PAGE + at) % shown.length;
    if (!rows[shown[place]][JUDGED]) { turn(Math.floor(place / PAGE), place % PAGE); return; }
  }
  say("All of this view is judged.");
}

function otherLabel(by) {
  const values = [...document.querySelectorAll("#facets button[data-facet=label]")].map((one) => one.dataset.value);
  const at = values.indexOf(view.label);
  const value = values[at < 0 ? (by > 0 ? 0 : values.length - 1) : at + by];
  if (value !== undefined) choose("label", value);
}

function choose(name, value) {
  view[name] = value;
  cursor = 0;
  renew();
}

// Judging. What is said is shown at once, and sent in the order in which it was said.

const undone = [];
const queue = [];
let isSending = false, refused = null, judgedNow = 0, firstAt = 0;

function judge(changes, { isUndo = false, draws = true } = {}) {
  if (!changes.length) return;
  if (!isUndo) undone.push(changes.map(({ row }) => ({ row, judged: rows[row][JUDGED] })));
  if (undone.length > 1000) undone.shift();
  firstAt ||= Date.now();
  for (const { row, verdict, labels: given = [], boxes = null } of changes) {
    rows[row][JUDGED] = verdict === "withdrawn" ? null : [verdict, given, boxes, about.by];
    queue.push({ row, verdict, labels: given, boxes });
    for (const name of given) if (!labelNumbers.has(name)) numberOf(labels, labelNumbers, name);
    if (!isUndo && verdict !== "withdrawn") judgedNow++;
  }
  const touched = new Set(changes.map(({ row }) => row));
  if (touched.has(refused?.row)) refused = null;
  if (draws) redraw(touched);
  showProgress();
  showSaving();
  countSoon();
  send();
}

function redraw(touched) {
  for (const node of nodes) if (node.row >= 0 && touched.has(node.row)) showVerdict(node);
  if (large !== null && touched.has(large)) showLarge();
  showWhere();
}

// Show what counts, as the server says: when one's own judgement is withdrawn, that of another person may.
function take(changes) {
  const waiting = new Set(queue.map(({ row }) => row)), touched = new Set();
  for (const [row, counting] of changes) {
    if (waiting.has(row) || isSaid(rows[row][JUDGED], counting)) continue;
    rows[row][JUDGED] = counting;
    touched.add(row);
  }
  if (!touched.size) return;
  redraw(touched);
  countSoon();
}

const asBefore = (row, judged) =>
  judged && judged[BY] === about.by
    ? { row, verdict: judged[VERDICT], labels: judged[LABELS], boxes: judged[BOXES] }
    : { row, verdict: "withdrawn" };

function undo() {
  const before = undone.pop();
  if (!before) { say("Nothing to undo."); return; }
  judge(before.map(({ row, judged }) => asBefore(row, judged)), { isUndo: true });
  judgedNow = Math.max(0, judgedNow - before.length);
  showProgress();
  const place = shown.indexOf(before[0].row);
  if (place >= 0 && large === null) {
    if (Math.floor(place / PAGE) !== view.page) turn(Math.floor(place / PAGE), place % PAGE); else move(place % PAGE);
  }
}

// Boxes that were drawn stay with their labels; without any that is left, nobody has looked at boxes.
function boxesOf(row, given) {
  const kept = (rows[row][JUDGED]?.[BOXES] ?? []).filter((box) => given.includes(box.name));
  return kept.length ? kept : null;
}

const asRight = (row) => ({ row, verdict: "right", labels: predicted(row), boxes: boxesOf(row, predicted(row)) });
const withLabels = (row, given, boxes = boxesOf(row, given)) => ({ row, verdict: isSame(given, predicted(row)) && !boxes ? "right" : "wrong", labels: given, boxes });

const crossed = new Map(); // by row: what was said before it was marked as wrong, and what was said by that

function toggleWrong(row) {
  if (row === undefined) return;
  const { before, now } = crossed.get(row) ?? {}, judged = rows[row][JUDGED];
  if (judged?.[VERDICT] === "wrong") {
    judge([asBefore(row, isSaid(judged, now) ? before : null)]);
    return;
  }
  // Of an image that has the label of the view and others, this one is what a look at the page tells.
  const given = predicted(row).filter((name) => view.label && name !== view.label);
  judge([{ row, verdict: "wrong", labels: given, boxes: boxesOf(row, given) }]);
  crossed.set(row, { before: judged, now: rows[row][JUDGED] });
}

function acceptPage() {
  const changes = nodes.slice(0, onPage()).filter((node) => !rows[node.row][JUDGED]).map((node) => asRight(node.row));
  const isLast = view.page + 1 >= pages();
  judge(changes, { draws: isLast }); // the next page takes its place at once
  if (!turn(view.page + 1)) say("This was the last page of the view. ] goes to the next label, G to what is not judged.");
}

function setLabel(row, name, { isMore = false } = {}) {
  const now = labelsNow(row);
  const given = !isMore ? [name] : now.includes(name) ? now.filter((other) => other !== name) : [...now, name];
  judge([withLabels(row, given)]);
}

async function send() {
  if (isSending) return;
  isSending = true;
  let atOnce = 500;
  while (queue.length) {
    const batch = queue.slice(0, atOnce), [{ row }] = batch;
    try {
      const answer = await ask("judgements", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ judgements: batch }) });
      const told = await answer.json();
      queue.splice(0, batch.length);
      take(batch.map((one, number) => [one.row, told.counting[number]]));
      showState(told);
    } catch (error) {
      // What is refused would be refused for ever: find it, drop it, and go on with the others.
      if (error.status === 400 && batch.length > 1) { atOnce = 1; continue; }
      if (error.status === 400) {
        queue.shift();
        refused = { row, text: `Not saved: ${visible(rows[row][KEY])}: ${error.message}` };
        atOnce = 500;
        await ask(`rows?start=${row}&count=1`).then((answer) => answer.json()).then(([told]) => take([[row, told[JUDGED]]]), () => {});
        showState(state);
      } else {
        complain(`Not saved yet: ${error.message} Leave this page open; it tries again.`);
        await new Promise((resolve) => setTimeout(resolve, 2000));
      }
    }
    showSaving();
  }
  isSending = false;
}

let state = { waiting: 0, problem: null };
function showState(told) {
  state = told;
  complain([refused?.text, state.problem && `Saved on this machine, but not in the bucket yet: ${state.problem}`].filter(Boolean).join(" "));
}

function showSaving() {
  $("saving").textContent = queue.length ? `saving ${many(queue.length)} …` : state.waiting ? `saved (${many(state.waiting)} on the way to the bucket)` : "saved";
  $("saving").classList.toggle("waits", queue.length > 0);
}

function complain(text) {
  $("problem").hidden = !text;
  $("problem").textContent = text;
}

let said = "", saidUntil = 0;
function say(text) {
  said = text;
  saidUntil = Date.now() + 5000;
  showProgress();
  setTimeout(showProgress, 5100);
}

function showProgress() {
  const hours = (Date.now() - firstAt) / 3600e3;
  const pace = judgedNow >= 20 && hours > 1 / 360 ? ` · ${many(Math.round(judgedNow / hours))} an hour` : "";
  const text = judgedNow ? `${many(judgedNow)} judged now${pace}` : `${many(rows.length)} images`;
  $("progress").textContent = Date.now() < saidUntil ? said : text;
}

// The large picture.

let large = null, fullUrl = "", chosenBox = -1, isDrawing = false;

function openLarge() {
  if (!onPage()) return;
  large = rowAt(cursor);
  if (!$("large").open) $("large").showModal();
  $("large").focus();
  chosenBox = -1;
  $("large-result").open = false;
  $("large-result").querySelector("pre").textContent = "";
  loadFull(large);
  showLarge();
}

function closeLarge() {
  large = null;
  $("large").close();
  nodes[cursor]?.card.focus({ preventScroll: true });
  nodes[cursor]?.card.scrollIntoView({ block: "nearest" });
}

async function loadFull(row) {
  const thumbnail = cards.get(row)?.thumbnail;
  if (thumbnail) $("full").src = thumbnail; else $("full").removeAttribute("src");
  $("stage-missing").hidden = true;
  try {
    const blob = await (await ask(`image/${row}`)).blob();
    if (large !== row) return;
    URL.revokeObjectURL(fullUrl);
    fullUrl = URL.createObjectURL(blob);
    $("full").src = fullUrl;
    $("sheet").hidden = false;
  } catch (error) {
    if (large !== row) return;
    $("stage-missing").textContent = cards.get(row)?.missing || error.message;
    $("stage-missing").hidden = Boolean(thumbnail);
  }
}

function fit() {
  const stage = $("stage"), image = $("full");
  const size = cards.get(large)?.size, width = size?.[0] || image.naturalWidth, height = size?.[1] || image.naturalHeight;
  if (!width || !height) return;
  const scale = Math.min((stage.clientWidth - 20) / width, (stage.clientHeight - 20) / height, Math.max(1, 480 / Math.max(width, height)));
  for (const element of [$("sheet"), image]) {
    element.style.width = `${Math.round(width * scale)}px`;
    element.style.height = `${Math.round(height * scale)}px`;
  }
}

function showLarge() {
  const row = large, card = cards.get(row), judged = rows[row][JUDGED];
  $("sheet").hidden = !$("full").getAttribute("src");
  $("large-key").textContent = visible(rows[row][KEY]);
  const now = labelsNow(row);
  $("large-state").className = judged ? judged[VERDICT] : "";
  $("large-state").textContent = judged ? `${SIGNS[judged[VERDICT]]} ${judged[VERDICT]}, says ${visible(judged[BY])}` : "not judged";
  $("large-said").replaceChildren();
  const told = rows[row][SAID];
  for (let at = 0; at < told.length; at += 2) $("large-said").append(entry(labels[told[at]], `${told[at + 1].toFixed(1)}%`));
  if (!told.length) $("large-said").append(entry(predicted(row)[0] || NO_LABEL, rows[row][CONFIDENCE] === null ? "" : `${rows[row][CONFIDENCE].toFixed(1)}%`));
  $("large-labels").replaceChildren(
    ...palette().slice(0, MOST_SHOWN).map((name, number) => {
      const button = make("button", "", visible(name));
      button.type = "button";
      button.dataset.label = name;
      button.setAttribute("aria-pressed", String(now.includes(name)));
      if (number < 9) button.prepend(make("kbd", "", String(number + 1)), " ");
      return button;
    }),
  );
  $("full-mask").hidden = !card?.mask;
  if (card?.mask) $("full-mask").src = card.mask;
  showBoxes();
  fit();
}

function entry(name, more) {
  const item = make("li", colourOf(name));
  item.append(make("span", "key"), make("span", "name", visible(name)), make("span", "number", more));
  item.children[1].style.color = item.children[2].style.color = "var(--text)";
  return item;
}

const largeBoxes = () => (cards.get(large) ? boxesNow(large, cards.get(large)) : []);

function showBoxes() {
  const boxes = largeBoxes();
  drawBoxes($("full-boxes"), boxes);
  $("large-boxes").replaceChildren();
  boxes.forEach((box, number) => {
    const hit = shape("rect", { class: "hit", x: box.left, y: box.top, width: box.width, height: box.height });
    hit.addEventListener("pointerdown", (event) => { event.stopPropagation(); chosenBox = chosenBox === number ? -1 : number; showBoxes(); });
    $("full-boxes").append(hit);
    const item = entry(box.name, "");
    const remove = make("button", "", "remove");
    remove.type = "button";
    remove.addEventListener("click", () => setBoxes(largeBoxes().filter((_, other) => other !== number)));
    item.lastChild.replaceWith(remove);
    item.addEventListener("click", () => { chosenBox = number; showBoxes(); });
    if (number === chosenBox) item.classList.add("chosen");
    $("large-boxes").append(item);
  });
  const drawn = $("full-boxes").querySelectorAll("rect:not(.halo):not(.hit)");
  drawn[chosenBox]?.classList.add("chosen");
  if (!boxes.length) $("large-boxes").append(make("li", "quiet", "none"));
}

function setBoxes(boxes) {
  chosenBox = -1;
  const names = [...new Set(boxes.map((box) => box.name))];
  const given = [...new Set([...labelsNow(large).filter((name) => names.includes(name) || !largeBoxes().some((box) => box.name === name)), ...names])];
  judge([withLabels(large, given, boxes)]);
}

// Of a label that is set where boxes were drawn, all boxes may be wrong: those of labels that are left stay.
function setLargeLabel(name, { isMore = false } = {}) {
  if (chosenBox >= 0) {
    setBoxes(largeBoxes().map((box, number) => (number === chosenBox ? { ...box, name } : box)));
    return;
  }
  setLabel(large, name, { isMore });
}

function startDrawing(event) {
  if (event.button !== 0 || large === null || !cards.get(large)) return;
  const name = labelsNow(large)[0];
  if (!name) { say("Set a label first: a box is of a label."); $("large-state").textContent = said; return; }
  event.preventDefault();
  const frame = $("sheet").getBoundingClientRect();
  const at = (one) => [Math.min(1, Math.max(0, (one.clientX - frame.left) / frame.width)), Math.min(1, Math.max(0, (one.clientY - frame.top) / frame.height))];
  const [x, y] = at(event);
  const drawn = shape("rect", { class: colourOf(name), x, y, width: 0, height: 0 });
  $("full-boxes").append(drawn);
  isDrawing = true;
  let box = null;
  const draw = (one) => {
    const [right, bottom] = at(one);
    box = { name, left: Math.min(x, right), top: Math.min(y, bottom), width: Math.abs(right - x), height: Math.abs(bottom - y) };
    for (const [side, value] of [["x", box.left], ["y", box.top], ["width", box.width], ["height", box.height]]) drawn.setAttribute(side, value);
  };
  const end = () => {
    isDrawing = false;
    $("sheet").removeEventListener("pointermove", draw);
    drawn.remove();
    chosenBox = -1;
    if (box && box.width > 0.005 && box.height > 0.005) setBoxes([...largeBoxes(), box]); else showBoxes();
  };
  $("sheet").setPointerCapture(event.pointerId);
  $("sheet").addEventListener("pointermove", draw);
  $("sheet").addEventListener("pointerup", end, { once: true });
}

function stepLarge(by) {
  const before = rowAt(cursor);
  step(by);
  if (rowAt(cursor) !== before) openLarge();
}

// The keys.

function otherName() {
  $("names").replaceChildren(...labels.map((name) => Object.assign(make("option"), { value: name })));
  $("other-name").value = "";
  $("other").showModal();
}

function columnsOfGrid() {
  return getComputedStyle($("grid")).gridTemplateColumns.split(" ").length;
}

const isTyping = (element) => element.matches?.("input:not([type=range]):not([type=checkbox]), select, textarea");

document.addEventListener("keydown", (event) => {
  if (!about || event.ctrlKey || event.metaKey || event.altKey || $("help").open || $("other").open) return;
  if (isTyping(event.target)) {
    if (event.key === "Escape") nodes[cursor].card.focus();
    return;
  }
  const onControl = event.target.matches?.("button, summary, input");
  if (onControl && ["Enter", " "].includes(event.key)) return;
  if (event.target.matches?.("input[type=range]") && event.key.startsWith("Arrow")) return;
  const isLarge = large !== null;
  const row = isLarge ? large : rowAt(cursor);
  const digit = /^Digit[0-9]$|^Numpad[0-9]$/.test(event.code) ? Number(event.code.at(-1)) : /^[0-9]$/.test(event.key) ? Number(event.key) : -1;
  const next = () => (isLarge ? stepLarge(1) : step(1));
  const done = () => event.preventDefault();
  if (digit >= 0) {
    done();
    if (row === undefined) return;
    if (digit === 0) { judge([withLabels(row, [])]); next(); return; }
    const name = palette()[digit - 1];
    if (name === undefined) { say(`There is no label ${digit}. L sets another one.`); return; }
    const isBox = isLarge && chosenBox >= 0;
    if (isLarge) setLargeLabel(name, { isMore: event.shiftKey }); else setLabel(row, name, { isMore: event.shiftKey });
    if (!event.shiftKey && !isBox) next();
    return;
  }
  const keys = {
    ArrowRight: () => (isLarge ? stepLarge(1) : step(1)),
    ArrowLeft: () => (isLarge ? stepLarge(-1) : step(-1)),
    ArrowDown: () => !isLarge && (cursor + columnsOfGrid() < onPage() ? move(cursor + columnsOfGrid()) : move(onPage() - 1)),
    ArrowUp: () => !isLarge && move(cursor - columnsOfGrid()),
    Home: () => !isLarge && move(0),
    End: () => !isLarge && move(onPage() - 1),
    " ": () => (isLarge ? closeLarge() : openLarge()),
    Escape: () => isLarge && closeLarge(),
    Enter: () => toggleWrong(row),
    Delete: () => remove(row),
    Backspace: () => remove(row),
    PageDown: () => !isLarge && turn(view.page + 1),
    PageUp: () => !isLarge && turn(view.page - 1),
    a: () => !isLarge && acceptPage(),
    x: () => toggleWrong(row),
    r: () => { if (row !== undefined) { judge([asRight(row)]); next(); } },
    u: () => { if (row !== undefined) { judge([{ row, verdict: "unsure" }]); next(); } },
    l: () => row !== undefined && otherName(),
    z: () => undo(),
    n: () => !isLarge && turn(view.page + 1),
    p: () => !isLarge && turn(view.page - 1),
    g: () => !isLarge && toJudge(),
    m: () => $("marks").click(),
    "[": () => !isLarge && otherLabel(-1),
    "]": () => !isLarge && otherLabel(1),
    "/": () => !isLarge && $("key").focus(),
    "?": () => $("help").showModal(),
  };
  const action = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action) return;
  done();
  action();
});

function remove(row) {
  if (large !== null && chosenBox >= 0) setBoxes(largeBoxes().filter((_, number) => number !== chosenBox));
  else if (row !== undefined && rows[row][JUDGED]) judge([{ row, verdict: "withdrawn" }]);
}

// The rest of the page.

function showControls() {
  $("min").value = view.min;
  $("max").value = view.max;
  $("key").value = view.key;
  $("order").value = view.order;
  showRange();
}

function showRange() {
  $("range-shown").textContent = `${view.min} to ${view.max}%`;
}

let typing = 0;
$("facets").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  choose(button.dataset.facet, view[button.dataset.facet] === button.dataset.value ? null : button.dataset.value);
  // After a click the keys are for the images again; who came by keyboard goes on there.
  if (event.detail) nodes[0].card.focus({ preventScroll: true });
});
$("order").addEventListener("change", () => { view.order = $("order").value; cursor = 0; renew(); nodes[0].card.focus(); });
for (const name of ["min", "max"]) {
  $(name).addEventListener("input", () => {
    view[name] = Number($(name).value);
    const other = name === "min" ? "max" : "min";
    if (view.min > view.max) { view[other] = view[name]; $(other).value = view[name]; }
    showRange();
    cursor = 0;
    renew();
  });
}
$("key").addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(() => { view.key = $("key").value; cursor = 0; renew(); }, 120); });
$("bar").addEventListener("submit", (event) => { event.preventDefault(); nodes[cursor].card.focus(); });
$("marks").addEventListener("change", () => document.body.classList.toggle("unmarked", !$("marks").checked));
$("all").addEventListener("click", () => { view = fresh(); showControls(); cursor = 0; renew(); });
$("previous").addEventListener("click", () => turn(view.page - 1));
$("next").addEventListener("click", () => turn(view.page + 1));
$("to-judge").addEventListener("click", toJudge);
$("accept").addEventListener("click", acceptPage);
$("help-open").addEventListener("click", () => $("help").showModal());
$("large-right").addEventListener("click", () => judge([asRight(large)]));
$("large-wrong").addEventListener("click", () => toggleWrong(large));
$("large-unsure").addEventListener("click", () => judge([{ row: large, verdict: "unsure" }]));
$("large-close").addEventListener("click", closeLarge);
$("large").addEventListener("cancel", (event) => { event.preventDefault(); closeLarge(); });
$("large-labels").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button) setLargeLabel(button.dataset.label, { isMore: event.shiftKey });
});
$("large-result").addEventListener("toggle", async () => {
  const row = large;
  if (!$("large-result").open || row === null) return;
  const text = await ask(`result/${row}`).then((answer) => answer.json()).then((result) => JSON.stringify(result, null, 1)).catch((error) => error.message);
  if (large === row) $("large-result").querySelector("pre").textContent = visible(text).replaceAll("\\u{a}", "\n");
});
$("full").addEventListener("load", fit);
$("sheet").addEventListener("pointerdown", startDrawing);
$("other").addEventListener("close", () => {
  const name = $("other-name").value.trim();
  $("other-name").value = "";
  if (!name) return;
  const row = large ?? rowAt(cursor);
  if (large !== null) setLargeLabel(name); else { setLabel(row, name); step(1); }
});
addEventListener("resize", () => large !== null && fit());
addEventListener("hashchange", () => {
  if (!about || (read().get("token") || "") !== token) { location.reload(); return; }
  restore();
  showControls();
  renew({ keepsPage: true });
});
addEventListener("beforeunload", (event) => { if (queue.length) event.preventDefault(); });

async function begin() {
  restore();
  about = await (await ask("session")).json();
  labels = about.labels;
  labels.forEach((name, number) => labelNumbers.set(name, number));
  columns = { folder: new Int32Array(about.rows), day: new Int32Array(about.rows), confidence: new Float32Array(about.rows), margin: new Float32Array(about.rows) };
  $("stack").textContent = visible(about.stack);
  document.title = `Review ${visible(about.stack)}`;
  makeGrid();
  showControls();
  const wantedPage = view.page, isPlain = ![...FACETS, "key", "min", "max", "order"].some((name) => view[name] !== fresh()[name]) && !wantedPage;
  let isFirst = true;
  do {
    const count = isFirst ? FIRST_ROWS : ROWS_AT_ONCE;
    for (const row of await (await ask(`rows?start=${rows.length}&count=${count}`)).json()) add(row);
    if (isFirst && isPlain && labels.length) view.label = firstLabel();
    const isWhole = rows.length >= about.rows;
    // The first rows, the least confident, are the first page, unless another order or page is wanted, or they have
    // several labels: then one may be least confident of a later row. Counts come with the last row.
    if (isWhole || (isFirst && view.order === "least" && !wantedPage && rows.every((row) => row[PREDICTED].length < 2))) {
      renew({ keepsPage: true });
      if (isFirst || isWhole) nodes[cursor].card.focus({ preventScroll: true });
    }
    showProgress();
    showState(about.waiting === undefined ? state : { waiting: about.waiting, problem: about.problem });
    showSaving();
    isFirst = false;
  } while (rows.length < about.rows);
  if (isPlain && onPage() && nodes.slice(0, onPage()).every((node) => rows[node.row][JUDGED])) toJudge();
  setInterval(() => ask("state").then((answer) => answer.json()).then((told) => { showState(told); showSaving(); }, (error) => complain(error.message)), 10000);
  document.body.dataset.ready = "";
}

// The label that the model says most often and that has something to judge.
function firstLabel() {
  for (const name of labels) {
    const number = labelNumbers.get(name);
    if (rows.some((row) => !row[JUDGED] && row[PREDICTED].includes(number))) return name;
  }
  return null;
}

begin().catch((error) => complain(error.message));
