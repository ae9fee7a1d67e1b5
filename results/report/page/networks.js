// Pinned networks side by side: numbers against the first, a drawing stage by stage, lineage and commands.

function networksCard(card) {
  const front = state.document.cards.find(({ kind }) => kind === "front");
  const holder = el("div", { class: "networks", tabindex: -1 });
  const again = () => holder.replaceChildren(...(state.pinned.length
    ? state.pinned.map((number) => network(state.byNumber.get(number), state.byNumber.get(state.pinned[0]), card, front))
    : [el("p", { class: "note" }, "No network is pinned.")]));
  state.followers.push(again);
  again();
  return [holder];
}

function network(trial, first, card, front) {
  const rules = front.picks.find(({ number }) => number === trial.number)?.rules ?? [];
  const kind = trial.kind === "front" ? "on the front" : trial.kind;
  return el("article", { class: `network pin-${letter(trial.number)}` },
    el("h3", {}, badge(trial.number), ` trial ${trial.number} `, el("small", {}, trial.id)),
    el("p", { class: "rules" }, [...rules, kind].join(", ")),
    numbers(trial, first, front.budgets),
    silhouette(trial),
    stages(trial, first, card.size),
    ancestry(trial),
    el("details", { class: "plain" }, el("summary", {}, "Commands"), commands(card.commands, trial.number)),
    el("button", { type: "button", class: "release", onclick: (event) => { const holder = event.target.closest(".networks"); pin(trial.number); holder.focus({ preventScroll: true }); } }, "release"));
}

function numbers(trial, first, budgets) {
  const rows = ["miou", "params", "macs", "latency_ms"].filter((name) => trial[name] !== null).map((name) => {
    const std = name === "miou" && trial.std ? ` ± ${(100 * trial.std).toFixed(2)}` : "";
    const parts = [];
    if (trial !== first && first[name]) {
      parts.push(name === "miou" ? `${points(trial.miou - first.miou)} points` : trial[name] === first[name] ? "the same" : `${trial[name] > first[name] ? "+" : "−"}${percent(Math.abs(trial[name] / first[name] - 1))}`);
    }
    if (budgets[name]) parts.push(`${percent(trial[name] / budgets[name])} of budget`);
    return el("tr", {}, el("th", { scope: "row" }, NOUNS[name]), el("td", { class: "number" }, show(name, trial[name]), std), el("td", {}, parts.map((text) => el("span", {}, text))));
  });
  return el("table", { class: "numbers" }, el("tbody", {}, rows));
}

const fieldsOf = (trial) => [0, 1, 2, 3].map((i) => Object.fromEntries(
  ["width", "depth", "embed", "mixer", "ffn", "norm", "arrangement", "layer_scale", "local_connection"].map((name) => [name, valueOf(trial, `stages.${i}.${name}`)])));

// Boxes as high as a stage has channels, as long as it has layers.
function silhouette(trial) {
  const found = fieldsOf(trial), deepest = Math.max(...found.map(({ depth }) => depth)), widest = Math.max(...found.map(({ width }) => width));
  const root = svg("svg", { viewBox: "0 0 300 92", class: "silhouette", role: "img", "aria-label": found.map(({ width, depth }, i) => `stage ${i + 1}: ${width} channels, ${depth} layers`).join("; ") });
  found.forEach(({ width, depth }, i) => {
    const left = 8 + i * 74, height = 12 + 46 * Math.sqrt(width / widest), each = Math.min(60 / deepest, 34);
    for (let layer = 0; layer < depth; layer++) root.append(svg("rect", { x: left + layer * each, y: 62 - height, width: Math.max(2, each - 2), height, rx: 2 }));
    root.append(svg("text", { x: left, y: 76 }, `${width} ch`), svg("text", { x: left, y: 88, class: "faint" }, `${depth} layer${depth === 1 ? "" : "s"}`));
  });
  return root;
}

function stages(trial, first, size) {
  const own = fieldsOf(trial), others = fieldsOf(first);
  const marked = (value, other, text) => {
    const same = JSON.stringify(value) === JSON.stringify(other);
    return same ? text : el("mark", { title: `in ${letter(first.number)}: ${worded(other)}` }, text);
  };
  const rows = own.map((stage, i) => {
    const other = others[i], scale = 4 * 2 ** i;
    const map = size ? ` · ${Math.ceil(size[0] / scale)}×${Math.ceil(size[1] / scale)}` : "";
    const habits = [
      marked(stage.norm, other.norm, `${stage.norm} norm`), ", ", marked(stage.arrangement, other.arrangement, stage.arrangement),
      stage.layer_scale || other.layer_scale ? [", ", marked(stage.layer_scale, other.layer_scale, stage.layer_scale ? "layer scale" : "no layer scale")] : null,
      stage.local_connection || other.local_connection ? [", ", marked(stage.local_connection, other.local_connection, stage.local_connection ? "local connection" : "no local connection")] : null,
    ];
    return el("li", {},
      el("b", {}, `Stage ${i + 1}`), el("span", { class: "faint" }, map), " ", marked(stage.width, other.width, `${stage.width} channels`), " × ", marked(stage.depth, other.depth, `${stage.depth} layer${stage.depth === 1 ? "" : "s"}`),
      el("div", { class: "flow" }, marked(stage.embed, other.embed, worded(stage.embed)), " → ", marked(stage.mixer, other.mixer, worded(stage.mixer)), " + ", marked(stage.ffn, other.ffn, worded(stage.ffn))),
      el("div", { class: "faint" }, habits));
  });
  const whole = ["stem", "decoder.fusion", "decoder.width"].map((name) => [name, valueOf(trial, name), valueOf(first, name)]);
  const [stem, fusion, width] = whole;
  return el("ol", { class: "stages" },
    stem[1] && (stem[1].block !== "none" || stem[2]?.block !== "none") ? el("li", {}, el("b", {}, "Stem "), marked(stem[1], stem[2], worded(stem[1]))) : null,
    rows,
    el("li", {}, el("b", {}, "Decoder "), marked(fusion[1], fusion[2], worded(fusion[1])), ", ", marked(width[1], width[2], `${width[1]} channels`)));
}

function ancestry(trial) {
  const members = lineageOf(trial);
  if (members.length < 2 && trial.parent === null) return null;
  const steps = members.map((member, i) => {
    const changes = i ? changesBetween(members[i - 1], member) : [];
    const begun = i ? "" : member.parent === -1 ? "from the start's weights" : "from random weights";
    return el("li", {}, el("b", {}, `trial ${member.number}`), ` ${show("miou", member.miou)} `, el("span", { class: "faint" }, begun),
      changes.length ? el("ul", {}, changes.map(([what, before, after]) => el("li", {}, `${what}: `, el("s", {}, before), " → ", after))) : i ? el("div", { class: "faint" }, "the same network, trained on") : null);
  });
  return el("details", { class: "plain" }, el("summary", {}, `Lineage: ${members.length} trainings, ${trial.behind} iterations`), el("ol", { class: "lineage" }, steps));
}
