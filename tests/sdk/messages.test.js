// Claim: who is subscribed gets every message once, in order, as it was sent; who is not gets none.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ENCODINGS, bodies, connected, eventually, next, offsets, publications, range, subscribed } from "./lib/client.js";
import { token } from "./lib/jwt.js";
import { Server, WITH_TOKENS } from "./lib/server.js";

const [JSON_ENCODING, PROTOBUF] = ENCODINGS;

let server;
before(async () => {
  server = await Server.start({ config: WITH_TOKENS });
});
after(() => server.dispose());

const as = (user) => ({ token: token({ sub: user }) });

for (const encoding of ENCODINGS) {
  describe(encoding.name, () => {
    const channel = (name) => `open:${encoding.name}:${name}`;

    test("a fresh subscription is positioned and recoverable", async (t) => {
      const centrifuge = await connected(t, encoding, server.url, as("alice"));
      const { context } = await subscribed(centrifuge, encoding, channel("fresh"));
      assert.equal(context.positioned, true);
      assert.equal(context.recoverable, true);
      assert.equal(context.wasRecovering, false);
      assert.equal(context.recovered, false);
      assert.equal(context.streamPosition.offset, 0);
      assert.notEqual(context.streamPosition.epoch, "");
      assert.notEqual(context.streamPosition.epoch, "_");
    });

    test("a message reaches its sender and another member", async (t) => {
      const alice = await connected(t, encoding, server.url, as("alice"));
      const bob = await connected(t, encoding, server.url, as("bob"));
      const name = channel("pair");
      const ours = await subscribed(alice, encoding, name);
      const theirs = await subscribed(bob, encoding, name);
      await ours.subscription.publish(encoding.encode({ text: "hi" }));
      await bob.publish(name, encoding.encode({ text: "hello" }));
      for (const { log } of [ours, theirs]) {
        await publications(log, 2);
        assert.deepEqual(log.publications.map(({ offset, data }) => [offset, data.text]), [[1, "hi"], [2, "hello"]]);
      }
    });

    test("many senders: every member sees one order without a hole", async (t) => {
      const name = channel("many");
      const members = [];
      for (const user of ["a", "b", "c"]) {
        const centrifuge = await connected(t, encoding, server.url, as(user));
        members.push(await subscribed(centrifuge, encoding, name));
      }
      const each = 100;
      await Promise.all(
        members.flatMap(({ subscription }, sender) =>
          range(1, each).map((number) => subscription.publish(encoding.encode({ sender, number }))),
        ),
      );
      for (const { log } of members) {
        await publications(log, each * members.length);
        assert.deepEqual(offsets(log), range(1, each * members.length));
        assert.deepEqual(bodies(log), bodies(members[0].log));
        for (const sender of members.keys()) {
          const own = bodies(log).filter((body) => body.sender === sender).map(({ number }) => number);
          assert.deepEqual(own, range(1, each), "one sender's messages keep their order");
        }
      }
    });

    test("bodies of every kind arrive as they were sent", async (t) => {
      const centrifuge = await connected(t, encoding, server.url, as("alice"));
      const { subscription, log } = await subscribed(centrifuge, encoding, channel("bodies"));
      const sent = [
        null, true, 0, -1.5e-7, "", "é\u2028\u0000\"\\\n😀", [], {}, [[[]]], { "": 1, "\n": "\n" },
        "x".repeat(100_000), { a: range(1, 1000) },
      ];
      for (const body of sent) {
        await subscription.publish(encoding.encode(body));
      }
      await publications(log, sent.length);
      assert.deepEqual(bodies(log), sent);
    });

    test("the server API publishes to members and tells the offset", async (t) => {
      const centrifuge = await connected(t, encoding, server.url, as("alice"));
      const { log, context } = await subscribed(centrifuge, encoding, channel("api"));
      const result = await server.publish(channel("api"), { from: "server" });
      assert.deepEqual(result, { offset: 1, epoch: context.streamPosition.epoch });
      await publications(log, 1);
      assert.deepEqual(log.publications[0].data, { from: "server" });
    });

    test("history by limit, direction and position", async (t) => {
      const centrifuge = await connected(t, encoding, server.url, as("alice"));
      const { subscription, context } = await subscribed(centrifuge, encoding, channel("history"));
      const { epoch } = context.streamPosition;
      for (const number of range(1, 5)) {
        await subscription.publish(encoding.encode(number));
      }
      const history = async (options) => {
        const result = await subscription.history(options);
        assert.equal(result.epoch, epoch);
        assert.equal(result.offset, 5);
        for (const { offset, data } of result.publications) {
          assert.equal(encoding.decode(data), offset, "the body of this offset");
        }
        return result.publications.map(({ offset }) => offset);
      };
      assert.deepEqual(await history({}), []);
      assert.deepEqual(await history({ limit: 100 }), [1, 2, 3, 4, 5]);
      assert.deepEqual(await history({ limit: 2 }), [1, 2]);
      assert.deepEqual(await history({ limit: 2, reverse: true }), [5, 4]);
      assert.deepEqual(await history({ limit: 100, since: { offset: 3, epoch } }), [4, 5]);
      assert.deepEqual(await history({ limit: 100, since: { offset: 3, epoch }, reverse: true }), [2, 1]);
      assert.deepEqual(await history({ limit: 100, since: { offset: 5, epoch } }), []);
      const other = subscription.history({ limit: 100, since: { offset: 3, epoch: "other" } });
      await assert.rejects(other, { code: 112 });
    });

    test("presence stats count connections and users", async (t) => {
      const name = channel("presence");
      const alice = await connected(t, encoding, server.url, as("alice"));
      const again = await connected(t, encoding, server.url, as("alice"));
      const { subscription } = await subscribed(alice, encoding, name);
      assert.equal((await subscription.presenceStats()).numClients, 1, "who asks is counted at once");
      await subscribed(again, encoding, name);
      // Counts of other cores reach the router a moment later.
      const stats = await eventually(() => subscription.presenceStats(), ({ numClients }) => numClients === 2);
      assert.ok(stats.numUsers >= 1 && stats.numUsers <= 2, `users: ${stats.numUsers}`);
      again.disconnect();
      await eventually(() => subscription.presenceStats(), ({ numClients }) => numClients === 1);
    });

    test("after unsubscribing nothing more comes, and subscribing again works", async (t) => {
      const centrifuge = await connected(t, encoding, server.url, as("alice"));
      const name = channel("leave");
      const { subscription, log } = await subscribed(centrifuge, encoding, name);
      await server.publish(name, 1);
      await publications(log, 1);
      const members = (count) =>
        eventually(() => server.api("presence_stats", { channel: name }), ({ num_clients }) => num_clients === count);
      await members(1);
      const left = next(subscription, "unsubscribed");
      subscription.unsubscribe();
      assert.equal((await left).code, 0);
      await members(0);
      await server.publish(name, 2);
      // What comes later on the same connection proves that nothing of the chat came before it.
      const other = await subscribed(centrifuge, encoding, channel("leave-other"));
      await server.publish(channel("leave-other"), 1);
      await publications(other.log, 1);
      assert.deepEqual(bodies(log), [1]);

      const back = next(subscription, "subscribed");
      subscription.subscribe();
      await back;
      await server.publish(name, 3);
      await publications(log, 3);
      assert.deepEqual(bodies(log), [1, 2, 3], "the SDK keeps its position and recovers");
      assert.equal(centrifuge.state, "connected");
    });

    test("what is not allowed is answered with an error, and the connection stays", async (t) => {
      const centrifuge = await connected(t, encoding, server.url, as("alice"));
      await assert.rejects(centrifuge.publish("private:x", encoding.encode(1)), { code: 103 });
      await assert.rejects(centrifuge.history("private:x", { limit: 1 }), { code: 103 });
      await assert.rejects(centrifuge.presenceStats("private:x"), { code: 103 });
      const subscription = centrifuge.newSubscription("private:x");
      const refused = next(subscription, "unsubscribed");
      subscription.subscribe();
      assert.equal((await refused).code, 103);
      await assert.rejects(centrifuge.rpc("method", encoding.encode({})), (error) => [104, 108].includes(error.code));
      assert.equal(centrifuge.state, "connected");
    });

    test("connections live through pings", async (t) => {
      const quick = await Server.start({ config: `${WITH_TOKENS}\n[timing]\nping = "1s"\npong = "500ms"\n` });
      t.after(() => quick.dispose());
      const centrifuge = await connected(t, encoding, quick.url, { ...as("alice"), maxServerPingDelay: 1000 });
      const { log } = await subscribed(centrifuge, encoding, channel("pings"));
      centrifuge.on("connecting", ({ code, reason }) => assert.fail(`lost: ${code} ${reason}`));
      // Long enough for three pings; without pongs the server, without pings the client would have given up.
      await new Promise((resolve) => setTimeout(resolve, 4_000));
      await quick.publish(channel("pings"), "still here");
      await publications(log, 1);
      assert.equal(centrifuge.state, "connected");
    });
  });
}

