// Before and after under a slider that zooms down to pixels.
//
// A figure.compare with data-before and data-after, their names, holds two pictures of one size, the later one
// first; or it is empty, and show(before, after) fills it. Drag to move the line; zoomed in,
// drag to move the picture and its line by the slider below. Wheel, pinch, + - 0 1 zoom.

const LARGEST = 32; // CSS pixels per pixel of the picture

function make(tag, name, parent, text) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  parent?.append(made);
  return made;
}

function sizeOf(picture) {
  return [picture.naturalWidth || picture.width, picture.naturalHeight || picture.height];
}

export class Compare {
  constructor(figure) {
    this.figure = figure;
    const given = [...figure.querySelectorAll(":scope > img, :scope > canvas")];
    const caption = figure.querySelector("figcaption");
    this.view = make("div", "compare-view", null);
    this.view.tabIndex = 0;
    this.after = make("div", "compare-layer compare-after", this.view);
    this.before = make("div", "compare-layer compare-before", this.view);
    make("div", "compare-line", this.view);
    this.left = make("span", "compare-tag left", this.view);
    this.right = make("span", "compare-tag right", this.view);
    const bar = make("div", "compare-bar", null);
    this.slider = make("input", "", bar);
    Object.assign(this.slider, {type: "range", min: 0, max: 100, step: 0.1, value: 50});
    for (const [text, title, act] of [
      ["−", "smaller", () => this.zoom(1 / 2)], ["+", "larger", () => this.zoom(2)],
      ["1:1", "one pixel of the picture on one of the screen", () => this.zoomTo(1 / devicePixelRatio)],
      ["fit", "the whole picture", () => this.fit()],
    ]) {
      const button = make("button", "", bar, text);
      button.type = "button";
      button.title = title;
      button.addEventListener("click", act);
    }
    this.shown = make("output", "", bar);
    figure.prepend(this.view, bar);
    if (caption) figure.append(caption);
    this.slider.addEventListener("input", () => this.cut(this.slider.value / 100));
    this.listen();
    new ResizeObserver(() => this.resized()).observe(this.view);
    this.label(figure.dataset.before ?? "before", figure.dataset.after ?? "after");
    if (given.length === 2) this.show(given[1], given[0]);
  }

  label(before, after) {
    this.left.textContent = before;
    this.right.textContent = after;
    const name = this.figure.dataset.name ? `${this.figure.dataset.name}: ` : "";
    this.slider.setAttribute("aria-label", `${name}${before} to the left, ${after} to the right`);
    this.view.setAttribute("aria-label", `${name}${before} and ${after}; drag, + and - zoom`);
  }

  // Put in other pictures; the zoom stays where their size is the same.
  show(before, after) {
    this.before.replaceChildren(before);
    this.after.replaceChildren(after);
    const ready = () => {
      const [width, height] = sizeOf(after);
      if (!width) return;
      const same = this.width === width && this.height === height;
      [this.width, this.height] = [width, height];
      for (const one of [before, after]) Object.assign(one.style, {width: `${width}px`, height: `${height}px`});
      this.view.style.aspectRatio = `${width} / ${height}`;
      this.view.style.maxWidth = `${(65 * width) / height}vh`;
      if (same) this.draw(); else this.fit();
    };
    if (sizeOf(after)[0]) ready(); else after.addEventListener("load", ready, {once: true});
  }

  cut(fraction) {
    const kept = Math.min(1, Math.max(0, fraction));
    this.slider.value = 100 * kept;
    this.figure.style.setProperty("--cut", `${100 * kept}%`);
  }

  fitting() {
    const {clientWidth, clientHeight} = this.view;
    return Math.min(clientWidth / this.width, clientHeight / this.height) || 1;
  }

  fit() {
    this.fitted = true;
    this.scale = this.fitting();
    this.draw();
  }

  resized() {
    if (!this.width) return;
    if (this.fitted) this.fit(); else this.draw();
  }

  zoom(factor, x, y) {
    this.zoomTo(this.scale * factor, x, y);
  }

  // Keep the pixel at (x, y) of the view where it is.
  zoomTo(wanted, x = this.view.clientWidth / 2, y = this.view.clientHeight / 2) {
    const least = Math.min(this.fitting(), 1 / devicePixelRatio);
    const scale = Math.min(LARGEST, Math.max(least, wanted));
    this.fitted = false;
    this.x = x - ((x - this.x) * scale) / this.scale;
    this.y = y - ((y - this.y) * scale) / this.scale;
    this.scale = scale;
    this.draw();
  }

  draw() {
    const place = (offset, room, length) =>
      length <= room ? (room - length) / 2 : Math.min(0, Math.max(room - length, offset ?? 0));
    this.x = place(this.x, this.view.clientWidth, this.width * this.scale);
    this.y = place(this.y, this.view.clientHeight, this.height * this.scale);
    for (const layer of [this.before, this.after]) {
      const picture = layer.firstElementChild;
      if (picture) picture.style.transform = `translate(${this.x}px, ${this.y}px) scale(${this.scale})`;
      layer.classList.toggle("pixels", this.scale * devicePixelRatio >= 2);
    }
    this.view.classList.toggle("zoomed", this.scale > this.fitting() * 1.001);
    this.shown.textContent = `${Math.round(100 * this.scale * devicePixelRatio)} %`;
  }

  listen() {
    const at = (event) => {
      const box = this.view.getBoundingClientRect();
      return [event.clientX - box.x, event.clientY - box.y];
    };
    const fingers = new Map();
    let moves = null;
    this.view.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      this.view.setPointerCapture(event.pointerId);
      fingers.set(event.pointerId, at(event));
      const line = (this.slider.value / 100) * this.view.clientWidth;
      const onLine = Math.abs(at(event)[0] - line) < 18;
      moves = this.view.classList.contains("zoomed") && !onLine ? "picture" : "line";
      if (moves === "line") this.cut(at(event)[0] / this.view.clientWidth);
    });
    this.view.addEventListener("pointermove", (event) => {
      const old = fingers.get(event.pointerId);
      if (!old) return;
      const now = at(event);
      const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1];
      fingers.set(event.pointerId, now);
      if (other) {
        const apart = (one) => Math.hypot(one[0] - other[0], one[1] - other[1]);
        this.zoom(apart(now) / Math.max(1, apart(old)), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
      } else if (moves === "line") {
        this.cut(now[0] / this.view.clientWidth);
      } else {
        this.x += now[0] - old[0];
        this.y += now[1] - old[1];
        this.draw();
      }
    });
    for (const kind of ["pointerup", "pointercancel"])
      this.view.addEventListener(kind, (event) => fingers.delete(event.pointerId));
    this.view.addEventListener("dragstart", (event) => event.preventDefault()); // of an <img>, by the browser
    this.view.addEventListener("wheel", (event) => {
      // Without a key, a picture that fits lets the page scroll.
      if (!event.ctrlKey && !event.metaKey && !this.view.classList.contains("zoomed") && event.deltaY > 0) return;
      event.preventDefault();
      this.zoom(2 ** (-event.deltaY / 300), ...at(event));
    }, {passive: false});
    this.view.addEventListener("keydown", (event) => {
      const acts = {
        "+": () => this.zoom(2), "-": () => this.zoom(1 / 2), 0: () => this.fit(),
        1: () => this.zoomTo(1 / devicePixelRatio),
        ArrowLeft: () => this.cut(this.slider.value / 100 - 0.02),
        ArrowRight: () => this.cut(this.slider.value / 100 + 0.02),
      };
      if (!acts[event.key]) return;
      event.preventDefault();
      acts[event.key]();
    });
  }
}
