// The page of one feature.
"use strict";

{
  const { el, figure, whole } = monosem;

  const link = (feature, ...children) => el("a", { href: `#/feature/${feature}` }, children);

  /** What a feature is called in a list. */
  monosem.title = (feature) => {
    const label = monosem.all.labels.get(feature);
    if (label !== undefined) return el("bdi", { class: "label" }, monosem.visible(label));
    const top = monosem.topTexts(feature);
    if (top.length > 0)
      return el(
        "span",
        { class: "tokens" },
        top.map((text) => monosem.token(text)),
      );
    return el("span", { class: "quiet" }, monosem.all.density[feature] === 0 ? "dead" : "");
  };

  /** The same as short plain text. */
  monosem.name = (feature) => {
    const shown = monosem.all.labels.get(feature) ?? monosem.topTexts(feature)[0] ?? "";
    const text = monosem.plain(shown).trim();
    return text.length > 28 ? `${text.slice(0, 27)}…` : text;
  };

  const section = (title, note, ...children) =>
    el("section", { class: "card" }, el("h2", {}, title, note ? el("small", {}, note) : null), children);

  const statistics = (feature, entry) => {
    const share = monosem.all.density[feature];
    const rows = [
      ["Density", monosem.density(share), share > 0 ? `1 token in ${whole(Math.round(1 / share))}` : "never active"],
      ["Active on", whole(entry.count), `of ${whole(monosem.all.description.tokens)} tokens`],
      ["Maximum", figure(entry.maximum), `mean ${figure(entry.mean)}`],
      entry.decoder_norm === null ? null : ["Decoder norm", figure(entry.decoder_norm), null],
      entry.encoder_decoder_cosine === null
        ? null
        : ["Encoder, decoder", figure(entry.encoder_decoder_cosine), "cosine"],
      entry.best_dimension === null
        ? null
        : [
            "Best input dimension",
            String(entry.best_dimension),
            `correlation ${figure(entry.best_dimension_correlation ?? 0)}`,
          ],
    ].filter(Boolean);
    return el(
      "dl",
      { class: "statistics" },
      rows.map(([name, value, note]) =>
        el("div", {}, el("dt", {}, name), el("dd", {}, value, note ? el("small", {}, note) : null)),
      ),
    );
  };

  const topTokens = (entry) =>
    entry.top_tokens.length === 0
      ? null
      : section(
          "Top tokens",
          "by summed activation",
          monosem.barRows(
            entry.top_tokens.map((top) => ({
              name: monosem.token(top.text),
              value: top.count * top.mean,
              shown: `${whole(top.count)} × ${figure(top.mean)}`,
            })),
            { class: "bar-rows wide-numbers" },
          ),
        );

  const histogram = (entry) => {
    const chart = monosem.activationHistogram(entry, monosem.all.description.histogram_log2_edges);
    return chart && section("Activations", "tokens by value, both logarithmic", chart);
  };

  const logits = (entry) => {
    if (entry.top_logits.length === 0) return null;
    const rows = (pairs) =>
      monosem.barRows(
        pairs.map(([text, value]) => ({
          name: monosem.token(text),
          value,
          shown: figure(value),
        })),
      );
    return section(
      "Logit weights",
      "what the decoder row adds to the next token",
      el(
        "div",
        { class: "pair" },
        el("div", {}, el("h3", {}, "Top"), rows(entry.top_logits)),
        el("div", {}, el("h3", {}, "Bottom"), rows(entry.bottom_logits)),
      ),
    );
  };

  const sources = (entry) => {
    const { sources: names, source_tokens: tokens } = monosem.all.description;
    if (entry.source_count.length === 0) return null;
    const rows = entry.source_count.map((count, at) => {
      const share = tokens?.[at] > 0 ? count / tokens[at] : null;
      const name = el("bdi", {}, monosem.visible(monosem.cut(names[at] ?? String(at))));
      return {
        name,
        value: share ?? count,
        shown: share === null ? whole(count) : `${monosem.density(share).replace("dead", "0")} · ${whole(count)}`,
      };
    });
    return section(
      "Sources",
      tokens ? "density and active tokens in each" : "active tokens in each",
      monosem.barRows(rows, { class: "bar-rows wide-numbers" }),
    );
  };

  /** The neighbours that the map has closest, so that it shows the surroundings and not everything. */
  const closest = (feature, neighbors) => {
    const { map } = monosem.all;
    const along = (other, axis) => (map[2 * other + axis] - map[2 * feature + axis]) ** 2;
    const distance = (other) => along(other, 0) + along(other, 1);
    return [...neighbors].sort((one, other) => distance(one) - distance(other)).slice(0, 5);
  };

  const neighbors = (feature, entry) => {
    if (entry.neighbors.length === 0) return null;
    const list = el(
      "ol",
      { class: "neighbors" },
      entry.neighbors.map(([other, cosine]) =>
        el(
          "li",
          {},
          link(
            other,
            el("span", { class: "number" }, whole(other)),
            monosem.title(other),
            el("span", { class: "number" }, figure(cosine)),
          ),
        ),
      ),
    );
    const map = monosem.all.map && el("div", { class: "local-map" });
    if (map) {
      const scatter = monosem.scatter(map, { name: `Map around feature ${feature}`, keys: false });
      scatter.highlight(
        feature,
        entry.neighbors.map(([other]) => other),
      );
      scatter.fit([
        feature,
        ...closest(
          feature,
          entry.neighbors.map(([other]) => other),
        ),
      ]);
    }
    return section("Neighbours", "by cosine of the decoder rows", map, list);
  };

  /** A feature's page. */
  monosem.featureView = async (feature) => {
    const entry = await monosem.store.feature(feature);
    const label = monosem.all.labels.get(feature);
    const [before, after] = monosem.beside(feature);
    const step = (to, sign, name) =>
      to === null
        ? el("span", { class: "step off", "aria-hidden": "true" }, sign)
        : el("a", { class: "step", href: `#/feature/${to}`, "aria-label": `${name} feature, ${to}` }, sign);
    const score = entry.label_score === null ? null : `score ${figure(entry.label_score)}`;
    const source = entry.label_source === null ? null : el("bdi", {}, monosem.visible(entry.label_source));
    const heading = el(
      "div",
      { class: "heading" },
      el("h1", {}, el("span", { class: "quiet" }, "Feature "), whole(feature)),
      el("div", { class: "steps" }, step(before, "←", "Previous"), step(after, "→", "Next")),
      label === undefined
        ? el(
            "p",
            { class: "label-line tokens" },
            entry.top_tokens.slice(0, 6).map((top) => monosem.token(top.text)),
          )
        : el(
            "p",
            { class: "label-line" },
            el("bdi", {}, monosem.visible(label)),
            score || source
              ? el(
                  "small",
                  {},
                  [score, source].filter(Boolean).flatMap((part, at) => (at ? [" · ", part] : [part])),
                )
              : null,
          ),
    );
    return el(
      "div",
      { class: "feature" },
      heading,
      statistics(feature, entry),
      el(
        "div",
        { class: "columns" },
        el("div", { class: "examples" }, monosem.examples(entry)),
        el("aside", {}, topTokens(entry), histogram(entry), logits(entry), neighbors(feature, entry), sources(entry)),
      ),
    );
  };

  /** Names from the description, which are not cut when they are written. */
  monosem.cut = (text) => (text.length <= 240 ? text : { start: text.slice(0, 240), characters: text.length });
}
