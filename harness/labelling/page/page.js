"use strict";
// One item at a time. An answer counts, and the next item is shown, once it is stored: by the server on disk, or, in an
// offline sheet, by the browser. Whatever comes from outside reaches the page by textContent alone.

const RETRY_MS = 1000;
const MOST_MARKS = 2000;
const byId = (id) => document.getElementById(id);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const hex = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

// What a browser may refuse to keep (private windows) is kept for as long as the page is open.
const memory = new Map();
const store = {
  lasting: true,
  get(key) {
    try { return localStorage.getItem(key) ?? memory.get(key) ?? null; } catch { this.lasting = false; return memory.get(key) ?? null; }
  },
  set(key, text) {
    memory.set(key, text);
    try { localStorage.setItem(key, text); } catch { this.lasting = false; }
  },
  remove(key) {
    memory.delete(key);
    try { localStorage.removeItem(key); } catch { this.lasting = false; }
  },
  all(prefix) {
    const keys = new Set(memory.keys());
    try { for (let at = 0; at < localStorage.length; at++) keys.add(localStorage.key(at)); } catch { this.lasting = false; }
    return [...keys].filter((key) => key.startsWith(prefix)).map((key) => this.get(key));
  },
};

class Refused extends Error {}
class Gone extends Error {}

class Server {
  offline = false;
  sheet() { return this.#ask("sheet"); }
  progress(name) { return this.#ask(`progress?annotator=${encodeURIComponent(name)}`); }
  item(id) { return this.#ask(`item?id=${encodeURIComponent(id)}`); }
  save(answer) {
    return this.#ask("label", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(answer) });
  }
  async #ask(path, options = {}) {
    let reply;
    try {
      reply = await fetch(path, { ...options, redirect: "error", cache: "no-store", signal: AbortSignal.timeout(10000) });
    } catch {
      throw new Gone("the server does not answer");
    }
    if (reply.ok) return reply.json().catch(() => { throw new Gone("the server's answer was cut off"); });
    if (reply.status === 401) throw new Gone("the server was started anew: open the link it printed in this browser");
    const said = (await reply.text().catch(() => "")).slice(0, 200);
    throw reply.status >= 500 ? new Gone(said || "the server could not store it") : new Refused(said || `refused (${reply.status})`);
  }
}

// Every answer is an entry of its own, so that two tabs, or a page opened again, never write over each other's.
class Offline {
  offline = true;
  #sheet;
  constructor(sheet) { this.#sheet = sheet; }
  async sheet() { return { ...this.#sheet, annotators: [...new Set(this.#given().map((answer) => answer.annotator))] }; }
  async item(id) { return this.#item(id); }
  async progress(name) {
    const own = this.#given().filter((answer) => answer.annotator === name && this.#item(answer.item));
    const done = Object.fromEntries(own.map((answer) => [answer.item, answer.value]));
    return { items: this.#sheet.items.map((item) => item.id), done, agreement: { same: 0, n: 0 } };
  }
  async save(answer) {
    const kept = { ...answer, time: new Date().toISOString(), n: this.#given().length };
    store.set(`${this.#prefix}${answer.id}`, JSON.stringify(kept));
    return this.progress(answer.annotator);
  }
  download() {
    const { kind, criterion, round, scale, split, guideline } = this.#sheet;
    const rows = this.#given().map(({ id, item, value, annotator, time }) => {
      const { question, answers, references, probability } = this.#item(item);
      return { id, kind, criterion, value, annotator, question, answers, round, scale, split, references, probability, guideline, time };
    });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(rows.map((row) => JSON.stringify(row) + "\n"), { type: "application/jsonl" }));
    link.download = `labels-${this.#sheet.id}.jsonl`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }
  get #prefix() { return `harness-label ${this.#sheet.id} `; }
  #item(id) { return this.#sheet.items.find((item) => item.id === id); }
  #given() {
    const answers = store.all(this.#prefix).map((text) => JSON.parse(text));
    return answers.sort((one, other) => one.n - other.n || (one.time < other.time ? -1 : 1));
  }
}

const embedded = byId("sheet-data");
const source = embedded ? new Offline(JSON.parse(embedded.textContent)) : new Server();
let sheet, progress, annotator = "", current = null, busy = false, waiting = false, trail = [];
const cache = new Map();

// Characters that hide, or that turn the text around, are shown by their numbers: people should judge what is there.
const ODD = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]+/gu;
function show(element, text) {
  const pieces = [];
  let end = 0, marks = 0;
  for (const match of text.matchAll(ODD)) {
    if (++marks > MOST_MARKS) break;
    const number = match[0].codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
    const length = Array.from(match[0]).length;
    const mark = document.createElement("span");
    mark.className = "odd";
    mark.textContent = length > 1 ? `U+${number} +${length - 1}` : `U+${number}`;
    pieces.push(text.slice(end, match.index), mark);
    end = match.index + match[0].length;
  }
  pieces.push(marks > MOST_MARKS ? text.slice(end).replace(ODD, "\ufffd") : text.slice(end));
  element.replaceChildren(...pieces.filter((piece) => piece !== ""));
}

function textBlock(text) {
  const block = document.createElement("div");
  block.className = "text";
  show(block, text);
  return block;
}

// Of Markdown only headings and lists, each line by itself: a rubric is short and plain.
function showRubric(text) {
  const place = byId("rubric-text");
  place.replaceChildren();
  let list = null;
  for (const paragraph of text.split(/\n{2,}|\n(?=[#*-] ?)/)) {
    const heading = /^#+\s*(.*)/s.exec(paragraph), bullet = /^[*-]\s+(.*)/s.exec(paragraph);
    const element = document.createElement(heading ? "h3" : bullet ? "li" : "p");
    show(element, (heading ?? bullet ?? [null, paragraph])[1].trim());
    if (bullet && !list) place.append(list = document.createElement("ul"));
    if (!bullet) list = null;
    (list ?? place).append(element);
  }
}

function choices() {
  if (sheet.kind === "pair") return [["first", "a", "A is better"], ["tie", "t", "no difference"], ["second", "b", "B is better"]];
  if (sheet.kind === "pass_fail") return [[1, "y", "yes, it passes"], [0, "n", "no, it fails"]];
  const ends = { 1: "worst", [sheet.scale]: "best" };
  return Array.from({ length: sheet.scale }, (_, index) => [index + 1, index < 10 ? String((index + 1) % 10) : "", ends[index + 1] ?? ""]);
}

function buildScale() {
  byId("scale").replaceChildren(...choices().map(([value, key, words]) => {
    const button = document.createElement("button");
    button.dataset.value = String(value);
    if (sheet.kind === "likert") {
      const small = document.createElement("small");
      small.textContent = words;
      button.append(String(value), ...(words ? [small] : []));
    } else {
      const mark = document.createElement("kbd");
      mark.textContent = key;
      button.append(mark, words);
    }
    button.addEventListener("click", () => answer(value));
    return button;
  }));
}

const isDone = (id) => Object.hasOwn(progress.done, id);
const words = (value) => String(choices().find(([each]) => each === value)?.[sheet.kind === "likert" ? 0 : 2] ?? value);

function say(text, bad = false) {
  byId("status").textContent = text;
  byId("status").classList.toggle("bad", bad);
}

function showProgress() {
  const n = progress.items.length, done = progress.items.filter(isDone).length;
  byId("bar").style.width = `${n ? (100 * done) / n : 0}%`;
  byId("track").setAttribute("aria-valuenow", String(n ? Math.round((100 * done) / n) : 0));
  byId("count").textContent = `${done} of ${n}`;
  const { same, n: shared } = progress.agreement;
  byId("agreement").textContent = shared ? `you and others agree on ${same} of ${shared}` : "";
}

function reveal(view) {
  for (const id of ["welcome", "work", "done"]) byId(id).hidden = id !== view;
  byId("panel").hidden = view === "welcome";
  byId("scale").hidden = view !== "work";
}

// Asks until it is told: the answer that waits, or the item to show, is not given up because a server is away.
async function persist(ask, doing) {
  for (;;) {
    try {
      const reply = await ask();
      if (waiting) say("");
      waiting = false;
      return reply;
    } catch (error) {
      if (!(error instanceof Gone)) throw error;
      waiting = true;
      say(`${doing}: ${error.message}. Trying again…`, true);
      await pause(RETRY_MS);
    }
  }
}

async function fetchItem(id) {
  if (!cache.has(id)) cache.set(id, await source.item(id));
  return cache.get(id);
}

// One thing at a time, to its end: a key that comes before the next item is shown would be an answer to nobody's question.
async function alone(act) {
  if (busy) return;
  const focused = document.activeElement;
  busy = true;
  refresh();
  try {
    await act();
  } finally {
    busy = false;
    refresh();
    if (focused instanceof HTMLButtonElement && !focused.disabled && focused.offsetParent) focused.focus();
  }
}

async function open(id) {
  let item;
  try {
    item = await persist(() => fetchItem(id), "Cannot show the next one");
  } catch (error) {
    say(`This one cannot be shown: ${error.message}`, true);
    return;
  }
  current = id;
  show(byId("question"), item.question);
  byId("references").hidden = !item.references.length;
  byId("reference-texts").replaceChildren(...item.references.map(textBlock));
  const names = item.answers.length > 1 ? ["A", "B"] : ["Answer"];
  byId("answers").className = item.answers.length > 1 ? "two" : "one";
  byId("answers").replaceChildren(...item.answers.map((text, index) => {
    const card = document.createElement("article"), head = document.createElement("h2");
    head.textContent = names[index];
    card.append(head, textBlock(text));
    return card;
  }));
  reveal("work");
  scrollTo(0, 0);
  say(isDone(id) ? `Your answer was: ${words(progress.done[id])}. It stands until you give another.` : "");
  prefetch();
}

function refresh() {
  if (!progress) return;
  showProgress();
  for (const button of byId("scale").children) {
    const chosen = isDone(current) && String(progress.done[current]) === button.dataset.value;
    button.setAttribute("aria-pressed", String(chosen));
    button.disabled = busy;
  }
  byId("back").disabled = busy || progress.items.indexOf(current) === 0;
  byId("undo").disabled = busy || !trail.length;
  byId("next").disabled = busy || current === null;
}

function following(id) {
  const { items } = progress, at = items.indexOf(id);
  return [...items.slice(at + 1), ...items.slice(0, at + 1)].find((each) => !isDone(each));
}

function prefetch() {
  const id = following(current);
  if (id && !cache.has(id)) fetchItem(id).catch(() => {});
}

async function advance() {
  const id = following(current);
  if (id) return open(id);
  current = null;
  reveal("done");
  const end = source.offline ? "Download the labels and send the file back." : "All answers are stored; this page can be closed.";
  byId("done-text").textContent = `${progress.items.length} of ${progress.items.length}. ${end}`;
  say("");
}

const pendingKey = () => `harness-pending ${sheet.id} ${annotator}`;

function answer(value) {
  return alone(async () => {
    if (current === null) return;
    const given = { id: `${current}.${hex()}`, item: current, value, annotator };
    store.set(pendingKey(), JSON.stringify(given));
    if (!(await send(given))) return;
    trail.push(given.item);
    await advance();
    if (!store.lasting && source.offline) alertLoss();
  });
}

async function send(given) {
  try {
    progress = await persist(() => source.save(given), `Not saved yet (${words(given.value)})`);
    return true;
  } catch (error) {
    say(`Not saved: ${error.message}`, true);
    return false;
  } finally {
    store.remove(pendingKey());
  }
}

function undo() {
  return alone(async () => { if (trail.length) await open(trail.pop()); });
}

function step(by) {
  return alone(async () => {
    const { items } = progress;
    const at = (current === null ? items.length : items.indexOf(current)) + by;
    if (at >= items.length) await advance();
    else if (at >= 0) await open(items[at]);
  });
}

function begin(name) {
  // Browsers take the focus from what is hidden only when they next draw, and keys would be typed into the name.
  byId("name").blur();
  return alone(async () => {
    annotator = name;
    byId("panel").hidden = false;
    try {
      progress = await persist(() => source.progress(name), "Cannot begin");
    } catch (error) {
      byId("panel").hidden = true;
      byId("known").textContent = error.message;
      return;
    }
    store.set("harness-annotator", name);
    byId("annotator").textContent = name;
    byId("annotator").hidden = Boolean(sheet.annotator);
    trail = [];
    const pending = JSON.parse(store.get(pendingKey()) ?? "null");
    if (pending) await send(pending);
    current = progress.items.at(-1) ?? null;
    await advance();
    if (!store.lasting && source.offline) alertLoss();
  });
}

function alertLoss() {
  say("This browser keeps nothing: download the labels before you close the page.", true);
}

function welcome() {
  reveal("welcome");
  byId("annotator").hidden = true;
  byId("name").value = store.get("harness-annotator") ?? "";
  byId("known").replaceChildren(...sheet.annotators.map((name) => {
    const button = document.createElement("button");
    button.type = "button";
    show(button, name);
    button.addEventListener("click", () => begin(name));
    return button;
  }));
  byId("name").focus();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.target instanceof HTMLInputElement) return;
  if (byId("panel").hidden || !progress) return;
  const choice = choices().find(([, key]) => key && key === event.key.toLowerCase());
  if (choice && !byId("work").hidden) answer(choice[0]);
  else if (event.key === "u") undo();
  else if (event.key === "r") byId("rubric").open = !byId("rubric").open;
  else if (event.key === "ArrowLeft") step(-1);
  else if (event.key === "ArrowRight") step(1);
  else return;
  event.preventDefault();
});
addEventListener("beforeunload", (event) => { if (busy && waiting) event.preventDefault(); });
byId("who").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = byId("name").value.trim();
  if (name) begin(name);
});
byId("annotator").addEventListener("click", () => { if (!busy) welcome(); });
byId("back").addEventListener("click", () => step(-1));
byId("next").addEventListener("click", () => step(1));
byId("undo").addEventListener("click", undo);

async function start() {
  sheet = await persist(() => source.sheet(), "Cannot begin");
  show(byId("criterion"), sheet.criterion);
  showRubric(sheet.rubric);
  byId("rubric").hidden = !sheet.rubric.trim();
  byId("rubric").open = innerWidth >= 928 && sheet.rubric.length < 1500;
  buildScale();
  byId("download").hidden = !source.offline;
  if (source.offline) byId("download").addEventListener("click", () => source.download());
  byId("name").focus();
  if (sheet.annotator) await begin(sheet.annotator);
  else welcome();
}
start();
