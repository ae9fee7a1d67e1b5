// The page: its head, a way to each card, and the cards in the order that they were given.

const CARDS = {
  now: nowCard, front: frontCard, networks: networksCard, choices: choicesCard, progress: progressCard, trust: trustCard,
  latency: latencyCard, failures: failuresCard, data: dataCard, predictions: predictionsCard, setup: setupCard,
  curves: curvesCard, classes: dataCard, network: networkCard, pictures: picturesCard,
};

function render() {
  const told = state.document, main = document.querySelector("main");
  const open = new Map([...main.querySelectorAll("details")].map((node) => [detailKey(node), node.open]));
  const focused = document.activeElement?.closest?.("[data-card]")?.dataset.card;
  state.followers = [];
  document.getElementById("title").textContent = told.title;
  document.getElementById("about").textContent = told.about;
  document.getElementById("tiles").replaceChildren(...told.tiles.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
  document.getElementById("ways").replaceChildren(...told.cards.map(({ kind, title }) => el("a", { href: `#${kind}` }, title)));
  main.replaceChildren(...told.cards.map((card) => el("section", { id: card.kind, class: "card", "data-card": card.kind, "aria-labelledby": `${card.kind}-title` },
    el("h2", { id: `${card.kind}-title` }, card.title),
    el("p", { class: "sentence" }, card.sentence),
    el("div", { class: "body" }, CARDS[card.kind](card)),
    card.method ? el("details", { class: "method" }, el("summary", {}, "How this was found"), el("p", {}, card.method)) : null)));
  for (const node of main.querySelectorAll("details")) if (open.has(detailKey(node))) node.open = open.get(detailKey(node));
  if (focused) document.getElementById(focused)?.querySelector("[tabindex]")?.focus({ preventScroll: true });
}

const detailKey = (node) => `${node.closest("section")?.id} ${node.querySelector("summary")?.textContent}`;

// Light, dark, or as the system has it.
function themes() {
  const button = document.getElementById("theme"), order = ["auto", "light", "dark"];
  const set = (name) => { document.documentElement.dataset.theme = name; button.textContent = `colours: ${name}`; };
  set("auto");
  button.addEventListener("click", () => set(order[(order.indexOf(document.documentElement.dataset.theme) + 1) % 3]));
}

// On paper nothing can be opened: lineages and commands are shown, methods are left out.
function paper() {
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details.plain:not([open]):not(.screen)")];
    closed.forEach((node) => { node.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach((node) => { node.open = false; }));
}

take(JSON.parse(document.getElementById("document").textContent));
document.title = state.document.title;
state.pinned = (state.document.cards.find(({ kind }) => kind === "front")?.picks ?? []).map(({ number }) => number).slice(0, 3);
themes();
paper();
render();
if (state.document.live) listen();
