// Reads requests with a framework's own code: whose session is it? Reads a JSON list of {"framework",
// "secret", "name", "cookie", "bearer"} on standard input (`cookie` is a Cookie header, of bytes as
// characters) and writes a JSON list: [sub, exp] as the claims have them, or null for a request
// without a valid session.
//
// next-auth 4: `getToken` of next-auth/jwt, given the cookies as Next.js parses them: `cookie` 0.x.
// Auth.js 5:   `getToken` of @auth/core/jwt, which parses the header itself.

import { createRequire } from "node:module";
import { text } from "node:stream/consumers";
import { getToken as getTokenV5 } from "@auth/core/jwt";

const require = createRequire(import.meta.url);
const { getToken: getTokenV4 } = require("next-auth/jwt");
const { parse } = require("cookie");

const silent = { debug() {}, error() {}, warn() {} };

function headers({ cookie, bearer }) {
  const all = {};
  if (cookie) all.cookie = cookie;
  if (bearer) all.authorization = `Bearer ${bearer}`;
  return all;
}

const read = {
  "next-auth": (asked) =>
    getTokenV4({
      req: { headers: headers(asked), cookies: parse(asked.cookie ?? "") },
      secret: asked.secret,
      cookieName: asked.name,
      logger: silent,
    }),
  "@auth/core": (asked) =>
    getTokenV5({
      req: { headers: new Headers(headers(asked)) },
      secret: asked.secret,
      cookieName: asked.name,
      salt: asked.name,
      logger: silent,
    }),
};

const found = [];
for (const asked of JSON.parse(await text(process.stdin))) {
  try {
    const claims = await read[asked.framework](asked);
    found.push(claims && [claims.sub ?? null, claims.exp ?? null]);
  } catch {
    found.push(null);
  }
}
process.stdout.write(JSON.stringify(found));
