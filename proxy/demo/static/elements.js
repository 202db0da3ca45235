// Making elements, and the parts of an answer that are shown as such.

export const $ = (id) => document.getElementById(id);

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") made.addEventListener("click", value);
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

export function statusBadge(status, text) {
  const kind = (status >= 200 && status < 300) || status === 101 ? "status" : "status bad";
  return element("span", { class: kind }, `${status} ${text}`.trim());
}

export function headerTable(headers) {
  const rows = headers.map(([name, value]) => {
    const ours = name.toLowerCase().startsWith("x-user-") ? { class: "ours" } : {};
    return element("tr", ours, element("th", { scope: "row" }, name), element("td", {}, value));
  });
  return element("table", {}, element("tbody", {}, ...rows));
}

export function requestText(scenario) {
  const init = scenario.init ?? {};
  const lines = [`${init.method ?? "GET"} ${scenario.path}`, `Origin: ${location.origin}`];
  for (const [name, value] of Object.entries(init.headers ?? {})) lines.push(`${name}: ${value}`);
  lines.push(init.credentials === "omit" ? "(no cookie)" : "(the browser adds the cookie, if there is one)");
  if (init.body) lines.push("", init.body);
  return lines.join("\n");
}
