// The Centrifuge client protocol v2 in JSON, as a browser needs it: one WebSocket that comes back by itself, commands with
// replies, and channels that continue where they stopped. No state of the page lives here, and no library does the work.
//
// Invariants:
// - A channel's position moves only by a subscribe reply or a publication, in the order in which the server sent them.
// - After the connection was lost, every channel asks for what it missed by (epoch, offset). The server answers either with
//   exactly that, or with `recovered` absent; the handler is told which, never left to guess.
// - A command either gets its reply or fails within REPLY_MS; nothing waits for ever.

const CONNECT_MS = 10_000; // from opening the socket to the reply to `connect`
const REPLY_MS = 5_000; // what the published SDKs allow
const PING_GRACE_MS = 10_000; // silence allowed beyond the server's ping interval
const BACKOFF_MIN_MS = 300;
const BACKOFF_MAX_MS = 8_000;
const REJOIN_JITTER_MS = 250; // a server that cuts a whole chat must not meet all of it again in one millisecond

/** Close code for a client that may not connect as it is; refusals of `connect` are reported with it too. */
export const INVALID_TOKEN = 3500;

export const STATE = Object.freeze({
  CONNECTING: "connecting",
  CONNECTED: "connected",
  WAITING: "waiting", // for the next attempt
  STOPPED: "stopped", // the server said not to come back
});

/** A refusal by the server, or the lack of an answer (code 0). */
export class CommandError extends Error {
  constructor(code, message, temporary = false) {
    super(message);
    this.code = code;
    this.temporary = temporary;
  }
}

/** Codes after which a client may come back: loss of the socket, WebSocket's own, 3000–3499 and 4000–4499. */
export function mayReconnect(code) {
  if (code === 1009) return false;
  if (code < 3000) return true;
  return (code >= 3000 && code < 3500) || (code >= 4000 && code < 4500);
}

/** Full jitter: anything between nothing and the doubled step, so that clients lost together do not return together. */
export function backoffMs(attempt, random) {
  const ceiling = Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** Math.min(attempt, 10));
  return Math.round(BACKOFF_MIN_MS / 2 + random * ceiling);
}

/**
 * `onState({ state, code, reason, retryAt, attempt })` is called on every change of state.
 */
export class Connection {
  #url;
  #token;
  #onState;
  #socket = null;
  #status = { state: STATE.WAITING };
  #attempt = 0;
  #nextId = 1;
  #waiting = new Map(); // command id → { resolve, reject, timer, command }
  #channels = new Map(); // name → { handler, position, joined, asking, timer, attempt }
  #retryTimer = 0;
  #watchdog = 0;
  #connectTimer = 0;
  #silenceMs = 0;
  #answersPings = false;

  constructor(url, token, onState) {
    this.#url = url;
    this.#token = token;
    this.#onState = onState;
  }

  get status() {
    return this.#status;
  }

  get connected() {
    return this.#status.state === STATE.CONNECTED;
  }

