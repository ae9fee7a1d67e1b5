// Latencies, failures, data, predictions and configuration.

function latencyCard(card) {
  const parts = [table(["figure", "how it came about", "trials"], card.kinds, "Provenance of latencies")];
  if (card.pairs.length) {
    const span = ([ms, low, high]) => `${ms.toFixed(2)} ms (${low.toFixed(2)} to ${high.toFixed(2)})`;
    parts.push(el("details", { class: "plain" }, el("summary", {}, "Of each network: in the search, and at its end"),
      table(["trial", "search", "final", "change"], card.pairs.map(([number, early, final]) => [number, span(early), span(final), `${final[0] >= early[0] ? "+" : "−"}${percent(Math.abs(final[0] / early[0] - 1))}`]), "Latencies")));
  }
  return parts;
}

const failuresCard = (card) => [
  table(["what became of it", "reason", "trials", "which"], card.groups.map(([status, reason, number, which]) => [status, reason, number, which.join(", ") + (number > which.length ? ", …" : "")]), "Failures"),
];

function dataCard(card) {
  const parts = [];
  if (card.shares.length) {
    const most = card.shares[0][1] || 1;
    parts.push(el("div", { class: "bars", role: "list" }, card.shares.slice(0, 40).map(([name, share]) =>
      el("div", { class: "bar-row", role: "listitem" }, el("span", { class: "bar-name" }, name), el("span", { class: "track" }, el("i", { class: "fill", style: { width: at(share / most) } })), el("span", { class: "bar-value" }, percent(share))))));
    if (card.shares.length > 40) parts.push(el("p", { class: "note" }, `and ${card.shares.length - 40} rarer classes`));
  } else parts.push(el("p", {}, "Classes: ", card.labels.join(", "), "."));
  if (card.sizes) {
    const worded = ([height, width]) => `${width}×${height}`;
    parts.push(el("p", { class: "note" }, card.sizes.distinct === 1 ? `All images are of ${worded(card.sizes.median)} pixels.` : `Images are of ${worded(card.sizes.smallest)} to ${worded(card.sizes.largest)} pixels, in the median ${worded(card.sizes.median)}.`));
  }
  if (card.samples.length) parts.push(el("div", { class: "pictures" }, card.samples.map(({ name, image, alt }) => el("figure", {}, picture(image, alt), el("figcaption", {}, name)))));
  if (card.remark) parts.push(el("p", { class: "note" }, card.remark));
  return parts;
}

function predictionsCard(card) {
  const head = ["image", "truth", ...card.networks.map(({ name }) => name)];
  return [
    el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Predictions" }, el("table", { class: "predictions" },
      el("thead", {}, el("tr", {}, head.map((name, i) => el("th", { scope: "col" }, name, i > 1 && card.networks[i - 2].about ? el("small", {}, card.networks[i - 2].about) : null)))),
      el("tbody", {}, card.rows.map(({ name, images }) => el("tr", {}, images.map((image, i) => el("td", {}, picture(image, `${head[i]} of ${name}`)))))))),
    el("p", { class: "legend" }, card.classes.map(([name, colour]) => el("span", {}, el("i", { class: "key class", style: { background: colour } }), name))),
  ];
}

function setupCard(card) {
  const facts = (pairs) => el("dl", { class: "facts" }, pairs.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
  return [
    facts(card.facts),
    card.commands.length ? [el("h3", {}, "Commands"), commands(card.commands, "")] : null,
    card.versions.length ? [el("h3", {}, "Versions"), facts(card.versions)] : null,
    card.content.length ? [el("h3", {}, "Digests of images and masks"), facts(card.content)] : null,
    card.config ? el("details", { class: "plain screen" }, el("summary", {}, "Everything, as it was frozen"), el("pre", { tabindex: 0 }, JSON.stringify(card.config, null, 1))) : null,
    el("p", { class: "note" }, card.made),
  ];
}

// The network of a training, as one of the pinned ones is drawn.
function networkCard(card) {
  state.pinned = [0];
  const trial = state.byNumber.get(0);
  return [silhouette(trial), stages(trial, trial, card.size), commands(card.commands, 0)];
}

const picturesCard = (card) => [el("div", { class: "pictures large" }, card.pictures.map(({ name, image, alt }) => el("figure", {}, picture(image, alt), el("figcaption", {}, name))))];
