/** Checks card codes with the school's public keys only: no network, no clock of its own. */

import { Refused, hexOf, readCode } from "./codes.js";
import { isSignature } from "./ed25519.js";
import { delegationInput, fromB64url, proofInput, signedInput } from "./jwt.js";

/** How long a device code is good after the second that its phone wrote into it. */
const PROOF_LIFE = 60;
const ISSUER = /^[A-Za-z0-9._:-]+$/;
const ALL_USES = 15;

export class Verifier {
  #keys;
  #issuer;
  #early;
  #late;

  /**
   * `keys` is a Map of key ids to 32-byte public keys, `issuer` the only school whose codes are accepted. `early` is
   * how many seconds before its time a code is good, `late` how many after its end a signed one still is.
   */
  constructor(keys, { issuer, early = 15, late = 10 }) {
    for (const key of keys.values()) {
      if (!(key instanceof Uint8Array) || key.length !== 32) throw new TypeError("a public key is 32 bytes");
    }
    if (typeof issuer !== "string" || !ISSUER.test(issuer)) throw new RangeError("an issuer is made of letters, digits and . _ : -");
    this.#keys = new Map(keys);
    this.#issuer = issuer;
    this.#early = early;
    this.#late = late;
  }

  /**
   * The keys of a published JSON Web Key Set. Keys of other kinds and names are none of ours and are passed over
   * (RFC 7517 §5); an Error when one of ours is damaged or two have one id.
   */
  static keysOf(jwks) {
    const keys = new Map();
    for (const { kty, crv, kid, x } of jwks.keys) {
      if (kty !== "OKP" || crv !== "Ed25519" || !isOurs(kid)) continue;
      const keyId = Number(kid.slice(1));
      const key = fromB64url(x);
      if (key.length !== 32) throw new Error("a public key is 32 bytes");
      if (keys.has(keyId)) throw new Error("two keys have the same id");
      keys.set(keyId, key);
    }
    return keys;
  }

  /**
   * What a good code says: `{kind, key, scope, keyId, issuedAt, sequence, expiresAt}`, with `alias` for a signed code
   * and `serial`, `capYuan`, `capCount` for a device code. `key` names this one showing, to be used once; `alias` and
   * `key` are in hex, times in seconds since 1970, `scope` is every use that the code is for.
   *
   * `need` is the use at hand, as a bit or several of which one is enough; `now` counts whole seconds.
   *
   * Throws Refused with the first that applies: `code-malformed`, `code-unknown-key`, `code-forged`,
   * `code-not-yet-valid`, `code-expired`, `code-wrong-scope`. A RangeError when called wrongly.
   */
  verify(text, { need, now }) {
    if (!Number.isInteger(need) || need < 1 || need > ALL_USES) throw new RangeError("a verifier needs some use");
    if (!Number.isInteger(now)) throw new RangeError("now counts whole seconds");
    const code = readCode(text);
    const content = code.kind === "signed" ? this.#signed(code) : this.#device(code);
    const late = code.kind === "signed" ? this.#late : 0;
    if (now < content.issuedAt - this.#early) throw new Refused("code-not-yet-valid");
    if (now > content.expiresAt + late) throw new Refused("code-expired");
    if (!(content.scope & need)) throw new Refused("code-wrong-scope");
    return content;
  }

  #signed(code) {
    const { scope, keyId, alias, issuedAt, lifetime, nonce, signature } = code;
    this.#checkSchool(keyId, signature, signedInput(code, this.#issuer));
    return {
      kind: "signed",
      key: `53${hexOf(alias)}${hexOf(nonce)}`, // S, alias, nonce
      alias: hexOf(alias),
      scope,
      keyId,
      issuedAt,
      sequence: 0, // only phones tell several codes of one second apart
      expiresAt: issuedAt + lifetime,
    };
  }

  #device({ delegation, proof }) {
    const { keyId, serial, publicKey, capYuan, capCount } = delegation;
    const { issuedAt, sequence } = proof;
    this.#checkSchool(keyId, delegation.signature, delegationInput(delegation, this.#issuer));
    check(proof.signature, proofInput(proof, delegation.bytes), publicKey);
    return {
      kind: "device",
      key: `44${hex(serial, 8)}${hex(issuedAt, 8)}${hex(sequence, 2)}`, // D, serial, second, sequence
      serial,
      scope: delegation.scope & proof.scope,
      keyId,
      issuedAt,
      sequence,
      expiresAt: Math.min(issuedAt + PROOF_LIFE, delegation.expiresAt),
      capYuan,
      capCount,
    };
  }

  #checkSchool(keyId, signature, input) {
    const key = this.#keys.get(keyId);
    if (!key) throw new Refused("code-unknown-key");
    check(signature, input, key);
  }
}

const isOurs = (kid) => typeof kid === "string" && /^q(0|[1-9]\d{0,2})$/.test(kid) && Number(kid.slice(1)) <= 255;

function check(signature, input, publicKey) {
  if (!isSignature(signature, new TextEncoder().encode(input), publicKey)) throw new Refused("code-forged");
}

const hex = (number, width) => number.toString(16).padStart(width, "0");
