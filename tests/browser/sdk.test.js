// Claim: the browser bundle of the published SDK, as npm installs it, works against Corecast in Chromium, in both encodings.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { serveBundles } from "./lib/bundles.js";
import { Person, launch } from "./lib/chromium.js";
import { Corecast } from "./lib/corecast.js";
import { Proxy } from "./lib/proxy.js";

let browser;
let bundles;
let proxy;
let server;

before(async () => {
  bundles = await serveBundles();
  server = await Corecast.start();
  proxy = await Proxy.start(() => server.port);
  browser = await launch();
});

after(async () => {
  await browser?.close();
  proxy?.stop();
  await server?.stop();
  bundles?.stop();
});

for (const [encoding, bundle] of [["JSON", "centrifuge"], ["Protobuf", "centrifuge.protobuf"]]) {
  test(`the ${encoding} bundle connects, talks, reads history and recovers what it missed`, async () => {
    const context = await browser.newContext();
    const person = new Person(await context.newPage(), encoding);
    await person.page.goto(`${bundles.url}/${bundle}`);
    const url = `ws://127.0.0.1:${proxy.port}/connection/websocket`;
    const channel = `sdk:${encoding}`;
    const first = await person.page.evaluate(talk, { url, channel, protobuf: encoding === "Protobuf" });
    assert.deepEqual(first.received, [{ n: 1 }, { n: 2 }]);
    assert.deepEqual(first.history, [{ n: 2 }, { n: 1 }]);
    assert.equal(first.clients, 1);
    assert.equal(first.offset, 2);

    proxy.cut();
    await person.page.waitForFunction(() => window.client.state === "connecting");
    for (const n of [3, 4, 5]) await server.api("publish", { channel, data: { n } });
    proxy.heal();
    await person.page.waitForFunction(() => window.received.length >= 5);
    await server.api("publish", { channel, data: { n: 6 } });
    await person.page.waitForFunction(() => window.received.length >= 6);
    const second = await person.page.evaluate(() => ({ received: window.received, joins: window.joins }));
    assert.deepEqual(second.received.map(({ n }) => n), [1, 2, 3, 4, 5, 6]);
    assert.equal(second.joins.length, 2);
    assert.equal(second.joins[1].wasRecovering, true);
    assert.equal(second.joins[1].recovered, true);
    person.unharmed();
    await context.close();
  });
}

/** Runs in the page. */
async function talk({ url, channel, protobuf }) {
  const encode = (value) => (protobuf ? new TextEncoder().encode(JSON.stringify(value)) : value);
  const decode = (data) => (protobuf ? JSON.parse(new TextDecoder().decode(data)) : data);
  const client = new Centrifuge(url, { minReconnectDelay: 50, maxReconnectDelay: 200 });
  window.client = client;
  window.received = [];
  window.joins = [];
  const subscription = client.newSubscription(channel);
  subscription.on("publication", ({ data }) => window.received.push(decode(data)));
  subscription.on("subscribed", ({ wasRecovering, recovered }) => window.joins.push({ wasRecovering, recovered }));
  subscription.subscribe();
  client.connect();
  await subscription.ready(10_000);
  await subscription.publish(encode({ n: 1 }));
  await client.publish(channel, encode({ n: 2 }));
  while (window.received.length < 2) await new Promise((resolve) => setTimeout(resolve, 20));
  const history = await subscription.history({ limit: 10, reverse: true });
  const { numClients } = await subscription.presenceStats();
  return {
    received: window.received,
    history: history.publications.map(({ data }) => decode(data)),
    clients: numClients,
    offset: history.offset,
  };
}
