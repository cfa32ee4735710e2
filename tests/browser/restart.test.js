// Claim: whatever happens to the server or the network, the page comes back by itself and is then complete, or says
// honestly that the history was reset. Nothing is lost without a word and nothing is shown twice.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";

import { PHONE, Person, launch, until } from "./lib/chromium.js";
import { Corecast } from "./lib/corecast.js";
import { Proxy } from "./lib/proxy.js";

const RESET = /History was reset: the server restarted/;
let browser;
const running = [];

before(async () => {
  browser = await launch();
});

afterEach(async () => {
  for (const context of browser.contexts()) await context.close();
  for (const stop of running.splice(0)) await stop();
});

after(() => browser?.close());

async function start(settings) {
  const server = await Corecast.start(settings);
  running.push(() => server.stop());
  return server;
}

/** A server whose page connects through a proxy. */
async function startBehindProxy() {
  let server;
  const proxy = await Proxy.start(() => server.port);
  running.push(() => proxy.stop());
  const address = `ws://127.0.0.1:${proxy.port}/connection/websocket`;
  server = await start({ CORECAST_ADMIN_DEMO_WEBSOCKET: address });
  return { server, proxy };
}

test("the server is killed and started again", async () => {
  const server = await start();
  const ada = await Person.arrive(browser, server.page, "Ada");
  const grace = await Person.arrive(browser, server.page, "Grace", PHONE);
  await ada.write("before the crash");
  await grace.sees("before the crash");

  await server.stop("SIGKILL");
  await ada.disconnected();
  await grace.disconnected();
  await ada.page.locator("#notice", { hasText: "Reconnecting" }).waitFor();
  await ada.write("written while nobody was there");
  await ada.page.getByText("Waiting for the connection").waitFor();
  await ada.screenshot("reconnecting-desktop.png");
  await grace.screenshot("reconnecting-phone.png");

  await server.run();
  for (const person of [ada, grace]) {
    await person.connected();
    await person.page.locator(".divider", { hasText: RESET }).waitFor();
    await person.sees("before the crash");
    await person.sees("written while nobody was there");
  }
  await grace.write("after the crash");
  for (const person of [ada, grace]) {
    await person.sees("after the crash");
    const texts = await person.texts();
    assert.deepEqual(texts, ["before the crash", "written while nobody was there", "after the crash"]);
    assert.equal((await person.dividers()).length, 1);
  }
  await ada.screenshot("restarted-desktop.png");
  await grace.screenshot("restarted-phone.png");
  ada.unharmed();
  grace.unharmed();

  // Somebody who comes later sees only what the server has, and no divider.
  const late = await Person.arrive(browser, server.page, "Late");
  await late.sees("after the crash");
  assert.deepEqual(await late.dividers(), []);
  assert.deepEqual(await late.texts(), ["written while nobody was there", "after the crash"]);
});

test("the server is asked to stop: pages are told, and come back", async () => {
  const server = await start({ CORECAST_NODE_DRAIN_WINDOW: "500ms" });
  const ada = await Person.arrive(browser, server.page, "Ada");
  await server.stop("SIGTERM");
  await ada.disconnected();
  await server.run();
  await ada.connected();
  await ada.write("back again");
  await ada.sees("back again");
  ada.unharmed();
});

test("the network fails while others write: nothing is missing afterwards", async () => {
  const { server, proxy } = await startBehindProxy();
  const ada = await Person.arrive(browser, server.page, "Ada");
  await server.say("lobby", "Linus", 1, 5);
  await ada.sees("message 5");

  proxy.cut();
  await ada.disconnected();
  await server.say("lobby", "Linus", 6, 60);
  proxy.heal();
  await ada.connected();
  await ada.sees("message 60");
  await server.say("lobby", "Linus", 61, 62);
  await ada.sees("message 62");
  const expected = Array.from({ length: 62 }, (_, index) => `message ${index + 1}`);
  assert.deepEqual(await ada.texts(), expected);
  assert.deepEqual(await ada.dividers(), []);
  ada.unharmed();
});

test("more was missed than a recovery returns: the rest is read from the history", async () => {
  const { server, proxy } = await startBehindProxy();
  const ada = await Person.arrive(browser, server.page, "Ada");
  await server.say("lobby", "Linus", 1, 5);
  await ada.sees("message 5");

  proxy.cut();
  await ada.disconnected();
  await server.say("lobby", "Linus", 6, 400);
  proxy.heal();
  await ada.connected();
  const expected = Array.from({ length: 400 }, (_, index) => `message ${index + 1}`);
  await until(() => ada.texts(), (texts) => texts.length === expected.length, "the history was not read");
  assert.deepEqual(await ada.texts(), expected);
  assert.deepEqual(await ada.dividers(), []);
  ada.unharmed();
});

test("more was missed than the server keeps: the page says how many", async () => {
  let server;
  const proxy = await Proxy.start(() => server.port);
  running.push(() => proxy.stop());
  server = await start({
    CORECAST_ADMIN_DEMO_WEBSOCKET: `ws://127.0.0.1:${proxy.port}/connection/websocket`,
    CORECAST_ROUTER_KEPT_MESSAGES: "20",
    CORECAST_LIMITS_RECENT_MESSAGES: "20",
  });
  const ada = await Person.arrive(browser, server.page, "Ada");
  await server.say("lobby", "Linus", 1, 5);
  await ada.sees("message 5");
  proxy.cut();
  await ada.disconnected();
  await server.say("lobby", "Linus", 6, 60);
  proxy.heal();
  await ada.connected();
  await ada.page.locator(".divider", { hasText: "35 messages missed here" }).waitFor();
  const kept = Array.from({ length: 20 }, (_, index) => `message ${index + 41}`);
  const expected = [...Array.from({ length: 5 }, (_, index) => `message ${index + 1}`), ...kept];
  assert.deepEqual(await ada.texts(), expected);
  await ada.page.locator(".divider").scrollIntoViewIfNeeded();
  await ada.screenshot("gap-desktop.png");
  ada.unharmed();
});
