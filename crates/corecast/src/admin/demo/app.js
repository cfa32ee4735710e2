// The demo page: which chats are open, what the reader looks at, and everything outside the list of messages.
//
// A tab is a person: its name, its sender id and its open chats live in sessionStorage, so that two tabs can talk to each
// other and a reload changes nothing.

import { Connection, INVALID_TOKEN, STATE } from "./protocol.js";
import { ROOM, Room } from "./room.js";
import { MessageList, button, count, hue, initials, make } from "./messages.js";

const MEMBERS_EVERY_MS = 5_000;
const NEAR_TOP_PX = 240; // this close to the oldest message counts as wanting more
const FIRST_CHAT = "lobby";

const $ = (id) => document.getElementById(id);
const url = document.querySelector("meta[name=corecast-websocket]").content;

const me = {
  id: remember("id", () => crypto.randomUUID()),
  name: sessionStorage.getItem("corecast.name") ?? "",
  token: sessionStorage.getItem("corecast.token") ?? "",
};
const rooms = new Map(); // name → Room, in the order of opening
let current = null;
let drawing = 0;

const connection = new Connection(url, me.token, onState);
const list = new MessageList($("scroll"), $("messages"), {
  onRetry: (id) => current.retry(id),
  onDiscard: (id) => current.discard(id),
  onMore: () => current.loadOlder(),
});

function start() {
  const names = JSON.parse(sessionStorage.getItem("corecast.chats") ?? "null") ?? [FIRST_CHAT];
  const linked = chatOfLink();
  for (const name of names) addRoom(name);
  show(linked ?? names[0] ?? FIRST_CHAT);
  if (me.name) connection.open();
  else askName();
}

// --- chats -------------------------------------------------------------------------------------------------------------

function addRoom(name) {
  let room = rooms.get(name);
  if (!room) {
    room = new Room(name, connection, me.id, { onChange: redraw, onMessage: onMessage });
    rooms.set(name, room);
    room.open();
    sessionStorage.setItem("corecast.chats", JSON.stringify([...rooms.keys()]));
  }
  return room;
}

function show(name) {
  current = addRoom(name);
  current.unread = 0;
  history.replaceState(null, "", `#${encodeURIComponent(name)}`);
  document.body.dataset.pane = "chat";
  redraw(current);
  current.countMembers();
}

function leave() {
  current.close();
  rooms.delete(current.name);
  sessionStorage.setItem("corecast.chats", JSON.stringify([...rooms.keys()]));
  show([...rooms.keys()].at(-1) ?? FIRST_CHAT);
}

function chatOfLink() {
  try {
    return decodeURIComponent(location.hash.slice(1)).trim().slice(0, 60) || null;
  } catch {
    return null;
  }
}

function onMessage(room) {
  if (room === current && document.visibilityState === "visible" && list.atBottom) return;
  room.unread += 1;
}

// --- drawing -----------------------------------------------------------------------------------------------------------

/** At most one drawing per frame, however many messages arrive. */
function redraw(room) {
  if (room === current && list.atBottom) room.history.trim();
  drawing ||= requestAnimationFrame(() => {
    drawing = 0;
    draw();
  });
}

function draw() {
  drawRooms();
  drawMe();
  drawHead();
  drawTop();
  $("empty").hidden = !(current.history.isEmpty && current.state === ROOM.LIVE && !current.loading);
  const { atBottom, top } = list.draw(current);
  if (atBottom && document.visibilityState === "visible") current.unread = 0;
  drawJump(atBottom);
  loadIfNearTop(top);
}

/** Fetches older messages before the reader reaches the end of those that are here. */
function loadIfNearTop(top) {
  if (top < NEAR_TOP_PX && current.historyError === "") current.loadOlder();
}

function unreadTotal() {
  return [...rooms.values()].reduce((sum, room) => sum + room.unread, 0);
}

function drawRooms() {
  const shown = [...rooms.values()].map((room) => {
    const face = make("span", "avatar room", initials(room.name));
    face.style.setProperty("--hue", hue(room.name));
    face.setAttribute("aria-hidden", "true");
    const newest = room.history.items().findLast((item) => item.kind === "message");
    const preview = newest ? `${newest.own ? "You" : (newest.name ?? "someone")}: ${newest.text}` : "No messages yet";
    const text = make("span", "text", [make("span", "name", room.name), make("span", "last", preview.slice(0, 120))]);
    const entry = button("", () => show(room.name));
    entry.append(face, text);
    if (room.unread > 0) entry.append(make("span", "badge", room.unread > 99 ? "99+" : String(room.unread)));
    if (room === current) entry.setAttribute("aria-current", "true");
    return make("li", "", [entry]);
  });
  const focused = [...$("rooms").children].findIndex((item) => item.contains(document.activeElement));
  $("rooms").replaceChildren(...shown);
  shown[focused]?.firstElementChild.focus();
}

function drawMe() {
  $("me-name").textContent = me.name || "…";
  $("me-avatar").textContent = initials(me.name || "?");
  $("me-avatar").style.setProperty("--hue", hue(me.id));
}

function drawHead() {
  $("room-title").textContent = current.name;
  $("room-avatar").textContent = initials(current.name);
  $("room-avatar").style.setProperty("--hue", hue(current.name));
  const unread = unreadTotal();
  document.title = `${unread > 0 ? `(${unread}) ` : ""}${current.name} · Corecast`;
  const texts = {
    [ROOM.JOINING]: "joining…",
    [ROOM.CUT]: "catching up…",
    [ROOM.REFUSED]: `not joined: ${current.refusal}`,
    [ROOM.LIVE]: current.members === null ? "live" : `${count(current.members, "member")} here`,
  };
  const text = connection.connected ? texts[current.state] : "offline";
  if ($("room-state").textContent !== text) $("room-state").textContent = text;
}

