/**
 * The service worker of a face, loaded by the one in its folder: keeps the files of the page, so that a reload works
 * without network. Files come from the network first, so nobody ever sees an old page while there is one; what the API
 * answers is never kept.
 */

const VERSION = 1; // of the way in which files are kept, not of the files
const FACE = new URL(self.registration.scope).pathname;
const SHARED = new URL("../faces/", self.registration.scope).pathname;
const KEPT = `campus-card.files${FACE}${VERSION}`;
const PATIENCE_MS = 3000;

const isOurs = ({ origin, pathname }) =>
  origin === self.location.origin && (pathname.startsWith(FACE) || pathname.startsWith(SHARED));

/** Where a file is kept: its address without what the page was asked to show. */
const placeOf = ({ origin, pathname }) => origin + pathname;

self.addEventListener("install", () => self.skipWaiting());

self.addEventListener("activate", (event) => event.waitUntil(forgetOlder().then(() => self.clients.claim())));

/** A page names the files that it was loaded from: the first time they came past this worker. */
self.addEventListener("message", (event) => {
  const files = event.data.files.map((address) => new URL(address)).filter(isOurs);
  const kept = caches.open(KEPT).then((cache) => Promise.allSettled(files.map((file) => cache.add(placeOf(file)))));
  event.waitUntil(kept);
});

self.addEventListener("fetch", (event) => {
  const address = new URL(event.request.url);
  if (event.request.method === "GET" && isOurs(address)) event.respondWith(answer(event.request, placeOf(address)));
});

async function answer(request, place) {
  const cache = await caches.open(KEPT);
  const fetched = fetch(request).then(async (fresh) => {
    if (fresh.ok) await cache.put(place, fresh.clone());
    return fresh;
  });
  const late = new Promise((done) => setTimeout(done, PATIENCE_MS));
  const fresh = await Promise.race([fetched, late]).catch(() => null);
  return fresh?.ok ? fresh : ((await cache.match(place)) ?? fetched);
}

async function forgetOlder() {
  const older = (await caches.keys()).filter((name) => name.startsWith(`campus-card.files${FACE}`) && name !== KEPT);
  await Promise.all(older.map((name) => caches.delete(name)));
}
