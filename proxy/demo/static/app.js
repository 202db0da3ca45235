// The page of the demo. Whatever comes from a server is shown as text, never as markup.

import { callStream, callWebSocket, endAndWatch, fetchFrom, showAnswer } from "/calls.js";
import { $, element, requestText } from "/elements.js";
import { flaws, kinds, scenarios } from "/scenarios.js";

const about = await (await fetch("/demo.json")).json();

// --- the sign-in side: same origin as this page

function keyOf(session) {
  if (session.code) return "";
  return session.user ? about.people.find(({ id }) => id === session.user.id)?.key : "out";
}

function sessionText(session) {
  if (session.user) return `Signed in as ${session.user.name}, role ${session.user.role}.`;
  if (session.code) return `Not signed in: the session is not good (${session.code}).`;
  return "Not signed in.";
}

function showSession(session, pressed = keyOf(session)) {
  const kind = kinds[session.kind];
  $("who").classList.toggle("bad", session.code !== null);
  $("who-text").textContent = sessionText(session);
  $("who-cookie").textContent = kind ? `The cookie ${about.cookie} ${kind[session.code ?? "good"]}` : "";
  $("end-part").hidden = session.user === null;
  $("end-text").textContent = kind?.end ?? "";
  $("end").hidden = session.kind !== "database";
  for (const button of document.querySelectorAll("[data-session]")) {
    button.setAttribute("aria-pressed", String(button.dataset.session === pressed));
  }
}

async function post(path, body = {}) {
  const response = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(await response.text());
  return response.json();
}

function chosenKind() {
  return document.querySelector("input[name=kind]:checked").value;
}

async function signing(work) {
  try {
    await work();
  } catch (error) {
    $("who").classList.add("bad");
    $("who-text").textContent = `${error.message}. Is the demo still running?`;
  }
}

function signIn(person, flaw) {
  return signing(async () => {
    const session = await post("/api/auth/demo-signin", { person, flaw, kind: chosenKind() });
    showSession(session, flaw === "none" ? keyOf(session) : flaw);
  });
}

function signOut() {
  return signing(async () => showSession(await post("/api/auth/signout")));
}

// --- the calls: another origin

let current = null; // the outcome that is shown; a call that shows another one has been overtaken

function outcomeOf(shows, sent) {
  const answer = (current = element("div"));
  $("outcome").replaceChildren(
    element("p", {}, shows),
    element("h3", {}, "Sent by this page"),
    element("pre", {}, sent),
    element("h3", {}, "Answer"),
    answer,
  );
  $("result").scrollIntoView();
  return answer;
}

async function attempt(answer, work) {
  try {
    await work();
  } catch (error) {
    answer.append(element("pre", {}, `${error}\nThe browser tells no more. Is the demo still running?`));
  }
}

function run(scenario) {
  const answer = outcomeOf(scenario.shows, requestText(scenario));
  if (scenario.send === "websocket") return callWebSocket(answer, about.gateway, scenario.path);
  return attempt(answer, async () => {
    const response = await fetchFrom(about.gateway, scenario);
    await (scenario.send === "stream" ? callStream : showAnswer)(answer, response);
  });
}

function endSession() {
  const shows = `Gatelodge goes by a row that it has read for ${about.remembered} s (cache.ttl in the configuration below; 10 s unless it says otherwise). `
    + "So the first 401 may come that much later than the end of the session, and no later.";
  const answer = outcomeOf(shows, "GET /api/me, again and again, with the cookie of the session");
  $("result").focus(); // the button that had it goes with the session
  return attempt(answer, () => endAndWatch(answer, about.gateway, {
    end: async () => showSession(await post("/api/auth/demo-end"), ""),
    patience: about.remembered + 5,
    isShown: () => current === answer,
  }));
}

// --- the page

function sessionButton(key, label, onclick) {
  return element("button", { type: "button", "data-session": key, "aria-pressed": "false", onclick }, label);
}

function showFlaws() {
  const kind = chosenKind();
  $("flaws").replaceChildren(...about.kinds[kind].map((flaw) =>
    sessionButton(flaw, flaws[flaw][kind], () => signIn("ada", flaw))));
}

function kindChoice(kind, position) {
  const input = element("input", { type: "radio", name: "kind", value: kind, id: `kind-${kind}` });
  input.checked = position === 0;
  input.addEventListener("change", showFlaws);
  return element("label", { for: `kind-${kind}` }, input, ` ${kinds[kind].label} `,
    element("code", {}, kinds[kind].strategy));
}

$("origin").textContent = location.origin;
$("gateway").textContent = about.gateway;
$("config").textContent = about.config;
$("kinds").append(...Object.keys(about.kinds).map(kindChoice));
if (!about.kinds.database) {
  $("kinds").append(element("p", {}, "The demo was started without a database, so there are no sessions in rows."));
}
$("people").append(
  ...about.people.map(({ key, name, role }) =>
    sessionButton(key, `${name} (${role})`, () => signIn(key, "none"))),
  sessionButton("out", "sign out", signOut),
);
$("end").addEventListener("click", endSession);
$("scenarios").append(...scenarios.map((scenario) =>
  element("li", {},
    element("button", { type: "button", onclick: () => run(scenario) }, scenario.label),
    element("p", {}, scenario.shows))));
const session = await (await fetch("/api/auth/session")).json();
if (session.kind) $(`kind-${session.kind}`).checked = true;
showFlaws();
showSession(session);
