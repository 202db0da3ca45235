// Answers nginx' auth_request: 200 with the user in X-User-* headers, 401 or 403.
//
// The session is read by Auth.js' own getToken. What else the request needs, nginx says in
// X-Auth-Require: user, optional, admin (a role) or domain (an address at example.test).

import { createServer } from "node:http";
import { getToken } from "@auth/core/jwt";

const COOKIE = "authjs.session-token";
const { AUTH_SECRET: secret, PORT: port = "8082" } = process.env;
const ORIGINS = /^https:\/\/(app|[a-z0-9-]+\.preview)\.example\.test$/;
const SAFE = new Set(["GET", "HEAD", "OPTIONS", "TRACE"]);

// What is not visible ASCII is percent-encoded, or it would break the header or be read wrongly.
const encode = (text) => text.replace(/[^\x20-\x7e]|%/gu, encodeURIComponent);

async function session(headers) {
  const token = await getToken({ req: { headers }, secret, cookieName: COOKIE, salt: COOKIE });
  if (token === null) return null;
  if (typeof token.sub !== "string" || token.sub === "") return null;
  const strings = [token.email, token.name].map((value) => (typeof value === "string" ? value : ""));
  const roles = Array.isArray(token.roles) ? token.roles.filter((r) => typeof r === "string") : [];
  return { id: token.sub, email: strings[0], name: strings[1], roles };
}

// The cookies without the session's, which the backend has no use for.
const others = (cookies) =>
  cookies.split(/; ?/).filter((pair) => !pair.split("=")[0].trim().startsWith(COOKIE)).join("; ");

// A browser says where an unsafe request or a WebSocket comes from; other clients say nothing.
function crossSite(headers) {
  if (!headers.cookie || (SAFE.has(headers["x-auth-method"]) && !headers["x-auth-upgrade"])) return false;
  const { origin, referer, "sec-fetch-site": site } = headers;
  if (site === "same-origin" || site === "none") return false;
  if (origin !== undefined) return !ORIGINS.test(origin);
  if (site !== undefined) return true;
  return referer !== undefined && !(URL.canParse(referer) && ORIGINS.test(new URL(referer).origin));
}

async function answer(headers) {
  const needed = headers["x-auth-require"];
  const user = await session(headers);
  const kept = { "X-Other-Cookies": others(headers.cookie ?? "") };
  if (user === null) return needed === "optional" ? [200, kept] : [401, {}];
  if (crossSite(headers)) return [403, {}];
  if (needed === "admin" && !user.roles.includes("admin")) return [403, {}];
  if (needed === "domain" && !/^[^@]+@example\.test$/.test(user.email)) return [403, {}];
  const told = { "X-User-Id": user.id, "X-User-Email": user.email, "X-User-Name": user.name };
  const encoded = Object.entries(told).map(([name, value]) => [name, encode(value)]);
  const roles = user.roles.map((role) => encode(role).replaceAll(",", "%2C")).join(",");
  return [200, { ...kept, ...Object.fromEntries(encoded), "X-User-Roles": roles }];
}

createServer({ maxHeaderSize: 65536 }, async (request, response) => {
  try {
    response.writeHead(...(await answer(request.headers))).end();
  } catch {
    response.writeHead(401).end(); // what Auth.js cannot read, or no header can hold, is no session
  }
}).listen(Number(port), "127.0.0.1");
