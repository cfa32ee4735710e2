// Bun's native publish/subscribe (uWebSockets inside). Run: bun servers/bun.js PORT
//
// The task is the same for every peer (the raw protocol of `corecast load`): text messages, the first byte says what they are.
//   s<chat>  subscribe, answered with k<chat>      u<chat>  unsubscribe      p<chat> <body>  publish the body to the chat
const port = Number(Bun.argv[2]);
const server = Bun.serve({
  hostname: "127.0.0.1",
  port,
  fetch(request, server) {
    return server.upgrade(request) ? undefined : new Response("a WebSocket is expected here\n", { status: 426 });
  },
  websocket: {
    perMessageDeflate: false,
    idleTimeout: 960,
    // The limit behind which Bun drops: high, so that a slow reader shows as latency instead of silent loss.
    backpressureLimit: 64 * 1024 * 1024,
    message(socket, message) {
      const command = message.charCodeAt(0);
      if (command === 112 /* p */) {
        const blank = message.indexOf(" ");
        server.publish(message.slice(1, blank), message.slice(blank + 1));
      } else if (command === 115 /* s */) {
        const chat = message.slice(1);
        socket.subscribe(chat);
        socket.send("k" + chat);
      } else if (command === 117 /* u */) {
        socket.unsubscribe(message.slice(1));
      }
    },
  },
});
console.log(`listening 127.0.0.1:${server.port} bun ${Bun.version}`);
