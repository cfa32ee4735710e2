// What one chat knows of its messages: pure data, no page, no network, no clock.
//
// Messages are kept in stretches. A stretch is a run of one epoch without holes; between two stretches stands a divider
// that says what is missing and why. Invariants:
// - Within a stretch offsets ascend by one and each appears once, however history, recovery and live messages overlap.
// - A message is shown once, also when its sender retried it: `id` decides, the first offset wins.
// - An own message is one item from the moment of writing, under one key, until it has its offset.

/** At most this many messages stay in memory while the reader is at the bottom; older ones are fetched again on demand. */
export const KEEP_MAX = 400;

export const DIVIDER = Object.freeze({
  RESET: "reset", // other epoch: the server's memory of this chat is new
  GAP: "gap", // same epoch, but more was missed than a recovery returns: fetched page by page, as far as the server keeps it
});

/** States of an own message. */
export const OWN = Object.freeze({
  WAITING: "waiting", // not sent yet: no connection
  SENDING: "sending", // sent, no answer yet
  UNKNOWN: "unknown", // sent, but the connection was lost before the answer
  ACCEPTED: "accepted", // answered, its publication is still to come
  FAILED: "failed", // refused, or still missing after the chat was complete again
  SENT: "sent", // has its offset
});

export class ChatHistory {
  #self;
  #stretches = [];
  #own = new Map(); // id → own message that has no offset yet
  #ids = new Map(); // id → message in memory

  /** `self` is the sender id of this page. */
  constructor(self) {
    this.#self = self;
  }

  /** The epoch of the newest stretch, null before the first subscription. */
  get epoch() {
    return this.#last?.epoch ?? null;
  }

  /** Messages before this offset may still be fetched; 0 if there is nothing older to be had. */
  get olderThan() {
    const last = this.#last;
    if (!last || last.exhausted) return 0;
    return last.items[0]?.offset ?? last.top + 1;
  }

  /** Whether the newest stretch begins behind a hole that can still be fetched. */
  get hasGap() {
    return this.#last?.divider?.reason === DIVIDER.GAP && !this.#last.exhausted;
  }

  get isEmpty() {
    return this.#own.size === 0 && this.#stretches.every((stretch) => stretch.items.length === 0);
  }

  /** Whether nothing lies before the oldest message in memory: the chat begins here. Else the server keeps no more. */
  get startsAtBeginning() {
    const [first] = this.#stretches;
    return !first || first.items.length === 0 ? !first || first.top === 0 : first.items[0].offset === 1;
  }

