// Points of the map: found by cell, and drawn.
"use strict";

{
  const LEVELS = 7;
  const CELLS = 256;
  const MOST_IN_VIEW = 4000;
  const MOST_NAMED = 500;
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
    let [low, high] = [Infinity, 0];
    for (let feature = 0; feature < features; feature++) {
      if (density[feature] > 0 && density[feature] < low) low = density[feature];
      if (density[feature] > high) high = density[feature];
    }
    const scale = LEVELS / Math.max(1e-9, Math.log(high / low));
    const level = new Uint8Array(features);
    for (let feature = 0; feature < features; feature++) {
      const share = density[feature];
      if (share > 0) level[feature] = 1 + Math.min(LEVELS - 1, Math.floor(scale * Math.log(share / low)));
    }
    return { starts, order, level };
  };

  /** Visits the features of all cells that a rectangle of the map touches. */
  const visit = ([left, top], [right, bottom], action) => {
    const { starts, order } = (grid ??= prepare());
    const clamp = (value) => Math.max(0, Math.min(CELLS - 1, value >> 8));
    for (let row = clamp(top); row <= clamp(bottom); row++) {
      const [first, last] = [clamp(left) + row * CELLS, clamp(right) + row * CELLS];
      for (let at = starts[first]; at < starts[last + 1]; at++) action(order[at]);
    }
  };

  const color = (element, name) => getComputedStyle(element).getPropertyValue(name).trim();
  const shadesOf = (canvas) => Array.from({ length: LEVELS + 1 }, (_, level) => color(canvas, `--point-${level}`));

  /** A pixel each, or a few; `place` is the scale and the offsets from the map to the canvas. */
  const drawPixels = (canvas, corners, place, radius) => {
    const context = canvas.getContext("2d");
    const { width, height } = canvas;
    const image = context.createImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer);
    // #rrggbb as the bytes of a pixel.
    const shades = shadesOf(canvas).map((hex) => {
      const [red, green, blue] = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
      return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
    });
    // The frequent ones lie above.
    const levels = new Uint8Array(width * height);
    const { map } = monosem.all;
    const side = Math.max(1, Math.round(2 * radius * devicePixelRatio));
    const [scale, offsetX, offsetY] = place;
    visit(...corners, (feature) => {
      const x = Math.round(map[2 * feature] * scale + offsetX - side / 2);
      const y = Math.round(map[2 * feature + 1] * scale + offsetY - side / 2);
      const level = grid.level[feature];
      for (let row = Math.max(0, y); row < Math.min(height, y + side); row++) {
        for (let column = Math.max(0, x); column < Math.min(width, x + side); column++) {
          const at = row * width + column;
          if (levels[at] > level) continue;
          levels[at] = level;
          pixels[at] = shades[level];
        }
      }
    });
    context.putImageData(image, 0, 0);
  };

  /** Discs, the frequent features above the rare ones; gives them back by level. */
  const drawDiscs = (canvas, corners, toScreen, radius) => {
    const context = canvas.getContext("2d");
    const byLevel = Array.from({ length: LEVELS + 1 }, () => []);
    visit(...corners, (feature) => byLevel[grid.level[feature]].push(feature));
    const shades = shadesOf(canvas);
    byLevel.forEach((list, level) => {
      context.fillStyle = shades[level];
      context.beginPath();
      for (const feature of list) {
        const [x, y] = toScreen(feature);
        context.moveTo(x + radius, y);
        context.arc(x, y, radius, 0, 2 * Math.PI);
      }
      context.fill();
    });
    return byLevel.flat();
  };

  const overlap = (one, other) => one[0] < other[2] && other[0] < one[2] && one[1] < other[3] && other[1] < one[3];

  /** Names beside the most frequent of some features, as far as there is room. */
  const drawNames = (canvas, list, toScreen, radius) => {
    if (list.length > MOST_IN_VIEW) return;
    const context = canvas.getContext("2d");
    const { density } = monosem.all;
    list.sort((one, other) => density[other] - density[one]);
    context.font = `11px ${color(canvas, "--sans")}`;
    context.textBaseline = "middle";
    context.fillStyle = color(canvas, "--ink");
    const taken = list.map(toScreen).map(([x, y]) => [x - radius, y - radius, x + radius, y + radius]);
    for (const feature of list.slice(0, MOST_NAMED)) {
      const name = monosem.name(feature);
      if (name === "") continue;
      const [x, y] = toScreen(feature);
      const box = [x + radius + 3, y - 7, x + radius + 6 + context.measureText(name).width, y + 7];
      if (taken.some((other) => overlap(box, other))) continue;
      taken.push(box);
      context.fillText(name, box[0], y);
    }
  };

  monosem.points = { visit, color, drawPixels, drawDiscs, drawNames, shades: LEVELS };
}
