/**
 * Runs the verifier over a file of vectors: `node check-vectors.mjs [FILE]`, `qr/vectors.json` unless told otherwise.
 * Names each vector that fails, counts the rest; exit code 0 when all passed, 1 when one failed or there was none.
 */

import { readFileSync } from "node:fs";

import { Refused, hexOf, readCode } from "./codes.js";
import { isWeakKey } from "./ed25519.js";
import { b64url, delegationInput, proofInput, signedInput } from "./jwt.js";
import { Verifier } from "./verifier.js";

const SCOPES = { pay: 1, gate: 2, door: 4, service: 8 };
const EVERY_USE = 15;

const file = process.argv[2] ?? new URL("../../../qr/vectors.json", import.meta.url);
const vectors = JSON.parse(readFileSync(file, "utf8"));
const verifier = new Verifier(Verifier.keysOf(vectors.jwks), { issuer: vectors.issuer });

/** The code by which a text is refused, or "accepted". */
function verdict(text, need, now) {
  try {
    verifier.verify(text, { need, now });
    return "accepted";
  } catch (error) {
    if (error instanceof Refused) return error.code;
    throw error;
  }
}

function same(what, found, expected) {
  if (JSON.stringify(found) !== JSON.stringify(expected)) {
    throw new Error(`${what} is ${JSON.stringify(found)}, not ${JSON.stringify(expected)}`);
  }
}

/** What the bytes say, spelled as the vectors spell it. */
const READERS = {
  signed(code) {
    const { alias, scope, keyId, issuedAt, lifetime, nonce, signature } = code;
    return {
      jwt: `${signedInput(code, vectors.issuer)}.${b64url(signature)}`,
      fields: {
        alias: hexOf(alias),
        scope,
        key_id: keyId,
        issued_at: issuedAt,
        expires_at: issuedAt + lifetime,
        nonce: hexOf(nonce),
      },
    };
  },
  device({ delegation, proof }, content) {
    return {
      delegation_jwt: `${delegationInput(delegation, vectors.issuer)}.${b64url(delegation.signature)}`,
      proof_jwt: `${proofInput(proof, delegation.bytes)}.${b64url(proof.signature)}`,
      fields: {
        scope: content.scope,
        key_id: content.keyId,
        serial: content.serial,
        public_key: hexOf(delegation.publicKey),
        delegation_scope: delegation.scope,
        delegation_expires_at: delegation.expiresAt,
        cap_yuan: content.capYuan,
        cap_count: content.capCount,
        proof_scope: proof.scope,
        issued_at: content.issuedAt,
        sequence: content.sequence,
        expires_at: content.expiresAt,
      },
    };
  },
};

function checkValid(kind, vector) {
  const { text, fields } = vector;
  const inTime = vector.accept_at[0];
  for (const now of vector.accept_at) {
    const content = verifier.verify(text, { need: fields.scope, now });
    same("kind", content.kind, kind);
    same("key", content.key, vector.key);
    for (const [name, found] of Object.entries(READERS[kind](readCode(text), content))) same(name, found, vector[name]);
  }
  for (const [now, code] of Object.entries(vector.reject_at)) same(`at ${now}`, verdict(text, EVERY_USE, Number(now)), code);
  for (const use of vector.accept_for) same(use, verdict(text, SCOPES[use], inTime), "accepted");
  for (const [use, code] of Object.entries(vector.refuse_for)) same(use, verdict(text, SCOPES[use], inTime), code);
}

function* cases() {
  const { valid = {}, invalid = {}, weak_keys: weakKeys = [] } = vectors;
  for (const kind of ["signed", "device"]) {
    for (const vector of valid[kind] ?? []) yield [`valid.${kind}: ${vector.name}`, () => checkValid(kind, vector)];
    for (const { name, text, need, at, code } of invalid[kind] ?? []) {
      yield [`invalid.${kind}: ${name}`, () => same("verdict", verdict(text, SCOPES[need], at), code)];
    }
  }
  // Nobody signs a short code: without the server it is nothing.
  for (const { text } of valid.short ?? []) {
    yield [`valid.short: ${text}`, () => same("verdict", verdict(text, EVERY_USE, 0), "code-malformed")];
  }
  for (const key of weakKeys) {
    const bytes = Uint8Array.from(key.match(/../g), (byte) => parseInt(byte, 16));
    yield [`weak_keys: ${key}`, () => same("weak", isWeakKey(bytes), true)];
  }
}

let passed = 0;
let failed = 0;
for (const [name, run] of cases()) {
  try {
    run();
    passed += 1;
  } catch (error) {
    failed += 1;
    console.log(`${name}: ${error.message}`);
  }
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
