// judge returns the pairs of colours that the page shows, and those with too little contrast (WCAG 2.2, 1.4.3 and
// 1.4.11): 4.5 for text, 3 for large text, and 3 for what is not text.
function judge() {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  canvas.canvas.width = canvas.canvas.height = 1;
  // over draws colours, the deepest first, and returns what is seen.
  const over = colours => {
    canvas.clearRect(0, 0, 1, 1);
    for (const colour of colours) {
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, 1, 1);
    }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const luminance = rgb => rgb.map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const contrast = (a, b) => {
    const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
    return (high + 0.05) / (low + 0.05);
  };
  // behind returns the backgrounds of an element, the deepest first.
  const behind = element => {
    const colours = [];
    for (let e = element; e; e = e.parentElement) colours.unshift(getComputedStyle(e).backgroundColor);
    return ["Canvas", ...colours];
  };
  const pairs = new Set(), low = new Set();
  const compare = (what, colour, under, least) => {
    const ground = over(under), front = over([...under, colour]);
    const ratio = contrast(front, ground);
    pairs.add(front + " on " + ground);
    if (ratio < least) low.add(`${what}: rgb(${front}) on rgb(${ground}) has ${ratio.toFixed(2)}, want ${least}`);
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const node = texts.currentNode, e = node.parentElement, style = getComputedStyle(e);
    const box = document.createRange();
    box.selectNodeContents(node);
    if (!node.data.trim() || !box.getClientRects().length || style.visibility !== "visible" || e.closest(".spoken")) continue;
    if ([...ancestors(e)].some(a => getComputedStyle(a).opacity !== "1")) low.add(node.data + ": it is not opaque");
    const size = parseFloat(style.fontSize), large = size >= 24 || size >= 18.66 && style.fontWeight >= 700;
    compare(JSON.stringify(node.data.trim().slice(0, 30)), style.color, behind(e), large ? 3 : 4.5);
  }
  for (const e of document.querySelectorAll("#timeline li")) {
    compare("the mark of " + e.className, getComputedStyle(e, "::before").backgroundColor, behind(e), 3);
  }
  for (const e of document.querySelectorAll("#state")) {
    compare("the edge of the state", getComputedStyle(e).borderLeftColor, behind(e.parentElement), 3);
  }
  for (const e of document.querySelectorAll("a, [tabindex='0']")) {
    e.focus({ focusVisible: true, preventScroll: true });
    compare("the outline of the focus", getComputedStyle(e).outlineColor, behind(e.parentElement), 3);
    e.blur();
  }
  return { Pairs: [...pairs], Low: [...low] };
}

function* ancestors(element) {
  for (let e = element; e; e = e.parentElement) yield e;
}
