// A corecast process of the test's own: free ports, its configuration in a scratch folder, gone at the end.

import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { Proxy } from "./proxy.js";

export const API_KEY = "test-api-key";

/** The HMAC secret of the tests' tokens. */
export const SECRET = "a test secret that protects nothing, 32 bytes or more";

const START_DEADLINE_MS = 20_000;
const STOP_DEADLINE_MS = 40_000;

const BINARY = process.env.CORECAST_BIN;
if (!BINARY) {
  throw new Error("CORECAST_BIN must be the path of the corecast binary");
}

/**
 * Settings under which users need tokens and may do everything in `open:*`; other chats need a subscription token. Two
 * cores, so that connections of one chat meet across cores.
 */
export const WITH_TOKENS = `
[gateway]
cores = 2

[auth]
anonymous = false
ignore_tokens_without_keys = false
token_secret = ${JSON.stringify(SECRET)}
allowed_origins = ["https://app.example"]

[users]
subscribe = ["open:*"]
publish = ["open:*"]
history = ["open:*"]
presence = ["open:*"]
`;

export class Server {
  #folder;
  #process;
  #exited;
  #log = "";

  /** Starts `corecast standalone` and waits until it is ready. `config` is TOML, or makes it from the scratch folder. */
  static async start({ config = "" } = {}) {
    const server = new Server();
    server.#folder = await mkdtemp(path.join(os.tmpdir(), "corecast-sdk-"));
    server.configPath = path.join(server.#folder, "corecast.toml");
    await writeFile(server.configPath, typeof config === "function" ? await config(server.#folder) : config);
    server.port = await freePort();
    server.adminPort = await freePort();
    await server.launch();
    return server;
  }

  /** Starts the process on the same ports again, after it has ended. */
  async launch() {
    this.#log = "";
    this.#process = spawn(
      BINARY,
      [
        "standalone",
        "--listen", `127.0.0.1:${this.port}`,
        "--admin", `127.0.0.1:${this.adminPort}`,
        "--api-key", API_KEY,
        "--config", this.configPath,
      ],
      { stdio: ["ignore", "pipe", "pipe"] },
    );
    const child = this.#process;
    const abandon = () => child.kill("SIGKILL"); // should the test file end early
    process.once("exit", abandon);
    child.once("exit", () => process.off("exit", abandon));
    this.#exited = new Promise((resolve) => this.#process.once("exit", (code, signal) => resolve({ code, signal })));
    for (const stream of [this.#process.stdout, this.#process.stderr]) {
      stream.on("data", (chunk) => (this.#log += chunk));
    }
    await this.#ready();
  }

  get url() {
    return `ws://127.0.0.1:${this.port}/connection/websocket`;
  }

  /** Ends the process with `signal`; resolves to its exit code and the signal that killed it. */
  async end(signal) {
    this.#process.kill(signal);
    return within(STOP_DEADLINE_MS, this.#exited, () => `still running after ${signal}:\n${this.#log}`);
  }

  /** Sends a signal without waiting. */
  signal(signal) {
    this.#process.kill(signal);
  }

  get exited() {
    return this.#exited;
  }

  /** For the end of a test: no process and no folder stays. */
  async dispose() {
    if (this.#process.exitCode === null && this.#process.signalCode === null) {
      this.#process.kill("SIGKILL");
      await this.#exited;
    }
    await rm(this.#folder, { recursive: true, force: true });
  }

  /** A method of the server API; resolves to its `result`. */
  async api(method, body) {
    const answer = await this.apiAnswer(method, body);
    if (answer.error) {
      throw new Error(`${method}: ${JSON.stringify(answer.error)}`);
    }
    return answer.result;
  }

  async apiAnswer(method, body) {
    const response = await fetch(`http://127.0.0.1:${this.adminPort}/api/${method}`, {
      method: "POST",
      headers: { "X-API-Key": API_KEY, "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
    if (!response.ok) {
      throw new Error(`${method}: HTTP ${response.status} ${await response.text()}`);
    }
    return response.json();
  }

  publish(channel, data) {
    return this.api("publish", { channel, data });
  }

  /** A proxy in front of the WebSocket port, to cut connections with. */
  proxy() {
    return Proxy.start(this.port);
  }

  async #ready() {
    const deadline = Date.now() + START_DEADLINE_MS;
    let last;
    while (Date.now() < deadline) {
      if (this.#process.exitCode !== null) {
        throw new Error(`corecast ended with ${this.#process.exitCode}:\n${this.#log}`);
      }
      try {
        const response = await fetch(`http://127.0.0.1:${this.adminPort}/readyz`);
        if (response.ok) {
          return;
        }
        last = `HTTP ${response.status}`;
      } catch (error) {
        last = error.message;
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error(`corecast is not ready (${last}):\n${this.#log}`);
  }
}

/** Rejects when `promise` takes longer; the message is computed only then. */
export async function within(ms, promise, message) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(message())), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

async function freePort() {
  const probe = net.createServer();
  await new Promise((resolve, reject) => probe.once("error", reject).listen(0, "127.0.0.1", resolve));
  const { port } = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  return port;
}
