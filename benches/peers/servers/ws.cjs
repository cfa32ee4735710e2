// The npm package `ws`: the floor that everybody knows. Run: node servers/ws.cjs PORT. The task: see bun.js.
const { WebSocketServer } = require("ws");
const port = Number(process.argv[2]);
const chats = new Map();
const server = new WebSocketServer({ host: "127.0.0.1", port, perMessageDeflate: false, backlog: 4096 });
server.on("connection", (socket) => {
  const joined = new Set();
  socket.on("message", (bytes) => {
    const message = bytes.toString();
    const command = message.charCodeAt(0);
    if (command === 112) {
      const blank = message.indexOf(" ");
      const members = chats.get(message.slice(1, blank));
      if (!members) return;
      const body = message.slice(blank + 1);
      for (const member of members) member.send(body);
    } else if (command === 115) {
      const chat = message.slice(1);
      if (!chats.has(chat)) chats.set(chat, new Set());
      chats.get(chat).add(socket);
      joined.add(chat);
      socket.send("k" + chat);
    } else if (command === 117) {
      const chat = message.slice(1);
      chats.get(chat)?.delete(socket);
      joined.delete(chat);
    }
  });
  socket.on("error", () => {});
  socket.on("close", () => {
    for (const chat of joined) chats.get(chat)?.delete(socket);
  });
});
server.on("listening", () => console.log(`listening 127.0.0.1:${port} ws on node ${process.version}`));
