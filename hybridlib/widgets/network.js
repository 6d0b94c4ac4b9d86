// The picture of a whole network, with the numbers of a picture that the reader picks.

import { bytes, frame, h, onChange } from "./common.js";
import { paint } from "./colours.js";
import { openModel } from "./live_models.js";
import { networkView } from "./network_view.js";

function render({ model, el }) {
  const [, channels, height, width] = model.get("input");
  const one = channels * height * width;
  const all = bytes(model.get("pictures"));
  const pictures = Array.from({ length: all.length / one }, (_, i) =>
    all.subarray(i * one, (i + 1) * one),
  );
  const { root, say } = frame(el, {
    label: model.get("heading"),
    hint:
      "point at a box, or walk with the arrow keys: it shows the numbers that this part makes of the picture. " +
      "Enter or a double click opens a box.",
  });
  let net = null;
  let result = null;
  let opening = null;

  const note = h("p", { class: "hx-note" });
  const thumbs = pictures.map((picture, i) => {
    const canvas = h("canvas", {});
    paint(canvas, height, width, (row, column) => {
      const at = (row * width + column) * channels;
      return [0, 1, 2].map((channel) => picture[at + Math.min(channel, channels - 1)]);
    });
    return h(
      "button",
      {
        type: "button",
        class: "hx-button hx-thumb",
        "aria-label": `picture ${i + 1}`,
        onclick: () => {
          model.set("picture", i);
          model.save_changes();
          use();
        },
      },
      canvas,
    );
  });

  let view = build();
  root.append(
    h(
      "div",
      { class: "hx-row hx-network-head" },
      h("p", { class: "hx-title" }, model.get("heading")),
      note,
      h("div", { class: "hx-row", role: "group", "aria-label": "pictures" }, "Picture:", thumbs),
    ),
    view.node,
  );

  function build() {
    const made = networkView({
      modules: model.get("modules"),
      flow: model.get("flow"),
      input: model.get("input"),
      highlight: model.get("new"),
      known: model.get("known"),
      classes: model.get("classes"),
      say,
      read: (i) => result?.modules[i].read() ?? null,
    });
    for (const first of ["pointerdown", "pointermove", "focusin"])
      made.node.addEventListener(first, open, { once: true });
    return made;
  }

  // The model is asked for at first use, and not before.
  function open() {
    if (!pictures.length) return null;
    opening ??= (async () => {
      note.textContent = "The model is on its way …";
      try {
        // boxes are read long after the run
        net = await openModel(model, model.get("name"), { own: true });
        note.textContent = "";
        use();
      } catch (error) {
        opening = null;
        note.textContent = error.message;
      }
    })();
    return opening;
  }

  function use() {
    thumbs.forEach((thumb, i) =>
      thumb.setAttribute("aria-pressed", String(i === model.get("picture"))),
    );
    if (!net) return open();
    result = net.run(normalised(pictures[model.get("picture")], net.metadata, net.input));
    view.update();
    return null;
  }

  const stop = onChange(model, ["picture"], use);
  const again = onChange(model, ["new"], () => {
    const fresh = build();
    view.node.replaceWith(fresh.node);
    view = fresh;
  });
  thumbs.forEach((thumb, i) =>
    thumb.setAttribute("aria-pressed", String(i === model.get("picture"))),
  );
  return () => {
    stop();
    again();
  };
}

// Bytes `h w c` as the model was trained on: `c h w`, white is 1, mean and std taken off.
export function normalised(picture, { mean = "0", std = "1" }, [, channels, height, width]) {
  const [means, stds] = [mean, std].map((text) => text.split(" ").map(Number));
  const of = (list, channel) => list[Math.min(channel, list.length - 1)];
  return Float32Array.from({ length: picture.length }, (_, i) => {
    const channel = Math.floor(i / (height * width));
    return (
      (picture[(i % (height * width)) * channels + channel] / 255 - of(means, channel)) /
      of(stds, channel)
    );
  });
}

export default { render };
