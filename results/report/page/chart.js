// A chart: axes with ticks that can be read, and a place to draw in. It is drawn anew when its width changes.

const MARGIN = { left: 62, right: 16, top: 14, bottom: 48 };

function ticksOf(low, high, log, wanted) {
  if (!(high > low)) return [low];
  if (!log) {
    const raw = (high - low) / wanted, power = 10 ** Math.floor(Math.log10(raw));
    const step = power * [1, 2, 5, 10].find((lead) => lead * power >= raw);
    const first = Math.ceil(low / step - 1e-9);
    return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
  }
  const kinds = [[1], [1, 2, 5], [1, 1.5, 2, 3, 4, 5, 6, 8], Array.from({ length: 45 }, (_, i) => 1 + i / 5), Array.from({ length: 180 }, (_, i) => 1 + i / 20)];
  const powers = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) powers.push(10 ** power);
  let found = [];
  for (const leads of kinds) {
    found = powers.flatMap((power) => leads.map((lead) => Number((lead * power).toPrecision(6)))).filter((v) => v >= low && v <= high);
    if (found.length >= 4) break;
  }
  const every = Math.ceil(found.length / wanted);
  return found.filter((_, i) => i % every === 0);
}

// An axis is {name, label, low, high, log}; `name` says how its ticks are written.
function scaleOf(axis, from, to) {
  const place = axis.log ? Math.log : (value) => value;
  const low = place(axis.low), span = place(axis.high) - low || 1;
  return (value) => from + ((place(value) - low) / span) * (to - from);
}

function chart(label, height, axes, draw) {
  const holder = el("div", { class: "chart", style: { minHeight: `${height}px` } });
  let drawn = 0;
  function redraw(width) {
    drawn = width;
    const [xAxis, yAxis] = axes(), inner = { left: MARGIN.left, right: width - MARGIN.right, top: MARGIN.top, bottom: height - MARGIN.bottom };
    const x = scaleOf(xAxis, inner.left, inner.right), y = scaleOf(yAxis, inner.bottom, inner.top);
    const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
    const across = ticksOf(xAxis.low, xAxis.high, xAxis.log, Math.max(3, Math.floor((inner.right - inner.left) / 62)));
    const up = ticksOf(yAxis.low, yAxis.high, yAxis.log, 6);
    for (const value of across) {
      root.append(svg("line", { class: "grid", x1: x(value), x2: x(value), y1: inner.top, y2: inner.bottom }));
      root.append(svg("text", { class: "tick", x: x(value), y: inner.bottom + 17, "text-anchor": "middle" }, tick(xAxis.name, value)));
    }
    for (const value of up) {
      root.append(svg("line", { class: "grid", x1: inner.left, x2: inner.right, y1: y(value), y2: y(value) }));
      root.append(svg("text", { class: "tick", x: inner.left - 7, y: y(value) + 4, "text-anchor": "end" }, tick(yAxis.name, value)));
    }
    root.append(svg("text", { class: "axis", x: inner.right, y: height - 8, "text-anchor": "end" }, `${xAxis.label}${xAxis.log ? ", logarithmic" : ""} →`));
    root.append(svg("text", { class: "axis", x: -inner.top, y: 13, "text-anchor": "end", transform: "rotate(-90)" }, `${yAxis.label} →`));
    draw({ root, x, y, inner, width, height });
    holder.replaceChildren(root);
  }
  new ResizeObserver(([entry]) => {
    const width = Math.round(entry.contentRect.width);
    if (width > 0 && width !== drawn) redraw(width);
  }).observe(holder);
  holder.redraw = () => drawn && redraw(drawn);
  return holder;
}

const line = (pairs) => pairs.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

function between(values, log, room = 0.06) {
  const finite = values.filter((value) => Number.isFinite(value) && (!log || value > 0));
  if (!finite.length) return log ? [1, 10] : [0, 1];
  const low = finite.reduce((a, b) => Math.min(a, b)), high = finite.reduce((a, b) => Math.max(a, b));
  if (log) {
    const factor = Math.max(1.08, (high / low) ** room);
    return [low / factor, high * factor];
  }
  const more = Math.max((high - low) * room, Math.abs(high) * 0.01, 1e-9);
  return [low - more, high + more];
}
