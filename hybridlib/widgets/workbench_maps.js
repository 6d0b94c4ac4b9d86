// What can be laid over the picture: maps of attention, activity after a block, what the answer
// hangs on. Numbers, no page.

import { SIDE } from "./workbench_ink.js";
import { liveLayer, queriesOf, queryIndex, rowOf } from "./attention_math.js";
import { PLACES } from "./workbench_occlusion.js";

export const NOTHING = "off";
export const OCCLUSION = "occlusion";

const KINDS = {
  content: "attention",
  position: "attention by position",
  gated: "attention, gated mixture of content and position",
  "class-over-layers": "the class token over all layers",
};
const MIXED = { content: "attention by content" }; // in a block that has maps of several kinds

// The choices for one model: [{ key, group, text }]. `first` is what its `run` returns.
export function choicesOf(first) {
  const kindsIn = (block) => first.maps.filter((map) => map.block === block).length;
  const ofMap = (map, i) => {
    const kind =
      (kindsIn(map.block) > 1 ? MIXED[map.kind] : undefined) ?? KINDS[map.kind] ?? map.kind;
    return {
      key: `map-${i}`,
      group: "Attention",
      text: map.grid[0] ? `block ${map.block + 1}: ${kind}` : kind,
    };
  };
  const blocks = first.layers.filter(({ block }) => spatial(moduleOf(first, block)));
  return [
    { key: NOTHING, group: "", text: "nothing: the picture alone" },
    ...first.maps.map(ofMap),
    ...blocks.map(({ block }) => {
      const i = first.layers.findIndex((layer) => layer.block === block);
      return { key: `activity-${i}`, group: "Activity", text: `after ${blockName(first, i)}` };
    }),
    { key: OCCLUSION, group: "Occlusion", text: "what the answer hangs on" },
  ];
}

// Blocks are counted from 1, whatever they are called in the model; a last step over all of them
// keeps its name.
export function blockName({ layers }, i) {
  return /\d/.test(layers[i].block) ? `block ${i + 1}` : layers[i].block.toUpperCase();
}

const moduleOf = ({ modules }, block) => modules.find(({ name }) => name === block);

// Rows and columns of what a module makes, and how many tokens go before the places; null where it
// has no places.
function spatial(module) {
  if (!module) return null;
  const { shape } = module;
  if (shape.length === 4) return { grid: [shape[2], shape[3]], before: 0 };
  if (shape.length !== 3) return null;
  const side = Math.floor(Math.sqrt(shape[1]));
  return side > 1 ? { grid: [side, side], before: shape[1] - side * side } : null;
}

// What the choice needs of a run, copied, for the next run writes over it: { map } or { activity }
// or {}.
export function keep(result, show) {
  const [kind, number] = show.split("-");
  if (kind === "map" && result.maps[number]) {
    return { map: liveLayer(result.maps[number]) };
  }
  if (kind === "activity" && result.layers[number]) {
    const module = moduleOf(result, result.layers[number].block);
    return {
      activity: {
        ...spatial(module),
        values: strengths(module, spatial(module)),
        of: blockName(result, Number(number)),
      },
    };
  }
  return {};
}

// At every place the root mean square over channels.
function strengths(module, { grid: [rows, cols], before }) {
  const all = module.read();
  const places = rows * cols;
  const maps = module.shape.length === 4;
  const channels = maps ? module.shape[1] : module.shape[2];
  return Float32Array.from({ length: places }, (_, p) => {
    let sum = 0;
    for (let c = 0; c < channels; c++)
      sum += (maps ? all[c * places + p] : all[(before + p) * channels + c]) ** 2;
    return Math.sqrt(sum / channels);
  });
}

// The numbers to lay over the picture for a head and a query { name, row, col }:
//   { values, grid, low, high, twoSided, who, cell, shares }
//   grid [0, 0]: nothing to lay over, `shares` says it all;  cell: the place that asks, or null;
//   shares: [{ name, share }] of tokens that are no places
export function layerOf({ map, activity, drops }, head, query) {
  if (drops) return ofDrops(drops);
  if (activity) return ofActivity(activity);
  return map ? ofMap(map, head, query) : null;
}

function ofMap(map, head, query) {
  const index = indexOf(map, query);
  const row = rowOf(map, head === "mean" ? head : Math.min(head, map.heads - 1), index);
  const { names, patches } = queriesOf(map);
  const token = index < names.length || !patches ? names[index] : null;
  const values = row.slice(map.extra.length);
  return {
    values,
    grid: map.grid,
    low: 0,
    high: values.reduce((a, b) => Math.max(a, b), 1e-12),
    twoSided: false,
    who: token,
    cell: token === null ? placeOf(map.grid, index - names.length) : null,
    shares: map.extra.map((name, i) => ({ name: counted(name), share: row[i] })),
  };
}

const indexOf = (map, { name, row, col }) =>
  queryIndex(map, { name, x: (col + 0.5) / SIDE, y: (row + 0.5) / SIDE });
const placeOf = ([, cols], index) => [Math.floor(index / cols), index % cols];
// readers count from 1
const counted = (name) => name.replace(/block (\d+)$/, (_, i) => `block ${Number(i) + 1}`);

function ofActivity({ values, grid }) {
  return {
    values,
    grid,
    low: 0,
    high: values.reduce((a, b) => Math.max(a, b), 1e-12),
    twoSided: false,
    who: null,
    cell: null,
    shares: [],
  };
}

function ofDrops(values) {
  const high = values.reduce((a, b) => (Number.isNaN(b) ? a : Math.max(a, Math.abs(b))), 0.05);
  return {
    values,
    grid: [PLACES, PLACES],
    low: -high,
    high,
    twoSided: true,
    who: null,
    cell: null,
    shares: [],
  };
}

// Who may ask in a map: names of tokens, and whether patches do.
export const askersOf = (map) => (map.grid[0] ? queriesOf(map) : { names: [], patches: false });
