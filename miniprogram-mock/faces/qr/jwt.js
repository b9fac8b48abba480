/**
 * The JSON Web Tokens that card codes stand for: the first two segments, which are what is signed. Nobody sends
 * them, so nobody can choose a header. The order of their members is part of the format.
 */

import { sha512 } from "./ed25519.js";

const AUDIENCE = "ecard:scan";
const FINGERPRINT_SIZE = 16;

/** What the school signed for a signed code. */
export function signedInput(code, issuer) {
  const { scope, keyId, alias, issuedAt, lifetime, nonce } = code;
  return segments(
    { alg: "EdDSA", kid: `q${keyId}`, typ: "ecqr+jwt" },
    {
      iss: issuer,
      aud: AUDIENCE,
      sub: b64url(alias),
      iat: issuedAt,
      exp: issuedAt + lifetime,
      jti: b64url(nonce),
      scp: scope,
    },
  );
}

/** What the school signed for a delegation (脱机授权). */
export function delegationInput(delegation, issuer) {
  const { scope, keyId, serial, publicKey, expiresAt, capYuan, capCount } = delegation;
  return segments(
    { alg: "EdDSA", kid: `q${keyId}`, typ: "eccert+jwt" },
    {
      iss: issuer,
      aud: AUDIENCE,
      sub: `d${serial}`,
      exp: expiresAt,
      cnf: { jwk: { crv: "Ed25519", kty: "OKP", x: b64url(publicKey) } },
      cap: [capYuan, capCount],
      scp: scope,
    },
  );
}

/** What the phone signed for a proof: it names the one delegation, of 108 bytes, that it was made with. */
export function proofInput(proof, delegationBytes) {
  const { issuedAt, scope, sequence } = proof;
  const fingerprint = sha512(delegationBytes).slice(0, FINGERPRINT_SIZE);
  return segments(
    { alg: "EdDSA", typ: "ecproof+jwt" },
    { aud: AUDIENCE, cth: b64url(fingerprint), iat: issuedAt, seq: sequence, scp: scope },
  );
}

/** Bytes in unpadded base64url. */
export const b64url = (bytes) =>
  btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

/** The bytes that a text spells; an Error when it is not the one base64url spelling of any. */
export function fromB64url(text) {
  const bytes = Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));
  if (b64url(bytes) !== text) throw new Error("not canonical base64url");
  return bytes;
}

const segments = (...contents) =>
  contents.map((content) => b64url(new TextEncoder().encode(JSON.stringify(content)))).join(".");
