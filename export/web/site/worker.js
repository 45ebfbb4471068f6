// Runs the models beside the page, so that it never stands still. Everything is loaded at the start: after that
// no network is needed.
import {planTiles} from "./tiles.js";

const HERE = new URL("./", import.meta.url).href;
const TOLERANCE = 0.5 / 255; // by which a GPU may differ from the CPU before it is refused

let ort = null;
let where = "wasm";
let current = 0; // the job that may go on
const files = new Map(); // model's file -> its bytes
const sessions = new Map();

async function bytesOf(file) {
  if (!files.has(file)) {
    const answer = await fetch(HERE + file);
    if (!answer.ok) throw new Error(`${file}: the server answered ${answer.status}`);
    files.set(file, new Uint8Array(await answer.arrayBuffer()));
  }
  return files.get(file);
}

async function load({manifest, backend}) {
  where = backend;
  const runtime = manifest.runtime[backend];
  ort = await import(HERE + runtime.script);
  ort.env.logLevel = "error";
  const threads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency || 1, 8) : 1;
  ort.env.wasm.numThreads = threads;
  ort.env.wasm.wasmPaths = {mjs: HERE + runtime.loader, wasm: HERE + runtime.wasm};
  for (const model of manifest.models) await bytesOf(model.file);
  await session(manifest.models[0]); // starts the runtime
  return {threads, backend};
}

async function open(model, provider) {
  return await ort.InferenceSession.create(await bytesOf(model.file), {
    executionProviders: [provider], graphOptimizationLevel: "all",
  });
}

async function session(model) {
  if (!sessions.has(model.file)) {
    const made = await open(model, where);
    if (where !== "wasm") await check(model, made);
    sessions.set(model.file, made);
  }
  return sessions.get(model.file);
}

// A GPU's result counts only if the CPU has the same.
async function check(model, made) {
  const side = 64;
  const data = new Float32Array(model.channels * side * side);
  let seed = 1;
  for (let i = 0; i < data.length; i++) data[i] = (seed = (seed * 48271) % 2147483647) / 2147483647;
  const size = [model.channels, side, side];
  const mine = await infer(made, data, size);
  const reference = await open(model, "wasm");
  const theirs = await infer(reference, data, size);
  await reference.release();
  let worst = 0;
  for (let i = 0; i < mine.length; i++) worst = Math.max(worst, Math.abs(mine[i] - theirs[i]));
  if (!(worst <= TOLERANCE))
    throw new Error(`the GPU computes something else than the CPU (by ${(255 * worst).toFixed(1)} of 255); choose the CPU`);
}

async function infer(made, data, [channels, height, width]) {
  const input = new ort.Tensor("float32", data, [1, channels, height, width]);
  const {[made.outputNames[0]]: output} = await made.run({[made.inputNames[0]]: input});
  const values = await output.getData();
  input.dispose();
  output.dispose();
  return values;
}

// pixels: RGBA; denoised in place from a copy. Gray pictures have equal planes.
async function denoise({id, model, pixels, width, height, gray}) {
  current = id;
  const made = await session(model);
  const source = pixels.slice();
  const groups = gray ? [[0]] : model.channels === 3 ? [[0, 1, 2]] : [[0], [1], [2]];
  const tiles = planTiles(height, width, model.tile, model.halo);
  const all = width * height * groups.length;
  let done = 0;
  for (const {rows, columns} of tiles) {
    const [high, wide] = [rows.stop - rows.start, columns.stop - columns.start];
    for (const planes of groups) {
      await new Promise((go) => setTimeout(go)); // lets a message to cancel in
      if (current !== id) return null;
      const data = new Float32Array(planes.length * high * wide);
      let to = 0;
      for (const plane of planes)
        for (let y = rows.start; y < rows.stop; y++)
          for (let from = 4 * (y * width + columns.start) + plane, x = 0; x < wide; x++, from += 4)
            data[to++] = source[from] / 255;
      const values = await infer(made, data, [planes.length, high, wide]);
      planes.forEach((plane, index) => {
        for (let y = rows.first; y < rows.last; y++) {
          let from = (index * high + y - rows.start) * wide + columns.first - columns.start;
          for (let x = columns.first; x < columns.last; x++) {
            const level = Math.min(255, Math.max(0, Math.round(255 * values[from++])));
            const at = 4 * (y * width + x);
            if (gray) pixels[at] = pixels[at + 1] = pixels[at + 2] = level;
            else pixels[at + plane] = level;
          }
        }
      });
      done += (rows.last - rows.first) * (columns.last - columns.first);
      self.postMessage({kind: "progress", id, fraction: done / all});
    }
  }
  return pixels;
}

self.onmessage = async ({data}) => {
  try {
    if (data.kind === "cancel") {
      current = 0;
    } else if (data.kind === "load") {
      self.postMessage({kind: "ready", ...(await load(data))});
    } else if (data.kind === "denoise") {
      const begin = performance.now();
      const pixels = await denoise(data);
      const seconds = (performance.now() - begin) / 1000;
      self.postMessage({kind: "done", id: data.id, pixels, seconds}, pixels ? [pixels.buffer] : []);
    }
  } catch (error) {
    self.postMessage({kind: "failed", id: data.id, text: error?.message ?? String(error)});
  }
};
