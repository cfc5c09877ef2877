// The popovers of definitions. The style sheet shows them while their button is hovered or focused. Here, Escape closes
// a popover until pointer and focus have left, and a tap opens it on devices where a tap gives no focus.

export function mindDefinitions(root) {
  for (const meaning of root.querySelectorAll(".meaning")) {
    const button = meaning.querySelector("button");
    button.addEventListener("click", () => {
      delete meaning.dataset.dismissed;
      button.focus();
    });
    for (const left of ["mouseleave", "focusout"]) {
      meaning.addEventListener(left, () => delete meaning.dataset.dismissed);
    }
  }
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const open of root.querySelectorAll(".meaning:is(:hover, :focus-within)")) open.dataset.dismissed = "";
  });
}
