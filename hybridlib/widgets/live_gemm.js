// The matrix product C = A B^T + bias, in WebAssembly where the browser allows it, else in plain
// JavaScript.
// `multiply(m, n, k, a, lda, b, ldb, c, ldc, bias)`: positions of the first numbers and steps
// between rows, in numbers;
// rows of A and B lie together. A bias of -1 is none.

// gemm.wat, compiled as its head says from the text with SHA-256
// 9f98fec49439a8cacbe9c51956c254994c3825e93b0f0c806376950684998a41.
const GEMM_WASM =
  "AGFzbQEAAAABHgNgBHt7e3sBe2AEf39/fwF/YAp/f39/f39/f39/AAIQAQRsaXZlBm1lbW9yeQIAAQMEAwABAgcMAQhtdWx0aXBseQACCuMIA5" +
  "UBAQJ7IAAgAf0NAAECAxAREhMEBQYHFBUWFyAAIAH9DQgJCgsYGRobDA0ODxwdHh/95AEhBCACIAP9DQABAgMQERITBAUGBxQVFhcgAiAD/Q0I" +
  "CQoLGBkaGwwNDg8cHR4f/eQBIQUgBCAF/Q0AAQIDBAUGBxAREhMUFRYXIAQgBf0NCAkKCwwNDg8YGRobHB0eH/3kAQsVACAAIAEgAiADQQFrIA" +
  "IgA0kbbGoLswcDC38NewR/IAJBfHFBAnQhDSACQQJ0IQ4DQCADIAQgCiAAEAEhDyADIAQgCkEBaiAAEAEhECADIAQgCkECaiAAEAEhESADIAQg" +
  "CkEDaiAAEAEhEiAHIAggCiAAEAEhIiAHIAggCkEBaiAAEAEhIyAHIAggCkECaiAAEAEhJCAHIAggCkEDaiAAEAEhJUEAIQsDQCAFIAYgCyABEA" +
  "EhEyAFIAYgC0EBaiABEAEhFP0MAAAAAAAAAAAAAAAAAAAAACEa/QwAAAAAAAAAAAAAAAAAAAAAIRv9DAAAAAAAAAAAAAAAAAAAAAAhHP0MAAAA" +
  "AAAAAAAAAAAAAAAAACEd/QwAAAAAAAAAAAAAAAAAAAAAIR79DAAAAAAAAAAAAAAAAAAAAAAhH/0MAAAAAAAAAAAAAAAAAAAAACEg/QwAAAAAAA" +
  "AAAAAAAAAAAAAAISFBACEMIA0EQANAIA8gDGr9AAQAIRUgECAMav0ABAAhFiARIAxq/QAEACEXIBIgDGr9AAQAIRggEyAMav0ABAAhGSAaIBUg" +
  "Gf3mAf3kASEaIBsgFiAZ/eYB/eQBIRsgHCAXIBn95gH95AEhHCAdIBggGf3mAf3kASEdIBQgDGr9AAQAIRkgHiAVIBn95gH95AEhHiAfIBYgGf" +
  "3mAf3kASEfICAgFyAZ/eYB/eQBISAgISAYIBn95gH95AEhISAMQRBqIgwgDUkNAAsLIAwgDkkEQANAIA8gDGr9XAIAIRUgECAMav1cAgAhFiAR" +
  "IAxq/VwCACEXIBIgDGr9XAIAIRggEyAMav1cAgAhGSAaIBUgGf3mAf3kASEaIBsgFiAZ/eYB/eQBIRsgHCAXIBn95gH95AEhHCAdIBggGf3mAf" +
  "3kASEdIBQgDGr9XAIAIRkgHiAVIBn95gH95AEhHiAfIBYgGf3mAf3kASEfICAgFyAZ/eYB/eQBISAgISAYIBn95gH95AEhISAMQQRqIgwgDkkN" +
  "AAsLIBogGyAcIB0QACEVIB4gHyAgICEQACEWQQBBBCALIAEQASETQQBBBCALQQFqIAEQASEUIAkEQCAVIAkgE2r9CQIA/eQBIRUgFiAJIBRq/Q" +
  "kCAP3kASEWCyAiIBNqIBX9WgIAACAjIBNqIBX9WgIAASAkIBNqIBX9WgIAAiAlIBNqIBX9WgIAAyAiIBRqIBb9WgIAACAjIBRqIBb9WgIAASAk" +
  "IBRqIBb9WgIAAiAlIBRqIBb9WgIAAyALQQJqIgsgAUkNAAsgCkEEaiIKIABJDQALCw==";

