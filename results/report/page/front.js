// The front in any two objectives: hover to read, press to pin, arrow keys to walk along it.

const SERIES = [
  ["shorter", "shorter training"], ["dominated", "within budget"], ["over budget", "over budget"], ["front", "front"],
];
const DRAWN = { radius: 5.5, reach: 26 };

function frontCard(card) {
  const known = card.axes.map(({ name }) => name);
  const chosen = kept("front", { x: card.objectives.find((name) => name !== "miou") ?? known[1], y: "miou", hidden: new Set(["over budget"]) });
  const { hidden } = chosen;
  const log = (name) => name !== "miou";
  const label = (name) => card.axes.find((axis) => axis.name === name).label;
  const seen = () => state.trials.filter((t) => SERIES.some(([kind]) => kind === t.kind) && !hidden.has(t.kind) && t[chosen.x] !== null && t[chosen.y] !== null);
  let current = null, places = [];

  const range = (name, trials) => {
    const values = trials.map((trial) => trial[name]);
    if (name === "miou") trials.forEach((t) => t.std && values.push(t.miou - t.std, t.miou + t.std));
    const limit = card.budgets[name], largest = values.reduce((a, b) => Math.max(a, b), 0);
    if (limit !== undefined && limit <= 4 * largest) values.push(limit);
    const [low, high] = between(values, log(name));
    return { name, label: label(name), log: log(name), low: name === "miou" ? Math.max(0, low) : low, high };
  };

  const tip = el("div", { class: "tip", hidden: true });
  const outside = el("p", { class: "note" });
  const drawing = chart("The front", 440, () => { const trials = seen(); return [range(chosen.x, trials), range(chosen.y, trials)]; }, (space) => {
    const trials = seen();
    places = trials.map((trial) => ({ trial, x: space.x(trial[chosen.x]), y: space.y(trial[chosen.y]) }));
    outside.textContent = drawLimits(space, card, chosen, trials);
    for (const [kind] of SERIES.filter(([kind]) => kind !== "front")) {
      const dots = places.filter((place) => place.trial.kind === kind).map(({ x, y }) => `M${x.toFixed(1)} ${y.toFixed(1)}h0`).join("");
      if (dots) space.root.append(svg("path", { class: `dots ${kind.replace(" ", "-")}`, d: dots }));
    }
    drawFront(space, places.filter((place) => place.trial.kind === "front"), chosen);
    for (const number of state.pinned) {
      const place = places.find(({ trial }) => trial.number === number);
      if (!place) continue;
      space.root.append(svg("circle", { class: `ring pin-${letter(number)}`, cx: place.x, cy: place.y, r: 10 }));
      const left = place.x > space.inner.right - 30;
      space.root.append(svg("text", { class: "letter", x: place.x + (left ? -14 : 14), y: place.y - 9, "text-anchor": left ? "end" : "start" }, letter(number)));
    }
    space.root.append(svg("circle", { class: "current", r: 13, cx: -99, cy: -99 }));
  });

  function read(place, said) {
    current = place?.trial.number ?? null;
    const ring = drawing.querySelector(".current");
    ring?.setAttribute("cx", place ? place.x : -99);
    ring?.setAttribute("cy", place ? place.y : -99);
    tip.hidden = !place;
    if (!place) return;
    tip.replaceChildren(...described(place.trial));
    const room = drawing.clientWidth - tip.offsetWidth - 8;
    tip.style.left = `${Math.max(0, Math.min(place.x + 16, room))}px`;
    const above = place.y - tip.offsetHeight - 14;
    tip.style.top = `${above > 0 ? above : place.y + 16}px`;
    if (said) announce(tip.innerText.replaceAll("\n", ", "));
  }
  function nearest(event) {
    const box = drawing.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
    let best = null, least = DRAWN.reach ** 2;
    for (const place of places) {
      const far = (place.x - x) ** 2 + (place.y - y) ** 2 - (place.trial.kind === "front" ? 16 : 0);
      if (far < least) [best, least] = [place, far];
    }
    return best;
  }
  const holder = el("div", {
    class: "plot", tabindex: 0, role: "application",
    "aria-label": "The front. Arrow keys go from network to network, Enter pins the one that is read, Escape leaves it.",
    onpointermove: (event) => read(nearest(event)),
    onpointerleave: () => read(null),
    onblur: () => read(null),
    onclick: (event) => { const place = nearest(event); if (place) pin(place.trial.number); },
    onkeydown: (event) => {
      const steps = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 };
      const along = places.filter(({ trial }) => trial.kind === "front").sort((a, b) => a.x - b.x);
      if (event.key in steps && along.length) {
        event.preventDefault();
        const at = along.findIndex(({ trial }) => trial.number === current);
        read(along[at < 0 ? 0 : (at + steps[event.key] + along.length) % along.length], true);
      } else if (event.key === "Enter" && current !== null) pin(current);
      else if (event.key === "Escape") read(null);
    },
  }, drawing, tip);

  const options = card.axes.map(({ name, label, objective }) => [name, objective ? label : `${label} (no objective)`]);
  const listed = el("div");
  const again = () => {
    const focused = document.activeElement?.dataset.pin;
    drawing.redraw();
    listed.replaceChildren(frontTable(card));
    if (focused) listed.querySelector(`[data-pin="${focused}"]`)?.focus();
  };
  state.followers.push(again);
  const legend = el("div", { class: "legend", role: "group", "aria-label": "Press to hide and to show" }, SERIES.filter(([kind]) => state.trials.some((t) => t.kind === kind)).map(([kind, text]) => {
    const button = el("button", { type: "button", "aria-pressed": String(!hidden.has(kind)) }, el("i", { class: `key ${kind.replace(" ", "-")}` }), `${text} (${state.trials.filter((t) => t.kind === kind).length})`);
    button.addEventListener("click", () => {
      hidden[hidden.has(kind) ? "delete" : "add"](kind);
      button.setAttribute("aria-pressed", String(!hidden.has(kind)));
      drawing.redraw();
    });
    return button;
  }));
  const change = (axis) => (name) => { chosen[axis] = name; read(null); drawing.redraw(); };
  again();
  return [
    el("div", { class: "controls" }, choice("up", options, chosen.y, change("y")), choice("across", options, chosen.x, change("x")), legend),
    holder, outside,
    el("details", { open: true }, el("summary", {}, "The front as a table"), listed),
  ];
}

