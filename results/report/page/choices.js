// Which choices matter: importances with their uncertainty, and what each value adds in each stage.

function choicesCard(card) {
  if (!card.importances) return [];
  const fieldOf = (choice) => choice.split(".").at(-1);
  const fields = [...new Set(card.importances.map(({ choice }) => fieldOf(choice)))];
  const shown = 12;
  const bars = (listed) => listed.map((one) => importance(one, Math.max(0.05, ...card.importances.map(({ share }) => share[2]))));
  const effects = el("div", { class: "panels" });
  const draw = (field) => {
    const listed = card.importances.filter(({ choice }) => fieldOf(choice) === field).sort((a, b) => a.choice.localeCompare(b.choice));
    const most = Math.max(0.001, ...listed.flatMap((one) => one.effects.flatMap(([, , , low, high]) => [Math.abs(low), Math.abs(high)])));
    effects.replaceChildren(...listed.map((one) => panel(one, most)));
  };
  const view = kept("choices", { field: fields[0] });
  if (!fields.includes(view.field)) view.field = fields[0];
  draw(view.field);
  const rest = card.importances.slice(shown);
  return [
    el("p", { class: "legend" },
      el("span", {}, el("i", { class: "key share-key" }), "share of the differences in mIoU (blue: more than chance)"),
      el("span", {}, el("i", { class: "key whisker-key" }), "95 % interval"),
      el("span", {}, el("i", { class: "key chance-key" }), "what chance would reach")),
    el("div", { class: "bars", role: "list" }, bars(card.importances.slice(0, shown))),
    rest.length ? el("details", { class: "screen" }, el("summary", {}, `${rest.length} more choices`), el("div", { class: "bars", role: "list" }, bars(rest))) : null,
    el("h3", {}, "What each adds"),
    el("div", { class: "controls" }, choice("choice", fields.map((name) => [name, name.replaceAll("_", " ")]), view.field, (field) => { view.field = field; draw(field); }),
      el("span", { class: "note" }, "points of mIoU against the mean network, with 95 % intervals; in brackets how many networks have it")),
    effects,
  ];
}

const at = (share) => `${Math.max(0, Math.min(100, 100 * share)).toFixed(2)}%`;

function importance({ name, share: [share, low, high], chance, matters }, most) {
  const told = `${percent(share)} (${(100 * low).toFixed(1)} to ${percent(high)})`;
  return el("div", { class: `bar-row${matters ? " matters" : ""}`, role: "listitem", "aria-label": `${name}: ${told}` },
    el("span", { class: "bar-name" }, name),
    el("span", { class: "track", title: `chance gives up to ${percent(chance)}` },
      el("i", { class: "fill", style: { width: at(share / most) } }),
      el("i", { class: "whisker", style: { left: at(low / most), width: at((high - low) / most) } }),
      el("i", { class: "chance", style: { left: at(chance / most) } })),
    el("span", { class: "bar-value" }, told));
}

function panel({ name, effects }, most) {
  const place = (gain) => 0.5 + gain / most / 2, digits = most < 0.005 ? 2 : 1;
  return el("div", { class: "panel" }, el("h4", {}, name), [...effects].sort((a, b) => b[2] - a[2]).map(([value, networks, gain, low, high]) => {
    const sure = low > 0 || high < 0;
    return el("div", { class: `effect${sure ? " sure" : ""}` },
      el("span", { class: "bar-name" }, value.replaceAll("_", " "), el("small", {}, ` (${networks})`)),
      el("span", { class: "track" },
        el("i", { class: "zero" }),
        el("i", { class: "whisker", style: { left: at(place(low)), width: at(place(high) - place(low)) } }),
        el("i", { class: "dot", style: { left: at(place(gain)) } })),
      el("span", { class: "bar-value", title: `${points(low, digits)} to ${points(high, digits)}` }, points(gain, digits)));
  }));
}
