// Claim: connections and subscriptions live exactly as long as their tokens, which the SDK renews by itself.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ENCODINGS, bodies, client, connected, next, publications, subscribed, until } from "./lib/client.js";
import { now, token } from "./lib/jwt.js";
import { Server, WITH_TOKENS } from "./lib/server.js";

let server;
before(async () => {
  server = await Server.start({ config: `${WITH_TOKENS}\n[timing]\nexpiry_grace = "2s"\n` });
});
after(() => server.dispose());

/** Seconds that a short-lived token lives. */
const SHORT = 3;

for (const encoding of ENCODINGS) {
  describe(encoding.name, { concurrency: true }, () => {
    const channel = (name) => `private:${encoding.name}:${name}`;
    const alice = () => ({ token: token({ sub: "alice" }) });

    test("refresh keeps a connection", async (t) => {
      let calls = 0;
      const centrifuge = await connected(t, encoding, server.url, {
        token: token({ sub: "alice", exp: now() + SHORT }),
        getToken: async () => {
          calls += 1;
          return token({ sub: "alice", exp: now() + SHORT });
        },
      });
      centrifuge.on("connecting", ({ code, reason }) => assert.fail(`lost: ${code} ${reason}`));
      await until(() => calls >= 2, () => `two refreshes, only ${calls}`);
      await centrifuge.presenceStats("open:refresh");
      assert.equal(centrifuge.state, "connected");
    });

    test("without a refresh the connection ends after the grace period, and the next token reconnects it", async (t) => {
      let stalled = true;
      const centrifuge = await connected(t, encoding, server.url, {
        token: token({ sub: "alice", exp: now() + SHORT }),
        // Errors of getToken are temporary for the SDK: it keeps trying and does not refresh.
        getToken: async () => {
          if (stalled) {
            throw new Error("the application is down");
          }
          return token({ sub: "alice" });
        },
      });
      const lost = await next(centrifuge, "connecting");
      assert.deepEqual([lost.code, lost.reason], [3005, "connection expired"]);
      stalled = false;
      await next(centrifuge, "connected");
    });

    test("a refresh with a token of another user ends the client", async (t) => {
      const centrifuge = await connected(t, encoding, server.url, {
        token: token({ sub: "alice", exp: now() + SHORT }),
        getToken: async () => token({ sub: "bob" }),
      });
      assert.equal((await next(centrifuge, "disconnected")).code, 3500);
    });

    test("a subscription token opens a chat that is closed otherwise", async (t) => {
      const centrifuge = await connected(t, encoding, server.url, alice());
      const name = channel("open");
      const { log } = await subscribed(centrifuge, encoding, name, { token: token({ sub: "alice", channel: name }) });
      await server.publish(name, "secret");
      await publications(log, 1);
      assert.deepEqual(bodies(log), ["secret"]);
    });

    test("getToken of a subscription is asked for its first token", async (t) => {
      const centrifuge = await connected(t, encoding, server.url, alice());
      const name = channel("first");
      const asked = [];
      await subscribed(centrifuge, encoding, name, {
        getToken: async ({ channel: chat }) => {
          asked.push(chat);
          return token({ sub: "alice", channel: chat });
        },
      });
      assert.deepEqual(asked, [name]);
    });

    test("an expired subscription token makes the SDK fetch another one", async (t) => {
      const centrifuge = await connected(t, encoding, server.url, alice());
      const name = channel("expired");
      let calls = 0;
      await subscribed(centrifuge, encoding, name, {
        token: token({ sub: "alice", channel: name, exp: now() - 10 }),
        minResubscribeDelay: 50,
        maxResubscribeDelay: 200,
        getToken: async () => {
          calls += 1;
          return token({ sub: "alice", channel: name });
        },
      });
      assert.equal(calls, 1);
    });

    test("sub_refresh keeps a subscription without a gap", async (t) => {
      const centrifuge = await connected(t, encoding, server.url, alice());
      const name = channel("refresh");
      let calls = 0;
      const { log } = await subscribed(centrifuge, encoding, name, {
        token: token({ sub: "alice", channel: name, exp: now() + SHORT }),
        getToken: async () => {
          calls += 1;
          return token({ sub: "alice", channel: name, exp: now() + SHORT });
        },
      });
      await until(() => calls >= 2, () => `two refreshes, only ${calls}`);
      await server.publish(name, "still here");
      await publications(log, 1);
      const lost = log.events.filter(({ event }) => event === "unsubscribed" || event === "subscribing");
      assert.deepEqual(lost.slice(1), [], "subscribing happens once, at the beginning");
    });

    test("without a sub_refresh the subscription expires, and the next token renews it", async (t) => {
      const centrifuge = await connected(t, encoding, server.url, alice());
      const name = channel("lapsed");
      let stalled = true;
      const { subscription, log } = await subscribed(centrifuge, encoding, name, {
        token: token({ sub: "alice", channel: name, exp: now() + SHORT }),
        minResubscribeDelay: 50,
        maxResubscribeDelay: 200,
        getToken: async () => {
          if (stalled) {
            throw new Error("the application is down");
          }
          return token({ sub: "alice", channel: name });
        },
      });
      const lost = await next(subscription, "subscribing");
      assert.equal(lost.code, 2501);
      await server.publish(name, "missed");
      stalled = false;
      const context = await next(subscription, "subscribed");
      assert.equal(context.recovered, true);
      await publications(log, 1);
      assert.deepEqual(bodies(log), ["missed"]);
      assert.equal(centrifuge.state, "connected");
    });

    test("an invalid subscription token ends the subscription, not the connection", async (t) => {
      const centrifuge = await connected(t, encoding, server.url, alice());
      const name = channel("invalid");
      const bad = token({ sub: "alice", channel: name }, { secret: "another secret" });
      const subscription = centrifuge.newSubscription(name, { token: bad });
      const refused = next(subscription, "unsubscribed");
      subscription.subscribe();
      assert.equal((await refused).code, 103);
      assert.equal(centrifuge.state, "connected");
    });

    const stolen = {
      "another chat": () => token({ sub: "alice", channel: "private:other" }),
      "another user": (name) => token({ sub: "bob", channel: name }),
    };
    for (const [whose, make] of Object.entries(stolen)) {
      test(`a subscription token of ${whose} ends the client`, async (t) => {
        const centrifuge = client(t, encoding, server.url, alice());
        const name = channel("stolen");
        centrifuge.newSubscription(name, { token: make(name) }).subscribe();
        const ended = next(centrifuge, "disconnected");
        centrifuge.connect();
        assert.equal((await ended).code, 3500);
      });
    }
  });
}
