// A picture cut into the tokens that a Vision Transformer reads: the book's pictures, or the
// reader's own.

import {
  button,
  bytes,
  calm,
  fixed,
  frame,
  gridCursor,
  h,
  onChange,
  oncePerFrame,
  panel,
  place,
  ring,
  slider,
} from "./common.js";
import { legend, paint, ramp } from "./colours.js";
import { middleSquare, numbers, patchVector, shuffled, SIDE, SIZES } from "./patch_math.js";
import { pictureBlobs } from "./pictures.js";

const AROUND = [-4, -3, -2, -1, 0, 1, 2, 3, 4]; // the part of the sequence on show
const FIRST = 6; // how many values of each channel are printed
const MOVE_MS = 600;
const thousands = (v) => String(v).replace(/\B(?=(\d{3})+$)/g, " ");

function render({ model, el }) {
  const state = {
    patch: model.get("patch_size"),
    cell: [5, 6],
    order: null,
    rgba: new Uint8ClampedArray(4 * SIDE * SIDE),
  };
  const { root, say } = frame(el, {
    label: "A picture cut into patches",
    hint: "move over the picture, then drag the slider: smaller patches are many more tokens.",
  });
  const source = h("canvas", { width: SIDE, height: SIDE });
  const refresh = oncePerFrame(draw);
  const speak = () => {
    refresh();
    requestAnimationFrame(() => say(readout.textContent));
  };

  // --- which picture ---
  const names = model.get("names");
  const blobs = pictureBlobs(model.get("pictures"), model.get("lengths"));
  const choices = names.map((name, i) =>
    button(name, () => {
      model.set("image", i);
      model.save_changes();
      choose(i);
    }),
  );
  const file = h("input", {
    type: "file",
    accept: "image/*",
    class: "hx-hidden",
    onchange: () => {
      if (file.files[0]) load(file.files[0], "your own picture");
    },
  });
  const message = h(
    "p",
    { class: "hx-note" },
    "Choose a file or drop one on the picture. It is read in this browser only and sent nowhere.",
  );
  root.append(
    h(
      "div",
      { class: "hx-row" },
      choices,
      h("label", { class: "hx-button hx-file" }, "Your own picture…", file),
    ),
    message,
  );

  // --- the picture and its grid ---
  const canvas = h("canvas", {
    width: SIDE,
    height: SIDE,
    role: "img",
    "aria-label": "the picture",
  });
  const lines = h("div", { class: "hx-cuts" });
  const mark = ring();
  const stack = h("div", { class: "hx-stack hx-picture" }, canvas, lines, mark);
  const cursor = gridCursor(stack, {
    label: "Picture: choose a patch",
    describe: place,
    size: () => [grid(), grid()],
    onPick: (cell, settled) => {
      state.cell = cell;
      if (positions) positions.follow(cell, grid());
      if (settled) speak();
      else refresh();
    },
  });
  stack.addEventListener("dragover", (event) => event.preventDefault());
  stack.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files[0]) load(event.dataTransfer.files[0], "your own picture");
  });
  const size = slider({
    label: "Patch side",
    min: 0,
    max: SIZES.length - 1,
    step: 1,
    value: SIZES.indexOf(state.patch),
    show: (i) => `${SIZES[i]} pixels`,
    onInput: (i) => {
      model.set("patch_size", SIZES[i]);
      model.save_changes();
      cut(SIZES[i]);
    },
  });
  const shuffle = button("Shuffle the patches", () => {
    reorder(state.order ? null : shuffled(numbers(state.patch).tokens));
    speak();
  });

  // --- what the choice costs, and the one patch ---
  const facts = [
    "Grid",
    "Tokens N",
    "One patch as a vector",
    "Sequence with class token",
    "Attention weights per head",
    "Times as many as with P = 16",
  ].map((name) => ({ name, value: h("dd", {}) }));
  const close = h("canvas", { class: "hx-close", role: "img" });
  const strip = h("canvas", {
    class: "hx-strip",
    role: "img",
    "aria-label": "the patch as a vector: all red values, then all green, then all blue",
  });
  const values = h("p", { class: "hx-values" });
  const ribbon = AROUND.map(() => ({
    canvas: h("canvas", { "aria-hidden": "true" }),
    words: h("span", {}),
  }));
  const readout = h("p", { class: "hx-readout" });
  const positions = model.get("positions").byteLength ? positionView(model, say) : null;

  root.append(
    h(
      "div",
      { class: "hx-columns" },
      panel(
        "The picture, 224 × 224 × 3 numbers",
        null,
        stack,
        h("div", { class: "hx-row" }, size.node, shuffle),
      ),
      panel(
        "What the model gets",
        null,
        h(
          "dl",
          { class: "hx-facts" },
          facts.map(({ name, value }) => h("div", {}, h("dt", {}, name), value)),
        ),
        h("p", { class: "hx-title" }, "This patch, close up, and as a vector: red, green, blue"),
        h("div", { class: "hx-onepatch" }, close, h("div", {}, strip, values)),
      ),
    ),
    panel(
      "Its place in the sequence",
      null,
      h(
        "div",
        { class: "hx-ribbon" },
        ribbon.map((tile) => h("div", { class: "hx-tile" }, tile.canvas, tile.words)),
      ),
    ),
    readout,
    ...(positions ? [positions.node] : []),
  );

  const grid = () => SIDE / state.patch;

  function choose(i) {
    choices.forEach((item, j) => item.setAttribute("aria-pressed", String(i === j)));
    load(blobs[i], names[i]);
  }

  // Reads a picture, cuts out its middle square and scales it to 224 x 224.
  async function load(blob, name) {
    let picture;
    try {
      picture = await createImageBitmap(blob);
    } catch {
      message.textContent = `${blob.name ?? name} is not a picture that this browser can read: try a PNG or JPEG file.`;
      say(message.textContent);
      return;
    }
    const context = source.getContext("2d", { willReadFrequently: true });
    context.imageSmoothingQuality = "high";
    context.fillRect(0, 0, SIDE, SIDE);
    const [left, top, side] = middleSquare(picture.width, picture.height);
    context.drawImage(picture, left, top, side, side, 0, 0, SIDE, SIDE);
    state.rgba = context.getImageData(0, 0, SIDE, SIDE).data;
    if (!blobs.includes(blob)) {
      choices.forEach((item) => item.setAttribute("aria-pressed", "false"));
      message.textContent = `Showing ${blob.name ?? name}. It has not left this browser.`;
      say(message.textContent);
    }
    canvas.setAttribute("aria-label", `the picture: ${name}`);
    arrange(1);
    draw();
  }

  function cut(patch) {
    const before = grid();
    state.patch = patch;
    state.cell = state.cell.map((v) =>
      Math.min(grid() - 1, Math.floor(((v + 0.5) / before) * grid())),
    );
    reorder(null, false);
    speak();
  }

  // Puts the patches in another order (null: their own), moving them there unless the reader
  // prefers no motion.
  function reorder(order, moving = true) {
    const from = state.order;
    state.order = order;
    shuffle.textContent = order ? "Put them back" : "Shuffle the patches";
    if (!moving || calm()) {
      arrange(1);
      return;
    }
    const began = performance.now();
    const step = (now) => {
      if (state.order !== order) return;
      const t = Math.min(1, (now - began) / MOVE_MS);
      arrange(t * t * (3 - 2 * t), from);
      if (t < 1) requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  // Draws every patch on its way from its place in the order `from` to its place in the present
  // order.
  function arrange(t, from = null) {
    const context = canvas.getContext("2d");
    const [patch, side, count] = [state.patch, grid(), grid() ** 2];
    const own = Array.from({ length: count }, (_, i) => i);
    const before = new Array(count);
    (from ?? own).forEach((piece, at) => {
      before[piece] = at;
    });
    context.clearRect(0, 0, SIDE, SIDE);
    (state.order ?? own).forEach((piece, at) => {
      const [x, y] = [0, 1].map((axis) => {
        const cellOf = (i) => (axis ? Math.floor(i / side) : i % side);
        return Math.round(patch * (cellOf(before[piece]) * (1 - t) + cellOf(at) * t));
      });
      context.drawImage(
        source,
        (piece % side) * patch,
        Math.floor(piece / side) * patch,
        patch,
        patch,
        x,
        y,
        patch,
        patch,
      );
    });
  }

  function draw() {
    const { patch, cell } = state;
    const count = numbers(patch);
    const at = cell[0] * count.grid + cell[1];
    const pieceAt = (i) => (state.order ? state.order[i] : i);
    const piece = [Math.floor(pieceAt(at) / count.grid), pieceAt(at) % count.grid];
    const vector = patchVector(state.rgba, patch, piece);
    size.set(SIZES.indexOf(patch));
    lines.style.backgroundSize = `${100 / count.grid}% ${100 / count.grid}%`;
    mark.put(cell, [count.grid, count.grid]);
    cursor.set(cell);
    [
      `${count.grid} × ${count.grid}`,
      `(224 / ${patch})² = ${thousands(count.tokens)}`,
      `3 · ${patch}² = ${thousands(count.vector)}`,
      thousands(count.sequence),
      `${thousands(count.sequence)}² = ${thousands(count.entries)}`,
      `× ${(count.entries / numbers(16).entries).toPrecision(2)}`,
    ].forEach((text, i) => {
      facts[i].value.textContent = text;
    });

    const pixel = (v, c, i) => Math.round(255 * v[c * patch * patch + i]);
    paint(close, patch, patch, (r, c) =>
      [0, 1, 2].map((channel) => pixel(vector, channel, r * patch + c)),
    );
    close.setAttribute("aria-label", `patch ${at + 1} close up`);
    paint(strip, 3, patch * patch, (c, i) =>
      [0, 1, 2].map((channel) => (channel === c ? pixel(vector, c, i) : 0)),
    );
    values.textContent = ["red", "green", "blue"]
      .map(
        (name, c) =>
          `${name} ${Array.from(vector.slice(c * patch * patch, c * patch * patch + FIRST), (v) =>
            v.toFixed(2),
          ).join(" ")} …`,
      )
      .join("\n");

    AROUND.forEach((offset, i) => {
      const { canvas: tile, words } = ribbon[i];
      const there = at + offset;
      const exists = there >= 0 && there < count.tokens;
      words.textContent = exists ? `${there + 1}` : there === -1 ? "class" : "";
      tile.parentNode.classList.toggle("hx-now-tile", offset === 0);
      tile.width = tile.height = patch;
      tile.classList.toggle("hx-class-tile", there === -1);
      if (!exists) return;
      const from = pieceAt(there);
      tile
        .getContext("2d")
        .drawImage(
          source,
          (from % count.grid) * patch,
          Math.floor(from / count.grid) * patch,
          patch,
          patch,
          0,
          0,
          patch,
          patch,
        );
    });
    const sequence = `Patch at ${place(cell)} is token ${at + 1} of ${count.tokens} (token 0 is the class token)`;
    readout.textContent = state.order
      ? `${sequence}; it was cut from ${place(piece)}. The same ${count.tokens} patches in another order: without position ` +
        "embeddings the class token would give the same answer."
      : `${sequence}. The patch below it stands ${count.grid} tokens later.`;
  }

  const stop = onChange(model, ["patch_size", "image"], () => {
    if (model.get("patch_size") !== state.patch) cut(model.get("patch_size"));
    if (choices[model.get("image")].getAttribute("aria-pressed") !== "true")
      choose(model.get("image"));
  });
  choose(model.get("image"));
  return stop;
}

// Cosine similarity between the position embeddings of a trained model: one small map for each
// position, and the chosen one large. A byte holds round(127 cosine).
function positionView(model, say) {
  const side = model.get("positions_side");
  const cosines = new Int8Array(bytes(model.get("positions"))).map((v) => v);
  const value = (from, to) => cosines[from * side * side + to] / 127;
  const low = Math.min(...Array.from(cosines, (v) => v / 127));
  const colour = (cosine) => ramp((cosine - low) / (1 - low));
  const mosaic = h("canvas", {
    role: "img",
    "aria-label": "one map of similarities for every position",
  });
  const large = h("canvas", {
    role: "img",
    "aria-label": "similarity of the chosen position to all positions",
  });
  const [mark, markLarge] = [ring(), ring()];
  const readout = h("p", { class: "hx-readout" });
  let cell = [side >> 1, side >> 1];
  const pitch = side + 1; // one empty pixel between the small maps
  paint(mosaic, side * pitch, side * pitch, (r, c) => {
    const [row, col, y, x] = [Math.floor(r / pitch), Math.floor(c / pitch), r % pitch, c % pitch];
    return y < side && x < side ? colour(value(row * side + col, y * side + x)) : null;
  });
  const stack = h("div", { class: "hx-stack" }, mosaic, mark);
  const cursor = gridCursor(stack, {
    label: "Positions: choose one",
    describe: place,
    size: () => [side, side],
    onPick: (picked, settled) => {
      cell = picked;
      draw();
      if (settled) say(readout.textContent);
    },
  });

  function draw() {
    const from = cell[0] * side + cell[1];
    paint(large, side, side, (r, c) => colour(value(from, r * side + c)));
    mark.put(cell, [side, side]);
    markLarge.put(cell, [side, side]);
    cursor.set(cell);
    const mean = (pick) => {
      const found = Array.from({ length: side * side }, (_, i) => i).filter(
        (i) =>
          i !== from &&
          pick(Math.abs(Math.floor(i / side) - cell[0]), Math.abs((i % side) - cell[1])),
      );
      return fixed(found.reduce((total, i) => total + value(from, i), 0) / found.length, 2);
    };
    readout.textContent =
      `Position ${place(cell)}: mean cosine ${mean((r, c) => r + c === 1)} with its neighbours, ` +
      `${mean((r) => r === 0)} with its row, ${mean((r, c) => c === 0)} with its column, ` +
      `${mean((r, c) => Math.max(r, c) >= side / 2)} with positions half the picture away.`;
  }
  draw();
  const node = h(
    "div",
    { class: "hx-panel" },
    h(
      "p",
      { class: "hx-title" },
      `Position embeddings of a trained model, ${side} × ${side}: which positions resemble which?`,
    ),
    h(
      "div",
      { class: "hx-columns hx-positions" },
      stack,
      h("div", { class: "hx-stack" }, large, markLarge),
    ),
    h("p", {}, "cosine ", legend(colour, fixed(low, 2), "1", low).node),
    readout,
  );
  return {
    node,
    follow: (picked, cells) => {
      cell = picked.map((v) => Math.floor(((v + 0.5) / cells) * side));
      draw();
    },
  };
}

export default { render };
