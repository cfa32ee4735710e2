// A TCP proxy whose connections can be cut and refused for a while: a network that fails while both ends are well.

import { once } from "node:events";
import { connect, createServer } from "node:net";

export class Proxy {
  #server;
  #sockets = new Set();
  #open = true;

  /** `target()` is the port behind, asked for with each connection. */
  static async start(target) {
    const proxy = new Proxy();
    proxy.#server = createServer((near) => proxy.#join(near, target())).listen(0, "127.0.0.1");
    await once(proxy.#server, "listening");
    proxy.port = proxy.#server.address().port;
    return proxy;
  }

  /** Cuts everything and refuses new connections. */
  cut() {
    this.#open = false;
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  heal() {
    this.#open = true;
  }

  stop() {
    this.cut();
    this.#server.close();
  }

  #join(near, port) {
    if (!this.#open) return near.resetAndDestroy();
    const far = connect(port, "127.0.0.1");
    for (const [one, other] of [[near, far], [far, near]]) {
      this.#sockets.add(one);
      one.on("error", () => other.destroy());
      one.on("close", () => {
        this.#sockets.delete(one);
        other.destroy();
      });
      one.pipe(other);
    }
  }
}
