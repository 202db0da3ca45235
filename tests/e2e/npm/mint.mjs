// Mints a session token with the framework's own code. Reads {"framework", "secret", "cookie",
// "claims"} as JSON on standard input and writes the token.
//
// next-auth 4: `encode` of next-auth/jwt; its tokens do not depend on the cookie's name.
// Auth.js 5:   `encode` of @auth/core/jwt, which next-auth 5 uses; the salt is the cookie's name.

import { text } from "node:stream/consumers";

const { framework, secret, cookie, claims } = JSON.parse(await text(process.stdin));

const encode = {
  async "next-auth"() {
    const { encode } = (await import("next-auth/jwt")).default;
    return encode({ token: claims, secret });
  },
  async "@auth/core"() {
    const { encode } = await import("@auth/core/jwt");
    return encode({ token: claims, secret, salt: cookie });
  },
}[framework];

process.stdout.write(await encode());