test("members with different encodings see the same chat", async (t) => {
  const name = "open:mixed";
  const first = await connected(t, JSON_ENCODING, server.url, as("json"));
  const second = await connected(t, PROTOBUF, server.url, as("protobuf"));
  const one = await subscribed(first, JSON_ENCODING, name);
  const two = await subscribed(second, PROTOBUF, name);
  await one.subscription.publish({ from: "json" });
  // Line breaks between tokens are legal and would split a JSON frame.
  await two.subscription.publish(new TextEncoder().encode('{\n  "from":\n\t"protobuf"\n}'));
  for (const { log } of [one, two]) {
    await publications(log, 2);
    assert.deepEqual(bodies(log), [{ from: "json" }, { from: "protobuf" }]);
    assert.deepEqual(offsets(log), [1, 2]);
  }
});

test("a Protobuf client cannot break JSON members", async (t) => {
  const name = "open:hostile";
  const victim = await connected(t, JSON_ENCODING, server.url, as("json"));
  const { log } = await subscribed(victim, JSON_ENCODING, name);
  victim.on("connecting", ({ code, reason }) => assert.fail(`lost: ${code} ${reason}`));
  const sender = await connected(t, PROTOBUF, server.url, as("protobuf"));
  const bytes = (text) => new TextEncoder().encode(text);
  for (const body of [bytes("not json"), bytes(""), bytes('{"a":'), bytes("{}\n{}"), new Uint8Array([0xff, 0, 1])]) {
    await assert.rejects(sender.publish(name, body), { code: 107 });
  }
  await sender.publish(name, bytes('"good"'));
  await publications(log, 1);
  assert.deepEqual(bodies(log), ["good"]);
});
