// Lays the pictures of a place over each other; without this they stand side by side.
for (const swipe of document.querySelectorAll(".swipe")) {
  const stage = swipe.querySelector(".stage");
  const figures = [...stage.querySelectorAll("figure")];
  const slider = swipe.querySelector("input");
  const left = swipe.querySelector("select.left");
  const right = swipe.querySelector("select.right");
  // With it the left picture lies whole below the right one.
  const opacity = swipe.querySelector("input.opacity");
  const divider = document.createElement("span");
  divider.className = "divider";

  const show = () => {
    swipe.style.setProperty("--at", slider.value + "%");
    figures.forEach((figure, i) => {
      figure.classList.toggle("is-left", i === left.selectedIndex && !opacity);
      // The same picture on both sides is shown whole.
      figure.classList.toggle("is-right", i === right.selectedIndex && i !== left.selectedIndex);
      if (opacity) {
        const isAbove = i === right.selectedIndex && i !== left.selectedIndex;
        figure.style.opacity = isAbove ? opacity.value / 100 : "";
        figure.style.zIndex = isAbove ? 1 : "";
      }
      figure.hidden = i !== left.selectedIndex && i !== right.selectedIndex;
    });
    if (left.selectedIndex === right.selectedIndex) figures[left.selectedIndex].classList.remove("is-left");
    slider.setAttribute("aria-valuetext", `${left.value} ${slider.value} %, ${right.value} the rest`);
  };
  const follow = (event) => {
    const box = stage.getBoundingClientRect();
    slider.value = 100 * (event.clientX - box.left) / box.width;
    show();
  };

  left.selectedIndex = Number(swipe.dataset.left);
  right.selectedIndex = Number(swipe.dataset.right);
  stage.append(divider);
  stage.addEventListener("pointerdown", (event) => {
    stage.setPointerCapture(event.pointerId);
    follow(event);
  });
  stage.addEventListener("pointermove", (event) => { if (event.buttons) follow(event); });
  stage.addEventListener("dragstart", (event) => event.preventDefault());
  for (const control of [slider, opacity, left, right]) control?.addEventListener("input", show);
  swipe.querySelector(".controls").hidden = false;
  swipe.classList.add("on");
  show();
}
