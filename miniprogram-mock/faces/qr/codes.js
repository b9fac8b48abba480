/** Card codes (动态码) as bytes: what a text says. Nothing here is checked against a key. */

/** A code was refused; `code` says why, as in the Python package and in the API. */
export class Refused extends Error {
  constructor(code) {
    super(code);
    this.code = code;
  }
}

const KINDS = {
  961: { length: 201, size: 82, read: readSigned },
  962: { length: 430, size: 177, read: readDevice },
};
const VERSION = 1;
const LONGEST_LIFE = 60;
const DELEGATION_SIZE = 108;

/**
 * What a signed code (签名码, type S) or a device code (设备码, type D) says.
 *
 * `{kind: "signed", scope, keyId, alias, issuedAt, lifetime, nonce, signature}`
 * `{kind: "device", delegation: {bytes, scope, keyId, serial, publicKey, expiresAt, capYuan, capCount, signature},
 *   proof: {issuedAt, scope, sequence, signature}}`
 *
 * Times are seconds since 1970, scopes sums of bits. Refuses everything else as `code-malformed`.
 */
export function readCode(text) {
  const kind = typeof text === "string" ? KINDS[text.slice(0, 3)] : undefined;
  // The length first: a megabyte of input costs as little as none. Without the u flag \d is ASCII only.
  if (!kind || text.length !== kind.length || !/^\d+$/.test(text)) throw new Refused("code-malformed");
  return kind.read(bytesOf(text.slice(3), kind.size));
}

function bytesOf(digits, size) {
  const hex = BigInt(digits).toString(16).padStart(2 * size, "0");
  if (hex.length > 2 * size) throw new Refused("code-malformed");
  return Uint8Array.from(hex.match(/../g), (byte) => parseInt(byte, 16));
}

/** The low half of a first byte whose high half is the version. */
function scopeOf(byte) {
  if (byte >> 4 !== VERSION) throw new Refused("code-malformed");
  return byte & 15;
}

function readSigned(raw) {
  const scope = scopeOf(raw[0]);
  const lifetime = raw[12];
  if (lifetime < 1 || lifetime > LONGEST_LIFE) throw new Refused("code-malformed");
  return {
    kind: "signed",
    scope,
    keyId: raw[1],
    alias: raw.slice(2, 8),
    issuedAt: numberAt(raw, 8),
    lifetime,
    nonce: raw.slice(13, 18),
    signature: raw.slice(18),
  };
}

function readDevice(raw) {
  const bytes = raw.slice(0, DELEGATION_SIZE);
  const proof = raw.slice(DELEGATION_SIZE);
  return {
    kind: "device",
    delegation: {
      bytes,
      scope: scopeOf(bytes[0]),
      keyId: bytes[1],
      serial: numberAt(bytes, 2),
      publicKey: bytes.slice(6, 38),
      expiresAt: numberAt(bytes, 38),
      capYuan: bytes[42],
      capCount: bytes[43],
      signature: bytes.slice(44),
    },
    proof: {
      issuedAt: numberAt(proof, 0),
      scope: proof[4] >> 4,
      sequence: proof[4] & 15,
      signature: proof.slice(5),
    },
  };
}

/** Whether a text is spelled like a short code (短码, type N): 20 digits that only the server can read. */
export const isShortCode = (text) => /^960\d{17}$/.test(text) && luhnSum(text) % 10 === 0;

function luhnSum(digits) {
  const doubled = [0, 2, 4, 6, 8, 1, 3, 5, 7, 9];
  return [...digits].reverse().reduce((sum, digit, place) => sum + (place % 2 ? doubled[digit] : Number(digit)), 0);
}

const numberAt = (bytes, offset) => new DataView(bytes.buffer, bytes.byteOffset).getUint32(offset);

export const hexOf = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
