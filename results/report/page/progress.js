// How the search got on, how far its order is to be trusted, and the curves of trainings.

const PALETTE = ["blue", "orange", "green", "purple"];

function curveChart(label, height, describe) {
  return chart(label, height, () => describe().axes, (space) => {
    const { curves, band } = describe();
    if (band) {
      const upper = band.map(([x, , high]) => [space.x(x), space.y(high)]), lower = band.map(([x, low]) => [space.x(x), space.y(low)]).reverse();
      space.root.append(svg("path", { class: "band", d: `${line([...upper, ...lower])}Z` }));
    }
    curves.forEach(({ pairs, steps, dots }, i) => {
      const placed = pairs.map(([x, y]) => [space.x(x), space.y(y)]);
      const path = steps ? placed.map(([x, y], n) => (n ? `H${x.toFixed(1)}V${y.toFixed(1)}` : `M${x.toFixed(1)} ${y.toFixed(1)}`)).join("") : line(placed);
      space.root.append(svg("path", { class: `curve ${PALETTE[i % 4]} dash-${i % 4}`, d: path }));
      if (dots) space.root.append(svg("path", { class: `curve-dots ${PALETTE[i % 4]}`, d: placed.map(([x, y]) => `M${x.toFixed(1)} ${y.toFixed(1)}h0`).join("") }));
    });
  });
}

function keyOf(names, band) {
  return el("p", { class: "legend" }, names.map((name, i) => el("span", {}, el("i", { class: `key curve-key ${PALETTE[i % 4]} dash-${i % 4}` }), name)),
    band ? el("span", {}, el("i", { class: "key band-key" }), band) : null);
}

function progressCard(card) {
  const view = kept("progress", { by: "networks" });
  const describe = () => {
    const across = (curve, n) => (view.by === "networks" ? n + 1 : curve.seconds[n] / 60);
    const curves = card.curves.map((curve) => ({ steps: true, pairs: curve.volume.map((value, n) => [across(curve, n), value]) }));
    const whose = card.curves.at(-1);
    const band = card.random ? card.random[0].map((_, n) => [across(whose, n), card.random[1][n], card.random[2][n]]) : null;
    const right = curves.flatMap(({ pairs }) => pairs.map(([x]) => x)).reduce((a, b) => Math.max(a, b));
    const top = [...curves.flatMap(({ pairs }) => pairs.map(([, y]) => y)), ...(card.random?.[2] ?? [])].reduce((a, b) => Math.max(a, b));
    const label = view.by === "networks" ? "networks tried" : "minutes of training, one after the other";
    return { curves, band, axes: [{ name: view.by, label, low: view.by === "networks" ? 1 : 0, high: right }, { name: "share", label: "hypervolume", low: 0, high: 1.05 * top }] };
  };
  const drawing = curveChart(card.sentence, 280, describe);
  return [
    el("div", { class: "controls" }, choice("against", [["networks", "networks tried"], ["time", "time"]], view.by, (value) => { view.by = value; drawing.redraw(); })),
    drawing, keyOf(card.curves.map(({ name }) => name), card.random ? card.random_name : null),
  ];
}

function trustCard(card) {
  const parts = card.lines.length ? [el("ul", {}, card.lines.map((text) => el("li", {}, text)))] : [];
  const all = [...card.pairs, ...card.retrained];
  if (all.length > 3) {
    const axes = () => [
      { name: "miou", label: `mIoU after ${card.lengths[0]} iterations`, ...range(all.map(([, short]) => short)) },
      { name: "miou", label: "mIoU after a longer training", ...range(all.map(([, , long]) => long)) },
    ];
    parts.push(chart("mIoU of networks after the short and after a longer training", 300, axes, (space) => {
      for (const [pairs, kind] of [[card.pairs, "dominated"], [card.retrained, "preset-dots"]]) {
        if (pairs.length) space.root.append(svg("path", { class: `dots ${kind}`, d: pairs.map(([, short, long]) => `M${space.x(short).toFixed(1)} ${space.y(long).toFixed(1)}h0`).join("") }));
      }
    }));
    parts.push(el("p", { class: "note" }, `Each dot is a network; the closer to a rising line, the better the short training ranks. ${card.retrained.length ? "Orange: retrained in full." : ""}`));
  }
  if (card.comparisons.length) {
    const tau = (value) => value.toFixed(2);
    parts.push(table(["longer training", "how", "networks", "tau", "95 % interval", "within the best", "by parameters alone", "by MACs alone"],
      card.comparisons.map(([length, how, networks, [mean, low, high], top, params, macs]) => [`${length} iterations`, how, networks, tau(mean), `${tau(low)} to ${tau(high)}`, tau(top), tau(params), tau(macs)]), "Rank agreement"));
  }
  return parts;
}

function range(values) {
  const [low, high] = between(values, false, 0.08);
  return { low: Math.max(0, low), high };
}

// Curves of a training: loss, and the scores of validations.
function curvesCard(card) {
  return [el("div", { class: "panels wide" }, card.panels.map(({ title, name, label, curves }) => {
    const all = curves.flatMap(({ pairs }) => pairs);
    const [low, high] = between(all.map(([, y]) => y), false);
    const axes = [{ name: "iterations", label: "iterations", low: 0, high: Math.max(...all.map(([x]) => x), 1) }, { name, label, low: Math.max(0, low), high }];
    return el("div", { class: "panel" }, el("h3", {}, title), curveChart(title, 260, () => ({ axes, curves })), curves.length > 1 ? keyOf(curves.map((curve) => curve.name)) : null);
  }))];
}

function nowCard(card) {
  const running = card.running.map(({ number, id, done, total, loss }) => {
    const trial = state.byNumber.get(number);
    const parts = [el("h4", {}, `trial ${number} `, el("small", {}, id)), el("p", { class: "note" }, trial ? [show("params", trial.params), " parameters, ", show("macs", trial.macs), " MACs"] : "")];
    if (total) parts.push(el("progress", { max: total, value: done, "aria-label": `${done} of ${total} iterations` }), el("p", { class: "note" }, `iteration ${done} of ${total}`));
    if (loss.length > 1) {
      const [low, high] = between(loss.map(([, y]) => y), false);
      parts.push(curveChart(`loss of trial ${number}`, 170, () => ({ axes: [{ name: "iterations", label: "iterations", low: 0, high: total }, { name: "loss", label: "loss", low: Math.max(0, low), high }], curves: [{ pairs: loss }] })));
    }
    return el("div", { class: "panel" }, parts);
  });
  return [running.length ? el("div", { class: "panels" }, running) : null, card.latest.length ? el("ol", { class: "latest" }, card.latest.map((text) => el("li", {}, text))) : null];
}
