// The dashboard in the browser: one WebSocket beside the page, and what it says, drawn.
//
// Messages are JSON, with a kind: `hello` (who we look at, what we may), `view` (each second), `kick` and `trace` (what became
// of an order), `frame` and `trace_end`. We say `sort NAME`, `kick ID`, `trace ID`, `untrace` and, now and then, `here`. All that
// comes is put into the page as text. A page that has been hidden for a minute does not look: it hangs up until it is seen again.

"use strict";

const WINDOW = 120; // seconds that are drawn
const GAP = 5; // seconds without a message, over which no line is drawn, and after which what is shown is old
const HERE = 20e3;
const HIDDEN = 60e3;
const FIRST_DELAY = 500;
const LONGEST_DELAY = 8000;
const SURE = 4000;

const $ = (id) => document.getElementById(id);
const now = () => performance.now() / 1000;

let socket = null;
let delay = FIRST_DELAY;
let heard = 0;
let saidHere = 0;
let hiddenSince = null;
let may = {};
let history = []; // { at, values: [[...] for each tile], counts }

// How numbers are written.

function round(number) {
  if (number === 0 || number >= 99.5) return String(Math.round(number));
  return String(Number(number.toFixed(number >= 9.95 ? 0 : number >= 0.995 ? 1 : 2)));
}

function scaled(number, units, step) {
  let unit = 0;
  while (number >= step * 0.9995 && unit < units.length - 1) {
    number /= step;
    unit += 1;
  }
  return round(number) + units[unit];
}

const count = (number) => scaled(number, ["", " k", " M", " G"], 1000);
const bytes = (number) => scaled(number, [" B", " kB", " MB", " GB", " TB"], 1000);
const percent = (cores) => `${round(cores * 100)} %`;
const micro = (us) => (us === "infinity" ? "very long" : us === undefined ? "–" : scaled(us, [" µs", " ms", " s"], 1000));

function duration(ms) {
  const seconds = ms / 1000;
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (seconds >= size * 2) return `${Math.floor(seconds / size)} ${unit}`;
  }
  return seconds < 1 ? "now" : `${Math.floor(seconds)} s`;
}

// The tiles: what each shows of a view, one line or two.

const TILES = [
  {
    title: "Connections",
    series: [["WebSocket", (v) => v.connections.websocket ?? 0], ["HTTP", (v) => v.connections.http ?? 0]],
    format: count,
    note: (v) => `${count(v.rates.accepted)} new / s, ${count(v.rates.requests)} requests / s`,
  },
  {
    title: "Messages / s",
    series: [["in", (v) => v.rates.messages_in], ["out", (v) => v.rates.messages_out]],
    format: count,
  },
  {
    title: "Bytes / s",
    series: [["in", (v) => v.rates.bytes_in], ["out", (v) => v.rates.bytes_out]],
    format: bytes,
  },
  {
    title: "CPU, of one core",
    series: [["sidecars", (v) => v.sidecars.reduce((sum, s) => sum + (s.cpu ?? 0), 0)], ["VM", (v) => v.vm.cpu]],
    format: percent,
    note: (v) => `the VM has ${bytes(v.vm.memory)}`,
  },
  {
    title: "Backlog",
    series: [["all clients", (v) => v.backlog.bytes]],
    format: bytes,
    note: ({ backlog: b }) =>
      b.clients === 0 ? "nothing waits" : `${count(b.clients)} ${b.clients === 1 ? "client" : "clients"}, ${bytes(b.largest)} at most; ${count(b.blocked)} take nothing`,
  },
  {
    title: "Loop turns",
    series: [["99 of 100", (v) => v.turn.most]],
    format: (us) => (us === "infinity" ? "very long" : `< ${micro(us)}`),
    note: (v) => (v.turn.half === undefined ? "" : `half of them below ${micro(v.turn.half)}`),
  },
];

