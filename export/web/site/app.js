// The live page: a picture in, the same picture without noise out, nothing leaves the machine.
import {Compare} from "./compare.js";
import {drawHistogram, moments} from "./noise.js";
import {decode} from "./decode.js";
import {encodePng} from "./png.js";

const $ = (id) => document.getElementById(id);
const AUTO = "auto";

let manifest = null;
let worker = null;
let ready = null; // resolves to what the worker says of itself
let picture = null; // as decode.js gives it
let denoised = null; // RGBA at full strength
let turn = 0; // counts pictures, so that late answers are left out
const compare = new Compare($("compare"));
const canvases = Object.fromEntries(["noisy", "denoised", "noise"].map((name) => [name, document.createElement("canvas")]));
compare.label("before", "denoised");

function tell(id, text) {
  $(id).hidden = !text;
  $(id).textContent = text;
}

function startWorker(backend) {
  worker?.terminate();
  worker = new Worker("worker.js", {type: "module"});
  ready = new Promise((resolve, reject) => {
    worker.addEventListener("message", ({data}) => {
      if (data.kind === "ready") resolve(data);
      if (data.kind === "failed") reject(new Error(data.text));
    });
    worker.addEventListener("error", (event) => reject(new Error(event.message || "the worker did not start")));
  });
  worker.postMessage({kind: "load", manifest, backend});
  $("state").textContent = "Loading the models …";
  ready.then(({threads}) => {
    const cores = backend === "wasm" ? `WebAssembly, ${threads === 1 ? "one thread" : `${threads} threads`}` : "WebGPU (not tested by us)";
    $("state").textContent = `Ready, and needs no network from here on. ${cores}.`;
    document.body.dataset.ready = backend;
    document.body.dataset.threads = threads;
  }, (error) => tell("error", `The models cannot be run here: ${error.message}.`));
}

function chosenModel() {
  const wanted = $("model").value;
  if (wanted !== AUTO) return manifest.models.find((one) => one.name === wanted);
  const blind = manifest.models.filter((one) => one.blind);
  const fitting = (list) => list.find((one) => one.channels === (picture.gray ? 1 : 3)) ?? list.find((one) => one.channels === 1);
  return fitting(blind) ?? fitting(manifest.models);
}

async function take(blob, name) {
  const mine = ++turn;
  worker.postMessage({kind: "cancel"});
  picture = denoised = null; // nothing of the one before stays if this one fails
  $("result").hidden = true;
  $("work").hidden = true;
  tell("error", "");
  tell("remark", "");
  try {
    const made = await decode(blob, name, manifest.max_pixels);
    if (mine !== turn) return;
    picture = made;
  } catch (error) {
    if (mine === turn) tell("error", `${name}: ${error.message}.`);
    return;
  }
  tell("remark", picture.remarks.join(" "));
  await denoise();
}

async function denoise() {
  const mine = ++turn;
  worker.postMessage({kind: "cancel"});
  $("result").hidden = true;
  $("work").hidden = false;
  $("progress").removeAttribute("value");
  $("left").textContent = `${picture.name}: ${picture.width} × ${picture.height} pixels`;
  let model;
  try {
    await ready;
    model = chosenModel();
    if (picture.gray === true && model.channels === 3) throw new Error("the picture is gray, the model takes colour: choose another model");
    if (mine !== turn) return;
    const begin = performance.now();
    const pixels = picture.pixels.slice();
    const answer = await new Promise((resolve, reject) => {
      const listen = ({data}) => {
        if (data.id !== mine) return;
        if (data.kind === "progress" && mine === turn) {
          $("progress").value = data.fraction;
          const rest = ((performance.now() - begin) / 1000) * (1 / data.fraction - 1);
          $("left").textContent = `${Math.round(100 * data.fraction)} %, about ${rest < 90 ? `${Math.ceil(rest)} s` : `${Math.ceil(rest / 60)} min`} left`;
        }
        if (data.kind !== "done" && data.kind !== "failed") return;
        worker.removeEventListener("message", listen);
        if (data.kind === "done") resolve(data); else reject(new Error(data.text));
      };
      worker.addEventListener("message", listen);
      worker.postMessage({kind: "denoise", id: mine, model, pixels, width: picture.width, height: picture.height, gray: picture.gray}, [pixels.buffer]);
    });
    if (mine !== turn || !answer.pixels) return;
    denoised = answer.pixels;
    await show(model, answer.seconds);
  } catch (error) {
    if (mine === turn) tell("error", `${error.message}.`);
  } finally {
    if (mine === turn) $("work").hidden = true;
  }
}

function paint(name, pixels) {
  const canvas = canvases[name];
  Object.assign(canvas, {width: picture.width, height: picture.height});
  canvas.getContext("2d").putImageData(new ImageData(pixels, picture.width, picture.height), 0, 0);
}

