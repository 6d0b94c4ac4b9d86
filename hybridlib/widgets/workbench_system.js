// One system on the bench: its name, the picture with what is laid over it, its answer. It runs the
// model and keeps copies of what it shows; the drawing and all choices are the bench's.

import { button, choice, h, place, ring, slider } from "./common.js";
import { grey, legend, paint, ramp, twoSided } from "./colours.js";
import { softmax, toInput } from "./live_ink.js";
import { SIDE, corner } from "./workbench_ink.js";
import { NOTHING, OCCLUSION, askersOf, choicesOf, keep, layerOf } from "./workbench_maps.js";
import { PLACES, occlude } from "./workbench_occlusion.js";
import { bars, best, ladder, percent } from "./workbench_answers.js";
import { headRow } from "./workbench_heads.js";
import { networkPlace } from "./workbench_network.js";

const PAUSE = 250; // ms without a change before a map of occlusion begins

// Builds one. models: [[name, title]];  open(name) -> promise of a net;  onSystem(name),
// onShow(key), onHead(head), onAsk(name of a token, or null for a patch), onOpacity(percent),
// onNetwork(open): choices;
// onReady(): the model has come, or the map of occlusion has grown: draw again.
// Returns { node, pad, draw, stop, top, says, side }.
export function systemCard({
  label,
  models,
  classes,
  open,
  onSystem,
  onShow,
  onHead,
  onAsk,
  onOpacity,
  onNetwork,
  onReady,
  say,
}) {
  const title = (name) => Object.fromEntries(models)[name];
  let system = null; // { name, net, first (its first result), choices, trouble }
  let kept = {};
  let answer = null; // { shares, logits, layers }, copies
  let shown = ""; // which picture, system and choice `kept` and `answer` belong to
  let painted = null; // the picture that is on the canvas
  let stop = null; // of the map of occlusion in the making
  let timer = 0;

  const pick = choice({ label, options: models, value: models[0][0], onInput: onSystem });
  const digit = h("b", { class: "wb-digit" });
  const sure = h("span", {});
  const says = h("p", { class: "wb-says" }, digit, sure);
  const base = h("canvas", { "aria-hidden": "true" });
  const overlay = h("canvas", { class: "wb-overlay", "aria-hidden": "true" });
  const mark = ring();
  const square = h("span", { class: "wb-cover", "aria-hidden": "true" });
  const empty = h("span", { class: "wb-empty" });
  const pad = h(
    "div",
    {
      class: "hx-stack wb-pad",
      tabindex: "0",
      role: "application",
      "aria-roledescription": "drawing pad",
    },
    base,
    overlay,
    square,
    mark,
    empty,
  );
  const show = h("select", { onchange: () => onShow(show.value) });
  const shows = h("label", { class: "hx-control wb-show" }, h("span", {}, "Over it"), show);
  const scale = legend(ramp, "0", "");
  const change = legend(twoSided, "", "", -1);
  const heads = headRow(onHead);
  const askers = h("div", { class: "wb-askers", role: "group", "aria-label": "Who asks" });
  const opacity = slider({
    label: "Overlay",
    min: 0,
    max: 100,
    step: 5,
    value: 0,
    show: (v) => `${v} %`,
    onInput: onOpacity,
  });
  const readout = h("p", { class: "hx-readout" }, "Nothing is read yet.");
  const again = button(
    "Try again",
    () => {
      system = null;
      onReady();
    },
    { hidden: true },
  );
  const answers = bars(classes);
  const layers = ladder(classes);
  const network = networkPlace({
    classes,
    say,
    onOpen: onNetwork,
    rerun: () => (answer && painted ? run(painted) : null),
  });
  const maps = h(
    "div",
    { class: "wb-maps" },
    shows,
    heads.node,
    askers,
    h("div", { class: "wb-scale" }, scale.node, change.node, opacity.node),
    readout,
    again,
  );
  const node = h(
    "section",
    { class: "wb-card", "aria-label": label },
    h("div", { class: "wb-head" }, pick.node, says),
    pad,
    maps,
    h("div", { class: "wb-answers" }, answers.node, layers.node),
    network.node,
  );

  function load(name) {
    const mine = { name };
    system = mine;
    clear();
    open(name)
      .then((net) => {
        const [height, width] = net.input.slice(2);
        if (height !== SIDE || width !== SIDE)
          throw new Error(`It reads pictures of ${height} x ${width}, not ${SIDE} x ${SIDE}.`);
        mine.first = net.run(toInput(new Float32Array(SIDE * SIDE), net));
        mine.choices = choicesOf(mine.first);
        mine.net = net;
      })
      .catch((error) => {
        mine.trouble = error.message;
      })
      .finally(() => {
        if (system === mine) {
          fill();
          onReady();
        }
      });
  }

  function clear() {
    halt();
    [kept, answer, shown] = [{}, null, ""];
  }

  function fill() {
    const options = (list) => list.map(({ key, text }) => h("option", { value: key }, text));
    const groups = [...new Set((system.choices ?? []).map(({ group }) => group))];
    show.replaceChildren(
      ...groups.flatMap((group) => {
        const list = options(system.choices.filter((item) => item.group === group));
        return group ? [h("optgroup", { label: group }, list)] : list;
      }),
    );
  }

  // The choice that holds: the reader's where this model has it, else its first map of attention or
  // its first activity.
  function showing({ show: wanted }) {
    const keys = system.choices.map(({ key }) => key);
    if (keys.includes(wanted)) return wanted;
    return (
      keys.find((key) => key.startsWith("map-") && system.first.maps[key.slice(4)].grid[0]) ??
      keys.find((key) => key.startsWith("activity-")) ??
      NOTHING
    );
  }

  const run = (picture) =>
    system.net.run(
      toInput(
        Float32Array.from(picture, (v) => v / 255),
        system.net,
      ),
    );

  // --- the map of occlusion ---
  function halt() {
    clearTimeout(timer);
    stop?.();
    stop = null;
  }

  function startOcclusion(picture, state) {
    const top = best(answer.shares);
    const { size, grey: shade } = state.square;
    timer = setTimeout(() => {
      stop = occlude({
        picture,
        size,
        grey: shade,
        share: (bytes) => softmax(run(bytes).logits)[top],
        onPart: (drops, done) => {
          kept = { drops, done, of: top, size };
          onReady();
        },
      });
    }, PAUSE);
    kept = { drops: new Float32Array(PLACES ** 2).fill(NaN), done: false, of: top, size };
  }

  // Draws the bench's state: { picture (bytes), version (of the picture), blank, query, opacity,
  // cover, square, network (open) }, and the system's own { name, show, head }.
  function draw(state, own) {
    // none is fetched for an empty sheet
    if (system?.name !== own.name && (system || !state.blank)) load(own.name);
    const ready = Boolean(system?.net);
    const chosen = ready ? showing(own) : NOTHING;
    let result = null;
    const version = [
      state.version,
      chosen,
      chosen === OCCLUSION ? JSON.stringify(state.square) : "",
    ].join();
    if (ready && !state.blank && version !== shown) {
      halt();
      result = run(state.picture);
      answer = {
        shares: softmax(result.logits),
        logits: result.logits.slice(),
        layers: result.layers.map(({ block, logits }) => ({
          block,
          logits: logits?.slice() ?? null,
        })),
      };
      kept = keep(result, chosen);
      shown = version;
      if (chosen === OCCLUSION) startOcclusion(state.picture, state);
    }
    if (state.blank && shown) clear();
    pick.set(own.name);
    if (ready) show.value = chosen;
    show.disabled = !ready;
    again.hidden = !system?.trouble;
    if (painted !== state.picture)
      paint(base, SIDE, SIDE, (row, col) => grey(state.picture[row * SIDE + col] / 255));
    painted = state.picture;
    empty.textContent = system?.trouble
      ? ""
      : state.blank
        ? "Draw something."
        : ready
          ? ""
          : `Loading ${title(own.name)} …`;
    drawAnswer();
    drawMap(state, own, chosen);
    drawSquare(state.cover);
    network.draw({
      model: system?.net,
      first: system?.first,
      result,
      wanted: state.network,
      blank: !answer,
    });
  }

  function drawAnswer() {
    answers.draw(answer?.shares ?? null);
    layers.draw(answer);
    const top = answer && best(answer.shares);
    const [name, text] = answer ? [classes[top], percent(answer.shares[top])] : ["", ""];
    if (digit.textContent !== name) digit.textContent = name;
    if (sure.textContent !== text) sure.textContent = text;
  }

  function drawMap(state, own, chosen) {
    const laid = answer && chosen !== NOTHING ? layerOf(kept, own.head, state.query) : null;
    const [rows, cols] = laid?.grid ?? [0, 0];
    overlay.hidden = !rows;
    // With nothing drawn all keeps its place, out of sight: the picture must not jump when the pen
    // comes down.
    maps.classList.toggle("wb-quiet", !answer && !system?.trouble);
    if (!answer && !system?.trouble) {
      mark.hidden = true;
      return;
    }
    if (rows) {
      const { values, low, high } = laid;
      paint(
        overlay,
        rows,
        cols,
        laid.twoSided
          ? (r, c) => gain(values[r * cols + c] / high)
          : (r, c) => light((values[r * cols + c] - low) / (high - low)),
      );
      overlay.style.opacity = state.opacity / 100;
    }
    const map = answer ? (kept.map ?? null) : null;
    heads.draw(map, own.head, state.query);
    drawAskers(map && laid, map);
    opacity.node.hidden = !rows;
    opacity.set(state.opacity);
    mark.hidden = !laid?.cell;
    if (laid?.cell) mark.put(laid.cell, laid.grid);
    scale.node.hidden = !rows || laid.twoSided;
    change.node.hidden = !rows || !laid.twoSided;
    if (rows && !laid.twoSided)
      scale.set("0", kept.map ? percent(laid.high) : laid.high.toPrecision(2));
    if (rows && laid.twoSided)
      change.set(
        `+${(100 * laid.high).toFixed(0)} points`,
        `−${(100 * laid.high).toFixed(0)} points`,
      );
    const text = words(laid, own);
    if (readout.textContent !== text) readout.textContent = text;
  }

  let asking = "";
  function drawAskers(laid, map) {
    const { names, patches } = map ? askersOf(map) : { names: [], patches: false };
    askers.hidden = !names.length;
    if (asking !== names.join()) {
      asking = names.join();
      askers.replaceChildren(
        "asked by the",
        ...names.map((name) => button(`${name} token`, () => onAsk(name))),
        patches ? button("patch …", () => onAsk(null)) : "",
      );
    }
    [...askers.children].forEach((node, i) =>
      node.setAttribute("aria-pressed", String((names[i] ?? null) === (laid?.who ?? null))),
    );
  }

  function words(laid, own) {
    if (system?.trouble) return system.trouble;
    if (!laid) return "";
    if (kept.drops) return occlusionWords(kept, classes);
    if (kept.activity)
      return `How active each place is after ${kept.activity.of}: the root mean square over all channels.`;
    const head =
      own.head === "mean" ? "Mean of heads" : `Head ${Math.min(own.head, kept.map.heads - 1) + 1}`;
    const who = laid.cell ? `the patch at ${place(laid.cell)} asks` : `the ${laid.who} token asks`;
    const rest = laid.shares.map(({ name, share }) => `${percent(share)} to the ${name} token`);
    if (!laid.grid[0]) {
      return `${head}. What the last layer takes from the class token after ${laid.shares
        .map(({ name, share }) => `${name.replace("class of ", "")}: ${percent(share)}`)
        .join(", ")}.`;
    }
    return `${head}: ${who}${rest.length ? `; ${rest.join(", ")}` : ""}.`;
  }

  function drawSquare(cover) {
    square.hidden = !cover;
    if (!cover) return;
    const [top, left] = corner(cover);
    const of = (pixels) => `${(100 * pixels) / SIDE}%`;
    Object.assign(square.style, {
      top: of(top),
      left: of(left),
      width: of(cover.size),
      height: of(cover.size),
    });
  }

  return {
    node,
    pad,
    draw,
    stop: halt,
    close: () => {
      halt();
      network.close();
    },
    top: () => (answer ? best(answer.shares) : null),
    says: () =>
      answer
        ? `${title(system.name)} says ${digit.textContent}, ${sure.textContent}`
        : (system?.trouble ?? ""),
    side: () => kept.map?.grid[0] || 8,
  }; // places in a row, for steps of who asks
}

// Colours to lay over a picture: what counts little hides little of it.
const light = (t) => [...ramp(t), 255 * (0.45 + 0.55 * t)];
const gain = (t) =>
  Number.isNaN(t) ? null : [...twoSided(0.75 * Math.sign(t)), 255 * Math.abs(t) ** 0.7];

function occlusionWords({ drops, done, of, size }, classes) {
  const known = [...drops].map((drop, i) => [drop, i]).filter(([drop]) => !Number.isNaN(drop));
  const progress = done ? "" : ` ${known.length} of ${drops.length} places so far.`;
  if (!known.length) return `A square of ${size} pixels goes over every place.${progress}`;
  const [most, at] = known.reduce((top, item) => (item[0] > top[0] ? item : top));
  const words =
    most > 0.005
      ? `Covering ${place([Math.floor(at / PLACES), at % PLACES])} of ${PLACES} x ${PLACES} costs the ${classes[of]} most: ${(100 * most).toFixed(0)} points of probability.`
      : `No square of ${size} pixels costs the ${classes[of]} half a point.`;
  return words + progress;
}
