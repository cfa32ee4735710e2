// Claim: only a client with a good token gets in, and one whose token ran out gets in with the next one.

import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { WebSocket } from "ws";
import { ENCODINGS, client, connected, next } from "./lib/client.js";
import { keyPairs, now, token } from "./lib/jwt.js";
import { Server, WITH_TOKENS } from "./lib/server.js";

let server;
before(async () => {
  server = await Server.start({ config: WITH_TOKENS });
});
after(() => server.dispose());

for (const encoding of ENCODINGS) {
  describe(encoding.name, () => {
    test("a good token connects and names the connection", async (t) => {
      const centrifuge = client(t, encoding, server.url, { token: token({ sub: "alice" }) });
      const ready = next(centrifuge, "connected");
      centrifuge.connect();
      const context = await ready;
      assert.equal(context.transport, "websocket");
      assert.match(context.client, /^[\w-]{8,}$/);
    });

    test("two connections have two ids", async (t) => {
      const ids = [];
      for (let index = 0; index < 2; index += 1) {
        const centrifuge = client(t, encoding, server.url, { token: token({ sub: "alice" }) });
        const ready = next(centrifuge, "connected");
        centrifuge.connect();
        ids.push((await ready).client);
      }
      assert.notEqual(ids[0], ids[1]);
    });

    const wrong = {
      "a wrong signature": () => token({ sub: "root" }, { secret: "another secret" }),
      "algorithm none": () => token({ sub: "root" }, { header: { alg: "none" } }),
      "garbage": () => "x".repeat(8 * 1024),
      "a subscription token": () => token({ sub: "root", channel: "chat" }),
    };
    for (const [name, make] of Object.entries(wrong)) {
      test(`${name} ends the client for good, and its subscribe is not answered`, async (t) => {
        const centrifuge = client(t, encoding, server.url, { token: make(), getToken: assert.fail });
        const subscription = centrifuge.newSubscription("open:connect");
        subscription.on("subscribed", () => assert.fail("subscribed"));
        subscription.subscribe();
        const ended = next(centrifuge, "disconnected");
        centrifuge.connect();
        const { code, reason } = await ended;
        assert.deepEqual({ code, reason }, { code: 3500, reason: "invalid token" });
        assert.equal(centrifuge.state, "disconnected");
      });
    }

    test("no token ends the client for good", async (t) => {
      const centrifuge = client(t, encoding, server.url);
      const ended = next(centrifuge, "disconnected");
      centrifuge.connect();
      assert.equal((await ended).code, 101);
    });

    test("an expired token makes the SDK fetch another one", async (t) => {
      let calls = 0;
      const centrifuge = await connected(t, encoding, server.url, {
        token: token({ sub: "alice", exp: now() - 10 }),
        getToken: async () => {
          calls += 1;
          return token({ sub: "alice" });
        },
      });
      assert.equal(calls, 1);
      assert.equal(centrifuge.state, "connected");
    });

    test("the same token serves every reconnect", async (t) => {
      const proxy = await server.proxy();
      t.after(() => proxy.dispose());
      const centrifuge = await connected(t, encoding, proxy.url, {
        token: token({ sub: "alice", jti: "once" }),
        getToken: assert.fail,
      });
      for (let round = 0; round < 3; round += 1) {
        const again = next(centrifuge, "connected");
        proxy.cut();
        proxy.heal();
        await again;
      }
    });

    test("the first frame carries connect and 100 subscribes with tokens", async (t) => {
      const centrifuge = client(t, encoding, server.url, { token: token({ sub: "alice" }) });
      const names = Array.from({ length: 100 }, (_, index) => `private:${index}`);
      const all = names.map((channel) => {
        const subscription = centrifuge.newSubscription(channel, {
          token: token({ sub: "alice", channel, info: { padding: "x".repeat(100) } }),
        });
        subscription.subscribe();
        return next(subscription, "subscribed");
      });
      centrifuge.connect();
      await Promise.all(all);
    });

    test("a page that is not on the list is refused before the upgrade", async (t) => {
      class Page extends WebSocket {
        constructor(url, protocols) {
          super(url, protocols, { origin: "https://evil.example" });
          this.on("unexpected-response", (_, response) => {
            status(response.statusCode);
            response.destroy();
            this.emit("error", new Error("refused"));
            this.emit("close", 1006, Buffer.alloc(0));
          });
        }
      }
      let status;
      const refused = new Promise((resolve) => (status = resolve));
      const centrifuge = client(t, encoding, server.url, { token: token({ sub: "alice" }), websocket: Page });
      centrifuge.on("connected", () => assert.fail("connected"));
      centrifuge.connect();
      assert.equal(await refused, 403);
    });
  });
}

test("keys of every kind, chosen by id and never by what the token says of itself", async (t) => {
  const pairs = keyPairs();
  const config = async (folder) => {
    const keys = await Promise.all(
      Object.entries(pairs).map(async ([algorithm, { pem }]) => {
        const file = path.join(folder, `${algorithm}.pem`);
        await writeFile(file, pem);
        return `key-${algorithm}@${algorithm}:${file}`;
      }),
    );
    return WITH_TOKENS.replace("[auth]", `[auth]\ntoken_keys = ${JSON.stringify(keys)}`);
  };
  const own = await Server.start({ config });
  t.after(() => own.dispose());
  const [encoding] = ENCODINGS;
  const outcome = async (jwt) => {
    const centrifuge = client(t, encoding, own.url, { token: jwt });
    const outcome = new Promise((resolve) => {
      centrifuge.on("connected", () => resolve("connected"));
      centrifuge.on("disconnected", ({ code }) => resolve(code));
    });
    centrifuge.connect();
    return outcome;
  };
  for (const [algorithm, pair] of Object.entries(pairs)) {
    assert.equal(await outcome(pair.token({ sub: "alice" }, { kid: `key-${algorithm}` })), "connected", algorithm);
    assert.equal(await outcome(pair.token({ sub: "alice" })), "connected", `${algorithm} without kid`);
    assert.equal(await outcome(pair.token({ sub: "root" }, { kid: "other" })), 3500, `${algorithm}, other kid`);
    const confused = token({ sub: "root" }, { secret: pair.pem, header: { kid: `key-${algorithm}` } });
    assert.equal(await outcome(confused), 3500, `${algorithm}: its public key as HS256 secret`);
  }
  assert.equal(await outcome(token({ sub: "alice" })), "connected", "the shared secret");
});
