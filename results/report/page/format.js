// Numbers for people, as the command line writes them.

const UNITS = { params: [[1e6, "M"], [1e3, "k"]], macs: [[1e9, "G"], [1e6, "M"], [1e3, "k"]] };

function counted(value, units, digits) {
  const [size, letter] = units.find(([size]) => value >= 0.1 * size) ?? units.at(-1);
  return `${digits(value / size)} ${letter}`;
}

function show(name, value) {
  if (value === null || value === undefined) return "–";
  if (name === "miou") return `${(100 * value).toFixed(2)} %`;
  if (name === "latency_ms") return `${value.toFixed(2)} ms`;
  return counted(value, UNITS[name], (number) => number.toFixed(3));
}

function tick(name, value) {
  const plain = (number) => String(Number(number.toPrecision(4)));
  if (name === "miou" || name === "share") return `${plain(100 * value)} %`;
  if (name === "latency_ms") return `${plain(value)} ms`;
  if (!(name in UNITS)) return value >= 1e4 ? value.toLocaleString("en") : plain(value);
  const [size, letter] = UNITS[name].find(([size]) => value >= size) ?? UNITS[name].at(-1);
  return `${plain(value / size)} ${letter}`;
}

const NOUNS = { miou: "mIoU", params: "parameters", macs: "MACs", latency_ms: "latency" };
const points = (gain, digits = 1) => `${gain > 0 ? "+" : gain < 0 ? "−" : "±"}${Math.abs(100 * gain).toFixed(digits)}`;
const percent = (share) => `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;

function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}