function element(name, attributes = {}, ...children) {
  const isSvg = ["svg", "path"].includes(name);
  const made = isSvg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

for (const tile of TILES) {
  tile.numbers = tile.series.map(() => element("b", {}, "–"));
  tile.noted = element("p", { class: "note" });
  tile.most = element("span", { class: "most" });
  tile.lines = tile.series.map((_, n) => element("path", { class: n ? "second" : "first" }));
  tile.area = element("path", { class: "first area" });
  tile.chart = element("svg", { viewBox: `0 0 ${WINDOW} 40`, preserveAspectRatio: "none", role: "img" }, tile.area, ...tile.lines);
  const numbers = tile.series.map(([label], n) => element("span", { class: n ? "second" : "first" }, tile.numbers[n], ` ${label}`));
  $("tiles").append(
    element("article", { class: "tile" }, element("h2", {}, tile.title, tile.most), element("p", { class: "numbers" }, ...numbers), tile.noted, tile.chart),
  );
}

function drawTiles(view) {
  const newest = history[history.length - 1];
  TILES.forEach((tile, t) => {
    const values = newest.values[t];
    tile.numbers.forEach((number, n) => (number.textContent = values[n] === undefined ? "–" : tile.format(values[n])));
    tile.noted.textContent = tile.note ? tile.note(view) : "";
    const known = history.flatMap((sample) => sample.values[t]).filter((value) => Number.isFinite(value));
    const most = Math.max(0, ...known);
    const lines = tile.series.map((_, n) => points(t, n, newest.at, most));
    lines.forEach((runs, n) => tile.lines[n].setAttribute("d", runs.map((run) => `M${run.join("L")}`).join("")));
    tile.area.setAttribute("d", lines[0].map(under).join(""));
    tile.most.textContent = `most ${tile.format(most)}`;
    tile.chart.setAttribute("aria-label", `${tile.title}: at most ${tile.format(most)} in the last two minutes`);
  });
}

// The runs of points without a gap, x in seconds and y from the top, as "X,Y".
function points(tile, series, end, most) {
  const runs = [];
  let last = null;
  for (const { at, values } of history) {
    const value = values[tile][series];
    if (!Number.isFinite(value)) continue;
    if (last === null || at - last > GAP) runs.push([]);
    runs[runs.length - 1].push(`${(WINDOW - (end - at)).toFixed(2)},${(38 - (most ? value / most : 0) * 34).toFixed(2)}`);
    last = at;
  }
  return runs;
}

function under(run) {
  const [first, last] = [run[0], run[run.length - 1]].map((point) => point.split(",")[0]);
  return `M${first},40L${run.join("L")}L${last},40Z`;
}

// Tables. Rows are kept and changed, so that a click meets the row that it was meant for.

function rows(table, items, key, columns, empty) {
  const body = table.tBodies[0];
  const kept = new Map([...body.rows].map((row) => [row.dataset.key, row]));
  const wanted = items.map((item) => {
    const name = key(item);
    const row = kept.get(name) ?? element("tr", { "data-key": name }, ...columns.map((c) => cell(c, item)));
    columns.forEach((c, n) => c.show && fill(row.cells[n], c.show(item)));
    return row;
  });
  if (wanted.length === 0) {
    const row = element("tr", { class: "empty" }, element("td", { colspan: columns.length }, empty));
    body.replaceChildren(row);
  } else if (wanted.length !== body.rows.length || wanted.some((row, n) => body.rows[n] !== row)) {
    body.replaceChildren(...wanted);
  }
}

function cell({ style, label, make }, item) {
  const td = element("td", { ...(style && { class: style }), ...(label && { "data-label": label }) });
  if (make) td.append(...make(item));
  return td;
}

// A text, or a text and its class.
function fill(td, shown) {
  const parts = Array.isArray(shown) ? shown : [[shown, ""]];
  if (td.childNodes.length !== parts.length) td.replaceChildren(...parts.map(() => element("span")));
  parts.forEach(([text, style], n) => {
    const span = td.childNodes[n];
    if (span.textContent !== text) span.textContent = text;
    if (span.className !== style) span.className = style;
  });
}

const CLIENT = [
  {
    style: "who",
    show: (c) => (c.peer === undefined ? [[`client ${c.id}`, "faint"]] : [[c.peer, ""], [` ${c.path}`, "faint"]]),
  },
  { style: "number", label: "age", show: (c) => duration(c.age) },
  { style: "number", label: "idle", show: (c) => duration(c.idle) },
  { style: "number", label: "received", show: (c) => [[count(c.messages_in), ""], [` · ${bytes(c.bytes_in)}`, "faint"]] },
  { style: "number", label: "sent", show: (c) => [[count(c.messages_out), ""], [` · ${bytes(c.bytes_out)}`, "faint"]] },
  { style: "number", label: "backlog", show: (c) => (c.backlog ? bytes(c.backlog) : "–") },
  { style: "number", label: "credit in", show: (c) => (c.credit_in ? bytes(c.credit_in) : "–") },
  { style: "number", label: "round trip", show: (c) => (c.round_trip === null ? "–" : micro(c.round_trip)) },
  { label: "state", show: (c) => [[c.state, c.state === "open" ? "open" : "bad"]] },
  { style: "actions", make: (c) => actions(c.id) },
];

let sure = null; // { id, timer } of the client whose Kick was pressed once

function actions(id) {
  const made = [];
  if (may.trace) {
    const button = element("button", { type: "button" }, "Trace");
    button.addEventListener("click", () => trace(id, button));
    made.push(button);
  }
  if (may.kick) {
    const button = element("button", { type: "button" }, "Kick");
    const calm = () => {
      button.textContent = "Kick";
      button.classList.remove("sure");
      sure = null;
    };
    button.addEventListener("click", () => {
      if (sure?.id === id) {
        clearTimeout(sure.timer);
        calm();
        say(`kick ${id}`);
      } else if (sure === null) {
        button.textContent = "Sure?";
        button.classList.add("sure");
        sure = { id, timer: setTimeout(calm, SURE) };
      }
    });
    made.push(button);
  }
  return made;
}

function drawClients({ list }) {
  // Nobody moves while a hand is about to fall.
  if (sure !== null) return;
  if (list === null) {
    rows($("clients"), [], null, CLIENT, "The sidecars do not say at the moment.");
  } else {
    rows($("clients"), list, (c) => c.id, CLIENT, "Nobody is connected by a WebSocket.");
  }
}

const SIDECAR = [
  { show: (s) => (s.outcome === "ok" ? [[`${s.number}`, ""], [` · ${s.os_pid}`, "faint"]] : [[`${s.number}: ${s.outcome.replace("_", " ")}`, "bad"]]) },
  { style: "number", show: (s) => (s.websockets === undefined ? "–" : count(s.websockets)) },
  { style: "number", show: (s) => (s.cpu === undefined ? "–" : percent(s.cpu)) },
  { style: "number", show: (s) => (s.memory === undefined ? "–" : bytes(s.memory)) },
  { style: "number", show: (s) => [[count(s.restarts), s.restarts ? "bad" : ""]] },
];

const MEANINGS = {
  1000: "normal", 1001: "going away", 1002: "protocol error", 1003: "unsupported data", 1005: "without a code", 1006: "lost",
  1007: "not UTF-8", 1008: "policy", 1009: "too big", 1010: "extension missing", 1011: "error in the server", 1012: "restart",
  1013: "try again later", "3xxx": "the application's", "4xxx": "the application's",
};

const COUNTED = [
  { style: "number", show: (c) => count(c.count) },
  { style: "number", show: (c) => [[c.recent ? `+${count(c.recent)}` : "–", c.recent ? "recent" : "faint"]] },
];
const CLOSE = [
  { show: (c) => [[`${c.code}`, ""], [` ${MEANINGS[c.code] ?? ""}`, "faint"]] },
  { show: (c) => c.side },
  ...COUNTED,
];
const LIMIT = [{ style: "who", show: (l) => l.limit }, ...COUNTED];

const closeKey = (c) => `close ${c.side} ${c.code}`;
const limitKey = (l) => `limit ${l.limit}`;

// What has been added in the window. Of sidecars that began anew meanwhile all counts.
function recent(items, key) {
  const before = history[0].counts;
  return items.map((item) => {
    const earlier = before[key(item)] ?? 0;
    return { ...item, recent: earlier > item.count ? item.count : item.count - earlier };
  });
}

// A client's frames, while the dialog is open.

let traced = null; // { id, first: the first frame's time }

function trace(id, button) {
  traced = { id, first: null };
  $("trace-title").textContent = `Frames of ${button.closest("tr").cells[0].textContent}`;
  $("trace-note").textContent = "waiting for frames";
  $("trace").querySelector("tbody").replaceChildren();
  $("trace").showModal();
  say(`trace ${id}`);
}

$("trace").addEventListener("close", () => {
  traced = null;
  say("untrace");
});

function drawFrame({ direction, time, opcode, fin, rsv, size }) {
  if (traced === null) return;
  traced.first ??= time;
  const flags = [fin ? "" : "more follow", rsv & 4 ? "compressed" : ""].filter((flag) => flag).join(", ");
  $("trace").querySelector("tbody").append(
    element("tr", {},
      element("td", { class: "number" }, micro(time - traced.first)),
      element("td", {}, direction === "in" ? "→ received" : "← sent"),
      element("td", {}, String(opcode)),
      element("td", { class: "number" }, String(size)),
      element("td", { class: "faint" }, flags)),
  );
  $("trace-note").textContent = "headers only";
}

// The connection.

const OUTCOMES = { not_found: "has gone already", not_allowed: "is not yours to order", traced: "is looked at by somebody else", too_many: "would be one too many" };

function handle(message) {
  switch (message.kind) {
    case "hello":
      may = message.may;
      $("listener").textContent = message.listener;
      document.title = `${message.listener} · ${message.node}`;
      $("where").dataset.node = message.node;
      $("where").textContent = message.node;
      $("sort").replaceChildren(...message.sorts.map((name) => element("option", { value: name }, name.replace("_", " "))));
      $("sort").value = wantedSort ?? message.sorts[0];
      if (wantedSort) say(`sort ${wantedSort}`);
      $("clients").tBodies[0].replaceChildren();
      break;
    case "view":
      see(message.view, message.clients);
      break;
    case "kick":
    case "trace": {
      const note = message.kind === "kick" ? $("clients-note") : $("trace-note");
      const done = message.kind === "kick" ? `${message.id} kicked` : "looking";
      note.textContent = message.outcome === "ok" ? done : `${message.id} ${OUTCOMES[message.outcome] ?? message.outcome}`;
      break;
    }
    case "frame":
      drawFrame(message);
      break;
    case "trace_end":
      $("trace-note").textContent = `${message.frames} frames; ended: ${message.reason}`;
      break;
  }
}

function see(view, clients) {
  const at = now();
  const counts = {};
  for (const close of view.closes) counts[closeKey(close)] = close.count;
  for (const limit of view.limits) counts[limitKey(limit)] = limit.count;
  history.push({ at, counts, values: TILES.map((tile) => tile.series.map(([, get]) => get(view))) });
  history = history.filter((sample) => at - sample.at <= WINDOW);
  status(view.status === "running" ? "live" : view.status === "stopped" ? "stopped" : "waiting", view.status === "running" ? "live" : view.status);
  $("where").textContent = [$("where").dataset.node, view.address].filter((text) => text).join(" · ");
  drawTiles(view);
  drawClients(clients);
  rows($("sidecars"), view.sidecars, (s) => `${s.number}`, SIDECAR, "There is none.");
  rows($("closes"), recent(view.closes, closeKey), closeKey, CLOSE, "None has been closed.");
  rows($("limits"), recent(view.limits, limitKey), limitKey, LIMIT, "None has been reached.");
}

function status(state, text) {
  $("status").dataset.state = state;
  $("status").textContent = text;
}

function say(text) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(text);
}

