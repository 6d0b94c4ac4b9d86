// Attention of a trained model: any picture, layer, head and query.

import { bytes, frame, h, onChange } from "./common.js";
import { storedLayer } from "./attention_math.js";
import { attentionView } from "./attention_view.js";
import { pictureBlobs } from "./pictures.js";

function render({ model, el }) {
  const { root, say } = frame(el, {
    label: "Attention of a trained model",
    hint: "move over the picture: every map shows where that patch looks. Then click another head.",
  });
  const urls = pictureBlobs(model.get("pictures"), model.get("lengths")).map((blob) =>
    URL.createObjectURL(blob),
  );
  const captions = model.get("captions");
  const [height, width] = model.get("size");
  const crisp = Math.max(height, width) <= 96 ? " hx-crisp" : "";
  const stored = readMaps(model, urls.length);

  const thumbs = urls.map((url, i) =>
    h(
      "button",
      {
        type: "button",
        class: "hx-button hx-thumb",
        "aria-label": captions[i],
        onclick: () => {
          model.set("image", i);
          model.save_changes();
          show();
          say(captions[i]);
        },
      },
      h("img", { src: url, alt: "", class: crisp }),
    ),
  );
  const base = h("img", { alt: "", class: `hx-base${crisp}` });
  const caption = h("p", { class: "hx-caption" });
  const view = attentionView({
    base,
    pixels: [height, width],
    say,
    layers: () => stored[model.get("image")],
    start: { layer: model.get("layer"), head: model.get("head") < 0 ? "mean" : model.get("head") },
    onSelect: (layer, head) => {
      model.set("layer", layer);
      model.set("head", head === "mean" ? -1 : head);
      model.save_changes();
    },
  });
  root.append(
    h("div", { class: "hx-row hx-thumbs", role: "group", "aria-label": "pictures" }, thumbs),
    caption,
    h("div", { class: "hx-columns" }, view.picture, view.side),
  );
  if (model.get("note")) root.append(h("p", { class: "hx-note" }, model.get("note")));

  function show() {
    const at = model.get("image");
    base.src = urls[at];
    base.alt = captions[at];
    caption.textContent = captions[at];
    thumbs.forEach((thumb, i) => thumb.setAttribute("aria-pressed", String(i === at)));
    view.update(true);
  }

  const stop = onChange(model, ["image", "layer", "head"], () => {
    const head = model.get("head");
    Object.assign(view.state, { layer: model.get("layer"), head: head < 0 ? "mean" : head });
    show();
  });
  show();
  return () => {
    stop();
    urls.forEach((url) => URL.revokeObjectURL(url));
  };
}

// maps[picture][layer], over bytes laid out as layer, picture, head, query, key.
function readMaps(model, pictures) {
  const codes = bytes(model.get("codes"));
  const scales = model.get("scales");
  const maps = Array.from({ length: pictures }, () => []);
  let [start, row] = [0, 0];
  for (const meta of model.get("layers")) {
    for (let picture = 0; picture < pictures; picture++) {
      maps[picture].push(storedLayer(meta, codes, scales, start, row));
      start += meta.heads * meta.queries * meta.keys;
      row += meta.heads * meta.queries;
    }
  }
  return maps;
}

export default { render };
