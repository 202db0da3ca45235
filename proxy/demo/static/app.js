// The page of the demo. Whatever comes from a server is shown as text, never as markup.

import { flaws, scenarios } from "/scenarios.js";

const $ = (id) => document.getElementById(id);

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") made.addEventListener("click", value);
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

const about = await (await fetch("/demo.json")).json();

// --- the sign-in side: same origin as this page

function keyOf(session) {
  if (session.code) return "";
  return session.user ? about.people.find(({ id }) => id === session.user.id)?.key : "out";
}

function showSession(session, pressed = keyOf(session)) {
  const who = $("who");
  who.classList.toggle("bad", session.code !== null);
  if (session.user) {
    who.textContent = `Signed in as ${session.user.name}, roles: ${session.user.roles.join(", ")}. The cookie ${about.cookie} holds the session; scripts cannot read it.`;
  } else if (session.code) {
    who.textContent = `The cookie ${about.cookie} holds a session that is not good (${session.code}).`;
  } else {
    who.textContent = "Not signed in.";
  }
  for (const button of document.querySelectorAll("[data-session]")) {
    button.setAttribute("aria-pressed", String(button.dataset.session === pressed));
  }
}

async function post(path, body) {
  const response = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  return response.json();
}

async function signIn(person, flaw) {
  const session = await post("/api/auth/demo-signin", { person, flaw });
  showSession(session, flaw === "none" ? keyOf(session) : flaw);
}

async function signOut() {
  showSession(await post("/api/auth/signout", {}));
}

// --- the calls: another origin

const FROM_GATEWAY = "From the gateway; the API was not asked. The page may read it, since the answer carries CORS headers.";

function statusBadge(status, text) {
  const kind = status >= 200 && status < 300 || status === 101 ? "status" : "status bad";
  return element("span", { class: kind }, `${status} ${text}`.trim());
}

function headerTable(headers) {
  const rows = headers.map(([name, value]) => {
    const ours = name.toLowerCase().startsWith("x-user-") ? { class: "ours" } : {};
    return element("tr", ours, element("th", { scope: "row" }, name), element("td", {}, value));
  });
  return element("table", {}, element("tbody", {}, ...rows));
}

function requestText(scenario) {
  const init = scenario.init ?? {};
  const lines = [`${init.method ?? "GET"} ${scenario.path}`, `Origin: ${location.origin}`];
  for (const [name, value] of Object.entries(init.headers ?? {})) lines.push(`${name}: ${value}`);
  lines.push(init.credentials === "omit" ? "(no cookie)" : "(the browser adds the cookie, if there is one)");
  if (init.body) lines.push("", init.body);
  return lines.join("\n");
}

function outcomeOf(scenario) {
  const answer = element("div");
  $("outcome").replaceChildren(
    element("p", {}, scenario.shows),
    element("h3", {}, "Sent by this page"),
    element("pre", {}, requestText(scenario)),
    element("h3", {}, "Answer"),
    answer,
  );
  $("result").scrollIntoView();
  return answer;
}

async function showAnswer(answer, response) {
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

async function callStream(answer, response) {
  if (!response.ok) return showAnswer(answer, response);
  const started = performance.now();
  const lines = element("pre");
  answer.append(statusBadge(response.status, response.statusText), lines);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let { done, value } = await reader.read(); !done; { done, value } = await reader.read()) {
    const after = ((performance.now() - started) / 1000).toFixed(1);
    lines.append(`after ${after} s  ${value.trim()}\n`);
  }
  lines.append("(end of the stream)");
}

function callWebSocket(answer, scenario) {
  const lines = element("pre");
  const socket = new WebSocket(about.gateway.replace("http", "ws") + scenario.path);
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

async function run(scenario) {
  const answer = outcomeOf(scenario);
  if (scenario.send === "websocket") return callWebSocket(answer, scenario);
  try {
    const response = await fetch(about.gateway + scenario.path, { credentials: "include", ...scenario.init });
    await (scenario.send === "stream" ? callStream : showAnswer)(answer, response);
  } catch (error) {
    answer.append(element("pre", {}, `${error}\nThe browser tells no more. Is the demo still running?`));
  }
}

// --- the page

function sessionButton(key, label, onclick) {
  return element("button", { type: "button", "data-session": key, "aria-pressed": "false", onclick }, label);
}

$("origin").textContent = location.origin;
$("gateway").textContent = about.gateway;
$("config").textContent = about.config;
$("people").append(
  ...about.people.map(({ key, name, roles }) =>
    sessionButton(key, `${name} (${roles.join(", ")})`, () => signIn(key, "none"))),
  sessionButton("out", "sign out", signOut),
);
$("flaws").append(...flaws.map(({ flaw, label }) => sessionButton(flaw, label, () => signIn("ada", flaw))));
$("scenarios").append(...scenarios.map((scenario) =>
  element("li", {},
    element("button", { type: "button", onclick: () => run(scenario) }, scenario.label),
    element("p", {}, scenario.shows))));
showSession(await (await fetch("/api/auth/session")).json());
