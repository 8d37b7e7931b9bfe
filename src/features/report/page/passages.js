// Examples: passages whose tokens are shaded by the feature's activation.
"use strict";

{
  const { el, figure, whole } = monosem;

  const spanOf = (example, at, maximum) => {
    const value = example.activations[at] ?? 0;
    let shown = example.text[at] ?? `#${example.tokens[at]} `;
    // A space there would only indent.
    if (at === 0 && typeof shown === "string" && shown.trim() !== "") shown = shown.trimStart();
    const classes = [value > 0 ? "lit" : "", at === example.focus ? "focus" : ""].filter(Boolean).join(" ");
    const strength = value > 0 && maximum > 0 ? Math.max(0.1, Math.min(1, value / maximum)) : 0;
    return el(
      "span",
      { class: classes || null, "data-at": at, vars: strength ? { "--strength": strength.toFixed(3) } : {} },
      monosem.visible(shown),
    );
  };

  const describe = (example, at) => {
    const value = example.activations[at];
    const token = example.tokens[at];
    return [
      el("strong", {}, value === undefined ? "" : figure(value, 4)),
      monosem.token(example.text[at] ?? `#${token}`),
      token === undefined || example.text[at] === undefined ? null : el("span", { class: "quiet" }, `token ${token}`),
    ].filter(Boolean);
  };

  /** Arrows move over the tokens that the feature is active on. */
  const listen = (passage, example) => {
    const lit = [...passage.querySelectorAll(".lit")];
    let chosen = -1;
    const show = (span) => {
      passage.querySelector(".chosen")?.classList.remove("chosen");
      span.classList.add("chosen");
      monosem.tip.show(describe(example, Number(span.dataset.at)), span.getClientRects()[0]);
    };
    const leave = () => {
      passage.querySelector(".chosen")?.classList.remove("chosen");
      monosem.tip.hide();
    };
    passage.addEventListener("pointerover", (event) => {
      const span = event.target.closest("[data-at]");
      if (span) show(span);
    });
    passage.addEventListener("pointerleave", leave);
    passage.addEventListener("blur", leave);
    passage.addEventListener("focus", () => {
      chosen = Math.max(
        0,
        lit.findIndex((span) => span.classList.contains("focus")),
      );
      if (lit[chosen] && passage.matches(":focus-visible")) show(lit[chosen]);
    });
    passage.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step || lit.length === 0) return;
      chosen = (chosen + step + lit.length) % lit.length;
      show(lit[chosen]);
      event.preventDefault();
      event.stopPropagation();
    });
  };

  const passage = (example, maximum) => {
    const count = example.text.length || example.tokens.length;
    if (count === 0) return el("p", { class: "quiet" }, "no text or tokens in the data");
    const spans = Array.from({ length: count }, (_, at) => spanOf(example, at, maximum));
    const lit = example.activations.filter((value) => value > 0).length;
    const element = el(
      "p",
      {
        class: "passage",
        tabindex: 0,
        dir: "auto",
        "aria-description": `${lit} tokens active; arrow keys show their values`,
      },
      example.missing_before ? el("span", { class: "edge" }, "… ") : null,
      spans,
      example.missing_after ? el("span", { class: "edge" }, " …") : null,
    );
    listen(element, example);
    return element;
  };

  const facts = (example) => {
    const where = [
      example.source === null ? null : el("bdi", {}, monosem.visible(example.source)),
      example.sequence === null ? null : `sequence ${whole(example.sequence)}`,
      example.position === null ? null : `position ${whole(example.position)}`,
      example.sequence === null && example.row !== null ? `row ${whole(example.row)}` : null,
    ].filter((fact) => fact !== null);
    return el(
      "p",
      { class: "facts" },
      where.flatMap((fact, at) => (at ? [" · ", fact] : [fact])),
    );
  };

  /** The examples of an interval below its title. */
  const interval = (number, examples, maximum, intervals) => {
    const parts = intervals - 1;
    const bound = (part) => figure((maximum * part) / parts);
    const title =
      number === 0
        ? ["Top activations", null]
        : [
            `${bound(parts - number)} to ${bound(parts - number + 1)}`,
            `sampled from part ${number} of ${parts} of the range`,
          ];
    return el(
      "section",
      { class: "interval", "data-interval": number },
      el("h3", {}, title[0], title[1] ? el("small", {}, title[1]) : null),
      examples.map((example) =>
        el(
          "article",
          { class: "example" },
          el("span", { class: "value" }, figure(example.activation)),
          el("div", {}, passage(example, maximum), facts(example)),
        ),
      ),
    );
  };

  /** All examples of a feature, by interval. */
  monosem.examples = (entry) => {
    const groups = Map.groupBy?.(entry.examples, (example) => example.interval) ?? new Map();
    if (!Map.groupBy) {
      for (const example of entry.examples) {
        groups.set(example.interval, [...(groups.get(example.interval) ?? []), example]);
      }
    }
    const { intervals } = monosem.all.description.examples;
    if (groups.size === 0) return [el("p", { class: "note" }, "This feature is active on none of the tokens.")];
    return [...groups.keys()]
      .sort((one, other) => one - other)
      .map((number) => interval(number, groups.get(number), entry.maximum, Math.max(2, intervals)));
  };
}
