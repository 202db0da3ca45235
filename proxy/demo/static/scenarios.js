// What can be tried on the page. Each scenario says what it sends and what it shows; app.js does
// the rest. `send` is "fetch" (default), "stream" or "websocket".

export const scenarios = [
  {
    label: "GET /api/me",
    path: "/api/me",
    shows: "The session cookie goes in, X-User-* comes out. The API sees no cookie of the session.",
  },
  {
    label: "POST /api/notes, as JSON",
    path: "/api/notes",
    init: {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ text: "hello" }),
    },
    shows: "JSON across origins makes the browser ask first (OPTIONS). Gatelodge answers the preflight; the API never hears of it.",
  },
  {
    label: "GET /api/admin",
    path: "/api/admin",
    shows: "The route requires the role admin. Ada has it; for the others it is a 403 that the page can read.",
  },
  {
    label: "GET /public/hello",
    path: "/public/hello",
    shows: "A public route: it works for everybody, and the API is not told who it is.",
  },
  {
    label: "GET /api/me with a forged X-User-Id",
    path: "/api/me",
    init: { headers: { "X-User-Id": "u-1", "X-User-Roles": "admin" } },
    shows: "The page sends X-User-Id: u-1 and X-User-Roles: admin itself. They do not arrive: the API gets the user of the session, or the request gets a 401.",
  },
  {
    label: "GET /api/me without the cookie",
    path: "/api/me",
    init: { credentials: "omit" },
    shows: "No session, so 401. The answer still has its CORS headers: the page reads the code session_missing and can show the sign-in, instead of guessing at a network error.",
  },
  {
    label: "GET /api/events, a stream",
    path: "/api/events",
    send: "stream",
    shows: "Server-sent events: each one arrives when the API sends it, not when the answer is complete.",
  },
  {
    label: "WebSocket /api/ws",
    path: "/api/ws",
    send: "websocket",
    shows: "Browsers send no preflight for WebSockets, so Gatelodge checks the origin itself, then the session, and only then lets the upgrade through. Without a session a browser says no more than that it failed.",
  },
  {
    label: "GET /elsewhere",
    path: "/elsewhere",
    shows: "No route, so nothing is forwarded: 404 from the gateway.",
  },
];

export const flaws = [
  { flaw: "expired", label: "expired session of Ada" },
  { flaw: "tampered", label: "tampered session of Ada" },
  { flaw: "foreign", label: "session made with another secret" },
];
