// What to draw of a network: rows from stem to head, read off the modules of its graph and how they
// follow each other.
//
//   networkOutline(modules, flow) -> rows: { members, title, path, kind, strip }
//     members   places in `modules` of a block, and of the equal blocks that follow it; [] for a
// row of single parts
//     kind      "attention" for a block that attends, else what the block is
//     strip     what is in it: cells { place, label, sub, kind, inner } and joins { join, main:
// strip, side: strip }
//
// hybridlib/widgets/network_outline.py does the same for the still picture.

const MINOR = ["norm", "activation"];
const WHOLE = ["attention", "feed-forward"]; // one cell, unless parts are added to each other in it

export function networkOutline(modules, flow) {
  return rowsOf(
    modules,
    flow ?? modules.map((_, place) => place).filter((place) => !modules[place].name.includes(".")),
  );
}

function rowsOf(modules, flow) {
  const rows = [];
  let loose = null;
  for (const item of flow) {
    const isPlace = typeof item === "number";
    if (isPlace && isGroup(modules, item)) {
      rows.push(...rowsOf(modules, modules[item].flow));
      loose = null;
    } else if (isPlace && isBlock(modules, item)) {
      const last = loose ? null : rows.at(-1);
      if (last && isRepeat(modules, last.members.at(-1), item)) last.members.push(item);
      else rows.push(blockRow(modules, item));
      loose = null;
    } else {
      if (!loose)
        rows.push((loose = { members: [], title: "", path: "", kind: "other", strip: [] }));
      loose.strip.push(...stripOf(modules, [item]));
    }
  }
  return rows;
}

function blockRow(modules, place) {
  const { name, kind, flow } = modules[place];
  return {
    members: [place],
    title: titleOf(modules[place]),
    path: name,
    kind: kind === "block" ? "attention" : kind,
    strip: stripOf(modules, flow),
  };
}

// Cells and joins of a flow.
export function stripOf(modules, flow) {
  return gathered(modules, flow).flatMap((item) => {
    if (item.label) return item;
    if (typeof item === "number")
      return isChain(modules, item) ? stripOf(modules, modules[item].flow) : cellOf(modules, item);
    const [[join, [main, side]]] = Object.entries(item);
    return { join, main: stripOf(modules, main), side: stripOf(modules, side ?? []) };
  });
}

// Parts of something that is never called itself stand as one cell: its name says what it is, what
// leaves last its numbers.
function gathered(modules, flow) {
  const found = [];
  for (const item of flow) {
    const whole = typeof item === "number" ? uncalled(modules, item) : null;
    const last = found.at(-1);
    if (whole && last?.path === whole) last.place = item;
    else found.push(whole ? wholeCell(modules, whole, item) : item);
  }
  return found;
}

function uncalled(modules, place) {
  const { name } = modules[place];
  const whole = parentOf(name);
  const known = (wanted) => wanted !== "" && modules.some((part) => part.name === wanted);
  return !/(^|\.)\d+$/.test(name) && !known(whole) && known(parentOf(whole)) ? whole : null;
}

const parentOf = (name) => name.split(".").slice(0, -1).join(".");

function wholeCell(modules, path, place) {
  const { heads } = modules.find(({ name }) => name === parentOf(path));
  return {
    path,
    place,
    label: plainName(path),
    sub: heads ? `${heads} heads` : "",
    kind: plainName(path),
    inner: false,
  };
}

// The parts of a module as a strip, with those that no image goes through (tables of positions) in
// front.
export function partsOf(modules, place) {
  const { flow, parts } = modules[place];
  const drawn = new Set(placesIn(flow));
  return [
    ...parts.filter((part) => !drawn.has(part)).map((part) => cellOf(modules, part)),
    ...stripOf(modules, flow),
  ];
}

export const placesIn = (flow) =>
  flow.flatMap((item) =>
    typeof item === "number" ? [item] : Object.values(item)[0].flatMap(placesIn),
  );

const addsUp = (flow) => flow.some((item) => typeof item !== "number" && "add" in item);

// A part that is drawn as one cell: with one thing in it that counts, besides norms and
// activations.
function isSimple(modules, place) {
  const { flow } = modules[place];
  return (
    !flow ||
    (flow.every((item) => typeof item === "number") &&
      flow.filter((part) => !MINOR.includes(modules[part].kind)).length <= 1)
  );
}

// Nothing but its parts one after the other.
const isChain = (modules, place) =>
  modules[place].class === "Sequential" &&
  !isSimple(modules, place) &&
  modules[place].flow.every((item) => typeof item === "number");

function isBlock(modules, place) {
  const { flow, kind } = modules[place];
  return Boolean(flow) && (addsUp(flow) || (!isSimple(modules, place) && !WHOLE.includes(kind)));
}

function isGroup(modules, place) {
  const { flow } = modules[place];
  return (
    Boolean(flow) &&
    !addsUp(flow) &&
    placesIn(flow).some(
      (part) => (modules[part].flow && addsUp(modules[part].flow)) || isGroup(modules, part),
    )
  );
}

// --- equal blocks --------------------------------------------------------------------------------

function isRepeat(modules, one, next) {
  const list = (place) => modules[place].name.replace(/\d+$/, "");
  return list(one) === list(next) && signature(modules, one) === signature(modules, next);
}

