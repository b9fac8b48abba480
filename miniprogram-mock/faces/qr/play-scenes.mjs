/**
 * Plays scenes before scanners without network: `node play-scenes.mjs [FILE]`, `qr/scenes.json` unless told otherwise.
 * Names each scene that ends otherwise than written, counts the rest; exit code 0 when all passed, 1 when one failed or
 * there was none.
 */

import { readFileSync } from "node:fs";

import { BundleRefused } from "./bundle.js";
import { Scanner } from "./scanner.js";
import { ScannerStore } from "./store.js";
import { MemoryTables } from "./tables.js";
import { Verifier } from "./verifier.js";

const file = process.argv[2] ?? new URL("../../../qr/scenes.json", import.meta.url);
const { issuer, roots, scenes } = JSON.parse(readFileSync(file, "utf8"));

/** What a scanner makes of one step, spelled as scenes spell it. */
async function outcomeOf(scanner, step) {
  if ("learn" in step) {
    try {
      await scanner.learn(step.learn);
      return null;
    } catch (error) {
      if (error instanceof BundleRefused) return error.code;
      throw error;
    }
  }
  const { scan, at, amount_fen: amountFen, direction, emergency } = step;
  const common = { now: Date.parse(at), id: crypto.randomUUID() };
  const { accepted, reason, facts } =
    amountFen === undefined
      ? await scanner.decidePassage(scan, { direction, emergency, ...common })
      : await scanner.decideCharge(scan, { amountFen, ...common });
  return { accepted, reason, ...(Object.keys(facts).length > 0 && { facts }) };
}

const spelled = (outcome) => JSON.stringify(outcome, (_, value) => (value?.cap ? Object.entries(value).sort() : value));

async function play({ terminal, steps }) {
  const store = new ScannerStore(new MemoryTables());
  const open = () => Scanner.open(store, { roots: Verifier.keysOf(roots), issuer, terminal });
  let scanner = await open();
  for (const [number, step] of steps.entries()) {
    const [found, expected] = [await outcomeOf(scanner, step), step.expect].map(spelled);
    if (found !== expected) throw new Error(`step ${number} is ${found}, not ${expected}`);
    scanner = await open(); // as after a power cut: all that it knows is in its store
  }
}

let passed = 0;
let failed = 0;
for (const scene of scenes) {
  try {
    await play(scene);
    passed += 1;
  } catch (error) {
    failed += 1;
    console.log(`${scene.name}: ${error.message}`);
  }
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
