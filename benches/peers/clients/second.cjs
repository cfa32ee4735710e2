// A second load generator, there only to check the first: another language, WebSocket library (npm ws), scheduler, histogram
// and message body. The two share nothing but the servers' protocols and what the load is.
//
// Run: node clients/second.cjs '{"url": "ws://…", "protocol": "raw" | "centrifuge-json", "members": 15000, "chats": 3000,
//                               "rate": 10000, "size": 100, "warmup": 3, "seconds": 5}'
// Output, one word a line, so that somebody else can read the server's CPU clock at the same moments: `measuring` when the
// measured time begins, `measured` when it ends; then one line of JSON.
//
// Open loop: message number n is due at start + n / rate, whatever became of those before it, and its latency counts from
// there. Publishing has a thread of its own, because Node's timers are no finer than 1 ms.
"use strict";
const { createHistogram } = require("node:perf_hooks");
const { Worker, isMainThread, parentPort, workerData } = require("node:worker_threads");
const WebSocket = require("ws");

/** Connections that publish and are in no chat, as many as the other generator has. */
const PUBLISHERS = 4;
/** Members that connect at the same time. */
const CONNECTING_MAX = 64;
const CONNECT_PATIENCE_MS = 120_000;
/** How long the last messages may take after the measured time. */
const DRAIN_MS = 5_000;

const now = () => Number(process.hrtime.bigint());

const protocols = {
  raw: {
    path: "/",
    join: (chat) => "s" + chat,
    publish: (chat, body) => `p${chat} ${body}`,
    /** Calls `joined()` and `delivered(body, offset)` for what is in a message; returns what is to be answered. */
    read(text, joined, delivered) {
      if (text[0] === "k") joined();
      else delivered(JSON.parse(text), undefined);
    },
  },
  "centrifuge-json": {
    path: "/connection/websocket",
    join: (chat) => `{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"${chat}"}}`,
    greet: '{"id":1,"connect":{}}',
    publish: (chat, body, id) => `{"id":${id},"publish":{"channel":"${chat}","data":${body}}}`,
    read(text, joined, delivered) {
      let answer;
      for (const line of text.split("\n")) {
        const reply = JSON.parse(line);
        if (reply.error) throw new Error("refused: " + line);
        if (reply.push?.pub) delivered(reply.push.pub.data, reply.push.pub.offset);
        else if (reply.subscribe) joined();
        else if (Object.keys(reply).length === 0) answer = "{}";
      }
      return answer;
    },
  },
};

function open(url, protocol, onMessage, onGone) {
  const target = new URL(url);
  if (target.pathname === "/") target.pathname = protocol.path;
  const socket = new WebSocket(target, { perMessageDeflate: false, skipUTF8Validation: true });
  socket.on("message", (bytes) => {
    const answer = onMessage(bytes.toString());
    if (answer !== undefined) socket.send(answer);
  });
  socket.on("error", onGone);
  socket.on("close", (code) => onGone(new Error(`closed with ${code}`)));
  return socket;
}

function fail(error) {
  console.error(`second: ${error.message ?? error}`);
  process.exit(1);
}

