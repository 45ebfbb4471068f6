// A file to pixels, as the browser gives them; what it cannot give rightly is refused or told.

const MAX_SIDE = 32767; // beyond it, browsers draw nothing, or wrongly, on a canvas

function requireSize(width, height, maxPixels) {
  if (width * height > maxPixels)
    throw new Error(`is too large: ${width} × ${height} pixels are more than the ${maxPixels / 1e6} million that this page takes; use adnet-run`);
  if (Math.max(width, height) > MAX_SIDE)
    throw new Error(`is too large: of ${width} × ${height} pixels one side is over the ${MAX_SIDE} that a browser can draw; use adnet-run`);
}

// Size and depth, as far as the first bytes say them; other kinds are told by their name.
async function glance(blob, name) {
  const start = new DataView(await blob.slice(0, 32).arrayBuffer());
  if (start.byteLength >= 25 && start.getUint32(0) === 0x89504e47)
    return {width: start.getUint32(16), height: start.getUint32(20), deep: start.getUint8(24) === 16};
  if (start.byteLength >= 10 && start.getUint32(0) === 0x47494638)
    return {width: start.getUint16(6, true), height: start.getUint16(8, true), deep: false};
  return {width: 0, height: 0, deep: /\.(tiff?|exr|hdr)$/i.test(name)};
}

async function bitmapOf(blob) {
  try {
    return await createImageBitmap(blob);
  } catch {
    throw new Error("this browser cannot decode it, or it is too large for it");
  }
}

// A canvas multiplies colours by their opacity, which rounds them. An ImageDecoder gives them as they are; null
// where the browser has none for this kind of file, or gives it turned or in other samples.
async function straight(blob, width, height) {
  if (typeof ImageDecoder === "undefined") return null;
  let decoder = null;
  let image = null;
  try {
    decoder = new ImageDecoder({data: await blob.arrayBuffer(), type: blob.type, premultiplyAlpha: "none", preferAnimation: false});
    ({image} = await decoder.decode());
    const turned = image.rotation || image.flip;
    if (turned || image.displayWidth !== width || image.displayHeight !== height) return null;
    if (image.format !== "RGBA" && image.format !== "BGRA") return null;
    const pixels = new Uint8ClampedArray(4 * width * height);
    // Not with another format: Chromium multiplies by the opacity to change it.
    await image.copyTo(pixels, {layout: [{offset: 0, stride: 4 * width}]});
    if (image.format === "BGRA")
      for (let i = 0; i < pixels.length; i += 4) [pixels[i], pixels[i + 2]] = [pixels[i + 2], pixels[i]];
    return pixels;
  } catch {
    return null;
  } finally {
    image?.close();
    decoder?.close();
  }
}

function read(pixels) {
  let [gray, alpha] = [true, false];
  for (let i = 0; i < pixels.length; i += 4) {
    if (pixels[i] !== pixels[i + 1] || pixels[i] !== pixels[i + 2]) gray = false;
    if (pixels[i + 3] !== 255) alpha = true;
  }
  return {gray, alpha};
}

// Returns {name, pixels (RGBA), width, height, gray, alpha, remarks}.
export async function decode(blob, name, maxPixels) {
  const said = await glance(blob, name);
  requireSize(said.width, said.height, maxPixels);
  const bitmap = await bitmapOf(blob);
  const {width, height} = bitmap;
  requireSize(width, height, maxPixels);
  const canvas = document.createElement("canvas");
  Object.assign(canvas, {width, height});
  const context = canvas.getContext("2d", {willReadFrequently: true});
  // A canvas that is too large for this browser swallows what is drawn.
  context?.fillRect(width - 1, height - 1, 1, 1);
  if (!context || context.getImageData(width - 1, height - 1, 1, 1).data[3] !== 255)
    throw new Error(`is too large: ${width} × ${height} pixels are more than this browser can draw; use adnet-run`);
  context.clearRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  let pixels = context.getImageData(0, 0, width, height).data;
  const remarks = said.deep ? ["This file has, or may have, more than 8 bits per sample; a browser hands out 8. adnet-run keeps them all."] : [];
  if (read(pixels).alpha) {
    const exact = await straight(blob, width, height);
    if (!exact) remarks.push("This picture is transparent in places; this browser rounds the colours there, up to all of them where little is seen. adnet-run keeps them.");
    pixels = exact ?? pixels;
  }
  return {name, pixels, width, height, ...read(pixels), remarks};
}
