// Claim: the chats in a connection token are subscribed by the server, deliver, and recover like any other.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ENCODINGS, bodies, client, next, offsets, publications, range, record, until } from "./lib/client.js";
import { token } from "./lib/jwt.js";
import { Server, WITH_TOKENS } from "./lib/server.js";

let server;
before(async () => {
  server = await Server.start({ config: WITH_TOKENS });
});
after(() => server.dispose());

for (const encoding of ENCODINGS) {
  describe(encoding.name, () => {
    const channel = (name) => `private:${encoding.name}:${name}`;

    /** A connected client and what its server-side subscriptions tell. */
    async function member(t, url, claims) {
      const centrifuge = client(t, encoding, url, { token: token({ sub: "alice", ...claims }) });
      const log = record(centrifuge, encoding);
      const ready = next(centrifuge, "connected");
      centrifuge.connect();
      await ready;
      return { centrifuge, log };
    }

    const subscriptions = (log) => log.events.filter(({ event }) => event === "subscribed");

    test("the claim channels subscribes and delivers", async (t) => {
      const names = [channel("a"), channel("b")];
      const { log } = await member(t, server.url, { channels: names });
      await until(() => subscriptions(log).length === 2, () => "two subscriptions");
      assert.deepEqual(subscriptions(log).map((context) => context.channel).sort(), names);
      for (const { positioned, recoverable } of subscriptions(log)) {
        assert.deepEqual([positioned, recoverable], [true, true]);
      }
      for (const name of names) {
        await server.publish(name, name);
      }
      await publications(log, 2);
      const seen = log.publications.map(({ channel: chat, data }) => [chat, data]).sort();
      assert.deepEqual(seen, names.map((name) => [name, name]));
    });

    test("the claim subs carries data to the client", async (t) => {
      const name = channel("data");
      const { log } = await member(t, server.url, { subs: { [name]: { data: { welcome: true } } } });
      await until(() => subscriptions(log).length === 1, () => "a subscription");
      assert.deepEqual(encoding.decode(subscriptions(log)[0].data), { welcome: true });
    });

    test("a server-side subscription recovers what was missed", async (t) => {
      const name = channel("recovery");
      const proxy = await server.proxy();
      t.after(() => proxy.dispose());
      const { centrifuge, log } = await member(t, proxy.url, { channels: [name] });
      await server.publish(name, 1);
      await publications(log, 1);
      const lost = next(centrifuge, "connecting");
      proxy.cut();
      await lost;
      for (const number of range(2, 11)) {
        await server.publish(name, number);
      }
      const back = next(centrifuge, "subscribed");
      proxy.heal();
      const context = await back;
      assert.equal(context.wasRecovering, true);
      assert.equal(context.recovered, true);
      await server.publish(name, 12);
      await publications(log, 12);
      assert.deepEqual(bodies(log), range(1, 12));
      assert.deepEqual(offsets(log), range(1, 12));
    });
  });
}
