// The page of adnet-web: gives files and settings to the server, shows what comes back.
import {Compare} from "./compare.js";
import {drawHistogram} from "./noise.js";

const $ = (id) => document.getElementById(id);
const compare = new Compare($("compare"));
compare.label("before", "denoised");

let about = null;
let visit = null; // the path of this visit
let files = []; // what was chosen: {name, file or sample, key once the server has it, refused: why it has not}
let sending = null; // the request that sends one of them, while they are being sent
let reference = null; // {name, key}
let order = null; // {path, answer}
let chosen = 0; // which file of the order is shown
let turn = 0; // counts what was asked for, so that late answers are left out

function tell(id, text) {
  $(id).hidden = !text;
  $(id).textContent = text;
}

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("the server does not answer; is adnet-web still running?");
  }
  const data = answer.status === 204 ? null : await answer.json().catch(() => null);
  if (!answer.ok) throw new Error(data?.error ?? `the server answered ${answer.status}`);
  return data;
}

const given = (id) => ($(id).value === "" ? null : Number($(id).value));

function settings() {
  const [backend, where] = $("where").value.split("|");
  const noise = {"": null, auto: "auto", given: Number($("sigma").value)}[$("noise").value];
  return {
    model: $("model").value || null, sigma: noise, strength: Number($("strength").value), ensemble: $("ensemble").checked,
    fast: $("fast").checked && !$("fast").disabled, backend: backend || null, where: where || null, black: given("black"), white: given("white"),
  };
}

// Only some models have an int8 form beside them.
function offerFast() {
  const model = $("model").value;
  $("fast").disabled = !about.fast.includes(model);
  if ($("fast").disabled) $("fast").checked = false;
  const there = about.fast.length ? `only ${about.fast.join(" and ")} have int8` : "no model here has int8";
  $("fast-note").textContent = $("fast").disabled ? there : "int8: faster, a little less exact";
}

// One file goes up; a picture of 100 MB takes a while, so the bar moves.
function upload(file, share, holds = () => {}) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `${visit}/files?name=${encodeURIComponent(file.name)}`);
    request.responseType = "json";
    request.upload.onprogress = (event) => share(event.loaded / event.total);
    request.onload = () => request.status === 201 ? resolve(request.response) : reject(new Error(request.response?.error ?? `the server answered ${request.status}`));
    request.onerror = () => reject(new Error(`${file.name}: could not be sent; it may be too large, or the server has ended.`));
    request.onabort = () => reject(new Error(`${file.name}: was not sent.`));
    holds(request);
    if (file.size > about.limits.file_bytes) reject(new Error(`${file.name}: is over the ${about.limits.file_bytes / 1e6} MB that are taken; use adnet-run.`));
    else request.send(file);
  });
}

function remove(key) {
  if (key) ask(`${visit}/files/${key}`, {method: "DELETE"}).catch(() => {});
}

function fail(error) {
  $("work").hidden = true;
  tell("error", error.message);
}

function setReference(made) {
  remove(reference?.key);
  reference = made;
  $("reference-name").textContent = made?.name ?? "";
  $("drop-reference").hidden = !made;
}

const here = () => files.filter((one) => one.key);

// Other files than before.
function take(list) {
  if (!list.length) return;
  const old = here();
  files = list;
  sending?.abort?.();
  sending = null;
  for (const {key} of old) remove(key);
  setReference(null);
  go();
}

function takeFiles(list) {
  const made = [...list].map((file) => ({name: file.name, file, key: null, refused: null}));
  if (made.length > about.limits.files) return tell("error", `${made.length} files at once are over the limit of ${about.limits.files}.`);
  take(made);
}

// A setting has changed. While files are being sent there is nothing to do: the order comes after them.
function again() {
  if (files.length && !sending) go();
}

// Send what the server does not have yet, and order all of it.
async function go() {
  const mine = ++turn;
  stop();
  tell("error", "");
  $("result").hidden = true;
  $("choose-reference").disabled = true;
  $("work").hidden = false;
  $("progress").value = 0;
  $("left").textContent = "Waiting …";
  try {
    await new Promise((done) => setTimeout(done, 50)); // of quick changes only the last is ordered
    if (mine !== turn || !(await send(mine))) return;
    if (!here().length) throw new Error(refusals());
    $("choose-reference").disabled = here().length !== 1 || Boolean(here()[0].sample);
    if (here()[0].sample) $("reference-name").textContent = "The sample's clean picture is known.";
    await run(mine);
  } catch (error) {
    if (mine === turn) fail(error);
  }
}

