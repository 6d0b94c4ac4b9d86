// Mean and sample standard deviation (null for one value).
export function spreadOf(values) {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  const sd =
    values.length < 2
      ? null
      : Math.sqrt(values.reduce((a, v) => a + (v - mean) ** 2, 0) / (values.length - 1));
  return { mean, sd };
}
