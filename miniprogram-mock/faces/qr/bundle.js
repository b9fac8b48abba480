/**
 * Bundles (终端数据包): what a scanner must know to decide alone, signed by the school with a root key that the scanner
 * keeps from its enrolment. The sequence only grows; a delta leaves out the sections that its base has already.
 */

import { hexOf } from "./codes.js";
import { isSignature } from "./ed25519.js";
import { fromB64url } from "./jwt.js";
import { Verifier } from "./verifier.js";

const AUDIENCE = "ecard:scanner";
const TYPE = "ecbundle+jwt";
const SECTIONS = ["keys", "revoked", "stopped", "windows", "gate", "members", "till"];
const MOST_BYTES = 2 ** 24 / 8; // the longest revocation list that is unpacked: 16 million delegations
const ALIAS_SIZE = 6;
const SERIAL_SIZE = 4;
const MINUTES_A_DAY = 24 * 60;
const GATE_SCOPES = [2, 4]; // codes for gates, codes for doors
const POLICIES = ["open", "signed", "closed"];

/**
 * A bundle cannot be used; the scanner goes on with the one it has. `code` says why: `bundle-forged` no root key signed
 * it, `bundle-malformed` it does not say what a bundle has to, `bundle-foreign` it is for another terminal or school,
 * `bundle-outdated` it is not newer, `bundle-base-missing` a delta to a bundle that is not here.
 */
export class BundleRefused extends Error {
  constructor(code) {
    super(code);
    this.code = code;
  }
}

/**
 * The checked claims of a bundle, whole: a delta is laid over the claims `after`, of the bundle in use. `roots` is a Map
 * of key ids to public keys. Throws BundleRefused.
 */
export async function readBundle(token, { roots, issuer, terminal, after = null }) {
  let claims = checked(token, roots);
  if (claims.iss !== issuer || claims.sub !== terminal) throw new BundleRefused("bundle-foreign");
  if (after && claims.seq <= after.seq) throw new BundleRefused("bundle-outdated");
  if ("base" in claims) {
    const { base, ...said } = claims;
    if (after?.seq !== base) throw new BundleRefused("bundle-base-missing");
    claims = { ...Object.fromEntries(SECTIONS.filter((name) => name in after).map((name) => [name, after[name]])), ...said };
  }
  await asBundle(claims);
  return claims;
}

function checked(token, roots) {
  const claims = signedClaims(token, roots);
  if (claims?.aud !== AUDIENCE) throw new BundleRefused("bundle-forged");
  for (const name of ["iat", "exp", "fresh", "seq"]) integer(claims[name]);
  return claims;
}

function signedClaims(token, roots) {
  try {
    const [header, content, signature, ...more] = token.split(".");
    const { alg, typ, kid, crit } = parsed(header);
    const root = roots.get(Number(/^q(0|[1-9]\d{0,2})$/.exec(kid)?.[1]));
    const input = new TextEncoder().encode(`${header}.${content}`);
    const good = more.length === 0 && alg === "EdDSA" && typ === TYPE && crit === undefined && root;
    if (good && isSignature(fromB64url(signature), input, root)) return parsed(content);
  } catch {
    // not a token at all: nobody signed it either
  }
  throw new BundleRefused("bundle-forged");
}

const parsed = (segment) => JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(fromB64url(segment)));

/**
 * What checked claims say: `{terminal, sequence, issuedAt, expiresAt, freshUntil, keys, revoked, stopped, early, late,
 * utcOffsetMinutes, gate, till}`. Times and windows in seconds, `keys` a Map, `stopped` a Set of aliases in hex; `gate`
 * and `till` are null where the bundle is not for one. Throws BundleRefused when something is missing or misspelled.
 */