// The result at the strength that is set.
function blended() {
  const [part, made] = [Number($("strength").value), denoised.slice()];
  if (part < 1)
    for (let i = 0; i < made.length; i++) if (i % 4 !== 3) made[i] = Math.round(picture.pixels[i] + part * (made[i] - picture.pixels[i]));
  return made;
}

let facts = {};
async function show(model, seconds) {
  if (model) facts = {model: model.name, seconds};
  const made = blended();
  const [noise, counts] = [new Uint8ClampedArray(made.length), new Array(511).fill(0)];
  for (let i = 0; i < made.length; i++) {
    const gone = picture.pixels[i] - made[i];
    noise[i] = i % 4 === 3 ? 255 : 128 + 2 * gone;
    if (i % 4 !== 3) counts[255 + gone]++;
  }
  paint("noisy", picture.pixels);
  paint("denoised", made);
  paint("noise", noise);
  const before = $("download").href;
  const blob = await encodePng(made, picture.width, picture.height, picture);
  if (before.startsWith("blob:")) URL.revokeObjectURL(before);
  $("download").href = URL.createObjectURL(blob);
  $("download").download = `${picture.name.replace(/\.[^.]*$/, "")}-denoised.png`;
  $("facts").replaceChildren(...[
    ["Model", facts.model], ["Removed", `${moments(counts).deviation.toFixed(1)} of 255 (standard deviation)`],
    ["Took", `${facts.seconds.toFixed(1)} s`],
  ].map(([name, value]) => {
    const [item, strong] = [document.createElement("li"), document.createElement("b")];
    strong.textContent = value;
    item.append(`${name} `, strong);
    return item;
  }));
  $("result").hidden = false;
  showTab();
  drawHistogram($("histogram"), counts);
  document.body.dataset.shown = turn;
}

function showTab() {
  const wanted = document.querySelector('.tabs [aria-pressed="true"]').dataset.shows;
  compare.label("before", wanted === "noise" ? "removed, doubled" : "denoised");
  compare.show(canvases.noisy, canvases[wanted]);
}

for (const button of document.querySelectorAll(".tabs button"))
  button.addEventListener("click", () => {
    for (const one of document.querySelectorAll(".tabs button")) one.setAttribute("aria-pressed", one === button);
    showTab();
  });

function listen() {
  $("choose").addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", () => {
    if ($("file").files[0]) take($("file").files[0], $("file").files[0].name);
    $("file").value = "";
  });
  document.addEventListener("dragover", (event) => { event.preventDefault(); $("drop").classList.add("over"); });
  document.addEventListener("dragleave", () => $("drop").classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    $("drop").classList.remove("over");
    const file = event.dataTransfer.files[0];
    if (file) take(file, file.name);
  });
  document.addEventListener("paste", (event) => {
    const file = event.clipboardData.files[0];
    if (file) take(file, file.name);
  });
  $("cancel").addEventListener("click", () => {
    turn++;
    worker.postMessage({kind: "cancel"});
    $("work").hidden = true;
  });
  $("model").addEventListener("change", () => picture && denoise());
  $("where").addEventListener("change", () => { startWorker($("where").value); if (picture) denoise(); });
  $("strength").addEventListener("input", () => {
    $("strength-shown").textContent = Number($("strength").value).toFixed(2);
    if (denoised && !$("result").hidden) show();
  });
}

function option(select, value, text) {
  select.append(new Option(text, value));
}

async function start() {
  const answer = await fetch("manifest.json");
  manifest = await answer.json();
  if (manifest.models.length > 1) option($("model"), AUTO, "by itself, gray or colour");
  for (const one of manifest.models) option($("model"), one.name, `${one.name} (${one.channels === 1 ? "gray" : "colour"}, ${one.sigma})`);
  $("about").textContent = `adnet ${manifest.adnet}, ONNX Runtime Web ${manifest.onnxruntime_web}.`;
  for (const one of manifest.samples) {
    const blob = await (await fetch(one.file)).blob();
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = one.title;
    button.addEventListener("click", () => take(blob, one.file.split("/").pop()));
    $("samples").append(button);
  }
  $("samples").hidden = !manifest.samples.length;
  const adapter = manifest.runtime.webgpu && (await navigator.gpu?.requestAdapter().catch(() => null));
  if (adapter) {
    option($("where"), "wasm", "CPU");
    option($("where"), "webgpu", "GPU (WebGPU, not tested by us)");
    $("where-label").hidden = false;
  }
  listen();
  startWorker("wasm");
}

start().catch((error) => tell("error", `The page cannot start: ${error.message}.`));
