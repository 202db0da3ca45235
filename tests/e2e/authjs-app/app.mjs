// The web app: one page, and Auth.js or next-auth 4 under /api/auth as in a Next.js app.

import { fileURLToPath } from "node:url";

import { ExpressAuth } from "@auth/express";
import PostgresAdapter from "@auth/pg-adapter";
import cookieParser from "cookie-parser";
import express from "express";
import NextAuth from "next-auth";
import pg from "pg";

/** Return the request handler of the app; `framework` is `auth` or `next-auth`. */
export function createApp(framework, { secret, strategy, databaseUrl, ...settings }) {
  const own = { auth, "next-auth": nextAuth }[framework](settings);
  const pool = databaseUrl && new pg.Pool({ connectionString: databaseUrl });
  const options = {
    ...own.options,
    secret,
    session: { strategy },
    adapter: pool ? PostgresAdapter(pool) : undefined,
    callbacks: {
      // Only at sign-in there is a profile. Without an adapter, the `sub` that Auth.js 5 puts into
      // the token is a new random one at every sign-in.
      jwt({ token, profile }) {
        if (!profile) return token;
        return { ...token, sub: profile.sub, roles: profile.roles, groups: profile.groups };
      },
    },
  };
  const app = express();
  app.get("/", (_request, response) => {
    response.sendFile(fileURLToPath(new URL("index.html", import.meta.url)));
  });
  app.use("/api/auth", own.handler(options));
  return app;
}

/** The OpenID provider, as far as both versions describe it alike. */
function openid({ client }) {
  return {
    id: "openid",
    name: "OpenID",
    clientId: client.id,
    clientSecret: client.secret,
    authorization: { params: { scope: "openid profile email" } },
  };
}

function auth({ cookieDomain, ...settings }) {
  return {
    options: {
      providers: [{ ...openid(settings), type: "oidc", issuer: settings.issuer }],
      trustHost: true,
      // What is not named here stays as Auth.js has it.
      cookies: cookieDomain && { sessionToken: { options: { domain: cookieDomain } } },
    },
    handler: ExpressAuth,
  };
}

function nextAuth({ cookieDomain, ...settings }) {
  const provider = {
    ...openid(settings),
    type: "oauth",
    wellKnown: `${settings.issuer}/.well-known/openid-configuration`,
    idToken: true,
    checks: ["pkce", "state"],
    profile: ({ sub, name, email }) => ({ id: sub, name, email }),
  };
  const sessionToken = {
    name: "__Secure-next-auth.session-token",
    // What is not named here is not set.
    options: { httpOnly: true, sameSite: "lax", path: "/", secure: true, domain: cookieDomain },
  };
  return {
    options: { providers: [provider], cookies: cookieDomain && { sessionToken } },
    handler: nextAuthHandler,
  };
}

/** Return pages/api/auth/[...nextauth].js, with what Next.js does before it runs. */
function nextAuthHandler(options) {
  const route = express.Router();
  route.use(cookieParser(), express.json(), express.urlencoded({ extended: false }));
  route.use((request, response) => {
    const nextauth = request.path.split("/").slice(1);
    Object.defineProperty(request, "query", { value: { ...request.query, nextauth } });
    return NextAuth.default(request, response, options);
  });
  return route;
}
