// What all cards share: the document, its trials as objects, and the networks that are pinned.

const state = { document: null, trials: [], byNumber: new Map(), pinned: [], followers: [], kept: new Map() };
const LETTERS = ["A", "B", "C", "D", "E", "F"];

function take(document) {
  state.document = document;
  const { fields, kinds, reasons, rows } = document.trials ?? { fields: [], kinds: [], reasons: [], rows: [] };
  state.trials = rows.map((row) => {
    const trial = Object.fromEntries(fields.map((name, i) => [name, row[i]]));
    trial.kind = kinds[trial.kind];
    trial.reason = trial.reason === null ? null : reasons[trial.reason];
    return trial;
  });
  state.byNumber = new Map(state.trials.map((trial) => [trial.number, trial]));
  state.pinned = state.pinned.filter((number) => state.byNumber.has(number));
}

// What a reader chose in a card, which stays when the card is drawn anew.
function kept(card, usual) {
  if (!state.kept.has(card)) state.kept.set(card, usual);
  return state.kept.get(card);
}

function pin(number) {
  if (state.pinned.includes(number)) state.pinned = state.pinned.filter((other) => other !== number);
  else state.pinned = [...state.pinned, number].slice(-LETTERS.length);
  const done = state.pinned.includes(number) ? `pinned as ${letter(number)}` : "released";
  announce(`trial ${number} ${done}`);
  state.followers.forEach((follow) => follow());
}

const letter = (number) => LETTERS[state.pinned.indexOf(number)];
const badge = (number) => el("span", { class: `badge pin-${letter(number)}` }, letter(number));

const valueOf = (trial, slot) => {
  const place = state.document.trials.slots.findIndex(({ name }) => name === slot);
  return place < 0 ? undefined : state.document.trials.slots[place].values[trial.network[place]];
};

function worded(value) {
  if (value === null || typeof value !== "object") return String(value);
  const { block, ...options } = value;
  const listed = Object.entries(options).map(([name, option]) => `${name} ${option}`).join(", ");
  return listed ? `${block} (${listed})` : block;
}

function slotName(slot) {
  const [head, stage, field] = slot.split(".");
  if (head === "stages") return `${field.replaceAll("_", " ")} of stage ${Number(stage) + 1}`;
  return head === "decoder" ? `${stage} of the decoder` : head;
}

// What differs between two networks, in words.
function changesBetween(before, after) {
  return state.document.trials.slots.flatMap(({ name, values }, i) =>
    before.network[i] === after.network[i] ? [] : [[slotName(name), worded(values[before.network[i]]), worded(values[after.network[i]])]]);
}

function lineageOf(trial) {
  const members = [trial], known = new Set([trial.number]);
  while (members[0].parent !== null && members[0].parent >= 0) {
    const above = state.byNumber.get(members[0].parent);
    if (!above || known.has(above.number)) break;
    known.add(above.number);
    members.unshift(above);
  }
  return members;
}

function brief(trial) {
  const stages = [0, 1, 2, 3].filter((i) => valueOf(trial, `stages.${i}.width`) !== undefined);
  return stages.map((i) => `${valueOf(trial, `stages.${i}.width`)}×${valueOf(trial, `stages.${i}.depth`)} ${valueOf(trial, `stages.${i}.mixer`).block}+${valueOf(trial, `stages.${i}.ffn`).block}`);
}