function drawFront(space, members, chosen) {
  const better = (name, a, b) => (name === "miou" ? a >= b : a <= b);
  const beaten = (one) => members.some((other) => other !== one &&
    better(chosen.x, other.trial[chosen.x], one.trial[chosen.x]) && better(chosen.y, other.trial[chosen.y], one.trial[chosen.y]) &&
    (other.trial[chosen.x] !== one.trial[chosen.x] || other.trial[chosen.y] !== one.trial[chosen.y]));
  const steps = members.filter((one) => !beaten(one)).sort((a, b) => a.x - b.x);
  const path = steps.map(({ x, y }, i) => (i ? `H${x.toFixed(1)}V${y.toFixed(1)}` : `M${x.toFixed(1)} ${y.toFixed(1)}`)).join("");
  if (steps.length > 1 && chosen.x !== chosen.y) space.root.append(svg("path", { class: "staircase", d: path }));
  for (const { trial, x, y } of members) {
    const bars = [];
    if (trial.std && chosen.y === "miou") bars.push([x, space.y(trial.miou - trial.std), x, space.y(trial.miou + trial.std)]);
    if (trial.std && chosen.x === "miou") bars.push([space.x(trial.miou - trial.std), y, space.x(trial.miou + trial.std), y]);
    if (trial.low && chosen.x === "latency_ms") bars.push([space.x(trial.low), y, space.x(trial.high), y]);
    if (trial.low && chosen.y === "latency_ms") bars.push([x, space.y(trial.low), x, space.y(trial.high)]);
    const held = (value, low, high) => Math.max(low, Math.min(value, high));
    for (const [x1, y1, x2, y2] of bars) {
      const { left, right, top, bottom } = space.inner;
      space.root.append(svg("line", { class: "bar", x1: held(x1, left, right), x2: held(x2, left, right), y1: held(y1, top, bottom), y2: held(y2, top, bottom) }));
    }
    space.root.append(svg("circle", { class: "member", cx: x, cy: y, r: DRAWN.radius, "data-trial": trial.number }));
  }
}

