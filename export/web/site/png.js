// Pixels to a PNG file, gray where the picture is gray; the canvas's own writer knows no gray.

const TABLE = Uint32Array.from({length: 256}, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n >>> 0;
});

function crc(bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) value = TABLE[(value ^ byte) & 255] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}

function chunk(name, data) {
  const made = new Uint8Array(12 + data.length);
  const view = new DataView(made.buffer);
  view.setUint32(0, data.length);
  made.set([...name].map((letter) => letter.charCodeAt(0)), 4);
  made.set(data, 8);
  view.setUint32(8 + data.length, crc(made.subarray(4, 8 + data.length)));
  return made;
}

// rgba: of width x height pixels. Gray and alpha are left out where the picture has none.
export async function encodePng(rgba, width, height, {gray, alpha}) {
  const take = gray ? [0] : [0, 1, 2];
  if (alpha) take.push(3);
  const planes = take.length;
  const row = width * planes;
  const lines = new Uint8Array(height * (row + 1));
  for (let y = 0, to = 0; y < height; y++) {
    lines[to++] = 1; // filter Sub: the difference to the pixel at the left
    for (let x = 0; x < width; x++) {
      const from = 4 * (y * width + x);
      for (const plane of take) lines[to++] = rgba[from + plane] - (x ? rgba[from + plane - 4] : 0);
    }
  }
  const packed = new Blob([lines]).stream().pipeThrough(new CompressionStream("deflate"));
  const data = new Uint8Array(await new Response(packed).arrayBuffer());
  const head = new Uint8Array(13);
  const view = new DataView(head.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  head.set([8, (gray ? 0 : 2) + (alpha ? 4 : 0), 0, 0, 0], 8);
  const signature = Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10);
  return new Blob([signature, chunk("IHDR", head), chunk("IDAT", data), chunk("IEND", new Uint8Array(0))],
    {type: "image/png"});
}
