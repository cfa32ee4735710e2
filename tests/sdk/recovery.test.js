// Claim: after a lost connection a member gets exactly what it missed, in order, or is told that it cannot.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ENCODINGS, bodies, connected, next, offsets, publications, range, subscribed } from "./lib/client.js";
import { token } from "./lib/jwt.js";
import { Server, WITH_TOKENS } from "./lib/server.js";

/** Most messages that one recovery returns; more missed means "not recoverable". */
const RECOVERY_MESSAGES = 300;

let server;
before(async () => {
  server = await Server.start({ config: WITH_TOKENS });
});
after(() => server.dispose());

for (const encoding of ENCODINGS) {
  describe(encoding.name, () => {
    const channel = (name) => `open:${encoding.name}:${name}`;

    /** A member behind a proxy that has seen message 1. */
    async function member(t, name) {
      const proxy = await server.proxy();
      t.after(() => proxy.dispose());
      const centrifuge = await connected(t, encoding, proxy.url, { token: token({ sub: "alice" }) });
      const state = await subscribed(centrifuge, encoding, name);
      await server.publish(name, 1);
      await publications(state.log, 1);
      return { proxy, centrifuge, ...state };
    }

    async function cut({ proxy, subscription }) {
      const lost = next(subscription, "subscribing");
      proxy.cut();
      await lost;
    }

    function heal({ proxy, subscription }) {
      const back = next(subscription, "subscribed");
      proxy.heal();
      return back;
    }

    test("exactly the missed messages, in order, then the live ones", async (t) => {
      const name = channel("missed");
      const state = await member(t, name);
      await cut(state);
      for (const number of range(2, 21)) {
        await server.publish(name, number);
      }
      const context = await heal(state);
      assert.equal(context.wasRecovering, true);
      assert.equal(context.recovered, true);
      assert.equal(context.hasRecoveredPublications, true);
      await server.publish(name, 22);
      await publications(state.log, 22);
      assert.deepEqual(offsets(state.log), range(1, 22));
      assert.deepEqual(bodies(state.log), range(1, 22));
    });

    test("nothing missed is recovered too", async (t) => {
      const name = channel("nothing");
      const state = await member(t, name);
      for (let round = 0; round < 2; round += 1) {
        await cut(state);
        const context = await heal(state);
        assert.equal(context.recovered, true);
        assert.equal(context.hasRecoveredPublications, false);
        assert.equal(context.recoverable, true);
      }
      await server.publish(name, 2);
      await publications(state.log, 2);
      assert.deepEqual(bodies(state.log), [1, 2]);
    });

    test("cut again and again while messages go on", async (t) => {
      const name = channel("storm");
      const state = await member(t, name);
      const total = 400;
      let sent = 1;
      const publishing = (async () => {
        while (sent < total) {
          sent += 1;
          await server.publish(name, sent);
        }
      })();
      for (let round = 0; round < 8; round += 1) {
        const seen = state.log.publications.length;
        await publications(state.log, Math.min(seen + 10, total));
        await cut(state);
        const context = await heal(state);
        assert.equal(context.recovered, true);
      }
      await publishing;
      await publications(state.log, total);
      assert.deepEqual(offsets(state.log), range(1, total));
      assert.deepEqual(bodies(state.log), range(1, total));
    });

    test("more missed than one recovery returns: not recovered, no partial replay, live from the top", async (t) => {
      const name = channel("too-many");
      const state = await member(t, name);
      await cut(state);
      const top = 1 + RECOVERY_MESSAGES + 1;
      for (const number of range(2, top)) {
        await server.publish(name, number);
      }
      const context = await heal(state);
      assert.equal(context.wasRecovering, true);
      assert.equal(context.recovered, false);
      assert.equal(context.streamPosition.offset, top);
      await server.publish(name, "live");
      await publications(state.log, 2);
      assert.deepEqual(bodies(state.log), [1, "live"]);
    });

    test("as many missed as one recovery returns", async (t) => {
      const name = channel("just");
      const state = await member(t, name);
      await cut(state);
      for (const number of range(2, 1 + RECOVERY_MESSAGES)) {
        await server.publish(name, number);
      }
      assert.equal((await heal(state)).recovered, true);
      await publications(state.log, 1 + RECOVERY_MESSAGES);
      assert.deepEqual(bodies(state.log), range(1, 1 + RECOVERY_MESSAGES));
    });

    const positions = {
      "beyond the top": ({ offset, epoch }) => ({ offset: offset + 100, epoch }),
      "of another epoch": ({ offset }) => ({ offset, epoch: "other" }),
    };
    for (const [what, since] of Object.entries(positions)) {
      test(`a position ${what} is not recoverable`, async (t) => {
        const name = channel(`position ${what}`);
        const { offset, epoch } = await server.publish(name, 1);
        const centrifuge = await connected(t, encoding, server.url, { token: token({ sub: "alice" }) });
        const { context, log } = await subscribed(centrifuge, encoding, name, { since: since({ offset, epoch }) });
        assert.equal(context.wasRecovering, true);
        assert.equal(context.recovered, false);
        assert.deepEqual(context.streamPosition, { offset, epoch });
        await server.publish(name, 2);
        await publications(log, 1);
        assert.deepEqual(offsets(log), [offset + 1]);
      });
    }

    test("a first subscription from a known position", async (t) => {
      const name = channel("since");
      let first;
      for (const number of range(1, 5)) {
        const position = await server.publish(name, number);
        first ??= position;
      }
      const centrifuge = await connected(t, encoding, server.url, { token: token({ sub: "alice" }) });
      const { context, log } = await subscribed(centrifuge, encoding, name, { since: first });
      assert.equal(context.recovered, true);
      await publications(log, 4);
      assert.deepEqual(bodies(log), [2, 3, 4, 5]);
    });

    test("a restarted server without a log starts a new epoch and says so", async (t) => {
      const own = await Server.start({ config: WITH_TOKENS });
      t.after(() => own.dispose());
      const name = channel("restart");
      const centrifuge = await connected(t, encoding, own.url, { token: token({ sub: "alice" }) });
      const { subscription, log, context: before } = await subscribed(centrifuge, encoding, name);
      await own.publish(name, "before");
      await publications(log, 1);
      const lost = next(subscription, "subscribing");
      await own.end("SIGKILL");
      await lost;
      const back = next(subscription, "subscribed");
      await own.launch();
      const context = await back;
      assert.equal(context.wasRecovering, true);
      assert.equal(context.recovered, false);
      assert.notEqual(context.streamPosition.epoch, before.streamPosition.epoch);
      await own.publish(name, "after");
      await publications(log, 2);
      assert.deepEqual(bodies(log), ["before", "after"]);
      assert.deepEqual(offsets(log), [1, 1]);
    });
  });
}
