// What a number means is shown by the style sheet while its button is hovered or focused. Here: Escape closes it until
// the pointer or the focus has left, and a tap opens it where tapping gives no focus.

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
