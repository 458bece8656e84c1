// The contrast ratio (WCAG 2) of every piece of text that is seen, with what it is; all details are opened.
(() => {
  const parse = (colour) => {
    const n = colour.match(/[\d.]+/g).map(Number);
    return colour.startsWith("color(srgb") ? [...n.slice(0, 3).map((v) => v * 255), n[3] ?? 1] : [...n, 1].slice(0, 4);
  };
  const linear = (v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour[3] > 0) return colour;
    }
    throw new Error("nothing is behind it");
  };
  for (const one of document.querySelectorAll("details")) one.open = true;
  const found = [];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.textContent.trim());
    if (!own || !e.checkVisibility() || ["SCRIPT", "OPTION", "OPTGROUP"].includes(e.tagName)) continue;
    const style = getComputedStyle(e), drawing = e.closest("svg");
    const both = [light(parse(drawing ? style.fill : style.color)), light(behind(drawing ? drawing.parentElement : e))];
    found.push([(Math.max(...both) + 0.05) / (Math.min(...both) + 0.05), `${e.tagName} ${e.getAttribute("class")} ${e.textContent.trim().slice(0, 30)}`]);
  }
  return found;
})()
