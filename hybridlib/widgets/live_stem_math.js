// A stem as steps from pixels to tokens: what each step made, and which pixels a cell of it reads.
// No page here.

// The steps of a net (live_graph.js) whose stem is `patch_embedding`, each { name, title,
// convolution, window, jump, start }:
// the cell (r, c) of its map reads the window x window pixels from (start + jump r, start + jump c)
// on.
export function stemSteps({ modules }, { side }) {
  const inside = modules.filter(({ name }) => /^patch_embedding\.\d+/.test(name));
  const steps = inside.filter(({ name }) => /^patch_embedding\.\d+$/.test(name));
  let [window, jump, start, count] = [1, 1, 0, 0];
  return steps.map(({ name, shape, class: kind }) => {
    const conv = inside.find(
      (module) => module.window && (module.name === name || module.name === `${name}.0`),
    );
    const [kernel, stride] = [conv.window[0], conv.stride[0]];
    start -= Math.floor(kernel / 2) * jump;
    window += (kernel - 1) * jump;
    jump *= stride;
    count += 1;
    if (side !== jump * shape[2])
      throw new Error(`${name} makes a map of ${shape[2]}: ${side / jump} was expected.`);
    const whole = kind !== "Conv2d";
    return {
      name,
      convolution: whole,
      window,
      jump,
      start,
      title: `${count}: ${kernel} × ${kernel}${whole ? `, stride ${stride}` : ""}`,
      said: `Convolution ${count}`,
    };
  });
}

// The only step of a net that cuts patches.
export function patchStep({ modules }, { side }) {
  const { shape } = modules.find(({ name }) => name === "patch_embedding");
  const window = side / Math.sqrt(shape[1]);
  return {
    name: "patch_embedding",
    convolution: false,
    window,
    jump: window,
    start: 0,
    title: `ViT: ${window} × ${window} patches`,
    said: "Patches",
  };
}

// What a step made: { channels, size: [rows, columns], at(channel, row, column) }. Tokens n d and
// maps c h w alike.
export function stemMaps({ modules }, { name }) {
  const made = modules.find((module) => module.name === name);
  const data = made.read();
  if (made.shape.length === 4) {
    const [, channels, rows, columns] = made.shape;
    return { channels, size: [rows, columns], at: (k, r, c) => data[(k * rows + r) * columns + c] };
  }
  const [, tokens, channels] = made.shape;
  const side = Math.sqrt(tokens);
  return { channels, size: [side, side], at: (k, r, c) => data[(r * side + c) * channels + k] };
}

// Switches a channel off: norm's scale and shift to zero after a convolution; for the 1 x 1, its
// weights and bias.
export function muteChannel(net, { name, convolution }, channel) {
  const own = convolution ? `${name}.1` : name;
  const weight = net.parameter(`${own}.weight`);
  const each = weight.length / net.parameters[`${own}.weight`][0];
  weight.fill(0, channel * each, (channel + 1) * each);
  net.parameter(`${own}.bias`)[channel] = 0;
}