export function signature(modules, place) {
  const {
    class: type,
    kind,
    shape,
    window,
    stride,
    depthwise,
    heads,
    flow,
    parts,
  } = modules[place];
  const start = place;
  const relative = (item) =>
    typeof item === "number"
      ? item - start
      : Object.entries(item).map(([join, branches]) => [
          join,
          branches.map((branch) => branch.map(relative)),
        ]);
  return JSON.stringify([
    type,
    kind,
    shape,
    window,
    stride,
    depthwise,
    heads,
    flow?.map(relative),
    parts?.map((part) => signature(modules, part)),
  ]);
}

// --- words ---------------------------------------------------------------------------------------

const bySide = (sides) => sides.join("×");

// "32×32×8 map", "65 tokens × 64", "10 logits"
export function shapeWords({ shape, kind }) {
  const [first, ...rest] = shape;
  if (kind === "position" && rest.length > 2) return bySide(rest);
  if (first === 1 && rest.length === 3) return `${rest[1]}×${rest[2]}×${rest[0]} map`;
  if (first === 1 && rest.length === 2)
    return `${rest[0]} ${rest[0] === 1 ? "token" : "tokens"} × ${rest[1]}`;
  if (first === 1 && rest.length === 1)
    return kind === "head" ? `${rest[0]} logits` : `vector of ${rest[0]}`;
  return bySide(shape);
}

// "BottleneckTransformer" -> "Bottleneck transformer"; capitals that stand together stay: "LCA",
// "MBConv".
export function wordsOf(type) {
  const words = type
    .replace(/\d+d?$/, "")
    .replace(/([a-z][A-Z]?)(?=[A-Z][a-z])/g, "$1 ")
    .split(" ");
  return words
    .map((word, i) => (i && /^[A-Z][a-z]+$/.test(word) ? word.toLowerCase() : word))
    .join(" ");
}

const plainName = (name) =>
  name
    .split(".")
    .filter((part) => !/^\d+$/.test(part))
    .at(-1)
    .replace(/_/g, " ");

function titleOf({ name, class: type }) {
  const stage = /(\w+)s\.(\d+)\.\d+$/.exec(name);
  const words = type === "Sequential" ? plainName(name) : wordsOf(type);
  const title = stage ? `${stage[1]} ${Number(stage[2]) + 1} · ${words}` : words;
  return title[0].toUpperCase() + title.slice(1);
}

// The convolution or pooling that a simple part is made of, or the part itself.
function heart(modules, place) {
  const parts = (modules[place].flow ?? []).filter(
    (part) => typeof part === "number" && !MINOR.includes(modules[part].kind),
  );
  return isSimple(modules, place) && parts.length === 1 ? heart(modules, parts[0]) : modules[place];
}

// A word for what it is, and a second line for which one.
const WORDS = {
  convolution: (part, { window, stride, depthwise }) => [
    window ? `conv ${bySide(window)}` : "convolution",
    [depthwise && "depthwise", stride?.some((step) => step > 1) && `stride ${stride[0]}`]
      .filter(Boolean)
      .join(", "),
  ],
  pooling: ({ class: type }, { window, stride }) => [
    window ? `pool ${bySide(window)}` : "pool",
    [
      wordsOf(type)
        .toLowerCase()
        .replace(/ ?pool/, "")
        .replace("avg", "mean"),
      stride?.[0] > 1 && `stride ${stride[0]}`,
    ]
      .filter(Boolean)
      .join(", "),
  ],
  attention: ({ class: type, heads }) => [
    "attention",
    wordsOf(type)
      .toLowerCase()
      .replace(/multi head|self|attention/g, "")
      .trim() || (heads ? `${heads} heads` : ""),
  ],
  "feed-forward": ({ class: type }) => ["feed-forward", type === "Sequential" ? "" : wordsOf(type)],
  norm: ({ class: type }) => [
    "norm",
    wordsOf(type)
      .toLowerCase()
      .replace(/ ?norm/, ""),
  ],
  token: (part) =>
    part.name
      ? ["patches", part.class === "PatchEmbedding" ? "" : wordsOf(part.class)]
      : ["tokens", extraWords(part)],
  position: () => ["positions", ""],
  linear: ({ name, shape }) => [
    "linear",
    /(^|\.)\d+$/.test(name) ? `to ${shape.at(-1)}` : plainName(name),
  ],
  head: ({ name, shape }) => [
    "head",
    name === "head" ? `${shape.at(-1)} classes` : plainName(name).replace(" head", ""),
  ],
  activation: ({ class: type }) => [type, ""],
};

function extraWords({ tokens = [] }) {
  if (tokens.length > 2) return `${tokens[0]} to ${tokens.at(-1).replace(/\D+/, "")}`;
  return tokens.map((token) => `+ ${token}`).join(" ");
}

export function cellOf(modules, place) {
  const part = modules[place];
  const [label, sub] = (WORDS[part.kind] ?? (() => splitInTwo(wordsOf(part.class))))(
    part,
    heart(modules, place),
  );
  return { place, label, sub, kind: part.kind, inner: (part.parts ?? []).length > 0 };
}

function splitInTwo(words) {
  const [first, ...rest] = words.split(" ");
  return [first, rest.join(" ")];
}