function drawTop() {
  const { history: past, loading, historyError, state } = current;
  let shown = [];
  if (loading) shown = [make("span", "spinner")];
  else if (historyError) shown = [button(`Older messages: ${historyError}. Try again`, () => current.loadOlder())];
  else if (state === ROOM.LIVE && past.olderThan === 0 && !past.isEmpty) {
    shown = [make("span", "", past.startsAtBeginning ? "The chat begins here" : "Older messages are not kept")];
  }
  $("top").replaceChildren(...shown);
}

function drawJump(atBottom) {
  $("jump").hidden = atBottom;
  $("jump-text").textContent = current.unread > 0 ? count(current.unread, "new message") : "Newest";
}

// --- connection --------------------------------------------------------------------------------------------------------

function onState(status) {
  const words = {
    [STATE.CONNECTING]: status.attempt > 0 ? "Reconnecting" : "Connecting",
    [STATE.CONNECTED]: "Connected",
    [STATE.WAITING]: "Reconnecting",
    [STATE.STOPPED]: "Disconnected",
  };
  $("pill").dataset.state = status.state;
  $("pill-text").textContent = words[status.state];
  drawNotice(status);
  if (current) redraw(current);
}

function drawNotice(status) {
  const notice = $("notice");
  notice.hidden = status.state === STATE.CONNECTED || (status.state === STATE.CONNECTING && status.attempt === 0);
  notice.dataset.kind = status.state === STATE.STOPPED ? "bad" : "warn";
  const action = $("notice-action");
  if (status.state === STATE.STOPPED) {
    setText("notice-text", `The server ended the connection: ${status.reason}.`);
    action.textContent = status.code === INVALID_TOKEN ? "Enter a token" : "Connect again";
  } else if (status.state === STATE.WAITING) {
    const seconds = Math.ceil((status.retryAt - Date.now()) / 1000);
    const why = navigator.onLine ? "The server cannot be reached." : "This device is offline.";
    setText("notice-text", seconds > 0 ? `${why} Reconnecting in ${seconds} s.` : `${why} Reconnecting…`);
    action.textContent = "Now";
  } else {
    setText("notice-text", "Reconnecting…");
    action.textContent = "Now";
  }
}

function setText(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text;
}

// --- the person --------------------------------------------------------------------------------------------------------

function askName({ token = false } = {}) {
  $("welcome-token").open = token || me.token !== "";
  $("welcome-name").value = me.name;
  $("token").value = me.token;
  $("welcome").showModal();
  $(token ? "token" : "welcome-name").select();
}

function remember(key, initial) {
  const stored = sessionStorage.getItem(`corecast.${key}`) ?? initial();
  sessionStorage.setItem(`corecast.${key}`, stored);
  return stored;
}

function grow(area) {
  area.style.height = "auto";
  area.style.height = `${Math.min(area.scrollHeight + 2, 180)}px`;
}

function send() {
  const text = $("composer-text").value.trim();
  if (text === "" || current.state === ROOM.REFUSED) return;
  current.send(text, me.name);
  $("composer-text").value = "";
  grow($("composer-text"));
  list.toBottom();
}

// --- events ------------------------------------------------------------------------------------------------------------

$("welcome-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = $("welcome-name").value.trim();
  if (name === "") return;
  me.name = name;
  me.token = $("token").value.trim();
  sessionStorage.setItem("corecast.name", me.name);
  sessionStorage.setItem("corecast.token", me.token);
  connection.setToken(me.token);
  $("welcome").close();
  connection.open();
  $("composer-text").focus();
  redraw(current);
});
$("welcome").addEventListener("cancel", (event) => {
  if (!me.name) event.preventDefault();
});
$("rename").addEventListener("click", () => askName());

$("open-room").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = $("open-name").value.trim();
  if (name === "") return;
  $("open-name").value = "";
  show(name);
  $("composer-text").focus();
});
$("leave").addEventListener("click", leave);
$("back").addEventListener("click", () => {
  document.body.dataset.pane = "list";
});
$("copy-link").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(location.href);
    setText("room-state", "link copied");
  } catch {
    setText("room-state", "the link is in the address bar");
  }
});

$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
$("composer-text").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send();
});
$("composer-text").addEventListener("input", (event) => grow(event.target));

$("jump").addEventListener("click", () => list.toBottom("smooth"));
$("scroll").addEventListener("scroll", () => {
  const { atBottom } = list;
  loadIfNearTop($("scroll").scrollTop);
  if (atBottom && current.unread > 0) {
    current.unread = 0;
    redraw(current);
  }
  drawJump(atBottom);
});
$("notice-action").addEventListener("click", () => {
  const { state, code } = connection.status;
  if (state === STATE.STOPPED && code === INVALID_TOKEN) askName({ token: true });
  else connection.open();
});
addEventListener("online", () => connection.status.state === STATE.WAITING && connection.open());
addEventListener("hashchange", () => {
  const linked = chatOfLink();
  if (linked && linked !== current.name) show(linked);
});
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState !== "visible") return;
  if (connection.status.state === STATE.WAITING) connection.open();
  redraw(current);
});
setInterval(() => document.visibilityState === "visible" && current.countMembers(), MEMBERS_EVERY_MS);
setInterval(() => drawNotice(connection.status), 500);

start();
