/**
 * Makes one element. Attributes go by name (`true` writes a bare one, `false` and `null` none),
 * listeners as `onclick` and the like, children as nodes or text; `null` children are left out.
 */
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

const SVG = "http://www.w3.org/2000/svg";

const STROKES = {
  yes: "M14 34 L28 48 L52 18",
  no: "M18 18 L46 46 M46 18 L18 46",
  doubt: "M32 14 L32 38 M32 48 L32 50",
  in: "M10 32 H50 M34 16 L50 32 L34 48",
  out: "M54 32 H14 M30 16 L14 32 L30 48",
};

/** Draws one of the result glyphs; the words beside it say the same, so it is hidden from readers. */
export function glyph(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 64 64");
  svg.setAttribute("class", "glyph");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", STROKES[name]);
  svg.append(path);
  return svg;
}

export const find = (selector, root = document) => root.querySelector(selector);
