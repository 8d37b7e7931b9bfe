// Features as points in the plane, on a canvas: drag or arrows move, the wheel or + and − zoom, a click opens.
"use strict";

{
  const { color, visit } = monosem.points;

  /** A map within `parent`. */
  monosem.scatter = (parent, { name, keys = true, named = true } = {}) => {
    const { el } = monosem;
    const { map, features } = monosem.all;
    const canvas = el("canvas", { tabindex: keys ? 0 : null, role: "img", "aria-label": name });
    parent.append(canvas);
    // The middle in units of the map, and pixels for its whole side.
    const view = { x: 32768, y: 32768, side: 0 };
    let [size, marked, neighbors, hovered, drawn] = [null, null, [], null, 0];
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

    const paint = () => {
      drawn = 0;
      if (!size) return;
      const context = canvas.getContext("2d");
      context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
      context.clearRect(0, 0, size.width, size.height);
      const radius = Math.max(0.5, Math.min(5, (0.22 * view.side) / Math.sqrt(features)));
      const corners = [toMap(0, 0), toMap(size.width, size.height)];
      if (radius < 1.6) {
        const scale = (devicePixelRatio * view.side) / 65536;
        const [offsetX, offsetY] = [canvas.width / 2 - view.x * scale, canvas.height / 2 - view.y * scale];
        monosem.points.drawPixels(canvas, corners, [scale, offsetX, offsetY], radius);
      } else {
        const list = monosem.points.drawDiscs(canvas, corners, toScreen, radius);
        if (named) monosem.points.drawNames(canvas, list, toScreen, radius);
      }
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
      visit([mapX - span, mapY - span], [mapX + span, mapY + span], (feature) => {
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
      const range = (values) => Math.max(Math.max(...values) - Math.min(...values), 600);
      view.x = (Math.max(...xs) + Math.min(...xs)) / 2;
      view.y = (Math.max(...ys) + Math.min(...ys)) / 2;
      view.side = 0.84 * 65536 * Math.min(size.width / range(xs), size.height / range(ys));
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
}
