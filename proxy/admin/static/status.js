// Shows whatever /-/status.json holds, every two seconds. Values become text nodes, never HTML.
"use strict";

const INTERVAL = 2000;

function element(name, ...children) {
  const made = document.createElement(name);
  made.append(...children);
  return made;
}

const isPlain = (value) => value === null || typeof value !== "object";
const isRow = (value) => !isPlain(value) && !Array.isArray(value);
const words = (key) => key.replaceAll("_", " ");

function list(values) {
  if (values.every(isPlain)) return element("ul", ...values.map((value) => element("li", String(value))));
  const rows = values.map((value) => (isRow(value) ? value : { value }));
  const keys = [...new Set(rows.flatMap(Object.keys))];
  const head = element("tr", ...keys.map((key) => element("th", words(key))));
  const body = rows.map((row) => element("tr", ...keys.map((key) => element("td", show(row[key])))));
  return element("table", element("thead", head), element("tbody", ...body));
}

function pairs(value) {
  const rows = Object.entries(value).map(([key, item]) =>
    element("tr", element("th", words(key)), element("td", show(item))));
  return element("table", element("tbody", ...rows));
}

function show(value) {
  if (value === undefined || value === null) return document.createTextNode("");
  if (isPlain(value)) return document.createTextNode(String(value));
  return Array.isArray(value) ? list(value) : pairs(value);
}

function render(status) {
  const entries = Object.entries(status);
  const plain = Object.fromEntries(entries.filter(([, value]) => isPlain(value)));
  const sections = entries.filter(([, value]) => !isPlain(value));
  document.getElementById("status").replaceChildren(
    pairs(plain),
    ...sections.flatMap(([key, value]) => [element("h2", words(key)), show(value)]));
}

function note(text, bad) {
  const place = document.getElementById("note");
  place.textContent = text;
  place.classList.toggle("bad", bad);
}

async function refresh() {
  try {
    const response = await fetch("/-/status.json", { cache: "no-store" });
    if (!response.ok) throw new Error(`status.json answered ${response.status}`);
    render(await response.json());
    note(`as of ${new Date().toLocaleTimeString()}`, false);
  } catch (error) {
    note(`not up to date: ${error.message}`, true);
  }
  setTimeout(refresh, INTERVAL);
}

refresh();