// { data, ints, multiply, wasm }: memory for `count` numbers, seen as float32 and as int32, and a
// product that works on it.
// It never grows: growing would detach the arrays.
export function makeMemory(count, { wasm = true } = {}) {
  const compiled = wasm ? compileGemm(count) : null;
  const buffer = compiled?.buffer ?? new ArrayBuffer(4 * count);
  const data = new Float32Array(buffer, 0, count);
  const ints = new Int32Array(buffer, 0, count);
  return {
    data,
    ints,
    multiply: compiled?.multiply ?? plainMultiply.bind(null, data),
    wasm: compiled !== null,
  };
}

// Null where WebAssembly or its vectors are missing, or a page's security policy refuses it.
function compileGemm(count) {
  try {
    const code = Uint8Array.from(atob(GEMM_WASM), (letter) => letter.charCodeAt(0));
    const memory = new WebAssembly.Memory({ initial: Math.ceil((4 * count) / 65536) });
    const { multiply } = new WebAssembly.Instance(new WebAssembly.Module(code), {
      live: { memory },
    }).exports;
    return {
      buffer: memory.buffer,
      multiply: (m, n, k, a, lda, b, ldb, c, ldc, bias) =>
        multiply(m, n, k, 4 * a, 4 * lda, 4 * b, 4 * ldb, 4 * c, 4 * ldc, bias < 0 ? 0 : 4 * bias),
    };
  } catch {
    return null;
  }
}

// Two rows of A and four of B at a time; at the edges a row is taken twice.
function plainMultiply(d, m, n, k, a, lda, b, ldb, c, ldc, bias) {
  for (let i = 0; i < m; i += 2) {
    const below = Math.min(1, m - 1 - i);
    const a0 = a + i * lda;
    const c0 = c + i * ldc;
    for (let j = 0; j < n; j += 4) {
      const j1 = Math.min(1, n - 1 - j);
      const j2 = Math.min(2, n - 1 - j);
      const j3 = Math.min(3, n - 1 - j);
      const b0 = b + j * ldb;
      tile(
        d,
        k,
        a0,
        a0 + below * lda,
        b0,
        b0 + j1 * ldb,
        b0 + j2 * ldb,
        b0 + j3 * ldb,
        c0 + j,
        c0 + j + below * ldc,
        j1,
        j2,
        j3,
      );
    }
  }
  if (bias < 0) return;
  for (let i = 0; i < m; i++) for (let j = 0; j < n; j++) d[c + i * ldc + j] += d[bias + j];
}

// Eight sums share six reads. In a function of its own, which leaves the processor's registers to
// the sums.
function tile(d, k, a0, a1, b0, b1, b2, b3, c0, c1, j1, j2, j3) {
  let s00 = 0;
  let s01 = 0;
  let s02 = 0;
  let s03 = 0;
  let s10 = 0;
  let s11 = 0;
  let s12 = 0;
  let s13 = 0;
  for (let t = 0; t < k; t++) {
    const x = d[a0 + t];
    const y = d[a1 + t];
    s00 += x * d[b0 + t];
    s01 += x * d[b1 + t];
    s02 += x * d[b2 + t];
    s03 += x * d[b3 + t];
    s10 += y * d[b0 + t];
    s11 += y * d[b1 + t];
    s12 += y * d[b2 + t];
    s13 += y * d[b3 + t];
  }
  d[c0] = s00;
  d[c0 + j1] = s01;
  d[c0 + j2] = s02;
  d[c0 + j3] = s03;
  d[c1] = s10;
  d[c1 + j1] = s11;
  d[c1 + j2] = s12;
  d[c1 + j3] = s13;
}
