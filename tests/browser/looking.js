// What is wrong with how the page is laid out, as sentences; [] when nothing is. Run in the page by the tests.
(() => {
  const found = [];
  const wide = document.documentElement.clientWidth;
  const box = (element) => element.getBoundingClientRect();
  const name = (element) => `${element.tagName.toLowerCase()} "${(element.textContent || "").trim().slice(0, 40)}"`;
  const scrolls = (element) => {
    for (let at = element.parentElement; at && at !== document.body; at = at.parentElement)
      if (["auto", "scroll"].includes(getComputedStyle(at).overflowX)) return true;
    return false;
  };

  if (document.documentElement.scrollWidth > wide)
    found.push(`the page is ${document.documentElement.scrollWidth} wide in a window of ${wide}`);
  for (const element of document.body.querySelectorAll("*")) {
    const at = box(element);
    if (at.width > 0 && (at.left < -0.5 || at.right > wide + 0.5) && !scrolls(element))
      found.push(`${name(element)} reaches from ${at.left.toFixed(0)} to ${at.right.toFixed(0)} in a window of ${wide}`);
  }

  for (const element of document.querySelectorAll("h1, h2, h3, table, tr, th, svg, figure, figcaption, .pair, .pair > div"))
    if (!element.closest("details:not([open])") && (box(element).width < 4 || box(element).height < 4) &&
        (element.textContent.trim() || element.tagName === "svg"))
      found.push(`${name(element)} takes no room`);

  for (const figure of document.querySelectorAll("svg")) {
    const frame = box(figure), labels = [...figure.querySelectorAll("text")], marks = [...figure.querySelectorAll("line, circle, rect")];
    for (const part of [...labels, ...marks]) {
      const at = box(part);
      if (at.width <= 0 && at.height <= 0) found.push(`${name(part)} of an svg takes no room`);
      if (at.left < frame.left - 1 || at.right > frame.right + 1 || at.top < frame.top - 1 || at.bottom > frame.bottom + 1)
        found.push(`${name(part)} reaches out of its svg`);
    }
    const overlap = (one, other) => one.left < other.right - 1 && other.left < one.right - 1 && one.top < other.bottom - 1 && other.top < one.bottom - 1;
    labels.forEach((label, place) => {
      for (const other of labels.slice(place + 1))
        if (overlap(box(label), box(other))) found.push(`${name(label)} lies on ${name(other)}`);
      for (const mark of marks.filter((one) => one.tagName !== "rect" || !one.getAttribute("width")?.startsWith("200")))
        if (overlap(box(label), { ...box(mark).toJSON(), top: box(mark).top - 2, bottom: box(mark).bottom + 2 }))
          found.push(`${name(label)} lies on a ${mark.tagName}`);
    });
  }

  // Contrast as WCAG 2.1 defines it (https://www.w3.org/TR/WCAG21/#dfn-contrast-ratio).
  const parts = (colour) => colour.match(/[\d.]+/g).map(Number);
  const light = (colour) => {
    const [r, g, b] = parts(colour).map((value) => value / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if ((parts(colour)[3] ?? 1) > 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const faint = new Set();
  for (const element of document.body.querySelectorAll("*")) {
    if (![...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()) || element.tagName === "title") continue;
    const style = getComputedStyle(element);
    const [one, other] = [light(element.ownerSVGElement ? style.fill : style.color), light(ground(element))].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (other + 0.05);
    if (ratio < 4.5) faint.add(`${name(element)} has a contrast of ${ratio.toFixed(1)}`);
  }
  return [...found, ...faint];
})();