  /** Connects at once, whatever the back-off says. Nothing happens while a socket is open or opening. */
  open() {
    clearTimeout(this.#retryTimer);
    if (this.#socket) return;
    this.#change({ state: STATE.CONNECTING, attempt: this.#attempt });
    let socket;
    try {
      socket = new WebSocket(this.#url);
    } catch (error) {
      // An address that no browser accepts, or one that the page's policy forbids: trying again would not help.
      this.#change({ state: STATE.STOPPED, code: 0, reason: error.message });
      return;
    }
    this.#socket = socket;
    this.#connectTimer = setTimeout(() => this.#drop(socket, 0, "no answer"), CONNECT_MS);
    socket.onopen = () => this.#greet(socket);
    socket.onmessage = (event) => this.#receive(socket, event.data);
    socket.onclose = (event) => this.#lost(socket, event.code, event.reason);
  }

  /** Uses another token from now on; an open connection is made anew with it. */
  setToken(token) {
    if (token === this.#token) return;
    this.#token = token;
    if (this.#socket) this.#drop(this.#socket, 0, "another token");
  }

  /** Sends one command, such as `{ publish: { … } }`, and resolves with the body of its reply. */
  request(command) {
    if (!this.connected) return Promise.reject(new CommandError(0, "not connected", true));
    return this.#send([command])[0];
  }

  /**
   * Joins a channel now and after every reconnect, until `leave`. The handler gets
   * `onJoined({ recovering, recovered, epoch, offset, publications })`, `onPublication(publication)`, `onCut()` when the
   * connection or the subscription was lost, and `onRefused({ code, message })` when the server will not have it.
   */
  join(name, handler) {
    const channel = { handler, position: null, joined: false, asking: false, timer: 0, attempt: 0 };
    this.#channels.set(name, channel);
    if (this.connected) this.#subscribe([name]);
  }

  leave(name) {
    const channel = this.#channels.get(name);
    if (!channel) return;
    clearTimeout(channel.timer);
    this.#channels.delete(name);
    if (this.connected) this.request({ unsubscribe: { channel: name } }).catch(() => {});
  }

  #greet(socket) {
    const names = [...this.#channels.keys()];
    const connect = { name: "corecast-demo" };
    if (this.#token) connect.token = this.#token;
    // One frame with everything: the server answers it in one round trip.
    const [connected, ...joins] = this.#send([{ connect }, ...names.map((name) => this.#subscribeCommand(name))]);
    connected.catch((error) => this.#unwelcome(socket, error));
    joins.forEach((reply, index) => this.#settle(names[index], socket, reply));
  }

  #welcome(reply) {
    clearTimeout(this.#connectTimer);
    this.#silenceMs = reply.ping ? reply.ping * 1000 + PING_GRACE_MS : 0;
    this.#answersPings = Boolean(reply.pong);
    this.#attempt = 0;
    this.#watch(this.#socket);
    this.#change({ state: STATE.CONNECTED, client: reply.client });
    // Channels that were opened between the greeting and its answer.
    const late = [...this.#channels].filter(([, channel]) => !channel.joined && !channel.asking).map(([name]) => name);
    if (late.length > 0) this.#subscribe(late);
  }

  #unwelcome(socket, error) {
    if (socket !== this.#socket) return;
    const again = error.code < 100 || error.temporary || error.code === 109;
    this.#drop(socket, again ? 0 : INVALID_TOKEN, error.message);
  }

  #subscribe(names) {
    const socket = this.#socket;
    const replies = this.#send(names.map((name) => this.#subscribeCommand(name)));
    replies.forEach((reply, index) => this.#settle(names[index], socket, reply));
  }

  #subscribeCommand(name) {
    const channel = this.#channels.get(name);
    channel.asking = true;
    const subscribe = { channel: name };
    if (channel.position) {
      subscribe.recover = true;
      if (channel.position.offset > 0) subscribe.offset = channel.position.offset;
      if (channel.position.epoch) subscribe.epoch = channel.position.epoch;
    }
    return { subscribe };
  }

  #settle(name, socket, reply) {
    const channel = this.#channels.get(name);
    const current = () => this.#channels.get(name) === channel && socket === this.#socket;
    reply.catch((error) => {
      channel.asking = false;
      if (!current()) return;
      if (error.code === 0) return this.#drop(socket, 0, "subscribe was not answered");
      if (error.temporary || error.code === 109) return this.#rejoin(name, channel);
      this.#channels.delete(name);
      channel.handler.onRefused({ code: error.code, message: error.message });
    });
  }

  #joined(name, reply) {
    const channel = this.#channels.get(name);
    if (!channel) return;
    const recovering = channel.position !== null;
    const publications = reply.publications ?? [];
    channel.asking = false;
    channel.joined = true;
    channel.attempt = 0;
    channel.position = { epoch: reply.epoch ?? "", offset: reply.offset ?? 0 };
    for (const publication of publications) this.#advance(channel, publication);
    channel.handler.onJoined({
      recovering,
      recovered: Boolean(reply.recovered),
      epoch: channel.position.epoch,
      offset: channel.position.offset,
      publications,
    });
  }

  #advance(channel, publication) {
    if (publication.offset > 0) channel.position.offset = publication.offset;
    if (publication.epoch) channel.position.epoch = publication.epoch;
  }

  #rejoin(name, channel) {
    clearTimeout(channel.timer);
    channel.joined = false;
    const delay = channel.attempt === 0 ? Math.random() * REJOIN_JITTER_MS : backoffMs(channel.attempt, Math.random());
    channel.attempt += 1;
    channel.timer = setTimeout(() => {
      if (this.connected && this.#channels.get(name) === channel && !channel.asking) this.#subscribe([name]);
    }, delay);
  }

  /** Sends commands in one frame; one promise each. */
  #send(commands) {
    const numbered = commands.map((command) => ({ id: this.#nextId++, ...command }));
    const replies = numbered.map(
      (command) =>
        new Promise((resolve, reject) => {
          const expired = () => {
            this.#waiting.delete(command.id);
            reject(new CommandError(0, "no answer in time", true));
          };
          const timer = setTimeout(expired, REPLY_MS);
          this.#waiting.set(command.id, { resolve, reject, timer, command });
        }),
    );
    this.#socket.send(numbered.map((command) => JSON.stringify(command)).join("\n"));
    return replies;
  }

  #receive(socket, frame) {
    if (socket !== this.#socket) return;
    this.#watch(socket);
    for (const line of frame.split("\n")) {
      if (line === "") continue;
      let reply;
      try {
        reply = JSON.parse(line);
      } catch {
        return this.#drop(socket, 0, "the server sent something that is not JSON");
      }
      if (reply.id) this.#reply(reply);
      else if (reply.push) this.#push(reply.push);
      else if (this.#answersPings) socket.send("{}");
    }
  }

  #reply(reply) {
    const waiting = this.#waiting.get(reply.id);
    if (!waiting) return;
    clearTimeout(waiting.timer);
    this.#waiting.delete(reply.id);
    if (reply.error) {
      const { code = 100, message = "refused", temporary = false } = reply.error;
      waiting.reject(new CommandError(code, message, temporary));
      return;
    }
    const { id, ...bodies } = reply;
    const body = Object.values(bodies)[0] ?? {};
    // At once, not when the promise's turn comes: the next line of the same frame may already build on it.
    if (waiting.command.connect) this.#welcome(body);
    if (waiting.command.subscribe) this.#joined(waiting.command.subscribe.channel, body);
    waiting.resolve(body);
  }

  #push(push) {
    const channel = this.#channels.get(push.channel);
    if (!channel?.joined) return;
    if (push.pub) {
      this.#advance(channel, push.pub);
      channel.handler.onPublication(push.pub);
    } else if (push.unsubscribe) {
      const { code, reason } = push.unsubscribe;
      channel.joined = false;
      if (code >= 2500) {
        channel.handler.onCut();
        this.#rejoin(push.channel, channel);
      } else {
        this.#channels.delete(push.channel);
        channel.handler.onRefused({ code, message: reason || "the server ended the subscription" });
      }
    }
  }

  #watch(socket) {
    clearTimeout(this.#watchdog);
    if (this.#silenceMs > 0) {
      this.#watchdog = setTimeout(() => this.#drop(socket, 0, "the server went silent"), this.#silenceMs);
    }
  }

  /** Gives a socket up without waiting for the other side. */
  #drop(socket, code, reason) {
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
    this.#lost(socket, code, reason);
  }

  #lost(socket, code, reason) {
    if (socket !== this.#socket) return;
    this.#socket = null;
    clearTimeout(this.#connectTimer);
    clearTimeout(this.#watchdog);
    this.#silenceMs = 0;
    for (const { reject, timer } of this.#waiting.values()) {
      clearTimeout(timer);
      reject(new CommandError(0, "the connection was lost", true));
    }
    this.#waiting.clear();
    for (const channel of this.#channels.values()) {
      clearTimeout(channel.timer);
      channel.asking = false;
      channel.joined = false;
      channel.handler.onCut();
    }
    if (mayReconnect(code)) this.#retryLater(code, reason);
    else this.#change({ state: STATE.STOPPED, code, reason: reason || `code ${code}` });
  }

  #retryLater(code, reason) {
    const delay = backoffMs(this.#attempt, Math.random());
    this.#attempt += 1;
    this.#retryTimer = setTimeout(() => this.open(), delay);
    this.#change({ state: STATE.WAITING, code, reason, retryAt: Date.now() + delay, attempt: this.#attempt });
  }

  #change(status) {
    this.#status = status;
    this.#onState(status);
  }
}
