// The scatter plot's arithmetic: axes, places of the badges, and which systems no other beats.

const NICE = [1, 2, 5];
const MOST_TICKS = 6;
const ROUNDS = 300; // of pushing badges apart

// An axis that holds all of [low, high] pairs. Gives { at(v) -> 0..1, ticks }.
export function fieldScale(spans, kind) {
  const least = Math.min(...spans.map(([low]) => low));
  const most = Math.max(...spans.map(([, high]) => high));
  if (kind === "log") {
    const [a, b] = [Math.log(least) - 0.2, Math.log(most) + 0.2];
    return {
      at: (v) => (Math.log(Math.max(v, 1e-12)) - a) / (b - a),
      ticks: logTicks(Math.exp(a), Math.exp(b)),
    };
  }
  const room = 0.08 * (most - least) || 0.05 * Math.abs(most) || 1;
  const [a, b] = [least - room, most + room];
  return { at: (v) => (v - a) / (b - a), ticks: evenTicks(a, b) };
}

function evenTicks(low, high) {
  const power = 10 ** Math.floor(Math.log10((high - low) / MOST_TICKS));
  const step = [...NICE, 10].map((n) => n * power).find((s) => (high - low) / s <= MOST_TICKS);
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, i) =>
    Number(((first + i) * step).toPrecision(12)),
  );
}

function logTicks(low, high) {
  if (high / low < 4) return evenTicks(low, high);
  const ticks = (of) => {
    const found = [];
    for (let power = Math.floor(Math.log10(low)); 10 ** power <= high; power++)
      found.push(...of.map((n) => n * 10 ** power));
    return found.filter((v) => v >= low && v <= high);
  };
  const [fine, coarse] = [ticks(NICE), ticks([1])];
  return fine.length <= MOST_TICKS || coarse.length < 2 ? fine : coarse;
}

// 98,524 -> "98.5k"; 15,463,680 -> "15.5M": three digits at most, as on a tick.
export function shortNumber(v) {
  const [unit, sign] = [
    [1e9, "G"],
    [1e6, "M"],
    [1e3, "k"],
  ].find(([size]) => Math.abs(v) >= size) ?? [1, ""];
  return `${String(Number((v / unit).toPrecision(3))).replace("-", "−")}${sign}`;
}

// Where badges of a given width stand, near their points but not on one another. points, and the
// answer: [[x, y], …] in pixels
export function spreadBadges(points, width, [across, down]) {
  const at = points.map(([x, y]) => [x, y - 0.9 * width]);
  const push = (i, [x, y], gap, share) => {
    let [dx, dy] = [at[i][0] - x, at[i][1] - y];
    let apart = Math.hypot(dx, dy);
    if (apart >= gap) return;
    if (apart < 1e-6) [dx, dy, apart] = [Math.cos(i), Math.sin(i), 1];
    const by = (share * (gap - Math.min(apart, gap))) / apart;
    at[i] = [at[i][0] + dx * by, at[i][1] + dy * by];
  };
  for (let round = 0; round < ROUNDS; round++) {
    for (let i = 0; i < at.length; i++) {
      at[i] = at[i].map((v, axis) => v + 0.01 * (points[i][axis] - v));
      for (let j = 0; j < at.length; j++) {
        if (j !== i) push(i, at[j], 1.15 * width, 0.5);
        push(i, points[j], 0.8 * width, 0.5);
      }
      at[i] = at[i].map((v, axis) =>
        Math.max(width / 2, Math.min((axis ? down : across) - width / 2, v)),
      );
    }
  }
  return at;
}

// The indices of the points that no other beats on both axes, from left to right. better: "more" or
// "less" for x and for y
export function frontier(points, better) {
  if (better.some((word) => !word)) return [];
  const sign = better.map((word) => (word === "more" ? 1 : -1));
  const beats = (a, b) =>
    a.every((v, axis) => sign[axis] * (v - b[axis]) >= 0) && a.some((v, axis) => v !== b[axis]);
  const kept = points
    .map((_, i) => i)
    .filter((i) => !points.some((other) => beats(other, points[i])));
  return kept.sort((i, j) => points[i][0] - points[j][0]);
}
