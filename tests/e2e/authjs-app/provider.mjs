// The OpenID provider: the npm package `oidc-provider`, with its own pages for login and consent
// (they want a font from the internet, and do without).

import { generateKeyPairSync, randomBytes } from "node:crypto";

import { Provider } from "oidc-provider";

/** Return the request handler of a provider that knows one client; a login is its `sub`. */
export function createProvider({ issuer, client, accounts }) {
  const key = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey;
  const provider = new Provider(issuer, {
    clients: [
      { client_id: client.id, client_secret: client.secret, redirect_uris: [client.redirectUri] },
    ],
    findAccount: (_context, sub) =>
      accounts[sub] && { accountId: sub, claims: () => ({ sub, ...accounts[sub] }) },
    claims: { profile: ["name", "roles", "groups"], email: ["email"] },
    // The frameworks read a user's claims from the ID token.
    conformIdTokenClaims: false,
    cookies: { keys: [randomBytes(32).toString("hex")] },
    jwks: { keys: [{ ...key.export({ format: "jwk" }), use: "sig", alg: "RS256" }] },
  });
  return provider.callback();
}
