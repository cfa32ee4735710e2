// A TCP proxy that can cut all its connections and refuse new ones.

import net from "node:net";

export class Proxy {
  #server;
  #pairs = new Set();
  #refusing = false;

  /** Connections accepted so far, refused ones included. */
  accepted = 0;

  static async start(targetPort) {
    const proxy = new Proxy();
    proxy.#server = net.createServer((client) => proxy.#accept(client, targetPort));
    await new Promise((resolve) => proxy.#server.listen(0, "127.0.0.1", resolve));
    return proxy;
  }

  get url() {
    return `ws://127.0.0.1:${this.#server.address().port}/connection/websocket`;
  }

  /** Resets every connection on both sides and refuses new ones until `heal`. */
  cut() {
    this.#refusing = true;
    for (const pair of this.#pairs) {
      pair.forEach((socket) => socket.resetAndDestroy());
    }
  }

  heal() {
    this.#refusing = false;
  }

  async dispose() {
    this.cut();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #accept(client, targetPort) {
    this.accepted += 1;
    client.on("error", () => {});
    if (this.#refusing) {
      client.resetAndDestroy();
      return;
    }
    const server = net.connect(targetPort, "127.0.0.1");
    const pair = [client, server];
    this.#pairs.add(pair);
    for (const [from, to] of [pair, [server, client]]) {
      from.setNoDelay(true);
      from.on("error", () => to.destroy());
      from.on("close", () => {
        this.#pairs.delete(pair);
        to.destroy();
      });
      from.pipe(to);
    }
  }
}
