// A web app that signs its users in with Auth.js or next-auth 4, and the OpenID provider that it
// sends them to, both on ports of 127.0.0.1. Once both listen, one line of JSON on standard output
// says where: {"app": PORT, "provider": PORT}. The process ends with its standard input, so that it
// never outlives the test that started it.
//
// FRAMEWORK         auth (@auth/express, on the core of next-auth 5) or next-auth (version 4)
// SECRET            what sessions are encrypted with
// STRATEGY          jwt or database
// DATABASE_URL      PostgreSQL with the tables of @auth/pg-adapter; without it there is no adapter
// ACCOUNTS          JSON: the provider's accounts, {LOGIN: CLAIMS}; any password is right
// ORIGIN            what browsers call the app: https://HOST; without it http://localhost:PORT
// TLS_CERT TLS_KEY  files for https
// COOKIE_DOMAIN     where the session cookie is sent to; without it to the app's host alone

import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";

import { createApp } from "./app.mjs";
import { createProvider } from "./provider.mjs";

const env = process.env;

async function listen(server) {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return server.address().port;
}

const appServer = env.TLS_CERT
  ? https.createServer({ cert: readFileSync(env.TLS_CERT), key: readFileSync(env.TLS_KEY) })
  : http.createServer();
const providerServer = http.createServer();
const ports = { app: await listen(appServer), provider: await listen(providerServer) };

const origin = env.ORIGIN ?? `http://localhost:${ports.app}`;
const issuer = `http://127.0.0.1:${ports.provider}`;
const client = { id: "the-app", secret: randomBytes(32).toString("hex") };

const provider = createProvider({
  issuer,
  accounts: JSON.parse(env.ACCOUNTS),
  client: { ...client, redirectUri: `${origin}/api/auth/callback/openid` },
});
providerServer.on("request", provider);

env.NEXTAUTH_URL = origin; // next-auth 4 takes its own address from there only
const app = createApp(env.FRAMEWORK, {
  issuer,
  client,
  secret: env.SECRET,
  strategy: env.STRATEGY,
  databaseUrl: env.DATABASE_URL,
  cookieDomain: env.COOKIE_DOMAIN,
});
appServer.on("request", app);

console.log(JSON.stringify(ports));
process.stdin.on("end", () => process.exit()).resume();