/** Publishes on the schedule; blocks between two messages, which is as exact as the scheduler of the system. */
function publisher({ load }) {
  const protocol = protocols[load.protocol];
  const total = Math.round(load.rate * (load.warmup + load.seconds));
  const gap = 1e9 / load.rate;
  const sequences = new Array(load.chats).fill(0);
  const sleeper = new Int32Array(new SharedArrayBuffer(4));
  const lateness = createHistogram({ figures: 3 });
  let [start, next, ready, refused] = [0, 0, 0, 0];
  const sockets = Array.from({ length: PUBLISHERS }, () =>
    open(
      load.url,
      protocol,
      (text) => {
        // Acknowledgements are only looked at for refusals.
        if (text.includes('"error"')) refused += 1;
        return text === "{}" ? "{}" : undefined;
      },
      (error) => fail(`a publisher: ${error.message}`),
    ),
  );
  for (const socket of sockets) {
    socket.on("open", () => {
      if (protocol.greet) socket.send(protocol.greet);
      ready += 1;
      if (ready === PUBLISHERS) {
        parentPort.postMessage({ ready: true });
        parentPort.once("message", (message) => {
          start = message.start;
          setImmediate(turn);
        });
      }
    });
  }
  function turn() {
    let time = now();
    while (next < total && start + next * gap <= time) {
      const due = start + next * gap;
      const chat = next % load.chats;
      sequences[chat] += 1;
      const head = `{"c":${chat},"n":${sequences[chat]},"t":${Math.round(due)},"x":"`;
      const body = head + "x".repeat(Math.max(0, load.size - head.length - 2)) + '"}';
      sockets[chat % PUBLISHERS].send(protocol.publish("second" + chat, body, next + 10));
      if (due >= start + load.warmup * 1e9) lateness.record(Math.max(1, Math.round(now() - due)));
      next += 1;
      time = now();
    }
    if (next >= total) {
      setTimeout(() => {
        parentPort.postMessage({ sequences, refused, late: lateness.percentile(99) / 1e6 });
        parentPort.once("message", () => process.exit(0));
      }, DRAIN_MS);
      return;
    }
    const pause = (start + next * gap - now()) / 1e6;
    if (pause > 0) Atomics.wait(sleeper, 0, 0, pause);
    setImmediate(turn);
  }
}

async function main(load) {
  const protocol = protocols[load.protocol];
  if (!protocol) fail(`no such protocol: ${load.protocol}`);
  const latency = createHistogram({ figures: 3 });
  const wrong = { gaps: 0, repeated: 0, foreign: 0, offsets: 0 };
  let [from, to, arrived, finishing] = [Infinity, Infinity, 0, false];
  const last = new Array(load.members).fill(0);
  const offsets = new Array(load.members).fill(undefined);

  const joinMember = (member) =>
    new Promise((resolve) => {
      const chat = member % load.chats;
      const delivered = (body, offset) => {
        const time = now();
        if (body.c !== chat) wrong.foreign += 1;
        else if (body.n <= last[member]) wrong.repeated += 1;
        else if (body.n !== last[member] + 1) wrong.gaps += 1;
        last[member] = body.n;
        if (offset !== undefined) {
          if (offsets[member] !== undefined && offset !== offsets[member] + 1) wrong.offsets += 1;
          offsets[member] = offset;
        }
        if (body.t >= from && body.t < to) latency.record(Math.max(1, Math.round(time - body.t)));
        if (time >= from && time < to) arrived += 1;
      };
      const socket = open(
        load.url,
        protocol,
        (text) => protocol.read(text, resolve, delivered),
        (error) => finishing || fail(`member ${member}: ${error.message}`),
      );
      socket.on("open", () => socket.send(protocol.join("second" + chat)));
    });

  const patience = setTimeout(() => fail("not all members joined in time"), CONNECT_PATIENCE_MS);
  let member = 0;
  const lane = async () => {
    while (member < load.members) await joinMember(member++);
  };
  await Promise.all(Array.from({ length: CONNECTING_MAX }, lane));
  clearTimeout(patience);

  const worker = new Worker(__filename, { workerData: { load } });
  worker.on("error", fail);
  await new Promise((resolve) => worker.once("message", resolve));
  const start = now() + 200e6;
  from = start + load.warmup * 1e9;
  to = from + load.seconds * 1e9;
  worker.postMessage({ start });
  const at = (time, what) => setTimeout(what, Math.max(0, (time - now()) / 1e6));
  let used;
  at(from, () => {
    console.log("measuring");
    used = process.cpuUsage();
  });
  at(to, () => {
    console.log("measured");
    used = process.cpuUsage(used);
  });
  const published = await new Promise((resolve) => worker.once("message", resolve));
  const missing = last.reduce((sum, n, member) => sum + published.sequences[member % load.chats] - n, 0);
  console.log(
    JSON.stringify({
      deliveries_per_second: arrived / load.seconds,
      p50_ms: latency.percentile(50) / 1e6,
      p99_ms: latency.percentile(99) / 1e6,
      late_p99_ms: published.late,
      busy: (used.user + used.system) / 1e6 / load.seconds,
      missing,
      refused: published.refused,
      ...wrong,
    }),
  );
  finishing = true;
  process.exit(0);
}

if (isMainThread) main(JSON.parse(process.argv[2])).catch(fail);
else publisher(workerData);
