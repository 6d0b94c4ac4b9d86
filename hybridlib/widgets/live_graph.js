// A trained model that runs in the page: the graph that hybridlib.live exported from PyTorch, on
// the memory of live_gemm.js.
//
//   const net = await load(bytes);                     // Uint8Array, ArrayBuffer, DataView or
// base64
//   const { logits, maps, layers } = net.run(image);   // Float32Array, 1 x c x h x w, normalised
// as in training
//   net.parameter("local_blocks.0.attention.gate_logits")[2] = 3;
//   net.prepare();                                     // then run again
//
// What `run` returns are views of the model's memory: the next run writes over them. Copy (`slice`)
// what is to be kept.

import { bytesOf, readTensors, unpackInto } from "./live_file.js";
import { makeMemory } from "./live_gemm.js";
import { MAKERS, needs } from "./live_kernels.js";
import { cells } from "./live_steps.js";

const FORMAT = "hybridlib-live-1";

// A model from a file that hybridlib.live packed, warmed up by one run on an empty image. { wasm:
// false } does without WebAssembly; where a browser or a page's policy refuses it, plain JavaScript
// does the same more slowly (`net.wasm` is false).
//
// The result has
//   run(image)       -> { logits, maps, layers, modules }
//     logits            Float32Array, one for each class
//     maps[i]           { data: heads x queries x keys, heads, queries, keys, grid, extra, block,
// kind, module }
//     layers[i]         { block, logits }: the class read off after that block; null where the head
// does not fit
//     modules[i]        { name, class, kind, shape, read() }: what every module made, from stem to
// head; `read` copies it,
//                       axes in PyTorch's order. Name "" is a step of the model's own (cat: tokens,
// mean: pooling).
//                       How they follow each other: `flow` here and in them, as
// hybridlib/live/flow.py writes it
//   flow
//   parameters       { name: shape } of all weights
//   parameter(name)  their numbers, to be read or changed; after a change call prepare()
//   about, metadata  text: what the model is; mean and std of its training images and more
//   input            [1, channels, height, width]
export async function load(source, { wasm = true } = {}) {
  const { metadata, tensors } = readTensors(bytesOf(source));
  const graph = JSON.parse(metadata.graph ?? "{}");
  if (graph.format !== FORMAT)
    throw new Error(
      `The file holds no model for this page (${graph.format ?? "no graph"}; it reads ${FORMAT}).`,
    );
  const plan = layOut(graph);
  const memory = makeMemory(plan.count, { wasm });
  memory.d = memory.data;
  const { d, ints } = memory;
  for (const [name, buffer] of Object.entries(graph.weights))
    fill(d, plan, buffer, tensors[name], name);
  graph.tables.forEach(({ buffer, type }, i) =>
    fill(type === "I32" ? ints : d, plan, buffer, tensors[`table.${i}`], `table.${i}`),
  );
  for (const [value, at] of plan.scalars) d[at] = value;
  const steps = plan.nodes.map(({ kind, out, operands, settings, own }) => {
    const made = MAKERS[kind](
      memory,
      out,
      operands,
      { ...settings, kind },
      { own, scratch: plan.scratch },
    );
    return { once: settings.once, ...(typeof made === "function" ? { run: made } : made) };
  });
  const everyTime = steps.filter(({ once }) => !once).map(({ run }) => run);
  const image = viewOf(d, plan.tensor(graph.input));
  const result = resultOf(graph, d, plan);
  const net = {
    wasm: memory.wasm,
    about: graph.about,
    metadata: Object.fromEntries(Object.entries(metadata).filter(([name]) => name !== "graph")),
    input: graph.input[2],
    flow: graph.flow,
    parameters: Object.fromEntries(
      Object.keys(graph.weights).map((name) => [name, tensors[name].shape]),
    ),
    parameter(name) {
      if (!(name in graph.weights))
        throw new Error(`The model has no weight ${name}; net.parameters lists them.`);
      const at = plan.place[graph.weights[name]];
      return d.subarray(at, at + graph.sizes[graph.weights[name]]);
    },
    prepare() {
      for (const { once, pack, run } of steps) {
        pack?.();
        if (once) run();
      }
    },
    run(pixels) {
      if (pixels.length !== image.length)
        throw new Error(`The image has ${pixels.length} numbers; it must have ${image.length}.`);
      image.set(pixels);
      for (const step of everyTime) step();
      return result;
    },
  };
  net.prepare();
  net.run(new Float32Array(image.length));
  return net;
}

// Where everything lies: buffers, scalars, room of the nodes; then the scratch that all share.
function layOut(graph) {
  let count = 0;
  const take = (length) => {
    const at = count;
    count += (length + 3) & ~3; // tensors begin at multiples of 16 bytes
    return at;
  };
  const place = graph.sizes.map(take);
  const scalars = new Map();
  const tensor = (operand) => {
    if (Array.isArray(operand)) {
      const [buffer, offset, shape, strides] = operand;
      return { at: place[buffer] + offset, shape, strides };
    }
    if (!scalars.has(operand)) scalars.set(operand, take(1));
    // the same at every step of any axis
    return { at: scalars.get(operand), shape: [], strides: new Array(16).fill(0) };
  };
  let shared = 0;
  const nodes = graph.nodes.map(([kind, result, given, settings = {}]) => {
    if (!(kind in MAKERS))
      throw new Error(`The model needs a step ${kind}, which this page does not know.`);
    const [out, operands] = [tensor(result), given.map(tensor)];
    const { own, scratch } = needs(kind, out, operands, settings);
    shared = Math.max(shared, scratch);
    return { kind, out, operands, settings, own: take(own) };
  });
  const scratch = take(shared);
  return { place, scalars, tensor, nodes, scratch, count };
}

function fill(target, { place }, buffer, tensor, name) {
  if (!tensor) throw new Error(`The model's file lacks ${name}.`);
  const length = tensor.shape.reduce((product, axis) => product * axis, 1);
  unpackInto(target.subarray(place[buffer], place[buffer] + length), tensor);
}

function viewOf(d, { at, shape }) {
  return d.subarray(at, at + shape.reduce((product, length) => product * length, 1));
}

// Made once: every run writes into the same arrays.
function resultOf(graph, d, { tensor }) {
  return {
    logits: viewOf(d, tensor(graph.logits)),
    maps: graph.maps.map(({ at, ...known }) => {
      const [, heads, queries, keys] = at[2];
      return { data: viewOf(d, tensor(at)), heads, queries, keys, ...known };
    }),
    layers: graph.layers.map(({ block, at }) => ({ block, logits: at && viewOf(d, tensor(at)) })),
    modules: graph.modules.map(({ at, ...known }) => ({
      ...known,
      shape: at[2],
      read: reader(d, tensor(at)),
    })),
  };
}

// Copies what a module made; where its numbers lie is found out at the first reading.
function reader(d, made) {
  let places = null;
  return () => {
    places ??= cells(made.shape, made).starts[0];
    const out = new Float32Array(places.length);
    for (let i = 0; i < out.length; i++) out[i] = d[places[i]];
    return out;
  };
}
