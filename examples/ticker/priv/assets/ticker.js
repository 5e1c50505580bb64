// The ticker in the browser: one WebSocket whose numbers are shown, and as many further ones as are asked for, which only
// receive. What is sent stands in src/ticker_source.erl. A lost connection is tried again after a second.

"use strict";

const RETRY = 1000;

const $ = (id) => document.getElementById(id);
const cells = new Map(); // by row
let further = [];
let wanted = 0; // so many of them
let socket = null;

function open() {
  const url = new URL("/numbers", location.href);
  url.protocol = url.protocol.replace("http", "ws");
  return new WebSocket(url);
}

function connect() {
  socket = open();
  socket.onopen = () => ($("status").textContent = "connected");
  socket.onmessage = ({ data }) => (data.startsWith("rows") ? numbers(data) : figures(data));
  socket.onclose = () => {
    $("status").textContent = "reconnecting";
    setTimeout(connect, RETRY);
  };
}

function numbers(data) {
  for (const line of data.split("\n").slice(1)) {
    const [row, value] = line.split(" ").map(Number);
    const cell = cells.get(row) ?? add(row);
    cell.className = value < cell.value ? "down" : "up";
    cell.value = value;
    cell.textContent = (value / 100).toFixed(2);
  }
}

function add(row) {
  const cell = document.createElement("span");
  cells.set(row, cell);
  $("rows").append(cell);
  return cell;
}

function figures(data) {
  const [, mode, clients, deliveries, vm, sidecar] = data.split(" ");
  document.querySelector(`input[value=${mode}]`).checked = true;
  for (const [id, figure] of Object.entries({ clients, deliveries, vm, sidecar })) $(id).textContent = figure;
}

$("mode").addEventListener("change", ({ target }) => {
  if (socket.readyState === WebSocket.OPEN) socket.send(`mode ${target.value}`);
});

function openFurther() {
  further = further.filter((one) => one.readyState < WebSocket.CLOSING);
  while (further.length < wanted) further.push(open());
  while (further.length > wanted) further.pop().close();
}

$("more").addEventListener("change", ({ target }) => {
  wanted = Math.min(Math.max(Math.floor(target.value), 0), 200);
  openFurther();
});
setInterval(openFurther, RETRY);

connect();
