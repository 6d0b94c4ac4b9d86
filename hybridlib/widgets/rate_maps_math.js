// Runs of a ladder of learning rates, in rows of optimisers and columns of rates. No page here.

import { spreadOf } from "./spread.js";

// runs: { data, optimizer, lr, stem, accuracy (0 to 1), diverged, … } each
//   -> [{ optimizer, cells: [{ lr, runs, mean, sd }] }], rates rising
export function rateRows(runs, data, stem) {
  const mine = runs.filter((run) => run.data === data && run.stem === stem);
  return distinct(mine, "optimizer").map((optimizer) => {
    const row = mine.filter((run) => run.optimizer === optimizer);
    const rates = distinct(row, "lr").sort((a, b) => a - b);
    return {
      optimizer,
      cells: rates.map((lr) =>
        rateCell(
          lr,
          row.filter((run) => run.lr === lr),
        ),
      ),
    };
  });
}

export const distinct = (runs, key) => [...new Set(runs.map((run) => run[key]))];

function rateCell(lr, runs) {
  return { lr, runs, ...spreadOf(runs.map(({ accuracy }) => accuracy)) };
}

// How many runs of each cell of a row end at most so many points below the row's best run; none that
// diverged does.
export function nearBest({ cells }, points) {
  const best = Math.max(...cells.flatMap(({ runs }) => runs.map(({ accuracy }) => accuracy)));
  return cells.map(
    ({ runs }) =>
      runs.filter(({ accuracy, diverged }) => !diverged && 100 * (best - accuracy) <= points + 1e-6)
        .length,
  );
}
