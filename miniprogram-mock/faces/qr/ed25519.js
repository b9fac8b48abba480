/** Ed25519 without `crypto.subtle`, which a browser withholds on plain HTTP in a campus network. */

import { Point } from "../vendor/noble/ed25519/index.js";
import { sha512 } from "../vendor/noble/hashes/sha2.js";

export { sha512 };

const { n: GROUP_ORDER } = Point.CURVE();

Point.BASE.multiplyUnsafe(2n); // makes the library's table of multiples now: the first scan shall not wait for it

/**
 * Whether the key made the signature, judged as OpenSSL on the server judges it: S below the group order, and R
 * equal to [S]B − [k]A byte by byte. The library's own `verify` multiplies both sides by the cofactor first, which
 * would let a phone make codes that a scanner takes and the server refuses. A weak key never signs anything.
 */
export function isSignature(signature, message, publicKey) {
  const key = pointOf(publicKey);
  const s = numberOf(signature.subarray(32));
  if (key === null || key.isSmallOrder() || s >= GROUP_ORDER) return false;
  const commitment = signature.subarray(0, 32);
  const k = numberOf(sha512(Uint8Array.of(...commitment, ...publicKey, ...message))) % GROUP_ORDER;
  const expected = Point.BASE.multiplyUnsafe(s).subtract(key.multiplyUnsafe(k)).toBytes();
  return expected.every((byte, index) => byte === commitment[index]);
}

/** Whether the 32 bytes are no key at all, or one of the small-order keys for which everybody can sign. */
export function isWeakKey(publicKey) {
  return pointOf(publicKey)?.isSmallOrder() ?? true;
}

function pointOf(bytes) {
  try {
    return Point.fromBytes(bytes);
  } catch {
    return null; // not on the curve, or not in its one spelling
  }
}

/** The number that little-endian bytes spell. */
const numberOf = (bytes) =>
  BigInt(`0x${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).reverse().join("")}`);
