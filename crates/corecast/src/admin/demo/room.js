// One open chat: its subscription, its messages, its member count. Knows nothing of the page; tells it through callbacks.

import { ChatHistory, OWN } from "./history.js";

const PAGE = 50; // messages of one history request: several screens, a few KiB
const GAP_PAGES_MAX = 20; // pages fetched on their own after a long absence; beyond that the reader asks for more

export const ROOM = Object.freeze({ JOINING: "joining", LIVE: "live", CUT: "cut", REFUSED: "refused" });

export class Room {
  name;
  state = ROOM.JOINING;
  refusal = "";
  members = null; // unknown
  unread = 0;
  loading = false;
  historyError = "";
  history;
  #connection;
  #self;
  #onChange;
  #onMessage;

  /** `onChange(room)` after anything changed, `onMessage(room, message)` for each message that somebody else sent just now. */
  constructor(name, connection, self, { onChange, onMessage }) {
    this.name = name;
    this.history = new ChatHistory(self);
    this.#connection = connection;
    this.#self = self;
    this.#onChange = onChange;
    this.#onMessage = onMessage;
  }

  open() {
    this.state = ROOM.JOINING;
    this.refusal = "";
    this.#connection.join(this.name, {
      onJoined: (outcome) => this.#joined(outcome),
      onPublication: (publication) => this.#published(publication),
      onCut: () => this.#cut(),
      onRefused: ({ message }) => {
        this.state = ROOM.REFUSED;
        this.refusal = message;
        this.#onChange(this);
      },
    });
    this.#onChange(this);
  }

  close() {
    this.#connection.leave(this.name);
  }

  /** Sends now, or as soon as the chat is live again. */
  send(text, name) {
    const id = crypto.randomUUID();
    const message = { id, text, name, at: Date.now(), state: OWN.WAITING };
    this.history.write(message);
    if (this.state === ROOM.LIVE) this.#deliver(message);
    this.#onChange(this);
  }

  /** Sends a failed message again under the same id, so that readers see it once if both arrive. */
  retry(id) {
    const message = this.history.own(OWN.FAILED).find((own) => own.id === id);
    if (!message) return;
    this.history.mark(id, OWN.WAITING);
    if (this.state === ROOM.LIVE) this.#deliver(message);
    this.#onChange(this);
  }

  discard(id) {
    this.history.discard(id);
    this.#onChange(this);
  }

  /** Fetches the page before the oldest message in memory. */
  async loadOlder() {
    const before = this.history.olderThan;
    if (before === 0 || this.loading || this.state !== ROOM.LIVE) return;
    const epoch = this.history.epoch;
    this.loading = true;
    this.historyError = "";
    this.#onChange(this);
    try {
      const since = { offset: before, epoch };
      const request = { channel: this.name, limit: PAGE, since, reverse: true };
      const { publications = [] } = await this.#connection.request({ history: request });
      // Only if no other stretch began while the page was on its way.
      if (this.history.epoch === epoch && this.history.olderThan === before) this.history.addOlder(publications);
    } catch (error) {
      if (error.code === 108 || error.code === 112) this.history.endOlder();
      else this.historyError = error.message;
    } finally {
      this.loading = false;
      this.#onChange(this);
    }
  }

  async countMembers() {
    if (this.state !== ROOM.LIVE) return;
    try {
      const { num_clients: clients = 0 } = await this.#connection.request({ presence_stats: { channel: this.name } });
      this.members = clients;
    } catch {
      this.members = null;
    }
    this.#onChange(this);
  }

  #joined(outcome) {
    this.state = ROOM.LIVE;
    const stale = this.history.joined(outcome);
    // What was sent into the lost connection and is not among what was recovered has most likely not arrived.
    for (const { id } of this.history.own(OWN.UNKNOWN)) {
      this.history.mark(id, OWN.FAILED, "the connection was lost before the server confirmed it");
    }
    for (const message of this.history.own(OWN.WAITING)) this.#deliver(message);
    if (outcome.recovering) outcome.publications.forEach((publication) => this.#count(publication));
    this.#onChange(this);
    if (stale) this.#loadLatest();
    this.countMembers();
  }

  async #loadLatest() {
    await this.loadOlder();
    for (let page = 1; page < GAP_PAGES_MAX && this.history.hasGap && this.historyError === ""; page += 1) {
      await this.loadOlder();
    }
  }

  #published(publication) {
    const message = this.history.add(publication);
    if (!message) return;
    if (!message.own) this.#onMessage(this, message);
    this.#onChange(this);
  }

  #count(publication) {
    if (publication.data?.from !== this.#self) this.#onMessage(this, null);
  }

  #cut() {
    if (this.state !== ROOM.LIVE) return;
    this.state = ROOM.CUT;
    this.members = null;
    for (const { id } of this.history.own(OWN.SENDING)) this.history.mark(id, OWN.UNKNOWN);
    this.#onChange(this);
  }

  async #deliver({ id, text, name, at }) {
    this.history.mark(id, OWN.SENDING);
    try {
      const data = { id, from: this.#self, name, text, at };
      await this.#connection.request({ publish: { channel: this.name, data } });
      this.history.mark(id, OWN.ACCEPTED);
    } catch (error) {
      // A lost connection was marked by #cut already: whether the message arrived is known after the next join.
      const [unknown] = this.history.own(OWN.UNKNOWN).filter((own) => own.id === id);
      if (!unknown) this.history.mark(id, OWN.FAILED, error.message);
    }
    this.#onChange(this);
  }
}
