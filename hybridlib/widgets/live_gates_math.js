// ConViT's gates and heads as a reader turns them, and the weights of a net (live_graph.js) that
// stand for them. No page here.
//
// A head is { gate, alpha, centre: [row, column] }: gate = sigmoid(lambda), and v = -alpha (1, -2
// row, -2 column).

const GATES = /^(.+)\.gate_logits$/;
const SHUT = 20; // lambda of a gate that is shut or open: sigmoid(-20) is 2e-9

// The layers that have gates, in the order of the net, each { name, heads: how many }.
export function gatedLayers({ parameters }) {
  return Object.entries(parameters).flatMap(([name, [heads]]) =>
    GATES.test(name) ? [{ name: name.match(GATES)[1], heads }] : [],
  );
}

export function readHead(net, layer, head) {
  const [square, row, column] = net
    .parameter(`${layer}.to_position_scores.weight`)
    .subarray(3 * head, 3 * head + 3);
  const lambda = net.parameter(`${layer}.gate_logits`)[head];
  return {
    gate: 1 / (1 + Math.exp(-lambda)),
    alpha: -square,
    centre: [-row / (2 * square), -column / (2 * square)],
  };
}

// Takes effect with the net's next prepare().
export function writeHead(net, layer, head, { gate, alpha, centre: [row, column] }) {
  net.parameter(`${layer}.gate_logits`)[head] = Math.max(
    -SHUT,
    Math.min(SHUT, Math.log(gate / (1 - gate))),
  );
  net
    .parameter(`${layer}.to_position_scores.weight`)
    .set([-alpha, 2 * alpha * row, 2 * alpha * column], 3 * head);
}

// Where one query looks in one head, by the kinds of map that the layer has: { content, position,
// gated }, views.
export function rowsOf(maps, layer, head, query) {
  const own = maps.filter(({ module }) => module === layer);
  return Object.fromEntries(
    own.map(({ kind, data, queries, keys }) => {
      const start = (head * queries + query) * keys;
      return [kind, data.subarray(start, start + keys)];
    }),
  );
}