export async function asBundle(claims) {
  try {
    const { windows } = claims;
    return {
      terminal: claims.sub,
      sequence: claims.seq,
      issuedAt: claims.iat,
      expiresAt: claims.exp,
      freshUntil: claims.fresh,
      keys: Verifier.keysOf({ keys: claims.keys }),
      revoked: await RevocationList.read(claims.revoked),
      stopped: new Set(split(claims.stopped, ALIAS_SIZE).map(hexOf)),
      early: whole(windows.early),
      late: whole(windows.late),
      utcOffsetMinutes: integer(windows.utc_offset_minutes),
      gate: "gate" in claims ? readGate(claims) : null,
      till: "till" in claims ? readTill(claims.till) : null,
    };
  } catch (error) {
    throw error instanceof BundleRefused ? error : new BundleRefused("bundle-malformed");
  }
}

/** Which delegations are taken back (撤销列表): bit n is the serial `first` + n, from the least bit of the first byte. */
export class RevocationList {
  constructor(first, bits) {
    this.first = first;
    this.bits = bits;
  }

  static async read({ first, lst }) {
    return new RevocationList(whole(first), await inflated(fromB64url(lst)));
  }

  has(serial) {
    const place = serial - this.first; // older ones have expired, newer ones were granted since
    return place >= 0 && place < 8 * this.bits.length && Boolean((this.bits[place >> 3] >> (place & 7)) & 1);
  }

  get size() {
    return this.bits.reduce((sum, byte) => sum + ONES[byte & 15] + ONES[byte >> 4], 0);
  }
}

const ONES = Array.from({ length: 16 }, (_, nibble) => nibble.toString(2).replaceAll("0", "").length);

/** The bytes of a zlib stream, without ever holding more than a revocation list can have. */
async function inflated(bytes) {
  const reader = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate")).getReader();
  const parts = [];
  let size = 0;
  for (let { done, value } = await reader.read(); !done; { done, value } = await reader.read()) {
    size += value.length;
    if (size > MOST_BYTES) {
      await reader.cancel();
      throw new BundleRefused("bundle-malformed");
    }
    parts.push(value);
  }
  const whole = new Uint8Array(size);
  parts.reduce((at, part) => (whole.set(part, at), at + part.length), 0);
  return whole;
}

function readGate({ gate, members }) {
  const { scope, offline, passback_minutes: minutes, emergency, classes, default: usual } = gate;
  const right = GATE_SCOPES.includes(scope) && POLICIES.includes(offline) && classes.length === members.length;
  if (!right || !(usual === null || classes[whole(usual)])) throw new BundleRefused("bundle-malformed");
  return {
    scope,
    offline,
    passbackSeconds: whole(minutes) * 60,
    emergency: flag(emergency),
    classes: classes.map((hours, index) => ({ hours: hours.map(readHours), ...readMembers(members[index]) })),
    default: usual,
  };
}

const readMembers = ({ aliases, serials }) => ({
  aliases: new Set(split(aliases, ALIAS_SIZE).map(hexOf)),
  serials: new Set(split(serials, SERIAL_SIZE).map((raw) => Number(`0x${hexOf(raw)}`))),
});

function readHours([days, begins, ends, ...more]) {
  const within = 0 <= whole(begins) && begins < whole(ends) && ends <= MINUTES_A_DAY;
  if (more.length > 0 || !within || !days.every((day) => whole(day) >= 1 && day <= 7)) throw new BundleRefused("bundle-malformed");
  return { days, begins, ends };
}

function readTill({ offline, per_sale_fen, per_card_count, per_card_fen, terminal_fen }) {
  return {
    offline: flag(offline),
    perSaleFen: whole(per_sale_fen),
    perCardCount: whole(per_card_count),
    perCardFen: whole(per_card_fen),
    terminalFen: whole(terminal_fen),
  };
}

function integer(said) {
  if (!Number.isSafeInteger(said)) throw new BundleRefused("bundle-malformed");
  return said;
}

function whole(said) {
  if (integer(said) < 0) throw new BundleRefused("bundle-malformed");
  return said;
}

function flag(said) {
  if (typeof said !== "boolean") throw new BundleRefused("bundle-malformed");
  return said;
}

function split(text, size) {
  const raw = fromB64url(text);
  if (raw.length % size) throw new BundleRefused("bundle-malformed");
  return Array.from({ length: raw.length / size }, (_, index) => raw.slice(index * size, (index + 1) * size));
}
