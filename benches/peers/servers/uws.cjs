// uWebSockets.js. Run: node servers/uws.cjs PORT. The task: see bun.js.
const uws = require("uwebsockets");
const port = Number(process.argv[2]);
const decoder = new TextDecoder();
const app = uws.App();
app.ws("/*", {
  compression: uws.DISABLED,
  idleTimeout: 960,
  sendPingsAutomatically: true,
  // The limit behind which uWebSockets drops: high, so that a slow reader shows as latency instead of silent loss.
  maxBackpressure: 64 * 1024 * 1024,
  maxPayloadLength: 1024 * 1024,
  message(socket, bytes) {
    const message = decoder.decode(bytes);
    const command = message.charCodeAt(0);
    if (command === 112) {
      const blank = message.indexOf(" ");
      app.publish(message.slice(1, blank), message.slice(blank + 1), false);
    } else if (command === 115) {
      const chat = message.slice(1);
      socket.subscribe(chat);
      socket.send("k" + chat, false);
    } else if (command === 117) {
      socket.unsubscribe(message.slice(1));
    }
  },
});
app.listen("127.0.0.1", port, (socket) => {
  if (!socket) process.exit(1);
  console.log(`listening 127.0.0.1:${port} uWebSockets.js on node ${process.version}`);
});
