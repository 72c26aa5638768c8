// Shows and hides classes of the map; without this all of them are shown.
for (const filter of document.querySelectorAll(".filter")) {
  const image = document.querySelectorAll(".swipe.over img")[Number(filter.dataset.layer)];
  const boxes = [...filter.querySelectorAll("input")];
  const colors = boxes.map((box) => box.dataset.color.match(/[0-9a-f]{2}/gi).map((part) => parseInt(part, 16)));
  const NONE = 255;

  // Some browsers change what is read back a little, so the nearest colour counts.
  const nearest = (red, green, blue) => {
    const away = colors.map(([r, g, b]) => (r - red) ** 2 + (g - green) ** 2 + (b - blue) ** 2);
    return away.indexOf(Math.min(...away));
  };
  image.decode().then(() => {
    const canvas = document.createElement("canvas");
    canvas.width = image.naturalWidth;
    canvas.height = image.naturalHeight;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", image.alt);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    const drawn = context.getImageData(0, 0, canvas.width, canvas.height);
    // A pixel is one number: millions of them are looked up, but there are few different ones.
    const pixels = new Uint32Array(drawn.data.buffer);
    const known = new Map();
    const classes = new Uint8Array(pixels.length);
    pixels.forEach((pixel, i) => {
      if (!known.has(pixel)) {
        const [red, green, blue, alpha] = drawn.data.subarray(4 * i, 4 * i + 4);
        known.set(pixel, alpha < 128 ? NONE : nearest(red, green, blue));
      }
      classes[i] = known.get(pixel);
    });
    const show = () => {
      const isShown = boxes.map((box) => box.checked);
      for (let i = 0; i < classes.length; i += 1) drawn.data[4 * i + 3] = isShown[classes[i]] ? 255 : 0;
      context.putImageData(drawn, 0, 0);
    };
    const set = (isChecked) => {
      for (const box of boxes) box.checked = isChecked;
      show();
    };
    for (const box of boxes) {
      box.disabled = false;
      box.addEventListener("change", show);
    }
    for (const button of filter.querySelectorAll("button")) {
      button.hidden = false;
      button.addEventListener("click", () => set(button.value === "all"));
    }
    show();
    image.after(canvas);
    image.hidden = true;
    filter.classList.add("on");
  });
}