// Returns whether nothing else was asked for meanwhile.
async function send(mine) {
  const all = files;
  for (const [number, one] of all.entries()) {
    if (one.key || one.refused) continue;
    $("left").textContent = one.sample ? "Rendering …" : `Sending ${one.name} …`;
    sending = {};
    try {
      const share = (part) => { if (mine === turn) $("progress").value = (number + part) / all.length; };
      const answer = await (one.sample ? ask(`${visit}/files?sample=${one.sample}`, {method: "POST"}) : upload(one.file, share, (request) => { sending = request; }));
      if (one.key) remove(answer.file); // sent twice, after Cancel
      else one.key = answer.file;
    } catch (error) {
      if (mine === turn) one.refused = error.message;
    }
    if (all !== files) remove(one.key);
    if (mine !== turn) return false;
  }
  sending = null;
  return true;
}

function refusals() {
  const told = files.filter((one) => one.refused).map((one) => one.refused);
  return [...told.slice(0, 5), ...(told.length > 5 ? [`And ${told.length - 5} more.`] : [])].join(" ");
}

function cancel() {
  if (order) return void ask(order.path, {method: "DELETE"}).catch(() => {}); // what was finished is shown
  turn++;
  const request = sending;
  sending = null;
  request?.abort?.();
  $("work").hidden = true;
  const left = files.filter((one) => !one.key && !one.refused).length;
  tell("error", left ? `Stopped: ${left} of ${files.length} files were not sent yet. They will be when you change a setting.` : "Stopped.");
}

// Remove the order before this one.
function stop() {
  if (order) ask(order.path, {method: "DELETE"}).catch(() => {});
  order = null;
}

async function run(mine) {
  const body = JSON.stringify({files: here().map((one) => one.key), settings: settings(), reference: reference?.key ?? null});
  const path = `${visit}/orders/${(await ask(`${visit}/orders`, {method: "POST", body})).order}`;
  if (mine !== turn) return void ask(path, {method: "DELETE"}).catch(() => {});
  order = {path, answer: null};
  const start = performance.now();
  for (;;) {
    const answer = await ask(path);
    if (mine !== turn) return;
    order.answer = answer;
    $("progress").value = answer.fraction;
    $("left").textContent = answer.state === "waiting" ? `Waiting; ${answer.ahead} before this` : left(answer, start);
    if (!["waiting", "running"].includes(answer.state)) break;
    await new Promise((done) => setTimeout(done, 150));
    if (mine !== turn) return;
  }
  $("work").hidden = true;
  if (order.answer.state === "failed") throw new Error([refusals(), order.answer.error].filter(Boolean).join(" "));
  if (order.answer.state === "cancelled" && !order.answer.results.some((one) => !one.error)) return;
  chosen = Math.max(0, order.answer.results.findIndex((one) => !one.error));
  show();
}

function left({fraction, files, results}, start) {
  const rest = ((performance.now() - start) / 1000) * (1 / Math.max(fraction, 1e-6) - 1);
  const count = files > 1 ? `${results.length} of ${files} files, ` : "";
  const time = fraction < 0.02 ? "" : `, about ${rest < 90 ? `${Math.ceil(rest)} s` : `${Math.ceil(rest / 60)} min`} left`;
  return `${count}${Math.round(100 * fraction)} %${time}`;
}

const NUMBER = (value, digits) => (value === null || value === undefined ? "–" : value.toFixed(digits));

function show() {
  const {results} = order.answer;
  const failed = results.filter((one) => one.error);
  tell("error", [refusals(), ...failed.map((one) => one.error)].filter(Boolean).join(" "));
  list(results);
  const one = results[chosen];
  if (!one || one.error) return;
  const {facts} = one;
  const base = `${order.path}/${chosen}`;
  $("download").href = `${base}/file`;
  $("download").download = one.name;
  $("comparison").href = `${base}/comparison.png`;
  $("zip").hidden = results.length < 2;
  $("zip").href = `${order.path}/zip`;
  const ran = facts.ran ?? {};
  const shown = [
    ...(facts.size ? [["", `${facts.format} ${facts.size.join(" × ")}, ${facts.depth}`]] : []), ["Model", facts.model], ["Noise, estimated", NUMBER(facts.sigma, 1)],
    ["Removed", NUMBER(facts.removed, 1)], ["Took", `${NUMBER(facts.seconds, 2)} s`], ["on", [ran.backend, ran.device].filter(Boolean).join(", ")],
  ];
  if (facts.psnr_before !== undefined) {
    shown.push(["PSNR", `${NUMBER(facts.psnr_before, 2)} → ${NUMBER(facts.psnr_after, 2)} dB`]);
    shown.push(["SSIM", `${NUMBER(facts.ssim_before, 4)} → ${NUMBER(facts.ssim_after, 4)}`]);
  }
  $("facts").replaceChildren(...shown.map(([name, value]) => {
    const [item, strong] = [document.createElement("li"), document.createElement("b")];
    strong.textContent = value;
    item.append(name ? `${name} ` : "", strong);
    return item;
  }));
  tell("notes", [facts.why, ...(facts.notes ?? [])].filter(Boolean).join(" "));
  $("result").hidden = false;
  const tab = document.querySelector('[data-shows="difference"]');
  tab.hidden = facts.psnr_before === undefined;
  if (tab.hidden && tab.getAttribute("aria-pressed") === "true") press(document.querySelector('[data-shows="denoised"]'));
  showTab();
  drawHistogram($("histogram"), facts.histogram ?? [0]);
  document.body.dataset.shown = turn;
}

