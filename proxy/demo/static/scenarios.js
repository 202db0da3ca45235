// What can be tried on the page. Each scenario says what it sends and what it shows; app.js does
// the rest. `send` is "fetch" (default), "stream" or "websocket".

export const scenarios = [
  {
    label: "GET /api/me",
    path: "/api/me",
    shows: "The session cookie goes in, X-User-* comes out, the same for a JWT and for a row. The API sees no cookie of the session.",
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
    init: { headers: { "X-User-Id": "1", "X-User-Roles": "admin" } },
    shows: "The page sends X-User-Id: 1 and X-User-Roles: admin itself. They do not arrive: the API gets the user of the session, or the request gets a 401.",
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

// What can be wrong with a session, by its kind.
export const flaws = {
  expired: { jwt: "expired JWT of Ada", database: "expired row of Ada" },
  tampered: { jwt: "tampered JWT of Ada", database: "tampered key of Ada's row" },
  foreign: { jwt: "JWT made with another secret" },
};

// The two kinds of session, as the page tells of them.
export const kinds = {
  jwt: {
    label: "an encrypted JWT in the cookie",
    strategy: 'strategy: "jwt"',
    good: "holds the session itself, encrypted. Scripts cannot read it.",
    session_expired: "holds a session that has ended.",
    session_invalid: "holds something that the app's secret does not open.",
    end: "A JWT is good until it expires: signing out removes this browser's cookie only, and whoever has a copy is still signed in. An app that must be able to end sessions keeps them as rows.",
  },
  database: {
    label: "a row in PostgreSQL",
    strategy: 'strategy: "database"',
    good: "holds the key of a row in the table sessions. Scripts cannot read it.",
    session_expired: "holds the key of a row whose end has passed.",
    session_invalid: "holds a key for which the table sessions has no row.",
    end: "Deleting the row ends the session for everybody who has its key, this browser's cookie included.",
  },
};
