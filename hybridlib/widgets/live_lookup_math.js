// Pictures of the look-up, as hybridlib.data.lookup draws them, and what a model's attention puts on
// their tiles. No page here.
//
// A scene: { digits: [d, d, d], colours: [c, c, c], cells: [n, n, n, n], asked }. The digits are
// numbers of the originals at hand, the colours numbers of the palette, the cells places on the board
// in reading order, the last the cue's; the cue has the colour of the digit `asked`.

export const SIDE = 32; // pixels of a picture
export const TILE = 8; // pixels of a tile, which are the digits' own
export const BOARD = SIDE / TILE; // cells along a side
export const CUE = 3; // which tile of a scene is the cue
const INK_LEVELS = 16; // of ink

export const cornerOf = (cell) => [TILE * Math.floor(cell / BOARD), TILE * (cell % BOARD)];

// The scene as bytes 0..255, all red ones first, then green, then blue.
//   inks: ink of each original, 64 numbers from 0 to 16;  palette: [red, green, blue] of each colour
export function drawScene({ digits, colours, cells, asked }, inks, palette) {
  const picture = new Uint8Array(3 * SIDE * SIDE);
  cells.forEach((cell, tile) => {
    const [top, left] = cornerOf(cell);
    const colour = palette[colours[tile === CUE ? asked : tile]];
    for (let i = 0; i < TILE * TILE; i++) {
      const own = tile === CUE ? 0 : inks[digits[tile]][i] / INK_LEVELS;
      const at = (top + Math.floor(i / TILE)) * SIDE + left + (i % TILE);
      colour.forEach((value, c) => {
        picture[c * SIDE * SIDE + at] = Math.floor(value * (1 - own) + 255 * own + 0.5 + 1e-6);
      });
    }
  });
  return picture;
}

// The scene with a tile on another cell; a tile that lies there goes where this one was.
export function withTileOn(scene, tile, cell) {
  const cells = scene.cells.map((other) => (other === cell ? scene.cells[tile] : other));
  cells[tile] = cell;
  return { ...scene, cells };
}

// The scene with the next original on a tile whose class is not that of another tile.
export function exchanged(scene, tile, labels) {
  const others = scene.digits.filter((_, i) => i !== tile).map((digit) => labels[digit]);
  const digits = [...scene.digits];
  do digits[tile] = (digits[tile] + 1) % labels.length;
  while (others.includes(labels[digits[tile]]));
  return { ...scene, digits };
}

// The first three classes at hand, far apart.
export function firstScene(labels) {
  const digits = [];
  labels.forEach((label, i) => {
    if (digits.length < 3 && digits.every((digit) => labels[digit] !== label)) digits.push(i);
  });
  return { digits, colours: [0, 2, 3], cells: [1, 7, 12, 10], asked: 0 };
}

// A scene of three digits of different classes, in different colours, somewhere.
export function anotherScene(labels, colourCount, random) {
  const some = (count, of, fits = () => true) => {
    const taken = [];
    while (taken.length < count) {
      const next = Math.floor(random() * of);
      if (!taken.includes(next) && fits(next, taken)) taken.push(next);
    }
    return taken;
  };
  const differs = (next, taken) => taken.every((digit) => labels[digit] !== labels[next]);
  return {
    digits: some(CUE, labels.length, differs),
    colours: some(CUE, colourCount),
    cells: some(CUE + 1, BOARD * BOARD),
    asked: Math.floor(random() * CUE),
  };
}

// --- attention -----------------------------------------------------------------------------------

// The maps that the model mixes with, one for each layer with patches among its keys: of ConViT's
// three the gated one.
export function mixingMaps(maps) {
  const gated = maps.filter(({ kind }) => kind === "gated").map(({ block }) => block);
  return maps.filter(
    ({ kind, block, grid: [rows] }) =>
      rows > 0 && (kind === "gated" || (kind === "content" && !gated.includes(block))),
  );
}

// The patches that a tile covers, of a grid of them on the picture.
export function patchesOf(cell, [rows, columns]) {
  const [top, left] = cornerOf(cell);
  const [height, width] = [SIDE / rows, SIDE / columns];
  const covered = [];
  for (let row = Math.floor(top / height); row * height < top + TILE; row++)
    for (let column = Math.floor(left / width); column * width < left + TILE; column++)
      covered.push(row * columns + column);
  return covered;
}

// What these queries give to the patches, mean over them and over heads.
//   queries: numbers of tokens, extra ones counted
export function givenBy({ data, heads, queries: rows, keys, extra }, queries) {
  const given = new Float32Array(keys - extra.length);
  for (let head = 0; head < heads; head++)
    for (const query of queries) {
      const start = (head * rows + query) * keys + extra.length;
      for (let i = 0; i < given.length; i++) given[i] += data[start + i] / (heads * queries.length);
    }
  return given;
}

// The tokens that look: the class token's (none if the layer has none), or those of a tile.
export function lookersOf({ extra, grid }, who, scene) {
  if (who === "class") return extra[0] === "class" ? [0] : [];
  const cell = scene.cells[who === "cue" ? CUE : scene.asked];
  return patchesOf(cell, grid).map((patch) => patch + extra.length);
}

// The part of the attention that falls on each tile of a scene.
export const onTiles = (given, grid, { cells }) =>
  cells.map((cell) => patchesOf(cell, grid).reduce((sum, patch) => sum + given[patch], 0));
