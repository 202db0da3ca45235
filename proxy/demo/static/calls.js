// The calls that the page makes to the gateway, and what it shows of their answers.

import { element, headerTable, statusBadge } from "/elements.js";

const FROM_GATEWAY = "From the gateway; the API was not asked. The page may read it, since the answer carries CORS headers.";
const PAUSE = 400; // milliseconds between two calls while a session's end is watched

export function fetchFrom(gateway, { path, init = {} }) {
  return fetch(gateway + path, { credentials: "include", ...init });
}

function secondsSince(start) {
  return ((performance.now() - start) / 1000).toFixed(1);
}

export async function showAnswer(answer, response) {
  answer.append(statusBadge(response.status, response.statusText));
  const text = await response.text();
  let body = null;
  try { body = JSON.parse(text); } catch { /* shown as it is */ }
  if (body === null || !Array.isArray(body.headers)) {
    if (!response.ok) answer.append(element("p", {}, FROM_GATEWAY));
    answer.append(element("pre", {}, body === null ? text : JSON.stringify(body, null, 2)));
    return;
  }
  const user = body.user ? JSON.stringify(body.user, null, 2) : "nobody (no X-User-Id arrived)";
  answer.append(
    element("h3", {}, "The user, as the API knows it"),
    element("pre", {}, user),
    element("h3", {}, "What the API received"),
    element("pre", {}, `${body.method} ${body.target}`),
    headerTable(body.headers),
  );
  if (body.body) answer.append(element("pre", {}, body.body));
}

export async function callStream(answer, response) {
  if (!response.ok) return showAnswer(answer, response);
  const started = performance.now();
  const lines = element("pre");
  answer.append(statusBadge(response.status, response.statusText), lines);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let { done, value } = await reader.read(); !done; { done, value } = await reader.read()) {
    lines.append(`after ${secondsSince(started)} s  ${value.trim()}\n`);
  }
  lines.append("(end of the stream)");
}

export function callWebSocket(answer, gateway, path) {
  const lines = element("pre");
  const socket = new WebSocket(gateway.replace("http", "ws") + path);
  let greeted = false;
  answer.append(lines);
  socket.addEventListener("open", () => answer.prepend(statusBadge(101, "Switching Protocols")));
  socket.addEventListener("message", (event) => {
    lines.append(`received  ${event.data}\n`);
    if (greeted) return socket.close(1000);
    greeted = true;
    lines.append("sent      hello\n");
    socket.send("hello");
  });
  socket.addEventListener("close", (event) => lines.append(`closed    code ${event.code}${
    event.code === 1006 ? " (refused; the terminal of the demo says why)" : ""}\n`));
}

// Call once, so that the gateway has just read the row; end the session; call until it is refused.
export async function endAndWatch(answer, gateway, { end, patience, isShown }) {
  const call = () => fetchFrom(gateway, { path: "/api/me" });
  const lines = element("pre");
  answer.append(lines);
  const first = await call();
  lines.append(`before       ${first.status} ${first.statusText}\n`);
  await end();
  const ended = performance.now();
  lines.append("             the row is deleted\n");
  for (;;) {
    const response = await call();
    const note = response.ok ? " (still remembered)" : "";
    lines.append(`after ${secondsSince(ended)} s  ${response.status} ${response.statusText}${note}\n`);
    if (!response.ok) return showAnswer(answer, response);
    if (!isShown() || secondsSince(ended) > patience) return;
    await new Promise((resume) => setTimeout(resume, PAUSE));
  }
}
