// Features as points in the plane, on a canvas: drag or arrows move, the wheel or + and − zoom, a click opens.
"use strict";

{
  const LEVELS = 7;
  const CELLS = 256;
  const MANY = 250_000;
  let grid = null;

  /** Points by cell, and each point's shade: its density, on a logarithmic scale. */
  const prepare = () => {
    const { map, density, features } = monosem.all;
    const cellOf = (feature) => (map[2 * feature] >> 8) + CELLS * (map[2 * feature + 1] >> 8);
    const starts = new Uint32Array(CELLS * CELLS + 1);
    for (let feature = 0; feature < features; feature++) starts[cellOf(feature) + 1]++;
    for (let cell = 0; cell < CELLS * CELLS; cell++) starts[cell + 1] += starts[cell];
    const order = new Uint32Array(features);
    const next = starts.slice();
    for (let feature = 0; feature < features; feature++) order[next[cellOf(feature)]++] = feature;
    let [low, high] = [Infinity, -Infinity];
    for (const share of density) {
      if (share > 0) [low, high] = [Math.min(low, share), Math.max(high, share)];
    }
    const range = Math.max(1e-9, Math.log(high / low));
    const level = Uint8Array.from(density, (share) =>
      share > 0 ? 1 + Math.min(LEVELS - 1, Math.floor((LEVELS * Math.log(share / low)) / range)) : 0,
    );
    return { starts, order, level };
  };

  const color = (element, name) => getComputedStyle(element).getPropertyValue(name).trim();

  /** A map within `parent`. */
  monosem.scatter = (parent, { name, keys = true } = {}) => {
    const { el } = monosem;
    grid ??= prepare();
    const { map, features } = monosem.all;
    const canvas = el("canvas", { tabindex: keys ? 0 : null, role: "img", "aria-label": name });
    parent.append(canvas);
    // The middle in units of the map, and pixels for its whole side.
    const view = { x: 32768, y: 32768, side: 0 };
    let [size, marked, neighbors, hovered, drawn, moving] = [null, null, [], null, 0, false];
    let wanted = null;

    const toScreen = (feature) => [
      size.width / 2 + ((map[2 * feature] - view.x) / 65536) * view.side,
      size.height / 2 + ((map[2 * feature + 1] - view.y) / 65536) * view.side,
    ];
    const toMap = (x, y) => [
      view.x + ((x - size.width / 2) * 65536) / view.side,
      view.y + ((y - size.height / 2) * 65536) / view.side,
    ];

    const ring = (context, feature, radius, style, width) => {
      const [x, y] = toScreen(feature);
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.strokeStyle = style;
      context.lineWidth = width;
      context.stroke();
      return [x, y];
    };

    const cells = (left, top, right, bottom, visit) => {
      const clamp = (value) => Math.max(0, Math.min(CELLS - 1, value >> 8));
      for (let row = clamp(top); row <= clamp(bottom); row++) {
        for (let column = clamp(left); column <= clamp(right); column++) {
          const cell = row * CELLS + column;
          for (let at = grid.starts[cell]; at < grid.starts[cell + 1]; at++) visit(grid.order[at], at);
        }
      }
    };

    const paint = () => {
      drawn = 0;
      if (!size) return;
      const context = canvas.getContext("2d");
      context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
      context.clearRect(0, 0, size.width, size.height);
      const shades = Array.from({ length: LEVELS + 1 }, (_, level) => color(canvas, `--point-${level}`));
      const perPixel = Math.sqrt(features) / view.side;
      const radius = Math.max(0.7, Math.min(5, 0.22 / perPixel));
      const every = moving && features > MANY ? Math.ceil(features / MANY) : 1;
      const byLevel = Array.from({ length: LEVELS + 1 }, () => []);
      const [left, top] = toMap(0, 0);
      const [right, bottom] = toMap(size.width, size.height);
      cells(left, top, right, bottom, (feature, at) => {
        if (at % every === 0) byLevel[grid.level[feature]].push(feature);
      });
      byLevel.forEach((list, level) => {
        context.fillStyle = shades[level];
        if (radius < 1.6) {
          for (const feature of list) {
            const [x, y] = toScreen(feature);
            context.fillRect(x - radius, y - radius, 2 * radius, 2 * radius);
          }
          return;
        }
        context.beginPath();
        for (const feature of list) {
          const [x, y] = toScreen(feature);
          context.moveTo(x + radius, y);
          context.arc(x, y, radius, 0, 2 * Math.PI);
        }
        context.fill();
      });
      const [ink, accent] = [color(canvas, "--ink"), color(canvas, "--accent")];
      if (marked !== null) {
        const from = toScreen(marked);
        context.globalAlpha = 0.45;
        context.strokeStyle = accent;
        context.lineWidth = 1;
        for (const other of neighbors) {
          context.beginPath();
          context.moveTo(...from);
          context.lineTo(...toScreen(other));
          context.stroke();
        }
        context.globalAlpha = 1;
        for (const other of neighbors) ring(context, other, Math.max(3.5, radius + 1.5), accent, 1.5);
        ring(context, marked, Math.max(6, radius + 3), ink, 2);
      }
      if (hovered !== null) ring(context, hovered, Math.max(5, radius + 2.5), ink, 2);
    };
    const redraw = () => {
      drawn ||= requestAnimationFrame(paint);
    };

    const nearest = (x, y, reach) => {
      const [mapX, mapY] = toMap(x, y);
      const span = (reach * 65536) / view.side;
      let [best, distance] = [null, reach * reach];
      cells(mapX - span, mapY - span, mapX + span, mapY + span, (feature) => {
        const [pointX, pointY] = toScreen(feature);
        const squared = (pointX - x) ** 2 + (pointY - y) ** 2;
        if (squared < distance) [best, distance] = [feature, squared];
      });
      return best;
    };

    const hover = (feature) => {
      if (feature === hovered) return;
      hovered = feature;
      canvas.classList.toggle("pointing", feature !== null);
      redraw();
      if (feature === null) return monosem.tip.hide();
      const box = canvas.getBoundingClientRect();
      const [x, y] = toScreen(feature);
      const place = { left: box.left + x, top: box.top + y - 6, bottom: box.top + y + 6, width: 0 };
      monosem.tip.show(
        [
          el("strong", {}, monosem.whole(feature)),
          monosem.title(feature),
          el("span", { class: "quiet" }, monosem.density(monosem.all.density[feature])),
        ],
        place,
      );
    };
    const open = (feature) => {
      monosem.tip.hide();
      location.hash = `#/feature/${feature}`;
    };
    const zoom = (factor, x = size.width / 2, y = size.height / 2) => {
      const [mapX, mapY] = toMap(x, y);
      view.side = Math.max(0.5 * Math.min(size.width, size.height), Math.min(2e6, view.side * factor));
      const [movedX, movedY] = toMap(x, y);
      view.x += mapX - movedX;
      view.y += mapY - movedY;
      redraw();
    };
    const move = (x, y) => {
      view.x = Math.max(0, Math.min(65535, view.x - (x * 65536) / view.side));
      view.y = Math.max(0, Math.min(65535, view.y - (y * 65536) / view.side));
      redraw();
    };

    const pointers = new Map();
    let travelled = 0;
    const at = (event) => {
      const box = canvas.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      if (pointers.size === 0) travelled = 0;
      pointers.set(event.pointerId, at(event));
    });
    canvas.addEventListener("pointermove", (event) => {
      const now = at(event);
      const before = pointers.get(event.pointerId);
      if (!before) return hover(nearest(...now, 14));
      const others = [...pointers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
      pointers.set(event.pointerId, now);
      travelled += Math.hypot(now[0] - before[0], now[1] - before[1]);
      if (travelled < 5) return;
      moving = true;
      hover(null);
      if (others.length === 0) return move(now[0] - before[0], now[1] - before[1]);
      const [other] = others;
      const spread = (place) => Math.max(1, Math.hypot(place[0] - other[0], place[1] - other[1]));
      zoom(spread(now) / spread(before), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
    });
    const release = (event) => {
      if (!pointers.delete(event.pointerId)) return;
      const found =
        event.type === "pointerup" && travelled < 5
          ? nearest(...at(event), event.pointerType === "touch" ? 24 : 14)
          : null;
      moving = false;
      redraw();
      if (found !== null) open(found);
    };
    canvas.addEventListener("pointerup", release);
    canvas.addEventListener("pointercancel", release);
    canvas.addEventListener("pointerleave", () => hover(null));
    canvas.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        zoom(Math.exp(-Math.max(-120, Math.min(120, event.deltaY)) / 300), ...at(event));
      },
      { passive: false },
    );
    canvas.addEventListener("keydown", (event) => {
      const moves = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
      if (moves[event.key]) move(...moves[event.key]);
      else if (event.key === "+" || event.key === "=") zoom(1.4);
      else if (event.key === "-") zoom(1 / 1.4);
      else if (event.key === "Enter" && hovered !== null) open(hovered);
      else return;
      event.preventDefault();
      event.stopPropagation();
      if (event.key !== "Enter") hover(nearest(size.width / 2, size.height / 2, 400));
    });

    const fit = (list) => {
      wanted = list;
      if (!size) return;
      const along = (axis) => list.map((feature) => map[2 * feature + axis]);
      const [xs, ys] = [along(0), along(1)];
      const range = Math.max(Math.max(...xs) - Math.min(...xs), Math.max(...ys) - Math.min(...ys), 600);
      view.x = (Math.max(...xs) + Math.min(...xs)) / 2;
      view.y = (Math.max(...ys) + Math.min(...ys)) / 2;
      view.side = (0.72 * Math.min(size.width, size.height) * 65536) / range;
      redraw();
    };
    new ResizeObserver(() => {
      const { width, height } = canvas.getBoundingClientRect();
      if (width === 0 || height === 0) return;
      size = { width, height };
      canvas.width = Math.round(width * devicePixelRatio);
      canvas.height = Math.round(height * devicePixelRatio);
      if (view.side === 0) view.side = 0.94 * Math.min(width, height);
      if (wanted) fit(wanted);
      // A resized canvas is empty until it is painted.
      paint();
    }).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

    return {
      zoom,
      fit,
      reset() {
        Object.assign(view, { x: 32768, y: 32768, side: 0.94 * Math.min(size.width, size.height) });
        redraw();
      },
      highlight(feature, others) {
        [marked, neighbors] = [feature, others];
        redraw();
      },
      place: (feature) => toScreen(feature),
    };
  };

  monosem.shades = LEVELS;
}