let wantedSort = null;
$("sort").addEventListener("change", () => {
  wantedSort = $("sort").value;
  say(`sort ${wantedSort}`);
});

function connect() {
  socket = new WebSocket(new URL("socket", location.href.replace(/^http/, "ws")));
  socket.addEventListener("message", ({ data }) => {
    delay = FIRST_DELAY;
    heard = now();
    handle(JSON.parse(data));
    if (performance.now() - saidHere > HERE) {
      saidHere = performance.now();
      say("here");
    }
    if (hiddenSince !== null && performance.now() - hiddenSince > HIDDEN) socket.close(1000);
  });
  socket.addEventListener("close", () => {
    socket = null;
    if (hiddenSince !== null && performance.now() - hiddenSince > HIDDEN) return status("waiting", "paused");
    status("waiting", "reconnecting");
    setTimeout(connect, delay);
    delay = Math.min(delay * 2, LONGEST_DELAY);
  });
}

// A server that stands still, or is out of reach, hangs up late or never.
setInterval(() => {
  const silent = now() - heard;
  if (socket?.readyState === WebSocket.OPEN && silent > GAP) status("waiting", `silent for ${Math.round(silent)} s`);
}, 1000);

document.addEventListener("visibilitychange", () => {
  hiddenSince = document.hidden ? performance.now() : null;
  if (!document.hidden && socket === null && $("status").textContent === "paused") connect();
});

connect();
