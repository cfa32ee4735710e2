// Tokens as an application's back end would make them, without a library.

import { createHmac, generateKeyPairSync, sign } from "node:crypto";
import { SECRET } from "./server.js";

export const now = () => Math.floor(Date.now() / 1000);

/** A token signed with HS256. `exp` is in an hour unless `claims` says otherwise. */
export function token(claims, { secret = SECRET, header = {} } = {}) {
  return signed({ alg: "HS256", ...header }, claims, (message) => createHmac("sha256", secret).update(message).digest());
}

/** Fresh key pairs by algorithm: the public half as PEM and a function that makes tokens with the private one. */
export function keyPairs() {
  const make = (alg, hash, [type, options]) => {
    const { publicKey, privateKey } = generateKeyPairSync(type, options);
    const key = { key: privateKey, dsaEncoding: "ieee-p1363" };
    return {
      pem: publicKey.export({ type: "spki", format: "pem" }),
      token: (claims, header = {}) => signed({ alg, ...header }, claims, (message) => sign(hash, message, key)),
    };
  };
  return {
    RS256: make("RS256", "sha256", ["rsa", { modulusLength: 2048 }]),
    ES256: make("ES256", "sha256", ["ec", { namedCurve: "P-256" }]),
    EdDSA: make("EdDSA", null, ["ed25519"]),
  };
}

function signed(header, claims, signature) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const message = `${part({ typ: "JWT", ...header })}.${part({ exp: now() + 3600, ...claims })}`;
  return `${message}.${signature(Buffer.from(message)).toString("base64url")}`;
}