// Draws budgets and presets; gives in words what lies outside of the drawing.
function drawLimits(space, card, chosen, trials) {
  const beyond = [], { left, right, top, bottom } = space.inner;
  const labels = [];
  const vertical = (value, text, kind) => {
    const x = space.x(value);
    if (!(x >= left && x <= right)) return false;
    space.root.append(svg("line", { class: kind, x1: x, x2: x, y1: top, y2: bottom }));
    const crowded = labels.filter((other) => Math.abs(other - x) < 14).length;
    labels.push(x);
    if (crowded < 2) space.root.append(svg("text", { class: `${kind}-label`, x: -bottom + 6 + crowded * 120, y: x - 4, transform: "rotate(-90)" }, text));
    return true;
  };
  const horizontal = (value, text, kind) => {
    const y = space.y(value);
    if (!(y >= top && y <= bottom)) return false;
    space.root.append(svg("line", { class: kind, x1: left, x2: right, y1: y, y2: y }));
    space.root.append(svg("text", { class: `${kind}-label`, x: left + 6, y: y - 4 }, text));
    return true;
  };
  for (const [axis, draw] of [["x", vertical], ["y", horizontal]]) {
    const limit = card.budgets[chosen[axis]];
    if (limit !== undefined && !draw(limit, `budget ${show(chosen[axis], limit)}`, "budget")) beyond.push(`the budget of ${show(chosen[axis], limit)} ${NOUNS[chosen[axis]]}`);
  }
  for (const other of [...card.references].sort((a, b) => (a.params ?? 0) - (b.params ?? 0))) {
    const x = other[chosen.x], y = other[chosen.y];
    const px = x ? space.x(x) : NaN, py = y ? space.y(y) : NaN;
    if (px >= left && px <= right && py >= top && py <= bottom) {
      space.root.append(svg("path", { class: "preset", d: `M${px} ${py - 7}l7 7l-7 7l-7 -7z` }), svg("text", { class: "preset-label", x: px, y: py + 20, "text-anchor": "middle" }, other.name));
    } else if (!(x && !y && chosen.y === "miou" && vertical(x, other.name, "preset-cost"))) {
      if (x || y) beyond.push(`${other.name} (${show(x ? chosen.x : chosen.y, x ?? y)})`);
    }
  }
  const told = beyond.length > 4 ? [...beyond.slice(0, 3), `and ${beyond.length - 3} more`] : beyond;
  return told.length ? `Outside of the drawing: ${told.join(", ")}.` : "";
}

function described(trial) {
  const rows = ["miou", "params", "macs", "latency_ms"].filter((name) => trial[name] !== null);
  return [
    el("b", {}, `trial ${trial.number}`), ` ${trial.id}`,
    el("dl", {}, rows.map((name) => [el("dt", {}, NOUNS[name]), el("dd", {}, show(name, trial[name]), name === "miou" && trial.std ? ` ± ${(100 * trial.std).toFixed(2)}` : "")])),
    el("small", {}, trial.kind, trial.iterations ? `, ${trial.iterations} iterations` : "", trial.seeds > 1 ? `, ${trial.seeds} seeds` : ""),
    el("ol", {}, brief(trial).map((text) => el("li", {}, text))),
  ];
}

function frontTable(card) {
  const members = state.trials.filter((trial) => trial.kind === "front").sort((a, b) => b.miou - a.miou);
  const columns = ["miou", "params", "macs", "latency_ms"].filter((name) => members.some((trial) => trial[name] !== null));
  const rules = Object.fromEntries(card.picks.map(({ number, rules }) => [number, rules.join(", ")]));
  const rows = members.map((trial) => [
    pinButton(trial.number), rules[trial.number] ?? "",
    ...columns.map((name) => {
      const limit = card.budgets[name];
      const std = name === "miou" && trial.std ? ` ± ${(100 * trial.std).toFixed(2)}` : "";
      return el("span", {}, show(name, trial[name]), std, limit ? el("small", {}, ` ${percent(trial[name] / limit)} of budget`) : "");
    }),
    trial.seeds,
  ]);
  return table(["trial", "picked as", ...columns.map((name) => NOUNS[name]), "seeds"], rows, "The front as a table");
}

function pinButton(number) {
  const pinned = state.pinned.includes(number);
  return el("button", { type: "button", class: "pin", "data-pin": number, "aria-pressed": String(pinned), "aria-label": `trial ${number}: ${pinned ? "release" : "pin"}`, onclick: () => pin(number) },
    pinned ? badge(number) : el("span", { class: "badge" }, "+"), ` ${number}`);
}
