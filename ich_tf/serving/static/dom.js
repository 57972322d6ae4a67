// Finding and making elements. Text is inserted as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`The page has no element #${id}.`);
  return element;
}

// Makes an element, as in make("button", {type: "button", class: "primary"}, "Open"). Attributes
// that are null, undefined or false are left out; children that are strings become text nodes.
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") element.addEventListener("click", value);
    else if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// Makes a symbol of lines and of a filled path in a box of 24 x 24, to be shown beside a word.
export function draw(lines, full) {
  const sign = document.createElementNS(SVG, "svg");
  sign.setAttribute("viewBox", "0 0 24 24");
  sign.setAttribute("aria-hidden", "true");
  for (const [path, kind] of [[full, "full"], [lines, "lines"]]) {
    if (!path) continue;
    const element = document.createElementNS(SVG, "path");
    element.setAttribute("d", path);
    element.setAttribute("class", kind);
    sign.append(element);
  }
  return sign;
}

export function show(element, visible) {
  element.hidden = !visible;
}
