// Runs the page's anywidgets without a kernel.
//
// A stored notebook keeps the state of its widgets in one JSON script, and a small JSON script in
// the place of each view. This file gives each view a model with the part of anywidget's interface
// that needs no Python: get, set, on, off, save_changes and widget_manager.get_model. In Python's
// place it also answers an explorable that asks for a trained model by `send({ need: name })`
// (hybridlib/widgets/live_models.js). It is a classic script, for a module script would not load
// over file://.
(() => {
  "use strict";
  const STATE = "application/vnd.jupyter.widget-state+json";
  const VIEW = "application/vnd.jupyter.widget-view+json";
  const REFERENCE = "IPY_MODEL_";
  // found from here, wherever the page lies
  const SHELF = new URL("live/", document.currentScript.src);
  const VERSIONS = "hybrid-models"; // id of a JSON script: { model's name: digest of its file }

  class Model {
    #state;
    #listeners = new Map();
    #shelf;

    constructor(state, manager, shelf) {
      this.#state = state;
      this.widget_manager = manager;
      this.#shelf = shelf;
    }

    get(name) {
      return this.#state[name];
    }

    set(name, value) {
      if (Object.is(this.#state[name], value)) return;
      this.#state[name] = value;
      this.#emit(`change:${name}`, this, value);
      this.#emit("change", this);
    }

    on(event, callback) {
      if (!this.#listeners.has(event)) this.#listeners.set(event, new Set());
      this.#listeners.get(event).add(callback);
    }

    // Without a callback: every listener of the event. Without an event: every listener.
    off(event, callback) {
      if (!event) this.#listeners.clear();
      else if (!callback) this.#listeners.delete(event);
      else this.#listeners.get(event)?.delete(callback);
    }

    save_changes() {} // there is no kernel to tell

    // Python would hear this. One message has an answer here; every other is lost.
    async send(content) {
      const name = content?.need;
      if (name === undefined) return;
      const answer = (known, buffers) =>
        this.#emit("msg:custom", { model: name, ...known }, buffers);
      await null; // as from Python: after `send` has returned
      answer({ coming: true }, []);
      try {
        answer({}, [await this.#shelf.take(name)]);
      } catch (error) {
        answer({ error: error.message }, []);
      }
    }

    #emit(event, ...values) {
      for (const callback of [...(this.#listeners.get(event) ?? [])]) callback(...values);
    }
  }

  function decode(base64) {
    const text = atob(base64);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    return new DataView(bytes.buffer);
  }

  // The files of trained models: each is a script, for scripts load over file:// too. It calls
  // hybridModels.take(name, base64). Whoever asks gets the same file; nothing loads before the
  // first asks.
  function createShelf() {
    const script = document.getElementById(VERSIONS);
    const versions = script ? JSON.parse(script.textContent) : {};
    const arriving = new Map(); // name -> what to do with its bytes
    const files = new Map(); // name -> promise of a DataView
    const tries = new Map(); // name -> how often it was asked of the server
    globalThis.hybridModels = { take: (name, base64) => arriving.get(name)?.(decode(base64)) };

    function load(name) {
      if (!Object.hasOwn(versions, name)) {
        return Promise.reject(
          new Error(
            `The model ${name} is not on this page: run this cell in a notebook to use it.`,
          ),
        );
      }
      return new Promise((settle, fail) => {
        arriving.set(name, settle);
        const count = (tries.get(name) ?? 0) + 1;
        tries.set(name, count);
        // past a browser's cache, which may hold what was wrong
        const again = count > 1 ? `&try=${count}` : "";
        const src = `${new URL(`${encodeURIComponent(name)}.js`, SHELF)}?v=${versions[name]}${again}`;
        const missing = () =>
          fail(
            new Error(
              `The file of the model ${name} did not load: try again, or load the page anew.`,
            ),
          );
        const tag = Object.assign(document.createElement("script"), {
          src,
          onerror: missing,
          onload: missing,
        });
        // onload comes after the script has run, and is too late to fail a file that has come
        document.head.append(tag);
      });
    }

    return {
      take(name) {
        if (!files.has(name)) {
          files.set(name, load(name));
          files.get(name).catch(() => files.delete(name)); // who asks again may be luckier
        }
        return files.get(name);
      },
    };
  }

  // Put each buffer, decoded, at its path inside the state.
  function withBuffers({ state, buffers = [] }) {
    for (const { path, data, encoding } of buffers) {
      if (encoding !== "base64") throw new Error(`buffer encoding ${encoding}, expected base64`);
      const parent = path.slice(0, -1).reduce((value, key) => value[key], state);
      parent[path.at(-1)] = decode(data);
    }
    return state;
  }

  // The page's models, made when first asked for. A reference is a model id, with or without the
  // prefix that ipywidgets writes in front of it.
  function createManager(stored) {
    const models = new Map();
    const shelf = createShelf();
    const manager = {
      async get_model(reference) {
        const id = reference.startsWith(REFERENCE) ? reference.slice(REFERENCE.length) : reference;
        if (!stored[id]) throw new Error(`the page holds no state for widget ${id}`);
        if (!models.has(id)) models.set(id, new Model(withBuffers(stored[id]), manager, shelf));
        return models.get(id);
      },
    };
    return manager;
  }

  // One module for all widgets of a kind.
  const modules = new Map();
  function load(source) {
    if (!modules.has(source)) {
      const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
      modules.set(
        source,
        import(url).finally(() => URL.revokeObjectURL(url)),
      );
    }
    return modules.get(source);
  }

  const styles = new Set();
  function addStyle(css) {
    if (!css || styles.has(css)) return;
    styles.add(css);
    document.head.append(Object.assign(document.createElement("style"), { textContent: css }));
  }

  async function show(view, manager, el) {
    const model = await manager.get_model(view.model_id);
    const source = model.get("_esm");
    if (!source)
      throw new Error("this control needs Python: open the chapter in Colab or JupyterLab");
    addStyle(model.get("_css"));
    const module = await load(source);
    const widget = module.default ?? module;
    const { initialize, render } = typeof widget === "function" ? await widget() : widget;
    await initialize?.({ model });
    await render({ model, el });
  }

  function fail(el, error) {
    console.error(error);
    el.className = "explorable-error";
    el.setAttribute("role", "alert");
    el.textContent = `This explorable could not start: ${error.message}`;
  }

  function start() {
    const script = document.querySelector(`script[type="${STATE}"]`);
    const manager = createManager(script ? JSON.parse(script.textContent).state : {});
    for (const place of document.querySelectorAll(`script[type="${VIEW}"]`)) {
      const el = document.createElement("div");
      el.className = "explorable";
      place.replaceWith(el);
      show(JSON.parse(place.textContent), manager, el).catch((error) => fail(el, error));
    }
  }

  start();
})();
