// Exact tiling, as adnet.runtime.tiling plans it: a tile is what the network sees, its core what is kept, the
// halo the context between. Tiles never reach over the border of the image: the last one is moved inward.

// The smallest tile that needs no more tiles than `limit` does.
export function balancedTile(length, limit, halo) {
  if (length <= limit) return length;
  const count = Math.ceil((length - 2 * halo) / (limit - 2 * halo));
  return Math.ceil((length + (count - 1) * 2 * halo) / count);
}

function cover(length, tile, halo) {
  if (tile === length) return [{start: 0, stop: length, first: 0, last: length}];
  const step = tile - 2 * halo;
  const count = Math.ceil((length - 2 * halo) / step);
  const starts = Array.from({length: count}, (_, i) => Math.min(i * step, length - tile));
  const borders = [0, ...starts.slice(0, -1).map((start) => start + tile - halo), length];
  return starts.map((start, i) => ({start, stop: start + tile, first: borders[i], last: borders[i + 1]}));
}

// Every tile as {rows, columns}; of both, start to stop go in and first to last are kept.
export function planTiles(height, width, limit, halo) {
  const rows = cover(height, balancedTile(height, limit, halo), halo);
  const columns = cover(width, balancedTile(width, limit, halo), halo);
  return rows.flatMap((row) => columns.map((column) => ({rows: row, columns: column})));
}
