// The published SDK in both encodings behind one face: data are JavaScript values.

import { Centrifuge as JsonClient } from "centrifuge";
import { Centrifuge as ProtobufClient } from "centrifuge/build/protobuf";
import { WebSocket } from "ws";
import { within } from "./server.js";

const EVENT_DEADLINE_MS = 15_000;

export const ENCODINGS = [
  {
    name: "JSON",
    Client: JsonClient,
    encode: (value) => value,
    decode: (data) => data,
  },
  {
    name: "Protobuf",
    Client: ProtobufClient,
    encode: (value) => new TextEncoder().encode(JSON.stringify(value)),
    decode: (data) => JSON.parse(new TextDecoder().decode(data)),
  },
];

/** A client that is not connected yet. Reconnects fast; gone at the end of test `t`. */
export function client(t, encoding, url, options = {}) {
  const centrifuge = new encoding.Client(url, {
    websocket: WebSocket,
    minReconnectDelay: 50,
    maxReconnectDelay: 200,
    ...options,
  });
  // Errors are part of several tests; without a listener they would end the process.
  centrifuge.on("error", () => {});
  t.after(() => centrifuge.disconnect());
  return centrifuge;
}

/** A client that is connected. */
export async function connected(t, encoding, url, options = {}) {
  const centrifuge = client(t, encoding, url, options);
  const ready = next(centrifuge, "connected");
  centrifuge.connect();
  await ready;
  return centrifuge;
}

/** A subscription that is subscribed, with everything that happens to it. */
export async function subscribed(centrifuge, encoding, channel, options = {}) {
  const subscription = centrifuge.newSubscription(channel, options);
  const log = record(subscription, encoding);
  const ready = next(subscription, "subscribed");
  subscription.subscribe();
  const context = await ready;
  return { subscription, log, context };
}

/** Everything that a subscription (or a client, for server-side subscriptions) tells, in order. */
export function record(emitter, encoding) {
  const log = { publications: [], events: [] };
  emitter.on("publication", (context) => {
    const { channel, offset } = context;
    log.publications.push({ channel, offset, data: encoding.decode(context.data) });
    log.events.push("publication");
  });
  for (const event of ["subscribing", "subscribed", "unsubscribed", "connecting", "connected", "disconnected"]) {
    emitter.on(event, (context) => log.events.push({ event, ...context }));
  }
  emitter.on("error", (context) => log.events.push({ event: "error", ...context }));
  return log;
}

/** The next event of this name that `filter` accepts. */
export function next(emitter, event, filter = () => true) {
  let listener;
  const happened = new Promise((resolve) => {
    listener = (context) => filter(context) && resolve(context);
    emitter.on(event, listener);
  });
  const late = () => `no event "${event}" within ${EVENT_DEADLINE_MS} ms`;
  return within(EVENT_DEADLINE_MS, happened, late).finally(() => emitter.off(event, listener));
}

/** Waits until `condition` is true. */
export async function until(condition, what) {
  const deadline = Date.now() + EVENT_DEADLINE_MS;
  while (!condition()) {
    if (Date.now() > deadline) {
      throw new Error(`not within ${EVENT_DEADLINE_MS} ms: ${what()}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Asks until the answer is `good`, and resolves to it. */
export async function eventually(ask, good) {
  const deadline = Date.now() + EVENT_DEADLINE_MS;
  for (;;) {
    const answer = await ask();
    if (good(answer)) {
      return answer;
    }
    if (Date.now() > deadline) {
      throw new Error(`not within ${EVENT_DEADLINE_MS} ms, last answer: ${JSON.stringify(answer)}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Waits for `count` publications. */
export function publications(log, count) {
  return until(() => log.publications.length >= count, () => `${count} publications, only ${log.publications.length}`);
}

export const offsets = (log) => log.publications.map(({ offset }) => offset);
export const bodies = (log) => log.publications.map(({ data }) => data);
export const range = (from, to) => Array.from({ length: to - from + 1 }, (_, index) => from + index);
