"use strict";
(() => {
  const PAGE = 20;
  const MOST_WORDS = 800;
  const ROLES = "good bad even unsure tuned untuned chosen band interval grid axis ink muted ground veil".split(" ");
  const byId = (id) => document.getElementById(id);

  // Everything that came from a model or a data file enters the page here, as text.
  function make(tag, name, text) {
    const element = document.createElement(tag);
    if (name) element.className = name;
    if (text !== undefined) element.textContent = text;
    return element;
  }

  async function unpack(id) {
    const raw = Uint8Array.from(atob(byId(id).textContent), (letter) => letter.charCodeAt(0));
    const stream = new Blob([raw]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  }

  // ---- numbers

  function number(value, decimals, signed) {
    if (value === null || value === undefined) return "–";
    const text = Math.abs(value).toFixed(decimals);
    const sign = Number(text) === 0 ? "" : value < 0 ? "−" : signed ? "+" : "";
    return sign + text;
  }

  // ---- differences by words: the longest common subsequence, as in the page's own rows

  const WORD = /\s+|[\u3040-\u30ff\u3400-\u9fff]|(?:(?![\u3040-\u30ff\u3400-\u9fff])[\p{L}\p{N}\p{M}_\u200c\u200d])+|[^\s]/gu;
  const words = (text) => text.match(WORD) || [];
  const blank = (word) => /^\s/.test(word);

  function kept(ours, theirs) {
    const width = theirs.length + 1;
    const length = new Uint16Array((ours.length + 1) * width);
    for (let i = ours.length - 1; i >= 0; i--)
      for (let j = theirs.length - 1; j >= 0; j--)
        length[i * width + j] = ours[i] === theirs[j]
          ? length[(i + 1) * width + j + 1] + 1
          : Math.max(length[(i + 1) * width + j], length[i * width + j + 1]);
    const found = new Set();
    for (let i = 0, j = 0; i < ours.length && j < theirs.length;) {
      if (ours[i] === theirs[j]) { found.add(i++); j++; }
      else if (length[(i + 1) * width + j] >= length[i * width + j + 1]) i++;
      else j++;
    }
    return found;
  }

  function differences(text, reference) {
    const tokens = words(text);
    const ours = tokens.filter((word) => !blank(word));
    const theirs = words(reference).filter((word) => !blank(word));
    if (Math.max(ours.length, theirs.length) > MOST_WORDS) return [[text, false]];
    const same = kept(ours, theirs);
    let position = 0;
    const marks = tokens.map((word) => !blank(word) && !same.has(position++));
    for (let i = 1; i < tokens.length - 1; i++)
      if (blank(tokens[i]) && marks[i - 1] && marks[i + 1]) marks[i] = true;
    const pieces = [];
    tokens.forEach((word, i) => {
      if (i && marks[i] === marks[i - 1]) pieces[pieces.length - 1][0] += word;
      else pieces.push([word, marks[i]]);
    });
    return pieces;
  }

  function paragraph(text, against, name = "words") {
    const element = make("p", name);
    element.dir = "auto";
    const pieces = against === null ? [[text, false]] : differences(text, against);
    for (const [piece, marked] of pieces) element.append(marked ? make("mark", "", piece) : piece);
    return element;
  }

  // ---- samples

  const state = { data: null, rows: [], left: 0, right: 0, page: 0, at: -1 };

  function judged(row, index) {
    const { data, left, right } = state;
    const [before, after] = [left, right].map((arm) => data.primary === null ? null : row.scores[arm][data.primary]);
    const scored = before !== null && after !== null;
    const change = scored ? (data.higher ? after - before : before - after) : null;
    const failed = row.failures[left] !== null || row.failures[right] !== null;
    const equal = row.outputs[left] === row.outputs[right];
    const status = failed ? "failed" : change ? (change < 0 ? "worse" : "better") : equal ? "same" : "different";
    return { row, index, change, status };
  }

  function text(row) {
    if (!row.text) {
      const all = [row.id, row.prompt, row.metadata, ...row.references, ...row.outputs, ...row.failures];
      row.text = all.filter(Boolean).join("\n").toLowerCase();
    }
    return row.text;
  }

  function choose() {
    const show = byId("show").value;
    const find = byId("find").value.trim().toLowerCase();
    const order = ["worse", "failed", "different", "same", "better"];
    state.rows = state.data.rows.map(judged)
      .filter((it) => show === "all" || it.status === show
        || (show === "different" && it.row.outputs[state.left] !== it.row.outputs[state.right]))
      .filter((it) => !find || text(it.row).includes(find))
      .sort((a, b) => order.indexOf(a.status) - order.indexOf(b.status)
        || (a.change || 0) - (b.change || 0) || a.index - b.index);
    state.page = 0;
    state.at = -1;
    list();
  }

  function side(title, score, content) {
    const element = make("div", "side");
    const head = make("h4");
    head.append(make("span", "", title));
    if (score !== null) head.append(make("b", "", number(score, state.data.decimals)));
    element.append(head, content);
    return element;
  }

  function answer(row, arm, against) {
    const { data } = state;
    if (row.failures[arm] !== null)
      return side(data.arms[arm], null, make("p", "failure", "failed: " + row.failures[arm]));
    const score = data.primary === null ? null : row.scores[arm][data.primary];
    return side(data.arms[arm], score, paragraph(row.outputs[arm], against));
  }

  function sides(row) {
    const { left, right } = state;
    const target = row.references.length ? row.references[0] : row.outputs[left];
    const found = [left, right].map((arm) => answer(row, arm, target));
    if (!row.references.length) return found;
    const n = row.references.length;
    const title = n > 1 ? `reference (1 of ${n})` : "reference";
    return [...found, side(title, null, paragraph(row.references[0], row.outputs[right]))];
  }

  function article(it, at) {
    const element = make("article", "sample " + it.status);
    element.tabIndex = -1;
    const head = make("header");
    const change = it.change ? number(it.change, state.data.decimals, true) : "";
    const open = make("button", "", "Open");
    open.type = "button";
    open.addEventListener("click", () => { state.at = at; show(); });
    head.append(make("b", "status", it.status), make("span", "change", change), make("span", "id", it.row.id), open);
    const columns = make("div", "sides");
    columns.append(...sides(it.row));
    element.append(head, paragraph(it.row.prompt, null, "prompt words"), columns);
    return element;
  }

  function list() {
    const first = state.page * PAGE;
    const last = Math.min(first + PAGE, state.rows.length);
    byId("list").replaceChildren(...state.rows.slice(first, last).map((it, i) => article(it, first + i)));
    byId("previous").disabled = first === 0;
    byId("next").disabled = last >= state.rows.length;
    byId("place").textContent = state.rows.length ? `${first + 1} to ${last} of ${state.rows.length}` : "";
    const counts = {};
    for (const it of state.rows) counts[it.status] = (counts[it.status] || 0) + 1;
    const parts = Object.entries(counts).map(([status, n]) => `${n} ${status}`);
    byId("status").textContent = state.rows.length ? `${state.rows.length} samples: ${parts.join(", ")}` : "No sample fits.";
  }

  function turn(by) {
    const page = state.page + by;
    if (page < 0 || page * PAGE >= state.rows.length) return;
    state.page = page;
    state.at = -1;
    list();
    byId("samples").scrollIntoView();
  }

  function move(by) {
    const from = state.at < 0 ? state.page * PAGE - (by > 0 ? 1 : 0) : state.at;
    const at = from + by;
    if (at < 0 || at >= state.rows.length) return;
    state.at = at;
    const page = Math.floor(at / PAGE);
    if (page !== state.page) { state.page = page; list(); }
    if (byId("dialog").open) show();
    else byId("list").children[at - page * PAGE].focus();
  }

  function scores(row, arm) {
    return state.data.metrics.map((metric, i) => `${metric} ${number(row.scores[arm][i], 4)}`).join(" · ");
  }

  function show() {
    const it = state.rows[state.at];
    if (!it) return;
    const { row } = it;
    byId("dialog-title").textContent = row.id;
    const target = row.references.length ? row.references[0] : null;
    const plain = (title, content) => side(title, null, paragraph(content, null));
    const body = [plain("prompt", row.prompt)];
    row.references.forEach((reference, i) => body.push(plain(i ? `reference ${i + 1}` : "reference", reference)));
    state.data.arms.forEach((_, arm) => {
      const element = answer(row, arm, target);
      element.append(make("p", "aside", scores(row, arm)));
      body.push(element);
    });
    if (row.metadata) body.push(plain("metadata", row.metadata));
    byId("dialog-body").replaceChildren(...body);
    if (!byId("dialog").open) byId("dialog").showModal();
    byId("dialog").scrollTop = 0;
  }

  function closed() {
    const article = byId("list").children[state.at - state.page * PAGE];
    if (article) article.focus();
  }

  function keys(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const field = event.target.closest("input, select");
    if (field) {
      if (event.key === "Escape") field.blur();
      return;
    }
    const inside = event.target.closest("button, a, summary");
    if (event.key === "/" && !byId("dialog").open) { event.preventDefault(); byId("find").focus(); }
    else if (event.key === "j" || (byId("dialog").open && event.key === "ArrowRight")) move(1);
    else if (event.key === "k" || (byId("dialog").open && event.key === "ArrowLeft")) move(-1);
    else if (event.key === "Enter" && !inside && state.at >= 0 && !byId("dialog").open) {
      event.preventDefault(); // else the same key press goes on to the dialog's button and closes it
      show();
    }
  }

  function arms(select, chosen) {
    state.data.arms.forEach((arm, i) => {
      const option = make("option", "", arm);
      option.value = String(i);
      select.append(option);
    });
    select.value = String(chosen);
  }

  function samples(data) {
    if (!data.rows.length || !data.arms.length) return;
    state.data = data;
    state.left = Math.max(data.pair[0], 0);
    state.right = data.pair[1] < 0 ? data.arms.length - 1 : data.pair[1];
    for (const name of ["left", "right"]) {
      arms(byId(name), state[name]);
      byId(name).addEventListener("change", (event) => { state[name] = Number(event.target.value); choose(); });
    }
    byId("show").addEventListener("change", choose);
    byId("find").addEventListener("input", choose);
    byId("previous").addEventListener("click", () => turn(-1));
    byId("next").addEventListener("click", () => turn(1));
    byId("close").addEventListener("click", () => byId("dialog").close());
    byId("dialog").addEventListener("close", closed);
    document.addEventListener("keydown", keys);
    for (const element of document.querySelectorAll(".controls, .paging")) element.hidden = false;
    choose();
  }

  // ---- charts

  function theme() {
    const probe = make("span");
    document.body.append(probe);
    const colours = {};
    for (const role of ROLES) {
      probe.style.color = `var(--${role})`;
      colours[role] = getComputedStyle(probe).color;
    }
    probe.remove();
    return colours;
  }

  function painted(value, colours) {
    if (Array.isArray(value)) return value.map((item) => painted(item, colours));
    if (value && typeof value === "object")
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, painted(item, colours)]));
    if (typeof value !== "string") return value;
    if (value[0] === "@" && value.slice(1) in colours) return colours[value.slice(1)];
    return value.replace("color:@muted", "color:" + colours.muted);
  }

  const places = () => [...document.querySelectorAll("[data-chart]")];

  function draw(charts, paper = false) {
    const colours = theme();
    const settings = { displaylogo: false, displayModeBar: false };
    for (const place of places()) {
      const { data, layout, wide } = painted(charts[place.dataset.chart], colours);
      const room = place.clientWidth >= 720 && !paper ? wide : {};
      const size = { width: paper ? (wide ? 660 : 310) : place.clientWidth, height: (room || layout).height || layout.height };
      place.style.height = size.height + "px";
      window.Plotly.react(place, data, { ...layout, ...room, ...size }, settings);
    }
    document.documentElement.classList.add("drawn");
  }

  // The policy allows the library by the hash of exactly this text.
  async function charts(figures) {
    const script = document.createElement("script");
    script.textContent = await unpack("plotly");
    document.head.append(script);
    draw(figures);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw(figures));
    let waiting = 0;
    addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(() => draw(figures), 150); });
    addEventListener("beforeprint", () => draw(figures, true));
    addEventListener("afterprint", () => draw(figures));
  }

  function printing() {
    let opened = [];
    addEventListener("beforeprint", () => {
      opened = [...document.querySelectorAll("details:not([open])")];
      for (const element of opened) element.open = true;
    });
    addEventListener("afterprint", () => { for (const element of opened) element.open = false; });
  }

  async function start() {
    printing();
    const data = JSON.parse(await unpack("payload"));
    for (const place of places()) place.style.height = data.charts[place.dataset.chart].layout.height + "px";
    samples(data);
    await new Promise((done) => setTimeout(done));
    if (places().length) await charts(data.charts);
  }

  start().catch((error) => {
    for (const place of places()) place.remove();
    for (const note of document.querySelectorAll(".waiting"))
      note.textContent = `The charts could not be drawn here (${error.message}); the tables have every number.`;
  });
})();
