// What is wrong with the layout of the page in each frame, as lines of text in #complaints: words
// that lie on each other, marks that leave their chart, charts that leave the page, text too small
// to read, and more than fits across.
const SMALLEST = 8; // pixels, on the screen
const SLACK = 1; // pixels

function overlap(a, b) {
  const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
  const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
  return across > SLACK && down > SLACK;
}

function within(inner, outer) {
  return inner.left >= outer.left - SLACK && inner.right <= outer.right + SLACK &&
    inner.top >= outer.top - SLACK && inner.bottom <= outer.bottom + SLACK;
}

// The box of a line of text is higher than its letters.
function letters(text) {
  const box = text.getBoundingClientRect();
  const spare = box.height * 0.15;
  return { left: box.left, right: box.right, top: box.top + spare, bottom: box.bottom - spare };
}

function chart(svg, page, complain) {
  const name = svg.querySelector("title")?.textContent;
  const frame = svg.getBoundingClientRect();
  if (svg.getAttribute("role") !== "img" || !name || !svg.querySelector("desc")?.textContent) {
    complain(`${name}: not described`);
  }
  if (frame.height < 100) complain(`${name}: ${frame.height} pixels high`);
  if (!within(frame, { left: 0, right: page.clientWidth, top: 0, bottom: Infinity })) {
    complain(`${name}: leaves the page`);
  }
  const texts = [...svg.querySelectorAll("text")].filter((text) => text.textContent);
  if (texts.length < 4) complain(`${name}: ${texts.length} labels`);
  texts.forEach((text, at) => {
    const says = `${name}: "${text.textContent}"`;
    const box = letters(text);
    if (!within(box, frame)) complain(`${says} leaves the chart`);
    const scale = frame.width / svg.viewBox.baseVal.width;
    const size = parseFloat(svg.ownerDocument.defaultView.getComputedStyle(text).fontSize) * scale;
    if (size < SMALLEST) complain(`${says} is ${size.toFixed(1)} pixels small`);
    for (const other of texts.slice(at + 1)) {
      if (overlap(box, letters(other))) complain(`${says} lies on "${other.textContent}"`);
    }
  });
  for (const mark of svg.querySelectorAll("path, rect, circle")) {
    if (!within(mark.getBoundingClientRect(), frame)) {
      complain(`${name}: a ${mark.tagName} (${mark.getAttribute("class")}) leaves the chart`);
    }
  }
}

function look(frame, complain) {
  const page = frame.contentDocument.documentElement;
  if (page.scrollWidth > page.clientWidth) complain(`it is ${page.scrollWidth} pixels wide`);
  const seen = [...page.querySelectorAll("svg")].filter((svg) => svg.getClientRects().length);
  seen.forEach((svg) => chart(svg, page, complain));
  for (const part of page.querySelectorAll("section, figure, .figures > div, .wrap")) {
    if (part.scrollWidth > part.clientWidth + SLACK) {
      complain(`"${part.textContent.trim().slice(0, 30)}" is cut at its right`);
    }
  }
  return seen.length;
}

addEventListener("load", () => {
  const complaints = [];
  for (const frame of document.querySelectorAll("iframe")) {
    const charts = look(frame, (says) => complaints.push(`at ${frame.width}: ${says}`));
    complaints.push(`at ${frame.width}: ${charts} charts seen`);
  }
  document.querySelector("#complaints").textContent = complaints.join("\n");
});
