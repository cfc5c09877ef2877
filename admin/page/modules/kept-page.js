// A page that the browser has kept in memory and shows again (Back after a logout): hidden, and requested again.

addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  document.body.hidden = true;
  location.reload();
});
