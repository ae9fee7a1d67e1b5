// Elements: texts only ever become text nodes, so whatever a name holds is shown and never run.

const SVG = "http://www.w3.org/2000/svg";

function filled(node, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") Object.assign(node.style, value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const el = (name, properties = {}, ...children) => filled(document.createElement(name), properties, children);
const svg = (name, properties = {}, ...children) => filled(document.createElementNS(SVG, name), properties, children);

// Only pictures that are in the page: anything else would be asked of the network.
const picture = (source, alt) =>
  /^data:image\/(png|jpeg);base64,[A-Za-z0-9+/=]*$/.test(source) ? el("img", { src: source, alt }) : null;

function table(head, rows, label) {
  const cell = (value) => el("td", { class: typeof value === "number" ? "number" : null }, value instanceof Node ? value : String(value ?? "–"));
  return el(
    "div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label },
    el("table", {},
      el("thead", {}, el("tr", {}, head.map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", {}, rows.map((row) => el("tr", {}, row.map(cell))))),
  );
}

function commands(listed, number) {
  return el("dl", { class: "commands" }, listed.map(([what, line]) => {
    const text = line.replaceAll("{n}", String(number));
    const copy = el("button", { type: "button", class: "copy", "aria-label": `Copy: ${text}` }, "copy");
    copy.addEventListener("click", async () => {
      await navigator.clipboard?.writeText(text).catch(() => null);
      copy.textContent = "copied";
    });
    return [el("dt", {}, what), el("dd", {}, el("code", {}, text), navigator.clipboard ? copy : null)];
  }));
}

function choice(label, options, value, changed) {
  const select = el("select", {}, options.map(([name, text]) => el("option", { value: name, selected: name === value }, text)));
  select.addEventListener("change", () => changed(select.value));
  return el("label", { class: "choice" }, label, " ", select);
}

const announce = (text) => { document.getElementById("said").textContent = text; };
