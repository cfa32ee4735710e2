// Claim: the server can send clients away for good, or for now, and they do what it says.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ENCODINGS, bodies, connected, next, publications, subscribed } from "./lib/client.js";
import { token } from "./lib/jwt.js";
import { Server, WITH_TOKENS } from "./lib/server.js";

let server;
before(async () => {
  server = await Server.start({ config: WITH_TOKENS });
});
after(() => server.dispose());

for (const encoding of ENCODINGS) {
  describe(encoding.name, () => {
    const as = (user) => ({ token: token({ sub: user }) });

    test("/api/disconnect ends every connection of the user for good, and no other", async (t) => {
      const user = `mallory-${encoding.name}`;
      const first = await connected(t, encoding, server.url, as(user));
      const second = await connected(t, encoding, server.url, as(user));
      const other = await connected(t, encoding, server.url, as("alice"));
      other.on("connecting", () => assert.fail("the other user lost the connection"));
      const ended = [first, second].map((centrifuge) => next(centrifuge, "disconnected"));
      assert.deepEqual(await server.api("disconnect", { user }), {});
      for (const { code, reason } of await Promise.all(ended)) {
        assert.deepEqual({ code, reason }, { code: 3503, reason: "force disconnect" });
      }
      await other.publish("open:disconnect", encoding.encode(1));
      assert.equal(other.state, "connected");
    });

    test("/api/disconnect with a code that reconnects", async (t) => {
      const user = `nomad-${encoding.name}`;
      const centrifuge = await connected(t, encoding, server.url, as(user));
      const lost = next(centrifuge, "connecting");
      const back = lost.then(() => next(centrifuge, "connected"));
      await server.api("disconnect", { user, disconnect: { code: 4001, reason: "moved" } });
      const { code, reason } = await lost;
      assert.deepEqual({ code, reason }, { code: 4001, reason: "moved" });
      await back;
    });

    test("/api/disconnect with a final code of the application's own", async (t) => {
      const user = `banned-${encoding.name}`;
      const centrifuge = await connected(t, encoding, server.url, as(user));
      const ended = next(centrifuge, "disconnected");
      await server.api("disconnect", { user, disconnect: { code: 4501, reason: "banned" } });
      const { code, reason } = await ended;
      assert.deepEqual({ code, reason }, { code: 4501, reason: "banned" });
    });

    test("/api/disconnect refuses reasons that the SDK would take as advice", async (t) => {
      const user = `fooled-${encoding.name}`;
      const centrifuge = await connected(t, encoding, server.url, as(user));
      for (const reason of ["503", '{"reason":"r","reconnect":true}', "x".repeat(124)]) {
        const { error } = await server.apiAnswer("disconnect", { user, disconnect: { code: 4501, reason } });
        assert.equal(error?.code, 107, reason);
      }
      await centrifuge.publish("open:disconnect", encoding.encode(1));
      assert.equal(centrifuge.state, "connected");
    });

    test("/api/disconnect of one connection of a user", async (t) => {
      const user = `twice-${encoding.name}`;
      const staying = await connected(t, encoding, server.url, as(user));
      staying.on("connecting", () => assert.fail("the other connection was lost"));
      const leaving = await connected(t, encoding, server.url, as(user));
      // The SDK does not keep the id: ask on a new connection's event.
      const again = next(leaving, "connected");
      leaving.disconnect();
      leaving.connect();
      const { client: id } = await again;
      const ended = next(leaving, "disconnected");
      await server.api("disconnect", { user, client: id });
      assert.equal((await ended).code, 3503);
      await staying.publish("open:disconnect", encoding.encode(1));
      assert.equal(staying.state, "connected");
    });

    test("SIGTERM: 3001, exit 0, and the clients come back to the next process", async (t) => {
      const own = await Server.start({ config: `${WITH_TOKENS}\n[node]\ndrain_window = "500ms"\n` });
      t.after(() => own.dispose());
      const centrifuge = await connected(t, encoding, own.url, as("alice"));
      const name = "open:drain";
      const { subscription, log } = await subscribed(centrifuge, encoding, name);
      await own.publish(name, "before");
      await publications(log, 1);
      const lost = next(centrifuge, "connecting");
      const ended = own.end("SIGTERM");
      const { code, reason } = await lost;
      assert.deepEqual({ code, reason }, { code: 3001, reason: "shutdown" });
      assert.deepEqual(await ended, { code: 0, signal: null });
      const back = next(subscription, "subscribed");
      await own.launch();
      await back;
      await own.publish(name, "after");
      await publications(log, 2);
      assert.deepEqual(bodies(log), ["before", "after"]);
    });
  });
}
