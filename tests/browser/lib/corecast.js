// A `corecast standalone` process on free ports of this machine, which can be killed and started again on the same ones.

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";

const BINARY = process.env.CORECAST_BIN;
const START_MS = 20_000;
const API_KEY = "browser-tests";

export class Corecast {
  #child = null;
  #env;
  #log = [];

  /** `settings` are environment variables of the server, such as CORECAST_ADMIN_DEMO_WEBSOCKET. */
  static async start(settings = {}) {
    if (!BINARY) throw new Error("CORECAST_BIN must be the path of the corecast binary");
    const server = new Corecast();
    server.port = await freePort();
    server.adminPort = await freePort();
    const { PATH, HOME } = process.env;
    server.#env = { PATH, HOME, ...settings };
    await server.run();
    return server;
  }

  get page() {
    return `http://127.0.0.1:${this.adminPort}/`;
  }

  get websocket() {
    return `ws://127.0.0.1:${this.port}/connection/websocket`;
  }

  /** Starts the process and waits until it is ready. */
  async run() {
    const addresses = ["--listen", `127.0.0.1:${this.port}`, "--admin", `127.0.0.1:${this.adminPort}`];
    const args = ["standalone", ...addresses, "--api-key", API_KEY];
    const child = spawn(BINARY, args, { env: this.#env, stdio: ["ignore", "pipe", "pipe"] });
    this.#child = child;
    child.stdout.on("data", (data) => this.#log.push(data));
    child.stderr.on("data", (data) => this.#log.push(data));
    const deadline = Date.now() + START_MS;
    while (Date.now() < deadline) {
      if (child.exitCode !== null) break;
      const ready = await fetch(`${this.page}readyz`).then((response) => response.ok, () => false);
      if (ready) return;
      await sleep(50);
    }
    throw new Error(`corecast did not become ready:\n${Buffer.concat(this.#log)}`);
  }

  /** Ends the process; SIGKILL is what a crash looks like from outside. */
  async stop(signal = "SIGKILL") {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, "exit");
    child.kill(signal);
    await exited;
  }

  /** A token that this server accepts. */
  async token(user) {
    const { stdout } = await promisify(execFile)(BINARY, ["gentoken", "--user", user], { env: this.#env });
    return stdout.trim();
  }

  async api(method, body) {
    const headers = { "X-API-Key": API_KEY };
    const response = await fetch(`${this.page}api/${method}`, { method: "POST", headers, body: JSON.stringify(body) });
    const answer = await response.json();
    if (answer.error) throw new Error(`${method}: ${JSON.stringify(answer.error)}`);
    return answer.result;
  }

  /** Publishes numbered messages, one after the other, as a page would write them. */
  async say(channel, from, first, last) {
    for (let number = first; number <= last; number += 1) {
      const data = { id: `${from}-${number}`, from, name: from, text: `message ${number}`, at: Date.now() };
      await this.api("publish", { channel, data });
    }
  }
}

export async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}