  /** Everything in order: messages, dividers, then own messages without an offset. */
  items() {
    const all = [];
    for (const stretch of this.#stretches) {
      if (stretch.divider) all.push({ ...stretch.divider, exhausted: stretch.exhausted });
      all.push(...stretch.items);
    }
    all.push(...this.#own.values());
    return all;
  }

  /** Takes the outcome of a subscribe. Returns whether the newest page of history has to be fetched. */
  joined({ recovering, recovered, epoch, offset, publications }) {
    const last = this.#last;
    if (!last || (last.epoch !== epoch && last.top === 0)) {
      this.#stretches = [];
      this.#begin(epoch, offset, null);
      return offset > 0;
    }
    if (last.epoch !== epoch) {
      this.#begin(epoch, offset, { reason: DIVIDER.RESET });
      return offset > 0;
    }
    if (recovering && recovered) {
      for (const publication of publications) this.add(publication);
      return false;
    }
    if (offset === last.top) return false;
    this.#begin(epoch, offset, { reason: DIVIDER.GAP, missed: offset - last.top });
    return true;
  }

  /** Adds a message of the newest stretch, wherever it belongs there. Returns it if it is new to the reader. */
  add(publication) {
    const last = this.#last;
    const { offset } = publication;
    if (!last || !(offset > 0)) return null;
    last.top = Math.max(last.top, offset);
    const index = placeOf(last.items, offset);
    if (last.items[index]?.offset === offset) return null;
    const content = read(publication.data, this.#self);
    if (content.id !== null && this.#ids.has(content.id)) return null;
    if (content.own) this.#own.delete(content.id);
    const key = content.id === null ? `${last.epoch}/${offset}` : `id/${content.id}`;
    const message = { kind: "message", key, offset, state: OWN.SENT, ...content };
    last.items.splice(index, 0, message);
    if (content.id !== null) this.#ids.set(content.id, message);
    return message;
  }

  /** A page of older messages, newest first, as `history` with `reverse` gives it. An empty page is the end. */
  addOlder(publications) {
    const last = this.#last;
    if (!last) return;
    const before = this.#stretches.at(-2);
    const reached = before?.epoch === last.epoch ? before.top : 0;
    if (publications.length === 0) last.exhausted = true;
    for (const publication of publications) {
      if (publication.offset > reached) this.add(publication);
      if (publication.offset <= reached + 1) last.exhausted = true;
    }
    this.#narrow(before, last, reached);
  }

  /** Nothing older can be had, for example because the server does not offer history. */
  endOlder() {
    if (this.#last) this.#last.exhausted = true;
  }

  /** Adds an own message. */
  write({ id, text, name, at, state }) {
    const message = { kind: "message", key: `id/${id}`, id, from: this.#self, own: true, name, text, at, state };
    this.#own.set(id, message);
  }

  /** Changes the state of an own message that has no offset yet; does nothing once it has. */
  mark(id, state, reason = "") {
    const message = this.#own.get(id);
    if (message) this.#own.set(id, { ...message, state, reason });
  }

  /** Own messages in the given state. */
  own(state) {
    return [...this.#own.values()].filter((message) => message.state === state);
  }

  /** Removes an own message that has no offset. */
  discard(id) {
    this.#own.delete(id);
  }

  /** Forgets the oldest messages beyond KEEP_MAX. */
  trim() {
    let surplus = this.#stretches.reduce((sum, stretch) => sum + stretch.items.length, 0) - KEEP_MAX;
    while (surplus > 0) {
      const [first] = this.#stretches;
      const cut = first.items.splice(0, surplus);
      for (const message of cut) this.#ids.delete(message.id);
      surplus -= cut.length;
      if (this.#stretches.length === 1) first.exhausted = false; // can be fetched again
      else if (first.items.length === 0) this.#dropFirst();
    }
  }

  get #last() {
    return this.#stretches.at(-1);
  }

  #begin(epoch, top, divider) {
    const shown = divider && { kind: "divider", key: `divider/${epoch}/${top}`, ...divider };
    this.#stretches.push({ epoch, top, items: [], exhausted: top === 0, divider: shown });
  }

  /** After a page into a gap: closes it, or says how many are still missing. */
  #narrow(before, last, reached) {
    if (last.divider?.reason !== DIVIDER.GAP || last.items.length === 0) return;
    const missed = last.items[0].offset - reached - 1;
    if (missed > 0) {
      last.divider = { ...last.divider, missed };
      return;
    }
    before.items.push(...last.items);
    before.top = last.top;
    this.#stretches.pop();
  }

  #dropFirst() {
    this.#stretches.shift();
    this.#stretches[0].divider = null;
  }
}

/** The index of the first message whose offset is not below the given one. */
function placeOf(items, offset) {
  let low = 0;
  let high = items.length;
  if (high > 0 && items[high - 1].offset < offset) return high; // live messages
  while (low < high) {
    const middle = (low + high) >> 1;
    if (items[middle].offset < offset) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Reads a payload. Any client may publish anything: what is not a message of this page is shown as the JSON that it is. */
export function read(data, self) {
  const isMessage = data !== null && typeof data === "object" && typeof data.text === "string";
  if (!isMessage) return { id: null, from: null, own: false, name: null, text: JSON.stringify(data) ?? "", at: null };
  const short = (value) => (typeof value === "string" && value !== "" ? value.slice(0, 100) : null);
  const from = short(data.from);
  return {
    id: short(data.id),
    from,
    own: from !== null && from === self,
    name: short(data.name),
    text: data.text,
    at: Number.isFinite(data.at) && Math.abs(data.at) < 8.64e15 ? data.at : null,
  };
}
