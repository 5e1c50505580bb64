// The chat in the browser: the page at the door, one WebSocket for the room, and what it says.
//
// Messages are a verb and words, with tabs between; src/chat_handler.erl lists them. When the connection is lost, it is
// tried again after half a second, then after twice as long each time, up to eight seconds.

"use strict";

const FIRST_DELAY = 500;
const LONGEST_DELAY = 8000;
const LOG_LENGTH = 500;

const $ = (id) => document.getElementById(id);

let me = null; // { name, room } once through the door
let socket = null;
let delay = FIRST_DELAY;
let people = []; // names as often as they are here, ours first
let retry = null;

// The door. Name and room are kept for this tab, so that a reload leads back into the room.

$("room").value = decodeURIComponent(location.hash.slice(1)) || "lobby";
$("name").value = sessionStorage.getItem("name") ?? "";
if ($("name").value && location.hash) enter();

$("enter").addEventListener("submit", (event) => {
  event.preventDefault();
  enter();
});

function enter() {
  me = { name: $("name").value.trim(), room: $("room").value.trim() };
  if (!me.name || !me.room) return;
  sessionStorage.setItem("name", me.name);
  location.hash = encodeURIComponent(me.room);
  document.title = `#${me.room}`;
  $("room-name").textContent = me.room;
  $("log").replaceChildren();
  $("door").hidden = true;
  $("chat").hidden = false;
  $("text").focus();
  connect();
}

$("leave").addEventListener("click", () => {
  me = null;
  clearTimeout(retry);
  socket.close(1000);
  sessionStorage.removeItem("name");
  $("chat").hidden = true;
  $("door").hidden = false;
  $("name").focus();
});

// The connection.

function connect() {
  show("connecting", "connecting");
  const url = new URL(`/rooms/${encodeURIComponent(me.room)}`, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  url.hash = "";
  url.searchParams.set("name", me.name);
  const mine = (socket = new WebSocket(url));
  mine.onopen = () => {
    delay = FIRST_DELAY;
    setPeople([]);
    show("connected", "connected");
  };
  mine.onmessage = (event) => receive(event.data);
  mine.onclose = () => {
    if (!me || mine !== socket) return;
    if ($("status").dataset.state === "connected") note("The connection was lost.");
    setPeople([]);
    show("waiting", "reconnecting");
    retry = setTimeout(connect, delay);
    delay = Math.min(2 * delay, LONGEST_DELAY);
  };
}

function show(state, words) {
  $("status").dataset.state = state;
  $("status").textContent = words;
  $("send").disabled = state !== "connected";
}

function receive(message) {
  const [verb, name, ...text] = message.split("\t");
  if (verb === "here") {
    setPeople([...people, name]);
    if (people.length === 1) note(`You are in #${me.room}.`);
  } else if (verb === "joined") {
    setPeople([...people, name]);
    note(`${name} came in.`);
  } else if (verb === "left") {
    setPeople(people.toSpliced(people.lastIndexOf(name), 1));
    note(`${name} went away.`);
  } else if (verb === "said") {
    said(name, text.join("\t"));
  }
}

$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  if (!text || socket.readyState !== WebSocket.OPEN) return;
  socket.send(`say\t${text}`);
  $("text").value = "";
});

// What is seen.

function setPeople(names) {
  people = names;
  $("people-count").textContent = names.length || "";
  $("people").replaceChildren(
    ...names.map((name, index) => {
      const item = make("li", "", avatar(name), make("span", "name", name));
      if (index === 0) item.append(make("span", "you", "you"));
      return item;
    }),
  );
}

function said(name, text) {
  const time = new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const who = make("div", "who", make("b", "", name), ` ${time}`);
  const item = make("li", "said", avatar(name), make("div", "bubble", who, make("div", "words", text)));
  item.classList.toggle("mine", name === me.name);
  append(item);
}

function note(words) {
  append(make("li", "note", words));
}

// Keeps the end in sight, unless the reader has scrolled up.
function append(item) {
  const log = $("log");
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
  log.append(item);
  while (log.children.length > LOG_LENGTH) log.firstChild.remove();
  if (atEnd) log.scrollTop = log.scrollHeight;
}

// A circle with the name's first letter, in a colour of its own.
function avatar(name) {
  const circle = make("span", "avatar", [...name][0].toUpperCase());
  let hue = 0;
  for (const letter of name) hue = (hue * 31 + letter.codePointAt(0)) % 360;
  circle.style.setProperty("--hue", hue);
  circle.ariaHidden = "true";
  return circle;
}

function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}
