// DeiT's two losses for one picture, and what a step downhill does to each logit. No page here.
//
// A bench is { kind, tau, weight, form, label, teacher, first, second }: `first` are the logits of
// the class head, `second` those of the distillation head, or null for a student with one head,
// which then answers both.

// The forms of the soft loss: equation 2 in Hinton's order, as printed, and with the divisor of the
// public code.
export const FORMS = ["hinton", "printed", "coded"];

export function tempered(logits, tau = 1) {
  const most = Math.max(...logits);
  const raised = logits.map((z) => Math.exp((z - most) / tau));
  const sum = raised.reduce((a, b) => a + b, 0);
  return raised.map((v) => v / sum);
}

export const divergence = (p, q) =>
  p.reduce((sum, v, i) => sum + (v > 0 ? v * Math.log(v / q[i]) : 0), 0);
export const largest = (values) => values.indexOf(Math.max(...values));
const oneHot = (count, index) => Array.from({ length: count }, (_, i) => Number(i === index));

// What the losses compare: the teacher's share of each class and the student's, softened for the
// soft loss, whole for the hard.
export function compared({ kind, tau, teacher, first, second }) {
  const answer = second ?? first;
  if (kind === "hard")
    return { target: oneHot(teacher.length, largest(teacher)), given: tempered(answer) };
  return { target: tempered(teacher, tau), given: tempered(answer, tau) };
}

// The two terms without their weights, their sum with them, and the pulls: minus the gradient, what
// a step downhill adds.
//   truth, imitation     the label's term (cross-entropy of the class head) and the teacher's
//   total                (1 - weight) truth + weight scale imitation, where scale is tau^2 for the
// soft loss
//   pulls                { label, teacher }: for each class; the teacher's acts on `second` where
// there is one
export function losses(bench) {
  const { kind, tau, weight, form, label, teacher, first } = bench;
  const count = teacher.length;
  const shares = tempered(first);
  const { target, given } = compared(bench);
  const truth = -Math.log(shares[label]);
  const pullOfLabel = shares.map((q, i) => (1 - weight) * (Number(i === label) - q));
  let [imitation, scale, gradient] = [0, 1, []];
  if (kind === "hard") {
    imitation = -Math.log(given[largest(teacher)]);
    gradient = given.map((q, i) => q - target[i]);
  } else {
    const share = form === "coded" ? 1 / count : 1;
    scale = tau ** 2;
    if (form === "printed") {
      imitation = divergence(given, target);
      gradient = given.map((q, i) => (q * (Math.log(q / target[i]) - imitation)) / tau);
    } else {
      imitation = share * divergence(target, given);
      gradient = given.map((q, i) => (share * (q - target[i])) / tau);
    }
  }
  return {
    truth,
    imitation,
    scale,
    total: (1 - weight) * truth + weight * scale * imitation,
    pulls: { label: pullOfLabel, teacher: gradient.map((g) => -weight * scale * g || 0) },
  };
}

// The logits after `steps` steps downhill of the given size: { first, second }.
export function descended(bench, steps, size = 0.5) {
  let { first, second } = bench;
  for (let i = 0; i < steps; i++) {
    const { pulls } = losses({ ...bench, first, second });
    const pull = (z, ...by) => z.map((v, c) => v + size * by.reduce((sum, one) => sum + one[c], 0));
    [first, second] = second
      ? [pull(first, pulls.label), pull(second, pulls.teacher)]
      : [pull(first, pulls.label, pulls.teacher), null];
  }
  return { first, second };
}
