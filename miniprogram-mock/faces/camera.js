/** The camera as a code reader; loaded only when somebody opens it. */

import { pause } from "./api.js";

const LOOK_EVERY_MS = 100;
const GONE_AFTER_MS = 2000; // a code out of sight this long may be read anew

async function nativeDecoder() {
  if (!("BarcodeDetector" in window)) return null;
  const formats = await BarcodeDetector.getSupportedFormats();
  if (!formats.includes("qr_code")) return null;
  const detector = new BarcodeDetector({ formats: formats.filter((format) => ["qr_code", "code_128"].includes(format)) });
  return async (video) => (await detector.detect(video))[0]?.rawValue;
}

async function zxingDecoder() {
  const { prepareZXingModule, readBarcodes } = await import("./vendor/zxing/reader/index.js");
  // Without locateFile the library would fetch its program from a public server.
  const locateFile = (name) => new URL(`./vendor/zxing/${name}`, import.meta.url).href;
  await prepareZXingModule({ overrides: { locateFile }, fireImmediately: true });
  const canvas = document.createElement("canvas");
  const brush = canvas.getContext("2d", { willReadFrequently: true });
  return async (video) => {
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    brush.drawImage(video, 0, 0);
    const frame = brush.getImageData(0, 0, canvas.width, canvas.height);
    const found = await readBarcodes(frame, { formats: ["QRCode", "Code128"], maxNumberOfSymbols: 1 });
    return found[0]?.text;
  };
}

async function watch(video, stream, decode, onText) {
  let last = "";
  let seenAt = -Infinity;
  while (stream.active) {
    const text = video.videoWidth > 0 ? await decode(video) : undefined;
    if (text && stream.active) {
      const now = performance.now();
      if (text !== last || now - seenAt > GONE_AFTER_MS) onText(text);
      last = text;
      seenAt = now;
    }
    await pause(LOOK_EVERY_MS);
  }
}

/** Shows the camera in the video and reports each code it sees once. Resolves to what closes it. */
export async function openCamera(video, onText) {
  const stream = await navigator.mediaDevices.getUserMedia({
    video: { facingMode: "environment", width: { ideal: 1280 } },
    audio: false,
  });
  const close = () => {
    for (const track of stream.getTracks()) track.stop();
    video.srcObject = null;
    video.hidden = true;
  };
  try {
    video.srcObject = stream;
    await video.play();
    const decode = (await nativeDecoder()) ?? (await zxingDecoder());
    watch(video, stream, decode, onText);
  } catch (error) {
    close();
    throw error;
  }
  return close;
}
