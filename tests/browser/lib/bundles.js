// Serves the SDK's browser bundles as npm installed them, on an empty page.

import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";

const DIST = new URL("../node_modules/centrifuge/dist/", import.meta.url);
const BUNDLES = ["centrifuge.js", "centrifuge.protobuf.js"];

export async function serveBundles() {
  const server = createServer(async (request, response) => {
    const name = request.url.slice(1);
    if (BUNDLES.includes(name)) {
      response.writeHead(200, { "Content-Type": "text/javascript" });
      response.end(await readFile(new URL(name, DIST)));
    } else if (BUNDLES.includes(`${name}.js`)) {
      response.writeHead(200, { "Content-Type": "text/html" });
      response.end(`<!doctype html><title>${name}</title><link rel="icon" href="data:,"><script src="/${name}.js"></script>`);
    } else {
      response.writeHead(404).end();
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { url: `http://127.0.0.1:${server.address().port}`, stop: () => server.close() };
}