function list(results) {
  $("list").hidden = results.length < 2;
  $("list").querySelector("tbody").replaceChildren(...results.map((one, number) => {
    const row = document.createElement("tr");
    const {facts} = one;
    const cells = one.error ? [one.name, "failed", "", "", ""] : [one.name, facts.size?.join(" × "), NUMBER(facts.sigma, 1), `${NUMBER(facts.seconds, 2)} s`, ""];
    for (const text of cells) row.insertCell().textContent = text ?? "";
    if (!one.error) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = "Look";
      button.setAttribute("aria-label", `Look at ${one.name}`);
      button.addEventListener("click", () => { chosen = number; show(); });
      row.lastElementChild.append(button);
    }
    return row;
  }));
}

function picture(name) {
  const image = new Image();
  image.alt = name;
  image.src = `${order.path}/${chosen}/${name}.png`;
  return image;
}

async function showTab() {
  const wanted = document.querySelector('.tabs [aria-pressed="true"]').dataset.shows;
  const [before, after] = [picture(wanted === "difference" ? "denoised" : "noisy"), picture(wanted)];
  compare.label(wanted === "difference" ? "denoised" : "before", {denoised: "denoised", noise: "removed, doubled", difference: "difference, 4 times"}[wanted]);
  await Promise.allSettled([before.decode(), after.decode()]);
  compare.show(before, after);
  document.body.dataset.drawn = turn;
}

function press(button) {
  for (const one of document.querySelectorAll(".tabs button")) one.setAttribute("aria-pressed", one === button);
}

function listen() {
  for (const button of document.querySelectorAll(".tabs button"))
    button.addEventListener("click", () => { press(button); showTab(); });
  $("settings").addEventListener("submit", (event) => event.preventDefault());
  $("settings").addEventListener("change", () => { $("sigma").hidden = $("noise").value !== "given"; offerFast(); again(); });
  $("strength").addEventListener("input", () => { $("strength-shown").textContent = Number($("strength").value).toFixed(2); });
  $("choose").addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", () => { const list = [...$("file").files]; $("file").value = ""; takeFiles(list); });
  $("choose-reference").addEventListener("click", () => $("reference").click());
  $("reference").addEventListener("change", async () => {
    const [file] = $("reference").files;
    $("reference").value = "";
    if (!file) return;
    const of = files;
    try {
      const {file: key} = await upload(file, () => {});
      if (of !== files) return remove(key);
      setReference({name: file.name, key});
      again();
    } catch (error) {
      if (of === files) fail(error);
    }
  });
  $("drop-reference").addEventListener("click", () => { setReference(null); again(); });
  document.addEventListener("dragover", (event) => { event.preventDefault(); $("drop").classList.add("over"); });
  document.addEventListener("dragleave", () => $("drop").classList.remove("over"));
  document.addEventListener("drop", (event) => { event.preventDefault(); $("drop").classList.remove("over"); takeFiles(event.dataTransfer.files); });
  document.addEventListener("paste", (event) => takeFiles(event.clipboardData.files));
  $("cancel").addEventListener("click", cancel);
  addEventListener("pagehide", () => navigator.sendBeacon(`${visit}/leave`));
}

async function devices() {
  // Looking for them takes the server some seconds at its start.
  for (let tries = 0; tries < 60 && !about.devices.length; tries++) {
    await new Promise((go) => setTimeout(go, 1000));
    about = await ask("about").catch(() => about);
  }
  for (const one of about.devices) $("where").append(new Option(`${one.backend}, ${one.where}`, `${one.backend}|${one.where}`));
}

async function start() {
  about = await ask("about");
  visit = `visits/${(await ask("visits", {method: "POST"})).visit}`;
  for (const one of about.models) $("model").append(new Option(`${one.name} (${one.channels === 1 ? "gray" : "colour"}, ${one.sigma})`, one.name));
  offerFast();
  for (const one of about.samples) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = one.title;
    button.addEventListener("click", () => take([{name: one.title, sample: one.name, key: null, refused: null}]));
    $("samples").append(button);
  }
  $("about").textContent = `adnet ${about.adnet}. At most ${about.limits.pixels / 1e6} megapixels and ${about.limits.file_bytes / 1e6} MB a file, ${about.limits.files} files at once.`;
  listen();
  document.body.dataset.ready = "yes";
  devices();
}

start().catch(fail);
