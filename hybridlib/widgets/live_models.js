// Asking for a trained model: one protocol, whoever answers.
//
//   model.send({ need: name })           once a name and widget, at first use
//   "msg:custom", { model: name }, [file]        the file, from Python (WithModels) or from the
// page (host.js)
//   "msg:custom", { model: name, error }         why there is none, one sentence
//   "msg:custom", { model: name, coming: true }  somebody is fetching it: wait on
//
// Explorables call `openModel`; `askFor` is for those that want the file itself.

import { load } from "./live_graph.js";

const PATIENCE = 10000; // ms without a sign; then nobody is there: a notebook without a kernel
export const NO_ANSWER = "No answer: run this cell to use it.";

const asked = new WeakMap(); // widget model -> { name: promise }

// The file of a model, as a Uint8Array. Fails with a sentence for the reader. Who failed may ask
// again; an answer that came too late is kept for that.
export function askFor(model, name, { patience = PATIENCE } = {}) {
  if (!asked.has(model)) asked.set(model, new Map());
  const files = asked.get(model);
  if (!files.has(name)) files.set(name, ask(model, name, patience, files));
  return files.get(name);
}

function ask(model, name, patience, files) {
  const { promise, settle, fail } = outside();
  let waiting = true;
  const timer = setTimeout(() => giveUp(NO_ANSWER), patience);
  const giveUp = (sentence) => {
    clearTimeout(timer);
    if (waiting) files.delete(name);
    waiting = false;
    fail(new Error(sentence));
  };
  const hear = (content, buffers) => {
    if (content?.model !== name) return;
    clearTimeout(timer);
    if (content.coming) return;
    model.off("msg:custom", hear);
    if (content.error !== undefined) return giveUp(content.error);
    if (!buffers?.length)
      return giveUp(`The answer for ${name} came without its file: run this cell again.`);
    const file = asBytes(buffers[0]);
    // too late for this call, in time for the next
    if (!waiting) files.set(name, Promise.resolve(file));
    settle(file);
  };
  model.on("msg:custom", hear);
  try {
    model.send({ need: name });
  } catch {
    giveUp(NO_ANSWER); // the way to Python is closed
  }
  return promise;
}

function outside() {
  let settle;
  let fail;
  const promise = new Promise((yes, no) => {
    [settle, fail] = [yes, no];
  });
  return { promise, settle, fail };
}

// A DataView, in notebooks; an ArrayBuffer or an array of bytes elsewhere.
function asBytes(buffer) {
  return ArrayBuffer.isView(buffer)
    ? new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength)
    : new Uint8Array(buffer);
}

// A model ready to run: `net` of live_graph.js.
//
// Explorables that were given the same file share one net, across all scripts of the page. What its
// `run` returns is then theirs only until the next run, which may be another's: copy what is kept
// beyond the same turn of the event loop.
// { own: true } gives a net of one's own, for those that edit parameters. The other options are
// those of `askFor`.
export async function openModel(model, name, { own = false, ...options } = {}) {
  const file = await askFor(model, name, options);
  if (own) return load(file);
  // the file's memory -> { place in it: promise of a net }
  const nets = (globalThis.hybridNets ??= new WeakMap());
  if (!nets.has(file.buffer)) nets.set(file.buffer, new Map());
  const here = nets.get(file.buffer);
  if (!here.has(file.byteOffset)) here.set(file.byteOffset, load(file));
  return here.get(file.byteOffset);
}
