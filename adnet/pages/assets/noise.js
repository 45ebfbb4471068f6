// The histogram of what was removed: counts per level, drawn as SVG.

const SVG = "http://www.w3.org/2000/svg";

function add(parent, tag, attributes, text) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
}

// counts[i] belongs to the difference i - middle, in levels of 255.
export function drawHistogram(svg, counts) {
  const middle = (counts.length - 1) / 2;
  const total = counts.reduce((sum, one) => sum + one, 0);
  let reach = 8;
  const beyond = (limit) => counts.reduce((sum, one, i) => sum + (Math.abs(i - middle) > limit ? one : 0), 0);
  while (reach < middle && beyond(reach) > 0.002 * total) reach *= 2;
  reach = Math.min(reach, middle);
  const shown = counts.slice(middle - reach, middle + reach + 1);
  const most = Math.max(...shown, 1);
  const [width, height, foot] = [400, 100, 14];
  svg.setAttribute("viewBox", `0 0 ${width} ${height + foot}`);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `Histogram of the removed noise, from -${reach} to ${reach} levels of 255`);
  svg.replaceChildren();
  const step = width / shown.length;
  shown.forEach((one, i) => {
    const tall = (one / most) * (height - 4);
    add(svg, "rect", {x: i * step, y: height - tall, width: Math.max(0.5, step - 0.3), height: tall});
  });
  add(svg, "line", {x1: 0, x2: width, y1: height, y2: height});
  for (const [x, value, anchor] of [[0, -reach, "start"], [width / 2, 0, "middle"], [width, reach, "end"]])
    add(svg, "text", {x, y: height + 11, "text-anchor": anchor}, String(value));
}

// Mean and standard deviation of such counts.
export function moments(counts) {
  const middle = (counts.length - 1) / 2;
  let [total, sum, squares] = [0, 0, 0];
  counts.forEach((one, i) => {
    total += one;
    sum += one * (i - middle);
    squares += one * (i - middle) ** 2;
  });
  const mean = total ? sum / total : 0;
  return {mean, deviation: total ? Math.sqrt(Math.max(0, squares / total - mean ** 2)) : 0};
}
