// Draws the messages of one chat. All text from the network goes through `textContent`; nothing is ever parsed as HTML.

import { DIVIDER, OWN } from "./history.js";

const GROUP_MS = 5 * 60_000; // messages of one author within this time stand together
const BOTTOM_PX = 48; // this close to the end counts as reading the newest

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });

const OWN_STATES = {
  [OWN.WAITING]: "Waiting for the connection…",
  [OWN.UNKNOWN]: "Not confirmed yet…",
};

/** `onRetry(id)`, `onDiscard(id)` and `onMore()` are called from the buttons in the list. */
export class MessageList {
  #scroll;
  #list;
  #actions;
  #drawn = new Map(); // key → { element, signature }
  #room = null;

  constructor(scroll, list, actions) {
    this.#scroll = scroll;
    this.#list = list;
    this.#actions = actions;
  }

  get atBottom() {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroll;
    return scrollHeight - scrollTop - clientHeight <= BOTTOM_PX;
  }

  toBottom(behavior = "instant") {
    this.#scroll.scrollTo({ top: this.#scroll.scrollHeight, behavior });
  }

  /**
   * Brings the list to the state of the room's history, keeping the reader's place. Returns whether that is the bottom and
   * how far the top is: asking again after a change of the page would cost another layout of all messages.
   */
  draw(room) {
    const other = room !== this.#room;
    if (other) {
      this.#room = room;
      this.#drawn.clear();
      this.#list.replaceChildren();
    }
    const stay = other || this.atBottom;
    const anchor = stay ? null : this.#anchor();
    this.#reconcile(rows(room.history.items()), other);
    if (stay) this.toBottom();
    else if (anchor && this.#drawn.has(anchor.key)) {
      const { element } = this.#drawn.get(anchor.key); // by key: it may have been drawn anew
      this.#scroll.scrollTop += element.getBoundingClientRect().top - anchor.top;
    }
    return { atBottom: stay || this.atBottom, top: this.#scroll.scrollTop };
  }

  #reconcile(wanted, quiet) {
    const keys = new Set(wanted.map((row) => row.key));
    for (const [key, { element }] of this.#drawn) {
      if (keys.has(key)) continue;
      element.remove();
      this.#drawn.delete(key);
    }
    let place = this.#list.firstElementChild;
    for (const row of wanted) {
      const element = this.#element(row, quiet);
      if (place && place.parentNode !== this.#list) place = element; // it was just replaced by this one
      if (element === place) place = place.nextElementSibling;
      else this.#list.insertBefore(element, place);
    }
  }

  #element(row, quiet) {
    const signature = `${row.continued}/${row.state}/${row.reason}/${row.missed}/${row.exhausted}`;
    const drawn = this.#drawn.get(row.key);
    if (drawn?.signature === signature) return drawn.element;
    const element = this.#build(row);
    if (drawn) drawn.element.replaceWith(element);
    else if (!quiet && row.kind === "message" && row.last) element.classList.add("fresh");
    this.#drawn.set(row.key, { element, signature });
    return element;
  }

  #build(row) {
    if (row.kind === "day") return make("li", "day", [make("span", "", row.text)]);
    if (row.kind === "divider") return this.#divider(row);
    const item = make("li", row.own ? "message own" : "message");
    item.classList.toggle("continued", row.continued);
    item.dataset.state = row.state;
    item.dataset.key = row.key;
    item.style.setProperty("--hue", hue(row.from ?? row.name ?? ""));
    const bubble = make("div", row.name === null && row.at === null ? "bubble raw" : "bubble", row.text);
    const head = make("div", "head", [make("span", "author", row.name ?? "someone")]);
    if (row.at !== null) head.append(time(row.at));
    const body = make("div", "body", [head, bubble]);
    const note = this.#ownState(row);
    if (note) body.append(note);
    const face = make("span", "avatar", initials(row.name ?? "?"));
    face.setAttribute("aria-hidden", "true");
    item.append(face, body);
    return item;
  }

  #ownState(row) {
    if (!row.own) return null;
    if (row.state in OWN_STATES) return make("div", "own-state", OWN_STATES[row.state]);
    if (row.state !== OWN.FAILED) return null;
    const note = make("div", "own-state", [make("span", "", `Not sent: ${row.reason}.`)]);
    note.append(button("Try again", () => this.#actions.onRetry(row.id)));
    note.append(button("Discard", () => this.#actions.onDiscard(row.id)));
    return note;
  }

  #divider(row) {
    const item = make("li", "divider");
    item.dataset.reason = row.reason;
    const text = make("div", "");
    if (row.reason === DIVIDER.RESET) {
      text.append("History was reset: the server restarted");
      text.append(make("small", "", "What is above is only in this page’s memory."));
    } else if (row.exhausted) {
      text.append(`${count(row.missed, "message")} missed here`);
      text.append(make("small", "", "The server does not keep them any more."));
    } else {
      text.append(`${count(row.missed, "message")} missed while you were away `);
      text.append(button("Load more of them", () => this.#actions.onMore()));
    }
    item.append(text);
    return item;
  }

  /** The first message that the reader sees, and where it stands. */
  #anchor() {
    const { top } = this.#scroll.getBoundingClientRect();
    for (const element of this.#list.children) {
      const box = element.getBoundingClientRect();
      if (box.bottom > top && element.dataset.key) return { key: element.dataset.key, top: box.top };
    }
    return null;
  }
}

/** Adds days between messages, and marks those that continue their author's previous one. */
function rows(items) {
  const all = [];
  let previous = null;
  for (const [index, item] of items.entries()) {
    if (item.kind !== "message") {
      all.push(item);
      previous = null;
      continue;
    }
    const date = item.at === null ? null : new Date(item.at).toDateString();
    if (date !== null && date !== previous?.date) {
      const others = previous !== null || date !== new Date().toDateString();
      if (others) all.push({ kind: "day", key: `day/${item.key}`, text: dayName(item.at) });
      previous = null;
    }
    const close = previous !== null && Math.abs((item.at ?? 0) - (previous.at ?? 0)) < GROUP_MS;
    const continued = close && item.from === previous.from && item.name === previous.name;
    all.push({ ...item, continued, last: index === items.length - 1 });
    previous = { date: date ?? previous?.date ?? null, at: item.at, from: item.from, name: item.name };
  }
  return all;
}

function dayName(at) {
  const date = new Date(at).toDateString();
  if (date === new Date().toDateString()) return "Today";
  if (date === new Date(Date.now() - 86_400_000).toDateString()) return "Yesterday";
  return day.format(at);
}

function time(at) {
  const element = make("time", "", clock.format(at));
  element.dateTime = new Date(at).toISOString();
  return element;
}

export function count(number, noun) {
  return `${number.toLocaleString()} ${noun}${number === 1 ? "" : "s"}`;
}

/** A stable colour for an author or a chat. */
export function hue(text) {
  let hash = 7;
  for (const character of text) hash = (hash * 31 + character.codePointAt(0)) >>> 0;
  return String((hash * 47) % 360);
}

export function initials(name) {
  const words = name.trim().split(/\s+/u).slice(0, 2);
  return words.map((word) => [...word][0] ?? "").join("").toUpperCase();
}

export function make(tag, className, content = []) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (typeof content === "string") element.textContent = content;
  else element.append(...content);
  return element;
}

export function button(text, onClick) {
  const element = make("button", "", text);
  element.type = "button";
  element.addEventListener("click", onClick);
  return element;
}
