// Chromium as Debian installs it, and what a person does on the demo page.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";

import { chromium } from "playwright-core";

// Without these Chromium looks for hosts that a closed network refuses.
const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const WAIT_MS = 20_000;

export const DESKTOP = { viewport: { width: 1280, height: 820 } };
export const PHONE = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true };

export function launch() {
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
}

/** Where screenshots are left for people to look at; null if nobody wants them. */
function artefact(name) {
  const folder = process.env.CORECAST_ARTEFACTS;
  if (!folder) return null;
  mkdirSync(folder, { recursive: true });
  return join(folder, name);
}

/** One person with one tab. */
export class Person {
  constructor(page, name) {
    this.page = page;
    this.name = name;
    this.problems = [];
    page.setDefaultTimeout(WAIT_MS);
    page.on("pageerror", (error) => this.problems.push(error.message));
    page.on("console", (message) => {
      // A socket that cannot be opened is reported by Chromium itself, and wanted in these tests.
      if (message.type() === "error" && !message.text().includes("WebSocket connection to")) {
        this.problems.push(message.text());
      }
    });
  }

  static async arrive(browser, url, name, options = DESKTOP) {
    const context = await browser.newContext(options);
    const person = new Person(await context.newPage(), name);
    await person.page.goto(url);
    await person.page.getByRole("textbox", { name: "Your name" }).fill(name);
    await person.page.getByRole("button", { name: "Start chatting" }).click();
    await person.connected();
    return person;
  }

  /** Waits until the page says that it is connected and in its chat. */
  async connected() {
    await this.page.locator("#pill[data-state=connected]").waitFor({ state: "attached" });
    await this.page.locator("#room-state", { hasText: /member|live/ }).waitFor();
  }

  async disconnected() {
    await this.page.locator("#pill:not([data-state=connected])").waitFor({ state: "attached" });
  }

  async write(text) {
    await this.page.getByLabel("Message", { exact: true }).fill(text);
    await this.page.keyboard.press("Enter");
  }

  async open(chat) {
    await this.page.getByLabel("Open a chat by name").fill(chat);
    await this.page.keyboard.press("Enter");
    await this.page.locator("#room-title", { hasText: chat }).waitFor();
  }

  /** Waits until exactly one confirmed message with this text is shown. */
  async sees(text) {
    const bubble = this.page.locator(".message[data-state=sent] .bubble").getByText(text, { exact: true });
    await bubble.first().waitFor();
    assert.equal(await bubble.count(), 1, `${this.name} sees “${text}” more than once`);
  }

  /** The texts of all messages on the page, in order. */
  texts() {
    return this.page.locator(".message .bubble").allTextContents();
  }

  dividers() {
    return this.page.locator(".divider").allTextContents();
  }

  async members(number) {
    const text = `${number} member${number === 1 ? "" : "s"} here`;
    await this.page.locator("#room-state", { hasText: text }).waitFor();
  }

  async screenshot(name) {
    const path = artefact(name);
    if (path) await this.page.screenshot({ path, animations: "disabled" });
  }

  /** Nothing went wrong in the page: no exception, no error, nothing that its policy forbade. */
  unharmed() {
    assert.deepEqual(this.problems, [], `problems in the page of ${this.name}`);
  }
}

/** Waits for a condition on what `read` returns. */
export async function until(read, condition, what) {
  const deadline = Date.now() + WAIT_MS;
  let value;
  do {
    value = await read();
    if (condition(value)) return value;
    await new Promise((resolve) => setTimeout(resolve, 50));
  } while (Date.now() < deadline);
  assert.fail(`${what}; last seen: ${JSON.stringify(value)}`);
}
