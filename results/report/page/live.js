// While the search runs: the server tells what is new, and the cards are drawn anew.

function listen() {
  const sign = document.getElementById("live");
  const source = new EventSource("events");
  const rows = new Map();
  source.addEventListener("open", () => { rows.clear(); sign.textContent = "live"; sign.className = "on"; });
  source.addEventListener("error", () => { sign.textContent = "not connected"; sign.className = "off"; });
  source.addEventListener("run", (event) => {
    const told = JSON.parse(event.data);
    for (const row of told.trials.rows) rows.set(row[0], row);
    told.trials.rows = [...rows.values()].sort((a, b) => a[0] - b[0]);
    // Pictures came with the page alone.
    for (const card of told.cards) {
      const before = state.document.cards.find(({ kind }) => kind === card.kind);
      if (before?.samples?.length) card.samples = before.samples;
    }
    const kept = state.document.cards.filter(({ kind }) => kind === "predictions");
    told.cards.push(...kept.filter(({ kind }) => !told.cards.some((card) => card.kind === kind)));
    take(told);
    render();
  });
}
