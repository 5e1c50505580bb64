// The board in the browser: tasks by REST, their changes by server-sent events, and a WebSocket for who is here and for
// moving tasks.

"use strict";

const ORDER = ["todo", "doing", "done"];
const RETRY = 1000; // milliseconds

const $ = (selector) => document.querySelector(selector);

const tasks = new Map();
let socket = null;

load();
connect();

// Tasks. The events begin where the list ends, so that nothing is missed between the two.

async function load() {
  const answer = await fetch("/tasks", { headers: { accept: "application/json" } });
  if (!answer.ok) return location.assign("/login");
  const list = await answer.json();
  tasks.clear();
  for (const task of list.tasks) tasks.set(task.id, task);
  draw();
  const events = new EventSource(`/events?since=${list.change}`);
  const changed = (event) => {
    const task = JSON.parse(event.data);
    tasks.set(task.id, task);
    draw();
  };
  events.addEventListener("created", changed);
  events.addEventListener("updated", changed);
  events.addEventListener("deleted", (event) => {
    tasks.delete(JSON.parse(event.data).id);
    draw();
  });
  events.addEventListener("reset", () => {
    events.close();
    load();
  });
  // It comes back by itself when the connection is lost, and gives up when the session is.
  events.onerror = () => events.readyState === EventSource.CLOSED && load();
}

function draw() {
  for (const column of document.querySelectorAll("#board section")) {
    const { status } = column.dataset;
    const mine = [...tasks.values()].filter((task) => task.status === status).sort((a, b) => a.id - b.id);
    column.querySelector(".count").textContent = mine.length || "";
    column.querySelector("ul").replaceChildren(...mine.map(card));
  }
}

function card(task) {
  const place = ORDER.indexOf(task.status);
  const item = make("li", { className: "task", draggable: true });
  const footer = make("footer", {}, make("span", { textContent: task.assignee }));
  if (place > 0) footer.append(button("←", "Back", () => move(task, ORDER[place - 1])));
  if (place < 2) footer.append(button("→", "On", () => move(task, ORDER[place + 1])));
  footer.append(button("×", "Delete", () => remove(task)));
  item.append(make("div", { className: "title", textContent: task.title }), footer);
  item.addEventListener("dragstart", (event) => event.dataTransfer.setData("text/plain", String(task.id)));
  return item;
}

function button(sign, name, action) {
  const made = make("button", { type: "button", textContent: sign, title: name, ariaLabel: name });
  made.addEventListener("click", action);
  return made;
}

function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

for (const column of document.querySelectorAll("#board section")) {
  const over = (is) => (event) => {
    event.preventDefault();
    column.classList.toggle("over", is);
  };
  column.addEventListener("dragover", over(true));
  column.addEventListener("dragleave", over(false));
  column.addEventListener("drop", (event) => {
    over(false)(event);
    const task = tasks.get(Number(event.dataTransfer.getData("text/plain")));
    if (task) move(task, column.dataset.status);
  });
}

// What people do. Nothing is drawn before the server has said that it is so.

function move({ id, revision }, status) {
  if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ id, revision, set: { status } }));
}

function remove({ id, revision }) {
  request("DELETE", `/tasks/${id}`, { "if-match": `"${revision}-json"`, accept: "application/json" });
}

$("#add").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  const task = Object.fromEntries(new FormData(form));
  if (await request("POST", "/tasks", { "content-type": "application/json" }, JSON.stringify(task))) form.reset();
});

$("#import").addEventListener("change", async (event) => {
  const form = new FormData();
  form.append("tasks", event.target.files[0]);
  event.target.value = "";
  await request("POST", "/import", {}, form);
});

$("#export").addEventListener("click", async (event) => {
  event.preventDefault();
  const answer = await fetch("/tasks", { headers: { accept: "text/csv" } });
  const url = URL.createObjectURL(await answer.blob());
  make("a", { href: url, download: "tasks.csv" }).click();
  URL.revokeObjectURL(url);
});

async function request(method, path, headers, body) {
  const answer = await fetch(path, { method, headers, body });
  say(answer.ok ? "" : ((await answer.json().catch(() => null))?.error ?? `${method} ${path}: ${answer.status}`));
  return answer.ok;
}

function say(words) {
  $("#message").textContent = words;
  $("#message").hidden = !words;
}

// Who is here.

function connect() {
  socket = new WebSocket(location.origin.replace("http", "ws") + "/socket", "tasks.v1.json");
  socket.onopen = () => show("connected", "connected");
  socket.onclose = () => {
    show("waiting", "reconnecting");
    present([]);
    setTimeout(connect, RETRY);
  };
  socket.onmessage = (event) => {
    const message = JSON.parse(event.data);
    if (message.present) present(message.present);
    else say(message.refused ?? "");
  };
}

function present(names) {
  $("#present").replaceChildren(...names.map((name) => make("li", { textContent: name })));
}

function show(state, words) {
  $("#status").dataset.state = state;
  $("#status").textContent = words;
}
