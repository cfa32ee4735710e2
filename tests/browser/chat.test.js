// Claim: people who open the demo page chat with each other: every message arrives once, in order, as it was written.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { PHONE, Person, launch, until } from "./lib/chromium.js";
import { Corecast } from "./lib/corecast.js";

let browser;
let server;

before(async () => {
  server = await Corecast.start();
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

test("two people chat, on a desktop and on a phone", async () => {
  const ada = await Person.arrive(browser, server.page, "Ada");
  const grace = await Person.arrive(browser, server.page, "Grace", { ...PHONE, colorScheme: "dark" });
  await ada.members(2);
  await grace.members(2);

  const conversation = [
    [ada, "Hello! Did the new gateway survive the night?"],
    [grace, "It did. Not one message lost, and not one member noticed the restart at three."],
    [ada, "And the slowest message?"],
    [grace, "4.1 ms. I measured it again with the other client, because I did not believe it either."],
    [ada, "<img src=x onerror=alert(1)> <b>not bold</b> & “quotes”"],
    [grace, "Zwölf Boxkämpfer\njagen Viktor"],
  ];
  for (const [author, text] of conversation) {
    await author.write(text);
    await ada.sees(text);
    await grace.sees(text);
  }
  assert.deepEqual(await ada.texts(), conversation.map(([, text]) => text));
  assert.deepEqual(await grace.texts(), conversation.map(([, text]) => text));
  assert.equal(await ada.page.locator(".message.own").count(), 3);
  await ada.screenshot("chat-desktop.png");
  await grace.screenshot("chat-phone.png");
  ada.unharmed();
  grace.unharmed();
  await ada.page.context().close();
  await grace.page.context().close();
});

test("several chats stay apart, and what was not read is counted", async () => {
  const ada = await Person.arrive(browser, `${server.page}#first`, "Ada");
  const grace = await Person.arrive(browser, `${server.page}#first`, "Grace", PHONE);
  await ada.open("second");
  await grace.write("for the first chat");
  const first = ada.page.getByRole("navigation").getByRole("button", { name: "first" });
  await first.locator(".badge", { hasText: "1" }).waitFor();
  assert.deepEqual(await ada.texts(), [], "the second chat shows a message of the first");
  await ada.screenshot("chats-desktop.png");
  await first.click();
  await ada.sees("for the first chat");
  assert.equal(await first.locator(".badge").count(), 0);

  await grace.page.getByLabel("All chats").tap();
  await grace.page.getByRole("navigation").getByText("first", { exact: true }).waitFor();
  await grace.screenshot("chats-phone.png");

  await ada.page.getByLabel("Leave this chat").click();
  await ada.page.locator("#room-title", { hasText: "second" }).waitFor();
  await until(() => first.count(), (count) => count === 0, "the chat that was left is still listed");
  ada.unharmed();
  grace.unharmed();
  await ada.page.context().close();
  await grace.page.context().close();
});

test("a newcomer scrolls back to the first message of a long chat", async () => {
  await server.say("long", "Linus", 1, 180);
  const ada = await Person.arrive(browser, `${server.page}#long`, "Ada");
  await ada.sees("message 180");
  assert.ok((await ada.texts()).length < 180, "all of the history was fetched at once");

  const scroll = ada.page.locator("#scroll");
  await until(
    async () => {
      await scroll.evaluate((element) => element.scrollTo({ top: 0 }));
      return ada.texts();
    },
    (texts) => texts[0] === "message 1",
    "the first message did not come",
  );
  const expected = Array.from({ length: 180 }, (_, index) => `message ${index + 1}`);
  assert.deepEqual(await ada.texts(), expected);
  await ada.page.getByText("The chat begins here").waitFor();
  await ada.screenshot("history-desktop.png");

  // Reading the past, one stays where one is when something new comes.
  const top = () => scroll.evaluate((element) => element.scrollTop);
  const place = await top();
  await server.say("long", "Linus", 181, 183);
  await ada.page.getByRole("button", { name: "3 new messages" }).waitFor();
  assert.equal(await top(), place);
  await ada.page.getByRole("button", { name: "3 new messages" }).click();
  await ada.page.locator("#jump").waitFor({ state: "hidden" });
  ada.unharmed();
  await ada.page.context().close();
});

test("what other clients publish is shown as it is, whatever it is", async () => {
  const ada = await Person.arrive(browser, `${server.page}#strange`, "Ada");
  const strange = [{ t: "hi" }, "<script>alert(1)</script>", 42, null, [1, [2]], { text: "a", name: 5, at: "x", id: {} }];
  for (const data of strange) await server.api("publish", { channel: "strange", data });
  const texts = await until(() => ada.texts(), (texts) => texts.length === strange.length, "not all of them are shown");
  assert.deepEqual(texts, ['{"t":"hi"}', '"<script>alert(1)</script>"', "42", "null", "[1,[2]]", "a"]);
  ada.unharmed();
  await ada.page.context().close();
});

test("everything can be done with a keyboard and has a name", async () => {
  const context = await browser.newContext();
  const ada = new Person(await context.newPage(), "Ada");
  await ada.page.goto(`${server.page}#keys`);
  await ada.page.keyboard.type("Ada");
  await ada.page.keyboard.press("Enter");
  await ada.connected();
  await ada.page.keyboard.type("written without a mouse");
  await ada.page.keyboard.press("Enter");
  await ada.sees("written without a mouse");
  const nameless = await ada.page.evaluate(() =>
    [...document.querySelectorAll("button, input, textarea")]
      .filter((element) => !(element.ariaLabel || element.textContent.trim() || element.labels?.[0]?.textContent.trim()))
      .map((element) => element.id),
  );
  assert.deepEqual(nameless, []);
  ada.unharmed();
  await context.close();
});

test("a server that wants tokens is told apart, and a token lets one in", async () => {
  const secret = "a secret of at least thirty-two bytes";
  const closed = await Corecast.start({ CORECAST_AUTH_ANONYMOUS: "false", CORECAST_AUTH_TOKEN_SECRET: secret });
  try {
    const context = await browser.newContext();
    const ada = new Person(await context.newPage(), "Ada");
    await ada.page.goto(closed.page);
    await ada.page.getByRole("textbox", { name: "Your name" }).fill("Ada");
    await ada.page.keyboard.press("Enter");
    await ada.page.locator("#notice", { hasText: "The server ended the connection" }).waitFor();
    await ada.page.getByRole("button", { name: "Enter a token" }).click();
    await ada.page.getByLabel("Token for connecting").fill(await closed.token("ada"));
    await ada.screenshot("token-desktop.png");
    await ada.page.keyboard.press("Enter");
    await ada.connected();
    await ada.write("with a token");
    await ada.sees("with a token");
    ada.unharmed();
    await context.close();
  } finally {
    await closed.stop();
  }
});

test("the page allows itself nothing but its own files and one socket", async () => {
  const response = await fetch(server.page);
  const policy = response.headers.get("content-security-policy");
  assert.match(policy, /default-src 'none'/);
  assert.match(policy, /script-src 'self';/);
  assert.match(policy, new RegExp(`connect-src ws://127\\.0\\.0\\.1:${server.port};`));
  assert.doesNotMatch(policy, /unsafe|\*/);
  assert.equal(response.headers.get("x-content-type-options"), "nosniff");

  const ada = await Person.arrive(browser, `${server.page}#policy`, "Ada");
  const refused = await ada.page.evaluate(async () => {
    const image = new Image();
    const loaded = new Promise((resolve) => {
      image.onload = () => resolve("loaded");
      image.onerror = () => resolve("refused");
    });
    image.src = "data:image/gif;base64,R0lGODlhAQABAAAAACw=";
    return [await loaded, await fetch("/metrics").then(() => "fetched", () => "refused")];
  });
  assert.deepEqual(refused, ["refused", "refused"]);
  await ada.page.context().close();
});
