// A file of weights: safetensors, read without a copy of the whole. No numbers are computed here.
// Eight bytes that say how long the header is, the header as JSON, then the numbers of every
// tensor.

// Bytes, however they came: from a widget's manager (DataView), a script on the page (base64), or a
// file.
export function bytesOf(source) {
  if (typeof source === "string")
    return Uint8Array.from(atob(source), (letter) => letter.charCodeAt(0));
  if (ArrayBuffer.isView(source))
    return new Uint8Array(source.buffer, source.byteOffset, source.byteLength);
  return new Uint8Array(source);
}

// { metadata, tensors: { name: { type, shape, bytes } } }. `type` is F16, F32 or I32.
export function readTensors(file) {
  const length =
    file.length >= 8 ? new DataView(file.buffer, file.byteOffset).getUint32(0, true) : 0;
  const start = 8 + length;
  if (length < 2 || start > file.length)
    throw new Error("The model's file is not whole: load the page again.");
  const { __metadata__: metadata = {}, ...header } = JSON.parse(
    new TextDecoder().decode(file.subarray(8, start)),
  );
  const tensors = {};
  for (const [
    name,
    {
      dtype,
      shape,
      data_offsets: [from, to],
    },
  ] of Object.entries(header)) {
    if (start + to > file.length)
      throw new Error("The model's file is not whole: load the page again.");
    tensors[name] = { type: dtype, shape, bytes: file.subarray(start + from, start + to) };
  }
  return { metadata, tensors };
}

// Write a tensor's numbers into a Float32Array, or an Int32Array for I32, of its length.
export function unpackInto(target, { type, bytes }) {
  if (type === "F16") return unpackHalves(target, bytes);
  if (type !== "F32" && type !== "I32")
    throw new Error(`A tensor of type ${type} cannot be read; F16, F32 and I32 can.`);
  new Uint8Array(target.buffer, target.byteOffset, target.byteLength).set(bytes);
}

// IEEE half precision, little endian, by moving bits: sign, exponent (its bias is 15 here and 127
// there), fraction.
function unpackHalves(target, bytes) {
  const bits = new Uint32Array(target.buffer, target.byteOffset, target.length);
  for (let i = 0; i < target.length; i++) {
    const half = bytes[2 * i] | (bytes[2 * i + 1] << 8);
    const exponent = half & 0x7c00;
    if (exponent === 0) {
      target[i] = (half & 0x8000 ? -1 : 1) * (half & 0x3ff) * 2 ** -24;
    } else {
      const raised = exponent === 0x7c00 ? 0x3fc00 : exponent + 0x1c000;
      bits[i] = ((half & 0x8000) << 16) | (raised << 13) | ((half & 0x3ff) << 13);
    }
  }
}
